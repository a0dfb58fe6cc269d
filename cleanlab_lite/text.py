"""Text of strangers made safe and short, and what messages, pages and the terminal say in the same words."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any

# Of a character class: C0 and C1 controls, marks that reorder or break text, byte order mark, what XML cannot hold,
# lone surrogates (undecodable file names)
UNSAFE = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff"
_UNSAFE = re.compile(f"[{UNSAFE}]")
# What runners of CI systems take for commands in a log: `::set-output ...` begins a line, `##vso[...]` stands anywhere.
_COMMANDS = re.compile(r"^(\s*):(?=:[A-Za-z])|#(?=#(?:vso)?\[)")
# What takes no room, or looks like a blank that is not there: controls and marks of format (Cc, Cf), and of other
# categories those that Unicode lets programs ignore: fillers of Hangul, selectors of variation, joiners, tags
_IGNORED = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
_JAMO = re.compile("[\u1100-\u11ff]")  # letters that are drawn as syllables, for which there are signs


def escape(text: str, keep: str = "") -> str:
    r"""`text` with control characters, bidirectional marks and surrogates written as `\x1b`, `\n`, `\u202e`...

    Characters in `keep` stay as they are. Words that a CI system would obey are broken up: `\x3a:error::`.
    """
    text = _COMMANDS.sub(lambda m: f"{m[1] or ''}\\x{ord(m[0][-1]):x}", text)
    return _UNSAFE.sub(lambda m: m[0] if m[0] in keep else m[0].encode("unicode_escape").decode("ascii"), text)


def looks(name: str) -> str:
    """A name as it looks: nothing that takes no room, blanks as one, accents composed."""
    if name.isascii() and name.isprintable():
        return " ".join(name.split())
    return " ".join(unicodedata.normalize("NFC", "".join(" " if c.isspace() else c for c in name if _seen(c))).split())


def tell_apart(names: Iterable[str]) -> dict[str, str]:
    r"""Of names that look like another of them: what is shown instead, "cat\u200b" as `cat\u200b`, "cat " as `cat\x20`.

    Names that nobody takes for another are not in it: joiners belong to emoji and to Persian, accents to a name.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[looks(name)].append(name)
    alike = (name for group in groups.values() if len(group) > 1 for name in group)
    return {name: shown for name in alike if (shown := _written_out(name)) != name}


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """JSON types, in which every text that is one of `names` is another."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, Mapping):
        return {key: renamed(item, names) for key, item in value.items()}
    return [renamed(item, names) for item in value] if isinstance(value, list | tuple) else value


def _seen(char: str) -> bool:
    return char.isspace() or not (unicodedata.category(char) in ("Cc", "Cf") or _IGNORED.match(char))


def _written_out(name: str) -> str:
    """A name with escapes for what its looks do not tell: what takes no room, accents, all but single blanks."""

    def told(at: int, char: str) -> bool:
        if char == " ":
            return 0 < at < len(name) - 1 and not name[at - 1].isspace()
        mark = unicodedata.category(char).startswith("M") or _JAMO.match(char)
        return _seen(char) and not (mark or char.isspace() or unicodedata.normalize("NFC", char) != char)

    return "".join(char if told(at, char) else _code(char) for at, char in enumerate(name))


def _code(char: str) -> str:
    return "\\x20" if char == " " else char.encode("unicode_escape").decode("ascii")


def room_of(text: str) -> int:
    """Columns of a terminal that `text` takes: two for signs of East Asia and emoji, none for marks and joiners."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


SHORT = 5  # columns that are left of a name: two signs and three dots


def shorten(text: str, width: int) -> str:
    """`text` cut in the middle to `width` columns: the ends tell names apart."""
    if room_of(text) <= width:
        return text
    head = (width - 3) // 2
    return f"{_begin(text, head)}...{_begin(text[::-1], width - 3 - head)[::-1]}"


def shorten_path(path: str, width: int) -> str:
    """`path` cut to `width` columns, in its folders where that is enough: the name of the file tells it from others."""
    folder, slash, name = path.rpartition("/")
    room = width - room_of(slash + name)
    return f"{shorten(folder, room)}/{name}" if SHORT <= room < room_of(folder) else shorten(path, width)


def _begin(text: str, width: int) -> str:
    """As much of `text` as fits into so many columns."""
    for at, char in enumerate(text):
        width -= _columns(char)
        if width < 0:
            return text[:at]
    return text


def short_names(names: Iterable[str], width: int) -> dict[str, str]:
    """Of names with more than `width` columns: what is shown instead, no two alike.

    They are cut in the middle; where that leaves some alike, around the first place where these differ.
    """
    names = list(dict.fromkeys(names))
    taken = {name for name in names if room_of(name) <= width}
    shown: dict[str, str] = {}
    for alike in _alike({name: shorten(name, width) for name in names if name not in taken}):
        for name, short in _told_by_difference(alike, width).items():
            tried, number = short, 2
            while tried in taken:  # by chance another one
                tried, number = f"{_begin(short, width - len(f'~{number}'))}~{number}", number + 1
            taken.add(tried)
            shown[name] = tried
    return shown


@lru_cache(maxsize=64)
def _shorter(names: tuple[str, ...], width: int) -> dict[str, str]:
    return short_names(names, width)


def short_name(name: str, names: tuple[str, ...], width: int) -> str:
    """`name` in at most `width` columns, as it is told from the others of `names`."""
    return _shorter(names, width).get(name) or shorten(name, width)


def _alike(shown: Mapping[str, str]) -> list[dict[str, str]]:
    """Parts of `shown` that show the same."""
    groups: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name, short in shown.items():
        groups[short][name] = short
    return list(groups.values())


def _told_by_difference(alike: dict[str, str], width: int) -> dict[str, str]:
    """Names that are shown alike, and for each something else, as far as there is room for it."""
    first, last = min(alike), max(alike)
    at = next(at for at, (a, b) in enumerate(zip_longest(first, last)) if a != b) if first != last else 0
    parts = _alike({name: _around(name, at, width) for name in alike}) if len(alike) > 1 else [alike]
    if len(parts) == 1:
        return alike
    return {name: short for part in parts for name, short in _told_by_difference(part, width).items()}


def _around(name: str, at: int, width: int) -> str:
    """How a name begins, and what stands at character `at`, with a little of the word before it."""
    head = _begin(name, width // 4)
    back = re.search(r"\w*$", name[max(at - width // 8, 0) : at])
    start = at - len(back[0] if back else "")
    room = width - room_of(head) - 3
    part = name[start:]
    return f"{head}...{part if room_of(part) <= room else f'{_begin(part, room - 1)}…'}"


def clip(text: str, width: int) -> str:
    """`text` cut behind `width` characters: the beginning says most."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def one_line(text: str, width: int) -> str:
    """`text` as one line of at most `width` characters, all of them printable."""
    return clip("".join(c if c.isprintable() else "?" for c in " ".join(text.split())), width)


def listing(names: Sequence[str], limit: int = 20, width: int = 10_000) -> str:
    """Names for a message, quoted: the first `limit` of them, and `width` characters of each."""
    shown = ", ".join(f"{name!r:.{width}}" for name in names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def counted(count: int, noun: str) -> str:
    """ "1 row", "1,234 rows"; of a noun whose plural has an s more, "1 class", "2 entries" too."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}{'es' if noun.endswith('s') else 's'}"
    return f"{count:,} {noun if count == 1 else plural}"


def percent(share: float | None, unknown: str = "-") -> str:
    """A share as "12.3 %"; `unknown` where it is None or not finite."""
    return unknown if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A difference of shares as "+1.2" points; never as 0 where it is above or below, which is what verdicts go by."""
    value = 100 * share
    return f"{value:+.1g}" if 0 < abs(value) < 0.05 else f"{value:+.1f}"


def chance(share: float) -> str:
    """A probability as "12 %", never 0 % nor 100 %, which nobody can know."""
    return "<1 %" if share < 0.005 else ">99 %" if share >= 0.995 else f"{100 * share:.0f} %"

"""Text of strangers made safe and short, and what messages, pages and the terminal say in the same words."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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


def shorten(text: str, width: int) -> str:
    """`text` cut in the middle to `width` characters: the ends tell names apart."""
    if len(text) <= width:
        return text
    head = (width - 3) // 2
    return text[:head] + "..." + text[len(text) - (width - 3 - head) :]


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


def chance(share: float) -> str:
    """A probability as "12 %", never 0 % nor 100 %, which nobody can know."""
    return "<1 %" if share < 0.005 else ">99 %" if share >= 0.995 else f"{100 * share:.0f} %"

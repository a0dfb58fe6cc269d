"""Text of strangers made safe and short, and what messages, pages and the terminal say in the same words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

# Of a character class: C0 and C1 controls, marks that reorder or break text, byte order mark, what XML cannot hold,
# lone surrogates (undecodable file names)
UNSAFE = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff"
_UNSAFE = re.compile(f"[{UNSAFE}]")
# What runners of CI systems take for commands in a log: `::set-output ...` begins a line, `##vso[...]` stands anywhere.
_COMMANDS = re.compile(r"^(\s*):(?=:[A-Za-z])|#(?=#(?:vso)?\[)")


def escape(text: str, keep: str = "") -> str:
    r"""`text` with control characters, bidirectional marks and surrogates written as `\x1b`, `\n`, `\u202e`...

    Characters in `keep` stay as they are. Words that a CI system would obey are broken up: `\x3a:error::`.
    """
    text = _COMMANDS.sub(lambda m: f"{m[1] or ''}\\x{ord(m[0][-1]):x}", text)
    return _UNSAFE.sub(lambda m: m[0] if m[0] in keep else m[0].encode("unicode_escape").decode("ascii"), text)


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


def percent(share: float | None, unknown: str = "-") -> str:
    """A share as "12.3 %"; `unknown` where it is None or not finite."""
    return unknown if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def chance(share: float) -> str:
    """A probability as "12 %", never 0 % nor 100 %, which nobody can know."""
    return "<1 %" if share < 0.005 else ">99 %" if share >= 0.995 else f"{100 * share:.0f} %"

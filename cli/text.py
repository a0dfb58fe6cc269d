"""Text that came from a stranger's file, made safe and short enough for a terminal."""

from __future__ import annotations

import os
import re
from typing import TextIO

# C0 and C1 controls, marks that reorder or break text, byte order mark, lone surrogates (undecodable file names)
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def escape(text: str, keep: str = "") -> str:
    r"""`text` with control characters, bidirectional marks and surrogates written as `\x1b`, `\n`, `\u202e`...

    Characters in `keep` stay as they are.
    """
    return _UNSAFE.sub(lambda m: m[0] if m[0] in keep else m[0].encode("unicode_escape").decode("ascii"), text)


def shorten(text: str, width: int) -> str:
    """`text` cut in the middle to `width` characters: the ends tell names apart."""
    if len(text) <= width:
        return text
    head = (width - 3) // 2
    return text[:head] + "..." + text[len(text) - (width - 3 - head) :]


def format_duration(seconds: float) -> str:
    """ "0.4s", "45s", "1m35s", "2h05m": read back by `settings.parse_duration`."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches `stream` on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def supports_color(stream: TextIO) -> bool:
    """Whether to write colour codes: a terminal, and NO_COLOR (no-color.org) is unset or empty."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")

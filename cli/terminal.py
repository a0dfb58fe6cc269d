"""What a terminal can show; durations and sizes as people say them."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from typing import TextIO


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


def format_size(count: int) -> str:
    """Bytes: "1.5 kB", "23.0 MB"."""
    if count < 1e6:
        return f"{count / 1e3:,.1f} kB"
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches `stream` on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def supports_color(stream: TextIO) -> bool:
    """Whether to write colour codes: a terminal, and NO_COLOR (no-color.org) is unset or empty."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def wrapped(text: str, stream: TextIO) -> str:
    """`text` broken between words where a line of a terminal ends. A path, and a command in backticks, stay whole."""
    if not is_terminal(stream):
        return text
    whole = re.sub("`[^`]*`", lambda command: command[0].replace(" ", "\0"), text)
    wrapper = textwrap.TextWrapper(
        shutil.get_terminal_size().columns, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(wrapper.fill(line) if line else "" for line in whole.split("\n")).replace("\0", " ")

"""stdout: lines, documents for programs, JSON."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from cleanlab_lite.addresses import shown
from cleanlab_lite.text import escape


def line(text: str = "") -> None:
    """One line of the answer, or several; whatever strangers' text in it has missed, is made safe here."""
    document(escape(shown(text), keep="\n\t"))


def document(text: str) -> None:
    """Text that has been made safe for who reads it, as it is.

    When the reader has gone away (`| head`) the rest is dropped, the command goes on.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def json_document(value: Any) -> None:
    """`value` as JSON; NaN and infinities become null, which JSON has no numbers for."""
    document(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value

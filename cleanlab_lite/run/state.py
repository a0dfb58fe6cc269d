"""`run.json`: what a run folder says about itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cleanlab_lite.errors import ReportError
from cleanlab_lite.run.layout import STATE

_ALWAYS = {"key", "command", "resumed", "finished"}


@dataclass(frozen=True)
class State:
    """A run as it was left. What follows `finished` is there when it is finished."""

    key: str  # sha256 of data, options and version
    command: Sequence[str]  # what the user typed
    resumed: int  # times
    finished: str | None  # time, UTC, ISO 8601
    plan: dict[str, Any] | None = None  # None where evidence was brought
    classes: Sequence[str] = field(default=())

    @classmethod
    def read(cls, folder: Path) -> State | None:
        """None where there is no `run.json`. Raises ReportError when it is damaged."""
        stored = stored_state(folder)
        known = {each.name for each in fields(cls)}
        return None if stored is None else cls(**{name: value for name, value in stored.items() if name in known})


def stored_state(folder: Path) -> dict[str, Any] | None:
    """`run.json` as it is, None where there is none."""
    path = folder / STATE
    if not path.exists():
        return None
    state = read_json(path)
    if not state.keys() >= _ALWAYS:
        raise ReportError(f"{path} is not a file of nlclean", hint="choose another folder")
    return state


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in a run folder."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise ReportError(f"{path} is damaged: {error}", hint="delete the run folder and run again") from error

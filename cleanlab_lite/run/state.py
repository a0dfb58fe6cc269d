"""`run.json`: what a run folder says about itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cleanlab_lite.errors import ReportError
from cleanlab_lite.files import json_object, read_small, reading
from cleanlab_lite.run.layout import STATE

DAMAGED = "delete the run folder and run again"
ALWAYS = {"key": str, "command": list, "resumed": int, "finished": (str, type(None))}  # fields of run.json
MARKER = {"finished": str, "seconds": (int, float), "facts": dict}  # of the marker of a stage


@dataclass(frozen=True)
class State:
    """A run as it was left. What follows `finished` is there when it is finished."""

    key: str  # sha256 of data, options and version
    command: Sequence[str]  # what the user typed
    resumed: int  # times
    finished: str | None  # time, UTC, ISO 8601
    plan: dict[str, Any] | None = None  # None where evidence was brought
    classes: Sequence[str] = field(default=())
    configuration: dict[str, Any] = field(default_factory=dict)  # options, by name
    seal: str = ""  # see `run.seal`
    directory: str = ""  # where `command` was typed; "" in runs of older versions

    @classmethod
    def read(cls, folder: Path) -> State | None:
        """None where there is no `run.json`. Raises ReportError when it is damaged."""
        stored = stored_state(folder)
        known = {each.name for each in fields(cls)}
        if stored is None:
            return None
        with reading(f"{folder / STATE} is damaged", ReportError, hint=DAMAGED):
            return cls(**{name: value for name, value in stored.items() if name in known})

    def __post_init__(self) -> None:
        """Raises ValueError for what no run has written."""
        if not all(isinstance(word, str) for word in (*self.command, *self.classes, self.seal, self.directory)):
            raise ValueError("command, classes, seal and directory must be text")
        if not isinstance(self.plan, dict | None):
            raise ValueError("plan must be an object")


def stored_state(folder: Path) -> dict[str, Any] | None:
    """`run.json` as it is, None where there is none."""
    path = folder / STATE
    if not path.exists():
        return None
    if not read_json(path).keys() >= ALWAYS.keys():
        raise ReportError(f"{path} is not a file of nlclean", hint="choose another folder")
    return read_json(path, **ALWAYS)


def read_json(path: Path, **expected: Any) -> dict[str, Any]:
    """A JSON object in a run folder, with at least the fields `expected`, of these types."""
    with reading(f"{path} is damaged", ReportError, hint=DAMAGED):
        return json_object(read_small(path), **expected)

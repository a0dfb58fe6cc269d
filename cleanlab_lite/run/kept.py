"""`Kept`: what a command has left beside a run, a JSON file of exactly its fields, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from cleanlab_lite.errors import ReportError
from cleanlab_lite.files import json_object, read_small, reading


@dataclass(frozen=True)
class Kept:
    """Of one run."""

    FILE: ClassVar[str]
    VERSION: ClassVar[int]
    COMMAND: ClassVar[str]

    version: int

    def as_dict(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """That of a run folder; None where there is none of this version. Raises ReportError when it is damaged."""
        path = folder / cls.FILE
        if not path.is_file():
            return None
        with reading(f"{path} is damaged", ReportError, hint=f"delete {path} and run `{cls.COMMAND}` again"):
            stored = json_object(read_small(path), version=int)
            return cls.from_dict(stored) if stored["version"] == cls.VERSION else None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `as_dict` gave. Raises KeyError or TypeError where it is something else."""
        raise NotImplementedError

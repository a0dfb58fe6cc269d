"""What the user says of how data are to be read: the options of `audit`, `read_manifest` and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

ROLES = ("path", "label", "id", "split", "features")  # of columns


@dataclass(frozen=True)
class Reading:
    """Meant as in `read_manifest`; None where nothing is said."""

    path_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    split_column: str | None = None
    features_column: str | None = None
    annotator_column: str | None = None
    features: Any = None  # a file, "none", or an array (n, d) beside objects in memory
    features_columns: str | None = None
    path_prefix: str | None = None
    path_suffix: str | None = None
    path_root: str | PathLike[str] | None = None
    layout: str | None = None
    multi_label: str | None = None
    segments: bool = True

    @property
    def columns(self) -> dict[str, str | None]:
        """Role -> column."""
        return {role: getattr(self, f"{role}_column") for role in ROLES}

"""What the user says of how data are to be read: the options of `audit`, `read_manifest` and the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from cleanlab_lite.files import local_path

if TYPE_CHECKING:
    from cleanlab_lite.manifest.readers.places import Places

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
    def given(self) -> set[str]:
        """The names of what is said."""
        return {field.name for field in fields(self) if getattr(self, field.name) is not None}

    @cached_property
    def places(self) -> Places:
        """Where files are, and what was found there: one for a reading, in which rows are understood several times."""
        # numpy, and the command line asks for names of options only
        from cleanlab_lite.manifest.readers.places import Places

        return Places(self.path_prefix or "", self.path_suffix or "", local_path(os.fspath(self.path_root or "")))

    @property
    def columns(self) -> dict[str, str | None]:
        """Role -> column."""
        return {role: getattr(self, f"{role}_column") for role in ROLES}

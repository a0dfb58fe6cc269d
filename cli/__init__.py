"""Find wrong labels in image, sound and embedding datasets.

    import nlclean
    report = nlclean.audit("manifest.csv")

The public names are those of the library `cleanlab_lite`, loaded when they are first used. This package is also the
program: `python -m nlclean` and the `nlclean` script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cleanlab_lite as _library  # imports nothing

if TYPE_CHECKING:
    from cleanlab_lite import PROXIES as PROXIES
    from cleanlab_lite import AuditConfig as AuditConfig
    from cleanlab_lite import Evidence as Evidence
    from cleanlab_lite import History as History
    from cleanlab_lite import LabelIssueDetector as LabelIssueDetector
    from cleanlab_lite import Manifest as Manifest
    from cleanlab_lite import NlcleanError as NlcleanError
    from cleanlab_lite import Recorder as Recorder
    from cleanlab_lite import Report as Report
    from cleanlab_lite import RunFolder as RunFolder
    from cleanlab_lite import audit as audit
    from cleanlab_lite import read_manifest as read_manifest

    __version__: str

__all__ = [*_library.__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version()
    if name not in _library.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_library, name)


def __dir__() -> list[str]:
    return sorted(__all__)


def version() -> str:
    """The installed version, or "not installed" when run from a bare source tree."""
    from importlib.metadata import PackageNotFoundError, version  # 20 ms that --help does not need

    try:
        return version("nlclean")
    except PackageNotFoundError:
        return "not installed"

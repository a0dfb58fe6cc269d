"""Find wrong labels in image, sound and embedding datasets.

    import nlclean
    report = nlclean.audit("manifest.csv")
    report.flagged().to_pandas()

`nlclean` offers the same names, they are the same objects. They are imported when they are first used, so that the
import costs nothing, and torch is loaded when training starts.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; tests/test_door.py holds it against the table
    from cleanlab_lite.config import AuditConfig as AuditConfig
    from cleanlab_lite.door import Report as Report
    from cleanlab_lite.door import audit as audit
    from cleanlab_lite.errors import NlcleanError as NlcleanError
    from cleanlab_lite.estimator import LabelIssueDetector as LabelIssueDetector
    from cleanlab_lite.evidence.evidence import Evidence as Evidence
    from cleanlab_lite.evidence.history import History as History
    from cleanlab_lite.evidence.recorder import Recorder as Recorder
    from cleanlab_lite.manifest.manifest import Manifest as Manifest
    from cleanlab_lite.manifest.readers import read_manifest as read_manifest
    from cleanlab_lite.run import RunFolder as RunFolder
    from cleanlab_lite.train.models import PROXIES as PROXIES

_PUBLIC = {
    "audit": ("cleanlab_lite.door", "audit"),
    "read_manifest": ("cleanlab_lite.manifest.readers", "read_manifest"),
    "Manifest": ("cleanlab_lite.manifest.manifest", "Manifest"),
    "Evidence": ("cleanlab_lite.evidence.evidence", "Evidence"),
    "Recorder": ("cleanlab_lite.evidence.recorder", "Recorder"),
    "History": ("cleanlab_lite.evidence.history", "History"),
    "Report": ("cleanlab_lite.door", "Report"),
    "RunFolder": ("cleanlab_lite.run", "RunFolder"),
    "NlcleanError": ("cleanlab_lite.errors", "NlcleanError"),
    "AuditConfig": ("cleanlab_lite.config", "AuditConfig"),
    "PROXIES": ("cleanlab_lite.train.models", "PROXIES"),
    "LabelIssueDetector": ("cleanlab_lite.estimator", "LabelIssueDetector"),
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)

"""Find wrong labels in image, sound and embedding datasets.

    import cleanlab_lite as cl
    report = cl.audit("manifest.csv")
    report.flagged().to_pandas()

Names are imported when they are first used, so `import cleanlab_lite` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "audit": ("cleanlab_lite.pipeline", "audit_path"),
    "read_manifest": ("cleanlab_lite.readers", "read_manifest"),
    "Manifest": ("cleanlab_lite.manifest", "Manifest"),
    "Evidence": ("cleanlab_lite.evidence", "Evidence"),
    "Recorder": ("cleanlab_lite.recorder", "Recorder"),
    "History": ("cleanlab_lite.history", "History"),
    "Report": ("cleanlab_lite.report", "Report"),
    "AuditConfig": ("cleanlab_lite.config", "AuditConfig"),
    "PROXIES": ("cleanlab_lite.models", "PROXIES"),
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(module), attribute)

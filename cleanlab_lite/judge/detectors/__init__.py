"""Detectors judge: pure functions of `Evidence`, one file each, registered in `DETECTORS`.

A detector is called with labelled, readable rows only: `evidence.labels` holds no -1 and the arrays no
row that is all NaN. Every score is oriented the same way: higher is cleaner.
"""

from __future__ import annotations

import importlib

from cleanlab_lite.judge.detectors.base import DETECTORS, Detection

for _module in (
    "aum",
    "cartography",
    "confident_learning",
    "ctrl",
    "density",
    "fine",
    "forgetting",
    "knn",
    "loss_mixture",
    "marvel",
    "out_of_vocabulary",
    "prototypes",
    "second_split",
    "simifeat",
):
    importlib.import_module(f"cleanlab_lite.judge.detectors.{_module}")

__all__ = ["DETECTORS", "Detection"]

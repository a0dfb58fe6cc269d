"""Losses: `LOSSES.get(name).function(num_samples, num_classes, **hp)` builds `f(logits, targets, index) -> (b,)`.

logits (b, k) of any float type; targets (b,) int64 or (b, k) float rows that sum to 1; index (b,) int64,
the rows of the data that the batch holds (losses with memory need it). Never reduced: the caller does.
"""

from __future__ import annotations

import importlib

from cleanlab_lite.losses.base import LOSSES, LossFunction

for _module in ("cross_entropy", "generalized_cross_entropy", "mean_absolute_error"):
    importlib.import_module(f"cleanlab_lite.losses.{_module}")

__all__ = ["LOSSES", "LossFunction"]

"""Losses: `LOSSES.get(name).function(num_samples, num_classes, **hp)` builds `f(logits, targets, index) -> (b,)`.

logits (b, k) of any float type; targets (b,) int64 or (b, k) float rows that sum to 1; index (b,) int64,
the rows of the data that the batch holds (losses with memory need it). Never reduced: the caller does.
The value is float32 (float64 for float64 logits) and, like its gradient, finite for any finite logits in reason.
Wrong hyper-parameters raise ConfigError when the loss is built.
"""

from __future__ import annotations

import importlib

from cleanlab_lite.train.losses.base import LOSSES, LossFunction

for _module in (
    "active_passive",
    "asymmetric",
    "bootstrapping",
    "cross_entropy",
    "early_learning",
    "focal",
    "generalized_cross_entropy",
    "label_smoothing",
    "mean_absolute_error",
    "polysoft",
    "sparse",
    "symmetric_cross_entropy",
):
    importlib.import_module(f"cleanlab_lite.train.losses.{_module}")

__all__ = ["LOSSES", "LossFunction"]

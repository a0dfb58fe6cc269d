"""Strategies: how a proxy is taught. `STRATEGIES.get(name).function(setting, **hp)` builds a `Strategy`."""

from __future__ import annotations

import importlib

from cleanlab_lite.train.strategies.base import STRATEGIES, Learner, Observed, Setting, Strategy, Wrap

for _module in (
    "attention_mixup",
    "co_teaching",
    "confidence_branch",
    "curriculum",
    "discard",
    "dividemix",
    "dynamic_bootstrap",
    "fixmatch",
    "marvel",
    "meta_loss",
    "mixup",
    "noise_dependent_smoothing",
    "plain",
    "promix",
    "prune",
    "self_learning",
    "truncated",
):
    importlib.import_module(f"cleanlab_lite.train.strategies.{_module}")

__all__ = ["STRATEGIES", "Learner", "Observed", "Setting", "Strategy", "Wrap"]

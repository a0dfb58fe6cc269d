"""Which ways of looking at the rows an audit takes, and pictures made smaller for one of them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.manifest.manifest import PLURALS, Modality
from cleanlab_lite.train.models.encoders import is_encoder
from cleanlab_lite.train.models.lite import PACKAGE
from cleanlab_lite.train.task import DATA, ENCODER, VIEWS

# A side, of what networks beside an encoder and filters look at: narrow networks see there as much as wide ones at 96,
# for a fifth of the time.
PIXELS = 32
BLOCK = 1024  # pictures


def choose_views(modality: Modality, config: AuditConfig, *, tuned: bool = False) -> tuple[str, ...]:
    """The views that the configuration names, or all that fit the data, in the order of `VIEWS`.

    Args:
        tuned: an encoder is trained itself, too, which looks at the data.

    Raises ConfigError for views that such data do not have, and where --proxy or --heads want others.
    """
    if config.views == "auto":
        return _usual(modality, config, tuned)
    known, data = VIEWS[modality], DATA[modality]
    named = [name.strip() for name in config.views.split(",")]
    if unknown := [name for name in named if name not in known]:
        raise ConfigError(
            f"{PLURALS[modality]} have no view {unknown[0]!r}", hint=f"views of {PLURALS[modality]}: {', '.join(known)}"
        )
    if config.heads == "closed" and data in named and modality != "vector":
        raise ConfigError(
            f"heads in closed form look at vectors, not at {data}", hint=f"leave out {data}, or use --heads trained"
        )
    wanted = ENCODER if is_encoder(config.proxy) else data if config.proxy != "auto" else ""
    if wanted and wanted not in named:
        raise ConfigError(
            f"--proxy {config.proxy} looks at {wanted}, --views does not name it",
            hint=f"use --views {','.join([wanted, *named])}, or leave out --proxy",
        )
    return tuple(name for name in known if name in named)


def _usual(modality: Modality, config: AuditConfig, tuned: bool) -> tuple[str, ...]:
    data, named = DATA[modality], is_encoder(config.proxy)
    if config.proxy != "auto" and not named:
        return (data,)
    known = tuple(name for name in VIEWS[modality] if name != ENCODER or named or has_encoder())
    without = config.heads == "closed" or (named and not tuned)
    return tuple(name for name in known if name != data) if without and modality != "vector" else known


def has_encoder() -> bool:
    """Whether the small encoder is installed: it is a dependency, but one may do without."""
    return importlib.util.find_spec(PACKAGE) is not None


def reduced(inputs: Inputs, size: int) -> Inputs:
    """The same pictures or patches (p, c, s, s) with at most `size` pixels a side."""
    if inputs.array.shape[-1] <= size:
        return inputs
    parts = [
        F.interpolate(torch.from_numpy(part), (size, size), mode="bilinear", antialias=True).numpy()
        for part in np.array_split(inputs.array, -(-len(inputs.array) // BLOCK))
    ]
    return replace(inputs, array=np.concatenate(parts))

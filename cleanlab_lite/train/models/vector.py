"""Proxies for embeddings and other vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cleanlab_lite.train.models.base import PROXIES

# Measured on frozen features of 256 to 1,000 numbers, pictures and sounds: on all of them a network learns wrong labels
# by heart. Whitened components lose as much again: their sizes say which of them matter.
COMPONENTS = 128  # of longer vectors
DROPPED = 0.2  # share of the components that a step does not see
NOTHING = 1e-6  # of the largest variance: directions in which only rows that were not looked at differ


@PROXIES.register(
    "mlp",
    summary=f"two hidden layers of 256 on at most {COMPONENTS} components, some dropped",
    takes=("vector",),
    usual_for=("vector",),
    learning_rate=0.1,
    fewest_epochs=16,
    seconds=8e-5,
    weights_mib=0.3,
)
def mlp_encoder(examples: Tensor) -> tuple[nn.Module, int]:
    """For inputs of the shape of `examples` (b, d); longer ones are seen through their principal components."""
    width = 256
    d = examples.shape[1]
    if d <= COMPONENTS:
        return nn.Sequential(*hidden_layers(d, width)), width
    seen = [leading_components(examples, COMPONENTS), nn.Dropout(DROPPED)]
    return nn.Sequential(*seen, *hidden_layers(COMPONENTS, width)), width


@PROXIES.register(
    "wide_mlp",
    summary="two hidden layers of 512 on all numbers; learns labels of long vectors by heart",
    takes=("vector",),
    learning_rate=0.1,
    seconds=1.5e-4,
    weights_mib=1,
)
def wide_mlp_encoder(examples: Tensor) -> tuple[nn.Module, int]:
    """For inputs of the shape of `examples` (b, d)."""
    width = 512
    return nn.Sequential(*hidden_layers(examples.shape[1], width)), width


def hidden_layers(num_inputs: int, width: int) -> list[nn.Module]:
    """Two, each with a batch norm."""
    layers: list[nn.Module] = []
    for size in (num_inputs, width):
        layers += [nn.Linear(size, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    return layers


def leading_components(examples: Tensor, count: int) -> nn.Linear:
    """A fixed layer to the `count` leading principal components of `examples` (b, d), their mean variance 1.

    Where the examples span fewer, the others are 0.
    """
    centred = examples.double().cpu() - examples.double().cpu().mean(0)  # not every device has float64
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    values, vectors = values[-count:], vectors[:, -count:]
    spanned = values > NOTHING * values[-1]
    scale = values[spanned].mean().clamp(min=1e-12).sqrt() if spanned.any() else 1.0
    layer = nn.Linear(examples.shape[1], count, bias=False)  # a batch norm takes the mean away
    layer.weight.data = (vectors * spanned / scale).T.contiguous().float()
    layer.weight.requires_grad_(False)
    return layer

"""Proxy for embeddings and other vectors."""

from __future__ import annotations

from torch import Tensor, nn

from cleanlab_lite.train.models.base import PROXIES


@PROXIES.register(
    "mlp",
    summary="two hidden layers of 512",
    takes=("vector",),
    usual_for=("vector",),
    learning_rate=0.1,
    seconds=1e-4,
    weights_mib=1,
)
def mlp_encoder(examples: Tensor) -> tuple[nn.Module, int]:
    """For inputs of the shape of `examples` (b, d)."""
    width = 512
    layers: list[nn.Module] = []
    for size in (examples.shape[1], width):
        layers += [nn.Linear(size, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers), width

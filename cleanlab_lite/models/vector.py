"""Proxy for embeddings and other vectors."""

from __future__ import annotations

from torch import Tensor, nn

from cleanlab_lite.errors import ConfigError


def mlp_encoder(examples: Tensor, weights: str) -> tuple[nn.Module, int]:
    """Two hidden layers. Raises ConfigError for pictures or weights."""
    if examples.dim() != 2:
        raise ConfigError("proxy 'mlp' takes vectors, this manifest holds pictures", hint="use --proxy cnn")
    if weights:
        raise ConfigError("proxy 'mlp' takes no pretrained weights")
    width = 512
    layers: list[nn.Module] = []
    for size in (examples.shape[1], width):
        layers += [nn.Linear(size, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers), width

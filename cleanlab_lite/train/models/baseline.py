"""The baseline network of Fonseca et al. (WASPAA 2019): three pre-activation convolutions on log-mel patches.

24, 48 and 48 filters of 5 x 5; the first two are followed by max pooling, 4 along time and 2 along frequency. Features
are the 64 outputs of the dense layer. The paper's l2 of 1e-3 on its two dense layers is the configuration's weight
decay here. It takes pictures of any size and channels, too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cleanlab_lite.train.models.base import PROXIES

FILTERS = (24, 48, 48)
FEATURES = 64
POOL = (2, 4)  # mel bands, frames


def convolution(channels_in: int, channels_out: int) -> nn.Sequential:
    """norm, ReLU, 5 x 5 convolution, norm, ReLU; the size stays."""
    return nn.Sequential(
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, 5, padding="same", bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


@PROXIES.register(
    "baseline_cnn",
    summary="three 5x5 convolutions for log-mel, dropout",
    paper="Fonseca et al., WASPAA 2019",
    takes=("sound", "image"),
    learning_rate=0.01,
    seconds=1.6e-3,
    weights_mib=1,
)
def baseline_cnn_encoder(examples: Tensor) -> tuple[nn.Module, int]:
    """For inputs of the shape of `examples` (b, c, bands, frames)."""
    first, second, third = FILTERS
    maps = nn.Sequential(
        convolution(examples.shape[1], first),
        nn.MaxPool2d(POOL, ceil_mode=True),  # ceil: for pictures of few pixels
        convolution(first, second),
        nn.MaxPool2d(POOL, ceil_mode=True),
        convolution(second, third),
        nn.Flatten(),
    )
    with torch.no_grad():
        width = maps.eval()(examples[:1].cpu()).shape[1]
    encoder = nn.Sequential(maps.train(), nn.Dropout(0.5), nn.Linear(width, FEATURES), nn.ReLU(), nn.Dropout(0.5))
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return encoder, FEATURES

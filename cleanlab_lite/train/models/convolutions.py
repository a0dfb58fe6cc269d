"""Convolutions as the products that they are, on a GPU.

cuDNN plans every shape of a convolution before it runs it the first time, and every size of a batch is another shape.
Of EfficientNet-Lite0 at 160 pixels that took 3.9 s before the first 1,024 pictures were seen on an H100, and 10.4 s
before the first 64 were learned from, 5.5 of them for the slopes of the one convolution that sees the picture. cuBLAS
plans nothing, and is no slower after that: with convolutions of 1 x 1 as products 24.4 ms for 29.5 to see 1,024
pictures, 7.6 for 7.6 to learn from 64.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEW = 4  # channels of a picture


class Product(nn.Conv2d):
    """A convolution that is a product on a GPU where it is 1 x 1, or learns from a picture of few channels."""

    def _conv_forward(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        planned = maps.device.type == "cpu" or not (is_pointwise(self) or (torch.is_grad_enabled() and is_first(self)))
        return super()._conv_forward(maps, weight, bias) if planned else self.product(maps)

    def product(self, maps: Tensor) -> Tensor:
        """(b, o, h, w), channels last, of maps (b, c, s, s)."""
        if is_pointwise(self):
            rows = maps.permute(0, 2, 3, 1)  # a row for every pixel
            return nn.functional.linear(rows, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        windows = nn.functional.unfold(maps, self.kernel_size, self.dilation, self.padding, self.stride)
        values = nn.functional.linear(windows.transpose(1, 2), self.weight.flatten(1), self.bias)
        return values.unflatten(1, self._sides(maps)).permute(0, 3, 1, 2)

    def _sides(self, maps: Tensor) -> tuple[int, ...]:
        lost = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True))
        padded = (s + 2 * int(p) for s, p in zip(maps.shape[2:], self.padding, strict=True))
        return tuple((p - w) // s + 1 for p, w, s in zip(padded, lost, self.stride, strict=True))


def make_products(network: nn.Module) -> None:
    """Make every plain convolution in it that can be one a `Product`; weights and their names stay."""
    for layer in network.modules():
        if type(layer) is nn.Conv2d and (is_pointwise(layer) or is_first(layer)):
            layer.__class__ = Product


def is_pointwise(layer: nn.Conv2d) -> bool:
    one = (1, 1)
    return layer.kernel_size == layer.stride == one and layer.padding in ((0, 0), "valid", "same") and layer.groups == 1


def is_first(layer: nn.Conv2d) -> bool:
    """Whether it sees the picture."""
    plain = not isinstance(layer.padding, str) and layer.padding_mode == "zeros"
    return layer.in_channels <= FEW and layer.groups == 1 and plain

"""What every proxy is: an encoder to features, and a linear head to logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cleanlab_lite.models.backbones import residual_network
from cleanlab_lite.models.baseline import baseline_cnn_encoder
from cleanlab_lite.models.image import fast_cnn_encoder
from cleanlab_lite.models.vector import mlp_encoder
from cleanlab_lite.registry import Registry

PROXIES = Registry("proxy")
PROXIES.register("mlp", summary="two hidden layers of 512", paper="")(mlp_encoder)
PROXIES.register(
    "cnn", summary="whitening layer, three wide blocks, for 32-128 px from scratch", paper="Jordan 2024, airbench"
)(fast_cnn_encoder)
PROXIES.register(
    "baseline_cnn", summary="three 5x5 convolutions for log-mel, dropout", paper="Fonseca et al., WASPAA 2019"
)(baseline_cnn_encoder)
PROXIES.register("resnet18", summary="torchvision ResNet-18", paper="He et al., CVPR 2016")(
    residual_network("resnet18")
)
PROXIES.register("resnet50", summary="torchvision ResNet-50", paper="He et al., CVPR 2016")(
    residual_network("resnet50")
)


class Proxy(nn.Module):
    """logits = head(encoder(inputs)); `encoder(inputs)` is (b, d)."""

    def __init__(self, encoder: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.encoder(inputs))


def build_proxy(name: str, examples: Tensor, num_classes: int, *, seed: int, weights: str = "") -> Proxy:
    """A freshly initialised proxy on the device of `examples`; global random state is left as it was.

    Args:
        name: a name of PROXIES.
        examples: (b, ...) float32 normalised inputs; they give the shape, and the statistics of a whitening layer.
        seed: of the initialisation.
        weights: file of pretrained weights, or "default"; only backbones take one.

    Raises:
        ConfigError: unknown name, or a proxy for other inputs than these, or weights that do not fit.
    """
    with torch.random.fork_rng(devices=[examples.device] if examples.is_cuda else []):
        torch.manual_seed(seed)
        encoder, num_features = PROXIES.get(name).function(examples, weights)
        proxy = Proxy(encoder, num_features, num_classes).to(examples.device)
    return proxy.to(memory_format=torch.channels_last) if examples.dim() == 4 else proxy

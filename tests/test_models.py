"""Proxies: shapes, seeds, the whitening layer, and weights from files that are not what they should be."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.train.models import PROXIES, Proxy, build_proxy
from cleanlab_lite.train.models.backbones import load_weights
from cleanlab_lite.train.models.convolutions import Product, make_products
from cleanlab_lite.train.models.image import whitening_layer
from cleanlab_lite.train.models.vector import COMPONENTS, leading_components

VECTORS = {spec.name for spec in PROXIES if spec.facts.takes == ("vector",)}
PICTURES = sorted(set(PROXIES.names()) - VECTORS)
BACKBONES = [spec.name for spec in PROXIES if spec.facts.pretrained]


def examples(name: str, size: int = 32, n: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((n, 10) if name in VECTORS else (n, 3, size, size), generator=generator)


def parameters(proxy: Proxy) -> Tensor:
    return torch.cat([value.flatten().float() for value in proxy.state_dict().values()])


# --- convolutions as products ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 5, 1),
        nn.Conv2d(6, 5, 1, bias=False),
        nn.Conv2d(3, 5, 3, stride=2, padding=1),
        nn.Conv2d(1, 4, (5, 3), padding=(2, 0), dilation=2),
    ],
    ids=str,
)
def test_a_product_is_the_convolution(layer):
    maps = torch.randn(2, layer.in_channels, 11, 14).contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = layer(maps)
    make_products(layer)
    product = layer.product(maps)
    torch.testing.assert_close(product, expected)
    assert product.is_contiguous(memory_format=torch.channels_last)
    wanted = maps, layer.weight
    torch.testing.assert_close(
        torch.autograd.grad(product.square().sum(), wanted), torch.autograd.grad(expected.square().sum(), wanted)
    )


def test_only_plain_convolutions_become_products():
    class Own(nn.Conv2d):
        pass

    others = [
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 1, stride=2),
        nn.Conv2d(8, 8, 1, groups=2),
        nn.Conv2d(8, 8, 1, padding=1),
        nn.Conv2d(3, 8, 3, padding="same"),
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"),
        Own(8, 8, 1),
    ]
    network = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(3, 8, 3), *others)
    make_products(network)
    assert [type(layer) is Product for layer in network] == [True, True] + [False] * len(others)


# --- shapes and seeds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 9, 32, 48, 64, 128])
@pytest.mark.parametrize("name", ["cnn", "baseline_cnn", "resnet18"])
@torch.no_grad()
def test_pictures_of_every_size_become_features_and_logits(name, size):
    inputs = examples(name, size, n=2)
    proxy = build_proxy(name, inputs, 7, seed=0).eval()
    features = proxy.encoder(inputs)
    assert features.shape == (2, proxy.head.in_features)
    logits = proxy(inputs)
    assert logits.shape == (2, 7)
    assert torch.equal(logits, proxy.head(features))
    assert logits.isfinite().all()


@torch.no_grad()
def test_the_baseline_of_the_paper():
    proxy = build_proxy("baseline_cnn", torch.randn(8, 1, 64, 64), 20, seed=0)
    kernels = [layer.weight for layer in proxy.modules() if isinstance(layer, nn.Conv2d)]
    assert [tuple(kernel.shape) for kernel in kernels] == [(24, 1, 5, 5), (48, 24, 5, 5), (48, 48, 5, 5)]
    dense = [layer.weight for layer in proxy.modules() if isinstance(layer, nn.Linear)]
    # 64 bands pooled by 2 twice, 64 frames by 4 twice
    assert [tuple(weight.shape) for weight in dense] == [(64, 48 * 16 * 4), (20, 64)]
    for weight in (*kernels[1:], dense[0]):  # He: the variance is 2 over the inputs of a unit
        assert weight.std() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.05)
    inputs = torch.randn(4, 1, 64, 64)
    features = proxy.eval().encoder(inputs)
    assert features.shape == (4, 64) and features.min() >= 0 and torch.equal(features, proxy.encoder(inputs))
    proxy.train()
    assert not torch.equal(proxy.encoder(inputs), proxy.encoder(inputs))  # dropout


@pytest.mark.parametrize("dimensions", [1, 3, 128, 129, 512])
@pytest.mark.parametrize("name", sorted(VECTORS))
def test_vectors_of_every_length_become_logits(name, dimensions):
    inputs = torch.randn(5, dimensions)
    assert build_proxy(name, inputs, 3, seed=0)(inputs).shape == (5, 3)


def test_long_vectors_are_seen_through_their_components():
    """What varies most keeps its place: white components lose to wrong labels, as do all numbers."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(300, 300)))[0]
    inputs = torch.tensor(rng.normal(size=(2000, 300)) * np.linspace(0, 3, 300) @ basis.T, dtype=torch.float32)
    layer = leading_components(inputs, 100)
    seen = layer(inputs).detach().double()
    covariance = torch.cov(seen.T)
    assert (covariance - torch.diag(covariance.diagonal())).abs().max() < 1e-4
    assert covariance.diagonal().mean() == pytest.approx(1, rel=1e-2)
    assert covariance.diagonal()[-1] > 1.5 * covariance.diagonal()[0]


@torch.no_grad()
def test_directions_that_no_example_has_are_not_seen():
    """Few rows span few directions; noise in the others would reach the held-out rows only."""
    inputs = torch.randn(20, 300, generator=torch.Generator().manual_seed(0))
    inputs[:, 150:] = 0
    layer = leading_components(inputs, 128)
    elsewhere = torch.zeros(3, 300)
    elsewhere[:, 150:] = 5
    assert layer(inputs).shape == (20, 128)
    assert layer(elsewhere).abs().max() == 0
    assert (layer(inputs).abs().amax(0) > 1e-3).sum() == 19  # centred
    assert leading_components(torch.ones(4, 300), 128)(inputs).isfinite().all()


def test_the_components_are_fixed_and_short_vectors_need_none():
    long, short = (build_proxy("mlp", torch.randn(50, d), 3, seed=0) for d in (COMPONENTS + 1, COMPONENTS))
    fixed = [name for name, value in long.named_parameters() if not value.requires_grad]
    assert fixed == ["encoder.0.weight"]
    assert all(value.requires_grad for value in short.parameters())
    inputs = torch.randn(8, COMPONENTS)
    assert torch.equal(short(inputs), short(inputs))  # no dropout


@pytest.mark.parametrize("name", PROXIES.names())
def test_a_seed_decides_the_weights_and_global_random_state_stays(name):
    inputs = examples(name)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one = parameters(build_proxy(name, inputs, 3, seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert torch.equal(one, parameters(build_proxy(name, inputs, 3, seed=1)))
    assert not torch.equal(one, parameters(build_proxy(name, inputs, 3, seed=2)))


@pytest.mark.parametrize("name", PROXIES.names())
def test_a_proxy_refuses_inputs_it_is_not_made_for(name):
    other = examples("cnn" if name in VECTORS else "mlp")
    with pytest.raises(ConfigError, match=f"'{name}' takes") as caught:
        build_proxy(name, other, 3, seed=0)
    assert "--proxy" in caught.value.hint


@pytest.mark.parametrize("name", sorted(set(PROXIES.names()) - set(BACKBONES)))
def test_a_proxy_without_pretrained_weights_says_so(name):
    with pytest.raises(ConfigError, match="no pretrained weights"):
        build_proxy(name, examples(name), 3, seed=0, weights="default")


# --- whitening ------------------------------------------------------------------------------------------------------


def test_whitening_makes_uncorrelated_channels_of_unit_power():
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.9, 0.8], [0.0, 0.5, 0.4], [0.0, 0.0, 0.3]])
    smooth = rng.normal(size=(64, 3, 9, 9)).cumsum(axis=2).cumsum(axis=3) / 5
    pictures = torch.tensor(np.einsum("nchw,cd->ndhw", smooth, mixing), dtype=torch.float32)
    layer = whitening_layer(pictures, epsilon=0.0)
    before = torch.corrcoef(pictures.transpose(0, 1).flatten(1))
    assert before[0, 1] > 0.8
    outputs = layer(pictures).transpose(0, 1).flatten(1).detach().double()
    np.testing.assert_allclose(outputs @ outputs.T / outputs.shape[1], np.eye(12), atol=1e-2)
    assert not layer.weight.requires_grad


def test_whitening_does_not_blow_up_what_is_constant():
    grey = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)).repeat(1, 3, 1, 1)
    outputs = whitening_layer(grey)(grey)
    assert outputs.isfinite().all()
    assert outputs.abs().max() < 10
    assert whitening_layer(torch.zeros(4, 3, 8, 8))(torch.ones(1, 3, 8, 8)).isfinite().all()


def test_training_leaves_the_whitening_layer_alone():
    inputs = examples("cnn")
    proxy = build_proxy("cnn", inputs, 3, seed=0)
    trained = {name for name, value in proxy.named_parameters() if value.requires_grad}
    assert "encoder.whiten.weight" not in trained
    assert {"encoder.blocks.0.conv1.weight", "head.weight"} <= trained


# --- weights from files ---------------------------------------------------------------------------------------------


class Tiny(nn.Module):
    """What `load_weights` fills: a body, and a classifier called fc."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, classes)


def saved(path: Path, state: object) -> Path:
    """A file as people have them: safetensors, or torch's own zip of plain tensors."""
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save(state, path)  # in a test only: the product never writes this format
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_come_from_a_file_whatever_its_classifier(tmp_path, suffix):
    source, target = Tiny(classes=1000), Tiny()
    head = target.fc.weight.detach().clone()
    load_weights(target, saved(tmp_path / f"weights{suffix}", source.state_dict()))
    assert torch.equal(target.body[0].weight, source.body[0].weight)
    assert torch.equal(target.fc.weight, head)


def test_weights_of_checkpoints_and_of_parallel_training_are_understood(tmp_path):
    source, target = Tiny(), Tiny()
    state = {f"module.{key}": value for key, value in source.state_dict().items()}
    load_weights(target, saved(tmp_path / "checkpoint.pth", {"state_dict": state, "epoch": 3}))
    assert torch.equal(target.body[0].weight, source.body[0].weight)


def test_a_backbone_starts_from_its_file(tmp_path):
    import torchvision

    source = torchvision.models.resnet18(num_classes=10)
    path = saved(tmp_path / "resnet18.safetensors", source.state_dict())
    inputs = examples("resnet18")
    proxy = build_proxy("resnet18", inputs, 3, seed=0, weights=str(path))
    assert torch.equal(proxy.encoder.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert proxy(inputs).shape == (4, 3)
    with pytest.raises(ConfigError, match="does not fit"):
        build_proxy("resnet50", inputs, 3, seed=0, weights=str(path))


def test_tensors_that_do_not_fit_are_named(tmp_path):
    state = Tiny().state_dict()
    state["body.0.weight"] = torch.zeros(4, 3, 5, 5)
    del state["body.1.running_mean"]
    with pytest.raises(ConfigError, match=r"does not fit.*body\.0\.weight, body\.1\.running_mean"):
        load_weights(Tiny(), saved(tmp_path / "other.safetensors", state))


class Payload:
    """Unpickling this creates a file: what a hostile checkpoint could do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    path, trace = tmp_path / "hostile.pt", tmp_path / "was_here"
    saved(path, {"body.0.weight": Payload(trace)})
    with pytest.raises(ConfigError, match="cannot read weights") as caught:
        load_weights(Tiny(), path)
    assert not trace.exists()
    assert "safetensors" in caught.value.hint


@pytest.mark.parametrize("name", ["garbage.pt", "garbage.safetensors", "empty.pt", "empty.safetensors"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"" if name.startswith("empty") else b"these are no weights" * 10)
    with pytest.raises(ConfigError, match="cannot read weights"):
        load_weights(Tiny(), path)


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"body.0.weight": 0.1}, {1: torch.zeros(2)}, {}])
def test_a_file_that_holds_something_else_is_refused(tmp_path, content):
    with pytest.raises(ConfigError, match=r"weights|does not fit"):
        load_weights(Tiny(), saved(tmp_path / "other.pt", content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no weights file at .*nowhere\.pt"):
        load_weights(Tiny(), tmp_path / "nowhere.pt")


def test_weights_that_cannot_be_fetched_say_what_else_to_do(monkeypatch):
    import torchvision

    def offline(*args: object, **options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    with pytest.raises(ConfigError, match="cannot fetch the weights of resnet18") as caught:
        build_proxy("resnet18", examples("resnet18"), 3, seed=0, weights="default")
    assert "--weights FILE" in caught.value.hint

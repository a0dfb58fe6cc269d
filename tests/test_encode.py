"""Frozen encoders: weights that the tests make, features against a direct forward pass, and what is not done twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from audit_world import CLASSES, QUICK, save_pictures, task, write_csv
from cli_world import call
from safetensors.torch import save_file
from torch import nn

from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig, preset
from cleanlab_lite.data import packs
from cleanlab_lite.data.inputs import Inputs, load_inputs
from cleanlab_lite.errors import ConfigError, StoppedEarly
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.pipeline import run_key
from cleanlab_lite.train import encode as encode_module
from cleanlab_lite.train.encode import encode, features, filled_up
from cleanlab_lite.train.models.encoders import Encoder, describe_encoder, load_encoder
from cleanlab_lite.train.plan import make_plan
from cleanlab_lite.train.task import Task

pytestmark = pytest.mark.usefixtures("here")

NAME, SIZE, N = "torchvision:resnet18", 32, 60
CPU = torch.device("cpu")
ENCODING = ("--proxy", NAME, "--image-size", str(SIZE), "--precision", "fp32")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.resnet18().eval()


@pytest.fixture(scope="module")
def weights(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(network.state_dict(), path)
    return str(path)


@pytest.fixture
def manifest(here: Path) -> Path:
    """60 pictures of 16 px, the third of which is no picture."""
    given = task(N, wrong=4)
    names = [f"{row:02}.png" for row in range(N)]
    save_pictures(here, given.truth, names)
    (here / names[2]).write_bytes(b"no picture")
    return write_csv(here / "pictures.csv", {"path": names, "label": [CLASSES[label] for label in given.labels]})


def inputs_of(manifest: Path) -> Inputs:
    return load_inputs(read_manifest(manifest), SIZE, workers=1)


def encoder_of(weights: str) -> Encoder:
    return load_encoder(describe_encoder(NAME, SIZE), weights)


def direct(network: nn.Module, pictures: np.ndarray) -> np.ndarray:
    """(n, 512) float32: the network without its classifier, pictures normalised as its authors say."""
    seen = []
    hook = network.avgpool.register_forward_hook(lambda _module, _inputs, output: seen.append(output.flatten(1)))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        network((torch.tensor(pictures) / 255 - mean[:, None, None]) / std[:, None, None])
    hook.remove()
    return seen[0].numpy()


def vectors(inputs: Inputs, encoder: Encoder, **options: float) -> tuple[Inputs, int]:
    return encode(inputs, encoder, device=CPU, autocast=None, **options)  # type: ignore[arg-type]


# --- features -------------------------------------------------------------------------------------------------------


def test_a_device_gets_ready_only_where_files_are_to_be_decoded(manifest, weights, monkeypatch, capsys):
    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr(packs, "RACY_NS", 0)
    monkeypatch.setattr(encode_module, "get_ready", lambda encoder, shape, device, autocast: shapes.append(shape))
    audit = ("audit", manifest, *QUICK, *ENCODING, "--weights", weights)
    for run in ("first", "second"):
        assert call(capsys, *audit, "--out", run).code == 0
    assert shapes == [(3, SIZE, SIZE)]


def test_features_are_those_of_a_direct_forward_pass(manifest, network, weights):
    inputs = inputs_of(manifest)
    found, computed = vectors(inputs, encoder_of(weights))
    assert found.array.dtype == np.float16 and found.array.shape == (N, 512)
    assert computed == N - 1
    readable = np.arange(N) != 2
    expected = direct(network, inputs.array)
    np.testing.assert_allclose(found.array[readable], expected[readable], rtol=2e-3, atol=2e-3)
    assert not found.array[2].any()
    assert found.codes[2] == "decode_failed" and found.readable.sum() == N - 1


def test_a_second_call_computes_nothing_and_new_rows_alone_are_computed(manifest, weights):
    inputs, encoder = inputs_of(manifest), encoder_of(weights)
    some, computed = vectors(inputs.select(np.arange(40)), encoder)
    assert computed == 39
    whole, computed = vectors(inputs, encoder)
    assert computed == 20
    assert np.array_equal(whole.array[:40], some.array)
    again, computed = vectors(inputs.select(np.arange(N)[::-1]), encoder)
    assert computed == 0
    assert np.array_equal(again.array, whole.array[::-1])


def test_the_threads_of_torch_encode_a_batch_each_and_change_no_bit(manifest, weights, monkeypatch, here):
    inputs, before, alone = inputs_of(manifest), torch.get_num_threads(), []

    def noted(*args):
        alone.append(torch.get_num_threads())
        return features(*args)

    monkeypatch.setattr(encode_module, "features", noted)
    monkeypatch.setattr(encode_module, "BATCH_CPU", 8)
    found = []
    for threads in (1, 3):
        monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(here / f"cache-{threads}"))
        torch.set_num_threads(threads)
        try:
            found.append(vectors(inputs, encoder_of(weights)))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
    assert alone == [1] * 16
    assert np.array_equal(found[0][0].array, found[1][0].array) and found[0][1] == found[1][1] == N - 1


def test_equal_pictures_are_computed_once(manifest, weights):
    for row in range(10, 20):
        Path(f"{row}.png").write_bytes(Path("00.png").read_bytes())
    found, computed = vectors(inputs_of(manifest), encoder_of(weights))
    assert computed == N - 1 - 10
    assert (found.array[10:20] == found.array[0]).all()


def test_other_weights_and_other_precision_are_other_features(manifest, weights, network, here):
    inputs = inputs_of(manifest)
    assert vectors(inputs, encoder_of(weights))[1] == N - 1
    assert encode(inputs, encoder_of(weights), device=CPU, autocast=torch.bfloat16)[1] == N - 1
    changed = network.state_dict() | {"conv1.weight": network.conv1.weight.detach() * 2}
    save_file(changed, here / "other.safetensors")
    assert vectors(inputs, encoder_of(str(here / "other.safetensors")))[1] == N - 1


def test_a_damaged_shard_is_computed_again(manifest, weights, here):
    inputs = inputs_of(manifest)
    whole, _ = vectors(inputs, encoder_of(weights))
    (shard,) = (here / "cache").glob("features-*/*.npy")
    data = bytearray(shard.read_bytes())
    data[-100] ^= 255
    shard.write_bytes(data)
    again, computed = vectors(inputs, encoder_of(weights))
    assert computed == N - 1
    assert np.array_equal(again.array, whole.array)


def interrupting(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ctrl-C while the batch after `after` batches is computed."""
    left = [after]

    def stop(*given: object) -> np.ndarray:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return features(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("cleanlab_lite.train.encode.features", stop)


def test_a_stop_in_the_middle_loses_nothing(manifest, weights, monkeypatch, here):
    inputs, encoder = inputs_of(manifest), encoder_of(weights)
    with monkeypatch.context() as patch:
        interrupting(patch, after=2)
        with pytest.raises(KeyboardInterrupt):
            vectors(inputs, encoder)
    resumed, computed = vectors(inputs, encoder)
    assert computed == N - 1 - 2 * 16
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(here / "empty"))
    assert np.array_equal(resumed.array, vectors(inputs, encoder)[0].array)


def test_a_time_budget_stops_after_a_batch_and_every_call_gets_further(manifest, weights):
    inputs, encoder = inputs_of(manifest), encoder_of(weights)
    for _ in range(3):
        with pytest.raises(StoppedEarly) as caught:
            vectors(inputs, encoder, on_progress=Clock(1e-9))
        assert "goes on" in caught.value.hint
    assert vectors(inputs, encoder, on_progress=Clock(1e-9))[1] == N - 1 - 3 * 16


def test_shards_are_written_while_it_runs(manifest, weights, monkeypatch, here):
    monkeypatch.setattr("cleanlab_lite.data.cache.SHARD_ROWS", 16)
    monkeypatch.setattr("cleanlab_lite.data.packs.MEMORY_BYTES", 0)  # all is memory-mapped
    inputs = inputs_of(manifest)
    mapped, _ = vectors(inputs, encoder_of(weights))
    assert isinstance(mapped.array, np.memmap)
    monkeypatch.undo()
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(here / "other"))
    assert np.array_equal(mapped.array, vectors(inputs, encoder_of(weights))[0].array)


def test_a_picture_that_becomes_nan_is_unreadable(manifest, weights):
    class Overflowing(Encoder):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            values = super().forward(pictures)
            return values.where((pictures != poison).flatten(1).any(1, keepdim=True), torch.nan)

    inputs, encoder = inputs_of(manifest), encoder_of(weights)
    poison = torch.tensor(inputs.array[5])
    encoder.__class__ = Overflowing
    found, _ = vectors(inputs, encoder)
    assert found.codes[5] == "not_finite" and "NaN" in found.errors[5]
    assert not found.array[5].any() and found.readable.sum() == N - 2


def test_a_batch_that_does_not_fit_is_halved(weights):
    class Small(Encoder):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            if len(pictures) > 3:
                raise RuntimeError("out of memory")
            return super().forward(pictures)

    encoder = encoder_of(weights)
    pictures = np.random.default_rng(0).integers(0, 256, (10, 3, SIZE, SIZE), dtype=np.uint8)
    expected = features(encoder, pictures, CPU, None)
    encoder.__class__ = Small
    np.testing.assert_allclose(features(encoder, pictures, CPU, None), expected, atol=1e-3)


# --- names and weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("torchvision:resnet5", 0, "did you mean torchvision:resnet50"),
        ("torchvison:resnet50", 0, r"unknown library 'torchvison'[^$]*torchvision:MODEL or timm:MODEL"),
        ("torchvision:squeezenet1_0", 0, "no encoder 'squeezenet1_0'"),
        ("torchvision:vit_b_32", 96, r"cannot take pictures of 96 px[^$]*its own is 224"),
    ],
)
def test_what_is_no_encoder_is_refused(name, size, message):
    with pytest.raises(ConfigError) as caught:
        describe_encoder(name, size)
    assert caught.match(message)


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [("resnet50", 2048), ("convnext_tiny", 768), ("regnet_y_400mf", 440), ("mobilenet_v3_small", 1024)],
)
def test_an_encoder_is_described_without_its_weights(name, dimensions):
    state = torch.get_rng_state()
    spec = describe_encoder(f"torchvision:{name}")
    assert (spec.image_size, spec.num_features) == (224, dimensions)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_of_torch_and_of_safetensors_are_the_same_encoder(network, weights, here):
    torch.save({"state_dict": network.state_dict()}, here / "resnet18.pt")
    assert encoder_of(str(here / "resnet18.pt")).fingerprint == encoder_of(weights).fingerprint


def resnet(name: str) -> Callable[[nn.Module], dict[str, torch.Tensor]]:
    return lambda _network: torchvision.models.get_model(name).state_dict()


def without_a_layer(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value for key, value in network.state_dict().items() if not key.startswith("layer3.0.")}


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (resnet("resnet50"), r"layer1\.0\.conv1\.weight"),
        (resnet("resnet34"), r"of a larger network: layer1\.2\.bn1"),
        (without_a_layer, r"layer3\.0\.bn1\.bias"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(make, named, network, here):
    save_file(make(network), here / "wrong.safetensors")
    with pytest.raises(ConfigError, match=rf"wrong\.safetensors does not fit: .*{named}"):
        encoder_of(str(here / "wrong.safetensors"))


class Payload:
    """Unpickling this creates a file."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (Path("was_here"),)  # type: ignore[return-value]


def test_code_in_weights_is_not_run(here):
    torch.save({"conv1.weight": Payload()}, here / "hostile.pt")
    with pytest.raises(ConfigError, match="cannot read weights"):
        encoder_of(str(here / "hostile.pt"))
    assert not (here / "was_here").exists()


def test_default_weights_are_not_fetched_where_that_is_forbidden(monkeypatch, here):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(here))
    monkeypatch.setattr(
        "torch.hub.download_url_to_file", lambda *_args, **_options: pytest.fail("the network was used")
    )
    with pytest.raises(ConfigError, match=r"cannot fetch the weights of .*HF_HUB_OFFLINE forbids") as caught:
        encoder_of("default")
    assert "--weights FILE" in caught.value.hint


def test_default_weights_that_cannot_be_fetched_say_what_else_to_do(monkeypatch, here):
    def offline(*_args: object, **_options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(here))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(ConfigError, match=r"cannot fetch the weights of .*no route to host") as caught:
        encoder_of("default")
    assert "--weights FILE" in caught.value.hint


def test_default_weights_in_the_librarys_cache_need_no_network(monkeypatch, network, weights, here):
    name = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    (here / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(network.state_dict(), here / "hub" / "checkpoints" / name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(here))
    encoder = encoder_of("default")
    assert encoder.fingerprint == encoder_of(weights).fingerprint
    assert encoder.weights == "ResNet18_Weights.IMAGENET1K_V1"


# --- timm -----------------------------------------------------------------------------------------------------------


def test_timm_that_is_not_installed_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match="needs the package timm") as caught:
        describe_encoder("timm:resnet18")
    assert "nlclean[timm]" in caught.value.hint


def test_an_encoder_of_timm(manifest, here):
    timm = pytest.importorskip("timm")
    source = timm.create_model("test_vit", pretrained=False).eval()
    save_file(source.state_dict(), here / "vit.safetensors")
    spec = describe_encoder("timm:test_vit.r160_in1k")
    assert (spec.image_size, spec.num_features) == (160, 64)
    inputs = load_inputs(read_manifest(manifest), 160, workers=1)
    found, _ = vectors(inputs, load_encoder(spec, str(here / "vit.safetensors")))
    with torch.no_grad():
        expected = source.forward_head(source.forward_features(torch.tensor(inputs.array) / 127.5 - 1), pre_logits=True)
    np.testing.assert_allclose(found.array[found.readable], expected[found.readable], rtol=2e-3, atol=2e-3)


def test_a_transformer_of_timm_takes_other_sizes_and_names_near_ones(here):
    timm = pytest.importorskip("timm")
    save_file(timm.create_model("test_vit", pretrained=False).state_dict(), here / "vit.safetensors")
    encoder = load_encoder(describe_encoder("timm:test_vit", 64), str(here / "vit.safetensors"))
    assert encoder(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, 64)
    with pytest.raises(ConfigError, match="did you mean timm:test_vit"):
        describe_encoder("timm:test_vitt")


# --- plan and audit -------------------------------------------------------------------------------------------------


def test_the_plan_says_which_encoder_and_why(manifest, weights):
    dataset = read_manifest(manifest)
    chosen = AuditConfig(device="cpu", proxy=NAME, weights=weights, image_size=SIZE)
    plan = make_plan(dataset, chosen)
    assert (plan.encoder, plan.encoder_weights, plan.encoder_features) == (NAME, weights, 512)
    assert (plan.proxy, plan.strategy, plan.precision, plan.image_size) == ("mlp", "mixup", "fp32", SIZE)
    assert "--proxy" in plan.encoder_reason and plan.modality == "image"
    usual = make_plan(dataset, AuditConfig(device="cpu"))
    assert usual.proxy == "mlp" and usual.encoder == "lite0" and "installed" in usual.encoder_reason
    trained = make_plan(dataset, AuditConfig(device="cpu", proxy="resnet18", weights=weights))
    assert trained.proxy == "resnet18" and not trained.encoder  # as before: its weights are where training starts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": ""}, r"knows nothing without weights[^$]*--weights default"),
        ({"weights": "nowhere.pt"}, r"no weights file at nowhere\.pt"),
        ({"proxy": "torchvision:resnet19"}, "did you mean torchvision:resnet"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_decoded(changes, message, manifest, weights):
    with pytest.raises(ConfigError) as caught:
        make_plan(
            read_manifest(manifest), AuditConfig(**{"device": "cpu", "proxy": NAME, "weights": weights} | changes)
        )
    assert caught.match(message)


def test_vectors_are_refused(here):
    np.save(here / "vectors.npy", np.eye(20, 4, dtype=np.float32))
    write_csv(here / "labels.csv", {"label": list("ab" * 10)})
    dataset = read_manifest(here / "labels.csv", features=here / "vectors.npy")
    with pytest.raises(ConfigError, match="takes pictures, this manifest holds vectors"):
        make_plan(dataset, AuditConfig(device="cpu", proxy=NAME, weights="default"))


def test_replaced_weights_are_another_run(manifest, here, weights):
    dataset, path = read_manifest(manifest), here / "mine.safetensors"
    path.write_bytes(Path(weights).read_bytes())
    config = preset("balanced", proxy=NAME, weights=str(path))
    before = run_key(dataset, config)
    path.write_bytes(Path(weights).read_bytes() + b" ")
    assert run_key(dataset, config) != before


def computed_in(run: str) -> int:
    """Vectors that the last process of a run has computed."""
    return json.loads(Path(run, "stages/encode.json").read_text("utf-8"))["facts"]["computed"]


def test_networks_see_in_pictures_what_they_see_in_their_features(manifest, weights, capsys, here, monkeypatch):
    # by content, which is another of pictures than of vectors, rows would be dealt to other folds
    monkeypatch.setattr(Task, "order", property(lambda task: np.arange(len(task))))
    options = (*QUICK, *ENCODING, "--weights", weights)
    assert call(capsys, "audit", str(manifest), "--out", "encoded", *options).code == 0
    report = pq.read_table("encoded/report.parquet")
    assert report["issue"][2].as_py() == "unreadable" and report["p_mislabel"][2].as_py() is None

    summary = json.loads(Path("encoded/summary.json").read_text("utf-8"))
    facts = summary["encoder"]
    assert (facts["name"], facts["weights"], facts["precision"]) == (NAME, weights, "fp32")
    assert computed_in("encoded") == N - 1
    assert facts["fingerprint"] == encoder_of(weights).fingerprint and "--proxy" in facts["reason"]
    assert json.loads(Path("encoded/run.json").read_text("utf-8"))["plan"]["encoder"] == NAME

    found, computed = vectors(inputs_of(manifest), encoder_of(weights))
    assert computed == 0
    np.save("features.npy", np.where(found.readable[:, None], found.array.astype(np.float32), np.nan))
    arguments = ("audit", str(manifest), "--features", "features.npy", "--out", "vectors", *QUICK)
    assert call(capsys, *arguments).code == 0
    given = pq.read_table("vectors/report.parquet")
    for column in ("aum", "learned_epoch", "predicted_label", "neighbors"):  # of an encoder's, a head judges too
        assert report[column].equals(given[column]), column
    assert summary["detectors"]["rate"] and "heads" in {path.stem for path in Path("encoded/stages").iterdir()}
    history = [pq.read_table(f"{run}/history.parquet") for run in ("encoded", "vectors")]
    assert history[0].select(["loss", "margin"]).equals(history[1].select(["loss", "margin"]))


def test_a_stopped_audit_goes_on_with_what_was_encoded(manifest, weights, capsys, monkeypatch):
    arguments = ("audit", str(manifest), "--out", "run", *QUICK, *ENCODING, "--weights", weights)
    with monkeypatch.context() as patch:
        interrupting(patch, after=1)
        assert call(capsys, *arguments).code == 130
    assert call(capsys, *arguments).code == 0
    assert computed_in("run") == N - 1 - 16


def test_a_warm_start_needs_the_same_encoder(manifest, weights, network, here, capsys):
    audit = ("audit", manifest, *ENCODING, "--ensemble", "2", "--epochs", "1", "--device", "cpu")
    assert call(capsys, *audit, "--weights", weights, "--out", "old").code == 0
    assert call(capsys, *audit, "--weights", weights, "--warm-start", "old", "--out", "new").code == 0
    save_file({name: weight + 1 for name, weight in network.state_dict().items()}, here / "other.safetensors")
    answer = call(capsys, *audit, "--weights", "other.safetensors", "--warm-start", "old")
    assert answer.code == 2 and "encoder_fingerprint is" in answer.err


def test_batches_are_filled_up_with_blank_pictures():
    pictures = np.random.default_rng(0).integers(1, 256, (3, 3, 8, 8)).astype(np.uint8)
    full = filled_up(pictures, 5)
    np.testing.assert_array_equal(full[:3], pictures)
    assert full.shape == (5, 3, 8, 8) and not full[3:].any()
    assert filled_up(pictures, 2) is pictures


def test_a_vector_does_not_hang_on_how_many_others_are_encoded_with_it():
    network = load_encoder(describe_encoder("lite0", SIZE), "")
    pictures = np.random.default_rng(0).integers(0, 256, (16, 3, SIZE, SIZE)).astype(np.uint8)
    whole = features(network, pictures, CPU, None)
    for count in (1, 6, 15):
        np.testing.assert_array_equal(features(network, pictures[:count], CPU, None), whole[:count])

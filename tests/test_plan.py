"""The plan: every choice resolved, and what cannot work refused before anything is decoded."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from cleanlab_lite.config import AuditConfig, preset
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.manifest.manifest import Manifest, Source
from cleanlab_lite.train.models import PROXIES
from cleanlab_lite.train.plan import (
    choose_device,
    choose_precision,
    default_batch_size,
    make_plan,
    missing_files,
)
from cleanlab_lite.train.planned import plan_of_regression

CPU = AuditConfig(device="cpu")
VECTOR_PROXIES = {spec.name for spec in PROXIES if "vector" in spec.facts.takes}


def vectors(n: int = 100, k: int = 4, *, unlabelled: int = 0) -> Manifest:
    labels = np.arange(n) % k
    labels[:unlabelled] = -1
    return Manifest(
        table=pa.table({"label": [f"class {label}" for label in labels]}),
        source=Source("/data/manifest.csv", "csv", "label"),
        modality="vector",
        classes=tuple(f"class {i}" for i in range(k)),
        ids=np.array([f"row {i}" for i in range(n)]),
        labels=labels,
        splits=np.full(n, ""),
        features=np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32),
    )


def pictures(folder: Path, n: int = 40, size: int = 50) -> Manifest:
    from PIL import Image

    uris = [str(folder / f"{i}.png") for i in range(n)]
    for uri in uris[: n - 2]:
        Image.new("RGB", (size, size)).save(uri)
    labels = np.arange(n) % 2
    return Manifest(
        table=pa.table({"path": uris, "label": [str(label) for label in labels]}),
        source=Source(str(folder / "manifest.csv"), "csv", "label", "path"),
        modality="image",
        classes=("0", "1"),
        ids=np.array(uris),
        labels=labels,
        splits=np.full(n, ""),
        uris=np.array(uris),
    )


def test_a_plan_leaves_nothing_open():
    plan = make_plan(vectors(unlabelled=7), CPU)
    assert "auto" not in asdict(plan).values()
    assert (plan.rows, plan.labelled, plan.classes, plan.image_size) == (100, 93, 4, 0)
    assert plan.proxy == "mlp" and plan.precision == "fp32" and plan.device == "cpu"
    assert asdict(plan) == {field.name: getattr(plan, field.name) for field in fields(plan)}
    assert plan.memory_gib > 0 and plan.disk_mib > 0


def test_pictures_get_a_size_and_missing_files_are_counted(tmp_path):
    manifest = pictures(tmp_path)
    plan = make_plan(manifest, replace(CPU, views="pixels"))
    assert (plan.image_size, plan.missing_files) == (48, 2)
    assert plan.proxy not in VECTOR_PROXIES
    assert make_plan(manifest, replace(CPU, views="pixels", image_size=64)).image_size == 64
    both = make_plan(manifest, CPU)
    assert (both.image_size, both.picture_size, both.beside.image_size, both.missing_files) == (160, 64, 32, 2)


def test_remote_files_are_not_looked_for(tmp_path):
    uris = np.array(["s3://bucket/a.png", "zip://a.png::b.zip", "", str(tmp_path / "nowhere.png")])
    assert missing_files(replace(pictures(tmp_path, n=4), uris=uris)) == 2


def test_what_the_user_chose_is_kept():
    chosen = AuditConfig(
        device="cpu",
        loss="gce:q=0.5",
        strategy="mixup:alpha=4,warmup=0.2",
        epochs=7,
        ensemble=3,
        batch_size=16,
        learning_rate=0.01,
    )
    plan = make_plan(vectors(), chosen)
    for name in ("loss", "strategy", "epochs", "ensemble", "batch_size", "learning_rate"):
        assert getattr(plan, name) == getattr(chosen, name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proxy": "resnet19"}, r"unknown proxy 'resnet19'.*\n.*did you mean resnet18"),
        ({"loss": "gcee"}, r"unknown loss 'gcee'.*\n.*did you mean gce"),
        ({"strategy": "mixup2"}, r"unknown strategy 'mixup2'.*\n.*did you mean mixup"),
        ({"loss": "gce:p=0.5"}, r"loss gce: unknown option 'p'"),
        ({"loss": "gce:q=1.5"}, r"loss gce: q is 1\.5, must lie in"),
        ({"strategy": "mixup:alfa=1"}, r"strategy mixup: unknown option 'alfa', did you mean 'alpha'"),
        ({"device": "gpu"}, r"unknown device 'gpu'.*\n.*cuda"),
        ({"ensemble": 101}, "ensemble is 101, the manifest has 100 labelled rows"),
        ({"proxy": "cnn"}, r"'cnn' takes pictures.*\n.*--proxy mlp"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(changes, message):
    with pytest.raises(ConfigError) as caught:
        make_plan(vectors(), AuditConfig(**{"device": "cpu"} | changes))
    assert caught.match(message)


def test_a_proxy_for_vectors_is_refused_for_pictures(tmp_path):
    with pytest.raises(ConfigError, match="'mlp' takes vectors, this manifest holds pictures") as caught:
        make_plan(pictures(tmp_path, n=6), AuditConfig(device="cpu", proxy="mlp"))
    assert caught.value.hint == "use --proxy cnn"


def test_weights_are_refused_before_anything_is_decoded(tmp_path):
    manifest = pictures(tmp_path, n=6)
    with pytest.raises(ConfigError, match="'cnn' takes no pretrained weights") as caught:
        make_plan(manifest, replace(CPU, proxy="cnn", weights="default"))
    assert "--proxy resnet18 or resnet50" in caught.value.hint
    with pytest.raises(ConfigError, match=r"no weights file at .*nowhere\.pt"):
        make_plan(manifest, replace(CPU, proxy="resnet18", weights=str(tmp_path / "nowhere.pt")))


@pytest.mark.parametrize("name", ["cuda", "cuda:99", "mps", "xpu"])
def test_a_device_that_is_not_there_is_refused(name):
    if {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(name):
        pytest.skip("it is here")
    with pytest.raises(ConfigError, match=f"'{name}' is not available") as caught:
        choose_device(name)
    assert "nlclean doctor" in caught.value.hint


def test_a_device_is_chosen_that_works():
    torch.zeros(1, device=choose_device("auto"))


@pytest.mark.parametrize(("device", "vectors_", "allowed"), [("cpu", True, {"fp32"}), ("cpu", False, {"fp32", "bf16"})])
def test_precision_suits_the_device(device, vectors_, allowed):
    assert choose_precision("auto", device, vectors_) in allowed
    assert choose_precision("fp16", device, vectors_) == "fp16"


@pytest.mark.parametrize("on_gpu", [False, True])
def test_batches_are_powers_of_two_that_grow_with_the_data(on_gpu):
    sizes = [default_batch_size(labelled, on_gpu) for labelled in (2, 100, 1000, 10_000, 10**6)]
    assert sizes == sorted(sizes)
    assert all(size & (size - 1) == 0 for size in sizes)
    assert sizes[0] >= 8 and sizes[-1] <= 2048


def test_networks_beside_a_regression_take_larger_steps_on_a_cpu():
    labelled = (100, 800, 2000, 5000, 10**6)
    sizes = [default_batch_size(rows, on_gpu=False, beside_regression=True) for rows in labelled]
    assert sizes == [32, 64, 128, 256, 256]
    assert default_batch_size(10**6, on_gpu=True, beside_regression=True) == default_batch_size(10**6, on_gpu=True)


@pytest.mark.parametrize("proxy", PROXIES.names())
def test_every_proxy_can_be_planned(proxy, tmp_path):
    manifest = vectors() if proxy in VECTOR_PROXIES else pictures(tmp_path, n=6)
    plan = make_plan(manifest, AuditConfig(device="cpu", proxy=proxy))
    assert (plan.proxy, plan.learning_rate) == (proxy, PROXIES.get(proxy).facts.learning_rate)
    assert 0 < plan.learning_rate <= 1


@pytest.mark.parametrize(
    ("proxy", "rate"), [("mlp", 0.1), ("cnn", 0.3), ("baseline_cnn", 0.01), ("resnet18", 0.1), ("resnet50", 0.05)]
)
def test_learning_rates_are_those_that_were_measured(proxy, rate):
    assert PROXIES.get(proxy).facts.learning_rate == rate


def test_memory_and_disk_grow_with_the_work():
    small, large = make_plan(vectors(1000), CPU), make_plan(vectors(100_000), CPU)
    assert large.memory_gib > small.memory_gib and large.disk_mib > small.disk_mib
    thorough = make_plan(vectors(100_000), preset("thorough", device="cpu"))
    assert thorough.disk_mib > large.disk_mib


def test_a_regression_on_vectors_is_planned_without_torch_as_it_is_with_it():
    manifest, config = vectors(unlabelled=3), preset("fast")
    config = replace(config, device="cpu")
    found, made = (asdict(plan) for plan in (plan_of_regression(manifest, config), make_plan(manifest, config)))
    taught = {"proxy", "loss", "strategy", "recipes", "batch_size", "learning_rate"}  # of nobody
    assert {name for name in made if made[name] != found[name]} == taught


@pytest.mark.parametrize(
    "other", [{"heads": "trained"}, {"loss": "gce"}, {"views": "pixels"}, {"proxy": "mlp"}, {"devices": 2}]
)
def test_what_names_networks_is_planned_with_torch(other):
    config = replace(preset("fast"), device="cpu", **other)
    assert plan_of_regression(vectors(), config) is None

"""A proxy that a user registers in three lines is planned, estimated, audited with and listed like our own."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, OPTIONS, QUICK, save_pictures, task, vector_parquet, write_csv
from cli_world import call
from torch import nn

import cleanlab_lite as cl
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.train.models import ProxyFacts, build_proxy
from cleanlab_lite.train.models.base import modality_of
from cleanlab_lite.train.plan import make_plan


@pytest.fixture(autouse=True)
def own_table(monkeypatch, tmp_path):
    """What a test registers is gone after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    with cl.PROXIES.temporarily():
        yield


def found(report: cl.Report, wrong: np.ndarray) -> float:
    """Share of the planted errors among as many of the most suspicious rows."""
    worst = np.argsort(report.table["label_score"].to_numpy())[: len(wrong)]
    return len(set(worst) & set(wrong)) / len(wrong)


def test_three_lines_make_a_proxy_for_vectors(tmp_path):
    @cl.PROXIES.register("tiny", takes=("vector",), learning_rate=0.2)
    def tiny(examples):
        return nn.Sequential(nn.Linear(examples.shape[1], 7), nn.ReLU()), 7

    small = task(90, wrong=8)
    path = vector_parquet(tmp_path / "vectors.parquet", small)
    report = cl.audit(path, proxy="tiny", out=tmp_path / "run", **OPTIONS | {"epochs": 16})
    assert report.summary.proxy["proxy"] == "tiny"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["plan"]["learning_rate"] == 0.2
    assert pq.read_table(tmp_path / "run" / "report.parquet").num_rows == 90
    assert found(report, small.wrong) > 0.7


def test_three_lines_make_a_proxy_for_pictures(tmp_path, capsys):
    @cl.PROXIES.register("tiny", takes=("image",), learning_rate=0.1, weights_mib=1000)
    def tiny(examples, weights=""):
        return nn.Sequential(nn.Conv2d(examples.shape[1], 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 5

    small = task(60, wrong=6)
    names = [f"{row:02}.png" for row in range(60)]
    save_pictures(tmp_path, small.truth, names)
    labels = [CLASSES[label] for label in small.labels]
    path = str(write_csv(tmp_path / "pets.csv", {"path": names, "label": labels}))
    arguments = ("audit", path, *QUICK, "--image-size", "16", "--json", "--proxy")
    ours, theirs = (json.loads(call(capsys, *arguments, name, "--dry-run").out) for name in ("cnn", "tiny"))
    assert theirs["proxy"] == "tiny" and theirs["learning_rate"] == 0.1
    assert theirs["disk_mib"] - ours["disk_mib"] == 6 * (1000 - 4)  # two stages each, of three proxies
    result = call(capsys, *arguments, "tiny")
    assert result.code == 0, result.err
    assert json.loads(result.out)["proxy"]["proxy"] == "tiny"
    refused = call(capsys, *arguments, "tiny", "--weights", "default")
    assert refused.code == 2 and "'tiny' takes no pretrained weights" in refused.err


def test_a_proxy_for_other_data_is_refused_with_the_usual_one(tmp_path):
    cl.PROXIES.register("tiny", takes=("image", "sound"))(lambda examples: (nn.Flatten(), 1))
    manifest = cl.read_manifest(vector_parquet(tmp_path / "vectors.parquet", task(30, wrong=2)))
    with pytest.raises(ConfigError, match="'tiny' takes pictures and sounds, this manifest holds vectors") as caught:
        make_plan(manifest, AuditConfig(device="cpu", proxy="tiny"))
    assert caught.value.hint == "use --proxy mlp"


def test_a_proxy_may_be_the_only_usual_one_of_its_kind(tmp_path):
    manifest = cl.read_manifest(vector_parquet(tmp_path / "vectors.parquet", task(30, wrong=2)))
    cl.PROXIES.register("tiny", usual_for=("vector",))(lambda examples: (nn.Flatten(), 1))
    with pytest.raises(ConfigError, match="several proxies are usual for vectors: mlp, tiny"):
        make_plan(manifest, AuditConfig(device="cpu"))
    assert make_plan(manifest, AuditConfig(device="cpu", proxy="tiny")).proxy == "tiny"


def test_a_proxy_with_pretrained_weights_is_given_them(monkeypatch):
    import torch

    given = []

    @cl.PROXIES.register("tiny", pretrained=True)
    def tiny(examples, weights):
        given.append(weights)
        return nn.Flatten(), examples[0].numel()

    for inputs, kind in ((torch.zeros(4, 3), "vector"), (torch.zeros(4, 1, 2, 2), "sound")):
        assert modality_of(inputs) == kind
        assert build_proxy("tiny", inputs, 2, seed=0, weights="default")(inputs).shape == (4, 2)
    assert given == ["default", "default"]


def test_a_registered_proxy_is_listed(capsys):
    cl.PROXIES.register("tiny", summary="as small as can be")(lambda examples: (nn.Flatten(), 1))
    rows = json.loads(call(capsys, "methods", "proxies", "--json").out)["proxies"]
    (row,) = [row for row in rows if row["name"] == "tiny"]
    assert row["takes"] == ["image", "sound", "vector"] and row["learning_rate"] == ProxyFacts().learning_rate
    assert "as small as can be" in call(capsys, "methods", "proxies").out

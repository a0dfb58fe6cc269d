"""Views: which ways of looking at the rows an audit takes, and what it makes of several."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from audit_world import CLASSES, findings, save_pictures, task, write_csv
from cli_world import call
from worlds import blobs

import nlclean
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.evidence.evidence import Evidence, Vote
from cleanlab_lite.judge.closed_form import look
from cleanlab_lite.judge.random_features import RandomFeatures
from cleanlab_lite.judge.ranking import blended, together, votes_of, witnesses
from cleanlab_lite.judge.verdict import combine
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.measure import average_precision
from cleanlab_lite.train import views
from cleanlab_lite.train.models import build_proxy, lite
from cleanlab_lite.train.plan import make_plan
from cleanlab_lite.train.strategies import Learner
from cleanlab_lite.train.trials import Rival, epochs_to_reach

GIVEN = task(120, wrong=12)
OPTIONS = {"device": "cpu", "ensemble": 2, "batch_size": 16, "epochs": 6}
QUICK = ("--device", "cpu", "--ensemble", "2", "--batch-size", "16", "--epochs", "6")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("views")
    names = [f"{row:03}.png" for row in range(120)]
    save_pictures(folder, GIVEN.truth, names)
    return write_csv(folder / "m.csv", {"path": names, "label": [CLASSES[label] for label in GIVEN.labels]})


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "views-cache"))


@pytest.fixture
def made_lite(monkeypatch):
    """lite0 with random weights: the package need not be there."""
    torch.manual_seed(0)
    monkeypatch.setattr(lite, "embedded", lite.Lite0)


# --- the choice -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modality", "options", "chosen"),
    [
        ("image", {}, ("encoder", "pixels", "filters")),
        ("sound", {}, ("encoder", "patches", "statistics", "filters")),
        ("vector", {}, ("vectors",)),
        ("image", {"heads": "closed"}, ("encoder", "filters")),
        ("sound", {"heads": "closed"}, ("encoder", "statistics", "filters")),
        ("vector", {"heads": "closed"}, ("vectors",)),
        ("image", {"proxy": "cnn"}, ("pixels",)),
        ("image", {"proxy": "torchvision:resnet18"}, ("encoder", "filters")),
        ("sound", {"proxy": "lite0"}, ("encoder", "statistics", "filters")),
        ("image", {"views": "pixels"}, ("pixels",)),
        ("image", {"views": "pixels, encoder", "proxy": "cnn"}, ("encoder", "pixels")),
        ("sound", {"views": "statistics,patches"}, ("patches", "statistics")),
    ],
)
def test_the_views_fit_the_data_and_what_is_named(modality, options, chosen):
    assert views.choose_views(modality, AuditConfig(**options)) == chosen


@pytest.mark.parametrize(
    ("modality", "options", "chosen"),
    [
        ("image", {}, ("pixels", "filters")),
        ("sound", {}, ("patches", "statistics", "filters")),
        ("image", {"heads": "closed"}, ("filters",)),
        ("image", {"heads": "closed", "proxy": "torchvision:resnet18"}, ("encoder", "filters")),
    ],
)
def test_without_the_small_encoder_the_others_are_looked_at(modality, options, chosen, monkeypatch):
    monkeypatch.setattr(views, "has_encoder", lambda: False)
    assert views.choose_views(modality, AuditConfig(**options)) == chosen


@pytest.mark.parametrize(
    ("modality", "options", "message", "hint"),
    [
        ("image", {"views": "statistics"}, "pictures have no view 'statistics'", "encoder, pixels"),
        ("vector", {"views": "encoder"}, "vectors have no view 'encoder'", "vectors"),
        ("image", {"views": ""}, "pictures have no view ''", "encoder, pixels"),
        ("image", {"views": "pixels", "heads": "closed"}, "look at vectors, not at pixels", "--heads trained"),
        ("image", {"views": "pixels", "proxy": "lite0"}, "looks at encoder", "--views encoder,pixels"),
        ("image", {"views": "encoder", "proxy": "cnn"}, "looks at pixels", "--views pixels,encoder"),
    ],
)
def test_views_that_cannot_be_are_refused(modality, options, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        views.choose_views(modality, AuditConfig(**options))
    assert hint in (caught.value.hint or "")


def test_pictures_are_made_smaller_by_their_mean():
    array = np.zeros((3, 3, 64, 64), np.uint8)
    array[1, 0] = 200
    array[2, 1, :32] = 100
    nothing = np.full(3, "")
    inputs = Inputs(array, nothing, nothing, np.full(3, -1), 0, nothing)
    small = views.reduced(inputs, 32).array
    assert small.shape == (3, 3, 32, 32) and small.dtype == np.uint8
    assert (small[0] == 0).all() and (small[1, 0] == 200).all() and (small[1, 1] == 0).all()
    assert (small[2, 1, :15] == 100).all() and (small[2, 1, 17:] == 0).all()
    assert views.reduced(inputs, 64) is inputs


# --- networks that come near, or do not -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "tried"),
    [
        (0.3, [8]),
        (0.4, [8, 16]),
        (0.44, [8, 16, 32]),
        (0.46, [8, 16]),  # .40 and half of the last gain, .10, is .45
        (0.49, [8]),  # .30 and three quarters of what the second half of 8 epochs has gained, .24, is .48
    ],
)
def test_trials_end_where_the_rival_is_near_or_out_of_reach(wanted, tried):
    seen = []

    def agreement(epochs: int) -> tuple[float, float]:
        seen.append(epochs)
        return {8: (0.06, 0.30), 16: (0.25, 0.40), 32: (0.35, 0.43)}[epochs]

    assert epochs_to_reach(agreement, wanted, 8) == tried[-1] and seen == tried


def test_a_doubling_that_gains_nothing_is_not_taken():
    assert epochs_to_reach(lambda epochs: (0.20, 0.30), 0.35, 8) == 8


def test_a_rival_wants_its_agreement_less_what_is_near():
    labels = np.array([0, 1, 0, 1])
    assert Rival(np.array([0, 1, 0, 0]), 0.1).wants(labels, np.ones(4, bool)) == pytest.approx(0.65)


def test_the_plan_says_that_a_regression_looks_at_filters_without_an_encoder_too(pictures, capsys):
    answer = call(capsys, "audit", pictures, *QUICK, "--views", "filters", "--dry-run")
    assert answer.code == 0, answer.err
    said = "filters (pieces of the data, at most 32 px): a regression in closed form, 2 cross-fitted networks mlp"
    assert said in " ".join(answer.out.split())


def test_both_views_of_pictures_are_in_the_report(pictures, tmp_path, capsys):
    answer = call(capsys, "audit", pictures, *QUICK, "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert "pixels (32 px): 2 cross-fitted networks small_cnn" in answer.err and "if the first comes near" in answer.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_bytes())
    assert set(summary["views"]) == {"encoder", "pixels", "filters"}
    assert summary["views"]["encoder"].keys() == {"head", "networks"}
    assert 0.7 < summary["views"]["pixels"]["networks"] < 1
    assert summary["detectors"]["rate"]["views"] is not None
    table = pq.read_table(tmp_path / "run" / "report.parquet")
    flagged = np.flatnonzero(table["is_label_issue"].to_numpy(zero_copy_only=False))
    assert len(set(flagged) & set(GIVEN.wrong)) >= 11 and len(flagged) <= 14
    for view in ("encoder", "pixels", "filters"):
        margin = table[f"view_margin_{view}"].to_numpy(zero_copy_only=False)
        assert (margin[GIVEN.wrong] < 0).mean() > 0.8 and (np.delete(margin, GIVEN.wrong) > 0).mean() > 0.8
    assert table["view_margin_statistics"].null_count == 120


@pytest.mark.slow
def test_an_audit_of_two_views_that_was_stopped_ends_as_if_it_had_not_been(pictures, tmp_path, capsys):
    audit = ("audit", pictures, *QUICK, "--epochs", "2")
    assert call(capsys, *audit, "--out", tmp_path / "alone").code == 0
    codes = [call(capsys, *audit, "--out", tmp_path / "run", "--time-budget", "0.001s").code for _ in range(6)]
    assert codes == [4] * 6
    assert call(capsys, *audit, "--out", tmp_path / "run").code == 0
    assert findings(tmp_path / "run") == findings(tmp_path / "alone")


def test_networks_that_fall_behind_are_left_out(pictures, tmp_path):
    report = nlclean.audit(
        pictures, out=tmp_path / "run", progress=False, **OPTIONS | {"epochs": 1, "learning_rate": 1e-6}
    )
    view = report.summary.views["pixels"]
    assert view["left_out"] and view["networks"] < report.summary.views["encoder"]["head"] - 0.08
    assert report.table["view_margin_pixels"].null_count == 120
    assert report.summary.detectors["rate"]["views"] is not None  # encoder and filters


def test_without_the_encoder_the_audit_goes_on_and_says_so(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(views, "has_encoder", lambda: False)
    quick = OPTIONS | {"epochs": 1, "image_size": 16}
    report = nlclean.audit(pictures, out=tmp_path / "run", progress=False, **quick)
    assert set(report.summary.views) == {"pixels", "filters"}
    [warning] = [text for text in report.summary.warnings if "pip install" in text]
    assert "the small pretrained encoder is not installed, so all that is known of the pictures" in warning


# --- the encoder itself, trained ------------------------------------------------------------------------------------


def test_an_encoder_that_is_trained_learns_slower_than_its_head(made_lite):
    examples = torch.rand(6, 3, 32, 32)
    proxy = build_proxy("lite0_tuned", examples, 3, seed=0)
    assert proxy.head.in_features == 744 and proxy(examples).shape == (6, 3)
    learner = Learner(proxy, steps=8, learning_rate=0.1, weight_decay=1e-3, autocast=None, encoder_rate=0.1)
    rates = {group["max_lr"] for group in learner._optimizer.param_groups}
    assert sorted(rates) == pytest.approx([0.01, 0.1])
    counted = sum(len(group["params"]) for group in learner._optimizer.param_groups)
    assert counted == len(list(proxy.parameters()))  # each once
    decaying = [p for group in learner._optimizer.param_groups if group["weight_decay"] for p in group["params"]]
    assert all(p.dim() > 1 for p in decaying) and len(decaying) > 40
    before = proxy.encoder.body.body.stem[0].weight.clone()
    learner.update(torch.nn.functional.cross_entropy(learner.logits(examples), torch.tensor([0, 1, 2] * 2)))
    assert not torch.equal(before, proxy.encoder.body.body.stem[0].weight)


def test_spectrograms_are_grey_pictures_to_it(made_lite):
    patches = torch.rand(4, 1, 64, 64)
    assert build_proxy("lite0_tuned", patches, 3, seed=0)(patches).shape == (4, 3)


@pytest.mark.parametrize(("finetune", "device", "proxy"), [("no", "cpu", "small_cnn"), ("gpu", "cpu", "small_cnn")])
def test_the_encoder_is_trained_where_that_is_affordable(pictures, finetune, device, proxy):
    plan = make_plan(read_manifest(pictures), AuditConfig(**OPTIONS | {"device": device, "finetune": finetune}))
    assert plan.beside.proxy == proxy
    forced = make_plan(read_manifest(pictures), AuditConfig(**OPTIONS | {"finetune": "yes"}))
    assert forced.beside.proxy == "lite0_tuned" and forced.of_data.proxy == "lite0_tuned"


@pytest.mark.slow
def test_an_audit_that_trains_the_encoder(pictures, tmp_path):
    report = nlclean.audit(pictures, out=tmp_path / "run", progress=False, **OPTIONS | {"finetune": "yes", "epochs": 3})
    assert report.summary.views["pixels"]["networks"] > 0.8
    flagged = np.flatnonzero(report.table["is_label_issue"].to_numpy(zero_copy_only=False))
    assert len(set(flagged) & set(GIVEN.wrong)) >= 11 and len(flagged) <= 14


# --- what several witnesses say -------------------------------------------------------------------------------------


def two_views(n: int = 600, seed: int = 0) -> tuple[Evidence, np.ndarray]:
    """A head on one view and networks on another, each with its own noise; and which labels are wrong."""
    world = blobs(n, 4, 0.15, seed=seed)
    rng = np.random.default_rng(seed)
    features = 2.0 * np.eye(4)[world.truth] + rng.normal(size=(n, 4))
    head, votes = look({"encoder": features}, world.labels, 4, np.arange(n))
    evidence = replace(world.evidence, view="pixels")
    return (
        Evidence(
            world.labels, 4, head=head, votes=votes, pred_probs=head_probs(head.logits), beside={"pixels": evidence}
        ),
        world.labels != world.truth,
    )


def head_probs(logits: np.ndarray) -> np.ndarray:
    return torch.softmax(torch.from_numpy(logits), dim=1).numpy()


def test_together_witnesses_are_as_good_as_the_best():
    evidence, wrong = two_views()
    found = witnesses(evidence, seed=0)
    assert [each.view for each in found] == ["", "pixels"]
    alone = [average_precision(each.ranking, wrong) for each in found]
    assert average_precision(together(found), wrong) >= max(alone) - 0.005
    assert set(votes_of(evidence, found)) == {"encoder", "pixels"}
    mixed = blended(evidence, found)
    np.testing.assert_allclose(mixed.need("pred_probs")[:].sum(axis=1), 1, atol=1e-5)


def test_a_witness_who_knows_nothing_has_no_share():
    evidence, wrong = two_views()
    rng = np.random.default_rng(1)
    noise = replace(evidence.beside["pixels"], pred_probs=rng.dirichlet(np.ones(4), 600).astype(np.float32))
    deaf = replace(evidence, beside={"pixels": noise})
    found = witnesses(deaf, seed=0)
    assert set(votes_of(deaf, found)) == {"encoder"}
    np.testing.assert_allclose(blended(deaf, found).need("pred_probs")[:], head_probs(evidence.head.logits), atol=1e-6)
    verdict = combine(deaf, np.ones(600, bool), np.full(600, -1))
    assert average_precision(verdict.score, wrong) == average_precision(evidence.head.score, wrong)


def test_a_head_looks_at_all_views_or_at_the_one_that_says_more():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 300)
    seen = 2.0 * np.eye(4)[truth] + rng.normal(size=(300, 4))
    labels = np.where(np.arange(300) % 10 == 0, (truth + 1) % 4, truth)
    group = np.arange(300)
    noise = rng.normal(size=(300, 20))
    head, votes = look({"encoder": seen, "filters": noise}, labels, 4, group)
    assert head.looks_at == ("encoder",) and head.agreement == votes["encoder"].agreement
    head, votes = look({"encoder": seen[:, :2], "filters": seen[:, 2:]}, labels, 4, group)  # each knows two classes
    assert head.looks_at == ("encoder", "filters")
    assert head.agreement > max(vote.agreement for vote in votes.values()) + 0.05


def test_views_count_twice_where_two_of_them_say_nearly_as_much():
    """Else once, and halves of the head beside them."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, 2000)
    labels = np.where(rng.random(2000) < 0.15, rng.integers(0, 4, 2000), truth)
    strong, similar, weak = (strength * np.eye(4)[truth] + rng.normal(size=(2000, 4)) for strength in (2.2, 2.0, 0.7))

    def again(views: dict[str, np.ndarray]) -> bool:
        head, votes = look(views, labels, 4, np.arange(2000))
        evidence = Evidence(labels, 4, head=head, votes=votes, pred_probs=head_probs(head.logits))
        found = combine(evidence, np.ones(2000, bool), np.full(2000, -1)).estimators
        assert found.besides in (found.views, found.halves) and found.besides in found.voices
        return found.besides == found.views

    assert again({"encoder": strong, "filters": similar})
    assert not again({"encoder": strong, "filters": weak})
    assert again({"encoder": strong, "filters": similar, "statistics": weak})


def test_views_of_a_part_are_those_of_its_rows():
    evidence, _ = two_views(200)
    rows = np.array([5, 3, 100])
    part = evidence.select(rows)
    np.testing.assert_array_equal(part.beside["pixels"].labels, evidence.labels[rows])
    vote: Vote = part.votes["encoder"]
    np.testing.assert_array_equal(vote.margin, evidence.votes["encoder"].margin[rows])
    assert part.beside["pixels"].view == "pixels"


# --- random features ------------------------------------------------------------------------------------------------


def test_random_features_see_what_is_not_linear():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 6)).astype(np.float32)
    truth = (x[:, 0] * x[:, 1] > 0).astype(np.int64)  # no plane parts them
    labels = np.where(rng.random(800) < 0.1, 1 - truth, truth)
    plain, _ = look({"vectors": x}, labels, 2, np.arange(800))
    bent, _ = look({"vectors": RandomFeatures.of(x)}, labels, 2, np.arange(800))
    assert plain.agreement < 0.6 < 0.75 < bent.agreement


def test_random_features_are_those_of_the_rows_and_of_the_seed():
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float16)
    x[7] = np.nan
    features = RandomFeatures.of(x, seed=1)
    assert len(features) == 50 and features.shape == (50, features[:].shape[1])
    np.testing.assert_array_equal(features[np.array([3, 9])], features[:][[3, 9]])
    assert np.isnan(features[5:9]).all(axis=1).tolist() == [False, False, True, False]
    np.testing.assert_array_equal(RandomFeatures.of(x, seed=1)[:3], features[:3])
    assert not np.array_equal(RandomFeatures.of(x, seed=2)[:3], features[:3])

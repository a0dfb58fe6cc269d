"""Audits that start from the proxies of an earlier one: who is held out of whom, what is found, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from audit_world import CLASSES, findings, save_pictures, task, vectors, write_csv
from cli_world import call
from safetensors.numpy import load_file, save_file

from cleanlab_lite.config import preset
from cleanlab_lite.data.inputs import load_inputs
from cleanlab_lite.door import audit
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.evidence.history import HELD_OUT
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.run import Run
from cleanlab_lite.run.layout import PROXIES
from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.train import ensemble
from cleanlab_lite.train.fit import Teaching, fit
from cleanlab_lite.train.loader import Samples
from cleanlab_lite.train.models import build_proxy
from cleanlab_lite.train.plan import make_plan
from cleanlab_lite.train.warm_start import read_warm_start, save_proxies

N, OLD = 240, 160  # rows in the end and before
EPOCHS = 10
OPTIONS = {"ensemble": 3, "device": "cpu", "batch_size": 16}
FLAGS = ("--ensemble", "3", "--device", "cpu", "--batch-size", "16")
WORLD = task(N, wrong=24)
FEATURES = vectors(WORLD.truth)


def save(path: Path, rows: np.ndarray, labels: np.ndarray, features: np.ndarray = FEATURES, names=CLASSES) -> Path:
    table = {"key": [f"r{row}" for row in rows], "embedding": list(features[rows]), "label": [names[c] for c in labels]}
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds old.parquet, grown.parquet with its rows in another order, and `old`, the run of the first."""
    folder = tmp_path_factory.mktemp("warm")
    save(folder / "old.parquet", np.arange(OLD), WORLD.labels[:OLD])
    rows = np.random.default_rng(5).permutation(N)
    save(folder / "grown.parquet", rows, WORLD.labels[rows])
    audit(folder / "old.parquet", out=folder / "old", epochs=EPOCHS, **OPTIONS)
    return folder


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Evidence]:
    """What the proxies of every audit in the test have seen."""
    seen: list[Evidence] = []
    watch = ensemble.watch

    def spy(*args, **kwargs) -> Evidence:
        seen.append(watch(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(ensemble, "watch", spy)
    return seen


def trained(evidence: Evidence) -> np.ndarray:
    """(m, n) bool: the cross-fitted proxy m learned the row."""
    assert evidence.history is not None
    return evidence.history.trained_on[: OPTIONS["ensemble"]] != HELD_OUT


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_bytes())


def flagged(report: ReportTable) -> dict[str, bool]:
    return dict(zip(report.table["id"].to_pylist(), report.table["is_label_issue"].to_pylist(), strict=True))


# --- Folds and epochs ------------------------------------------------------------------------------------------------


def test_no_proxy_judges_a_row_as_held_out_that_it_starts_from(folder, tmp_path, watched):
    audit(folder / "old.parquet", out=tmp_path / "old", epochs=2, seed=3, **OPTIONS)
    rows = np.concatenate([np.random.default_rng(1).permutation(N), [4, 4, N - 1]])  # copies, of old rows and of a new
    ids = np.arange(len(rows))
    grown = tmp_path / "grown.parquet"
    pq.write_table(
        pa.table({"key": ids, "embedding": list(FEATURES[rows]), "label": [CLASSES[c] for c in WORLD.labels[rows]]}),
        grown,
    )
    audit(grown, out=tmp_path / "grown", warm_start=tmp_path / "old", seed=4, **OPTIONS)
    before, after = map(trained, watched)
    known = rows < OLD
    np.testing.assert_array_equal(after[:, known], before[:, rows[known]])
    assert (~after).sum(axis=0).tolist() == [1] * len(rows)
    copy = np.flatnonzero(rows == N - 1)
    np.testing.assert_array_equal(after[:, copy[0]], after[:, copy[1]])
    first = ~known & (ids < N)
    for label in range(3):  # new rows are spread evenly
        held_out = (~after[:, first & (WORLD.labels[rows] == label)]).sum(axis=1)
        assert held_out.max() - held_out.min() <= 1


def test_rows_that_come_back_keep_their_fold(folder, tmp_path, watched):
    few = save(tmp_path / "few.parquet", np.arange(60), WORLD.labels[:60])
    audit(folder / "old.parquet", out=tmp_path / "all", epochs=1, **OPTIONS)
    audit(few, out=tmp_path / "few", epochs=1, warm_start=tmp_path / "all", **OPTIONS)
    audit(folder / "old.parquet", out=tmp_path / "back", epochs=1, seed=5, warm_start=tmp_path / "few", **OPTIONS)
    np.testing.assert_array_equal(trained(watched[2]), trained(watched[0]))


def test_half_the_epochs_and_no_trials(folder, tmp_path, watched):
    started = []
    audit(
        folder / "grown.parquet",
        out=tmp_path / "first",
        warm_start=folder / "old",
        progress=lambda event: started.append(event.note),
        **OPTIONS,
    )
    assert watched[0].history is not None and watched[0].history.shape[1] == EPOCHS // 2
    assert not any("trying" in note for note in started)
    facts = summary(tmp_path / "first")
    earlier = json.loads((folder / "old" / "run.json").read_bytes())["key"][:8]
    assert facts["warm_start"] == {"run_id": earlier, "known_rows": OLD, "epochs_from_scratch": EPOCHS}
    assert facts["proxy"]["epochs"] == EPOCHS // 2
    # a third audit that starts from the second does not train half as long again
    audit(folder / "grown.parquet", out=tmp_path / "second", warm_start=tmp_path / "first", **OPTIONS)
    assert watched[1].history is not None and watched[1].history.shape[1] == EPOCHS // 2


def test_the_plan_says_so(folder, capsys):
    answer = call(
        capsys, "audit", folder / "grown.parquet", "--warm-start", folder / "old", *FLAGS, "--dry-run", "--json"
    )
    facts = json.loads(answer.out)
    assert facts["epochs"] == EPOCHS // 2
    assert facts["warm_start"] == json.loads((folder / "old" / "run.json").read_bytes())["key"][:8]
    assert json.loads(call(capsys, "audit", folder / "grown.parquet", *FLAGS, "--dry-run", "--json").out)["epochs"] == 0


# --- Findings --------------------------------------------------------------------------------------------------------


def test_wrong_labels_are_found_among_old_and_new_rows(folder, tmp_path):
    report = audit(folder / "grown.parquet", out=tmp_path / "run", warm_start=folder / "old", **OPTIONS)
    found = flagged(report)
    wrong = {f"r{row}" for row in WORLD.wrong}
    for rows in (range(OLD), range(OLD, N)):
        here = {f"r{row}" for row in rows}
        assert sum(found[id] for id in here & wrong) >= 0.8 * len(here & wrong)
        assert sum(found[id] for id in here - wrong) <= 0.05 * len(here)
    assert report.summary.noise_rate.estimate == pytest.approx(0.1, abs=0.03)


def test_corrected_rows_are_not_flagged_again(folder, tmp_path):
    corrected = WORLD.wrong[WORLD.wrong < OLD]
    labels = WORLD.labels.copy()
    labels[corrected] = WORLD.truth[corrected]
    manifest = save(tmp_path / "corrected.parquet", np.arange(N), labels)
    before = flagged(ReportTable.read(folder / "old" / "report.parquet"))
    assert sum(before[f"r{row}"] for row in corrected) >= 0.9 * len(corrected)
    found = flagged(audit(manifest, out=tmp_path / "run", warm_start=folder / "old", **OPTIONS))
    assert not any(found[f"r{row}"] for row in corrected)
    assert sum(found[f"r{row}"] for row in WORLD.wrong if row >= OLD) >= 0.8 * (WORLD.wrong >= OLD).sum()


def test_classes_are_matched_by_name_and_new_ones_start_fresh(folder, tmp_path):
    rows = np.arange(N)
    features = FEATURES.copy()
    labels = WORLD.labels.copy()
    labels[OLD:][::2] = 3  # half of the new rows are of a new class, which comes first in the alphabet
    features[OLD:][::2] = 6 * np.eye(8)[5] + np.random.default_rng(2).normal(size=(len(rows[OLD:][::2]), 8))
    grown = save(tmp_path / "grown.parquet", rows, labels, features, (*CLASSES, "ant"))
    warm = read_warm_start(folder / "old", read_manifest(grown))
    proxy, fresh = (build_proxy("mlp", torch.zeros(2, 8), 4, seed=0) for _ in range(2))
    warm.starter(1)(proxy)
    old = torch.as_tensor(warm.weights[1]["head.weight"]).float()
    assert torch.equal(proxy.head.weight[0], fresh.head.weight[0])  # ant
    torch.testing.assert_close(proxy.head.weight[1:], (fresh.head.weight[1:] + old) / 2)
    assert not torch.equal(proxy.encoder[0].weight, fresh.encoder[0].weight)

    found = flagged(audit(grown, out=tmp_path / "run", warm_start=folder / "old", **OPTIONS))
    assert sum(found[f"r{row}"] for row in rows[labels == 3]) <= 0.1 * (labels == 3).sum()


@pytest.mark.parametrize("left_open", ["auto", "default"])
def test_a_recipe_is_taken_over_unless_another_is_named(folder, left_open):
    warm = read_warm_start(folder / "old", manifest := read_manifest(folder / "grown.parquet"))
    warm.facts.update(loss="gce:q=0.5", strategy="plain")
    config = preset("balanced", loss=left_open, strategy=left_open, ensemble=3, device="cpu")
    named = preset("balanced", loss="ce", strategy="mixup", ensemble=3, device="cpu")
    planned = make_plan(manifest, named, warm)
    assert (planned.loss, planned.strategy) == ("ce", "mixup")
    assert {name: getattr(make_plan(manifest, config, warm), name) for name in ("loss", "strategy", "recipes")} == {
        "loss": "gce:q=0.5",
        "strategy": "plain",
        "recipes": 1,
    }


# --- Stopping and going on -------------------------------------------------------------------------------------------


def test_a_stopped_run_goes_on_to_the_same_report(folder, tmp_path, capsys):
    audit = ("audit", folder / "grown.parquet", "--warm-start", folder / "old", *FLAGS, "--epochs", "2")
    assert call(capsys, *audit, "--out", tmp_path / "alone").code == 0
    attempts = [call(capsys, *audit, "--out", tmp_path / "run", "--time-budget", "0.001s").code for _ in range(4)]
    assert attempts == [4, 4, 4, 4]  # a step each
    assert call(capsys, *audit, "--out", tmp_path / "run").code == 0
    assert findings(tmp_path / "run") == findings(tmp_path / "alone")
    scratch = call(capsys, *audit[:2], *audit[4:], "--out", tmp_path / "run")
    assert scratch.code == 2 and "holds a run of another manifest or configuration" in scratch.err


# --- Refusals --------------------------------------------------------------------------------------------------------


def other_features(folder: Path, out: Path) -> Path:
    return save(out / "m.parquet", np.arange(N), WORLD.labels, vectors(WORLD.truth, seed=9))


def narrow_features(folder: Path, out: Path) -> Path:
    return save(out / "m.parquet", np.arange(N), WORLD.labels, FEATURES[:, :5])


def pictures(folder: Path, out: Path) -> Path:
    names = [f"{row}.png" for row in range(30)]
    save_pictures(out, WORLD.truth[:30], names)
    return write_csv(out / "m.csv", {"path": names, "label": [CLASSES[c] for c in WORLD.truth[:30]]})


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (None, ("--ensemble", "4"), "ensemble is 4 here and was 3"),
        (None, ("--second-split",), "second_split learns from scratch"),
        (other_features, (), "no row of this manifest was learned"),
        (narrow_features, (), r"shape is [5] here and was [8]"),
        (pictures, (), "modality is 'image' here and was 'vector'; encoder is 'lite0' here and was ''"),
    ],
)
def test_what_does_not_fit_is_refused(
    folder, tmp_path, capsys, make: Callable[[Path, Path], Path] | None, options, message
):
    manifest = make(folder, tmp_path) if make else folder / "grown.parquet"
    answer = call(
        capsys, "audit", manifest, "--warm-start", folder / "old", *FLAGS, *options, "--out", tmp_path / "run"
    )
    assert answer.code == 2 and message in answer.err and "hint: " in answer.err


def test_another_size_of_pictures_is_refused_and_the_same_is_taken(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    manifest = pictures(folder, tmp_path)
    quick = ("--ensemble", "2", "--device", "cpu", "--epochs", "1", "--views", "pixels")
    assert call(capsys, "audit", manifest, *quick, "--image-size", "32", "--out", tmp_path / "old").code == 0
    again = ("audit", manifest, *quick, "--warm-start", tmp_path / "old")
    answer = call(capsys, *again, "--image-size", "48")
    assert answer.code == 2 and "image_size is 48 here and was 32" in answer.err and "--image-size 32" in answer.err
    answer = call(capsys, *again, "--proxy", "resnet18")
    assert answer.code == 2 and "proxy is 'resnet18' here and was 'cnn'" in answer.err and "--proxy cnn" in answer.err
    assert call(capsys, *again, "--out", tmp_path / "new").code == 0
    assert summary(tmp_path / "new")["proxy"]["image_size"] == 32  # pictures of 16 px alone would be shown as they are


def test_a_run_without_proxies_is_refused(folder, tmp_path, capsys):
    manifest = folder / "grown.parquet"
    answer = call(capsys, "audit", manifest, "--warm-start", tmp_path / "nothing")
    assert answer.code == 2 and "does not exist" in answer.err
    run = tmp_path / "old"
    shutil.copytree(folder / "old", run)
    state = json.loads((run / "run.json").read_bytes())
    (run / "run.json").write_text(json.dumps(state | {"finished": None}))
    answer = call(capsys, "audit", manifest, "--warm-start", run)
    assert answer.code == 2 and "is not finished" in answer.err
    (run / "run.json").write_text(json.dumps(state))
    (run / PROXIES).write_bytes((run / PROXIES).read_bytes()[:1000])
    answer = call(capsys, "audit", manifest, "--warm-start", run)
    assert answer.code == 2 and f"cannot read {run / PROXIES}" in answer.err
    save_file({"weights": np.zeros(3, np.float16)}, run / PROXIES)  # whole, but of another program
    answer = call(capsys, "audit", manifest, "--warm-start", run)
    assert answer.code == 2 and f"cannot read {run / PROXIES}" in answer.err
    (run / PROXIES).unlink()
    answer = call(capsys, "audit", manifest, "--warm-start", run)
    assert answer.code == 2 and "kept no proxies" in answer.err and "hint: " in answer.err


# --- What the file holds ---------------------------------------------------------------------------------------------

LAYOUTS = {
    "plain": lambda array: array,
    "Fortran": np.asfortranarray,
    "sliced": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "reversed": lambda array: array[..., ::-1].copy()[..., ::-1],
    "channels last": lambda array: np.moveaxis(np.moveaxis(array, 1, -1).copy(), -1, 1),
    "broadcast": lambda array: np.broadcast_to(array[:1], array.shape),
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
}
SHAPES = [(4, 3, 3, 2), (5, 7), (1, 6, 1, 1)]


def kept(tmp_path: Path, manifest: Path, proxies: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """`proxies`, saved in a finished run and read again."""
    given = read_manifest(manifest)
    with Run.start(tmp_path / "kept", "m", "0" * 64) as run:
        save_proxies(run, proxies, {64 * "a": 0, 64 * "b": 1}, {"epochs": 1})
        run.write("report.parquet", lambda path: path.write_bytes(b""))
        run.finish(plan={"ensemble": len(proxies)}, classes=list(given.classes))
    warm = read_warm_start(tmp_path / "kept", given)
    assert warm.fold_of == {64 * "a": 0, 64 * "b": 1}
    return warm.weights


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_weights_come_back_however_they_lay_in_memory(folder, tmp_path, layout, dtype):
    numbers = np.random.default_rng(0)
    weights = {
        f"layer{i}.weight": LAYOUTS[layout](numbers.normal(size=shape, scale=9).astype(dtype))
        for i, shape in enumerate(SHAPES if layout != "channels last" else SHAPES[:1])
    } | {"scale": np.array(3, dtype)}
    found = kept(tmp_path, folder / "old.parquet", [weights, weights])
    for proxy in found:
        assert proxy.keys() == weights.keys()
        for name, array in weights.items():
            np.testing.assert_array_equal(proxy[name], array.astype(dtype), strict=True)


def as_state(weights: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(array).float() for name, array in weights.items()}


def test_a_network_for_pictures_comes_back(folder, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 3, 32, 32), np.uint8)
    samples = Samples(pixels, np.ones(32, bool), torch.device("cpu"))
    config = Teaching("cnn", "", "ce", "plain", 1, 16, 0.1, 0.0, False, 1, None)
    trained = fit(samples, np.arange(32) % 3, np.arange(32), 3, config, seed=0).weights
    assert any(not weight.is_contiguous() for weight in trained.values())  # channels_last, or this tests nothing
    floats = {name: weight.half() for name, weight in trained.items() if weight.is_floating_point()}
    (found,) = kept(tmp_path, folder / "old.parquet", [{name: weight.numpy() for name, weight in floats.items()}])
    examples = samples.inputs(torch.arange(32))
    before, after = (build_proxy("cnn", examples, 3, seed=seed).eval() for seed in (1, 2))
    before.load_state_dict({name: weight.float() for name, weight in floats.items()}, strict=False)
    after.load_state_dict(as_state(found), strict=False)
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert torch.equal(old, new), name
    assert torch.equal(before(examples), after(examples))


def test_the_proxies_of_an_audit_of_pictures_still_know_them(tmp_path, watched, monkeypatch):
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    names = [f"{row}.png" for row in range(90)]
    save_pictures(tmp_path, WORLD.truth[:90], names)
    path = write_csv(tmp_path / "m.csv", {"path": names, "label": [CLASSES[c] for c in WORLD.truth[:90]]})
    options = OPTIONS | {"ensemble": 2, "image_size": 32, "epochs": 6, "views": "pixels"}
    audit(path, out=tmp_path / "run", loss="ce", strategy="plain", **options)
    manifest = read_manifest(path)
    inputs = load_inputs(manifest, 32)
    samples = Samples(inputs.array, inputs.readable, torch.device("cpu"))
    held_out = ~trained(watched[0])[:2]
    for m, weights in enumerate(read_warm_start(tmp_path / "run", manifest).weights):
        examples = samples.inputs(torch.as_tensor(np.flatnonzero(held_out[m])))
        proxy = build_proxy("cnn", examples, 3, seed=9).eval()
        proxy.load_state_dict(as_state(weights), strict=False)
        predicted = proxy(examples).argmax(dim=1).numpy()
        assert (predicted == watched[0].pred_probs[held_out[m]].argmax(axis=1)).mean() > 0.9
        assert (predicted == manifest.labels[held_out[m]]).mean() > 0.9


def test_proxies_of_other_versions_are_refused(folder, tmp_path, capsys):
    run = tmp_path / "old"
    shutil.copytree(folder / "old", run)
    tensors = load_file(run / PROXIES)
    facts = {"epochs": 3, "loss": "ce", "strategy": "plain", "shape": [8], "encoder_fingerprint": ""}
    for version, said in (({}, "older version of nlclean"), ({"version": 99}, "version 99")):
        save_file(tensors, run / PROXIES, metadata={"facts": json.dumps(facts | version)})
        answer = call(capsys, "audit", folder / "grown.parquet", "--warm-start", run, *FLAGS, "--dry-run")
        assert answer.code == 2 and said in answer.err and "leave out --warm-start" in answer.err


def test_own_evidence_has_nothing_to_start(folder, tmp_path):
    probabilities = tmp_path / "p.npy"
    np.save(probabilities, np.full((N, 3), 1 / 3))
    with pytest.raises(ConfigError, match="nothing is trained"):
        audit(folder / "grown.parquet", pred_probs=probabilities, warm_start=folder / "old")

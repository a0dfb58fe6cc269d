"""The audit from end to end, on data whose answer is known: the run folder, its files, repeatability, exit codes."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from audit_world import (
    CLASSES,
    FILES,
    OPTIONS,
    QUICK,
    findings,
    fingerprints,
    save_pictures,
    task,
    vector_parquet,
    vectors,
    write_csv,
)
from cli_world import Result, call, program

import cleanlab_lite as cl
from cleanlab_lite import clock
from cleanlab_lite.config import preset
from cleanlab_lite.export import policy
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.pipeline import run_key

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def vector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vector_parquet(tmp_path_factory.mktemp("vectors") / "vectors.parquet", task())


@pytest.fixture(scope="module")
def vector_run(vector_file: Path) -> Path:
    """The run folder of `nlclean audit vectors.parquet`, with the QUICK options; tests read it, or change a copy."""
    return audited(vector_file)


def audited(path: Path, *options: object) -> Path:
    """The run folder beside `path` of an audit by the command, in this process."""
    run = path.parent / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLCLEAN_CACHE_DIR", str(path.parent / "cache"))
        with pytest.raises(SystemExit) as stop:
            program.main([str(text) for text in ("audit", path, "--out", run, *QUICK, *options)])
    assert stop.value.code == 0
    return run


def table(run: Path | str) -> dict[str, list]:
    return pq.read_table(Path(run) / "report.parquet").to_pydict()


def kept_rows(report: dict[str, list]) -> list[bool]:
    """Rows that the pruned dataset keeps, where no split is held back."""
    return [
        not flagged and action not in ("drop", "relabel")
        for flagged, action in zip(report["is_label_issue"], report["action"], strict=True)
    ]


def read_lines(path: Path | str) -> list[str]:
    return Path(path).read_text("utf-8").splitlines()


# --- Pictures: one audit of a manifest with all that goes wrong in real ones -----------------------------------------

BROKEN = {"img/gone.png": "file_missing", "img/empty.png": "file_empty", "img/text.png": "decode_failed"}
HELD_BACK = 80  # rows of the test split, the first ones
PIXELS = (*QUICK, "--views", "pixels", "--image-size", "16")
LEARNED = (*QUICK, "--epochs", "6", "--batch-size", "32", "--image-size", "16")  # enough to find errors with any seed


class Pictures:
    """240 rows, 18 of them mislabelled; then three that cannot be read, two copies, two without a label."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.given = given = task(240, wrong=18)
        names = [f"img/{row:03}.png" for row in range(len(given.labels))]
        unlabelled = ["img/new-cat.png", "img/new-owl.png"]
        save_pictures(folder, np.append(given.truth, [0, 2]), names + unlabelled)
        (folder / "img/empty.png").touch()
        (folder / "img/text.png").write_text("this is not a picture")
        right = np.flatnonzero(given.labels == given.truth)
        cat, owl = (names[right[given.truth[right] == kind][-1]] for kind in (0, 2))
        shutil.copy(folder / cat, folder / "img/copy.png")
        shutil.copy(folder / owl, folder / "img/same.png")
        self.original = cat
        labels = [CLASSES[label] for label in given.labels]
        names += [*BROKEN, "img/copy.png", "img/same.png", *unlabelled]
        n = len(names)
        self.manifest = write_csv(
            folder / "pets.csv",
            {
                "zip": [f"{row % 50:05}" for row in range(n)],
                "path": names,
                "label": [*labels, "cat", "dog", "owl", "dog", "owl", "", ""],
                "split": ["test" if row < HELD_BACK else "train" for row in range(n)],
                "note": ['say "hi", twice' if row % 3 else "" for row in range(n)],
            },
        )
        self.names = names
        self.before = fingerprints(folder)
        self.out = folder.parent / "run"
        self.process = subprocess.run(
            [sys.executable, "-m", "nlclean", "audit", str(self.manifest), "--out", str(self.out), *LEARNED],
            capture_output=True,
            text=True,
        )
        self.after = fingerprints(folder)
        self.report = table(self.out)
        self.by_id = dict(zip(self.report["id"], pq.read_table(self.out / "report.parquet").to_pylist(), strict=True))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLCLEAN_CACHE_DIR", str(folder / "cache"))
        yield Pictures(folder / "data")


def test_the_last_line_on_stdout_is_the_report(pictures):
    assert pictures.process.returncode == 0, pictures.process.stderr
    assert pictures.process.stdout.splitlines()[-1] == str(pictures.out / "report.parquet")
    assert "Traceback" not in pictures.process.stderr


def test_the_run_folder_holds_what_it_should_and_no_pickle(pictures):
    files = {path.name for path in pictures.out.rglob("*") if path.is_file()}
    assert files >= FILES | {"pruned.csv", "corrected.csv"}
    endings = {path.suffix for path in pictures.out.rglob("*") if path.is_file() and path.name != ".lock"}
    assert endings <= {".parquet", ".json", ".jsonl", ".csv", ".npy", ".npz", ".safetensors"}
    for path in pictures.out.glob("*.np[yz]"):
        stored = np.load(path, allow_pickle=False)
        arrays = [stored] if isinstance(stored, np.ndarray) else [stored[name] for name in stored.files]
        assert arrays and not any(array.dtype.hasobject for array in arrays)
    run = json.loads((pictures.out / "run.json").read_text("utf-8"))
    assert run["finished"] and run["versions"]["torch"] and run["plan"]["device"] == "cpu"
    assert run["command"][:3] == ["nlclean", "audit", str(pictures.manifest)]
    assert run["configuration"]["epochs"] == 6
    assert run["fingerprint"] == read_manifest(pictures.manifest).fingerprint
    assert all(isinstance(json.loads(line), dict) for line in read_lines(pictures.out / "log.jsonl"))


def test_a_row_of_the_report_per_row_of_the_manifest_in_its_order(pictures):
    assert pictures.report["path"] == pictures.report["id"] == pictures.names
    with open(pictures.manifest, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert pictures.report["given_label"] == [row["label"] or None for row in rows]
    assert pictures.report["split"] == [row["split"] for row in rows]
    assert np.load(pictures.out / "features.npy").shape[0] == len(rows)
    assert pq.read_table(pictures.out / "history.parquet")["id"].to_pylist() == pictures.names


def test_planted_errors_are_found_with_their_true_label(pictures):
    wrong = [pictures.names[row] for row in pictures.given.wrong]
    found = [name for name in wrong if pictures.by_id[name]["is_label_issue"]]
    assert len(found) >= 0.75 * len(wrong)
    right = [CLASSES[pictures.given.truth[row]] for row in pictures.given.wrong]
    fitting = [pictures.by_id[name]["suggested_label"] == label for name, label in zip(wrong, right, strict=True)]
    assert np.mean(fitting) >= 0.75
    sound = np.setdiff1d(np.arange(len(pictures.given.labels)), pictures.given.wrong)
    assert np.mean([pictures.report["is_label_issue"][row] for row in sound]) <= 0.1
    scores = np.array([pictures.by_id[name]["label_score"] for name in pictures.names[: len(pictures.given.labels)]])
    assert np.median(scores[pictures.given.wrong]) < np.median(scores[sound])


def test_rows_that_cannot_be_read_are_named_and_go(pictures):
    for name, code in BROKEN.items():
        row = pictures.by_id[name]
        assert (row["issue"], row["action"], row["reasons"]) == ("unreadable", "drop", [code])
        assert row["error"] and row["p_mislabel"] is None and row["weight"] == 0
    assert sum(issue == "unreadable" for issue in pictures.report["issue"]) == len(BROKEN)
    assert "3 of 247 rows could not be read" in pictures.process.stderr
    kept = "".join(read_lines(pictures.out / "pruned.csv") + read_lines(pictures.out / "corrected.csv"))
    assert not any(name in kept for name in BROKEN)


def test_copies_that_contradict_each_other_are_named(pictures):
    copy, original = pictures.by_id["img/copy.png"], pictures.by_id[pictures.original]
    assert copy["duplicate_of"] == pictures.original and original["duplicate_of"] is None
    assert copy["issue"] == original["issue"] == "duplicate_conflict"
    assert "duplicate_conflict" in copy["reasons"] and "duplicate_conflict" in original["reasons"]
    assert copy["is_label_issue"] and not original["is_label_issue"]
    assert pictures.by_id["img/same.png"]["duplicate_of"] is not None
    assert pictures.by_id["img/same.png"]["issue"] != "duplicate_conflict"


def test_content_is_the_hash_of_the_file(pictures):
    for name, row in pictures.by_id.items():
        if row["issue"] == "unreadable":
            assert row["content"] is None
        else:
            assert row["content"] == hashlib.sha256((pictures.folder / name).read_bytes()).hexdigest()[:16]


def test_rows_without_a_label_get_a_suggestion(pictures):
    for name, label in (("img/new-cat.png", "cat"), ("img/new-owl.png", "owl")):
        row = pictures.by_id[name]
        assert row["issue"] == "unlabeled" and row["given_label"] is None and row["p_mislabel"] is None
        assert row["suggested_label"] == label and row["suggestion_confidence"] > 0.5
    summary = json.loads((pictures.out / "summary.json").read_text("utf-8"))
    assert summary["issues"]["unlabeled"] == 2
    assert summary["manifest"]["labelled"] == len(pictures.names) - 2


def test_the_test_split_is_audited_and_left_alone(pictures):
    held_back = pictures.names[:HELD_BACK]
    assert any(pictures.by_id[name]["is_label_issue"] for name in held_back)
    original = read_lines(pictures.manifest)
    for file in ("pruned.csv", "corrected.csv"):
        written = [line for line in read_lines(pictures.out / file) if ",test," in line]
        assert written == original[1 : HELD_BACK + 1]


def test_a_cleaned_manifest_that_lacks_too_much_is_not_written(vector_file, capsys, monkeypatch):
    monkeypatch.setattr(policy, "MAX_DROP", 0.0)
    result = call(capsys, "audit", vector_file, "--out", "run", *QUICK)
    assert result.code == 0
    assert not Path("run/pruned.parquet").exists() and Path("run/corrected.parquet").exists()
    (warning,) = (text for text in json.loads(Path("run/summary.json").read_text())["warnings"] if "pruned" in text)
    assert warning.startswith("pruned.parquet is not in the run folder: too many rows would be dropped")
    assert "the limit is 0 %" in warning and "--max-drop" in warning
    assert "pruned.parquet is not in the run folder" in " ".join(result.err.split())
    assert call(capsys, "export", "run").code == 2
    assert call(capsys, "export", "run", "--max-drop", "30%").code == 0


def test_pruned_and_corrected_keep_the_owners_columns_and_order(pictures):
    original = read_lines(pictures.manifest)
    pruned, corrected = (read_lines(pictures.out / f"{what}.csv") for what in ("pruned", "corrected"))
    assert pruned[0] == corrected[0] == original[0]
    assert pruned == [line for line in original if line in set(pruned)]  # whole lines, in order
    changed = [line for line in corrected if line not in set(original)]
    assert changed
    for line in changed:
        zip_code, name, label, split, note = next(csv.reader([line]))
        row = pictures.names.index(name)
        before = next(csv.reader([original[row + 1]]))
        assert [zip_code, name, split, note] == [*before[:2], *before[3:]]
        assert label == pictures.by_id[name]["suggested_label"] != before[2]


def test_the_inputs_are_never_modified(pictures):
    assert pictures.after == pictures.before


def test_a_second_run_decodes_nothing_and_finds_the_same(pictures, here, monkeypatch, capsys):
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(pictures.folder.parent / "cache"))
    assert call(capsys, "audit", pictures.manifest, "--out", "again", *LEARNED).code == 0
    facts = [json.loads((run / "stages/decode.json").read_text())["facts"] for run in (pictures.out, here / "again")]
    assert [fact["decoded"] for fact in facts] == [len(pictures.names) - len(BROKEN), 0]
    assert findings(here / "again") == findings(pictures.out)


def test_a_folder_per_class(here, capsys):
    given = task(90, wrong=6)
    names = [f"{CLASSES[label]}/{row}.png" for row, label in enumerate(given.labels)]
    save_pictures(here / "photos", given.truth, names)
    assert call(capsys, "audit", "photos", "--out", "run", *PIXELS).code == 0
    report = table("run")
    assert sorted(report["path"]) == sorted(names)
    assert report["given_label"] == [name.partition("/")[0] for name in report["path"]]
    with open("run/pruned.csv", newline="", encoding="utf-8") as file:
        pruned = [row["path"] for row in csv.DictReader(file)]
    assert pruned == [name for name, kept in zip(report["path"], kept_rows(report), strict=True) if kept]


# --- Vectors --------------------------------------------------------------------------------------------------------


def test_vectors_in_parquet_come_out_in_their_schema(here, capsys):
    given = task(450, wrong=36)
    vector_file = vector_parquet(here / "vectors.parquet", given)
    before = fingerprints(here)
    result = call(capsys, "audit", vector_file, "--out", "run", *QUICK, "--epochs", 8)
    assert result.code == 0
    assert result.out.splitlines()[-1] == "run/report.parquet"
    original = pq.read_table(vector_file)
    report = table("run")
    assert report["id"] == original["key"].to_pylist()
    assert set(report["path"]) == {None}
    flagged = np.flatnonzero(report["is_label_issue"])
    assert len(np.intersect1d(flagged, given.wrong)) >= 0.75 * len(given.wrong)
    assert len(np.setdiff1d(flagged, given.wrong)) <= 0.1 * len(given.labels)
    pruned, corrected = (pq.read_table(f"run/{what}.parquet") for what in ("pruned", "corrected"))
    assert pruned.schema.equals(original.schema) and corrected.schema.equals(original.schema)
    assert pruned.equals(original.filter(kept_rows(report)))
    assert {path: digest for path, digest in fingerprints(here).items() if path in before} == before


def test_jsonl_comes_out_line_by_line(here, capsys):
    given = task(90, wrong=6)
    lines = [
        json.dumps({"vector": vector, "by": None if row % 2 else "Zoë", "label": CLASSES[label]}, ensure_ascii=False)
        for row, (vector, label) in enumerate(zip(vectors(given.truth).tolist(), given.labels, strict=True))
    ]
    (here / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert call(capsys, "audit", "rows.jsonl", "--out", "run", *QUICK, "--epochs", "16").code == 0
    keep = kept_rows(table("run"))
    assert read_lines("run/pruned.jsonl") == [line for line, kept in zip(lines, keep, strict=True) if kept]


def test_features_beside_a_table_and_arrays_alone(here, capsys):
    given = task(60, wrong=4)
    features = vectors(given.truth)
    np.save("embeddings.npy", features)
    names = [f"nowhere/{row}.wav" for row in range(60)]
    write_csv(here / "rows.csv", {"path": names, "label": [CLASSES[label] for label in given.labels]})
    assert call(capsys, "audit", "rows.csv", "--features", "embeddings.npy", "--out", "a", *QUICK).code == 0
    assert table("a")["path"] == table("a")["id"] == names
    np.savez("all.npz", features=features, labels=given.labels)
    assert call(capsys, "audit", "all.npz", "--out", "b", *QUICK).code == 0
    assert table("b")["given_label"] == [str(label) for label in given.labels]
    assert table("a")["p_mislabel"] == table("b")["p_mislabel"]  # the same numbers, the same finding


def test_the_epochs_are_chosen_by_trial_where_they_are_left_open(vector_file, here, capsys):
    assert call(capsys, "audit", vector_file, "--out", "run", "--ensemble", 2, "--device", "cpu").code == 0
    stages = {path.stem for path in (here / "run/stages").glob("*.json")}
    [trial] = (stage for stage in stages if stage.startswith("trial-"))  # near a regression: no more is tried
    assert {"heads", "proxy-1"} <= stages and "proxy-0" not in stages
    assert f"trial-{json.loads((here / 'run/summary.json').read_text())['proxy']['epochs']}" == trial
    assert json.loads((here / "run/run.json").read_text())["plan"]["epochs"] == 0


@pytest.mark.slow
def test_auto_tries_recipes_says_what_it_saw_and_teaches_as_chosen(vector_file, here, capsys):
    options = ("--epochs", 4, "--batch-size", 16, "--ensemble", 2, "--device", "cpu", "--strategy", "auto")
    result = call(capsys, "audit", vector_file, *options, "--loss", "ce", "--out", here / "run")
    assert result.code == 0, result.err
    assert "Recipes tried" in result.out and "dividemix" in result.out
    summary = json.loads((here / "run" / "summary.json").read_text())
    chosen = summary["search"]["chosen"]
    assert f"chosen: {chosen['strategy']} with ce: {summary['search']['reason']}" in result.out
    assert {name: summary["proxy"][name] for name in chosen} == chosen
    assert {tried["strategy"] for tried in summary["search"]["tried"]} >= {"plain", "mixup", "promix", "dividemix"}


# --- The same again -------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_report_another_seed_does_not(vector_file, vector_run, here, capsys):
    for out, seed in (("same", 0), ("other", 1)):
        assert call(capsys, "audit", vector_file, "--out", out, *QUICK, "--seed", seed).code == 0
    assert findings(here / "same") == findings(vector_run)
    report = pq.read_table(vector_run / "report.parquet")
    assert report.equals(pq.read_table("same/report.parquet"))
    assert not report.equals(pq.read_table("other/report.parquet"))


def test_how_a_run_is_carried_out_does_not_change_what_it_finds(vector_file, vector_run, here, capsys):
    differently = ("--workers", 1, "--max-memory", "2GiB", "--time-budget", "1h")
    assert call(capsys, "audit", vector_file, "--out", "run", *QUICK, *differently).code == 0
    assert findings(here / "run") == findings(vector_run)


def test_a_finished_run_is_read_not_repeated(vector_file, here, capsys):
    first = call(capsys, "audit", vector_file, "--out", "run", *QUICK)
    before = fingerprints(here / "run")
    second = call(capsys, "audit", vector_file, "--out", "run", *QUICK)
    assert (second.code, second.out) == (0, first.out)
    assert fingerprints(here / "run") == before


def test_other_options_do_not_go_into_the_folder_of_a_run(vector_file, vector_run, here, capsys):
    shutil.copytree(vector_run, here / "run")
    result = call(capsys, "audit", vector_file, "--out", "run", *QUICK, "--seed", 1)
    assert (result.code, result.out) == (2, "")
    assert "another manifest or configuration" in result.err and "--out" in result.err


# --- Plans, limits, gates -------------------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing(vector_file, here, capsys):
    before = fingerprints(here), sorted(here.rglob("*"))
    result = call(capsys, "audit", vector_file, "--dry-run", *QUICK)
    assert result.code == 0
    assert (
        "150 vectors, 3 classes" in result.out
        and "2 cross-fitted networks mlp" in result.out
        and "cpu in fp32" in result.out
    )
    assert json.loads(call(capsys, "audit", vector_file, "--dry-run", "--json", *QUICK).out)["classes"] == 3
    assert "budget" not in result.out
    short = call(capsys, "audit", vector_file, "--dry-run", "--time-budget", "0.1s", *QUICK).out
    assert "more than the time budget of 0.1s: given again, the same command goes on" in short
    assert (fingerprints(here), sorted(here.rglob("*"))) == before


@pytest.mark.usefixtures("untimed")
def test_a_dry_run_counts_missing_files(here, capsys):
    save_pictures(here, np.array([0, 1, 0]), ["a.png", "b.png", "c.png"])
    write_csv(here / "m.csv", {"path": ["a.png", "b.png", "gone.png", "c.png"], "label": ["x", "y", "x", "x"]})
    plan = json.loads(call(capsys, "audit", "m.csv", "--dry-run", "--json", *PIXELS).out)
    assert (plan["rows"], plan["missing_files"], plan["picture_size"]) == (4, 1, 16)


@pytest.mark.usefixtures("untimed")
def test_what_the_machine_has_not_is_said_before(vector_file, here, capsys, monkeypatch):
    monkeypatch.setattr("cleanlab_lite.train.memory.available", lambda: 2.0**28)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=2**20))
    result = call(capsys, "audit", vector_file, "--dry-run", "--out", here / "not" / "yet", *QUICK)
    assert result.code == 0
    assert "1 GiB of memory are needed and 0.2 GiB are free" in result.err and "--preset fast" in result.err
    assert f"1 MiB are free in {here}:" in result.err and "another --out" in result.err


def test_a_time_budget_stops_the_run_and_the_same_command_finishes_it(
    vector_file, vector_run, here, monkeypatch, capsys
):
    ticks = iter(range(10_000))
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 10))  # passes with every look
    results: list[Result] = []
    while not results or results[-1].code == 4:
        results.append(call(capsys, "audit", vector_file, "--out", "run", *QUICK, "--time-budget", "3s"))
        assert len(results) < 10
    assert len(results) > 2 and results[-1].code == 0
    for result in results[:-1]:
        assert result.out == ""
        assert "time budget of 3 s" in result.err and "the same command goes on" in result.err
    assert findings(here / "run") == findings(vector_run)
    assert json.loads((here / "run/run.json").read_text())["resumed"] == len(results) - 1


WRITER = """
import sys
from pathlib import Path
from cleanlab_lite.run import Run

with Run.start(Path("run"), "vectors", sys.argv[1]):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_write_to_one_folder(vector_file, here, capsys):
    key = run_key(read_manifest(vector_file), preset("balanced", **OPTIONS))
    command = [sys.executable, "-c", WRITER, key]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout and writer.stdout.readline() == b"open\n"
        result = call(capsys, "audit", vector_file, "--out", "run", *QUICK)
    assert (result.code, result.out) == (4, "")
    assert f"in use by process {writer.pid}" in result.err and "--out" in result.err


def test_limits_and_json(here, capsys):
    vector_file = vector_parquet(here / "vectors.parquet", task(450, wrong=36))
    command = ("audit", vector_file, "--out", "run", *QUICK, "--epochs", 8)
    document = json.loads(call(capsys, *command, "--json").out)
    summary = json.loads((here / "run/summary.json").read_text("utf-8"))
    assert document["report"] == "run/report.parquet"
    assert document["flagged"] == summary["flagged"] == sum(table("run")["is_label_issue"])
    assert document["issues"] == summary["issues"] and sum(summary["issues"].values()) == 450
    assert document["suspicious"][0]["issue"] == "mislabel"
    for limit, code in (("1%", 1), ("60%", 0), ("0", 1), ("450", 0)):
        result = call(capsys, *command, "--fail-on", limit)
        assert result.code == code, limit
        assert result.out.splitlines()[-1] == "run/report.parquet"  # the findings are there either way
        assert ("above the limit" in result.err) == (code == 1)


def test_without_out_runs_are_kept_apart_and_found_again(vector_file, here, capsys):
    for seed in (0, 1):
        assert call(capsys, "audit", vector_file, *QUICK, "--seed", seed).code == 0
    folders = sorted((here / "nlclean-runs/vectors").iterdir())
    assert len(folders) == 2
    shown = call(capsys, "report")
    assert shown.code == 0 and Path(shown.out.splitlines()[-1]).parent.name == max(folders, key=_finished).name


def _finished(run: Path) -> str:
    return json.loads((run / "run.json").read_text())["finished"]


# --- Python ---------------------------------------------------------------------------------------------------------


def test_python_api_does_what_the_command_does(vector_file, vector_run, here):
    seen = []
    report = cl.audit(vector_file, out=here / "run", **OPTIONS, progress=seen.append)
    assert isinstance(report, cl.Report)
    assert {event.stage for event in seen} >= {"train", "judge"}
    scores = report.flagged()["label_score"].to_pylist()
    assert scores == sorted(scores)
    assert findings(here / "run") == findings(vector_run)


def test_python_api_finishes_what_the_command_began(vector_file, here, capsys, monkeypatch):
    ticks = iter(range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
        assert call(capsys, "audit", vector_file, "--out", "run", *QUICK, "--time-budget", "1s").code == 4
    report = cl.audit(str(vector_file), out=here / "run", **OPTIONS)
    assert report.table.equals(pq.read_table("run/report.parquet"))

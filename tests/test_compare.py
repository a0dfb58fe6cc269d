"""`nlclean compare`: what two runs over the same data see differently."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from audit_world import task, vector_parquet, vectors
from cli_world import HOSTILE, HOSTILE_SHOWN, call, finished_run, make_manifest, make_report, mislabel, row

from cleanlab_lite import pipeline
from cleanlab_lite import stability as module
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.manifest.saved import save_manifest
from cleanlab_lite.report.page.html import build_page
from cleanlab_lite.run import RunFolder

BEFORE = [row("a"), mislabel("b", p_mislabel=0.8), mislabel("c"), mislabel("d"), row("gone")]
AFTER = [
    mislabel("d"),
    mislabel("c", suggested_label="owl"),
    row("b", p_mislabel=0.3),
    mislabel("a", p_mislabel=0.7),
    row("new"),
]


def runs(folder, before=BEFORE, after=AFTER):
    found = [finished_run(folder / name, make_report(rows)) for name, rows in (("one", before), ("two", after))]
    for run, rows in zip(found, (before, after), strict=True):
        save_manifest(
            make_manifest(folder / f"{run.name}.csv", [each["id"] for each in rows], ["dog"] * len(rows)),
            run / "manifest.parquet",
        )
    return found


def test_flags_that_came_and_went(tmp_path, capsys):
    done = call(capsys, "compare", *runs(tmp_path), "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    changes = {(each["change"], each["id"]) for each in found["changes"]}
    assert changes == {("newly flagged", "a"), ("no longer flagged", "b"), ("other suggestion", "c")}
    assert found["counts"] == {"newly flagged": 1, "no longer flagged": 1, "other suggestion": 1}
    assert (found["rows"], found["only_before"], found["only_after"]) == (4, 1, 1)
    assert (found["flagged_before"], found["flagged_after"], found["flagged_in_both"]) == (3, 3, 2)
    assert found["stay"] == pytest.approx(2 / 3, abs=1e-5)
    [dogs] = found["classes"]
    assert dogs == {
        "label": "dog",
        "rows": 4,
        "flagged_before": 3,
        "flagged_after": 3,
        "newly_flagged": 1,
        "no_longer_flagged": 1,
    }


def test_a_person_reads_it(tmp_path, capsys):
    done = call(capsys, "compare", *runs(tmp_path))
    assert "noise rate: 12.3 % (10.0 % to 15.0 %) before, 12.3 %" in done.out
    assert (
        "flagged of the rows in both: 3 rows before, 3 rows after\n66.7 % of the flags of the rows in both stay"
        in done.out
    )
    assert "Newly flagged: 1 row\n" in done.out
    assert re.search(r"\n  c +\w+ +\d+ % -> \d+ % +cat -> owl\n", done.out)


def test_a_rate_that_decisions_have_moved_is_no_riddle(tmp_path, capsys):
    one = finished_run(tmp_path / "one", make_report(BEFORE))
    two = finished_run(tmp_path / "two", make_report(BEFORE, trusted=306))
    said = call(capsys, "compare", one, two)
    assert "the second was given 306 rows that people decided (--trusted)" in said.out and "the first" not in said.out
    assert json.loads(call(capsys, "compare", one, two, "--json").out)["decided_after"] == 306


def test_the_changed_rows_as_csv(tmp_path, capsys):
    one, two = runs(tmp_path)
    target = tmp_path / "changed.csv"
    done = call(capsys, "compare", one, two, "--output", target)
    assert done.out.splitlines()[-1] == str(target)
    lines = list(csv.DictReader(target.open(newline="")))
    assert [line["id"] for line in lines] == ["a", "b", "c"]
    assert (lines[2]["suggested_before"], lines[2]["suggested_after"]) == ("cat", "owl")
    assert call(capsys, "compare", one, two, "--output", target).code == 2
    assert call(capsys, "compare", one, two, "--output", target, "--force").code == 0
    assert call(capsys, "compare", one, two, "--output", two / "report.parquet", "--force").code == 2


def test_a_run_is_the_same_as_itself(tmp_path, capsys):
    one, _ = runs(tmp_path)
    found = json.loads(call(capsys, "compare", one, one, "--json").out)
    assert found["changes"] == [] and found["stay"] == 1 and found["relabelled"] == 0
    assert "flagged: 3 rows before, 3 rows after\n100.0 % of the flags stay" in call(capsys, "compare", one, one).out


def test_rows_are_matched_by_path_where_ids_are_new(tmp_path, capsys):
    before = [row("1", path="x.png"), mislabel("2", path="y.png"), row("3", path="x.png", given_label="cat")]
    after = [row("k1", path="x.png"), row("k2", path="y.png"), row("k3", path="x.png", given_label="cat")]
    found = json.loads(call(capsys, "compare", *runs(tmp_path, before, after), "--json").out)
    assert [(each["change"], each["id"]) for each in found["changes"]] == [("no longer flagged", "k2")]
    assert found["rows"] == 3 and found["relabelled"] == 0


def test_different_data_are_refused(tmp_path, capsys):
    done = call(capsys, "compare", *runs(tmp_path, BEFORE, [row("x"), row("y")]))
    assert done.code == 2
    assert "different data" in done.err and "hint:" in done.err


def test_strangers_text_is_harmless(tmp_path, capsys):
    done = call(capsys, "compare", *runs(tmp_path, [row(HOSTILE)], [mislabel(HOSTILE, given_label=HOSTILE)]))
    assert HOSTILE not in done.out and HOSTILE_SHOWN[:10] in done.out


# --- other seeds ----------------------------------------------------------------------------------------------------


@pytest.fixture
def audited(tmp_path, monkeypatch, capsys):
    """A run over 150 vectors, 12 labels wrong, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    data = vector_parquet(tmp_path / "vectors.parquet", task())
    assert call(capsys, "audit", data, "--preset", "fast", "--seed", 3, "--out", "run").code == 0
    return Path("run")


def test_how_many_flags_stay_with_other_seeds(audited, capsys, monkeypatch):
    done = call(capsys, "compare", audited, "--seeds", 2, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [each["seed"] for each in found["seeds"]] == [4, 5] and found["seed"] == 3
    assert found["stay"] > 0.9 and found["always"] <= found["stay"]  # the blobs lie far apart
    assert found["stay"] == pytest.approx(sum(each["stay"] for each in found["seeds"]) / 2)
    for each in found["seeds"]:  # a run like any other, with the options of the first
        pair = json.loads(call(capsys, "compare", audited, each["folder"], "--json").out)
        assert pair["stay"] == each["stay"] and pair["counts"]["newly flagged"] == each["newly_flagged"]
        stored = json.loads((Path(each["folder"]) / "run.json").read_text())["configuration"]
        assert stored == json.loads((audited / "run.json").read_text())["configuration"] | {"seed": each["seed"]}

    def never(*_, **__):
        raise AssertionError("judged again")

    monkeypatch.setattr(pipeline, "combine", never)
    shown = call(capsys, "compare", audited, "--seeds", 2)
    assert shown.code == 0 and shown.out.splitlines()[-1] == found["sentence"]


def test_a_run_with_another_seed_reads_its_vectors_as_the_first_run_did(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    made = task()
    np.save("vectors.npy", vectors(made.truth))
    lines = [f"r{i},c{label}" for i, label in enumerate(made.labels)]
    Path("set.csv").write_text("\n".join(["name,kind", *lines]) + "\n")
    reading = ("--features", "vectors.npy", "--label-column", "kind", "--id-column", "name")
    assert call(capsys, "audit", "set.csv", *reading, "--preset", "fast", "--out", "run").code == 0
    done = call(capsys, "compare", "run", "--seeds", 1, "--json")
    seed = json.loads(done.out)["seeds"][0]["folder"]
    done = call(capsys, "compare", seed, "--seeds", 1, "--json")
    assert done.code == 0, done.err
    again = Path(json.loads(done.out)["seeds"][0]["folder"]).absolute()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # --features was named from where the command was typed
    done = call(capsys, "verify", again)
    assert done.code == 0, done.err


def test_a_run_reads_its_vectors_again_as_its_project_said(tmp_path, monkeypatch, capsys):
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    made = task()
    np.save("vectors.npy", vectors(made.truth))
    Path("set.csv").write_text("\n".join(["name,kind", *(f"r{i},c{k}" for i, k in enumerate(made.labels))]) + "\n")
    lines = ('manifest = "set.csv"', 'features = "vectors.npy"', 'label-column = "kind"', 'id-column = "name"')
    Path("nlclean.toml").write_text("\n".join(lines))
    assert call(capsys, "audit", "--preset", "fast", "--out", "run").code == 0
    for folder in (project, tmp_path):
        monkeypatch.chdir(folder)
        done = call(capsys, "compare", project / "run", "--seeds", 1)
        assert done.code == 0, done.err


def test_the_share_of_flags_that_stay(tmp_path, monkeypatch):
    """Of four flags the next seed raises three, and the one after it the two others and one of the three."""
    flagged = [["b", "c", "d", "e"], ["b", "c", "d"], ["b", "e", "a"]]
    reports = [make_report([(mislabel if id in ids else row)(id) for id in "abcde"]) for ids in flagged]
    run = RunFolder(finished_run(tmp_path / "run", reports[0]))
    again = iter(reports[1:])
    monkeypatch.setattr(module, "run_audit", lambda *args, **more: next(again))
    manifest = make_manifest(tmp_path / "set.csv", list("abcde"), ["dog"] * 5)
    found = module.stability(run, manifest, AuditConfig(), seeds=2)
    assert [each.stay for each in found.seeds] == [0.75, 0.5] and found.stay == 0.625 and found.always == 0.25
    assert [each.newly_flagged for each in found.seeds] == [0, 1]
    assert found.sentence == "62 % of the flags stay with another seed, 25 % with all 2; another seed adds 12 %."
    assert RunFolder(run.folder).stability == found
    page = build_page(RunFolder(run.folder)).decode()
    assert found.sentence in page and "With other seeds" in page


def test_nearly_all_flags_are_not_all():
    assert module.in_words(0.996, 0.996, 0.001, 1) == (
        ">99 % of the flags stay with another seed; another seed adds <1 %."
    )
    assert module.in_words(1.0, 1.0, 0.0, 2) == (
        "100 % of the flags stay with another seed, 100 % with all 2; another seed adds 0 %."
    )


def test_what_cannot_be_repeated_with_another_seed(tmp_path, capsys):
    run = finished_run(tmp_path / "run", make_report([mislabel("a")], proxy=None))
    save_manifest(make_manifest(tmp_path / "set.csv", ["a"], ["dog"]), run / "manifest.parquet")
    done = call(capsys, "compare", run, "--seeds", 2)
    assert done.code == 2 and "started from evidence" in done.err
    decided = finished_run(tmp_path / "decided", make_report([mislabel("a")], trusted=1))
    save_manifest(make_manifest(tmp_path / "set.csv", ["a"], ["dog"]), decided / "manifest.parquet")
    done = call(capsys, "compare", decided, "--seeds", 2)
    assert done.code == 2 and "started from decisions of people" in done.err
    clean = finished_run(tmp_path / "clean", make_report([row("a")]))
    save_manifest(make_manifest(tmp_path / "set.csv", ["a"], ["dog"]), clean / "manifest.parquet")
    done = call(capsys, "compare", clean, "--seeds", 2)
    assert done.code == 3 and "flags no row" in done.err
    assert call(capsys, "compare", run).code == call(capsys, "compare", run, clean, "--seeds", 2).code == 2

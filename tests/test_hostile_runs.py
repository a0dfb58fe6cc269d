"""Run folders that others have made or changed: what they may open, where exports go, what reaches the terminal."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
import pyarrow.parquet as pq
import pytest
from audit_world import task, vector_parquet
from cli_world import call, finished_run, make_report, mislabel, row, sealed
from export_world import dataset, saved_run

from cleanlab_lite.door import Report, audit
from cleanlab_lite.errors import ConfigError, ReportError, RunLocked
from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.manifest.saved import save_manifest
from cleanlab_lite.report.page.html import build_page
from cleanlab_lite.run import Run, RunFolder
from cleanlab_lite.run.lock import acquire, release
from cleanlab_lite.run.reach import around, outside

pytestmark = pytest.mark.survival

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def audited() -> Report:
    """A run of this user on vectors, in the working folder."""
    return audit(vector_parquet(Path("m.parquet"), task(60, wrong=4)), preset="fast", out="run", progress=False)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A run folder that somebody sent, in a folder of its own; the pictures it names lie elsewhere."""
    manifest, report = dataset(tmp_path)
    (tmp_path / "sent").mkdir()
    run = saved_run(tmp_path / "sent", manifest, report)
    (run / "run.json").unlink()
    return run


# --- The seal --------------------------------------------------------------------------------------------------------


def test_a_run_is_known_by_whoever_audited(here):
    found = audited()
    run = RunFolder(found.folder)
    assert run.own and run.exports is None and not run.withheld
    shutil.copytree("run", "moved")
    assert RunFolder("moved").own
    save_manifest(replace(run.manifest, ids=run.manifest.ids[::-1]), "moved/manifest.parquet")
    assert not RunFolder("moved").own
    secret = platformdirs.user_data_path("nlclean", appauthor=False) / "secret"
    assert secret.stat().st_mode & 0o077 == 0
    kept = secret.read_bytes()
    secret.write_bytes(b"x" * 32)  # another user
    try:
        assert not RunFolder("run").own
    finally:
        secret.write_bytes(kept)


@pytest.mark.parametrize("forged", ["", "0" * 64, "é", None, 5, ["a"]])
def test_a_seal_that_was_made_up_does_not_fit(theirs, forged):
    sealed(theirs)
    assert RunFolder(theirs).own
    state = json.loads((theirs / "run.json").read_text())
    (theirs / "run.json").write_text(json.dumps(state | {"seal": forged}))
    run = RunFolder(theirs)
    if isinstance(forged, str):
        assert not run.own
    else:
        with pytest.raises(ReportError):
            assert run.own


def test_without_a_secret_a_run_is_not_sealed(here, monkeypatch):
    (here / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(here / "file"))
    assert not RunFolder(audited().folder).own


# --- What it opens ---------------------------------------------------------------------------------------------------


def test_files_elsewhere_are_not_opened_unless_their_folder_is_named(theirs, tmp_path, capsys):
    run = RunFolder(theirs)
    assert run.manifest.uris.tolist() == [""] * len(run.manifest)
    assert "not opened: 7 files" in run.withheld and "--data-root" in run.withheld
    assert b"data:image" not in build_page(run)
    named = RunFolder(theirs, data_roots=[tmp_path / "data"])
    assert not named.withheld and b"data:image" in build_page(named)
    done = call(capsys, "report", theirs, "--html", tmp_path / "a.html")
    assert done.code == 0 and done.err.count("not opened: 7 files") == 1
    assert b"data:image" not in (tmp_path / "a.html").read_bytes()
    done = call(capsys, "report", theirs, "--html", tmp_path / "b.html", "--data-root", tmp_path / "data")
    assert done.code == 0 and "not opened" not in done.err and b"data:image" in (tmp_path / "b.html").read_bytes()
    done = call(capsys, "report", theirs)
    assert done.code == 0 and "not opened" not in done.err


def test_files_around_a_run_are_opened_and_links_out_of_there_are_not(tmp_path):
    manifest, report = dataset(tmp_path / "sent")
    run = saved_run(tmp_path / "sent", manifest, report)
    (run / "run.json").unlink()
    assert not RunFolder(run).withheld
    secret = tmp_path / "secret.png"
    shutil.copy(manifest.uris[0], secret)
    for place in (Path(manifest.uris[0]), Path(manifest.uris[1])):
        place.unlink()
    Path(manifest.uris[0]).symlink_to(secret)
    Path(manifest.uris[1]).symlink_to("../../../secret.png")
    assert (RunFolder(run).manifest.uris == "").tolist() == [True, True, False, False, False, False, False]


def test_where_a_file_lies(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in2").mkdir()
    (tmp_path / "in" / "out").symlink_to(tmp_path / "in2")
    inside = [f"{tmp_path}/in/a.png", f"{tmp_path}/in/deep/../a", f"zip://x::{tmp_path}/in/a.zip", "", "https://h/a"]
    beyond = ["/etc/passwd", f"{tmp_path}/in2/a", f"{tmp_path}/in/../b", f"{tmp_path}/in/out/a", f"{tmp_path}/in"]
    beyond += [f"{tmp_path}/in/deep/../../b", f"tar://x::{tmp_path}/b.tar", "zip://a::zip://b::/c.zip", "rel/a", "a\0b"]
    found = outside(np.array(inside + beyond), [tmp_path / "in"])
    assert found.tolist() == [False] * len(inside) + [True] * len(beyond)
    assert outside(np.array(["/a"]), []).tolist() == [True]


def test_the_home_folder_is_not_around_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "x").mkdir(parents=True)
    assert around(tmp_path / "home" / "run") == [] and around(tmp_path / "run") == []
    assert around(tmp_path / "home" / "x" / "run") == [str(tmp_path / "home" / "x")]


# --- Exports ---------------------------------------------------------------------------------------------------------


def test_an_export_lands_beside_the_run_and_not_where_its_manifest_says(theirs, tmp_path, capsys):
    done = call(capsys, "export", theirs, "--policy", "prune")
    assert done.code == 0 and Path(done.out.strip()).parent == tmp_path / "sent"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["a", "b", "m.csv", "t"]
    done = call(capsys, "export", sealed(theirs), "--policy", "prune")
    assert done.code == 0 and Path(done.out.strip()).parent == tmp_path / "data"


@pytest.mark.parametrize("format", ["folders", "huggingface", "fiftyone"])
def test_no_export_links_files_from_elsewhere(theirs, tmp_path, format):
    with pytest.raises(ConfigError, match="not opened: "):
        Report.read(theirs).export(format, output=tmp_path / "clean", max_drop=1.0)
    assert not (tmp_path / "clean").exists()
    report = Report.read(theirs, data_root=tmp_path / "data")
    assert report.export(format, output=tmp_path / "clean", max_drop=1.0, force=True).is_dir()


def test_a_self_test_does_not_read_what_a_stranger_names(here, capsys):
    audited()
    state = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps(state | {"seal": ""}))
    done = call(capsys, "selftest", "run")
    assert done.code == 2 and "audit the manifest here" in done.err


# --- Nothing is written through links --------------------------------------------------------------------------------


def test_decisions_are_not_appended_to_what_a_link_leads_to(tmp_path):
    (tmp_path / "victim").write_text("mine\n")
    (tmp_path / "decisions.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="link"):
        DecisionLog(tmp_path / "decisions.jsonl").append(Decision("a", "keep", "cat"))
    (tmp_path / "decisions.jsonl").unlink()
    (tmp_path / "decisions.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="link"):
        DecisionLog(tmp_path / "decisions.jsonl").append(Decision("a", "keep", "cat"))
    assert (tmp_path / "victim").read_text() == "mine\n" and not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(not hasattr(os, "link"), reason="no hard links here")
def test_a_lock_does_not_truncate_what_is_no_lock(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "victim").write_text("x" * 100)
    for make in (os.symlink, os.link):
        make(tmp_path / "victim", tmp_path / "run" / ".lock")
        with pytest.raises(OSError):
            acquire(tmp_path / "run")
        (tmp_path / "run" / ".lock").unlink()
    assert (tmp_path / "victim").read_text() == "x" * 100
    lock = acquire(tmp_path / "run")
    with pytest.raises(RunLocked):
        acquire(tmp_path / "run")
    release(lock)


@pytest.mark.parametrize("name", ["log.jsonl", "stages", "jobs", ".tmp-run.json", "stages/x.json", ".lock"])
def test_a_run_does_not_go_on_through_links(tmp_path, name):
    with Run.start(tmp_path / "run", "x", "ab" * 32):
        pass
    target = tmp_path / "run" / name
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    (tmp_path / "victim").mkdir()
    target.symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError, match="link"):
        Run.start(tmp_path / "run", "x", "ab" * 32)


def test_what_is_written_whole_is_not_written_through_a_link(tmp_path):
    from cleanlab_lite.files import whole

    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".tmp-a").symlink_to(tmp_path / "victim")
    (tmp_path / "a").symlink_to(tmp_path / "victim")
    with whole(tmp_path / "a", tmp_path / ".tmp-a") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "victim").read_text() == "mine" and (tmp_path / "a").read_text() == "new"


# --- What reaches the terminal ---------------------------------------------------------------------------------------


def hostile_report():
    rows = [mislabel(ESCAPE, given_label=ESCAPE, suggested_label=ESCAPE, reasons=[ESCAPE]), row("fine")]
    noise = {"label": ESCAPE, "rows": 20, "flagged": 1, "noise_rate": 0.1, "low": 0.0, "high": 0.2}
    report = make_report(rows, classes=[noise], warnings=[ESCAPE])
    summary = replace(
        report.summary,
        manifest=replace(report.summary.manifest, path=ESCAPE, modality=ESCAPE),
        noise_rate=replace(report.summary.noise_rate, method=ESCAPE),
        issues={"none": 1, "mislabel": 1, ESCAPE: 3},
        duplicates={"rows": {ESCAPE: 4}, "search": {}},
        search={"tried": [], "chosen": {"strategy": ESCAPE, "loss": ESCAPE}, "reason": ESCAPE},
    )
    return replace(report, summary=summary)


def test_no_field_of_a_run_writes_to_the_terminal_as_it_likes(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    hostile_report().write(tmp_path / "run" / "report.parquet")
    for arguments in (["report", tmp_path / "run"], ["report", tmp_path / "run", "--json"]):
        done = call(capsys, *arguments)
        assert done.code == 0
        for text in (done.out, done.err):
            assert not {"\x1b", "\x07"} & set(text)


def test_signatures_in_addresses_do_not_stand_in_the_terminal(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    rows = [mislabel("https://h/a.png?X-Amz-Signature=5EC12E7"), row("https://h/b.png?sig=5EC12E7")]
    make_report(rows, warnings=["see https://h/c?token=5EC12E7"]).write(tmp_path / "run" / "report.parquet")
    done = call(capsys, "report", tmp_path / "run")
    assert done.code == 0 and "5EC12E7" not in done.out + done.err and "https://h/a.png?X-Amz" in done.out


def test_what_an_unfinished_run_says_of_itself_is_escaped(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    state = {"key": "a", "command": ["nlclean", ESCAPE], "resumed": 0, "finished": None}
    (tmp_path / "run" / "run.json").write_text(json.dumps(state))
    done = call(capsys, "report", tmp_path / "run")
    assert done.code == 3 and "\x1b" not in done.err + done.out


@pytest.mark.parametrize(
    "change",
    [
        {"flagged": "many"},
        {"flagged": None},
        {"issues": {"none": "x"}},
        {"issues": []},
        {"warnings": "text"},
        {"warnings": [1]},
        {"manifest": {"path": 1, "rows": 1, "labelled": 1, "classes": 1, "modality": "image"}},
        {"classes": [{"label": 1, "rows": 1, "flagged": 1, "noise_rate": 1, "low": 1, "high": 1}]},
        {"noise_rate": {"estimate": "x", "low": 0, "high": 1, "method": "m"}},
        {"duplicates": {"rows": 5}},
        {"search": {"tried": 5}},
        {"search": {}},
        {"duplicates": {"rows": {"exact": "x"}, "search": {"recall": "x"}}},
    ],
)
def test_a_summary_of_other_types_is_an_error_in_words(tmp_path, capsys, change):
    (tmp_path / "run").mkdir()
    report = make_report([mislabel("a"), row("b")])
    report.write(tmp_path / "run" / "report.parquet")
    stored = pq.read_table(tmp_path / "run" / "report.parquet")
    facts = json.loads(stored.schema.metadata[b"nlclean.summary"]) | change
    metadata = stored.schema.metadata | {b"nlclean.summary": json.dumps(facts).encode()}
    pq.write_table(stored.replace_schema_metadata(metadata), tmp_path / "run" / "report.parquet")
    done = call(capsys, "report", tmp_path / "run")
    if done.code:
        assert done.code == 3 and "bug" not in done.err and str(tmp_path / "run") in done.err


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "selftest.json",
        "verify.json",
        "stability.json",
        "decisions.jsonl",
        "report.parquet",
        "manifest.parquet",
    ],
)
def test_a_file_of_a_run_that_does_not_end_is_not_read(tmp_path, capsys, name):
    manifest, report = dataset(tmp_path)
    run = sealed(saved_run(tmp_path, manifest, report))
    page = ["report", run, "--html", tmp_path / "page.html", "--force"]
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to("/dev/zero")
    for arguments in (["report", run], ["export", run], ["check", run], ["review", run, "--json"], page):
        done = call(capsys, *arguments)
        assert done.code in (0, 2, 3) and "bug" not in done.err
    (run / name).unlink()
    with open(run / name, "wb") as file:
        file.truncate(3 << 30)
    for arguments in (["report", run], ["export", run], ["check", run], ["review", run, "--json"], page):
        done = call(capsys, *arguments)
        assert done.code in (0, 2, 3) and "bug" not in done.err


@pytest.mark.parametrize(
    "lists",
    [
        {"top_labels": [None], "top_probs": [0.5]},
        {"top_labels": ["cat"], "top_probs": [0.5, 0.5]},
        {"top_labels": ["cat"], "top_probs": None},
        {"neighbors": ["a", None]},
        {"reasons": [None]},
    ],
)
def test_lists_with_holes_are_errors_in_words(lists, here, capsys):
    run = finished_run(here / "run", make_report([mislabel("a", **lists)]))
    done = call(capsys, "report", run)
    assert done.code == 3 and "bug" not in done.err and next(iter(lists)) in done.err

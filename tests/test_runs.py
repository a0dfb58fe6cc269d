"""`nlclean runs` and `nlclean cache`: what is listed, and what is never deleted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from cli_world import call

from cleanlab_lite.run.layout import DECISIONS, LOCK
from cleanlab_lite.run.lock import acquire, release

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def runs(here: Path, capsys: pytest.CaptureFixture[str]) -> list[Path]:
    """Three finished runs of one manifest, oldest first, one of another, and one that was stopped."""
    for name in ("a", "b"):
        lines = [f"{i % 7},{i % 5},{'xy'[i % 2]}" for i in range(40)]
        (here / f"{name}.csv").write_text("\n".join(["f1,f2,label", *lines]))
    found = []
    for number, name in enumerate(("a", "a", "a", "b")):
        out = here / "nlclean-runs" / name / str(number)
        arguments = ("--features-columns", "f*", "--preset", "fast", "--seed", number, "--out", out, "-q")
        assert call(capsys, "audit", f"{name}.csv", *arguments).code == 0
        state = json.loads((out / "run.json").read_text())
        (out / "run.json").write_text(json.dumps(state | {"finished": f"2026-01-0{number + 1}T00:00:00+00:00"}))
        found.append(out)
    stopped = here / "nlclean-runs" / "a" / "stopped"
    stopped.mkdir()
    state = json.loads((found[0] / "run.json").read_text())
    later = {"finished": None, "created": "2026-02-01T00:00:00+00:00", "command": ["nlclean", "audit", "a.csv"]}
    (stopped / "run.json").write_text(json.dumps(state | later))
    return [*found, stopped]


def test_they_are_listed_newest_first(runs, capsys):
    listed = json.loads(call(capsys, "runs", "--json").out)
    assert [Path(run["folder"]).name for run in listed] == ["stopped", "3", "2", "1", "0"]
    assert listed[1]["rows"] == 40 and listed[0]["finished"] is None
    shown = call(capsys, "runs").out
    assert "5 runs in nlclean-runs" in shown and "not finished" in shown and "of 40" in shown


def test_a_folder_is_never_cut(runs, capsys, monkeypatch):
    long = runs[0].rename(runs[0].with_name("2026-11-27-" + 30 * "x"))
    monkeypatch.setattr("nlclean.tables.width", lambda: 60)
    shown = call(capsys, "runs").out.splitlines()
    assert f"      a/{long.name}" in shown and "      a/stopped" in shown
    assert max(map(len, shown)) <= 60


def test_a_newer_run_makes_others_superfluous_but_what_people_left_stays(runs, capsys):
    first, second, third, other, stopped = runs
    (first / DECISIONS).write_text('{"id": "0", "action": "keep", "given_label": "x"}\n')
    assert json.loads(call(capsys, "runs", "--prune", "--yes", "--json").out)["deleted"] == [
        str(Path("nlclean-runs") / "a" / "1")
    ]
    assert [run.exists() for run in (first, second, third, other, stopped)] == [True, False, True, True, True]


def test_a_run_in_which_all_was_undone_is_not_said_to_be_reviewed(runs, capsys):
    line = '{{"id": "0", "action": "{}", "given_label": "x"}}\n'
    (runs[0] / DECISIONS).write_text(line.format("keep") + line.format("undo"))
    (runs[1] / DECISIONS).write_text(line.format("keep") + line.format("unsure") + line.format("undo"))
    (runs[2] / DECISIONS).write_text('{"id": 7}\n')  # may hold what somebody decided: it is left alone
    listed = json.loads(call(capsys, "runs", "--json").out)
    assert [run["decided"] for run in listed] == [False, False, True, True, False]


def test_files_of_others_and_runs_in_use_stay(runs, capsys):
    first, second, *_ = runs
    (first / "page.html").write_text("mine")
    lock = acquire(second)
    try:
        done = call(capsys, "runs", "--prune", "--yes")
    finally:
        release(lock)
    assert "0 runs deleted" in done.out and "in use" in done.err
    assert first.exists() and second.exists() and (second / LOCK).exists()


def test_the_same_audit_with_other_seeds_goes_with_its_run_unless_people_left_something_there(runs, capsys):
    for run in runs[:3]:
        shutil.copytree(runs[3], run / "seeds" / "1-abc")
    (runs[0] / "seeds" / "1-abc" / DECISIONS).write_text('{"id": "0", "action": "keep", "given_label": "x"}\n')
    assert "1 run deleted" in call(capsys, "runs", "--prune", "--yes").out
    assert [run.exists() for run in runs[:3]] == [True, False, True]
    (runs[0] / "seeds" / "1-abc" / DECISIONS).unlink()
    (runs[0] / "seeds" / "1-abc" / "page.html").write_text("mine")
    assert "0 runs deleted" in call(capsys, "runs", "--prune", "--yes").out
    (runs[0] / "seeds" / "1-abc" / "page.html").unlink()
    assert "1 run deleted" in call(capsys, "runs", "--prune", "--yes").out


def test_nothing_is_deleted_unasked(runs, capsys, monkeypatch):
    assert call(capsys, "runs", "--prune").code == 2
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert call(capsys, "runs", "--prune").code == 130
    assert all(run.exists() for run in runs)


def test_a_damaged_run_is_listed_and_left(runs, capsys):
    (runs[1] / "summary.json").write_text("{")
    shown = call(capsys, "runs")
    assert shown.code == 0 and "damaged" in shown.out
    call(capsys, "runs", "--prune", "--yes")
    assert runs[1].exists() and not runs[0].exists()


def test_where_there_is_none(here, capsys):
    assert call(capsys, "runs").out == "no runs in nlclean-runs\n"
    assert call(capsys, "runs", "elsewhere").code == 2
    assert call(capsys, "cache").out.startswith("nothing in ")


def test_the_cache_is_counted_and_cleaned_but_not_what_has_no_file(here, capsys):
    cache = here / "cache"
    for name, size in (("images-v1-32", 3000), ("features-v1-ab", 500), ("objects-v1", 70), ("mine", 9)):
        (cache / name).mkdir(parents=True)
        (cache / name / "file").write_bytes(bytes(size))
    parts = json.loads(call(capsys, "cache", "--json").out)["parts"]
    assert {part["kind"]: part["bytes"] for part in parts} == {"images": 3000, "features": 500, "objects": 70}
    assert call(capsys, "cache", "--clean").code == 2
    assert "3.5 kB deleted" in call(capsys, "cache", "--clean", "--yes").out
    assert sorted(path.name for path in cache.iterdir()) == ["mine", "objects-v1"]
    call(capsys, "cache", "--clean", "--objects", "--yes")
    assert [path.name for path in cache.iterdir()] == ["mine"]
    assert call(capsys, "cache", "--objects").code == 2

"""The run folder: complete files, one writer, resume. Processes are really killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cleanlab_lite.errors import ConfigError, ReportError, RunLocked
from cleanlab_lite.run import Run, find_run, safe_stem

KEY = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
PREAMBLE = "import os, sys, time\nfrom pathlib import Path\nfrom cleanlab_lite.run import Run\n"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes")


def events(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.path("log.jsonl").read_bytes().splitlines()]


@contextmanager
def process(code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has printed its first line; killed with SIGKILL at the end."""
    command = [sys.executable, "-c", PREAMBLE + code, *map(str, args)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout
        child.first_line = child.stdout.readline().strip()  # type: ignore[attr-defined]
        assert child.first_line, "the process ended before it printed"  # type: ignore[attr-defined]
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdout
        child.stdout.close()


def start(tmp_path: Path, key: str = KEY, out: Path | None = None) -> Run:
    return Run.start(out, "cifar", key, ["nlclean", "audit", "my data.csv"], root=tmp_path / "runs")


# where a run lives


def test_a_new_run_has_time_and_key_in_its_name(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        assert run.folder.parent == tmp_path / "runs" / "cifar"
        assert run.folder.name[8] == "T"
        assert run.folder.name.endswith("Z-01234567")
        assert run.run_id == "01234567"
        assert not run.finished
        assert run.resumed == []


def test_an_unfinished_run_is_resumed_and_a_finished_one_is_not(tmp_path: Path) -> None:
    with start(tmp_path) as first:
        first.mark("decode", rows=3)
    with start(tmp_path) as second:
        assert second.folder == first.folder
        assert second.resumed == ["decode"]
        assert second.facts("decode") == {"rows": 3}
        second.finish()
        assert json.loads(second.path("run.json").read_text())["resumed"] == 1
    with start(tmp_path) as third:
        assert third.folder != first.folder
        assert third.folder.name > first.folder.name
        assert not third.done("decode")


def test_the_newest_unfinished_run_of_the_same_key_is_chosen(tmp_path: Path) -> None:
    parent = tmp_path / "runs" / "cifar"
    names = ["20240101T000000Z-01234567", "20250101T000000Z-01234567", "20260101T000000Z-fedcba98"]
    for name in names:
        with Run.start(parent / name, "", OTHER if name.endswith("98") else KEY):
            pass
    (parent / "20270101T000000Z-01234567").mkdir()  # killed before it wrote anything
    with start(tmp_path) as run:
        assert run.folder.name == "20270101T000000Z-01234567"
        run.finish()
    with start(tmp_path) as run:
        assert run.folder.name == names[1]


def test_a_key_that_only_begins_alike_is_another_run(tmp_path: Path) -> None:
    with start(tmp_path) as run, start(tmp_path, key=KEY[:8] + OTHER) as other:
        assert run.folder != other.folder


def test_out_is_used_as_given_and_reopened(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "er"
    with start(tmp_path, out=out) as run:
        run.mark("train")
        run.finish(seed=7)
    before = (out / "run.json").read_bytes()
    with start(tmp_path, out=out) as run:
        assert run.finished
        assert run.resumed == ["train"]
    assert (out / "run.json").read_bytes() == before


def test_out_that_is_taken_is_refused_and_left_alone(tmp_path: Path) -> None:
    with start(tmp_path, out=tmp_path / "run"):
        pass
    with pytest.raises(ConfigError, match="another manifest or configuration") as caught:
        start(tmp_path, key=OTHER, out=tmp_path / "run")
    assert "--out" in caught.value.hint
    assert "delete" in caught.value.hint
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(ConfigError, match="not empty and holds no run"):
        start(tmp_path, out=photos)
    assert [path.name for path in photos.iterdir()] == ["cat.jpg"]
    with pytest.raises(ConfigError, match="is a file"):
        start(tmp_path, out=photos / "cat.jpg")
    with pytest.raises(ReportError, match="cannot write"):
        start(tmp_path, out=photos / "cat.jpg" / "run")
    with pytest.raises(ReportError, match="cannot write"):
        start(tmp_path, out=tmp_path / ("x" * 300))


@pytest.mark.parametrize("text", ["{", "[1, 2]", "{}", "\x00"])
def test_a_damaged_or_foreign_state_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ReportError, match=r"run\.json"):
        start(tmp_path, out=tmp_path)


@pytest.mark.parametrize(
    ("stem", "folder"),
    [
        ("cifar-10n_v1.2", "cifar-10n_v1.2"),
        ("my data", "my-data"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "dataset"),
        ("", "dataset"),
        ("a\n\x1b[31mb", "a-31mb"),
        ("*?", "dataset"),
        ("Bäume 木", "Bäume-木"),
        ("-rf", "rf"),
        ("x\udc80", "x"),
    ],
)
def test_stems_become_harmless_folder_names(tmp_path: Path, stem: str, folder: str) -> None:
    assert safe_stem(stem) == folder
    with Run.start(None, stem, KEY, root=tmp_path) as run:
        assert run.folder.resolve().parent == tmp_path / folder


def test_a_very_long_stem_fits_a_file_system(tmp_path: Path) -> None:
    with Run.start(None, "木" * 5000, KEY, root=tmp_path) as run:
        assert len(os.fsencode(run.folder.parent.name)) <= 255


# one writer


def test_a_run_is_locked_within_and_between_processes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    hold = f"run = Run.start(Path(sys.argv[1]), '', {KEY!r})\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    with process(hold, out) as child:
        with pytest.raises(RunLocked, match=f"in use by process {child.pid}"):
            start(tmp_path, out=out)
        child.kill()
        child.wait()
        with start(tmp_path, out=out) as run:
            assert run.resumed == []
            with pytest.raises(RunLocked, match=str(os.getpid())):
                start(tmp_path, out=out)
    with start(tmp_path, out=out):
        pass  # released by `with`


def test_a_refused_start_does_not_keep_the_lock(tmp_path: Path) -> None:
    with start(tmp_path, out=tmp_path / "run") as run:
        run.mark("read")
    run.path("stages/read.json").write_text("{")
    for _ in range(2):
        with pytest.raises(ReportError, match="damaged"):
            start(tmp_path, out=tmp_path / "run")


def test_a_worker_that_outlives_a_killed_run_does_not_hold_its_lock(tmp_path: Path) -> None:
    code = f"""
run = Run.start(Path(sys.argv[1]), '', {KEY!r})
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""
    with process(code, tmp_path / "run") as child:
        child.kill()
        child.wait()
        worker = int(child.first_line)  # type: ignore[attr-defined]
        try:
            os.kill(worker, 0)  # still alive
            with start(tmp_path, out=tmp_path / "run") as run:
                assert not run.finished
        finally:
            os.kill(worker, signal.SIGKILL)


# complete files


@pytest.mark.parametrize("old", [None, "old"])
def test_a_file_killed_half_way_is_absent_or_as_before(tmp_path: Path, old: str | None) -> None:
    out = tmp_path / "run"
    with start(tmp_path, out=out) as run:
        if old:
            run.write("a.txt", lambda path: path.write_text(old))
    code = f"""
def half(path):
    path.write_text("ne")
    print("half", flush=True)
    time.sleep(60)
Run.start(Path(sys.argv[1]), '', {KEY!r}).write("a.txt", half)
"""
    with process(code, out):
        pass
    assert list(out.glob(".tmp-*"))
    (out / ".tmpZ04ISj").write_bytes(b"half")  # as safetensors calls what it writes beside the file that was named
    with start(tmp_path, out=out) as run:
        assert not list(out.glob(".tmp*"))
        assert run.path("a.txt").exists() == (old is not None)
        if old:
            assert run.path("a.txt").read_text() == old
        run.write("a.txt", lambda path: path.write_text("new"))
        assert run.path("a.txt").read_text() == "new"


def test_files_killed_at_any_moment_are_whole(tmp_path: Path) -> None:
    out = tmp_path / "run"
    code = f"""
run = Run.start(Path(sys.argv[1]), '', {KEY!r})
for i in range(10 ** 9):
    run.write_json("a.json", [i] * 20000)
    run.mark("stage", i=i)
    if i == 0:
        print("going", flush=True)
"""
    for _ in range(3):
        with process(code, out):
            for _ in range(200):  # a reader at any moment sees a whole file
                assert len(json.loads((out / "a.json").read_text())) == 20000
        with start(tmp_path, out=out) as run:
            values = json.loads(run.path("a.json").read_text())
            assert len(values) == 20000
            assert len(set(values)) == 1
            assert values[0] in (run.facts("stage")["i"], run.facts("stage")["i"] + 1)  # the marker comes after
            assert events(run)


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with start(tmp_path) as run:
        with pytest.raises(ReportError, match=r"cannot write .*a\.bin: No space left") as caught:
            run.write("a.bin", broken)
        assert "space" in caught.value.hint
        assert sorted(path.name for path in run.folder.iterdir()) == [".lock", "log.jsonl", "run.json"]


NO_ROOM = """
import resource
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, safetensors.numpy
from cleanlab_lite.errors import ReportError

values = np.random.default_rng(0).random(100_000)
writers = {
    "array": lambda path: np.save(path, values),
    "parquet": lambda path: pq.write_table(pa.table({"a": values}), path),
    "safetensors": lambda path: safetensors.numpy.save_file({"a": values}, path),
}
with Run.start(Path(sys.argv[1]), "", "0" * 64) as run:
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))  # bytes of a file: larger ones are refused
    for name, writer in writers.items():
        try:
            run.write(f"{name}.npy", writer)
        except ReportError as error:
            print(name, "|", error.message, "|", error.hint, flush=True)
"""


def test_a_file_that_the_disk_refuses_is_no_bug_of_ours(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + NO_ROOM, tmp_path / "run"], capture_output=True, text=True, check=True
    )
    lines = [line.split(" | ") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["array", "parquet", "safetensors"]
    assert all("cannot write" in line[1] and "goes on from here" in line[2] for line in lines)
    assert not list((tmp_path / "run").glob("*.npy"))


def test_json_takes_numpy_and_stays_valid(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.write_json("deep/a.json", {"n": np.int64(3), "x": (np.float32(0.5), float("nan"), np.inf), 4: "木\udc80"})
        text = run.path("deep/a.json").read_text("utf-8")
    assert json.loads(text) == {"n": 3, "x": [0.5, None, None], "4": "木\udc80"}
    assert "NaN" not in text


def test_parquet_is_zstd_and_keeps_its_metadata(tmp_path: Path) -> None:
    table = pa.table({"label": ["cat", None]}).replace_schema_metadata({"mine": "yes"})
    with start(tmp_path) as run:
        run.write_parquet("classes.parquet", table)
    stored = pq.read_table(run.path("classes.parquet"))
    assert stored.equals(table)
    assert stored.schema.metadata == {b"mine": b"yes", b"nlclean.run_id": b"01234567"}
    assert pq.ParquetFile(run.path("classes.parquet")).metadata.row_group(0).column(0).compression == "ZSTD"


def test_arrays_come_back_without_pickle(tmp_path: Path) -> None:
    arrays = {"logits": np.arange(6, dtype=np.float16).reshape(2, 3), "ids": np.array(["a", "木"]), "none": np.empty(0)}
    with start(tmp_path) as run:
        run.write_arrays("proxy.npz", **arrays)
        back = run.arrays("proxy.npz")
        assert list(back) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(back[name], array)
            assert back[name].dtype == array.dtype
        with pytest.raises(TypeError, match=r"bad\.npz: object arrays cannot be stored: names"):
            run.write_arrays("bad.npz", fine=np.zeros(1), names=np.array(["a", None]))
        with pytest.raises(ReportError, match="cannot read"):
            run.arrays("missing.npz")
        data = run.path("proxy.npz").read_bytes()
        for damaged in (b"", b"not a zip", data[: len(data) // 2]):
            run.path("damaged.npz").write_bytes(damaged)
            with pytest.raises(ReportError, match="run again"):
                run.arrays("damaged.npz")


def test_a_pickle_in_the_folder_is_not_loaded(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        np.savez(run.path("evil.npz"), names=np.array(["a", None]))
        with pytest.raises(ReportError, match="cannot read"):
            run.arrays("evil.npz")


# log and stages


def test_a_torn_last_line_does_not_harm_the_log(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with start(tmp_path, out=out) as run:
        run.log("hello", text="line\nbreak \x1b[31m", n=np.int32(2))
    with (out / "log.jsonl").open("ab") as file:
        file.write(b'{"time": "2026-01-01", "eve')
    with start(tmp_path, out=out) as run:
        run.log("again")
        names = [event["event"] for event in events(run)]
        assert names == ["run opened", "hello", "run opened", "again"]
        assert events(run)[1]["text"] == "line\nbreak \x1b[31m"
        assert all(event["time"].endswith("+00:00") for event in events(run))


def test_stages_are_listed_in_the_order_they_were_done(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        for stage in ("train-1", "decode", "train-0"):
            run.mark(stage, seconds=np.float64(1.5))
            time.sleep(0.002)  # times are kept to the millisecond
        assert run.done("decode")
        assert not run.done("report")
        with pytest.raises(KeyError):
            run.facts("report")
        with pytest.raises(ValueError, match="no file name"):
            run.mark("../report")
    with start(tmp_path) as run:
        assert run.resumed == ["train-1", "decode", "train-0"]
        assert run.facts("train-1") == {"seconds": 1.5}


def test_finish_says_what_ran_where(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.mark("decode")
        run.finish(seed=3, device="cpu")
        assert run.finished
    state = json.loads(run.path("run.json").read_text())
    assert state["key"] == KEY
    assert state["command"] == ["nlclean", "audit", "my data.csv"]
    assert state["created"] <= state["finished"]
    assert state["resumed"] == 0
    assert state["seed"] == 3
    assert list(state["seconds"]) == ["decode"]
    assert {"nlclean", "python", "numpy", "pyarrow"} <= state["versions"].keys()
    assert state["platform"]


# finding a run again


def report_in(folder: Path, when: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.parquet").write_bytes(b"")
    os.utime(folder / "report.parquet", (when, when))


def test_find_run_takes_a_folder_a_report_or_the_newest(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    report_in(root / "a" / "20250101T000000Z-aaaaaaaa", 100)
    report_in(root / "b" / "20240101T000000Z-bbbbbbbb", 200)
    (root / "c" / "20260101T000000Z-cccccccc").mkdir(parents=True)
    newest = root / "b" / "20240101T000000Z-bbbbbbbb"
    assert find_run(newest) == newest
    assert find_run(newest / "report.parquet") == newest
    assert find_run(None, root) == newest
    for path in (root, root / "b"):
        with pytest.raises(ReportError, match="no run folder") as caught:
            find_run(path)
        assert str(newest) in caught.value.hint


def test_find_run_says_what_to_do_instead(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    with pytest.raises(ReportError, match="no run under") as caught:
        find_run(None, root)
    assert "nlclean audit" in caught.value.hint
    with start(tmp_path) as run:
        pass
    for path in (None, run.folder):
        with pytest.raises(ReportError, match="finished") as caught:
            find_run(path, root)
        assert caught.value.hint == "go on with: nlclean audit 'my data.csv'"
    with pytest.raises(ReportError, match="does not exist"):
        find_run(tmp_path / "nothing")
    (tmp_path / "my photos").mkdir()
    with pytest.raises(ReportError, match="no run folder") as caught:
        find_run(tmp_path / "my photos")
    assert f"nlclean audit '{tmp_path / 'my photos'}'" in caught.value.hint
    (tmp_path / "other.parquet").write_bytes(b"")
    with pytest.raises(ReportError, match="no run folder"):
        find_run(tmp_path / "other.parquet")

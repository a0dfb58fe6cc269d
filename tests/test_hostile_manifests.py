"""Manifests, features and journals that lie about their size, or are damaged: a sentence, and no memory."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, task, vector_parquet, vectors, write_csv
from cli_world import call
from fuzz_world import damaged

from cleanlab_lite import files
from cleanlab_lite.door import audit
from cleanlab_lite.errors import ManifestError, NlcleanError
from cleanlab_lite.evidence.decisions import DecisionLog
from cleanlab_lite.files import load_archive
from cleanlab_lite.manifest.readers import read_manifest

pytestmark = pytest.mark.survival


def refused(path: Path, *words: str, **options: object) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)
    for word in (str(path) if "features" not in options else "", *words):
        assert word in str(caught.value)


FOOTERS = """
import io, sys
import pyarrow as pa, pyarrow.parquet as pq
from cleanlab_lite.files import read_table
buffer = io.BytesIO()
pq.write_table(pa.table({"embedding": [[1.0], [3.0, 4.0]], "label": ["a", "b"]}), buffer)
whole, read = buffer.getvalue(), 0
start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
for place in range(start, len(whole) - 8):
    for value in (0x06, 0x26):
        try:
            read_table(pa.BufferReader(whole[:place] + bytes([value]) + whole[place + 1 :]))
            read += 1
        except Exception:
            pass
print(read, 2 * (len(whole) - 8 - start))
"""


def test_a_parquet_with_a_damaged_footer_does_not_end_the_process():
    """It did, in one of thirty: Arrow raises what nobody can catch when it is asked about a column."""
    done = subprocess.run([sys.executable, "-c", FOOTERS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    read, tried = map(int, done.stdout.split())
    assert 0 < read < tried


# --- Sizes that are declared -----------------------------------------------------------------------------------------


def test_very_many_columns_are_refused_at_once(tmp_path):
    names = [f"c{i}" for i in range(200_000)]
    cells = ",".join("1" * len(names))
    (tmp_path / "m.csv").write_text(f"path,label,{','.join(names)}\n0.png,a,{cells}\n1.png,b,{cells}\n")
    refused(tmp_path / "m.csv", "200,002 columns", "--features")


def npz(path: Path, **members: bytes | np.ndarray) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            if isinstance(data, np.ndarray):
                buffer = io.BytesIO()
                np.save(buffer, data)
                data = buffer.getvalue()
            archive.writestr(f"{name}.npy", data)
    return path


def header(descr: str, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


VECTORS, LABELS = np.eye(6, dtype=np.float32), np.array(list("ababab"))


@pytest.mark.parametrize(
    ("descr", "shape"), [("<f8", (10**11,)), ("<f8", (1 << 40, 1 << 40)), ("<U99999999", (5,)), ("|S99999999", (9,))]
)
def test_headers_that_say_more_than_the_file_has(tmp_path, descr, shape):
    path = npz(tmp_path / "a.npz", features=VECTORS, labels=LABELS, more=header(descr, shape))
    refused(path, "more.npy", "declares")
    (tmp_path / "a.npy").write_bytes(header(descr, shape))
    (tmp_path / "m.csv").write_text("id,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(6)))
    refused(tmp_path / "m.csv", "a.npy", features=tmp_path / "a.npy")


def test_arrays_that_are_not_used_are_not_read(tmp_path, monkeypatch):
    path = npz(tmp_path / "a.npz", features=VECTORS, labels=LABELS, masks=np.zeros((500, 1000), np.uint8))
    read: list[str] = []
    usual = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda self, name: read.append(name) or usual(self, name))
    assert len(read_manifest(path)) == 6 and sorted(read) == ["features", "labels"]
    read.clear()
    (tmp_path / "m.csv").write_text("id,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(6)))
    assert read_manifest(tmp_path / "m.csv", features=path).features.shape == (6, 6) and read == ["features"]


def test_an_archive_that_unpacks_to_more_than_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 1000}.__getitem__)
    path = npz(tmp_path / "a.npz", features=np.zeros((6, 100_000), np.float32), labels=LABELS)
    assert path.stat().st_size < 10_000
    refused(path, "declares", "GiB")
    with pytest.raises(OverflowError):
        load_archive(path)
    assert load_archive(path, ["labels"])["labels"].tolist() == LABELS.tolist()


def test_a_parquet_that_unpacks_to_more_than_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 1000}.__getitem__)
    columns = {"path": ["a.png"] * 300_000, "label": ["a", "b"] * 150_000}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet", compression="zstd")
    assert (tmp_path / "m.parquet").stat().st_size < 100_000
    refused(tmp_path / "m.parquet", "declares", "GiB")
    (tmp_path / "k=1").mkdir()
    shutil.copy(tmp_path / "m.parquet", tmp_path / "k=1" / "m.parquet")
    (tmp_path / "m.parquet").unlink()
    refused(tmp_path, "declares", "GiB")


# --- Numbers out of all scale ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e12, 1e30])
@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_a_vector_out_of_all_scale_does_not_hide_the_others(here, scale, preset):
    given = task(90, wrong=5)
    values = vectors(given.truth)
    values[[3, 40]] *= np.float32(scale)
    np.save("f.npy", values)
    columns = {"id": [f"r{row}" for row in range(90)], "label": [CLASSES[label] for label in given.labels]}
    manifest = write_csv(Path("m.csv"), columns)
    quick = {"epochs": 4, "ensemble": 2} if preset == "balanced" else {}
    table = audit(manifest, features="f.npy", preset=preset, out="run", progress=False, **quick).table
    rows = table.to_pylist()
    assert [row["id"] for row in rows if row["issue"] == "unreadable"] == ["r3", "r40"]
    assert rows[3]["reasons"] == ["out_of_scale"] and "1,000,000 times" in rows[3]["error"]
    right = [row["predicted_label"] == CLASSES[c] for row, c in zip(rows, given.truth, strict=True)]
    assert np.mean(right) > 0.9


# --- Journals --------------------------------------------------------------------------------------------------------

LINES = [
    "[" * 5000 + "]" * 5000,
    '{"id": 1, "action": "keep", "given_label": "a"}',
    '{"id": "a", "action": "keep", "given_label": 3}',
    '{"id": "a", "action": ["keep"], "given_label": "a"}',
    '{"id": "a", "action": "keep", "given_label": "a", "reviewer": null}',
    '{"id": "a", "action": "relabel", "given_label": "a", "label": "\\ud800"}',
    '{"id": "a", "action": "explode", "given_label": "a"}',
    "[]",
    "5",
    '"text"',
    "null",
    "{}",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_is_no_decision_is_named(tmp_path, line):
    good = '{"id": "a", "action": "keep", "given_label": "a"}'
    (tmp_path / "d.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(NlcleanError, match=r"d\.jsonl, line 2"):
        DecisionLog(tmp_path / "d.jsonl").read()


# --- Damage, all over a run ------------------------------------------------------------------------------------------

COMMANDS = (["report"], ["report", "--json"], ["check"], ["export", "--force"], ["review", "--json"])
COMMANDS += (["report", "--html", "page.html", "--force"], ["compare"])
FILES = ("report.parquet", "manifest.parquet", "history.parquet", "run.json", "decisions.jsonl", "features.npy")
FILES += ("noise_matrix.parquet", "classes.parquet", "duplicates.parquet", "log.jsonl", "selftest.json")


def fuzz(run: Path, capsys: pytest.CaptureFixture[str], times: int, seed: int) -> int:
    """Commands over a run of which one file is damaged: how many said what is wrong."""
    rng, said = np.random.default_rng(seed), 0
    (run / "decisions.jsonl").write_text('{"id": "r000", "action": "keep", "given_label": "cat"}\n' * 3)
    kept = {name: (run / name).read_bytes() if (run / name).exists() else b"" for name in FILES}
    for number in range(times):
        name = FILES[number % len(FILES)]
        (run / name).write_bytes(damaged(kept[name], rng))
        if number % 3 == 0:  # as of a stranger
            (run / "run.json").write_bytes((run / "run.json").read_bytes().replace(b'"seal"', b'"sael"'))
        command = COMMANDS[int(rng.integers(len(COMMANDS)))]
        done = call(capsys, command[0], run, *([run] if command[0] == "compare" else command[1:]))
        assert done.code in (0, 1, 2, 3) and "bug" not in done.err, (name, command, done.err)
        assert not {"\x1b", "\x07"} & {*done.out, *done.err}
        said += done.code in (2, 3)
        for each in (name, "run.json"):
            (run / each).write_bytes(kept[each])
    return said


@pytest.fixture
def run(here: Path) -> Path:
    audit(vector_parquet(Path("m.parquet"), task(60, wrong=4)), epochs=2, ensemble=2, out="run", progress=False)
    return here / "run"


def test_damaged_files_of_a_run_are_errors_in_words(run, capsys):
    assert fuzz(run, capsys, 120, seed=0) > 20


@pytest.mark.slow
def test_damaged_files_of_a_run_are_errors_in_words_at_length(run, capsys):
    assert fuzz(run, capsys, 2500, seed=1) > 400


MANIFESTS = {
    "m.csv": b"path,label,split\n"
    + b"".join(b"%d.png,%s,train\n" % (i, b"cat" if i % 2 else b"dog") for i in range(9)),
    "m.jsonl": b"".join(b'{"path": "%d.png", "label": "%s"}\n' % (i, b"cat" if i % 2 else b"dog") for i in range(9)),
    "m.json": json.dumps([{"image": f"{i}.png", "label": i % 2} for i in range(9)]).encode(),
}


def manifests(folder: Path) -> dict[str, bytes]:
    table = pa.table({"path": [f"{i}.png" for i in range(9)], "label": ["cat", "dog", "owl"] * 3})
    pq.write_table(table, folder / "m.parquet")
    npz(folder / "m.npz", features=VECTORS, labels=LABELS)
    with pa.ipc.new_file(str(folder / "m.arrow"), table.schema) as writer:
        writer.write_table(table)
    return MANIFESTS | {name: (folder / name).read_bytes() for name in ("m.parquet", "m.npz", "m.arrow")}


def fuzz_manifests(folder: Path, times: int, seed: int) -> int:
    rng, known = np.random.default_rng(seed), manifests(folder)
    refusals = 0
    for number in range(times):
        name = list(known)[number % len(known)]
        (folder / name).write_bytes(damaged(known[name], rng))
        try:
            read_manifest(folder / name)
        except NlcleanError:
            refusals += 1
    return refusals


def test_damaged_manifests_are_read_or_refused(tmp_path):
    assert fuzz_manifests(tmp_path, 240, seed=2) > 100


@pytest.mark.slow
def test_damaged_manifests_are_read_or_refused_at_length(tmp_path):
    assert fuzz_manifests(tmp_path, 6000, seed=3) > 2500

"""Files that others wrote or a disk has damaged: one kind of error for all that can go wrong."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, QUICK, task, vectors
from cli_world import call

from cleanlab_lite import remote
from cleanlab_lite.data import media
from cleanlab_lite.door import audit
from cleanlab_lite.errors import ConfigError, DecodeError, ManifestError, ReportError
from cleanlab_lite.evidence.recorder import Recorder, read_history
from cleanlab_lite.files import DEEPEST, json_object, json_value, load_arrays, local_path, reading, why
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.run import Run

N = 40
WORLD = task(N, wrong=3)
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda array: array,
    "Fortran": np.asfortranarray,
    "sliced": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "reversed": lambda array: array[..., ::-1].copy()[..., ::-1],
    "transposed": lambda array: np.moveaxis(np.moveaxis(array, 0, -1).copy(), -1, 0),
}

# --- One error -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cause", [MemoryError(), RecursionError("x"), KeyError("a"), SyntaxError("b"), OSError(2, "c")]
)
def test_whatever_goes_wrong_is_one_error(cause):
    with (
        pytest.raises(ReportError, match=r"^cannot read x: ") as caught,
        reading("cannot read x", ReportError, hint="h"),
    ):
        raise cause
    assert caught.value.hint == "h" and caught.value.__cause__ is cause
    assert why(cause) and "\n" not in why(cause)


@pytest.mark.parametrize(
    "cause", [ConfigError("mine", hint="own"), KeyboardInterrupt(), OSError(errno.ENOMEM, "Cannot allocate memory")]
)
def test_what_is_no_fault_of_the_file_passes(cause):
    with pytest.raises(type(cause)) as caught, reading("cannot read x", ReportError):
        raise cause
    assert caught.value is cause


def test_json_is_as_deep_wherever_it_is_read():
    nested = "[" * DEEPEST + "]" * DEEPEST
    assert json_value(nested) == json.loads(nested) and json_value(nested.encode())
    wide = json.dumps([[[0]]] * DEEPEST)
    assert json_value(wide) == json.loads(wide)
    for depth in (DEEPEST + 1, 950, 100_000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            with pytest.raises(ValueError, match="nested too deeply"):
                json_value(opening * depth + "0" + closing * depth)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "\xff", "{}", '{"a": null}', '{"a": "1"}'])
def test_an_object_with_its_fields_or_an_error(text):
    with pytest.raises(ValueError):
        json_object(text.encode("latin-1"), a=int)
    assert json_object('{"a": 1, "b": 2}', a=int, b=(int, str)) == {"a": 1, "b": 2}


def test_urls_of_local_files():
    assert local_path("file:///a b/%20.png") == "/a b/%20.png" and local_path("local:///a") == "/a"
    for other in ("/a", "s3://a/b", "simplecache::file:///a", "zip://a::file:///b.zip", ""):
        assert local_path(other) == other


def test_a_remote_file_that_does_not_end(tmp_path, monkeypatch):
    fsspec.filesystem("memory").pipe("/endless.csv", b"path,label\n" * 1000)
    monkeypatch.setattr(remote, "PART", 100)
    assert len(media.read_bytes("memory://endless.csv", remote=True)) == 11_000
    monkeypatch.setattr(media, "MAX_REMOTE_BYTES", 5000)
    monkeypatch.setattr(remote, "MAX_FILE_BYTES", 5000)
    with pytest.raises(DecodeError, match="limit of 5000 bytes") as caught:
        media.read_bytes("memory://endless.csv", remote=True)
    assert caught.value.code == "too_large"
    with pytest.raises(ManifestError, match="limit of 5000 bytes"):
        read_manifest("memory://endless.csv")


# --- Arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_no_flipped_bit_of_a_header_is_a_bug(tmp_path, ending):
    manifest, features = tmp_path / "m.csv", tmp_path / f"f{ending}"
    manifest.write_text("id,label\n" + "".join(f"{row},{CLASSES[row % 2]}\n" for row in range(6)))
    values = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    if ending == ".npy":
        np.save(features, values)
    else:
        np.savez_compressed(features, features=values)
    whole, refused = features.read_bytes(), 0
    for bit in range(0, 8 * min(len(whole), 200), 11):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        features.write_bytes(flipped)
        try:
            assert read_manifest(manifest, features=features).features.shape[0] == 6
        except ManifestError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_come_back_however_they_lay_in_memory(tmp_path, layout):
    numbers = np.random.default_rng(0)
    arrays = {
        f"{len(shape)}-{kind}": LAYOUTS[layout](numbers.normal(size=shape, scale=9).astype(kind))
        for shape in ((7,), (5, 3), (2, 3, 4), (2, 3, 4, 5))
        for kind in ("f2", "f4", "i4", "?")
    }
    with Run.start(tmp_path / "run", "m", "0" * 64) as run:
        run.write_arrays("a.npz", **arrays)
        found = run.arrays("a.npz")
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array, strict=True)
            run.write("b.npy", lambda path, array=array: np.save(path, array))
            np.testing.assert_array_equal(load_arrays(run.path("b.npy")), array, strict=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_the_user_recorded_is_what_the_run_holds(tmp_path, layout):
    recorder = Recorder(N, 3)
    for epoch in range(4):
        logits = np.random.default_rng(epoch).normal(size=(N, 3)) + 2 * np.eye(3)[WORLD.labels]
        recorder.update(np.arange(N), LAYOUTS[layout](logits), WORLD.labels)
        recorder.end_epoch()
    recorder.save(tmp_path / "recorded")
    history = recorder.history()
    stored, _ = read_history(tmp_path / "recorded")
    for name in ("loss", "margin", "predicted", "trained_on"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(history, name), strict=True)

    features = vectors(WORLD.truth)
    np.savez(tmp_path / "m.npz", features=LAYOUTS[layout](features), labels=[CLASSES[c] for c in WORLD.labels])
    np.testing.assert_array_equal(read_manifest(tmp_path / "m.npz").features, features)
    audit(tmp_path / "m.npz", out=tmp_path / "run", history=tmp_path / "recorded")
    np.testing.assert_array_equal(np.load(tmp_path / "run" / "features.npy"), features)
    table = pq.read_table(tmp_path / "run" / "history.parquet").to_pydict()
    for name in ("loss", "margin"):
        np.testing.assert_array_equal(np.array(table[name], np.float32), getattr(history, name)[0].T.astype(np.float32))


# --- A run folder ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    table = {"key": [f"r{row}" for row in range(N)], "embedding": list(vectors(WORLD.truth))}
    pq.write_table(pa.table(table | {"label": [CLASSES[c] for c in WORLD.labels]}), folder / "m.parquet")
    audit(folder / "m.parquet", out=folder / "run", ensemble=2, epochs=2, device="cpu")
    line = {"id": "r1", "action": "keep", "given_label": CLASSES[0]}
    (folder / "run" / "decisions.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def flipped(data: bytes) -> bytes:
    """Every 97th bit is another."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    bits[::97] ^= 1
    return np.packbits(bits).tobytes()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "flipped": flipped,
    "an empty object": lambda data: b"{}\n",
    "a list": lambda data: b"[1]\n",
    "fields of other types": lambda data: b'{"key": 1, "command": 2, "resumed": "x", "finished": 5, "facts": 3}\n',
    "deep JSON": lambda data: b"[" * 100_000,
    "an endless number": lambda data: b"9" * 5000,
    "not UTF-8": lambda data: b"\xff\xfe\n",
}
COMMANDS: list[tuple[str, ...]] = [
    ("report", "run"),
    ("report", "run", "--html", "page.html", "--force"),
    ("export", "run", "--output", "out.parquet", "--force"),
    ("review", "run", "--json"),
    ("check", "run"),
    ("audit", "m.parquet", "--out", "run", "--ensemble", "2", "--epochs", "2", "--device", "cpu"),
    ("audit", "m.parquet", "--warm-start", "run", "--ensemble", "2", "--device", "cpu", "--dry-run"),
]
FILES = ("report.parquet", "manifest.parquet", "history.parquet", "noise_matrix.parquet", "features.npy", "run.json")
FILES += ("log.jsonl", "stages/decode.json", "decisions.jsonl", "proxies.safetensors", "summary.json")


OFTEN = ("report.parquet", "run.json", "decisions.jsonl")  # tried on every push


@pytest.mark.parametrize(
    ("name", "damages"),
    [(name, ("half", "flipped", "a list")) for name in OFTEN]
    + [pytest.param(name, tuple(DAMAGES), marks=pytest.mark.slow) for name in FILES],
)
def test_a_damaged_run_folder_is_never_a_bug(finished, tmp_path, monkeypatch, capsys, name, damages):
    shutil.copytree(finished, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    whole = Path("run", name).read_bytes()
    refused = 0
    for damage in damages:
        for command in COMMANDS:
            Path("run", name).write_bytes(DAMAGES[damage](whole))
            answer = call(capsys, *command)
            said = f"{name}, {damage}, {command}: {answer.err}"
            assert answer.code in (0, 1, 2, 3), said
            assert "this is a bug" not in answer.err and "Traceback" not in answer.err, said
            assert answer.code < 2 or "hint: " in answer.err, said
            refused += answer.code >= 2
    assert refused or name in ("log.jsonl", "summary.json", "features.npy", "stages/decode.json")


@pytest.mark.parametrize("name", ["report.parquet", "manifest.parquet"])
def test_a_flipped_bit_in_our_own_tables_is_found(finished, tmp_path, capsys, name):
    shutil.copytree(finished, tmp_path / "here")
    path = tmp_path / "here" / "run" / name
    whole = path.read_bytes()
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    page = column.dictionary_page_offset or column.data_page_offset
    for back in (1, 3, 8):  # in the last bytes of the pages of the first column
        flipped = bytearray(whole)
        flipped[page + column.total_compressed_size - back] ^= 4
        path.write_bytes(flipped)
        answer = call(capsys, "export", path.parent, "--output", tmp_path / "out.parquet", "--force")
        assert answer.code in (2, 3) and "cannot read" in answer.err and name in answer.err


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_unfinished_run_with_damaged_arrays_says_so(finished, tmp_path, capsys, damage):
    manifest, run = finished / "m.parquet", tmp_path / "run"
    audit = ("audit", manifest, "--out", run, *QUICK)
    assert call(capsys, *audit, "--time-budget", "0.001s").code == 4
    arrays = run / "copies.npz"
    arrays.write_bytes(DAMAGES[damage](arrays.read_bytes()))
    answer = call(capsys, *audit)
    assert answer.code == 3 and f"cannot read {arrays}" in answer.err and "run again" in answer.err

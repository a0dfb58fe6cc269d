"""`nlclean encode`: a folder of vectors, of which an audit says what it says of the files."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas
import polars
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, descendants, fingerprints, save_pictures, task, write_csv
from cli_world import call
from review_world import write_wav

from cleanlab_lite import encoding
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.encoding import encode
from cleanlab_lite.errors import ConfigError, ManifestError
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.progress import Progress
from cleanlab_lite.run import RunFolder
from nlclean.review.samples import SampleReader

ROWS = 150
SMALL = AuditConfig(image_size=32, device="cpu", workers=1)
FLAGS = ("--image-size", "32", "--device", "cpu", "--workers", "1")
FAST = ("--preset", "fast", "--device", "cpu")


@pytest.fixture
def pictures(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of pictures in three parts: two of one content, one that is none, one without a label."""
    monkeypatch.setattr(encoding, "FEWEST", 64)
    given = task(ROWS)
    names = [f"{row:03}.png" for row in range(ROWS)]
    save_pictures(here / "files", given.truth, names)
    (here / "files" / "003.png").write_bytes((here / "files" / "002.png").read_bytes())
    (here / "files" / "005.png").write_text("no picture")
    labels = [CLASSES[label] for label in given.labels]
    labels[7] = ""
    splits = ["test" if row % 5 == 0 else "train" for row in range(ROWS)]
    paths = [f"files/{name}" for name in names]
    return write_csv(here / "manifest.csv", {"path": paths, "label": labels, "split": splits})


def findings(run: str) -> dict[str, list[object]]:
    """What an audit says of each row; the name of the view stands in two columns, which are one here."""
    columns = pq.read_table(f"{run}/report.parquet").drop_columns("path").to_pydict()
    margins = [columns.pop(name) for name in sorted(columns) if name.startswith("view_margin_")]
    seen = [[cell for cell in cells if cell is not None] for cells in zip(*margins, strict=True)]
    return {name: list(map(repr, cells)) for name, cells in (columns | {"margins": seen}).items()}  # NaN is NaN


def test_an_audit_of_the_vectors_is_one_of_the_pictures_through_the_encoder(pictures: Path, capsys) -> None:
    of_files = call(capsys, "audit", pictures, *FAST, "--views", "encoder", "--image-size", 32, "--out", "files-run")
    encoded = call(capsys, "encode", pictures, "--output", "vectors", *FLAGS)
    of_vectors = call(capsys, "audit", "vectors", *FAST, "--out", "run")
    assert (of_files.code, encoded.code, of_vectors.code) == (0, 0, 0), encoded.err + of_vectors.err
    assert encoded.out.splitlines()[-1] == "vectors"
    assert "1 of 150 rows could not be read" in encoded.err
    assert findings("run") == findings("files-run")
    assert SampleReader(RunFolder(Path("run"))).modality == "image"  # a review shows the pictures


def test_other_programs_read_the_vectors(pictures: Path) -> None:
    done = encode(read_manifest(pictures), Path("vectors"), SMALL)
    assert (done.rows, done.parts, done.found, done.unreadable) == (ROWS, 3, 0, 1)
    frame = pandas.read_parquet("vectors")
    vectors = np.stack(frame["vector"].drop(index=5))
    assert vectors.shape == (ROWS - 1, done.dimensions) and vectors.dtype == np.float32
    assert frame["id"].tolist() == read_manifest(pictures).ids.tolist()
    assert pandas.isna(frame["label"][7]) and frame["sha256"][2] == frame["sha256"][3]
    assert (frame["code"][5], frame["vector"][5]) == ("decode_failed", None)
    lazy = polars.read_parquet("vectors/*.parquet")["vector"]
    assert (lazy.drop_nulls().to_numpy() == vectors).all() and lazy[5] is None
    [(count, length)] = duckdb.sql("select count(vector), max(len(vector)) from 'vectors/*.parquet'").fetchall()
    assert (count, length) == (ROWS - 1, done.dimensions)


def test_an_encode_that_was_stopped_goes_on(pictures: Path) -> None:
    manifest = read_manifest(pictures)
    encode(manifest, Path("whole"), SMALL)

    def stop(progress: Progress) -> None:
        if progress.done >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(manifest, Path("vectors"), SMALL, on_progress=stop)
    with pytest.raises(ManifestError, match="2 of 3 parts missing"):
        read_manifest("vectors")
    heard: list[Progress] = []
    assert encode(manifest, Path("vectors"), SMALL, on_progress=heard.append).found == 1
    assert (heard[0].done, heard[-1].done) == (64, ROWS)
    assert fingerprints(Path("vectors")) == fingerprints(Path("whole"))
    assert encode(manifest, Path("vectors"), SMALL).found == 3


def test_a_folder_of_something_else_is_left_alone(pictures: Path) -> None:
    manifest = read_manifest(pictures)
    encode(manifest, Path("vectors"), SMALL)
    before = fingerprints(Path("vectors"))
    with pytest.raises(ConfigError, match="by another encoder or other options"):
        encode(manifest, Path("vectors"), AuditConfig(image_size=48, device="cpu", workers=1))
    save_pictures(Path("files"), np.zeros(1, int), ["007.png"])  # another picture of the same name
    os.utime("files/007.png", (1, 1))
    with pytest.raises(ConfigError, match="of other files"):
        encode(read_manifest(pictures), Path("vectors"), SMALL)
    Path("files/.lock").write_text("mine")
    others = fingerprints(Path("files"))
    with pytest.raises(ConfigError, match="something else"):
        encode(manifest, Path("files"), SMALL)
    assert (fingerprints(Path("vectors")), fingerprints(Path("files"))) == (before, others)
    with pytest.raises(ConfigError, match="holds vectors"):
        encode(read_manifest("vectors"), Path("more"), SMALL)


def test_a_damaged_part_is_named(pictures: Path) -> None:
    encode(read_manifest(pictures), Path("vectors"), SMALL)
    part = Path("vectors/part-00001.parquet")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 255
    part.write_bytes(data)
    with pytest.raises(ManifestError, match="part-00001"):
        read_manifest("vectors")


def test_parts_of_sounds(here: Path, capsys) -> None:
    for row in range(6):
        write_wav(here / f"{row}.wav", 300 * 2 ** (row % 3))
    columns = {
        "path": [f"{row}.wav" for row in range(6) for _ in range(4)],
        "label": [CLASSES[row % 3] for row in range(6) for _ in range(4)],
        "offset": [str(part / 10) for _ in range(6) for part in range(4)],
        "duration": ["0.2"] * 24,
    }
    manifest = read_manifest(write_csv(here / "sounds.csv", columns))
    done = encode(manifest, Path("vectors"), AuditConfig(device="cpu", workers=1))
    assert (done.rows, done.unreadable) == (24, 0)
    read = read_manifest("vectors")
    assert read.segments is not None and manifest.segments is not None
    assert (read.segments == manifest.segments).all() and read.source.media == "sound"
    assert call(capsys, "audit", "vectors", *FAST).code == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills by signals")
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_killed_worker_loses_nothing(engine: str, pictures: Path) -> None:
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("needs ray")
    encode(read_manifest(pictures), Path("whole"), SMALL)
    code = "import sys; from cleanlab_lite import encoding; encoding.FEWEST = 64; from nlclean.main import program; "
    flags = ["encode", "manifest.csv", "--output", "vectors", "--engine", engine, *FLAGS, "--workers", "2"]
    command = [sys.executable, "-c", f"{code}program.main(sys.argv[1:])", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        mark = "MapBatches" if engine == "ray" else "spawn_main"
        next(None for _ in ticks(300) if list(Path("vectors").glob("part-*")))  # the first is done, the others begun
        os.kill(next(pid for pid in descendants(process.pid) if mark in command_of(pid)), signal.SIGKILL)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "vectors"
    assert fingerprints(Path("vectors")) == fingerprints(Path("whole"))


@pytest.mark.slow
def test_actors_of_ray_are_on_all_nodes_of_a_cluster(pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Two nodes with a core each, at the address where users have it."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "240")  # where the machine has other things to do
    from ray._private import state
    from ray.cluster_utils import Cluster

    encode(read_manifest(pictures), Path("whole"), SMALL)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        done = call(capsys, "encode", pictures, "--output", "vectors", "--engine", "ray", *FLAGS[:-2])
        assert done.code == 0, done.err
        ray.init(log_to_driver=False)
        actors = [actor for actor in state.actors().values() if "MapBatches" in actor["ActorClassName"]]
        assert len({actor["Address"]["NodeID"] for actor in actors}) == 2
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert fingerprints(Path("vectors")) == fingerprints(Path("whole"))


def ticks(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.01)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # it has ended
        return ""


def test_votes_of_several_annotators_are_encoded_with_their_files(here: Path) -> None:
    given = task(12)
    names = [f"{row:02}.png" for row in range(12)]
    save_pictures(here / "files", given.truth, names)
    columns = {"path": [f"files/{name}" for name in names for _ in "ab"], "rater": ["ann", "bob"] * 12}
    said = [CLASSES[label] for pair in zip(given.truth, given.labels, strict=True) for label in pair]
    manifest = read_manifest(write_csv(here / "votes.csv", columns | {"label": said}))
    encode(manifest, here / "vectors", SMALL)
    again = read_manifest(here / "vectors")
    assert manifest.votes is not None and again.votes is not None
    for name in ("item", "annotator", "label"):
        assert getattr(again.votes, name).tolist() == getattr(manifest.votes, name).tolist()
    assert again.labels.tolist() == manifest.labels.tolist()

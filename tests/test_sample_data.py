"""The committed sample sets: whole, consistent, and what their script makes."""

import csv
import hashlib
import importlib.util
import io
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cli_world import call
from PIL import Image

from cleanlab_lite.data.sound import SoundFormat
from cleanlab_lite.errors import DecodeError

SAMPLES = Path(__file__).parent.parent / "sample_data"
IMAGES = SAMPLES / "images"
VECTORS = SAMPLES / "vectors"
SOUNDS = SAMPLES / "sounds"


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remade")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SAMPLES))  # as for a script: make_sounds takes from make_samples
        remake(folder)
    return folder


def remake(folder):
    for name in ("make_samples", "make_sounds"):
        spec = importlib.util.spec_from_file_location(name, SAMPLES / f"{name}.py")
        script = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = script  # dataclasses look their module up
        spec.loader.exec_module(script)
        script.main(folder)
        del sys.modules[spec.name]


def test_total_size_is_below_5_mb():
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 5_000_000


def test_images_truth_is_consistent():
    manifest, truth = read_csv(IMAGES / "manifest.csv"), read_csv(IMAGES / "truth.csv")
    assert [row["path"] for row in manifest] == [row["path"] for row in truth]
    assert len(set(row["path"] for row in manifest)) == len(manifest)
    classes = {row["label"] for row in manifest}
    assert len(classes) == 10
    for given, true in zip(manifest, truth, strict=True):
        wrong = given["label"] != true["true_label"]
        expected = {"": {False}, "mislabel": {True}, "out_of_vocabulary": {True}, "unreadable": {False}}
        assert wrong in expected.get(true["planted"], {True, False})
        assert (true["true_label"] in classes) == (true["planted"] != "out_of_vocabulary")
    planted = Counter(row["planted"] for row in truth)
    assert planted["mislabel"] / len(manifest) == pytest.approx(0.10, abs=0.01)
    assert planted["out_of_vocabulary"] / len(manifest) == pytest.approx(0.03, abs=0.005)
    assert planted["unreadable"] == 2
    assert planted["duplicate_conflict"] == 4


def test_images_files():
    manifest, truth = read_csv(IMAGES / "manifest.csv"), read_csv(IMAGES / "truth.csv")
    on_disk = {path.relative_to(IMAGES).as_posix() for path in (IMAGES / "files").rglob("*.png")}
    assert on_disk == {row["path"] for row in manifest}
    for row in truth:
        if row["planted"] == "unreadable":
            with pytest.raises(OSError), Image.open(IMAGES / row["path"]) as image:
                image.load()
        else:
            with Image.open(IMAGES / row["path"]) as image:
                assert (image.size, image.mode, image.format) == ((32, 32), "L", "PNG")
                image.load()


def test_images_duplicates_are_the_two_planted_pairs():
    manifest, truth = read_csv(IMAGES / "manifest.csv"), read_csv(IMAGES / "truth.csv")
    groups = {}
    for given, true in zip(manifest, truth, strict=True):
        digest = hashlib.sha256((IMAGES / given["path"]).read_bytes()).hexdigest()
        groups.setdefault(digest, []).append((true["planted"], given["label"] == true["true_label"]))
    pairs = [group for group in groups.values() if len(group) > 1]
    assert [len(pair) for pair in pairs] == [2, 2]
    assert {planted for pair in pairs for planted, _ in pair} == {"duplicate_conflict"}
    assert sorted([right for _, right in pair] for pair in pairs) == [[False, True], [True, False]]


def test_vectors_truth_is_consistent():
    table, truth = pq.read_table(VECTORS / "manifest.parquet"), read_csv(VECTORS / "truth.csv")
    assert table.column_names == ["id", "label", "embedding", "annotator"]
    assert table["id"].to_pylist() == [row["id"] for row in truth]
    labels, true = np.array(table["label"]), np.array([row["true_label"] for row in truth])
    planted = np.array([row["planted"] for row in truth])
    features = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    assert np.array_equal(labels != true, np.isin(planted, ["mislabel", "out_of_vocabulary"]))
    assert np.array_equal(np.isnan(features).any(axis=1), planted == "unreadable")
    assert np.array_equal(true == "none_of_these", planted == "out_of_vocabulary")
    assert Counter(planted.tolist()) == {"": 1349, "mislabel": 120, "out_of_vocabulary": 30, "unreadable": 1}
    assert len(set(labels)) == 12
    annotators = np.array(table["annotator"])
    rate = {name: (planted[annotators == name] == "mislabel").mean() for name in set(annotators)}
    assert max(rate, key=rate.get) == "eve"


def test_script_makes_the_committed_images(remade):
    for name in ("manifest.csv", "truth.csv"):
        assert (remade / "images" / name).read_bytes() == (IMAGES / name).read_bytes()
    for row in read_csv(IMAGES / "truth.csv"):
        committed, made = ((folder / row["path"]).read_bytes() for folder in (IMAGES, remade / "images"))
        if row["planted"] == "unreadable":
            assert bool(committed) == bool(made)
        elif committed != made:  # another zlib packs otherwise, another Pillow blurs a little otherwise
            a, b = (np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in (committed, made))
            assert np.abs(a - b).max() <= 2


def test_script_makes_the_committed_vectors(remade):
    assert (remade / "vectors" / "truth.csv").read_bytes() == (VECTORS / "truth.csv").read_bytes()
    committed, made = (pq.read_table(folder / "manifest.parquet") for folder in (VECTORS, remade / "vectors"))
    assert committed.drop_columns("embedding").equals(made.drop_columns("embedding"))
    a, b = (np.array(table["embedding"].to_pylist()) for table in (committed, made))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_sounds_truth_is_consistent():
    manifest, truth = read_csv(SOUNDS / "manifest.csv"), read_csv(SOUNDS / "truth.csv")
    assert [row["path"] for row in manifest] == [row["path"] for row in truth]
    classes = {row["label"] for row in manifest}
    assert len(classes) == 8
    for given, true in zip(manifest, truth, strict=True):
        wrong = given["label"] != true["true_label"]
        assert wrong == (true["planted"] in ("mislabel", "out_of_vocabulary", "silent")) or (
            true["planted"] == "duplicate_conflict"
        )
        assert (true["true_label"] in classes) == (true["planted"] not in ("out_of_vocabulary", "silent"))
    planted = Counter(row["planted"] for row in truth)
    single = {"clipped": 1, "silent": 1, "truncated": 1, "unreadable": 2, "duplicate_conflict": 2}
    assert planted == {"": 383, "mislabel": 43, "out_of_vocabulary": 18} | single


def test_sounds_files():
    truth = {row["path"]: row["planted"] for row in read_csv(SOUNDS / "truth.csv")}
    assert {path.relative_to(SOUNDS).as_posix() for path in (SOUNDS / "files").rglob("*.wav")} == set(truth)
    form = SoundFormat(8000, 1.024)
    for path, planted in truth.items():
        data = (SOUNDS / path).read_bytes()
        if planted == "unreadable":
            if data:
                with pytest.raises(DecodeError):
                    form.decode(data)
        else:
            assert form.decode(data)[1] == ((planted,) if planted in ("silent", "clipped", "truncated") else ())
    digests = Counter(hashlib.sha256((SOUNDS / path).read_bytes()).hexdigest() for path in truth)
    assert sorted(digests.values())[-2:] == [1, 2]


def test_script_makes_the_committed_sounds(remade):
    for name in ("manifest.csv", "truth.csv"):
        assert (remade / "sounds" / name).read_bytes() == (SOUNDS / name).read_bytes()
    for row in read_csv(SOUNDS / "truth.csv"):
        committed, made = ((folder / row["path"]).read_bytes() for folder in (SOUNDS, remade / "sounds"))
        assert len(committed) == len(made)
        a, b = (np.frombuffer(data[44:], np.uint8).astype(int) for data in (committed, made))
        assert not len(a) or np.abs(a - b).max() <= 1  # another numpy may round otherwise


def test_the_demo_says_what_was_found_and_what_lies_there_stays(here, capsys):
    shown = call(capsys, "demo", "vectors")
    assert shown.code == 0
    hits, flagged, wrong = (int(number) for number in re.findall(r"(\d+) of the (\d+) .*of the (\d+) ", shown.out)[0])
    assert hits > 0.9 * flagged and hits > 0.7 * wrong and wrong == 150
    assert (here / "nlclean-demo" / "vectors-fast" / "report.parquet").is_file()
    (here / "nlclean-demo" / "vectors" / "note.txt").write_text("mine")
    assert call(capsys, "demo", "vectors", "-q").code == 0
    assert (here / "nlclean-demo" / "vectors" / "note.txt").is_file()
    (here / "other" / "images").mkdir(parents=True)
    assert "no sample data" in call(capsys, "demo", "--output", "other").err

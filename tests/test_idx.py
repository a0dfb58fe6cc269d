"""MNIST's own form: pictures and labels in files of bytes, one pair per split."""

import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from cleanlab_lite.data.objects import ObjectStore
from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.readers import read_labels, read_manifest

N = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 6, 4), dtype=np.uint8)
LABELS = np.arange(N, dtype=np.uint8) % 3


def packed(array, shape=None, kind=8):
    shape = array.shape if shape is None else shape
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + array.tobytes()


def pair(folder, start="train", rows=slice(None), ending="", between="-"):
    folder.mkdir(parents=True, exist_ok=True)
    opened = gzip.open if ending == ".gz" else open
    for kind, array in (("images", PIXELS[rows]), ("labels", LABELS[rows])):
        with opened(folder / f"{start}-{kind}{between}idx{array.ndim}-ubyte{ending}", "wb") as file:
            file.write(packed(array))
    return folder


def read(path, folder):
    return read_manifest(path, keep=ObjectStore(folder / "cache"))


def refused(path, folder, words):
    with pytest.raises(ManifestError) as caught:
        read(path, folder)
    assert words in f"{caught.value} {caught.value.hint}", caught.value
    return caught.value


@pytest.mark.parametrize(
    ("inside", "given", "start", "ending", "between"),
    [
        ("", "", "", "", "-"),
        ("", "", "", ".gz", "-"),
        ("MNIST/raw", "", "", ".gz", "-"),  # the root that torchvision was given
        ("FashionMNIST/raw", "FashionMNIST", "", "", "-"),
        ("raw", "raw", "", "", "-"),
        ("", "", "", "", "."),  # of Kaggle
        ("", "*ubyte*", "kmnist-", ".gz", "-"),
    ],
)
def test_pairs_of_both_splits(tmp_path, inside, given, start, ending, between):
    folder = tmp_path / "set"
    pair(folder / inside, f"{start}train", slice(0, 9), ending, between)
    pair(folder / inside, f"{start}t10k", slice(9, N), ending, between)
    manifest = read(folder / given, tmp_path)
    assert np.array_equal([np.array(Image.open(uri)) for uri in manifest.uris], PIXELS)
    assert manifest.modality == "image" and manifest.labels.tolist() == LABELS.tolist()
    assert manifest.splits.tolist() == ["train"] * 9 + ["test"] * 3 and manifest.held_back.tolist()[8:10] == [0, 1]
    assert manifest.ids[[0, 9]].tolist() == [f"{start}train-images[0]", f"{start}t10k-images[0]"]
    names = read_labels(folder / given, {"label": "label", "path": "image"}).ids
    assert names.tolist() == manifest.ids.tolist()


def test_one_file_is_its_split(tmp_path):
    pair(tmp_path, "t10k", slice(0, 6))
    pair(tmp_path, "train")
    pair(tmp_path, "train", ending=".gz")  # torchvision leaves both
    assert len(read(tmp_path / "t10k-labels-idx1-ubyte", tmp_path)) == 6
    assert len(read(tmp_path, tmp_path)) == N + 6


def test_pictures_of_emnist_are_turned_upright(tmp_path):
    for start in ("emnist-letters-train", "emnist-letters-test"):
        pair(tmp_path / "EMNIST/raw", start, ending=".gz")
    manifest = read(tmp_path, tmp_path)
    assert np.array_equal(np.array(Image.open(manifest.uris[1])), PIXELS[1].T)
    assert "pictures of EMNIST are turned upright" in manifest.source.notes and manifest.held_back.sum() == N


def test_several_datasets_are_not_mixed(tmp_path):
    for start in ("emnist-letters-train", "emnist-digits-train"):
        pair(tmp_path / "EMNIST/raw", start)
    hint = refused(tmp_path, tmp_path, "several datasets").hint
    assert len(read(hint.split("'")[1], tmp_path)) == N
    pair(tmp_path / "KMNIST/raw")
    assert str(tmp_path / "EMNIST/raw") in refused(tmp_path, tmp_path, "several datasets").hint


def test_a_table_or_class_folders_beside_are_said(tmp_path):
    folder = pair(tmp_path / "set")
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for number in range(2):
            Image.fromarray(PIXELS[number]).save(folder / name / f"{number}.png")
    assert "not read: 'cat', 'dog'" in read(folder, tmp_path).source.notes
    assert read_manifest(folder, layout="class").classes == ("cat", "dog")
    (folder / "labels.csv").write_text("path,label\ncat/0.png,a\ncat/1.png,a\ndog/0.png,b\ndog/1.png,b\n")
    assert read_manifest(folder).classes == ("a", "b")


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (packed(PIXELS)[:-1], packed(LABELS), "train-images"),  # it breaks off
        (packed(PIXELS) + b"\0", packed(LABELS), "train-images"),
        (packed(PIXELS), packed(LABELS)[:-1], "train-labels"),
        (packed(PIXELS), packed(LABELS[1:]), "declares 12 pictures, and"),
        (packed(PIXELS, (2**32 - 1,) * 3), packed(LABELS), "declares 4294967295 x 4294967295 x 4294967295 bytes"),
        (packed(PIXELS), packed(LABELS, (2**32 - 1,)), "declares 4294967295 bytes, and holds"),
        (packed(PIXELS, (12, 0, 24)), packed(LABELS), "declares 12 x 0 x 24 bytes"),
        (packed(PIXELS, (1, 288, 1)), packed(LABELS), "declares 1 picture, and"),
        (packed(PIXELS, kind=13), packed(LABELS), "begins with 00 00 0d 03, expected 00 00 08 03: unsigned bytes"),
        (packed(LABELS), packed(LABELS), "in 3 dimensions"),
        (packed(PIXELS)[:7], packed(LABELS), "breaks off in its header"),
        (b"", packed(LABELS), "begins with nothing"),
    ],
)
def test_files_that_are_not_what_they_say(tmp_path, ending, images, labels, words):
    for name, data in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        (tmp_path / f"{name}{ending}").write_bytes(gzip.compress(data) if ending else data)
    refused(tmp_path, tmp_path, words)


def test_large_declarations_of_small_files(tmp_path):
    pair(tmp_path, ending=".gz")
    zeros = np.zeros(20_000_000, np.uint8)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(packed(zeros, (20_000_000, 1, 1))))
    refused(tmp_path, tmp_path, "expected 1 to 10,000,000 pictures")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(packed(PIXELS))[:-20])
    refused(tmp_path, tmp_path, "cannot read")


def test_a_file_alone_names_what_it_needs(tmp_path):
    pair(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert "train-labels-idx1-ubyte" in refused(tmp_path, tmp_path, "no labels of 'train' beside it").hint
    (tmp_path / "train-images-idx3-ubyte").rename(tmp_path / "digits")
    refused(tmp_path / "digits", tmp_path, "this is MNIST's own form, which is read where")

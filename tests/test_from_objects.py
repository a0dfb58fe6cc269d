"""What people have in memory becomes a manifest: the same as from a file, or an error that says how to repair it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from audit_world import picture
from PIL import Image

from cleanlab_lite.data import objects
from cleanlab_lite.data.media import decode_image, read_bytes
from cleanlab_lite.data.objects import ObjectStore
from cleanlab_lite.errors import ConfigError, ManifestError
from cleanlab_lite.manifest.from_objects import from_objects
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.manifest.reading import Reading
from cleanlab_lite.progress import Progress

LABELS = ["cat", "dog", "cat", "owl", "dog", "owl"]
NAMES = ("owl", "cat", "dog")  # not sorted
NUMBERS = [1, 2, 1, 0, 2, 0]
VECTORS = np.arange(18, dtype=np.float32).reshape(6, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 7, 3)).astype(np.uint8)


@pytest.fixture
def keep(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "cache")


@pytest.fixture
def read(keep, tmp_path, monkeypatch):
    """`from_objects` in an empty folder, with options of `Reading`."""
    monkeypatch.chdir(tmp_path)

    def call(data, labels=None, *, classes=None, **asked) -> Manifest:
        return from_objects(data, labels, classes=classes, asked=Reading(**asked), keep=keep)

    return call


def names(manifest: Manifest) -> list[str | None]:
    return [manifest.classes[label] if label >= 0 else None for label in manifest.labels]


def pixels(manifest: Manifest) -> list[np.ndarray]:
    """The pictures as they are decoded, (h, w, 3)."""
    assert manifest.uris is not None
    return [np.asarray(Image.open(io.BytesIO(read_bytes(uri))).convert("RGB")) for uri in manifest.uris]


# --- tables ---------------------------------------------------------------------------------------------------------


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame({"key": list("abcdef"), "embedding": list(VECTORS), "label": LABELS, "shot": range(6)})


TABLES = {
    "pandas": pandas_frame,
    "polars": lambda: pl.from_arrow(pa.Table.from_pandas(pandas_frame())),
    "arrow": lambda: pa.Table.from_pandas(pandas_frame()),
    "datasets": lambda: datasets.Dataset.from_pandas(pandas_frame()),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_read_as_its_file_would_be(read, tmp_path, kind):
    found = read(TABLES[kind]())
    pq.write_table(pa.Table.from_pandas(pandas_frame(), preserve_index=False), tmp_path / "x.parquet")
    expected = read_manifest(tmp_path / "x.parquet")
    assert (names(found), found.ids.tolist(), found.classes) == (LABELS, expected.ids.tolist(), expected.classes)
    np.testing.assert_array_equal(found.features, expected.features)
    assert found.table.column_names == expected.table.column_names == ["key", "embedding", "label", "shot"]
    assert found.fingerprint == read(TABLES[kind]()).fingerprint


def test_columns_are_named_and_checked_as_those_of_files(read):
    frame = pandas_frame().rename(columns={"label": "animal"})
    assert names(read(frame, label_column="animal", id_column="key")) == LABELS
    assert read(frame, label_column="animal", id_column="key").ids.tolist() == list("abcdef")
    with pytest.raises(ManifestError, match=r"no label column.*'animal'"):
        read(frame)
    with pytest.raises(ManifestError, match="did you mean 'animal'"):
        read(frame, label_column="animla")


def test_the_index_gives_ids_where_it_is_named_and_nothing_else(read):
    frame = pandas_frame().set_index("key")
    assert read(frame, id_column="key").ids.tolist() == list("abcdef")
    assert read(frame).ids.tolist() == list("012345")
    assert "key" not in read(frame).table.column_names
    shuffled = frame.iloc[[3, 0, 5, 1, 2, 4]]
    assert names(read(shuffled)) == [LABELS[row] for row in (3, 0, 5, 1, 2, 4)]


@pytest.mark.parametrize(
    "labels",
    [
        pd.Categorical(LABELS),
        np.array(LABELS),
        pd.array(LABELS, dtype="string"),
    ],
)
def test_labels_of_a_frame_have_many_types(read, labels):
    assert names(read(pandas_frame().assign(label=labels))) == LABELS


@pytest.mark.parametrize("labels", [[1, None, 1, 0, 2, 0], [1, float("nan"), 1, 0, 2, 0], [1, -1, 1, 0, 2, 0]])
def test_numbers_are_named_by_classes_and_missing_ones_are_missing(read, labels):
    found = read(pandas_frame().assign(label=labels), classes=NAMES)
    assert names(found) == ["cat", None, "cat", "owl", "dog", "owl"]
    assert found.classes == NAMES  # in the order given: columns of probabilities are in it


def test_paths_in_a_frame_start_from_the_working_folder(read, tmp_path):
    for row in range(6):
        picture(row % 3, seed=row).save(tmp_path / f"{row}.png")
    found = read(pl.DataFrame({"path": [f"{row}.png" for row in range(6)], "label": LABELS}))
    assert found.modality == "image" and found.uris is not None
    assert found.uris.tolist() == [str(tmp_path / f"{row}.png") for row in range(6)]
    assert found.ids[0] == "0.png"


def test_vectors_in_columns_of_one_number_each(read):
    frame = pd.DataFrame(VECTORS, columns=["f0", "f1", "f2"]).assign(label=LABELS, year=2026.5)
    found = read(frame, features_columns="f*")
    np.testing.assert_array_equal(found.features, VECTORS)
    assert found.modality == "vector" and "features: 3 columns, f0 to f2" in found.source.notes
    with pytest.raises(ManifestError, match="features are given twice"):
        read(frame, features_columns="f*", features=VECTORS)
    with pytest.raises(ManifestError, match="features_columns= name columns, and a ndarray has none"):
        read(VECTORS, LABELS, features_columns="f*")


def test_features_beside_a_table(read):
    found = read(pl.DataFrame({"label": LABELS, "note": LABELS}), features=VECTORS.astype(np.float64))
    assert found.modality == "vector"
    np.testing.assert_array_equal(found.features, VECTORS)
    with pytest.raises(ManifestError, match="features have 5 rows, the data have 6"):
        read(pl.DataFrame({"label": LABELS}), features=VECTORS[:5])
    with pytest.raises(ManifestError, match="given twice"):
        read((VECTORS, LABELS), features=VECTORS)


# --- Hugging Face ---------------------------------------------------------------------------------------------------


def hugging_face(pictures: list, labels: list) -> datasets.Dataset:
    features = datasets.Features({"img": datasets.Image(), "what": datasets.ClassLabel(names=list(NAMES))})
    return datasets.Dataset.from_dict({"img": pictures, "what": labels}, features=features)


def test_a_hugging_face_dataset_of_pictures_names_its_classes(read):
    found = read(hugging_face([Image.fromarray(part) for part in PIXELS], [1, 2, 1, None, -1, 0]))
    assert names(found) == ["cat", "dog", "cat", None, None, "owl"]
    assert (found.classes, found.ids.tolist()) == (NAMES, list("012345"))
    np.testing.assert_array_equal(pixels(found), PIXELS)


def test_rows_of_a_hugging_face_dataset_are_those_that_it_shows(read):
    whole = hugging_face([Image.fromarray(part) for part in PIXELS], NUMBERS)
    found = read(whole.shuffle(seed=1).select(range(4)).with_format("torch"))
    shown = whole.shuffle(seed=1).select(range(4))
    assert names(found) == [NAMES[number] for number in shown["what"]]
    np.testing.assert_array_equal(pixels(found), [np.asarray(part) for part in shown["img"]])


def test_pictures_that_have_files_stay_where_they_are(read, tmp_path):
    paths = [str(tmp_path / f"{row}.png") for row in range(6)]
    for row, path in enumerate(paths):
        picture(row % 3, seed=row).save(path)
    found = read(hugging_face(paths, NUMBERS))
    assert found.uris is not None and found.uris.tolist() == paths
    assert not (tmp_path / "cache").exists()


def test_sounds_of_a_hugging_face_dataset(read, tmp_path):
    from review_world import write_wav

    write_wav(tmp_path / "a.wav", 440)
    data = (tmp_path / "a.wav").read_bytes()
    cells = pa.array([{"bytes": data, "path": None}, {"bytes": None, "path": str(tmp_path / "a.wav")}])
    features = datasets.Features({"clip": datasets.Audio(), "label": datasets.Value("string")})
    table = datasets.table.InMemoryTable(pa.table({"clip": cells, "label": ["a", "b"]}))
    found = read(datasets.Dataset(table, info=datasets.DatasetInfo(features=features)))
    assert found.modality == "sound" and found.uris is not None
    assert [Path(uri).suffix for uri in found.uris] == [".wav", ".wav"]
    assert Path(found.uris[0]).read_bytes() == data


def test_splits_of_a_dataset_dict(read):
    parts = {name: datasets.Dataset.from_pandas(pandas_frame()[rows]) for name, rows in SPLITS.items()}
    found = read(datasets.DatasetDict(parts))
    assert found.splits.tolist() == ["train"] * 4 + ["test"] * 2
    assert found.held_back.tolist() == [False] * 4 + [True] * 2


SPLITS = {"train": slice(0, 4), "test": slice(4, 6)}


def test_streams_are_refused(read):
    with pytest.raises(ManifestError, match="streaming=True"):
        read(hugging_face(list(PIXELS), NUMBERS).to_iterable_dataset())
    with pytest.raises(ManifestError, match="collect"):
        read(pl.LazyFrame({"label": LABELS}))


# --- arrays, pictures, torch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "X",
    [VECTORS, VECTORS.tolist(), torch.tensor(VECTORS).bfloat16(), pd.DataFrame(VECTORS), list(torch.tensor(VECTORS))],
)
@pytest.mark.parametrize(
    "y",
    [LABELS, np.array(LABELS), np.array(LABELS, dtype=object), pd.Series(LABELS), pl.Series(LABELS), pa.array(LABELS)],
)
def test_vectors_and_labels(read, X, y):
    found = read((X, y))
    assert (names(found), found.modality, found.ids.tolist()) == (LABELS, "vector", list("012345"))
    np.testing.assert_array_equal(found.features, VECTORS)
    assert found.fingerprint == read((X, y)).fingerprint == read(X, y).fingerprint


@pytest.mark.parametrize(
    "y", [NUMBERS, np.array(NUMBERS, np.uint8), torch.tensor(NUMBERS), list(torch.tensor(NUMBERS))]
)
def test_numbers_as_labels(read, y):
    assert names(read((VECTORS, y))) == list(map(str, NUMBERS))
    assert names(read((VECTORS, y), classes=NAMES)) == LABELS


@pytest.mark.parametrize(
    "X",
    [
        PIXELS,
        list(PIXELS),
        [Image.fromarray(part) for part in PIXELS],
        PIXELS.astype(np.float64) / 255,
        torch.tensor(PIXELS).permute(0, 3, 1, 2),
        torch.tensor(PIXELS).permute(0, 3, 1, 2) / 255,
        torch.tensor(PIXELS),
        list(torch.tensor(PIXELS).permute(0, 3, 1, 2)),
    ],
    ids=["uint8", "list", "PIL", "float", "tensor", "float tensor", "channels last", "list of tensors"],
)
def test_pictures_keep_their_pixels(read, X):
    found = read(X, LABELS)
    assert (found.modality, names(found)) == ("image", LABELS)
    np.testing.assert_array_equal(pixels(found), PIXELS)
    assert found.fingerprint == read(PIXELS, LABELS).fingerprint


def test_grey_pictures_and_pictures_with_transparency(read):
    grey = PIXELS[..., 0]
    np.testing.assert_array_equal(np.array(pixels(read(grey, LABELS)))[..., 1], grey)
    np.testing.assert_array_equal(np.array(pixels(read(grey[..., None], LABELS)))[..., 2], grey)
    see_through = np.concatenate([PIXELS, PIXELS[..., :1]], axis=3)
    found = read(see_through, LABELS)
    assert found.uris is not None
    np.testing.assert_array_equal(np.asarray(Image.open(found.uris[0])), see_through[0])


class Pairs(torch.utils.data.Dataset):
    def __init__(self, inputs, labels, classes=None):
        self.inputs, self.labels = inputs, labels
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return self.inputs[row], self.labels[row]


@pytest.mark.parametrize(
    "inputs",
    [
        torch.tensor(PIXELS).permute(0, 3, 1, 2) / 255,
        torch.tensor(PIXELS),
        list(PIXELS),
        [Image.fromarray(part) for part in PIXELS],
    ],
    ids=["tensors", "channels last", "arrays", "PIL"],
)
def test_a_torch_dataset_of_pictures(read, inputs):
    found = read(Pairs(inputs, NUMBERS, NAMES))
    assert names(found) == LABELS
    np.testing.assert_array_equal(pixels(found), PIXELS)


def test_a_torch_dataset_of_vectors(read):
    found = read(torch.utils.data.TensorDataset(torch.tensor(VECTORS), torch.tensor(NUMBERS)))
    np.testing.assert_array_equal(found.features, VECTORS)
    assert names(read(Pairs(VECTORS, [*LABELS[:5], None]))) == [*LABELS[:5], None]


@pytest.mark.parametrize(
    ("data", "labels", "said"),
    [
        (VECTORS, LABELS[:5], "6 inputs and 5 labels"),
        (VECTORS.astype(object), LABELS, "type object, expected numbers"),
        (np.array([["a", "b"]] * 6), LABELS, "expected numbers"),
        (VECTORS[:0], [], "at least one row"),
        (VECTORS[:, 0], LABELS, r"reshape\(-1, 1\)"),
        (np.full((6, 2), np.nan), LABELS, "all 6 vectors"),
        (PIXELS * 1.0, LABELS, "floats from 0 to 255"),
        (PIXELS / 127.5 - 1, LABELS, "floats from -1 to 1"),
        (PIXELS / 255 + np.nan, LABELS, "floats from nan"),
        (PIXELS.astype(np.int64), LABELS, "type int64, expected uint8"),
        (PIXELS.transpose(0, 3, 1, 2), LABELS, "channels first"),
        (torch.tensor(PIXELS[..., :2]), LABELS, rf"shape \({', '.join(map(str, PIXELS[..., :2].shape))}\)"),
        ([[1, 2], [3]], LABELS, "every row needs the same length"),
        (VECTORS, np.eye(6)[:, :3], "argmax"),
        (VECTORS, [1, "a", 2, 3, 4, 5], "labels hold 'int', 'str'"),
        (VECTORS, [0.5] * 6, "regression"),
        (VECTORS, ["cat"] * 6, "one class only"),
        (VECTORS, None, "cannot audit a ndarray alone"),
        ([Image.fromarray(PIXELS[0]), "x"], ["a", "b"], "row 1 is a str, expected a picture"),
        ({"label": LABELS}, None, "cannot audit a dict alone"),
        (pandas_frame(), LABELS, "type object.*pandas.DataFrame"),
        (datasets.Dataset.from_pandas(pandas_frame()), LABELS, "it has them in a column"),
        (pandas_frame()[:0], None, "has no rows"),
        (pandas_frame().assign(what=[1, "a", 2, 3, 4, 5]), None, r"a column cannot be read: Could .*; .* column what"),
        (pd.DataFrame(VECTORS).assign(label=LABELS), None, r"--features-columns '\[0-9\]\*' reads them as vectors"),
        (pd.concat([pandas_frame(), pandas_frame()], axis=1), None, "more than once"),
        (Pairs(VECTORS, LABELS), LABELS, "yields"),
        (VECTORS, 3, "labels are 3"),
        (torch.utils.data.TensorDataset(torch.tensor(VECTORS)), None, r"a tuple of 1, expected \(input, label\)"),
        (Pairs(["a"] * 6, LABELS), None, "input of row 0 is a str"),
        (Pairs([[1.0]] * 6, LABELS), None, "input of row 0 is a list"),
        (Pairs([np.ones(3), np.ones(2)], LABELS[:2]), None, "2 to 3 numbers"),
    ],
)
def test_what_cannot_be_audited_says_why(read, data, labels, said):
    with pytest.raises(ManifestError, match=f"(?s){said}"):
        read(data, labels)


@pytest.mark.parametrize("classes", [("cat", "dog"), ("cat", "dog", "cat"), "cdo"])
def test_classes_that_do_not_fit(read, classes):
    with pytest.raises(
        ManifestError, match=r"no class in 2 of 6 labels, first 'owl'|names a class twice|expected a list"
    ):
        read((VECTORS, LABELS), classes=classes)


def test_columns_of_arrays(read):
    with pytest.raises(ManifestError, match="label_column= name columns"):
        read((VECTORS, LABELS), label_column="species")


# --- files of objects -----------------------------------------------------------------------------------------------


def test_the_same_object_is_written_once(keep, tmp_path):
    path = Path(keep.picture(PIXELS[0]))
    path.write_bytes(path.read_bytes())  # a new time of change shows whether it is written again
    changed = path.stat().st_mtime_ns
    assert keep.picture(Image.fromarray(PIXELS[0])) == str(path)
    assert path.stat().st_mtime_ns == changed
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_writing_many_files_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "TOLD", 2)
    events = []
    store = ObjectStore(tmp_path, events.append)
    for part in PIXELS:
        store.picture(part)
    assert events == [Progress("read", done, 0, "files") for done in (2, 4, 6)]


def test_a_deleted_file_comes_back_the_same(keep):
    path = Path(keep.picture(PIXELS[0]))
    before = path.read_bytes(), path.stat().st_mtime_ns
    path.unlink()
    assert keep.picture(PIXELS[0]) == str(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_an_empty_file_is_no_file(keep):
    path = Path(keep.picture(PIXELS[0]))
    path.write_bytes(b"")
    keep.picture(PIXELS[0])
    assert path.stat().st_size


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_a_picture_of_any_mode_is_decoded_as_its_file_would_be(keep, mode):
    base = Image.fromarray(PIXELS[0])
    made = Image.fromarray(PIXELS[0, ..., 0].astype(np.uint16) * 200) if mode == "I;16" else base.convert(mode)
    found = decode_image(Path(keep.picture(made)).read_bytes(), 9)[0]
    assert found.shape == (3, 9, 9)
    if mode in ("RGB", "P"):
        expected = io.BytesIO()
        made.save(expected, "PNG")
        np.testing.assert_array_equal(found, decode_image(expected.getvalue(), 9)[0])


def test_turned_photographs_are_stored_upright(keep):
    turned = Image.fromarray(PIXELS[0])
    turned.getexif()[0x0112] = 6
    stored = Image.open(keep.picture(turned))
    np.testing.assert_array_equal(np.asarray(stored), np.rot90(PIXELS[0], -1))


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ConfigError, match="NLCLEAN_CACHE_DIR"):
        ObjectStore(tmp_path / "cache").picture(PIXELS[0])


def test_no_package_is_imported_for_what_is_not_of_it(tmp_path):
    code = """
import sys, numpy
from cleanlab_lite.manifest.from_objects import from_objects
from cleanlab_lite.manifest.reading import Reading
from_objects((numpy.eye(4), ["a", "b", "a", "b"]), asked=Reading(), keep=None)
print(*sorted({"torch", "datasets", "polars", "PIL"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""

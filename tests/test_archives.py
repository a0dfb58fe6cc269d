"""Data in .zip and .tar archives, read as they are."""

import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pytest
from audit_world import QUICK, picture
from cli_world import call

from cleanlab_lite.archives import member, names_in, read_member, uri_of
from cleanlab_lite.data.media import read_bytes
from cleanlab_lite.errors import DecodeError, ManifestError
from cleanlab_lite.manifest.readers import read_manifest

KINDS = ("cat", "dog", "owl")
N = 24


def png(kind, seed):
    data = io.BytesIO()
    picture(kind, seed=seed).save(data, "PNG")
    return data.getvalue()


def pack(path, files):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def tree(prefix="", splits=False):
    place = lambda row: ("train/" if row % 4 else "test/") if splits else ""  # noqa: E731
    return {f"{prefix}{place(row)}{KINDS[row % 3]}/{row}.png": png(row % 3, row) for row in range(N)}


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("prefix", ["", "pets/", "a/b/"])
@pytest.mark.parametrize("splits", [False, True])
def test_class_folders(tmp_path, kind, prefix, splits):
    files = tree(prefix, splits)
    extra = {f"{prefix}readme.md": b"x", f"__MACOSX/{prefix}cat/._1.png": b"x", f"{prefix}.DS_Store": b"x"}
    manifest = read_manifest(pack(tmp_path / f"set.{kind}", files | extra))
    assert manifest.classes == KINDS and len(manifest) == N and manifest.modality == "image"
    assert manifest.held_back.sum() == (6 if splits else 0)
    assert [read_bytes(uri) for uri in manifest.uris] == [files[name] for name in manifest.ids]
    for name, label in zip(manifest.ids, manifest.labels, strict=True):
        assert f"{KINDS[label]}/" in name


@pytest.mark.parametrize("label", ["cls", "json", "txt"])
def test_webdataset(tmp_path, label):
    (tmp_path / "shards").mkdir()
    for shard in range(2):
        files = {}
        for row in range(shard * 12, shard * 12 + 12):
            files[f"{row:05}.png"] = png(row % 3, row)
            text = json.dumps({"label": KINDS[row % 3], "by": "ann"}) if label == "json" else KINDS[row % 3]
            files[f"{row:05}.{label}"] = text.encode()
        pack(tmp_path / "shards" / f"train-{shard}.tar", files)
    for given in (tmp_path / "shards", f"{tmp_path}/shards/*.tar"):
        manifest = read_manifest(given)
        assert manifest.classes == KINDS and len(manifest) == N
        assert manifest.ids[13] == "00013"
        assert read_bytes(manifest.uris[13]) == png(13 % 3, 13)
        assert "modality: image (by content of 20 files)" in manifest.source.notes
        if label == "json":
            assert manifest.table["by"].to_pylist() == ["ann"] * N


def test_labels_with_a_name_of_their_own(tmp_path):
    files = {f"{row}.image.png": png(row % 3, row) for row in range(N)}
    files |= {f"{row}.label.cls": KINDS[row % 3].encode() for row in range(N)}
    assert read_manifest(pack(tmp_path / "a.tar", files)).classes == KINDS


def test_labels_in_two_files_that_do_not_agree(tmp_path):
    files = {f"{row}.png": png(row % 3, row) for row in range(N)}
    files |= {f"{row}.cls": str(row % 3).encode() for row in range(N)}
    named = {f"{row}.json": json.dumps({"label": KINDS[row % 3]}).encode() for row in range(N)}
    assert read_manifest(pack(tmp_path / "a.tar", files | named)).classes == KINDS  # numbers and names
    named["0.json"] = json.dumps({"label": "owl"}).encode()
    with pytest.raises(ManifestError, match="do not agree"):
        read_manifest(pack(tmp_path / "a.tar", files | named))


@pytest.mark.parametrize(
    ("shards", "splits"),
    [
        (["train-000000.tar", "train-000001.tar", "val-000000.tar"], ["train"] * 16 + ["val"] * 8),
        (["test/0.tar", "train/0.tar", "train/1.tar"], ["test"] * 8 + ["train"] * 16),
        (["train-0.tar", "train-1.tar", "train-2.tar"], [""] * 24),
        (["000.tar", "001.tar", "002.tar"], [""] * 24),
    ],
)
def test_shards_of_splits(tmp_path, shards, splits):
    """With what img2dataset and others write beside them."""
    for shard, name in enumerate(shards):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        rows = range(shard, N, 3)
        labels = {f"{row:05}.cls": KINDS[row // 3 % 3].encode() for row in rows}
        pack(tmp_path / name, {f"{row:05}.png": png(row // 3 % 3, row) for row in rows} | labels)
        (tmp_path / name.replace(".tar", ".parquet")).write_bytes(b"PAR1")
        (tmp_path / name.replace(".tar", "_stats.json")).write_text("{}")
    (tmp_path / "classnames.txt").write_text("cat")
    manifest = read_manifest(tmp_path)
    assert manifest.classes == KINDS and manifest.splits.tolist() == splits
    assert manifest.held_back.tolist() == [split in ("val", "test") for split in splits]


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("prefix", ["", "in/"])
def test_a_table_beside_its_files(tmp_path, kind, prefix):
    rows = "".join(f"img/{row}.png,{KINDS[row % 3]}\n" for row in range(N))
    files = {f"{prefix}labels.csv": f"path,label\n{rows}".encode()}
    files |= {f"{prefix}img/{row}.png": png(row % 3, row) for row in range(N)}
    manifest = read_manifest(pack(tmp_path / f"set.{kind}", files))
    assert manifest.classes == KINDS
    assert read_bytes(manifest.uris[5]) == png(5 % 3, 5)


def test_an_audit_of_an_archive_and_its_exports(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    files = {f"{KINDS[row % 3]}/{row}.png": png(row % 3 if row != 4 else 2, row) for row in range(60)}
    pack(tmp_path / "set.zip", files)
    result = call(capsys, "audit", "set.zip", "--out", "run", "--views", "pixels", "--image-size", 16, *QUICK, "-q")
    assert result.code == 0, result.err
    for form in ("manifest", "folders", "huggingface"):
        output = f"out-{form}{'.csv' * (form == 'manifest')}"
        result = call(capsys, "export", "run", "--format", form, "--output", output, "--force")
        assert result.code == 0, result.err
    assert len(read_manifest("out-manifest.csv")) > 50
    again = read_manifest("out-folders")
    assert again.classes == KINDS
    assert all(read_bytes(uri) in files.values() for uri in again.uris)


def test_broken_archives_are_rows_or_words(tmp_path):
    path = pack(tmp_path / "set.tar", tree())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    manifest = read_manifest(path)
    assert 2 < len(manifest) < N
    with pytest.raises(DecodeError):
        read_bytes(manifest.uris[-1])
    for name, data in (("a.zip", b"PK no"), ("b.tar", b"x" * 600), ("c.tar", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ManifestError, match="cannot read") as caught:
            read_manifest(tmp_path / name)
        assert caught.value.hint
    with pytest.raises(ManifestError, match="expected a folder per class"):
        read_manifest(pack(tmp_path / "d.zip", {"x.png": png(0, 0)}))
    files = {f"{kind}.csv": b"path,label\n" for kind in KINDS} | tree()
    with pytest.raises(ManifestError, match="several tables"):
        read_manifest(pack(tmp_path / "e.zip", files))
    (tmp_path / "f.tgz").write_bytes(b"\x1f\x8b")
    with pytest.raises(ManifestError, match="unknown ending"):
        read_manifest(tmp_path / "f.tgz")


def test_members(tmp_path):
    path = pack(tmp_path / "s.zip", {"a b/é#%.png": b"1", "../../x": b"2", "huge": bytes(10)})
    assert names_in(str(path)) == ["a b/é#%.png", "huge"]
    place = member(uri_of(str(path), "a b/é#%.png"))
    assert place is not None and read_member(place) == b"1"
    assert member("zip://a::s3://bucket/b.zip") is None and member("/a/b.zip") is None
    with pytest.raises(DecodeError) as caught:
        read_bytes(uri_of(str(path), "none"))
    assert caught.value.code == "file_missing"
    path.unlink()
    with pytest.raises(DecodeError) as caught:
        read_bytes(uri_of(str(path), "huge"))
    assert caught.value.code == "file_missing"


def test_a_member_that_grows_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("cleanlab_lite.archives.MAX_FILE_BYTES", 1000)
    path = pack(tmp_path / "s.zip", {"cat/bomb.png": bytes(100_000), "dog/a.png": png(0, 0)})
    with pytest.raises(DecodeError) as caught:
        read_bytes(uri_of(str(path), "cat/bomb.png"))
    assert caught.value.code == "too_large"
    assert np.array_equal(read_manifest(path).labels, [0, 1])


PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


def zipped(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, PNG + name.encode())
    return path


def meaning(manifest):
    """Folder of a file -> its class and split."""
    names = [manifest.classes[label] for label in manifest.labels]
    return {
        os.path.dirname(member(uri).name): (name, split)
        for uri, name, split in zip(manifest.uris, names, manifest.splits.tolist(), strict=True)
    }


def in_folders(*folders):
    return [f"{folder}/{number}.png" for folder in folders for number in range(3)]


def test_folders_in_an_archive_are_read_as_those_on_disk(tmp_path):
    doubled = in_folders("training_set/training_set/cat", "training_set/training_set/dog", "test_set/test_set/dog")
    path = zipped(tmp_path / "a.zip", *doubled)
    assert meaning(read_manifest(path)) == {
        "training_set/training_set/cat": ("cat", "training_set"),
        "training_set/training_set/dog": ("dog", "training_set"),
        "test_set/test_set/dog": ("dog", "test_set"),
    }
    folders = ("cat/images", "cat/masks", "dog/images", "dog/masks", "_background_noise_")
    masks = zipped(tmp_path / "b.zip", *in_folders(*folders))
    assert meaning(read_manifest(masks)) == {"cat/images": ("cat", ""), "dog/images": ("dog", "")}
    groups = zipped(tmp_path / "c.zip", *in_folders("mammal/cat", "mammal/dog", "bird/owl"))
    with pytest.raises(ManifestError, match="can be read in several ways") as caught:
        read_manifest(groups)
    assert "--layout any/class" in caught.value.hint
    assert read_manifest(groups, layout="any/class").classes == ("cat", "dog", "owl")


def test_lists_in_an_archive_are_splits(tmp_path):
    path = zipped(tmp_path / "a.zip", *in_folders("cat", "dog"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("testing_list.txt", "cat/0.png\ndog/1.png\n")
    manifest = read_manifest(path)
    assert np.flatnonzero(manifest.held_back).tolist() == [0, 4]


@pytest.mark.parametrize("inner", ["", "{}/"])
def test_archives_called_like_splits_or_classes(tmp_path, inner):
    for name, folders in (("train", ("cat", "dog")), ("test", ("cat",))):
        zipped(tmp_path / f"{name}.zip", *in_folders(*(inner.format(name) + folder for folder in folders)))
    manifest = read_manifest(tmp_path / "*.zip")
    assert manifest.classes == ("cat", "dog") and manifest.held_back.sum() == 3
    assert all("test.zip" in uri for uri in manifest.uris[manifest.held_back])
    for name in ("train.zip", "test.zip"):
        (tmp_path / name).unlink()
    for name in ("cat", "dog"):
        zipped(tmp_path / f"{name}.zip", *(f"{inner.format(name)}{number}.png" for number in range(3)))
    assert read_manifest(tmp_path / "*.zip").classes == ("cat", "dog")
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path)
    assert f"'{tmp_path}/*.zip'" in caught.value.hint


def test_parts_of_a_set_in_archives_of_any_name(tmp_path):
    """The same names may be in several."""
    zipped(tmp_path / "photos-001.zip", *in_folders("set/cat", "set/dog"))
    zipped(tmp_path / "photos-002.zip", *in_folders("set/cat"))
    manifest = read_manifest(tmp_path / "*.zip")
    assert manifest.classes == ("cat", "dog") and len(manifest) == 9 and not manifest.held_back.any()
    assert len(set(manifest.uris)) == len(set(manifest.ids)) == 9

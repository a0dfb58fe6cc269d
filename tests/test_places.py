"""Files that do not lie where the cells say: found by one rule, which is said; or an error that says where to look."""

import json
import os
import unicodedata

import numpy as np
import pytest
from cli_world import call

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.export.manifest import base_folder, write_manifest
from cleanlab_lite.manifest.readers import missing_error, read_manifest

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
NAMES = [f"{kind}é_{i}" for kind in ("cat", "dog", "owl") for i in range(8)]


def touch(path, data=PNG):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def manifest_of(folder, cells, labels=None):
    labels = labels or [name[:3] for name in NAMES]
    records = [{"path": cell, "label": label} for cell, label in zip(cells, labels, strict=True)]
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def nfd(text):
    return unicodedata.normalize("NFD", text)


# cells, files, what the note says, beside the files found
CASES = {
    "ids in a folder": ("{}", "train/{}.jpg", "--path-prefix train/ --path-suffix .jpg"),
    "names in a folder": ("{}.jpg", "train_images/{}.jpg", "--path-prefix train_images/"),
    "a deep folder": ("{}.jpg", "data/img/full/{}.jpg", "--path-prefix data/img/full/"),
    "another ending": ("img/{}.png", "img/{}.jpg", "'.jpg' instead of '.png'"),
    "other case": ("img/{}.jpg", "img/{}.JPG", "in other case"),
    "backslashes": ("img\\{}.png", "img/{}.png", "with / for \\"),
    "blanks": (" img/{}.png\u00a0", "img/{}.png", "without blanks"),
    "Unicode form": ("img/{}.png", nfd("img/{}.png"), "in another Unicode form"),
    "Windows": ("C:\\Users\\Ann\\set\\img\\{}.png", "img/{}.png", "without 'Users/Ann/set' in front"),
    "another machine": ("/home/ann/set/img/{}.png", "img/{}.png", "--path-root"),
    "Label Studio, local": ("/data/local-files/?d=img/sub%20dir/{}.png", "img/sub dir/{}.png", "of another program"),
    "Label Studio, upload": ("/data/upload/3/0a1b2c3d-{}.png", "files/{}.png", "without the digits"),
    "address": ("my%20img/{}.png", "my img/{}.png", "as in an address"),
    "file address": ("file:///home/ann/my%20set/{}.png", "my set/{}.png", "without 'home/ann' in front"),
    "a folder between": ("train/{}.png", "train/images/{}.png", "in 'images/' below their folders"),
    "a folder that is gone": ("images/{}.png", "{}.png", "without 'images' in front"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_rule_finds_the_files(tmp_path, case):
    cell, file, words = CASES[case]
    for name in NAMES:
        touch(tmp_path / file.format(nfd(name) if case == "Unicode form" else name))
    touch(tmp_path / "other" / "readme.txt", b"x")
    path = manifest_of(tmp_path, [cell.format(name) for name in NAMES])
    manifest = read_manifest(path)
    assert [os.path.isfile(uri) for uri in manifest.uris] == [True] * 24
    for uri, name in zip(manifest.uris, NAMES, strict=True):
        assert unicodedata.normalize("NFC", os.path.basename(uri)).split(".")[0] == name
    (note,) = [note for note in manifest.source.notes if note.startswith("files:")]
    assert "24 of 24" in note and words in note
    keep = np.ones(24, dtype=bool)
    write_manifest(manifest, tmp_path / "out.jsonl", keep=keep, labels=[None] * 24)
    assert (tmp_path / "out.jsonl").read_text().count("\n") == 24
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert written == [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("cell", ["{}", "{}.jpg"])
def test_files_in_several_folders_are_found_by_name(tmp_path, cell):
    for i, name in enumerate(NAMES):
        touch(tmp_path / f"part_{i % 2 + 1}" / f"{name}.jpg")
    manifest = read_manifest(manifest_of(tmp_path, [cell.format(name) for name in NAMES]))
    assert all(map(os.path.isfile, manifest.uris))
    assert any("by name in 'part_1', 'part_2'" in note for note in manifest.source.notes)


@pytest.mark.parametrize(
    ("header", "cell", "file"),
    [
        ("id,label", "{}", "images/{:04}.png"),
        ("id,label", "{:04}", "images/{}.png"),
        ("id,label", "{}.0", "images/{}.png"),  # as pandas writes numbers
        ("path,label", "{}.png", "{:04}.png"),
        ("path,label", "img_{}", "train/img_{:04}.png"),
        ("id,label", "{}", "jpg/image_{:05}.jpg"),  # Oxford flowers
    ],
)
def test_files_are_found_by_the_numbers_in_their_names(tmp_path, header, cell, file):
    for number in range(1, 31):
        touch(tmp_path / file.format(number))
    rows = [f"{cell.format(number)},{'cat' if number % 2 else 'dog'}\n" for number in range(1, 31)]
    (tmp_path / "m.csv").write_text(f"{header}\n{''.join(rows)}")
    manifest = read_manifest(tmp_path / "m.csv")
    assert manifest.uris.tolist() == [str(tmp_path / file.format(number)) for number in range(1, 31)]
    assert any("by the numbers in their names" in note for note in manifest.source.notes)
    for number in range(1, 31):
        touch(tmp_path / f"more/{number:06}.png")  # which of the two?
    if header == "id,label" and "image_" not in file:
        with pytest.raises(ManifestError, match="no path column"):
            read_manifest(tmp_path / "m.csv")


def test_two_files_of_one_number_are_named(tmp_path):
    for number in range(40):
        touch(tmp_path / f"images/{number:04}.png")
    touch(tmp_path / "images/07.png")
    (tmp_path / "m.csv").write_text("id,label\n" + "".join(f"{number},{'ab'[number % 2]}\n" for number in range(40)))
    manifest = read_manifest(tmp_path / "m.csv")
    assert [os.path.isfile(uri) for uri in manifest.uris] == [number != 7 for number in range(40)]
    (note,) = [note for note in manifest.source.notes if note.startswith("files:")]
    assert note.endswith("not found: 1, as '7' could be 'images/0007.png' or 'images/07.png'")
    for number in range(20):
        touch(tmp_path / f"images/{number:02}.png")
    for path in (tmp_path, tmp_path / "m.csv"):
        with pytest.raises(ManifestError, match=r"in 20 of 40 rows .* '0' could be 'images/00\.png' or") as caught:
            read_manifest(path)
        assert "with their zeros" in caught.value.hint


def test_files_that_are_where_they_should_be_stay_beside_many_that_are_not(tmp_path):
    cells = [f"{number:03}.png" for number in range(200)]
    for cell in cells[:90]:
        touch(tmp_path / cell)
    os.rename(tmp_path / "003.png", tmp_path / "kept")
    os.symlink(tmp_path / "kept", tmp_path / "003.png")
    os.mkdir(tmp_path / "104.png")  # no file
    for cell in cells[60:]:
        touch(tmp_path / "img" / cell)
    manifest = read_manifest(manifest_of(tmp_path, cells, ["a", "b"] * 100))
    assert [os.path.relpath(uri, tmp_path) for uri in manifest.uris] == [*cells[:90], *(f"img/{c}" for c in cells[90:])]


def test_options_say_it_without_looking(tmp_path):
    for name in NAMES:
        touch(tmp_path / "pictures" / "train" / f"{name}.jpg")
    (tmp_path / "lists").mkdir()
    path = manifest_of(tmp_path / "lists", NAMES)
    with pytest.raises(ManifestError, match="neither images nor sounds") as caught:
        read_manifest(path)
    assert "missing: 24 of 24 files" in caught.value.hint
    assert "--path-root" in caught.value.hint and "pictures/train" in caught.value.hint
    for options in (
        {"path_root": tmp_path / "pictures", "path_prefix": "train/", "path_suffix": ".jpg"},
        {"path_root": tmp_path / "pictures"},
        {"path_root": tmp_path / "pictures/train", "path_suffix": ".jpg"},
        {"path_prefix": "../pictures/train/", "path_suffix": ".jpg"},
    ):
        assert all(map(os.path.isfile, read_manifest(path, **options).uris)), options
    rooted = read_manifest(path, path_root=tmp_path / "pictures")
    assert base_folder(rooted) == str(tmp_path / "pictures")  # what an export says of its relative paths
    with pytest.raises(ManifestError, match="is no folder"):
        read_manifest(path, path_root=tmp_path / "nowhere")


def test_addresses_of_files_that_were_fetched(tmp_path):
    for name in NAMES:
        touch(tmp_path / "here" / "img" / f"{name}.png")
    path = manifest_of(tmp_path, [f"s3://bucket/set/img/{name}.png" for name in NAMES])
    assert not any(map(os.path.isfile, read_manifest(path).uris))
    manifest = read_manifest(path, path_root=tmp_path / "here")
    assert all(map(os.path.isfile, manifest.uris)) and manifest.ids[0] == f"s3://bucket/set/img/{NAMES[0]}.png"


def test_paths_that_count_from_the_folder_above(tmp_path):
    (tmp_path / "annotations").mkdir()
    for name in NAMES:
        touch(tmp_path / "img" / f"{name}.png")
    manifest = read_manifest(manifest_of(tmp_path / "annotations", [f"img/{name}.png" for name in NAMES]))
    assert all(map(os.path.isfile, manifest.uris))
    assert any("from the folder above" in note for note in manifest.source.notes)


def test_nothing_is_guessed_where_it_would_not_fit(tmp_path):
    for name in NAMES[:12]:  # half of them
        touch(tmp_path / "some" / f"{name}.png")
    path = manifest_of(tmp_path, [f"{name}.png" for name in NAMES])
    manifest = read_manifest(path)
    assert not any(note.startswith("files:") for note in manifest.source.notes)
    error = missing_error(manifest)
    assert "missing: 24 of 24 files" in error.message and f"{tmp_path}/caté_0.png" in error.message
    assert "'some'" in error.hint or "some" in error.hint
    touch(tmp_path / "flat" / "one.png")  # rows would share it
    path = manifest_of(tmp_path, [f"{name}/one.png" for name in NAMES])
    assert not any(map(os.path.isfile, read_manifest(path).uris))


def test_files_that_are_there_stay_where_they_are(tmp_path):
    for name in NAMES[:20]:
        touch(tmp_path / f"{name}.png")
    for name in NAMES:
        touch(tmp_path / "copy" / f"{name}.png")
    manifest = read_manifest(manifest_of(tmp_path, [f"{name}.png" for name in NAMES]))
    assert [os.path.dirname(uri) for uri in manifest.uris] == [str(tmp_path)] * 24


def test_namesakes_in_other_folders_are_not_taken(tmp_path):
    cells = [f"{name[:3]}/{name}.jpg" for name in NAMES]
    for name, cell in zip(NAMES, cells, strict=True):
        touch(tmp_path / "a" / f"{name}.jpg")
        touch(tmp_path / "photos" / cell)
    manifest = read_manifest(manifest_of(tmp_path, cells))
    assert [os.path.relpath(uri, tmp_path) for uri in manifest.uris] == [os.path.join("photos", cell) for cell in cells]
    assert any("--path-prefix photos/" in note for note in manifest.source.notes)


def test_namesakes_of_which_a_column_names_the_folders(tmp_path):
    for i, name in enumerate(NAMES):
        touch(tmp_path / "data" / f"part{i % 2}" / f"{i // 2}.png", PNG + name.encode())
    rows = [(f"part{i % 2}", f"{i // 2}.png", name[:3]) for i, name in enumerate(NAMES)]
    for header, folder in (("folder,filename,label", "data/"), ("where,filename,label", "")):
        (tmp_path / "m.csv").write_text(f"{header}\n" + "".join(f"{folder}{a},{b},{c}\n" for a, b, c in rows))
        manifest = read_manifest(tmp_path / "m.csv")
        if folder:
            assert [os.path.relpath(uri, tmp_path) for uri in manifest.uris] == [f"data/{a}/{b}" for a, b, _ in rows]
            assert any("column 'folder' names" in note for note in manifest.source.notes)
        else:  # half of the pictures would be read twice
            assert missing_error(manifest) is not None
    (tmp_path / "m.csv").write_text(
        "folder,filename,label\n" + "".join(f"x,data/{a}/{b},{c}\n" for a, b, c in rows * 2)
    )
    assert all(map(os.path.isfile, read_manifest(tmp_path / "m.csv").uris))  # the paths are right as they are


def test_namesakes_of_which_any_column_says_the_folder(tmp_path):
    """As Timelapse exports camera traps."""
    rows = []
    for camera in ("CAM1", "CAM2"):
        for number in range(6):
            touch(tmp_path / camera / f"100RECNX/IMG_{number}.png")
            rows.append(f"Set,IMG_{number}.png,{camera}\\100RECNX,{'fox' if number % 2 else 'deer'}\n")
    (tmp_path / "m.csv").write_text(f"RootFolder,File,RelativePath,Species\n{''.join(rows)}")
    manifest = read_manifest(tmp_path / "m.csv", path_column="File")
    assert manifest.uris[7] == str(tmp_path / "CAM2/100RECNX/IMG_1.png")
    assert "in the folders that column 'RelativePath' names" in " ".join(manifest.source.notes)


def test_loops_and_hidden_folders_are_no_trouble(tmp_path):
    for name in NAMES:
        touch(tmp_path / "img" / f"{name}.png")
        touch(tmp_path / ".hidden" / f"{name}.png")
    os.symlink(tmp_path, tmp_path / "img" / "loop")
    os.mkfifo(tmp_path / "pipe.png")
    manifest = read_manifest(manifest_of(tmp_path, [f"{name}.png" for name in NAMES]))
    assert {os.path.dirname(uri) for uri in manifest.uris} == {str(tmp_path / "img")}


@pytest.mark.usefixtures("untimed")
def test_a_dry_run_without_a_file_is_an_error(tmp_path, capsys):
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = manifest_of(tmp_path / "a" / "b", [f"{name}.png" for name in NAMES])
    result = call(capsys, "audit", path, "--dry-run")
    assert result.code == 2
    assert "missing: 24 of 24 files" in result.err and "no picture or sound lies below" in result.err


@pytest.mark.parametrize("folder", ["annotations", "labels", "train"])
@pytest.mark.usefixtures("untimed")
def test_pictures_beside_the_folder_of_their_table(tmp_path, capsys, folder):
    for name in NAMES:
        touch(tmp_path / "val2017" / f"{name}.jpg")
        touch(tmp_path / "other" / f"{name}-1.jpg")
    (tmp_path / folder).mkdir()
    table = tmp_path / folder / "m.csv"
    table.write_text("path,label\n" + "".join(f"{name}.jpg,{name[:3]}\n" for name in NAMES))
    result = call(capsys, "audit", table, "--dry-run")
    if folder == "train":  # those of another split, perhaps: they are named, and not taken
        assert result.code == 2 and "--path-root" in result.err and "val2017" in result.err
        return
    assert result.code == 0, result.err
    assert f"found beside the folder of the table, in '{tmp_path / 'val2017'}'" in " ".join(result.err.split())
    manifest = read_manifest(table)
    assert manifest.uris[0] == str(tmp_path / "val2017" / f"{NAMES[0]}.jpg") and manifest.ids[0] == f"{NAMES[0]}.jpg"
    for name in NAMES:
        touch(tmp_path / "train2017" / f"{name}.jpg")
    assert call(capsys, "audit", table, "--dry-run").code == 2  # which of the two?


@pytest.mark.parametrize(
    ("header", "cell", "file"),
    [
        ("id,label", "{}", "train/{}.jpg"),
        ("image_id,label", "{}.jpg", "train_images/{}.jpg"),
        ("image_id,label", "{}", "part_{n}/{}.png"),
        ("ImageID,label", "{}", "train/{}.png"),
        ("id_code,label", "{}", "train_images/{}.png"),  # called by no usual name
    ],
)
@pytest.mark.usefixtures("untimed")
def test_ids_that_files_are_called_like(tmp_path, capsys, header, cell, file):
    for i, name in enumerate(NAMES):
        touch(tmp_path / file.format(name, n=i % 2))
    rows = "".join(f"{cell.format(name)},{name[:3]}\n" for name in NAMES)
    (tmp_path / "m.csv").write_text(f"{header}\n{rows}")
    result = call(capsys, "audit", tmp_path / "m.csv", "--dry-run")
    assert result.code == 0, result.err
    manifest = read_manifest(tmp_path / "m.csv")
    assert all(map(os.path.isfile, manifest.uris))
    assert manifest.ids[0] == cell.format(NAMES[0])
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "m.csv").write_text(f"{header}\n{rows}")
    assert call(capsys, "audit", tmp_path / "none" / "m.csv", "--dry-run").code == 2


def namesakes(folder, *places, more=0):
    """Files of the same names and other contents in several places; the last has some beside."""
    for place in places:
        for name in NAMES + [f"more_{row}" for row in range(more if place == places[-1] else 0)]:
            touch(folder / place.format(name), PNG + place.encode() * (1 + len(place)))


@pytest.mark.parametrize("header", ["path,label", "id,label"])
def test_files_of_the_same_names_in_several_folders_stop(tmp_path, header):
    """As in sets of Kaggle, whose pictures for tests are numbered as those for training are."""
    namesakes(tmp_path, "test/{}.jpg", "train/{}.jpg")
    rows = "\n".join(f"{name},{name[:3]}" for name in NAMES)
    (tmp_path / "labels.csv").write_text(f"{header}\n{rows}\n")
    with pytest.raises(ManifestError, match="files of the same names lie in several places, such as 'test/") as caught:
        read_manifest(tmp_path / "labels.csv")
    assert "--path-prefix test/ --path-suffix .jpg or --path-prefix train/ --path-suffix .jpg" in caught.value.hint
    (tmp_path / "labels.csv").rename(tmp_path / "trainLabels.csv")
    manifest = read_manifest(tmp_path / "trainLabels.csv")
    assert all(f"{os.sep}train{os.sep}" in uri for uri in manifest.uris)


@pytest.mark.parametrize(
    ("places", "more", "meant"),
    [
        (("train/{}.jpg", "a_test/{}.jpg"), 3, "train"),  # one holds no others
        (("masks/{}.jpg", "pictures/{}.jpg"), 0, "pictures"),
        (("pictures/{}.jpg", "spectra/{}.png"), 0, "pictures"),  # the cells say which ending
    ],
)
def test_which_of_several_folders_is_meant(tmp_path, places, more, meant):
    namesakes(tmp_path, *places, more=more)
    manifest = read_manifest(manifest_of(tmp_path, [f"{name}.jpg" for name in NAMES]))
    assert all(f"{os.sep}{meant}{os.sep}" in uri for uri in manifest.uris)


def test_copies_of_a_folder_are_the_same(tmp_path):
    for folder in ("a", "b"):
        for name in NAMES:
            touch(tmp_path / folder / f"{name}.jpg", PNG + name.encode())
    assert all(map(os.path.isfile, read_manifest(manifest_of(tmp_path, NAMES)).uris))


def test_files_of_one_stem_with_several_endings(tmp_path):
    namesakes(tmp_path, "img/{}.jpg", "img/{}.png")
    with pytest.raises(ManifestError) as caught:
        read_manifest(manifest_of(tmp_path, NAMES))
    assert "--path-prefix img/ --path-suffix .jpg or --path-prefix img/ --path-suffix .png" in caught.value.hint

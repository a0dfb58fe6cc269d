"""What the names of folders, files and columns mean is said, and where the parts disagree nothing is read."""

from __future__ import annotations

import json
import shutil
import unicodedata
import wave
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_world import write_csv
from cli_world import call, make_report, mislabel, row

import nlclean
from cleanlab_lite.errors import ConfigError, ManifestError
from cleanlab_lite.export import patch
from cleanlab_lite.export.manifest import base_folder, suffix, write_manifest
from cleanlab_lite.export.patch import apply_patch, read_patch
from cleanlab_lite.export.policy import Cleaned, apply_policy
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.readers import read_labels, read_manifest
from cleanlab_lite.manifest.saved import load_manifest, save_manifest

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


def tree(root: Path, *folders: str, files: int = 2) -> Path:
    for folder in folders:
        for number in range(files):
            path = root / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PNG + path.parent.name.encode())
    return root


def given(manifest: Manifest) -> list[str | None]:
    return [manifest.classes[label] if label >= 0 else None for label in manifest.labels]


def meaning(manifest: Manifest) -> dict[str, tuple[str | None, str]]:
    """Folder -> class and split of its files."""
    folders = [id.rpartition("/")[0] for id in manifest.ids.tolist()]
    return dict(zip(folders, zip(given(manifest), manifest.splits.tolist(), strict=True), strict=True))


def refused(path: object, *parts: str, **options: object) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)  # type: ignore[arg-type]
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    return caught.value


def noted(manifest: Manifest, part: str) -> str:
    found = [note for note in manifest.source.notes if part in note]
    assert found, manifest.source.notes
    return found[0]


def exported(manifest: Manifest, path: Path, labels: list[str | None] | None = None) -> str:
    target = path.with_name("out" + suffix(manifest))
    write_manifest(manifest, target, keep=np.ones(len(manifest), dtype=bool), labels=labels)
    return target.read_text()


# --- folders --------------------------------------------------------------------------------------------------------

READ: dict[str, tuple[list[str], dict[str, tuple[str, str]]]] = {
    "doubled folders, and pictures without labels": (
        ["seg_train/seg_train/cat", "seg_train/seg_train/dog", "seg_test/seg_test/dog", "seg_pred/seg_pred"],
        {
            "seg_train/seg_train/cat": ("cat", "seg_train"),
            "seg_train/seg_train/dog": ("dog", "seg_train"),
            "seg_test/seg_test/dog": ("dog", "seg_test"),
        },
    ),
    "names of several words": (
        ["training_set/training_set/cats", "training_set/training_set/dogs", "test_set/test_set/cats"],
        {
            "training_set/training_set/cats": ("cats", "training_set"),
            "training_set/training_set/dogs": ("dogs", "training_set"),
            "test_set/test_set/cats": ("cats", "test_set"),
        },
    ),
    "splits that hold no classes": (
        ["train/cat", "train/dog", "holdout/cat", "test1", "unlabeled/a", "unlabeled/b"],
        {"train/cat": ("cat", "train"), "train/dog": ("dog", "train"), "holdout/cat": ("cat", "holdout")},
    ),
    "wrapping folders": (
        ["v1/data/cat", "v1/data/dog", "__MACOSX/v1/cat"],
        {"v1/data/cat": ("cat", ""), "v1/data/dog": ("dog", "")},
    ),
    "an archive inside itself": (
        ["x/train/cat", "x/train/dog", "x/val/cat", "x/x/train/cat", "x/x/train/dog", "x/x/val/cat"],
        {"x/train/cat": ("cat", "train"), "x/train/dog": ("dog", "train"), "x/val/cat": ("cat", "val")},
    ),
    "splits inside the classes": (
        ["cat/train", "cat/test", "dog/train"],
        {"cat/train": ("cat", "train"), "cat/test": ("cat", "test"), "dog/train": ("dog", "train")},
    ),
    "a folder of pictures in every class": (
        ["train/n1/images", "train/n2/images", "val/images"],
        {"train/n1/images": ("n1", "train"), "train/n2/images": ("n2", "train")},
    ),
    "numbered parts of classes": (
        ["ann/01", "ann/02", "bob/02", "bob/03"],
        {"ann/01": ("ann", ""), "ann/02": ("ann", ""), "bob/02": ("bob", ""), "bob/03": ("bob", "")},
    ),
    "a split of a name of its own": (
        ["train/cat", "train/dog", "val/cat", "rainy/dog"],
        {
            **{"train/cat": ("cat", "train"), "train/dog": ("dog", "train")},
            **{"val/cat": ("cat", "val"), "rainy/dog": ("dog", "rainy")},
        },
    ),
    "splits of which some hold no classes": (
        ["train/n1/images", "train/n2/images", "val/images", "test/images", "Meta"],
        {"train/n1/images": ("n1", "train"), "train/n2/images": ("n2", "train")},
    ),
    "numbered parts": (
        ["audio/fold1/cat", "audio/fold1/dog", "audio/fold2/cat"],
        {
            **{"audio/fold1/cat": ("cat", "fold1"), "audio/fold1/dog": ("dog", "fold1")},
            **{"audio/fold2/cat": ("cat", "fold2")},
        },
    ),
    "masks beside pictures": (
        ["set/ill/images", "set/ill/masks", "set/well/images", "set/well/masks"],
        {"set/ill/images": ("ill", ""), "set/well/images": ("well", "")},
    ),
    "drawn in a folder of their own": (
        ["images/cat", "images/dog", "annotations/trimaps"],
        {"images/cat": ("cat", ""), "images/dog": ("dog", "")},
    ),
    "drawn in a folder beside splits": (
        ["bottle/train/good", "bottle/test/good", "bottle/test/cut", "bottle/ground_truth/cut"],
        {
            "bottle/train/good": ("good", "train"),
            "bottle/test/good": ("good", "test"),
            "bottle/test/cut": ("cut", "test"),
        },
    ),
    "a folder around the classes of a split": (
        ["x/training/images/0001", "x/training/images/0002"],
        {"x/training/images/0001": ("0001", "training"), "x/training/images/0002": ("0002", "training")},
    ),
    "minutes of noise": (
        ["yes", "no", "_background_noise_"],
        {"yes": ("yes", ""), "no": ("no", "")},
    ),
    "pictures for tests beside a folder of classes": (
        ["signs/DATA/0", "signs/DATA/1", "signs/TEST"],
        {"signs/DATA/0": ("0", ""), "signs/DATA/1": ("1", "")},
    ),
    "pictures for tests in a folder like that around the classes": (
        ["train/audio/yes", "train/audio/no", "train/audio/_background_noise_", "test/audio"],
        {"train/audio/yes": ("yes", "train"), "train/audio/no": ("no", "train")},
    ),
    "pictures for tests beside the classes": (
        ["cat", "dog/a", "dog/b", "dog", "test", "Validation set"],
        {"cat": ("cat", ""), "dog": ("dog", ""), "dog/a": ("dog", ""), "dog/b": ("dog", "")},
    ),
    "pictures for tests beside classes with folders in them": (
        ["cat/images", "dog/images", "test"],
        {"cat/images": ("cat", ""), "dog/images": ("dog", "")},
    ),
    "classes of tests": (
        ["blood_test", "urine_test", "scan"],
        {name: (name, "") for name in ("blood_test", "urine_test", "scan")},
    ),
    "masks of several kinds": (
        ["train/ill/images", "train/ill/lung masks", "train/well/images", "train/well/lung masks", "val/ill/images"],
        {
            **{"train/ill/images": ("ill", "train"), "train/well/images": ("well", "train")},
            **{"val/ill/images": ("ill", "val")},
        },
    ),
    "faces with masks": (
        ["train/with masks", "train/no masks", "val/with masks", "val/images"],
        {
            **{"train/with masks": ("with masks", "train"), "train/no masks": ("no masks", "train")},
            **{"val/with masks": ("with masks", "val"), "val/images": ("images", "val")},
        },
    ),
    "a class called train": (
        ["car", "train", "plane"],
        {"car": ("car", ""), "train": ("train", ""), "plane": ("plane", "")},
    ),
}


@pytest.mark.parametrize("case", READ)
def test_trees(tmp_path, case):
    folders, expected = READ[case]
    manifest = read_manifest(tree(tmp_path, *folders))
    assert meaning(manifest) == expected
    protected = {folder for folder, (_, split) in expected.items() if any(w in split for w in ("test", "val", "hold"))}
    assert {id.rpartition("/")[0] for id in manifest.ids[manifest.held_back].tolist()} == protected


def test_what_was_passed_over_is_said(tmp_path):
    folders = ["train/train/cat", "train/train/dog", "test1", "unlabeled"]
    manifest = read_manifest(tree(tmp_path, *folders))
    assert noted(manifest, "folders read as") == "folders read as split/class"
    assert "'train/train'" in noted(manifest, "doubled")
    assert "2 in 'test1', 2 in 'unlabeled'" in noted(manifest, "left out")
    copied = read_manifest(tree(tmp_path / "b", "x/cat", "x/dog", "x/x/cat", "x/x/dog"))
    assert "beside it lies the same, 4 files" in noted(copied, "left out 'x/x'") and len(copied) == 4
    assert "'x'" in noted(copied, "the folders that count")
    (tmp_path / "b/x/x/cat/0.png").write_bytes(PNG)  # another file
    refused(tmp_path / "b", "x/{cat, dog}")


def test_folders_of_outputs_are_no_classes(tmp_path):
    tree(tmp_path / "a", "data/cat", "data/dog", files=5)
    tree(tmp_path / "a", "results", "plots/roc")
    manifest = read_manifest(tmp_path / "a")
    assert manifest.classes == ("cat", "dog") and "'plots', 'results'" in noted(manifest, "the output of programs")
    tree(tmp_path / "b", "cat", "dog", files=5)
    (tree(tmp_path / "b", "results") / "checkpoints").mkdir()
    (tmp_path / "b/checkpoints/best.ckpt").write_bytes(PNG)
    assert read_manifest(tmp_path / "b").classes == ("cat", "dog")
    assert read_manifest(tmp_path / "b", layout="class").classes == ("cat", "checkpoints", "dog", "results")


def test_masks_beside_their_pictures_are_left_out(tmp_path):
    """As BUSI has them."""
    names = ["a (1).png", "a (1)_mask.png", "a (1)_mask_1.png", "b_mask.png", "2.png", "2_gt.png"]
    for kind in ("benign", "normal"):
        (tmp_path / kind).mkdir()
        for name in names:
            (tmp_path / kind / name).write_bytes(PNG)
    manifest = read_manifest(tmp_path)
    assert [id.partition("/")[2] for id in manifest.ids.tolist()] == ["2.png", "a (1).png", "b_mask.png"] * 2
    assert "6, such as 'benign/2_gt.png'" in noted(manifest, "drawn on the picture of the same name")
    assert len(read_manifest(tmp_path, layout="class")) == 12
    recorded(tmp_path / "sounds", ["yes", "no"], ["a.wav", "a_seg1.wav"])  # parts, not masks
    assert len(read_manifest(tmp_path / "sounds")) == 4


def test_sounds_among_pictures_are_said(tmp_path):
    tree(tmp_path, "cat", "dog", files=3)
    with wave.open(str(tmp_path / "cat/0.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(800))
    assert "modality: image (by content of 7 files; 1 of them are sounds" in noted(read_manifest(tmp_path), "modality")


@pytest.mark.parametrize("names", [["labels_v1.csv", "labels_v2.csv"], ["labels.csv", "labels (1).csv"]])
def test_versions_of_a_table_in_one_folder_stop(tmp_path, names):
    paths = [f"{row}.png" for row in range(6)]
    for name in names:
        write_csv(tmp_path / name, {"path": paths, "label": ["cat", "dog"] * 3})
    assert "Name one of them" in refused(tmp_path, "all 6 files of table 2 of 2").hint
    assert len(read_manifest(tmp_path / "*.csv")) == 12  # who says so means all
    write_csv(tmp_path / names[1], {"path": ["7.png", "1.png"], "label": ["cat", "dog"]})
    assert len(read_manifest(tmp_path)) == 8
    for name, split in zip(names, ("train", "val"), strict=True):
        (tmp_path / name).unlink()
        write_csv(tmp_path / f"{split}.csv", {"path": paths, "label": ["cat", "dog"] * 3})
    assert len(read_manifest(tmp_path)) == 12


@pytest.mark.parametrize("folders", [["results", "form", "letter"], ["train/results", "train/form", "test/results"]])
def test_classes_that_are_called_like_outputs(tmp_path, folders):
    assert "results" in read_manifest(tree(tmp_path, *folders)).classes


def recorded(root: Path, people: list[str], names: list[str]) -> Path:
    for person in people:
        (root / person).mkdir(parents=True)
        for name in names:
            (root / person / name).write_bytes(PNG)
    return root


SPOKEN = [f"03-01-{emotion:02}-{take:02}-01.png" for emotion in (1, 2, 3) for take in (1, 2)]  # as RAVDESS names files


@pytest.mark.parametrize("person", ["Actor_{:02}", "train/speaker{}", "S{:02}", "patient_{:03}"])
def test_folders_of_people_whose_files_are_named_by_codes_stop(tmp_path, person):
    recorded(tmp_path, [person.format(number) for number in (1, 2, 3)], SPOKEN)
    error = refused(
        tmp_path, "look like people, sessions or cameras", "codes, such as '01', '02', '03'", "03-01-01-01-01.png"
    )
    assert "write a CSV with the columns path and label" in error.hint and "--layout class" in error.hint
    assert "--layout name:3" in error.hint and read_manifest(tmp_path, layout="name:3").classes == ("01", "02", "03")
    assert len(read_manifest(tmp_path, layout="leaf").classes) == 3


@pytest.mark.parametrize(
    ("folders", "names", "layout", "classes"),
    [
        (["01", "02", "60"], ["{digit}_{folder}_{take}"], "name:1", ["bad", "good"]),  # AudioMNIST
        (["f1", "f2", "m1"], ["{digit}-{folder}-b{take}"], "name:1", ["bad", "good"]),  # EMOVO
        (["DC", "JE"], ["{digit}{take:02}"], "name", ["bad", "good"]),  # SAVEE
    ],
)
def test_folders_of_people_in_the_names_of_their_files_stop(tmp_path, folders, names, layout, classes):
    for folder in folders:
        files = [f"{names[0].format(folder=folder, digit=d, take=t)}.png" for d in ("bad", "good") for t in range(3)]
        recorded(tmp_path, [folder], files)
    error = refused(tmp_path, f"folders such as '{folders[0]}'", "'bad', 'good'")
    assert f"--layout {layout};" in error.hint and "--layout class" in error.hint
    assert list(read_manifest(tmp_path, layout=layout).classes) == classes
    assert list(read_manifest(tmp_path, layout="class").classes) == folders


def test_patients_in_the_names_of_files_of_two_classes(tmp_path):
    """As patches of histology are called: the patient, the class and a number."""
    for label in "01":
        recorded(tmp_path, [label], [f"{100 + who}_{label}_{number}.png" for who in range(7) for number in range(2)])
    manifest = read_manifest(tmp_path)
    assert manifest.classes == ("0", "1") and "--layout name:1 takes" in noted(manifest, "the folders are taken")


@pytest.mark.parametrize(
    ("folders", "name", "said"),
    [
        (["cat", "dog"], "{folder}_{word}_{take}", "--layout name:2"),  # taken by day and by night
        (["cat", "dog"], "{word}_{folder}_{take}", "--layout name:1"),
        (["cat", "dog"], "{folder}_{take}_1", ""),  # numbers are counted
        (["0", "1"], "{folder}_{word}_{take}", "--layout name:2"),
        (["cat", "dog"], "train_{folder}_{take}", ""),
        (["AD", "HP"], "{folder}_{take}", ""),
        (["OAF_bad", "OAF_good", "YAF_bad", "YAF_good"], "{take}", "are one of 2 words and one of 2"),  # TESS
        (["big_cat", "big_dog", "lion"], "{take}", ""),
    ],
)
def test_what_comes_again_in_other_classes_is_said(tmp_path, folders, name, said):
    for folder in folders:
        files = [f"{name.format(folder=folder, word=w, take=t)}.png" for w in ("day", "night") for t in range(3)]
        recorded(tmp_path, [folder], sorted({*files}))
    manifest = read_manifest(tmp_path)
    assert list(manifest.classes) == sorted(folders)
    notes = [note for note in manifest.source.notes if "name:" in note or "words" in note]
    assert len(notes) == bool(said) and said in "".join(notes)


@pytest.mark.parametrize("stem", ["class_", "n0208562", "", "c", "grade"])
def test_numbered_classes_are_classes_whatever_files_are_called(tmp_path, stem):
    manifest = read_manifest(recorded(tmp_path, [f"{stem}{number}" for number in (1, 2, 3)], SPOKEN))
    assert len(manifest.classes) == 3


def test_numbers_of_speakers_and_chapters_are_no_classes(tmp_path):
    """As LibriSpeech lays out its files."""
    for folder in ("84/121123", "84/121550", "174/50561"):
        recorded(tmp_path / "x/dev-clean", [folder], [f"{folder.replace('/', '-')}-{row:04}.png" for row in range(3)])
    refused(tmp_path, "'174/50561' are numbers that the names of files repeat")
    assert read_manifest(tmp_path, layout="split/class").classes == ("84", "174")
    recorded(tmp_path / "y", ["84/1", "84/2", "174/1"], ["0.png", "1.png"])
    assert read_manifest(tmp_path / "y").classes == ("84", "174")


@pytest.mark.parametrize("person", ["8863", "patient_003"])
def test_patients_with_folders_of_classes_in_them_stop(tmp_path, person):
    """As the patches of breast histology (IDC) have them."""
    others = [f"{person[:-1]}{number}" for number in (4, 5)]
    tree(tmp_path, *(f"{one}/{label}" for one in (person, *others) for label in "01"))
    error = refused(
        tmp_path, f"folders such as '{person}' could be people, places or days, and '0', '1' in them classes"
    )
    assert "--layout any/class or --layout class/any" in error.hint
    assert read_manifest(tmp_path, layout="any/class").classes == ("0", "1")


def test_tables_of_submissions_are_no_tables_of_labels(tmp_path):
    tree(tmp_path, "train/cat", "train/dog", "test")
    (tmp_path / "sample_submission.csv").write_text("file,label\n0.png,cat\n")
    assert read_manifest(tmp_path).classes == ("cat", "dog")
    (tmp_path / "train.csv").write_text("file,label\n0.png,cat\n1.png,dog\n")
    refused(tmp_path, "holds tables ('train.csv') and folders")
    (tmp_path / "alone").mkdir()
    (tmp_path / "train.csv").rename(tmp_path / "alone/my_submission.csv")
    assert read_manifest(tmp_path / "alone").classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("folders", "names", "words"),
    [
        (["2021-05-01", "2021-05-02"], ["IMG_1.png", "IMG_2.png"], "say when pictures or sounds were taken"),
        (["20210501", "20210502"], ["IMG_1.png", "IMG_2.png"], "say when"),
        (["DCIM/100CANON", "DCIM/101CANON"], ["IMG_1.png", "IMG_2.png"], "by which camera"),
        (["x/0a", "x/f1"], ["{}31c0ffee.png", "{}7700d1ce.png"], "are how the names of the files in them begin"),
    ],
)
def test_folders_that_cannot_be_classes_stop(tmp_path, folders, names, words):
    for folder in folders:
        recorded(tmp_path, [folder], [name.format(folder[-2:]) for name in names])
    assert "--layout class" in refused(tmp_path, words).hint
    assert len(read_manifest(tmp_path, layout="leaf").classes) == 2


@pytest.mark.parametrize("folders", [["0", "1"], ["2019", "2020"], ["20211301", "20211302"], ["a", "b"]])
def test_short_and_numbered_names_of_classes_are_classes(tmp_path, folders):
    for folder in folders:
        recorded(tmp_path, [folder], [f"{folder}_0{number}.png" for number in range(3)])
    assert sorted(read_manifest(tmp_path).classes) == folders


def test_class_folders_in_archives_are_looked_at_as_others(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("cat", "dog"):
            for number in range(5):
                archive.writestr(f"set/{name}/{number}.png", PNG)
        archive.writestr("set/results/roc.png", PNG)
    manifest = read_manifest(tmp_path / "a.zip")
    assert manifest.classes == ("cat", "dog") and "'set/results'" in noted(manifest, "the output of programs")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for person in ("Actor_01", "Actor_02"):
            for name in SPOKEN:
                archive.writestr(f"{person}/{name}", PNG)
    assert "--layout class" in refused(tmp_path / "b.zip", "look like people, sessions or cameras").hint
    assert read_manifest(tmp_path / "b.zip", layout="class").classes == ("Actor_01", "Actor_02")


def test_people_may_be_the_classes(tmp_path):
    counted = [f"img_{number}.png" for number in range(6)]
    faces = read_manifest(recorded(tmp_path / "faces", ["s1", "s2"], counted))
    assert faces.classes == ("s1", "s2") and not any("recorded" in note for note in faces.source.notes)
    people = read_manifest(recorded(tmp_path / "people", ["person_1", "person_2"], counted))
    assert people.classes == ("person_1", "person_2") and noted(people, "if that is what was recorded")


AMBIGUOUS: dict[str, tuple[list[str], str, str]] = {
    "two levels of classes": (
        ["mammal/cat", "mammal/dog", "bird/owl", "bird/emu"],
        "mammal/{cat, dog}",
        "--layout any/class",
    ),
    "parts without classes": (["fold1", "fold2"], "fold1/", "--layout class"),
    "groups with a level between": (
        ["north/images/cat", "north/images/dog", "south/images/cat", "south/images/dog"],
        "north/{images/{cat, dog}}",
        "--layout any/any/class",
    ),
    "groups with splits": (
        ["jar/train/good", "jar/test/good", "jar/test/broken", "nut/train/good", "nut/test/cut"],
        "jar/{test/{broken, good}, train/{good}}",
        "--layout any/split/class",
    ),
    "two levels below splits": (
        ["train/mammal/cat", "train/mammal/dog", "train/bird/owl", "val/bird/owl"],
        "train/{bird/{owl}, mammal/{cat, dog}}",
        "--layout split/any/class",
    ),
    "groups or parts": (["north/cat", "north/dog", "south/cat", "south/dog"], "north/{cat, dog}", "--layout any/class"),
    "splits that are no classes": (["train", "test"], "test/", "--layout class"),
    "a folder beside a split": (["train/cat", "train/dog", "misc"], "misc/", "--layout split/class"),
    "splits without a common class": (
        ["train/cat", "train/dog", "test/cow", "test/emu"],
        "test/{cow, emu}",
        "--layout split/class",
    ),
    "some classes with splits": (["cat/train", "cat/test", "dog"], "cat/{test, train}", "--layout class/split"),
    "classes beside groups": (["mammal/cat", "mammal/dog", "misc"], "mammal/{cat, dog}", "--layout class/any"),
    "other files of the same names": (["cat", "dog", "more/cat", "more/dog"], "more/{cat, dog}", "--layout class/any"),
}


@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize("case", AMBIGUOUS)
def test_ambiguous_trees_stop_with_the_tree_and_the_option(tmp_path, capsys, case):
    folders, seen, option = AMBIGUOUS[case]
    tree(tmp_path / "set", *folders)
    if case == "other files of the same names":
        (tmp_path / "set/more/cat/9.png").write_bytes(PNG)
    result = call(capsys, "audit", tmp_path / "set", "--dry-run")
    assert (result.code, result.out) == (2, "") and "can be read in several ways" in result.err
    assert seen in result.err and option in result.err
    with suppress(ManifestError):  # there may be one class only
        assert len(read_manifest(tmp_path / "set", layout=option.split()[1])) >= 4


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("class", {"mammal/cat": ("mammal", ""), "mammal/dog": ("mammal", ""), "bird/owl": ("bird", "")}),
        ("class/any", {"mammal/cat": ("mammal", ""), "mammal/dog": ("mammal", ""), "bird/owl": ("bird", "")}),
        ("any/class", {"mammal/cat": ("cat", ""), "mammal/dog": ("dog", ""), "bird/owl": ("owl", "")}),
        ("leaf", {"mammal/cat": ("cat", ""), "mammal/dog": ("dog", ""), "bird/owl": ("owl", "")}),
        ("path", {name: (name, "") for name in ("mammal/cat", "mammal/dog", "bird/owl")}),
        ("class/class", {name: (name, "") for name in ("mammal/cat", "mammal/dog", "bird/owl")}),
        (
            "split/class",
            {"mammal/cat": ("cat", "mammal"), "mammal/dog": ("dog", "mammal"), "bird/owl": ("owl", "bird")},
        ),
    ],
)
def test_layouts(tmp_path, layout, expected):
    assert meaning(read_manifest(tree(tmp_path, *expected), layout=layout)) == expected


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (  # Speech Commands: the rest is for training
            {"testing_list.txt": "cat/0.png\n", "validation_list.txt": "cat/1.png\ndog/1.png\n"},
            ["testing", "validation", "train", "validation"],
        ),
        (  # Food-101: without endings, in a folder of their own
            {"meta/train.txt": "cat/0\ndog/0\n", "meta/test.txt": "cat/1\ndog/1\n", "meta/classes.txt": "cat\n"},
            ["train", "test", "train", "test"],
        ),
        (  # with folders before and labels behind
            {"train.txt": "./images/cat/0.png 0\nimages\\dog\\0.png 1\n", "test.lst": "/x/dog/1.png\t1\n"},
            ["train", "", "train", "test"],
        ),
        (  # EuroSAT: tables
            {
                "train.csv": "\n".join(["cat/0.png,0,cat", "dog/0.png,1,dog"]),
                "test.csv": "\n".join(["3,cat/1.png,0,cat", "4,dog/1.png,1,dog"]),
            },
            ["train", "test", "train", "test"],
        ),
        (  # CUB-200: by numbers
            {
                "images.txt": "1 cat/0.png\n2 cat/1.png\n3 dog/0.png\n4 dog/1.png\n",
                "train_test_split.txt": "1 1\n2 0\n3 1\n4 0\n",
            },
            ["train", "test", "train", "test"],
        ),
        ({"train_test_split.txt": "1 1\n2 0\n3 1\n4 0\n"}, [""] * 4),  # of what?
        ({"train.txt": "cat/0.png\ncat/1.png\ndog/0.png\n"}, [""] * 4),  # nothing is held back
        ({"test1.txt": "cat/0.png\n", "test2.txt": "cat/0.png\ndog/0.png\n"}, [""] * 4),  # several rounds
        ({"test.txt": "cow/0.png\ncow/1.png\n", "test_notes.txt": "read me\n"}, [""] * 4),  # of something else
    ],
)
def test_lists_beside_class_folders_are_splits(tmp_path, lists, expected):
    tree(tmp_path, "images/cat", "images/dog")
    for name, text in lists.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    manifest = read_manifest(tmp_path, layout="auto")
    assert manifest.splits.tolist() == expected
    if any(expected):
        assert "splits are from lists" in noted(manifest, "splits are from") and manifest.held_back.any()
    if "test2.txt" in lists:
        assert noted(manifest, "name files more than once")


def test_what_people_put_aside_is_said(tmp_path):
    manifest = read_manifest(tree(tmp_path, "cat", "trash", "backup", "to_sort"))
    assert len(manifest.classes) == 4 and "'backup', 'to_sort'; move them" in noted(manifest, "taken as classes")


@pytest.mark.parametrize(
    "lines", ["0.png cat\n1.png dog\n", "images/0.png 707-320\nimages/1.png Cessna 172\n", "0 1\n1 0"]
)
def test_lists_of_files_and_labels_say_how_to_make_a_table(tmp_path, lines):
    tree(tmp_path, "images")
    (tmp_path / "train.txt").write_text(lines)
    (tmp_path / "notes.txt").write_text("0.png is blurred\nso is this\n")
    assert "'train.txt' is a list of files and labels: put them into a CSV" in refused(tmp_path, "one class only").hint
    assert "of a list of files and labels: put them" in refused(tmp_path / "train.txt", "unknown ending").hint


WITHOUT_CLASSES = {
    "meta/esc50.csv": "/meta/esc50.csv'",
    "labels.xlsx": "save the sheet as CSV",
    "imagelabels.mat": "scipy.io.loadmat",
    "ann/0.xml": "ann/*.xml'",
    "annotations.xml": "/annotations.xml'",
    "more.zip": "name the archive",
}


@pytest.mark.parametrize("beside", WITHOUT_CLASSES)
def test_where_the_labels_may_be_if_all_files_lie_in_one_folder(tmp_path, beside):
    tree(tmp_path, "images")
    (tmp_path / beside).parent.mkdir(exist_ok=True)
    (tmp_path / beside).write_text("x")
    error = refused(tmp_path, "one class only, 'images'")
    assert WITHOUT_CLASSES[beside] in error.hint


def test_a_folder_of_xml_alone(tmp_path):
    for name in ("0.xml", "1.xml"):
        (tmp_path / name).write_text("<annotation/>")
    assert f"'{tmp_path}/*.xml'" in refused(tmp_path).hint


def test_classes_in_the_names_of_files(tmp_path):
    (tmp_path / "train").mkdir()
    for number in range(6):
        (tmp_path / "train" / f"{'cat' if number % 2 else 'dog'}.{number}.png").write_bytes(PNG)
    for folder in (tmp_path, tmp_path / "train"):
        assert "--layout name takes 'cat', 'dog'; else write a CSV" in refused(folder).hint
        assert read_manifest(folder, layout="name").classes == ("cat", "dog")
    tree(tmp_path, "test1")
    manifest = read_manifest(tmp_path, layout="name")
    assert {*manifest.splits} == {"train"} and "2 in 'test1'" in noted(manifest, "no class is known")


def test_classes_in_parts_of_the_names_of_files(tmp_path):
    """As the spoken digits of FSDD have them, and ESC-50 has its targets."""
    recorded(tmp_path, ["recordings"], [f"{d}_{who}_{t}.png" for d in range(2) for who in ("ann", "bo") for t in "012"])
    hint = refused(tmp_path).hint
    assert "--layout name:1 takes '0', '1'; --layout name:2 takes 'ann', 'bo'" in hint
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted((tmp_path / "recordings").iterdir()):
            archive.write(path, path.name)
    for data in (tmp_path / "recordings", tmp_path / "a.zip"):
        assert read_manifest(data, layout="name:2").classes == ("ann", "bo")
    with pytest.raises(ConfigError, match="'name' or 'auto'"):
        read_manifest(tmp_path, layout="name:0")


def test_small_pictures_unnamed_folders_and_copies_are_no_classes(tmp_path):
    kept = ["cat", "dog", "dog (2)x"]
    tree(tmp_path, *kept, "thumbnails", "dog/@eaDir/0.png", "New folder", "Neuer Ordner (2)")
    shutil.copytree(tmp_path / "cat", tmp_path / "cat - Copy")
    shutil.copytree(tmp_path / "cat", tmp_path / "cat - Copy - Copy")
    tree(tmp_path, "cat/Thumbs")
    manifest = read_manifest(tmp_path)
    assert list(manifest.classes) == kept and len(manifest) == 6
    assert "'cat/Thumbs', 'dog/@eaDir', 'thumbnails'" in noted(manifest, "small pictures of others")
    assert "'Neuer Ordner (2)', 'New folder'" in noted(manifest, "nobody has named")
    assert noted(manifest, "left out 'cat - Copy'") == "left out 'cat - Copy': a copy of 'cat', 2 files"
    assert noted(manifest, "left out 'cat - Copy - Copy'")
    assert len(read_manifest(tmp_path, layout="class").classes) == 8


@pytest.mark.parametrize("copy", ["cat - Copy", "cat (1)", "cat_copy", "Copy of cat", "Cat - Kopie (2)", "cat copy 2"])
def test_copies_of_folders_with_other_files_stop(tmp_path, copy):
    tree(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog")
    tree(tmp_path, f"train/{copy}", files=3)
    error = refused(tmp_path, f"'train/{copy}' is called like a copy of 'train/cat'")
    assert "--layout split/class" in error.hint
    assert copy in read_manifest(tmp_path, layout="split/class").classes


@pytest.mark.parametrize(
    "folders", [["new folder"], ["New folder/cat", "New folder/dog"], ["thumbs/cat", "thumbs/dog"]]
)
def test_folders_around_all_of_the_data_may_be_called_anyhow(tmp_path, folders):
    tree(tmp_path, *folders)
    if len(folders) == 1:
        refused(tmp_path, "one class only")
    else:
        assert read_manifest(tmp_path).classes == ("cat", "dog")


def test_thumbs_may_be_a_gesture(tmp_path):
    tree(tmp_path, "fist", "palm")
    recorded(tmp_path, ["thumbs"], ["8.png", "9.png"])
    assert "thumbs" in read_manifest(tmp_path).classes
    (tmp_path / "thumbs/8.png").rename(tmp_path / "thumbs/0.png")
    (tmp_path / "thumbs/9.png").rename(tmp_path / "thumbs/1.png")
    assert read_manifest(tmp_path).classes == ("fist", "palm")


@pytest.mark.parametrize("copied", ["cat (1)", "photocopy", "scopia"])
def test_folders_like_copies_of_nothing_are_classes(tmp_path, copied):
    assert copied in read_manifest(tree(tmp_path, copied, "photo", "s")).classes


@pytest.mark.parametrize(
    ("name", "head", "words"),
    [
        ("data_batch_1", b"\x80\x04\x95", "pickles are not read"),
        ("digits", b"\0\0\x08\x03", "MNIST's own form"),
        ("train.h5", b"\x89HDF\r\n", "h5py"),
        ("train.tfrecord-00000-of-00002", b"x", "a folder per class"),
        ("vectors.pt", b"PK", "torch.load"),
        ("vectors.safetensors", b"x", "safetensors.numpy.load_file"),
        ("cells.h5ad", b"x", "anndata.read_h5ad"),
        ("a1a.libsvm", b"x", "load_svmlight_file"),
    ],
)
def test_files_that_are_not_read_say_what_to_do(tmp_path, name, head, words):
    (tmp_path / name).write_bytes(head + bytes(9))
    assert words in refused(tmp_path / name, "unknown ending").hint
    assert words in refused(tmp_path, "expected a folder per class").hint


def test_leaf_and_path_keep_splits(tmp_path):
    tree(tmp_path, "train/mammal/cat", "train/bird/owl", "test/bird/owl")
    leaf, path = (read_manifest(tmp_path, layout=name) for name in ("leaf", "path"))
    assert meaning(leaf)["test/bird/owl"] == ("owl", "test") and meaning(path)["test/bird/owl"] == ("bird/owl", "test")
    assert leaf.held_back.sum() == 2


def test_tables_and_notes_beside_class_folders(tmp_path):
    tree(tmp_path, "train/cat", "train/dog", "val/cat")
    write_csv(tmp_path / "noisy.csv", {"path": ["train/cat/0.png"], "label": ["dog"]})
    error = refused(tmp_path, "holds tables ('noisy.csv') and folders")
    assert "--layout auto" in error.hint
    (tmp_path / "Annotation/cat").mkdir(parents=True)
    (tmp_path / "Annotation/cat/0").write_text("<annotation>\n</annotation>")
    (tmp_path / "Annotation/cat/0.mat").write_bytes(bytes(9))
    manifest = read_manifest(tmp_path, layout="auto")
    assert len(manifest) == 6 and manifest.held_back.sum() == 2
    assert noted(manifest, "skipped 3 files")


def test_a_table_beside_class_folders_that_say_the_same(tmp_path):
    tree(tmp_path, "cat", "dog", "owl")
    paths = [f"{name}/{number}.png" for name in ("cat", "dog", "owl") for number in range(2)]
    labels = [path[:3] for path in paths]
    write_csv(tmp_path / "list.csv", {"path": paths, "label": labels, "who": [*"abcabc"]})
    manifest = read_manifest(tmp_path)
    assert given(manifest) == labels and manifest.table.column_names == ["path", "label", "who"]
    assert noted(manifest, "rows from").endswith("it and the class folders say the same: 6 files")
    assert read_labels(tmp_path, {"label": "label", "path": "path"}).classes == manifest.classes
    codes = [str("cdo".index(label[0])) for label in labels]
    write_csv(tmp_path / "list.csv", {"path": paths, "label": codes})
    manifest = read_manifest(tmp_path)
    assert given(manifest) == labels and "exports keep the numbers" in noted(manifest, "in other words: 6 files")
    write_csv(tmp_path / "list.csv", {"path": paths, "label": ["dog", *labels[1:]]})
    error = refused(tmp_path, "disagree on 1 of 6 files, such as 'cat/0.png': 'dog' there, 'cat' by its folder")
    assert "list.csv'" in error.hint and "--layout auto" in error.hint
    assert given(read_manifest(tmp_path, label_column="label"))[0] == "dog"
    write_csv(tmp_path / "list.csv", {"path": paths[1:], "label": labels[1:]})
    refused(tmp_path, "'list.csv' names 5 of the 6 files in class folders")


def test_tables_beside_folders_that_are_no_classes(tmp_path):
    paths = [f"{row}.png" for row in range(6)]
    tree(tmp_path / "one", "images", files=6)
    tree(tmp_path / "two", "train", "test", files=3)
    for number, folder in enumerate(("images_001", "images_002")):
        recorded(tmp_path / "three", [folder], paths[3 * number : 3 * number + 3])
    for place in ("one", "three"):
        write_csv(tmp_path / place / "labels.csv", {"path": paths, "label": ["cat", "dog"] * 3})
        manifest = read_manifest(tmp_path / place)
        assert given(manifest) == ["cat", "dog"] * 3 and noted(manifest, "rows from 'labels.csv'")
    assert "'images_001' are taken as parts" in noted(manifest, "rows from")
    for split in ("train", "test"):
        columns = {"path": [f"{split}/{row}.png" for row in range(3)], "label": ["cat", "dog", "cat"]}
        write_csv(tmp_path / "two" / f"{split}.csv", columns)
    write_csv(tmp_path / "two/meta.csv", {"class": ["cat", "dog"], "size": ["1", "2"]})
    manifest = read_manifest(tmp_path / "two")
    assert "test 3 rows, protected; train 3 rows" in noted(manifest, "splits:") and noted(
        manifest, "not read: 'meta.csv'"
    )


def test_of_several_tables_beside_folders_the_one_that_names_files_is_read(tmp_path):
    tree(tmp_path, "images_001/images", files=6)
    for path in list((tmp_path / "images_001/images").iterdir()):
        path.rename(path.with_name(f"x{path.name}"))
    tree(tmp_path, "images_002/images")
    names = [f"x{number}.png" for number in range(6)]
    write_csv(tmp_path / "boxes.csv", {"file": names[:2], "label": ["cat", "dog"], "x": ["1", "2"]})
    write_csv(tmp_path / "train_sites.csv", {"site": ["a"], "label": ["b"]})
    write_csv(tmp_path / "entries.csv", {"file": names, "findings": ["cat", "dog|cat", "dog"] * 2})
    refused(tmp_path, "entries.csv': no label column")
    refused(tmp_path, "entries.csv', line 3: label column 'findings' holds several labels", label_column="findings")
    manifest = read_manifest(tmp_path, label_column="findings", multi_label="first")
    assert manifest.classes == ("cat", "dog")
    assert "not read: 'boxes.csv', 'train_sites.csv'" in noted(manifest, "rows from 'entries.csv'")


def test_several_tables_of_the_same_columns_stop_unless_they_are_splits(tmp_path):
    """As the sounds of the rainforest have true and false positives."""
    tree(tmp_path, "train", files=6)
    for name in ("train_tp", "train_fp"):
        write_csv(tmp_path / f"{name}.csv", {"path": [f"{row}.png" for row in range(6)], "label": ["cat", "dog"] * 3})
    refused(tmp_path, "holds tables ('train_fp.csv', 'train_tp.csv') and folders")
    (tmp_path / "train_fp.csv").unlink()
    assert len(read_manifest(tmp_path)) == 6


def test_tables_beside_class_folders_that_are_about_something_else(tmp_path):
    tree(tmp_path, "cat", "dog")
    (tmp_path / "classes.csv").write_text("id,name\n0,cat\n1,dog\n")
    assert read_manifest(tmp_path).classes == ("cat", "dog")
    write_csv(tmp_path / "speakers.csv", {"speaker": ["ann", "bo"], "age": ["40", "50"]})
    assert noted(read_manifest(tmp_path), "not read, as they name no files: 'speakers.csv'")
    write_csv(tmp_path / "sizes.csv", {"file": ["0.png", "1.png"], "size": ["40", "50"]})
    refused(tmp_path, "holds tables ('sizes.csv', 'speakers.csv') and folders")


def test_labels_of_patients_are_no_labels_of_files(tmp_path):
    tree(tmp_path, "images/p1", "images/p2", "images/p3")
    write_csv(tmp_path / "labels.csv", {"patient": ["p1", "p2", "p3"], "diagnosis": ["ill", "well", "ill"]})
    error = refused(tmp_path, "'labels.csv' names folders in 'patient', and has labels of its own in 'diagnosis'")
    assert "--layout auto" in error.hint and len(read_manifest(tmp_path, layout="auto").classes) == 3
    write_csv(tmp_path / "labels.csv", {"class": ["p1", "p2", "p3"], "files": ["2", "2", "2"]})
    assert len(read_manifest(tmp_path).classes) == 3


def test_json_beside_a_folder_of_files(tmp_path):
    """As NSynth has it: an object by the names of files, without endings."""
    tree(tmp_path, "audio", files=6)
    notes = {str(row): {"pitch": row, "family_str": ["bass", "reed"][row % 2]} for row in range(6)}
    (tmp_path / "examples.json").write_text(json.dumps(notes))
    hint = refused(tmp_path, "no label column").hint
    assert f"'family_str' (2), such as nlclean audit {tmp_path}/examples.json --label-column family_str" in hint
    assert read_manifest(tmp_path, label_column="family_str").classes == ("bass", "reed")
    (tmp_path / "examples.json").write_text(json.dumps({"version": 1, "names": "x"}))
    refused(tmp_path, "one class only, 'audio'")


def test_layouts_that_are_none(tmp_path):
    tree(tmp_path / "set", "cat", "dog")
    for layout in ("classes", "split", "split/split/class", "any", ""):
        with pytest.raises(ConfigError, match="--layout is"):
            read_manifest(tmp_path / "set", layout=layout)
    refused(tmp_path / "set", "expected a folder per class", layout="split/any/class")
    with pytest.raises(ConfigError, match="is none"):
        read_manifest(write_csv(tmp_path / "m.csv", {"path": ["a.png"], "label": ["x"]}), layout="class")


# --- tables in several folders --------------------------------------------------------------------------------------


def metadata(root: Path, *folders: str) -> str:
    for folder in folders:
        tree(root, folder)
        write_csv(root / folder / "metadata.csv", {"file_name": ["0.png", "1.png"], "label": ["cat", "dog"]})
    return str(root / "*" / "metadata.csv")


def test_paths_of_a_table_further_down_start_there(tmp_path):
    metadata(tmp_path, "train")
    manifest = read_manifest(tmp_path)
    assert manifest.ids.tolist() == ["0.png", "1.png"]
    assert base_folder(manifest) == str(tmp_path / "train")


def test_metadata_in_folders_of_splits(tmp_path):
    manifest = read_manifest(metadata(tmp_path, "train", "test"))
    assert manifest.ids.tolist() == ["test/0.png", "test/1.png", "train/0.png", "train/1.png"]
    assert manifest.uris.tolist() == [f"{tmp_path}/{id}" for id in manifest.ids]
    assert manifest.splits.tolist() == ["test", "test", "train", "train"]
    assert manifest.held_back.tolist() == [True, True, False, False]
    assert noted(manifest, "several folders") and noted(manifest, "splits are from the names")
    assert base_folder(manifest) == str(tmp_path)
    text = exported(manifest, tmp_path / "m.csv", ["dog", None, None, None])
    assert text == "file_name,label,split\ntest/0.png,dog,test\ntest/1.png,dog,test\n" + (
        "train/0.png,cat,train\ntrain/1.png,dog,train\n"
    )
    again = read_manifest(tmp_path / "out.csv")
    assert again.uris.tolist() == manifest.uris.tolist() and again.splits.tolist() == manifest.splits.tolist()


@pytest.mark.parametrize("images", ["", "images/"])
def test_tables_in_folders_of_splits(tmp_path, images):
    """As Roboflow and others lay them out, with a text beside the folders."""
    for split in ("train", "valid"):
        tree(tmp_path, f"{split}/{images}")
        write_csv(tmp_path / split / "_classes.csv", {"filename": ["0.png", "1.png"], "label": ["cat", "dog"]})
    (tmp_path / "README.roboflow.txt").write_text("x")
    manifest = read_manifest(tmp_path)
    assert manifest.splits.tolist() == ["train", "train", "valid", "valid"]
    assert [Path(uri).is_file() for uri in manifest.uris] == [True] * 4
    if not images:  # class folders come first
        tree(tmp_path, "train/cat", "train/dog", "valid/cat", "valid/dog")
        assert meaning(read_manifest(tmp_path))["valid/cat"] == ("cat", "valid")


def test_what_an_audit_leaves_is_no_part_of_the_data(tmp_path):
    tree(tmp_path, "train", "valid")
    for split in ("train", "valid"):
        write_csv(tmp_path / split / "labels.csv", {"filename": ["0.png", "1.png"], "label": ["cat", "dog"]})
    (tmp_path / "nlclean-runs/a/1").mkdir(parents=True)
    assert len(read_manifest(tmp_path)) == 4
    (tmp_path / "b/nlclean-runs").mkdir(parents=True)
    write_csv(tmp_path / "b/labels.csv", {"filename": ["0.png", "1.png"], "label": ["cat", "dog"]})
    assert len(read_manifest(tmp_path / "b")) == 2


def test_the_one_folder_that_holds_the_tables(tmp_path):
    """A repository of Hugging Face: a page, and `data/`."""
    (tmp_path / "README.md").write_text("x")
    metadata(tmp_path / "data", "train", "test")
    assert read_manifest(tmp_path).splits.tolist() == ["test", "test", "train", "train"]
    (tmp_path / "b/data").mkdir(parents=True)
    for name in ("train-00000-of-00001", "test-00000-of-00001"):
        pq.write_table(
            pa.table({"path": ["a.png", "b.png"], "label": ["cat", "dog"]}), tmp_path / f"b/data/{name}.parquet"
        )
    assert read_manifest(tmp_path / "b").splits.tolist() == ["test", "test", "train", "train"]


def test_metadata_in_folders_that_are_no_splits(tmp_path):
    manifest = read_manifest(metadata(tmp_path, "north", "south"))
    assert manifest.splits.tolist() == [""] * 4 and manifest.table.column_names == ["file_name", "label"]
    assert exported(manifest, tmp_path / "m.csv").splitlines()[1:3] == ["north/0.png,cat", "north/1.png,dog"]


def test_files_named_like_splits(tmp_path):
    for split in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        table = pa.table({"path": [f"{split}.png", "b.png"], "label": ["cat", "dog"]})
        pq.write_table(table, tmp_path / f"{split}.parquet")
    manifest = read_manifest(tmp_path)
    (tmp_path / "some").mkdir()
    assert manifest.splits.tolist() == ["test"] * 2 + ["train"] * 4
    for name in ("val.csv", "extra.csv"):
        write_csv(tmp_path / "some" / name, {"path": ["a.png"], "label": ["cat" if "val" in name else "dog"]})
    assert read_manifest(tmp_path / "some").source.split_column is None  # not all of them are


# --- columns --------------------------------------------------------------------------------------------------------


def table(folder: Path, **columns: list[str]) -> Path:
    """A CSV of six pictures of cats and dogs, which are there, with more columns."""
    tree(folder, "img", files=6)
    return write_csv(folder / "m.csv", {"path": [f"img/{row}.png" for row in range(6)], **columns})


LABELS = ["cat", "dog"] * 3


def test_coordinates_boxes_and_counts_are_no_labels(tmp_path):
    box = {"x": list("345345"), "y": list("112233"), "w": ["20"] * 6, "h": ["20"] * 6}
    for name in ("species", "label", "class_name", "Ground Truth"):
        manifest = read_manifest(table(tmp_path, **{name: LABELS}, **box))
        assert manifest.source.label_column == name and manifest.classes == ("cat", "dog")
    refused(table(tmp_path, **box), "no label column")
    assert read_manifest(table(tmp_path, y=LABELS)).source.label_column == "y"
    assert read_manifest(table(tmp_path, **box), label_column="y").classes == ("1", "2", "3")
    pq.write_table(pa.table({"label": LABELS, "bbox": [[1, 2, 3, 4]] * 6}), tmp_path / "m.parquet")
    refused(tmp_path / "m.parquet", "no path column")


@pytest.mark.parametrize("corners", [("xmin", "ymin", "xmax", "ymax"), ("x", "y", "width", "height"), ("bbox",)])
def test_boxes_of_several_classes_are_no_labels_of_a_picture(tmp_path, corners):
    tree(tmp_path, "img", files=2)
    columns = {"path": ["img/0.png"] * 2 + ["img/1.png"] * 2, "label": ["cat", "cat", "dog", "dog"]}
    columns |= {name: list("1234") for name in corners}
    assert len(read_manifest(write_csv(tmp_path / "m.csv", columns))) == 4
    columns["label"][1] = "dog"
    refused(write_csv(tmp_path / "m.csv", columns), "rows are boxes, and 1 picture", "does not read boxes")


@pytest.mark.parametrize(
    ("path", "label", "id"),
    [
        ("file_path", "ground_truth", "image_id"),
        ("img_path", "class_name", "uuid"),
        ("audio_path", "category", "sample_id"),
        ("Image Path", "Species", "guid"),
        ("filepath", "labels", "Id"),
        ("fname", "tags", "clip_id"),
        ("slice_file_name", "class", "UID"),
        ("img", "target", "key"),
        ("my pictures", "finding-labels", "file_id"),
    ],
)
def test_the_usual_names(tmp_path, path, label, id):
    tree(tmp_path, ".", files=2)
    columns = {id: ["a", "b"], "other": ["1", "2"], label: ["cat", "dog"], path: ["0.png", "1.png"]}
    source = read_manifest(write_csv(tmp_path / "m.csv", columns)).source
    assert (source.path_column, source.label_column, source.id_column) == (path, label, id)


@pytest.mark.parametrize(
    ("cells", "merged"),
    [
        ("cat,,,,dog,,,owl,,", True),
        ("cat,,dog,,cat,,dog,,", True),  # groups of a class may come again
        ("cat,,,dog,owl,,,emu", True),  # and be of one row
        ("cat,dog,owl,,,,,", False),  # labelled so far
        ("cat,,cat,,,cat,,dog,,", False),  # every few rows
        (",,cat,,,dog,,", False),
        ("cat,,dog,dog,cat,owl,cat,dog", False),
    ],
)
def test_labels_of_merged_cells_are_said_and_not_filled(tmp_path, cells, merged):
    labels = cells.split(",")
    paths = [f"{row}.png" for row in range(len(labels))]
    manifest = read_manifest(write_csv(tmp_path / "m.csv", {"path": paths, "label": labels}))
    assert given(manifest) == [label or None for label in labels]
    assert any("look like merged cells" in note for note in manifest.source.notes) == merged


def test_merged_cells_of_many_classes(tmp_path):
    labels = [f"c{row // 3}" if row % 3 == 0 else "" for row in range(60)]
    path = write_csv(tmp_path / "m.csv", {"path": [f"{row}.png" for row in range(60)], "label": labels})
    assert "fill them down" in refused(path, "20 classes for 20 labelled rows").hint


def test_several_candidates(tmp_path):
    manifest = read_manifest(table(tmp_path, label=LABELS, id=list("123456"), uuid=list("abcdef")))
    assert manifest.ids.tolist() == list("123456")
    assert noted(manifest, "could have been meant as the id") == (
        "could have been meant as the id: 'uuid'; name it with --id-column"
    )
    manifest = read_manifest(table(tmp_path, label=LABELS, split=["train"] * 6, subset=["a"] * 6))
    assert manifest.source.split_column == "split" and noted(manifest, "as the split: 'subset'")
    urls = [f"http://host/{row}.png" for row in range(6)]
    manifest = read_manifest(table(tmp_path, label=LABELS, url=urls))
    assert manifest.source.path_column == "path" and noted(manifest, "as the path: 'url'")
    manifest = read_manifest(table(tmp_path, **{"class": LABELS}, target=["fin"] * 6))
    assert manifest.source.label_column == "class" and noted(manifest, "as the label: 'target'")
    error = refused(table(tmp_path, fine_label=list("abcabc"), category=LABELS, target=list("xxyyxx")), "'category'")
    assert "--label-column" in error.hint


def test_an_id_that_repeats_is_no_id(tmp_path):
    for cells in (list("112233"), ["1", "2", "3", "4", "5", ""]):
        path = table(tmp_path, label=LABELS, id=cells)
        manifest = read_manifest(path)
        assert manifest.source.id_column is None and manifest.ids[0] == "img/0.png"
        assert noted(manifest, "column 'id' is no id of the rows")
        refused(path, "expected one id for every row", id_column="id")
    manifest = read_manifest(table(tmp_path, label=LABELS, id=list("112233"), uuid=list("abcdef")))
    assert manifest.ids.tolist() == list("abcdef")


def test_the_path_may_be_the_id_and_repeat(tmp_path):
    columns = {"id": list("112233"), "image": ["0.png", "0.png", "1.png"] * 2, "choice": LABELS, "annotator": ["1"] * 6}
    path = write_csv(tree(tmp_path, ".") / "m.csv", columns)
    for options in ({}, {"id_column": "image"}):
        manifest = read_manifest(path, **options)
        assert manifest.ids.tolist()[:3] == ["0.png", "0.png#2", "1.png"] and manifest.source.label_column == "choice"


def test_names_beside_numbers_are_one_label(tmp_path):
    numbers = ["7" if label == "dog" else "2" for label in LABELS]
    for columns in (
        {"label": numbers, "class_name": LABELS},
        {"target": numbers, "category": LABELS},
        {"classID": numbers, "class": LABELS},
    ):
        path = table(tmp_path, **columns)
        manifest = read_manifest(path)
        number, name = columns
        assert manifest.source.label_column == name and set(manifest.source.label_columns) == {number, name}
        assert noted(manifest, f"the same labels in other words, changed with them on export: '{number}'")
        rows = exported(manifest, path, ["dog", *[None] * 5]).splitlines()
        assert rows[1].split(",")[1:] == rows[2].split(",")[1:] and rows[3:] == path.read_text().splitlines()[3:]
        assert rows[2] == path.read_text().splitlines()[2]
        save_manifest(manifest, tmp_path / "saved.parquet")
        assert load_manifest(tmp_path / "saved.parquet").source == manifest.source
        with pytest.raises(ManifestError, match="have no place in the columns"):
            exported(manifest, path, ["fox", *[None] * 5])


LISTS = {
    "classes.txt": "cat\ndog\nowl\n",
    "labels.txt": "0 cat\n1 dog\n2 owl",
    "class_names.txt": "cat\ndog\nowl\nemu\n",  # one that no row has
    "label_map.json": '{"cat": 0, "dog": 1, "owl": 2}',
    "label_num_to_disease_map.json": '{"0": "cat", "1": "dog", "2": "owl"}',
    "classes.json": '["cat", "dog", "owl"]',
    "classes.csv": "ClassId,Name\n0,cat\n1,dog\n2,owl\n",  # GTSRB
    "labels.csv": "name,id\ncat,0\ndog,1\nowl,2\n",
    "class_names.csv": "name\ncat\ndog\nowl\n",
    "data.yaml": "train: ../train/images\nnc: 3\nnames: ['cat', \"dog\", owl]\n",  # Roboflow
    "dataset.yml": "names:  # of classes\n  0: cat\n  1: 'dog'\n  2: owl\n\ndownload: no\n",  # Ultralytics
    "my-data.yaml": "names:\n- cat\n- dog\n- owl\nnc: 3\n",
    "cat_to_name.json": '{"0": "cat", "1": "dog", "2": "owl"}',
    "config.json": '{"id2label": {"0": "cat", "1": "dog", "2": "owl"}, "label2id": {"cat": 0}, "layers": 3}',
}


def coded(folder: Path, codes: list[str]) -> Path:
    return write_csv(folder / "m.csv", {"path": [f"{row}.png" for row in range(len(codes))], "label": codes})


@pytest.mark.parametrize("file", LISTS)
def test_names_of_classes_beside_a_table_of_numbers(tmp_path, file):
    (tmp_path / file).write_text(LISTS[file])
    manifest = read_manifest(coded(tmp_path, ["0", "2", "1", "0", ""]))
    assert given(manifest) == ["cat", "owl", "dog", "cat", None] and manifest.classes == ("cat", "dog", "owl")
    assert file in noted(manifest, "a guess by their numbers")
    assert exported(manifest, tmp_path / "m.csv", ["owl", *[None] * 4]).split()[1:3] == ["0.png,2", "1.png,2"]
    again = read_labels(tmp_path / "m.csv", {"label": "label", "path": "path"})
    assert again.classes == manifest.classes


@pytest.mark.parametrize(
    ("file", "text", "codes", "said"),
    [
        ("classes.txt", "cat\ndog\n", "0120", "has 2 names, and 'label' holds 3 numbers, 0 to 2: these stay"),
        ("classes.txt", "cat\ndog\nowl\n", "1231", "has 3 names, and 'label' holds 3 numbers, 1 to 3: these stay"),
        ("classes.txt", "cat\ndog\nowl\n", "1221", "1 to 2: these stay"),  # from 0 or from 1?
        ("labels.txt", "0\n1\n2\n0\n", "0120", ""),  # labels, not their names
        ("labels.txt", "0.png cat\n1.png dog\n2.png owl\n", "0120", ""),
        ("config.json", '{"layers": 0, "epochs": 1, "batch": 2}', "0120", ""),
        ("label_counts.json", '{"cat": 20, "dog": 10}', "0120", ""),
        ("labels.json", "{", "0120", ""),
        ("labels.csv", "id,label\n0,cat\n1,dog\n2,cat\n", "0120", ""),  # of rows
        ("labels.csv", "file,label\n0.png,cat\n1.png,dog\n2.png,owl\n", "0120", ""),
        ("classes.csv", "id,name,group\n0,cat,a\n1,dog,b\n2,owl\n", "0120", ""),
        ("data.yaml", "nc: 3\n", "0120", ""),
        ("data.yaml", "names: [cat, dog]\n", "0120", "has 2 names"),
    ],
)
def test_names_that_do_not_cover_the_numbers(tmp_path, file, text, codes, said):
    (tmp_path / file).write_text(text)
    manifest = read_manifest(coded(tmp_path, [*codes]))
    assert given(manifest) == [*codes]
    found = [note for note in manifest.source.notes if file in note]
    assert len(found) == bool(said) and said in "".join(found)


def test_lists_of_names_that_disagree(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    manifest = read_manifest(coded(tmp_path, ["0", "1", "1", "0"]))
    assert manifest.classes == ("0", "1") and noted(manifest, "name the classes differently")
    (tmp_path / "labels.txt").write_text("cat\ndog\nowl\n")
    assert read_manifest(tmp_path / "m.csv").classes == ("cat", "dog")


def test_names_of_classes_whose_folders_are_numbers(tmp_path):
    tree(tmp_path, "train/0", "train/1", "val/1")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]")
    manifest = read_manifest(tmp_path)
    assert meaning(manifest) == {"train/0": ("cat", "train"), "train/1": ("dog", "train"), "val/1": ("dog", "val")}
    assert "'data.yaml', a guess by their numbers" in noted(manifest, "names of the classes")
    assert exported(manifest, tmp_path / "m.csv").split()[1] == "train/0/0.png,0,train"


def test_numbers_from_one_with_names_that_say_so(tmp_path):
    (tmp_path / "classes.txt").write_text("1 001.cat\n2 002.dog\n")
    assert read_manifest(coded(tmp_path, ["1", "2", "2", "1"])).classes == ("001.cat", "002.dog")


def test_a_label_called_primary_goes_before_names_of_species(tmp_path):
    """As BirdCLEF has them."""
    names = ["abythr1", "afbfly1", "afdfly1", "abythr1"]
    paths = [f"{row}.png" for row in range(4)]
    columns = {"primary_label": names, "common_name": [n.upper() for n in names], "filename": paths}
    assert read_manifest(write_csv(tmp_path / "m.csv", columns)).classes == ("abythr1", "afbfly1", "afdfly1")


def test_species_of_several_genera_are_said(tmp_path):
    names = {"path": [f"{row}.png" for row in range(6)], "species": ["major", "minor"] * 3}
    manifest = read_manifest(write_csv(tmp_path / "m.csv", names | {"genus": ["Parus", "Picus"] * 3}))
    assert not any("genus" in note for note in manifest.source.notes)
    manifest = read_manifest(write_csv(tmp_path / "m.csv", names | {"genus": ["Parus", "Picus", "Picus"] * 2}))
    assert noted(manifest, "genus") == "2 cells of 'species' stand beside several of 'genus': each is one class"


def test_hints_name_columns_of_few_numbers(tmp_path):
    columns = {"image": [f"{row}.png" for row in range(6)], "level": ["0", "1", "2"] * 2}
    assert "few values that repeat are in 'level'" in refused(write_csv(tmp_path / "m.csv", columns)).hint


def test_hints_name_ids_and_annotators_last(tmp_path):
    names = {"image": [f"{row}.png" for row in range(6)], "subset": ["a", "b"] * 3, "client_id": ["x", "y"] * 3}
    path = write_csv(tmp_path / "m.csv", names | {"judge": ["z", "w"] * 3, "word": ["yes", "no"] * 3})
    hint = refused(path).hint
    assert f"are in 'word' (2), 'client_id' (2), 'judge' (2), such as nlclean audit {path} --label-column word" in hint
    ids = write_csv(tmp_path / "ids.csv", {**names, "deploymentID": ["d1", "d2"] * 3})
    assert "few values" not in refused(ids).hint
    whales = write_csv(tmp_path / "ids.csv", {**names, "Id": ["w1", "w2"] * 3})
    assert "few values that repeat are in 'Id' (2), 'client_id' (2)" in refused(whales).hint
    breeds = write_csv(tmp_path / "ids.csv", {**names, "breed_id": ["d1", "d2"] * 3})
    assert "few values that repeat are in 'breed_id' (2), 'client_id' (2)" in refused(breeds).hint


def test_labels_in_another_table_of_camera_traps(tmp_path):
    tree(tmp_path, "media/dep0", "media/dep1")
    files = [f"media/dep{place}/{number}.png" for place in range(2) for number in range(2)]
    media = {"mediaID": [*"abcd"], "deploymentID": ["d0", "d0", "d1", "d1"], "filePath": files}
    write_csv(tmp_path / "media.csv", media)
    write_csv(tmp_path / "deployments.csv", {"deploymentID": ["d0", "d1"], "locationID": ["x", "y"]})
    seen = {"observationID": [*"wxyz"], "mediaID": [*"abcd"], "scientificName": ["Vulpes", "Ardea"] * 2}
    write_csv(tmp_path / "observations.csv", seen)
    hint = refused(tmp_path, "media.csv': no label column").hint
    assert hint.startswith("'observations.csv' has labels, in 'scientificName': join the two") and "'mediaID'" in hint


@pytest.mark.parametrize(("names", "pattern"), [("{}x{}", "[0-9]*"), ("pixel_{}_{}", "pixel_*")])
def test_hints_for_columns_of_pixels_by_two_numbers(tmp_path, names, pattern):
    pixels = {names.format(row, column): ["0", "1"] for row in range(4) for column in range(4)}
    error = refused(write_csv(tmp_path / "m.csv", {"label": ["a", "b"], **pixels}))
    assert f"16 columns are numbered: --features-columns '{pattern}'" in error.hint


def test_vectors_of_torch_beside_a_table(tmp_path):
    (tmp_path / "emb.pt").write_bytes(b"PK")
    assert "torch.load reads it" in refused(write_csv(tmp_path / "m.csv", {"label": ["a", "b"]})).hint


def test_of_two_columns_of_words_none_is_taken(tmp_path):
    refused(table(tmp_path, label=["C", "D"] * 3, given_label=LABELS), "several columns could be the label")


def test_a_patch_changes_both_and_is_taken_back(tmp_path):
    numbers = ["7" if label == "dog" else "2" for label in LABELS]
    path = table(tmp_path, target=numbers, category=LABELS)
    manifest = read_manifest(path)
    findings = [mislabel(manifest.ids[0], given_label="cat", suggested_label="dog")]
    findings += [row(id, given_label=label) for id, label in zip(manifest.ids[1:].tolist(), LABELS[1:], strict=True)]
    report = make_report(findings).table
    cleaned = Cleaned(manifest, report, apply_policy(report, np.zeros(6, bool), "correct"))
    patch.write(cleaned, tmp_path / "m.patch")
    changes = read_patch(tmp_path / "m.patch")
    apply_patch(read_labels(path, changes[0].columns), changes, tmp_path / "new.csv")
    assert (tmp_path / "new.csv").read_text().splitlines()[1] == "img/0.png,7,dog"
    again = read_labels(tmp_path / "new.csv", changes[0].columns)
    apply_patch(again, changes, tmp_path / "old.csv", reverse=True)
    assert (tmp_path / "old.csv").read_text() == path.read_text()


def test_a_patch_of_one_hot_columns_is_refused(tmp_path):
    marks = {name: [str(int(label == name)) for label in LABELS] for name in ("cat", "dog")}
    manifest = read_manifest(table(tmp_path, **marks))
    report = make_report([row(id, given_label=label) for id, label in zip(manifest.ids, LABELS, strict=True)]).table
    cleaned = Cleaned(manifest, report, apply_policy(report, np.zeros(6, bool), "correct"))
    with pytest.raises(ManifestError, match="one-hot columns 'cat', 'dog'"):
        patch.write(cleaned, tmp_path / "m.patch")


# --- one-hot and several labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "zero"), [("1", "0"), ("1.0", "0.0"), ("True", "False")])
def test_one_hot_columns_are_labels(tmp_path, one, zero):
    marks = {name: [one if label == name else zero for label in LABELS] for name in ("cat", "cow", "dog")}
    path = table(tmp_path, is_test=[zero, one] * 3, **marks, width=list("345678"))
    manifest = read_manifest(path)
    assert manifest.classes == ("cat", "dog") and given(manifest) == LABELS
    assert manifest.held_back.tolist() == [False, True] * 3
    assert noted(manifest, "label columns: a class each, 1 in one of them per row ('cat', 'cow', 'dog')")
    assert exported(manifest, path) == path.read_text()
    changed = exported(manifest, path, ["dog", *[None] * 5]).splitlines()
    assert changed[1] == f"img/0.png,{zero},{zero},{zero},{one},3"
    assert changed[2:] == path.read_text().splitlines()[2:]


@pytest.mark.parametrize(("one", "zero"), [("Yes", "no"), ("x", ""), ("1", ""), ("1", "-1")])
def test_other_marks_of_one_hot_columns(tmp_path, one, zero):
    marks = {name: [one if label == name else zero for label in LABELS] for name in ("cat", "cow", "dog")}
    path = table(tmp_path, **marks, note=[""] * 6)
    manifest = read_manifest(path)
    assert manifest.classes == ("cat", "dog") and given(manifest) == LABELS
    assert "note" not in noted(manifest, "label columns: a class each")
    assert exported(manifest, path) == path.read_text()
    assert exported(manifest, path, ["dog", *[None] * 5]).splitlines()[1] == f"img/0.png,{zero},{zero},{one},"


def test_one_hot_of_several_types(tmp_path):
    cat = np.array([label == "cat" for label in LABELS])
    for dtype in (pa.bool_(), pa.int8(), pa.float32()):
        marks = {"cat": pa.array(cat.astype(int)).cast(dtype), "dog": pa.array((~cat).astype(int)).cast(dtype)}
        pq.write_table(pa.table({"path": [f"{row}.png" for row in range(6)], **marks}), tmp_path / "m.parquet")
        assert given(read_manifest(tmp_path / "m.parquet")) == LABELS


def test_several_marks_in_a_row_are_refused(tmp_path):
    path = table(tmp_path, cat=list("110100"), dog=list("011000"), owl=list("000011"))
    error = refused(path, "line 3", "'cat', 'dog', 'owl'", "several in 1 row")
    assert "--multi-label first" in error.hint
    assert given(read_manifest(path, multi_label="first")) == ["cat", "cat", "dog", "cat", "owl", "owl"]
    assert given(read_manifest(path, multi_label="drop")) == ["cat", None, "dog", "cat", "owl", "owl"]


MULTI = {
    "bars": ["cat", "cat|dog", "dog"],
    "semicolons": ["cat", "cat;dog", "dog"],
    "commas": ["cat", "cat,dog", "dog"],
    "commas and blanks": ["cat", "cat, dog", "dog"],
    "blanks": ["cat", "cat dog", "dog"],
    "Python's lists": ["['cat']", "['cat', 'dog']", "['dog']"],
    "JSON's lists": ['["cat"]', '["cat", "dog"]', '["dog"]'],
    "Label Studio's": ["cat", '{"choices": ["cat", "dog"]}', "dog"],
}


@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize("form", MULTI)
def test_several_labels_in_a_cell(tmp_path, capsys, form):
    cells = MULTI[form]
    path = table(tmp_path, label=cells * 2)
    result = call(capsys, "audit", path, "--dry-run")
    assert result.code == 2 and "line 3" in result.err and "--multi-label first" in result.err
    first = read_manifest(path, multi_label="first")
    assert given(first) == ["cat", "cat", "dog"] * 2
    assert given(read_manifest(path, multi_label="drop")) == ["cat", None, "dog"] * 2
    assert len(read_manifest(path, multi_label="whole").classes) == 3
    assert exported(first, path) == path.read_text()
    exported(first, path, ["dog", "dog", *[None] * 4])
    changed = read_manifest(tmp_path / "out.csv", multi_label="first")
    assert given(changed) == ["dog", "dog", "dog", "cat", "cat", "dog"]
    written, before = (read_manifest(tmp_path / name, multi_label="whole") for name in ("out.csv", "m.csv"))
    assert written.table["label"].to_pylist()[2:] == before.table["label"].to_pylist()[2:]
    assert "dog" in written.table["label"].to_pylist()[1].replace("dog", "", 1)  # the second label stays


@pytest.mark.parametrize(
    "cells",
    [
        ["Boat, Water vehicle", "Car, Land vehicle", "Vehicle"],
        ["golden retriever", "labrador retriever", "golden eagle"],
        ["red circle", "blue circle", "red square"],
        ["Apple___scab", "Apple___rust", "Corn_(maize)___rust"],
        ["black, white", "grey", "white"],
        ["n02119789, kit fox", "n02100735, English setter", "n02110185, Siberian husky"],
        ["[unk]", "{noise}", "(hum)"],
    ],
)
def test_names_of_classes_with_marks_in_them(tmp_path, cells):
    assert set(read_manifest(table(tmp_path, label=cells * 2)).classes) == set(cells)


def test_lists_that_are_no_text(tmp_path):
    records = [{"path": f"{row}.png", "label": ["cat", "dog"][: 1 + row % 2]} for row in range(3)]
    records.append({"path": "3.png", "label": ["dog"]})
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "--multi-label" in refused(path, "line 2: label column 'label' holds several labels in a cell").hint
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "m.parquet")
    assert "--multi-label" in refused(tmp_path / "m.parquet", "type list").hint
    for name in ("m.jsonl", "m.parquet"):
        manifest = read_manifest(tmp_path / name, multi_label="first")
        assert given(manifest) == ["cat", "cat", "cat", "dog"]
        assert given(read_manifest(tmp_path / name, multi_label="drop")) == ["cat", None, "cat", "dog"]
        target = tmp_path / f"out{suffix(manifest)}"
        write_manifest(manifest, target, keep=np.ones(4, dtype=bool), labels=["dog", "dog", None, None])
        again = read_manifest(target, multi_label="first")
        assert given(again) == ["dog", "dog", "cat", "dog"]
        assert again.table["label"].to_pylist()[2:] == manifest.table["label"].to_pylist()[2:]


def test_policies_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="--multi-label is 'all'"):
        read_manifest(table(tmp_path, label=LABELS), multi_label="all")


def test_the_library_takes_the_same(tmp_path):
    tree(tmp_path / "set", "mammal/cat", "bird/owl")
    with pytest.raises(ManifestError) as caught:
        nlclean.audit(tree(tmp_path / "two", "a/cat", "a/dog", "b/cat", "b/dog"))
    assert "layout='any/class'" in caught.value.hint or "layout=" in caught.value.hint
    frame = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["cat|dog", "dog"], "x": ["cat", "dog"]})
    with pytest.raises(ConfigError, match="layout is about folders of classes"):
        nlclean.audit(frame, layout="class")
    with pytest.raises(ConfigError, match="is 'second'"):
        nlclean.audit(frame, multi_label="second")
    with pytest.raises(ManifestError, match="several labels in a cell") as caught:
        nlclean.audit(frame)
    assert "multi_label=" in caught.value.hint
    manifest = read_manifest(tmp_path / "set", layout="leaf")
    with pytest.raises(ManifestError, match="leave out layout"):
        nlclean.audit(manifest, layout="leaf")


# --- what is said ---------------------------------------------------------------------------------------------------


def test_classes_that_look_alike(tmp_path):
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    cells = ["cat", "cat ", "None", "1.0", "01", composed, apart, "do\u200bg", "dog", "x"]
    tree(tmp_path, ".", files=1)
    rows = {"path": [f"{row}.png" for row in range(20)], "label": cells * 2}
    manifest = read_manifest(write_csv(tmp_path / "m.csv", rows))
    assert len(manifest.classes) == len(cells)
    alike = [note for note in manifest.source.notes if "differ only by" in note]
    assert len(alike) == 4
    assert any("'cat', 'cat '" in note and "blanks" in note for note in alike)
    assert any("'01', '1.0'" in note and "number" in note for note in alike)
    assert any("Unicode form" in note for note in alike) and any("not seen" in note for note in alike)
    assert noted(manifest, "'None' counts as a class")


@pytest.mark.usefixtures("untimed")
def test_the_dry_run_says_classes_splits_and_columns(tmp_path, capsys):
    path = table(tmp_path, label=LABELS, Usage=["Training", "Training", "PrivateTest"] * 2, species=["x"] * 6)
    said = call(capsys, "audit", path, "--dry-run").err.splitlines()
    assert "2 classes: 'cat' 3, 'dog' 3" in said
    assert "splits: Training 4 rows; PrivateTest 2 rows, protected" in said
    assert "label column: label (detected)" in said and "path column: path (detected)" in said
    assert "could have been meant as the label: 'species'; name it with --label-column" in said
    said = call(capsys, "audit", table(tmp_path, label=LABELS), "--dry-run").err.splitlines()
    assert "no splits: no row is protected" in said
    many = write_csv(
        tmp_path / "n.csv",
        {"path": [f"img/{row % 6}.png" for row in range(45)], "label": [f"c{row % 15:02}" for row in range(45)]},
    )
    assert "c11' 3 and 3 smaller ones, down to 'c14' 3" in noted(read_manifest(many), "15 classes: 'c00' 3, ")
    one = write_csv(tmp_path / "o.csv", {"path": ["img/0.png"] * 39, "label": [f"c{row % 13:02}" for row in range(39)]})
    assert noted(read_manifest(one), "13 classes: 'c00' 3, ").endswith("'c12' 3")  # no line is saved by hiding one


# --- parts of sounds ------------------------------------------------------------------------------------------------


def test_ids_of_recordings_with_parts(tmp_path):
    """As the sounds of the rainforest are listed."""
    sounds(tmp_path)
    files = sorted(path.stem for path in tmp_path.glob("*.wav"))
    columns = {"recording_id": [name for name in files for _ in range(2)], "species_id": ["1", "2"] * len(files)}
    times = {"t_min": ["0", "0.5"] * len(files), "t_max": ["0.5", "1.0"] * len(files)}
    manifest = read_manifest(write_csv(tmp_path / "parts.csv", columns | times))
    assert manifest.segments is not None and noted(manifest, "called like the cells of 'recording_id'")


def sounds(folder: Path, **columns: list[float]) -> Path:
    """Clips of a second, the first of them twice."""
    names = [f"{row}.wav" for row in (0, 0, 1, 2, 3)]
    for name in set(names):
        with wave.open(str(folder / name), "wb") as file:
            file.setnchannels(1), file.setsampwidth(2), file.setframerate(8000)
            file.writeframes(bytes(16000))
    return write_csv(folder / "m.csv", {"path": names, "label": list("xyxyx")} | columns)


def test_start_and_end_are_parts_only_where_they_fit(tmp_path):
    cut_from = sounds(tmp_path, start=[25.2, 4.5, 7.0, 18.1, 3.0], end=[25.8, 5.1, 7.6, 18.7, 3.6])
    manifest = read_manifest(cut_from)
    assert manifest.segments is None and manifest.source.segment_columns == ()
    assert noted(manifest, "do not fit the files") and noted(manifest, "rows that repeat a path: 1")
    fitting = sounds(tmp_path, start=[0.1, 0.5, 0.0, 0.2, 0.0], end=[0.5, 1.05, 0.9, 0.6, 1.0])
    assert read_manifest(fitting).segments is not None
    assert read_manifest(fitting, segments=False).segments is None


@pytest.mark.parametrize(
    ("start", "end"), [("onset", "offset"), ("start_time", "end_time"), ("Begin Time (s)", "End Time (s)")]
)
def test_start_and_end_by_other_names(tmp_path, start, end):
    path = sounds(tmp_path, **{start: [0.1, 0.5, 0.0, 0.2, 0.0], end: [0.5, 1.05, 0.9, 0.6, 1.0]})
    manifest = read_manifest(path)
    assert manifest.source.segment_columns == (start, end)
    assert manifest.segments[0].tolist() == [0.1, 0.4]  # seconds from, and how many
    assert noted(read_manifest(path, segments=False), "files with different labels in several rows: 1")


@pytest.mark.usefixtures("untimed")
def test_no_segments(tmp_path, capsys):
    path = sounds(tmp_path, offset=[0.1, 0.5, 0.0, 0.2, 0.0], duration=[0.3, 0.4, 0.9, 0.6, 1.0])
    assert "segments of files" in call(capsys, "audit", path, "--dry-run").err
    result = call(capsys, "audit", path, "--dry-run", "--no-segments")
    assert result.code == 0 and "segments of files" not in result.err

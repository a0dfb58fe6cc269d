"""The layouts that docs/inputs.md lists: a tiny one of each is made, and audited with the command that stands there."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import tarfile
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_world import save_pictures
from cli_world import call

PAGE = Path(__file__).parents[1] / "docs" / "inputs.md"
N = 60
CLASSES = ["cat", "dog", "owl"]
LABELS = [CLASSES[row % 3] for row in range(N)]
NUMBERS = [str(10 * (row % 3)) for row in range(N)]
PICTURES = [f"img/{row}.png" for row in range(N)]
SOUNDS = [f"clips/{row}.wav" for row in range(N)]


def pictures(folder: Path, names: list[str] = PICTURES) -> None:
    save_pictures(folder, np.arange(len(names)) % 3, names)


def sounds(folder: Path) -> None:
    (folder / "clips").mkdir()
    for row, name in enumerate(SOUNDS):
        with wave.open(str(folder / name), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            tone = np.sin(2 * np.pi * 300 * (1 + row % 3) * np.arange(8000) / 8000)
            file.writeframes((9000 * tone + row).astype("<i2").tobytes())


def write(path: Path, delimiter: str = ",", /, **columns: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([list(columns), *zip(*columns.values(), strict=True)])


def folders(*tops: str, flat: str = "") -> Callable[[Path], None]:
    def make(here: Path) -> None:
        names = [f"{tops[row % len(tops)]}{LABELS[row]}/{row}.png" for row in range(N)]
        pictures(here, names + ([f"{flat}/x.png"] if flat else []))

    return make


def ids(here: Path) -> None:
    names = [f"{row:06x}" for row in range(N)]
    pictures(here, [f"train/{name}.png" for name in names])
    write(here / "labels.csv", id=names, breed=LABELS)


def embedded(here: Path) -> None:
    pictures(here)
    cells = [{"bytes": (here / name).read_bytes(), "path": name} for name in PICTURES]
    shutil.rmtree(here / "img")
    feature = {"label": {"names": CLASSES, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    table = pa.table({"image": cells, "label": [row % 3 for row in range(N)]})
    metadata = {"huggingface": json.dumps({"info": {"features": feature}})}
    pq.write_table(table.replace_schema_metadata(metadata), here / "train.parquet")


def webdataset(here: Path) -> None:
    pictures(here)
    for shard in range(2):
        with tarfile.open(here / f"shard-{shard:03}.tar", "w") as tar:
            for row in range(shard, N, 2):
                tar.add(here / PICTURES[row], f"{row}.png")
                label = tarfile.TarInfo(f"{row}.cls")
                label.size = len(LABELS[row])
                tar.addfile(label, io.BytesIO(LABELS[row].encode()))
    shutil.rmtree(here / "img")


def label_studio_json(here: Path) -> None:
    pictures(here)
    tasks = [
        {
            "id": row,
            "data": {"image": name},
            "annotations": [{"result": [{"type": "choices", "value": {"choices": [label]}}]}],
        }
        for row, (name, label) in enumerate(zip(PICTURES, LABELS, strict=True))
    ]
    (here / "project.json").write_text(json.dumps(tasks))


def coco(here: Path) -> None:
    pictures(here)
    document = {
        "images": [{"id": row, "file_name": name} for row, name in enumerate(PICTURES)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
        "annotations": [{"id": row, "image_id": row, "category_id": row % 3} for row in range(N)],
    }
    (here / "instances.json").write_text(json.dumps(document))


def kaggle(here: Path) -> None:
    pictures(here)
    write(here / "train.csv", image_id=[str(row) for row in range(N)], image=PICTURES, label=LABELS)


def one_hot(here: Path) -> None:
    pictures(here)
    marks = {name: [str(int(label == name)) for label in LABELS] for name in CLASSES}
    write(here / "labels.csv", image=PICTURES, **marks)


def boxes(here: Path) -> None:
    pictures(here)
    numbers = {name: [str(row % 7) for row in range(N)] for name in "xywh"}
    write(here / "boxes.csv", path=PICTURES, label=LABELS, **numbers)


def hugging_face(here: Path) -> None:
    pictures(here / "folder")
    write(here / "folder" / "metadata.csv", file_name=PICTURES, label=LABELS)


def hugging_face_splits(here: Path) -> None:
    for split in ("train", "test"):
        pictures(here / "folder" / split)
        write(here / "folder" / split / "metadata.csv", file_name=PICTURES, label=LABELS)


def shards(here: Path) -> None:
    (here / "data").mkdir()
    rng = np.random.default_rng(0)
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        vectors = [rng.normal(size=8).tolist() for _ in range(N)]
        pq.write_table(pa.table({"embedding": vectors, "label": LABELS}), here / "data" / f"{name}.parquet")


def label_studio(here: Path) -> None:
    pictures(here)
    twice = [name for name in PICTURES for _ in range(2)]
    write(
        here / "project.csv",
        annotation_id=[str(row) for row in range(2 * N)],
        annotator=["1", "2"] * N,
        choice=[label for label in LABELS for _ in range(2)],
        id=[str(row // 2) for row in range(2 * N)],
        image=twice,
    )


def annotators(here: Path) -> None:
    pictures(here)
    twice = [name for name in PICTURES for _ in range(2)]
    write(here / "votes.csv", path=twice, annotator=["ann", "bob"] * N, label=[one for one in LABELS for _ in range(2)])


def several(here: Path) -> None:
    sounds(here)
    names = {"cat": "Meow,Cat,Animal", "dog": "Bark,Dog,Animal", "owl": "Hoot,Animal"}
    split = ["val" if row % 5 == 0 else "train" for row in range(N)]
    write(here / "dev.csv", fname=SOUNDS, labels=[names[label] for label in LABELS], split=split)


def esc50(here: Path) -> None:
    sounds(here)
    fold = [str(row % 5 + 1) for row in range(N)]
    write(here / "esc50.csv", filename=SOUNDS, fold=fold, target=NUMBERS, category=LABELS)


def events(here: Path) -> None:
    sounds(here)
    twice = {"filename": [name for name in SOUNDS for _ in range(2)], "onset": ["0", "0.5"] * N}
    write(here / "events.tsv", "\t", **twice, offset=["0.5", "1.0"] * N, event_label=[*LABELS, *LABELS])


def urban(here: Path) -> None:
    sounds(here)
    starts, ends = [str(1.5 * row) for row in range(N)], [str(1.5 * row + 4) for row in range(N)]
    columns = {"slice_file_name": SOUNDS, "fsID": NUMBERS, "start": starts, "end": ends, "fold": ["1"] * N}
    write(here / "UrbanSound8K.csv", **columns, classID=NUMBERS, **{"class": LABELS})


def common_voice(here: Path) -> None:
    sounds(here)
    ids = [f"c{row // 3}" for row in range(N)]
    write(here / "validated.tsv", "\t", client_id=ids, path=SOUNDS, sentence=LABELS, up_votes=["2"] * N)


def nemo(here: Path) -> None:
    sounds(here)
    records = [
        {"audio_filepath": SOUNDS[row], "offset": 0.1, "duration": 0.8, "command": LABELS[row]} for row in range(N)
    ]
    (here / "manifest.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def turk(here: Path) -> None:
    pictures(here)
    twice = {"WorkerId": ["A1", "B2"] * N, "Input.image_url": [name for name in PICTURES for _ in range(2)]}
    write(here / "batch.csv", **twice, **{"Answer.category": [label for label in LABELS for _ in range(2)]})


def lists(here: Path) -> None:
    folders("photos/")(here)
    (here / "photos/testing_list.txt").write_text("cat/0.png\ndog/1.png\n")


def table_per_split(here: Path) -> None:
    for split in ("train", "valid"):
        pictures(here / "folder" / split)
        marks = {name: [str(int(label == name)) for label in LABELS] for name in CLASSES}
        write(here / "folder" / split / "_classes.csv", filename=PICTURES, **marks)


def fer(here: Path) -> None:
    pictures(here)
    usage = ["PrivateTest" if row % 5 == 0 else "Training" for row in range(N)]
    write(here / "fer.csv", path=PICTURES, emotion=NUMBERS, Usage=usage)


SPLIT = "protected"
LAYOUTS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {  # -> how it is made, and what is said of it
    "ImageFolder": (folders("photos/"), ("folders read as class", "'cat' 20, 'dog' 20, 'owl' 20")),
    "ImageFolder with splits": (folders("photos/train/", "photos/val/"), ("folders read as split/class", SPLIT)),
    "Kaggle folders": (
        folders("archive/seg_train/seg_train/", "archive/seg_test/seg_test/", flat="archive/seg_pred/seg_pred"),
        ("seg_test 30 rows, protected", "1 in 'seg_pred/seg_pred'"),
    ),
    "lists beside folders": (lists, ("testing 2 rows, protected",)),
    "table per split": (table_per_split, ("valid 60 rows, protected", "label columns: a class each")),
    "MTurk, Toloka": (turk, ("120 rows as votes of 2 annotators", "label column: Answer.category")),
    "Kaggle table": (kaggle, ("path column: image", "id column: image_id")),
    "one-hot table": (one_hot, ("label columns: a class each",)),
    "table of boxes": (boxes, ("label column: label",)),
    "Hugging Face imagefolder, audiofolder": (hugging_face, ("paths in file_name",)),
    "Hugging Face folders per split": (hugging_face_splits, ("splits: test 60 rows, protected; train 60 rows",)),
    "Parquet shards per split": (shards, ("splits: test 60 rows, protected; train 120 rows",)),
    "Label Studio CSV": (label_studio, ("label column: choice", "120 rows as votes of 2 annotators", "on 60 items")),
    "several annotators": (annotators, ("120 rows as votes of 2 annotators", "on 60 items", "2.0 per item")),
    "several labels per row": (several, ("label column: labels", "'Bark' 20, 'Hoot' 20, 'Meow' 20")),
    "Kaggle ids": (ids, ("label column: breed", "train/")),
    "Hugging Face Parquet": (embedded, ("3 classes: 'cat' 20",)),
    "WebDataset": (webdataset, ("3 classes: 'cat' 20",)),
    "Label Studio JSON": (label_studio_json, ("3 classes: 'cat' 20",)),
    "COCO-like JSON": (coco, ("3 classes: 'cat' 20",)),
    "ESC-50 table": (esc50, ("label column: category", "the same labels in other words")),
    "sound events": (events, ("segments of files: onset and offset", "label column: event_label")),
    "UrbanSound8K table": (urban, ("label column: class ",)),
    "Common Voice TSV": (common_voice, ("label column: sentence (named)",)),
    "NeMo": (nemo, ("label column: command", "segments of files")),
    "FER2013-like split": (fer, ("PrivateTest 12 rows, protected",)),
}


def commands() -> dict[str, str]:
    """Layout -> the command that the page names."""
    text = PAGE.read_text("utf-8")
    table = text[text.index("## Layouts") : text.index("## Folders")]
    return dict(re.findall(r"^\| ([^|]+?) \| .* \| `nlclean ([^`]+)` \|$", table, re.MULTILINE))


def test_every_layout_is_listed():
    assert set(LAYOUTS) <= set(commands())


@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_command_audits_the_layout(tmp_path, monkeypatch, capsys, layout):
    make, said = LAYOUTS[layout]
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = call(capsys, *shlex.split(commands()[layout]), "--dry-run")
    assert result.code == 0, result.err
    assert [sentence for sentence in said if sentence not in result.err] == [], result.err
    assert "missing: " not in result.out

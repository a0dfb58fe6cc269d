"""Several annotators: layouts that are read as votes on items, and what is none of these stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import cleanlab_lite as cl
from cleanlab_lite.errors import ManifestError
from cleanlab_lite.export.manifest import write_manifest
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.saved import load_manifest, save_manifest

N = 30
KINDS = ("cat", "dog", "owl")
PEOPLE = ("ann", "bob", "cy")


def said() -> pd.DataFrame:
    """A row per item and annotator; each item has one to three."""
    rng = np.random.default_rng(0)
    rows = []
    for item in range(N):
        for person in rng.permutation(PEOPLE)[: 1 + item % 3]:
            label = KINDS[item % 3] if rng.random() < 0.8 else str(rng.choice(KINDS))
            rows.append((f"{item}.png", str(person), label, int(rng.integers(1, 99)), f"batch {item % 4}"))
    return pd.DataFrame(rows, columns=["path", "annotator", "label", "seconds", "batch"])


def votes(manifest: Manifest) -> dict[str, dict[str, str]]:
    """Item -> annotator -> label."""
    found: dict[str, dict[str, str]] = {name: {} for name in manifest.ids.tolist()}
    assert manifest.votes is not None
    for item, who, label in zip(manifest.votes.item, manifest.votes.annotator, manifest.votes.label, strict=True):
        found[str(manifest.ids[item])][manifest.votes.annotators[who]] = manifest.classes[label]
    return found


def expected(frame: pd.DataFrame) -> dict[str, dict[str, str]]:
    return {str(path): dict(zip(rows["annotator"], rows["label"], strict=True)) for path, rows in frame.groupby("path")}


def most(names: dict[str, str]) -> set[str]:
    counts = pd.Series(list(names.values())).value_counts()
    return set(counts[counts == counts.max()].index)


def written(folder: Path, frame: pd.DataFrame, layout: str) -> Path:
    path = folder / {"rows of Parquet": "m.parquet", "rows of JSON lines": "m.jsonl"}.get(layout, "m.csv")
    if layout == "columns":
        wide = frame.pivot(index="path", columns="annotator", values="label").add_prefix("label_rater_")
        wide.reset_index().to_csv(path, index=False)
    elif layout == "rows of Parquet":
        frame.to_parquet(path)
    elif layout == "rows of JSON lines":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("layout", ["rows", "rows of Parquet", "rows of JSON lines", "columns"])
def test_a_layout_is_one_item_with_votes_and_comes_out_so(tmp_path, layout):
    frame = said()
    manifest = cl.read_manifest(written(tmp_path, frame, layout))
    assert len(manifest) == N
    assert votes(manifest) == expected(frame)
    for name, label in zip(manifest.ids, manifest.labels, strict=True):
        assert manifest.classes[label] in most(votes(manifest)[name])
    assert any("3 annotators" in note or "annotators: 3" in note for note in manifest.source.notes)

    new: list[str | None] = [None] * N
    new[4] = "owl"
    out = tmp_path / f"out{written(tmp_path, frame, layout).suffix}"
    write_manifest(manifest, out, keep=np.arange(N) != 7, labels=new)
    again = cl.read_manifest(out)
    assert len(again) == N - 1
    assert again.classes[again.labels[4]] == "owl"  # not what most say: somebody has decided
    assert votes(again) == {name: each for name, each in votes(manifest).items() if name != manifest.ids[7]}


def test_what_differs_within_an_item_is_not_lost(tmp_path):
    frame = said()
    manifest = cl.read_manifest(written(tmp_path, frame, "rows"))
    assert manifest.table.column_names == ["path", "votes", "label", "seconds", "batch"]
    first = frame[frame["path"] == "2.png"]
    assert json.loads(manifest.table["seconds"][2].as_py()) == {
        name: str(cell) for name, cell in zip(first["annotator"], first["seconds"], strict=True)
    }
    assert manifest.table["batch"][2].as_py() == "batch 2"
    assert manifest.lines is not None and manifest.lines[2] == frame.index[frame["path"] == "2.png"][0] + 2


def test_vectors_beside_rows_are_those_of_the_items(tmp_path):
    frame = said().rename(columns={"path": "item_id"})
    vectors = np.array([[float(name.partition(".")[0]), 1.0] for name in frame["item_id"]], dtype=np.float32)
    np.save(tmp_path / "v.npy", vectors)
    frame.to_csv(tmp_path / "m.csv", index=False)
    manifest = cl.read_manifest(tmp_path / "m.csv", features=tmp_path / "v.npy")
    assert manifest.ids.tolist() == [f"{i}.png" for i in range(N)]
    assert manifest.features is not None and manifest.features[:, 0].tolist() == list(range(N))


def test_ties_go_to_whom_the_others_agree_with(tmp_path):
    rng = np.random.default_rng(1)
    rows = [
        (f"{i}.png", who, KINDS[i % 3] if who in ("ann", "bob") or i % 5 else KINDS[int(rng.integers(3))])
        for i in range(60)
        for who in PEOPLE
        if (i, who) != (1, "bob")
    ]
    frame = pd.DataFrame(rows, columns=["path", "annotator", "label"])
    frame.loc[(frame["path"] == "1.png") & (frame["annotator"] == "cy"), "label"] = "cat"
    manifest = cl.read_manifest(written(tmp_path, frame, "rows"))
    assert votes(manifest)["1.png"] == {"ann": "dog", "cy": "cat"}
    assert manifest.classes[manifest.labels[1]] == "dog"


def test_a_label_that_is_there_is_the_label(tmp_path):
    frame = said().pivot(index="path", columns="annotator", values="label").add_prefix("vote_by_").reset_index()
    frame["label"] = ["cat", "dog", "owl"] * 10
    frame.to_csv(tmp_path / "m.csv", index=False)
    manifest = cl.read_manifest(tmp_path / "m.csv")
    assert manifest.votes is not None and not manifest.source.elected
    assert [manifest.classes[label] for label in manifest.labels] == frame["label"].tolist()


def test_the_guess_can_be_refused_and_named(tmp_path):
    path = written(tmp_path, said(), "rows")
    refused = cl.read_manifest(path, annotator_column="none")
    assert refused.votes is None and len(refused) == len(said())
    wide = written(tmp_path, said(), "columns")
    assert cl.read_manifest(wide, label_column="label_rater_ann").votes is None
    pd.read_csv(wide).rename(columns=lambda name: name.replace("label_rater_", "by-")).to_csv(wide, index=False)
    with pytest.raises(ManifestError, match="no label column"):
        cl.read_manifest(wide)
    assert votes(cl.read_manifest(wide, annotator_column="by-*")) == expected(said())
    with pytest.raises(ManifestError, match="no column is called 'nobody'"):
        cl.read_manifest(wide, annotator_column="nobody")
    with pytest.raises(ManifestError, match="does not say who labelled"):
        cl.read_manifest(wide, label_column="by-ann", annotator_column="path")


UNLIKE = {
    "annotators of rows of their own": lambda: said().drop_duplicates("path"),
    "two labels each": lambda: pd.DataFrame(
        {"path": [f"{i}.png" for i in range(N)], "label": list(KINDS) * 10, "label_2": [*KINDS[1:], KINDS[0]] * 10}
    ),
    "levels": lambda: pd.DataFrame(
        {"path": [f"{i}.png" for i in range(N)], "label": ["pet", "bird"] * 15, "label_2": list(KINDS) * 10}
    ),
    "rows again by the same annotator": lambda: pd.concat([said(), said()[:3]]),
    "names of annotators": lambda: (
        said().drop_duplicates("path").assign(annotator_1=["ann", "bob"] * 15, annotator_2=["bob", "ann"] * 15)
    ),
}


@pytest.mark.parametrize("table", UNLIKE)
def test_what_is_no_vote_stays_as_it_was(tmp_path, table):
    frame = UNLIKE[table]()
    frame.to_csv(tmp_path / "m.csv", index=False)
    manifest = cl.read_manifest(tmp_path / "m.csv")
    assert manifest.votes is None
    assert len(manifest) == len(frame)
    assert manifest.table.column_names == list(frame)
    assert manifest.fingerprint == cl.read_manifest(tmp_path / "m.csv", annotator_column="none").fingerprint


def test_an_annotator_who_votes_again_counts_once_where_the_column_is_named(tmp_path):
    frame = pd.concat([said(), said()[:1].assign(label="owl")])
    frame.to_csv(tmp_path / "m.csv", index=False)
    manifest = cl.read_manifest(tmp_path / "m.csv", annotator_column="annotator")
    assert votes(manifest)["0.png"] == {frame["annotator"].iloc[0]: "owl"}
    assert any("the last counts" in note for note in manifest.source.notes)


def test_a_saved_manifest_has_its_votes(tmp_path):
    manifest = cl.read_manifest(written(tmp_path, said(), "rows"))
    save_manifest(manifest, tmp_path / "saved.parquet")
    again = load_manifest(tmp_path / "saved.parquet")
    assert votes(again) == votes(manifest)
    assert again.source == manifest.source
    plain = cl.read_manifest(written(tmp_path, said(), "rows"), annotator_column="none")
    save_manifest(plain, tmp_path / "plain.parquet")
    assert not [name for name in pq.read_schema(tmp_path / "plain.parquet").names if "votes" in name]


def test_label_studio_tasks_with_several_annotations(tmp_path):
    def annotation(who: object, label: str, **more: object) -> dict[str, object]:
        return {"completed_by": who, "result": [{"type": "choices", "value": {"choices": [label]}}], **more}

    tasks = [
        {
            "id": i,
            "data": {"image": f"{i}.png", "votes": 3},
            "annotations": [
                annotation(1, KINDS[i % 3]),
                annotation({"email": "b@example.org"}, KINDS[i % 3]),
                annotation(1, "owl", was_cancelled=True),
            ],
        }
        for i in range(N)
    ]
    (tmp_path / "m.json").write_text(json.dumps(tasks))
    manifest = cl.read_manifest(tmp_path / "m.json")
    assert list(votes(manifest).values()) == [{"1": KINDS[i % 3], "b@example.org": KINDS[i % 3]} for i in range(N)]
    assert manifest.table["votes of the data"].to_pylist() == [3] * N


@pytest.mark.parametrize("version", [1, 2])
def test_argilla_records_with_responses(tmp_path, version):
    def responses(label: str) -> object:
        if version == 2:
            drafts = [{"value": "owl", "user_id": "u3", "status": "draft"}]
            said = [{"value": label, "user_id": name} for name in ("u1", "u2")]
            return {"label": [*said, *drafts], "comment": [{"value": ["x"], "user_id": "u1"}]}
        return [
            {"user_id": name, "status": "submitted", "values": {"label": {"value": label}}} for name in ("u1", "u2")
        ]

    records = [{"id": f"r{i}", "fields": {"image": f"{i}.png"}, "responses": responses(KINDS[i % 3])} for i in range(N)]
    (tmp_path / "m.json").write_text(json.dumps(records))
    manifest = cl.read_manifest(tmp_path / "m.json")
    assert list(votes(manifest).values()) == [{"u1": KINDS[i % 3], "u2": KINDS[i % 3]} for i in range(N)]
    assert manifest.ids.tolist() == [f"r{i}" for i in range(N)]


def test_columns_that_are_called_by_other_names_are_named_with_how_to_take_them(tmp_path):
    names, colours = ("dog", "cat"), ("red", "blue")
    rows = [f"{i}.png,{names[i % 2]},{names[i % 3 > 0]},{colours[i % 2]}" for i in range(12)]
    (tmp_path / "set.csv").write_text("\n".join(["path,label_ann,label_bob,colour", *rows]) + "\n")
    with pytest.raises(ManifestError, match="no label column") as error:
        cl.read_manifest(tmp_path / "set.csv")
    assert "--annotator-column 'label_*'" in error.value.hint
    (tmp_path / "set.csv").write_text("\n".join(["path,of_animal,what,of_colour", *rows]) + "\n")
    with pytest.raises(ManifestError) as error:
        cl.read_manifest(tmp_path / "set.csv")
    assert "--label-column" in error.value.hint and "--annotator-column" not in error.value.hint

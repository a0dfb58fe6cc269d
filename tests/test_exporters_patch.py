"""Patches: what they say, applied, taken back byte for byte, and refused where the manifest has moved on."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_world import make_report, mislabel, row

from cleanlab_lite.errors import ConfigError, ManifestError
from cleanlab_lite.evidence.decisions import Decision
from cleanlab_lite.export import patch
from cleanlab_lite.export.manifest import suffix, write_manifest
from cleanlab_lite.export.patch import apply_patch, read_patch
from cleanlab_lite.export.policy import Cleaned, apply_policy
from cleanlab_lite.manifest.readers import read_labels, read_manifest

apply_tiny = partial(apply_patch, max_drop=1.0)  # half of these tiny manifests goes

# first and last row go, neighbours go, one is relabelled, one had no label
VERDICTS = ("drop", "", "drop", "drop", "relabel", "new", "", "drop")
GIVEN = ("cat", "cat", "dog", "dog", "dog", "", "dog", "cat")


def cleaning(path: Path, **features) -> Cleaned:
    """The manifest at `path`, of eight rows, cleaned by VERDICTS."""
    manifest = read_manifest(path, **features)
    verdicts = {
        "": {},
        "drop": {"action": "drop", "suggested_label": None},
        "relabel": {"suggested_label": "cat"},
        "new": {"suggested_label": "dog", "issue": "unlabeled", "is_label_issue": None},
    }
    rows = [
        (mislabel if verdict else row)(id, given_label=label or None, **verdicts[verdict])
        for id, label, verdict in zip(manifest.ids.tolist(), GIVEN, VERDICTS, strict=True)
    ]
    table = make_report(rows).table
    return Cleaned(manifest, table, apply_policy(table, np.zeros(len(rows), bool), "correct"))


def csv_text(rows: list[list[str]], **style) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", **style).writerows(rows)
    return text.getvalue()


SAID = ['"open', '"whole"', '"', 'close"', 'a "b" c', '""', "", r'"\"d\""']  # what stays would be quoting, read alone
NAMES = ["a.png", "b,\n.png", 'c".png', "d.png", "ä 🐈.png", "f.png", "g.png", "h.png"]
TABLE = [
    ["path", "label", "by"],
    *([name, label, f"x{row}"] for row, (name, label) in enumerate(zip(NAMES, GIVEN, strict=True))),
]
JSON = [
    {"path": name, "label": label or None, "n": row, "box": [row, {"k": [None, "ü", 2.5]}]}
    | ({"odd": 1} if row % 3 else {})
    for row, (name, label) in enumerate(zip(NAMES, GIVEN, strict=True))
]
FILES = {
    "plain.csv": csv_text(TABLE),
    "quoted.csv": csv_text(TABLE, delimiter=";", quoting=csv.QUOTE_ALL),
    "tabs.tsv": csv_text(TABLE, delimiter="\t"),
    "ids.csv": csv_text([["id", *TABLE[0]], *([f"r{i}", *cells] for i, cells in enumerate(TABLE[1:]))]),
    "repeated.csv": csv_text([TABLE[0], *(["same.png", *cells[1:]] for cells in TABLE[1:])]),
    "said.tsv": "path\tlabel\tsaid\n"
    + "".join(f"{row}.png\t{label}\t{said}\n" for row, (label, said) in enumerate(zip(GIVEN, SAID, strict=True))),
    "lines.jsonl": "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in JSON),
}


def parquet(path: Path) -> None:
    table = pa.table(
        {
            "path": NAMES,
            "label": pa.array([label or None for label in GIVEN]).dictionary_encode(),
            "when": pa.array(range(8), pa.timestamp("us", tz="UTC")),
            "raw": pa.array([b"\xff\0"] * 8),
            "half": pa.array(np.arange(8, dtype=np.float16)),
            "nested": [[{"x": i}] if i % 2 else None for i in range(8)],
        }
    )
    pq.write_table(table.replace_schema_metadata({"mine": "kept"}), path)


def vectors(path: Path) -> None:
    """No ids and no paths: rows are known by where they are."""
    columns = {
        "embedding": pa.array(np.eye(8).tolist(), pa.list_(pa.float32(), 8)),
        "label": [x or None for x in GIVEN],
    }
    pq.write_table(pa.table(columns), path)


MAKERS = {"table.parquet": parquet, "vectors.parquet": vectors}


@pytest.mark.parametrize("name", [*FILES, *MAKERS])
def test_round_trip_byte_for_byte(tmp_path, name):
    path = tmp_path / name
    if name in FILES:
        path.write_text(FILES[name], "utf-8")
    else:
        MAKERS[name](path)
    given = cleaning(path)
    everything = np.ones(8, bool)
    ending = suffix(given.manifest)
    before, exported = tmp_path / f"before{ending}", tmp_path / f"exported{ending}"
    applied, restored = tmp_path / f"applied{ending}", tmp_path / f"restored{ending}"
    write_manifest(given.manifest, before, keep=everything, labels=None)
    write_manifest(given.manifest, exported, keep=given.cleaning.keep, labels=given.cleaning.labels)
    assert patch.write(given, tmp_path / "labels.patch.jsonl") == []
    changes = read_patch(tmp_path / "labels.patch.jsonl")

    known = {"columns": changes[0].columns, "quotes_are_text": changes[0].quotes_are_text}
    outcome = apply_tiny(read_labels(path, **known), changes, applied)
    assert (outcome.dropped, outcome.restored, outcome.relabelled, outcome.conflicts) == (4, 0, 2, ())
    back = apply_tiny(read_labels(applied, **known), changes, restored, reverse=True)
    assert (back.dropped, back.restored, back.relabelled, back.conflicts) == (0, 4, 2, ())
    if ending == ".parquet":
        tables = [pq.read_table(file) for file in (applied, exported, restored, before)]
        assert all(table.schema.equals(tables[3].schema, check_metadata=True) for table in tables)
        assert tables[0].to_pylist() == tables[1].to_pylist()
        assert tables[2].to_pylist() == tables[3].to_pylist() == pq.read_table(path).to_pylist()
    else:
        assert applied.read_bytes() == exported.read_bytes()
        assert restored.read_bytes() == before.read_bytes()
        if ending != ".jsonl":  # JSON in JSON is written in ASCII
            assert restored.read_bytes() == path.read_bytes()


def test_arrays_come_back_as_a_table(tmp_path):
    np.savez(tmp_path / "f.npz", x=np.eye(4), y=np.array([3, 5, 3, 5]))
    manifest = read_manifest(tmp_path / "f.npz")
    table = make_report(
        [
            row("0", given_label="3"),
            mislabel("1", given_label="5", suggested_label="3"),
            mislabel("2", given_label="3", action="drop"),
            row("3", given_label="5"),
        ]
    ).table
    given = Cleaned(manifest, table, apply_policy(table, np.zeros(4, bool), "correct"))
    patch.write(given, tmp_path / "p.jsonl")
    changes = read_patch(tmp_path / "p.jsonl")
    apply_tiny(read_labels(tmp_path / "f.npz", changes[0].columns), changes, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "id,label\n0,3\n1,3\n3,5\n"
    apply_tiny(read_labels(tmp_path / "a.csv", changes[0].columns), changes, tmp_path / "b.csv", reverse=True)
    assert (tmp_path / "b.csv").read_text() == "id,label\n0,3\n1,5\n2,3\n3,5\n"


@pytest.fixture
def plain(tmp_path):
    """(text of the manifest, its patch)."""
    (tmp_path / "plain.csv").write_text(FILES["plain.csv"], "utf-8")
    patch.write(cleaning(tmp_path / "plain.csv"), tmp_path / "p.jsonl")
    return FILES["plain.csv"], read_patch(tmp_path / "p.jsonl")


def test_what_a_line_says(tmp_path, plain):
    first, *_, relabelled, new, _ = (json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines())
    columns = {"label": "label", "path": "path"}
    assert first == {
        "id": "a.png",
        "row": 0,
        "old": "cat",
        "new": None,
        "probability": pytest.approx(0.95),
        "who": "nlclean",
        "why": ["negative_margin"],
        "columns": columns,
        "record": {"path": "a.png", "label": "cat", "by": "x0"},
    }
    assert (relabelled["id"], relabelled["old"], relabelled["new"]) == ("ä 🐈.png", "dog", "cat")
    assert (relabelled["probability"], relabelled["record"]) == (pytest.approx(0.9), None)
    assert (new["old"], new["new"]) == (None, "dog")


def test_people_are_named(tmp_path):
    (tmp_path / "plain.csv").write_text(FILES["plain.csv"], "utf-8")
    given = cleaning(tmp_path / "plain.csv")
    decisions = [Decision("g.png", "relabel", "dog", "cow", reviewer="ann"), Decision("h.png", "drop", "cat")]
    decided = apply_policy(given.table, np.zeros(8, bool), "correct", decisions=decisions)
    patch.write(Cleaned(given.manifest, given.table, decided), tmp_path / "p.jsonl")
    cow, drop = read_patch(tmp_path / "p.jsonl")[-2:]
    assert (cow.new, cow.who, cow.probability) == ("cow", "ann", None)
    assert (drop.new, drop.who, drop.probability) == (None, "unnamed", None)


def test_all_conflicts_are_told_and_nothing_is_written(tmp_path, plain):
    text, changes = plain
    moved = text.replace("a.png,cat", "a.png,owl").replace("d.png,dog,x3\n", "").replace("ä 🐈.png,dog", "ä 🐈.png,cat")
    (tmp_path / "moved.csv").write_text(moved, "utf-8")
    manifest = read_labels(tmp_path / "moved.csv", changes[0].columns)
    outcome = apply_tiny(manifest, changes, tmp_path / "out.csv")
    assert outcome.conflicts == (
        "'a.png': the label is 'owl', not 'cat'",
        "'d.png': the row is gone",
        "'ä 🐈.png': the label is 'cat', not 'dog'",
    )
    assert not (tmp_path / "out.csv").exists()
    outcome = apply_tiny(manifest, changes, tmp_path / "out.csv", skip_conflicts=True)
    assert (outcome.dropped, outcome.relabelled) == (2, 1)
    assert [cells[:2] for cells in csv.reader(io.StringIO((tmp_path / "out.csv").read_text()))] == [
        *(["path", "label"], ["a.png", "owl"], ["b,\n.png", "cat"], ["ä 🐈.png", "cat"]),
        *(["f.png", "dog"], ["g.png", "dog"]),
    ]


def test_rows_that_were_added_or_moved_do_no_harm(tmp_path, plain):
    text, changes = plain
    header, *rows = csv.reader(io.StringIO(text))
    (tmp_path / "moved.csv").write_text(csv_text([header, ["new.png", "owl", "y"], *rows[::-1]]), "utf-8")
    outcome = apply_tiny(read_labels(tmp_path / "moved.csv", changes[0].columns), changes, tmp_path / "out.csv")
    assert outcome.conflicts == ()
    assert [cells[:2] for cells in csv.reader(io.StringIO((tmp_path / "out.csv").read_text()))] == [
        *(["path", "label"], ["new.png", "owl"], ["g.png", "dog"], ["f.png", "dog"], ["ä 🐈.png", "cat"]),
        ["b,\n.png", "cat"],
    ]


def test_taking_back_what_is_there_or_does_not_fit(tmp_path, plain):
    _, changes = plain
    path = tmp_path / "plain.csv"
    outcome = apply_tiny(read_labels(path, changes[0].columns), changes, tmp_path / "out.csv", reverse=True)
    assert [conflict.partition(": ")[2] for conflict in outcome.conflicts] == [
        *["the row is there already"] * 4,
        "the label is 'dog', not 'cat'",
        "the label is None, not 'dog'",
    ]
    apply_tiny(read_labels(path, changes[0].columns), changes, tmp_path / "applied.csv")
    wider = (tmp_path / "applied.csv").read_text().replace(",by", ",by,more").replace(",x", ",z,x")
    (tmp_path / "wider.csv").write_text(wider)
    outcome = apply_tiny(
        read_labels(tmp_path / "wider.csv", changes[0].columns), changes, tmp_path / "out.csv", reverse=True
    )
    assert len(outcome.conflicts) == 5 and all("other columns" in conflict for conflict in outcome.conflicts)


def test_a_patch_of_another_format_does_not_fit(tmp_path, plain):
    _, changes = plain
    for name in ("lines.jsonl", "table.parquet"):
        path = tmp_path / name
        path.write_text(FILES[name], "utf-8") if name in FILES else parquet(path)
        manifest = read_labels(path, {"label": "label", "path": "path"})
        applied = tmp_path / f"applied{path.suffix}"
        assert apply_tiny(manifest, changes, applied).conflicts == ()  # ids and labels are the same
        back = apply_tiny(read_labels(applied, changes[0].columns), changes, tmp_path / "x", reverse=True)
        assert len(back.conflicts) == 5 and all("another format" in conflict for conflict in back.conflicts)


LINE = (
    '{"id": "a", "row": 0, "old": "zero", "new": "one", "probability": 0.9, "who": "x", "why": [], '
    '"columns": {"label": "label"}, "record": null}\n'
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no change"),
        ("{}\n", "line 1 is no line of a patch"),
        ("nonsense\n", "line 1 is no line of a patch"),
        ('["id"]\n', "line 1 is no line of a patch"),
        ("[" * 100_000 + "\n", "line 1 is no line of a patch"),
        (LINE.replace('{"label": "label"}', '["label"]'), "line 1 is no line of a patch"),
        (LINE.replace('{"label": "label"}', '{"label": ["label"]}'), "line 1 is no line of a patch"),
        (LINE.replace('"row": 0', '"row": true'), "line 1 is no line of a patch"),
        (LINE.replace('"one"', '"\\ud800"'), "line 1 is no line of a patch"),
        ("\n" + LINE.replace('"one"', "1"), "line 2 is no line of a patch"),
        ("\xff", "cannot read"),
    ],
)
def test_broken_patches(tmp_path, text, said):
    (tmp_path / "p.jsonl").write_text(text, "latin-1")
    with pytest.raises(ManifestError, match=said):
        read_patch(tmp_path / "p.jsonl")


def test_a_tampered_record_is_refused(tmp_path, plain):
    lines = (tmp_path / "p.jsonl").read_text().splitlines()
    cells = json.loads(lines[0])
    for change in ({"record": None}, {"new": "dog"}, {"row": -1}, {"row": "0"}, {"old": 3}, {"columns": {}}):
        (tmp_path / "p.jsonl").write_text(json.dumps(cells | change))
        with pytest.raises(ManifestError, match="line 1 is no line of a patch"):
            read_patch(tmp_path / "p.jsonl")
    mixed = json.dumps(cells | {"columns": {"label": "class"}})
    (tmp_path / "p.jsonl").write_text("\n".join([lines[0], mixed]))
    with pytest.raises(ManifestError, match="several manifests"):
        read_patch(tmp_path / "p.jsonl")


def test_one_class_may_be_left(tmp_path, plain):
    _, changes = plain
    (tmp_path / "left.csv").write_text("path,label,by\na.png,cat,x0\nz.png,cat,x1\n")
    manifest = read_labels(tmp_path / "left.csv", changes[0].columns)
    apply_tiny(manifest, changes[:1], tmp_path / "one.csv")
    assert (tmp_path / "one.csv").read_text() == "path,label,by\nz.png,cat,x1\n"


def test_a_patch_never_drops_too_much_unasked(tmp_path, plain):
    _, changes = plain
    manifest = read_labels(tmp_path / "plain.csv", changes[0].columns)
    with pytest.raises(
        ConfigError, match=r"4 of 8 rows \(50 %, the limit is 30 %\); 2 of 3 rows of class 'cat'"
    ) as error:
        apply_patch(manifest, changes, tmp_path / "out.csv")
    assert "--max-drop 67%" in error.value.hint and not (tmp_path / "out.csv").exists()
    by_people = [replace(change, who="ann") for change in changes]
    assert apply_patch(manifest, by_people, tmp_path / "out.csv").dropped == 4
    (tmp_path / "left.csv").write_text("path,label,by\na.png,cat,x0\n")
    manifest = read_labels(tmp_path / "left.csv", changes[0].columns)
    with pytest.raises(ConfigError, match="an empty dataset is never written"):
        apply_tiny(manifest, by_people[:1], tmp_path / "none.csv")

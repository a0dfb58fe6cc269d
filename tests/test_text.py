"""Strangers' text: what is not seen is written out where two names would look alike, and stays as it is elsewhere."""

from __future__ import annotations

import json

import pytest
from cli_world import call, finished_run, make_manifest, make_report, mislabel, row
from html_world import island
from review_world import make_run, report_rows

from cleanlab_lite.manifest.saved import save_manifest
from cleanlab_lite.report.page.html import build_page
from cleanlab_lite.report.page.notebook import html_view
from cleanlab_lite.run import RunFolder
from cleanlab_lite.text import points, renamed, room_of, short_names, shorten_path, tell_apart
from nlclean.review.samples import SampleReader


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat\u200b", r"cat\u200b"),  # zero-width space
        ("ca\u00adt", r"ca\xadt"),  # soft hyphen
        ("ca\u2060t", r"ca\u2060t"),  # word joiner
        ("cat\U000e0061\U000e007f", r"cat\U000e0061\U000e007f"),  # tag characters
        ("cat\ufe0f", r"cat\ufe0f"),  # variation selector
        ("c\u034fat", r"c\u034fat"),  # combining grapheme joiner
        ("cat\u3164", r"cat\u3164"),  # Hangul filler, a letter
        ("cat\u2800", r"cat\u2800"),  # Braille blank
        ("cat ", r"cat\x20"),
        (" cat", r"\x20cat"),
        ("cat\x00", r"cat\x00"),
        ("cat\u202e", r"cat\u202e"),
        ("cat\n", r"cat\n"),
    ],
)
def test_what_is_not_seen_is_written_out_where_names_look_alike(name, shown):
    assert tell_apart(["cat", name, "dog"]) == {name: shown}
    assert tell_apart([name, "dog"]) == {}  # alone it is what its owner calls it


@pytest.mark.parametrize(
    ("a", "b", "shown"),
    [
        ("caf\u00e9", "cafe\u0301", {"cafe\u0301": r"cafe\u0301"}),
        ("\u00c5", "\u212b", {"\u212b": r"\u212b"}),  # the sign of the unit
        ("two words", "two\u00a0words", {"two\u00a0words": r"two\xa0words"}),
        ("two words", "two  words", {"two  words": r"two \x20words"}),
        ("\ud55c", "\u1112\u1161\u11ab", {"\u1112\u1161\u11ab": r"\u1112\u1161\u11ab"}),  # one syllable, three letters
        ("a\u0301\u0323", "a\u0323\u0301", {"a\u0301\u0323": r"a\u0301\u0323", "a\u0323\u0301": r"a\u0323\u0301"}),
    ],
)
def test_accents_and_blanks_are_written_out_where_names_look_alike(a, b, shown):
    assert tell_apart([a, b]) == shown


def test_names_that_are_seen_to_differ_stay():
    emoji, persian = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert tell_apart([emoji, persian, "cafe\u0301", "cafe", "Cat", "cat", "1", "1.0", "", "\uff43at"]) == {}


def test_names_are_told_apart_by_what_is_shown():
    names = ["cat", "cat\u200b", "cat\u200c", "cat\u200b\u200b", "\u200bcat", "cat ", "cat\u2003", "cat\U000e0001"]
    shown = tell_apart(names)
    assert len({shown.get(name, name) for name in names}) == len(names)


def test_a_name_is_replaced_wherever_it_stands_alone():
    names = {"b\u200b": r"b\u200b"}
    assert renamed({"given": "b\u200b", "top": ["b\u200b", "b", None], "p": 0.5}, names) == {
        "given": r"b\u200b",
        "top": [r"b\u200b", "b", None],
        "p": 0.5,
    }


ALIKE, SHOWN = "cat\u200b", r"cat\u200b"


@pytest.fixture
def alike(tmp_path):
    """A run whose two classes are `cat` and `cat` with a zero-width space."""
    facts = {"rows": 1, "flagged": 1, "noise_rate": 0.5, "low": 0.4, "high": 0.6}
    rows = [
        mislabel(
            "a",
            content="aa",
            given_label="cat",
            suggested_label=ALIKE,
            knn_label=ALIKE,
            top_labels=[ALIKE],
            top_probs=[0.9],
        ),
        row("b", content="bb", given_label=ALIKE),
    ]
    report = make_report(
        rows,
        flagged=1,
        classes=[{"label": label, **facts} for label in ("cat", ALIKE)],
        confusions=[{"given": "cat", "suggested": ALIKE, "rows": 1, "expected": 0.9}],
    )
    run = finished_run(tmp_path / "run", report)
    manifest = make_manifest(tmp_path / "pets.csv", ["a", "b"], ["cat", ALIKE])
    save_manifest(manifest, run / "manifest.parquet")
    return run


def test_in_the_terminal_labels_that_look_alike_are_told_apart(alike, capsys):
    cleaned = make_report([row("a", content="aa", given_label="cat"), row("b", content="bb", given_label=ALIKE)])
    later = finished_run(alike.parent / "later", cleaned)
    for arguments in (["report", alike], ["compare", alike, later]):
        out = call(capsys, *arguments).out
        assert SHOWN in out and ALIKE not in out
    found = json.loads(call(capsys, "report", alike, "--json").out)
    assert found["suspicious"][0]["suggested_label"] == ALIKE  # for programs it is what it is


@pytest.mark.parametrize("form", ["text", "markdown", "junit", "sarif", "github"])
def test_in_a_check_labels_that_look_alike_are_told_apart(alike, form, capsys):
    out = call(capsys, "check", alike, "--max-suspects", "0", "--format", form).out
    assert SHOWN.replace("\\", "\\\\" if form == "sarif" else "\\") in out
    assert ALIKE not in out and json.dumps(ALIKE) not in out
    if form == "text":
        rows = json.loads(call(capsys, "check", alike, "--format", "json").out)["suspicious"]
        assert rows[0]["suggested_label"] == ALIKE


def test_in_a_notebook_and_on_the_page_labels_that_look_alike_are_told_apart(alike):
    run = RunFolder(alike)
    view = html_view(run.report)
    assert SHOWN in view and ALIKE not in view
    page = build_page(run)
    data = island(page)
    at = data["labels"].index(ALIKE)  # decisions need it as it is
    assert data["names"] == {str(at): SHOWN}
    frame = page.decode().replace(json.dumps(ALIKE, ensure_ascii=False), "")
    assert f'data-given="{SHOWN}"' in frame and ALIKE not in frame


def test_in_a_review_labels_that_look_alike_are_told_apart(tmp_path):
    rows = report_rows([f"{i:02}" for i in range(24)])
    rows = json.loads(json.dumps(rows).replace('"dog"', json.dumps(ALIKE)))
    samples = SampleReader(RunFolder(make_run(tmp_path, "vector", rows)))
    seen = samples.sample(3)
    assert SHOWN in str(seen) and ALIKE not in str(vars(seen)) + " ".join(seen.reasons)


SPECIES = [f"Species number {number} of a family with a rather long description" for number in range(28, 40)]


@pytest.mark.parametrize("width", [6, 8, 12, 13, 16, 24, 40])
def test_short_names_are_told_apart_and_fit(width):
    others = [
        "Species",
        "日本語のとても長いクラスの名前",
        "日本語" * 20,
        "x" * 80,
        "x" * 79,
        "x" * 78 + "y",
    ]
    names = [*SPECIES, *others]
    short = short_names(names, width)
    shown = [short.get(name, name) for name in names]
    assert len(set(shown)) == len(names)
    assert max(map(room_of, shown)) <= width
    assert set(short) == {name for name in names if room_of(name) > width}


def test_short_names_show_where_they_differ():
    assert short_names(SPECIES, 24)[SPECIES[3]] == "Specie...31 of a family…"
    assert short_names([SPECIES[3], "cat"], 24) == {SPECIES[3]: "Species nu...description"}  # nothing to tell it from


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("cats/0001.jpg", "cats/0001.jpg"),  # has room
        ("screws and nuts/0001.jpg", "scr...nuts/0001.jpg"),
        ("a/b/c/d/e/f/g/h/i/0001.jpg", "a/b.../h/i/0001.jpg"),
        ("cats/20231010_120000_131.wav", "cats/202..._131.wav"),  # no room for the name alone
        ("20231010_120000_131_left.wav", "20231010...left.wav"),
        ("cats/", "cats/"),
    ],
)
def test_of_a_long_path_the_folders_are_cut_first(path, shown):
    assert shorten_path(path, 19) == shown and room_of(shown) <= 19


def test_long_names_are_told_apart_wherever_they_are_shortened(tmp_path, capsys):
    facts = {"rows": 1, "flagged": 1, "noise_rate": 0.5, "low": 0.4, "high": 0.6}
    a, b = SPECIES[:2]
    flagged = {"given_label": a, "suggested_label": b, "knn_label": b, "top_labels": [b], "top_probs": [0.9]}
    told = {"knn_agreement": 0.1, "neighbors": ["b"], "reasons": ["neighbours_disagree"]}
    report = make_report(
        [mislabel("a", content="aa", **flagged, **told), row("b", content="bb", given_label=b)],
        flagged=1,
        classes=[{"label": label, **facts} for label in (a, b)],
        confusions=[{"given": a, "suggested": b, "rows": 1, "expected": 0.9}],
    )
    out = call(capsys, "report", finished_run(tmp_path / "run", report)).out
    assert "Species nu...description" not in out
    one, other = "Specie...28 of a family…", "Specie...29 of a family…"
    assert f"{one} -> {other}" in out and f"1 nearest rows are labelled {other}" in out.replace("All 1", "1")
    html = html_view(report)
    assert "Species nu" not in html.replace(a, "").replace(b, "")


@pytest.mark.parametrize(
    ("share", "said"), [(0.0, "+0.0"), (0.0004877, "+0.05"), (-0.0000031, "-0.0003"), (0.0212, "+2.1"), (-0.5, "-50.0")]
)
def test_a_difference_above_or_below_0_is_never_said_to_be_0(share, said):
    assert points(share) == said

"""`nlclean check`: limits and exit codes, every format read back by a real parser, lines of the manifest."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import xmlschema
from cli_world import (
    HOSTILE,
    call,
    finished_run,
    make_manifest,
    make_report,
    mislabel,
    on_terminal,
    row,
    summary,
)
from receivers import node_package

from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.manifest.saved import load_lines, load_manifest, save_manifest
from cleanlab_lite.run.layout import DECISIONS
from cleanlab_lite.run.report import COLUMNS, ISSUES

# what Jenkins' xUnit plugin takes; it came with pytest's sources, and holds its licence
JUNIT = xmlschema.XMLSchema10(Path(__file__).parent / "schemas" / "junit-10.xsd")
CLASSES = ("dog", "cat")
HOSTILE_LABELS = [
    HOSTILE,
    "<script>alert(1)</script>",
    "a|b`c``d",
    "</details>",
    "\\| x",
    "]]>&amp;\x00\ufffe",
    "@everyone #1 https://example.org",
    "",
]
CSV = """note,path,label
"two
lines",a.png,dog
"a ""quoted""

note",b.png,dog
plain,c.png,dog

plain,d.png,cat
"""
JSONL = """{"path": "a.png", "label": "dog"}

{"path": "b.png", "label": "dog"}
{"path": "c.png", "label": "dog"}

{"path": "d.png", "label": "cat"}
"""


@pytest.fixture(autouse=True)
def _in_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_run(folder: Path, manifest: Path, rows: list[dict], **changes) -> Path:
    """A run of the manifest; row i of the report describes row i of it."""
    read = read_manifest(manifest)
    about = asdict(summary().manifest) | {"path": str(manifest.absolute()), "rows": len(read), "labelled": len(read)}
    finished_run(folder, make_report(rows, manifest=about, **changes))
    save_manifest(replace(read, ids=np.array([each["id"] for each in rows])), folder / "manifest.parquet")
    return folder


@pytest.fixture
def run(tmp_path):
    """b.png and c.png of data/pets.csv are suspects."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pets.csv").write_text(CSV)
    return make_run(Path("run"), Path("data/pets.csv"), four())


def four(**c) -> list[dict]:
    return [
        row("a.png", content="aa"),
        mislabel("b.png", content="bb"),
        mislabel(
            "c.png", content="cc", **{"label_score": 0.01, "issue": "out_of_vocabulary", "suggested_label": None} | c
        ),
        row("d.png", content="dd", given_label="cat"),
    ]


# --- limits and exit codes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 0),
        (["--max-noise", "12.2%"], 1),
        (["--max-noise", "12.3 %"], 0),
        (["--max-noise", "0.123"], 0),
        (["--max-noise", "0"], 1),
        (["--max-noise", "100%"], 0),
        (["--max-suspects", "1"], 1),
        (["--max-suspects", "2"], 0),
        (["--max-suspects", "49.9%"], 1),
        (["--max-suspects", "50%"], 0),
        (["--max-suspects", "1", "--exit-zero"], 0),
        (["--max-suspects", "2", "--max-noise", "1%"], 1),
        (["--max-suspects", "999999999999999"], 0),
    ],
)
def test_limits(run, capsys, options, code):
    result = call(capsys, "check", run, *options)
    assert result.code == code
    exceeded = code == 1 or "--exit-zero" in options
    assert ("above the limit" in result.err) == ("FAILED" in result.out) == exceeded
    assert "2 suspects" in result.out


def test_a_terminal_says_once_what_is_exceeded(run):
    check = ("-m", "nlclean", "check", run, "--max-suspects", "1", "--exit-zero")
    _, screen = on_terminal(*check)
    assert screen.count("above the limit") == 1 and "FAILED" in screen
    out, screen = on_terminal(*check, stdout=subprocess.PIPE)
    assert out.count("above the limit") == screen.count("above the limit") == 1


@pytest.mark.parametrize("option", ["--max-noise", "--max-suspects"])
@pytest.mark.parametrize(
    "value", ["x", "", "-1", "1e2", "nan", "inf", "5%%", "%", "101%", "1.5", "9" * 5000, "\u0663", "1_0"]
)
def test_limits_that_are_none(run, capsys, option, value):
    result = call(capsys, "check", run, f"{option}={value}")
    assert (result.code, result.out) == (2, "")
    assert option in result.err


def test_a_percentage_without_its_sign_is_explained(run, capsys):
    assert "2% is a percentage" in call(capsys, "check", run, "--max-noise", "2").err


def test_new_suspects_need_a_baseline(run, capsys):
    result = call(capsys, "check", run, "--max-new-suspects", "0")
    assert result.code == 2 and "--baseline" in result.err


def test_what_cannot_be_read_or_written(run, capsys):
    assert call(capsys, "check", "nowhere").code == 3
    assert call(capsys, "check", run, "--baseline", "missing.json").code == 3
    assert call(capsys, "check", run, "--output", "no/such/folder.txt").code == 3
    Path("newer.json").write_text('{"nlclean_baseline": 99}')
    refused = call(capsys, "check", run, "--baseline", "newer.json")
    assert refused.code == 3 and "upgrade nlclean" in refused.err
    assert call(capsys, "check", run, "--format", "xml").code == 2


@pytest.mark.parametrize("option", ["--output", "--write-baseline"])
def test_the_audited_manifest_is_never_overwritten(run, capsys, option):
    result = call(capsys, "check", run, option, "data/pets.csv")
    assert result.code == 2 and "never changed" in result.err
    assert Path("data/pets.csv").read_text() == CSV


@pytest.mark.parametrize("option", ["--output", "--write-baseline"])
@pytest.mark.parametrize(
    "name", ["report.parquet", "manifest.parquet", "summary.json", "decisions.jsonl", "stages/x.json"]
)
def test_files_of_a_run_are_never_overwritten(run, capsys, option, name):
    before = (run / "report.parquet").read_bytes()
    for folder in (run, make_run(Path("other"), Path("data/pets.csv"), four())):
        result = call(capsys, "check", run, option, folder / name, "--force")
        assert result.code == 2 and "is a file of a run folder" in result.err
        assert not (folder / name).exists() or name.endswith(".parquet")
    assert (run / "report.parquet").read_bytes() == before


@pytest.mark.parametrize("option", ["--output", "--write-baseline"])
def test_audited_files_are_never_overwritten(run, capsys, option):
    Path("data/b.png").write_bytes(b"precious")
    Path("alias").symlink_to("data/b.png")
    for name in ("data/b.png", "alias", "data/../data/b.png"):
        result = call(capsys, "check", run, option, name, "--force")
        assert result.code == 2 and "is an audited file, which is never changed" in result.err
    assert Path("data/b.png").read_bytes() == b"precious" and Path("alias").is_symlink()


def test_a_baseline_is_overwritten_by_a_baseline_only(run, capsys):
    assert call(capsys, "check", run, "--write-baseline", "b.json").code == 0
    DecisionLog(run / DECISIONS).append(Decision("b.png", "keep", "dog"))
    before = Path("b.json").read_bytes()
    result = call(capsys, "check", run, "--baseline", "b.json", "--output", "b.json", "--force")
    assert result.code == 2 and "b.json is read by this command" in result.err
    result = call(capsys, "check", run, "--write-baseline", "b.json", "--output", "./b.json", "--force")
    assert result.code == 2 and "are both b.json" in result.err
    assert Path("b.json").read_bytes() == before
    assert (
        call(capsys, "check", run, "--baseline", "b.json", "--write-baseline", "b.json").code == 0
    )  # brought up to date
    assert Path("b.json").read_bytes() != before
    for text in ("precious", '{"nlclean_baseline": 99}', "{}"):
        Path("b.json").write_text(text)
        result = call(capsys, "check", run, "--write-baseline", "b.json")
        assert result.code == 2 and "b.json exists" in result.err and Path("b.json").read_text() == text
    assert call(capsys, "check", run, "--write-baseline", "b.json", "--force").code == 0


def test_a_file_is_replaced_whole_and_a_pipe_is_written_to(run, capsys, tmp_path):
    before = set(tmp_path.iterdir())
    Path("out.txt").write_text("old" * 10_000)
    refused = call(capsys, "check", run, "--output", "out.txt")
    assert refused.code == 2 and "out.txt exists" in refused.err and "--force" in refused.err
    assert Path("out.txt").read_text() == "old" * 10_000
    assert call(capsys, "check", run, "--output", "out.txt", "--force").out == "out.txt\n"
    assert "2 suspects" in Path("out.txt").read_text() and "old" not in Path("out.txt").read_text()
    assert call(capsys, "check", run, "--output", os.devnull).code == 0
    assert Path(os.devnull).exists() and not Path(os.devnull).is_file()
    assert set(tmp_path.iterdir()) - before == {tmp_path / "out.txt"}


def test_a_noise_rate_that_nobody_knows_is_over_any_limit(capsys, run):
    unknown = {"estimate": None, "low": 0.0, "high": 1.0, "method": "unknown"}
    make_run(Path("blind"), Path("data/pets.csv"), four(), noise_rate=unknown)
    result = call(capsys, "check", "blind", "--max-noise", "100%")
    assert result.code == 1 and "could not be determined" in result.err
    assert call(capsys, "check", "blind").code == 0


def test_a_manifest_of_another_length_is_refused(run, capsys):
    make_report([row("a", content="a")]).write(run / "report.parquet")
    assert call(capsys, "check", run).code == 3


def test_decisions_count(run, capsys):
    log = DecisionLog(run / DECISIONS)
    log.append(Decision("b.png", "keep", "dog"))
    assert "1 suspect, 1 accepted" in call(capsys, "check", run, "--max-suspects", "1").out
    log.append(Decision("c.png", "drop", "dog"))
    assert call(capsys, "check", run, "--max-suspects", "0").code == 1  # confirmed, and still there
    log.append(Decision("c.png", "keep", "dog"))
    assert call(capsys, "check", run, "--max-suspects", "0").code == 0


# --- baselines ------------------------------------------------------------------------------------------------------


def test_the_gate_with_a_baseline(run, capsys):
    first = call(capsys, "check", run, "--write-baseline", "baseline.json")
    assert first.code == 0 and first.err == "baseline of 4 rows: baseline.json\n"
    assert call(capsys, "check", run, "--baseline", "baseline.json").code == 0

    Path("data/new.csv").write_text("path,label\nrenamed.png,dog\nc.png,cat\ne.png,dog\na.png,dog\n")
    rows = [
        mislabel("renamed.png", content="bb"),  # as before under another name
        row("c.png", content="cc", given_label="cat"),  # relabelled, and fixed by it
        mislabel("e.png", content="ee"),  # added, and suspect
        mislabel("a.png", content="aa"),  # newly suspect
    ]
    make_run(Path("next"), Path("data/new.csv"), rows)
    result = call(capsys, "check", "next", "--baseline", "baseline.json", "--format", "json")
    changes = json.loads(result.out)["changes"]
    assert {name: [change["content"] for change in listed] for name, listed in changes.items()} == {
        "newly_suspect": ["ee", "aa"],
        "fixed": ["cc"],
        "relabelled": ["cc"],
        "added": ["ee"],
        "removed": ["dd"],
    }
    assert changes["relabelled"][0]["before"] == {"label": "dog", "state": "suspect"}
    assert result.code == 1 and "new suspects: 2, above the limit of 0" in result.err
    for limit, code in ((1, 1), (2, 0), (3, 0)):
        assert call(capsys, "check", "next", "--baseline", run, "--max-new-suspects", limit).code == code
    text = call(capsys, "check", "next", "--baseline", run / "report.parquet").out
    assert "new.csv:3: 'c.png': 'dog' -> 'cat'" in text
    assert "removed: 1\n  new.csv: 'd.png': 'cat'" in text
    assert text.startswith("newly suspect: 2, 1 of them added\n")
    page = call(capsys, "check", "next", "--baseline", run, "--format", "markdown").out
    assert "| newly suspect | 2, 1 of them added |" in page


def test_what_a_person_kept_once_is_not_asked_again(run, capsys):
    DecisionLog(run / DECISIONS).append(Decision("b.png", "keep", "dog"))
    call(capsys, "check", run, "--write-baseline", "baseline.json")
    make_run(Path("next"), Path("data/pets.csv"), four())
    options = ["--baseline", "baseline.json", "--max-suspects", "1", "--write-baseline", "second.json"]
    assert call(capsys, "check", "next", *options).code == 0
    assert Path("second.json").read_bytes() == Path("baseline.json").read_bytes()


def test_a_baseline_of_another_dataset(run, capsys):
    Path("other.json").write_text('{"nlclean_baseline": 1, "suspect": {}, "accepted": {}, "fine": {"zz": ["dog"]}}')
    result = call(capsys, "check", run, "--baseline", "other.json", "--exit-zero")
    assert result.code == 0
    assert "is it of another dataset?" in result.err


# --- formats --------------------------------------------------------------------------------------------------------


def formatted(capsys, form: str, *arguments: object) -> str:
    """The document, printed and written to a file alike."""
    printed = call(capsys, "check", *arguments, "--format", form).out
    result = call(capsys, "check", *arguments, "--format", form, "--output", "document", "--force")
    assert result.out == "document\n"
    assert Path("document").read_text("utf-8") == printed
    if form == "junit":
        JUNIT.validate(printed)
    return printed


@pytest.fixture
def hostile(tmp_path):
    """A run in which ids and labels are out to do harm."""
    ids = [f"{place}/{text or 'empty'}" for place, text in enumerate(HOSTILE_LABELS)]
    lines = [f"{place}.png,{CLASSES[place % 2]}" for place in range(len(ids))]
    Path("bad.csv").write_text("\n".join(["path,label", *lines]))
    rows = [
        mislabel(id, content=f"{place:016}", given_label=text, suggested_label=text * 100)
        for place, (id, text) in enumerate(zip(ids, HOSTILE_LABELS, strict=True))
    ]
    return make_run(Path("hostile"), Path("bad.csv"), rows)


def test_text_is_safe_for_a_terminal(hostile, capsys):
    out = call(capsys, "check", hostile, "--max-suspects", "0").out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ufffe]", out)


def test_json(run, capsys):
    document = json.loads(formatted(capsys, "json", run, "--max-suspects", "1", "--top", "0"))
    assert document["exceeded"] is True and document["changes"] is None
    assert document["limits"][0] == {
        "limit": "max-suspects",
        "bound": 1,
        "found": 2,
        "exceeded": True,
        "message": "suspects: 2, above the limit of 1",
    }
    assert [(each["id"], each["line"]) for each in document["suspicious"]] == [("c.png", 7), ("b.png", 4)]


def test_json_keeps_texts_as_they_are(hostile, capsys):
    document = json.loads(formatted(capsys, "json", hostile))
    assert sorted(each["label"] for each in document["suspicious"]) == sorted(HOSTILE_LABELS)


def test_junit(run, capsys):
    suites = ET.fromstring(formatted(capsys, "junit", run, "--max-suspects", "1", "--max-noise", "50%"))
    assert suites.tag == "testsuites"
    [suite] = suites
    assert suite.tag == "testsuite"
    assert {"name", "tests", "failures", "errors", "skipped", "time"} == set(suite.attrib)
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    passed, failed = suite.findall("testcase")
    assert [case.get("name") for case in (passed, failed)] == ["max-noise", "max-suspects"]
    assert all({"name", "classname", "time"} == set(case.attrib) for case in (passed, failed))
    assert len(passed) == 0
    [failure] = failed
    assert failure.get("message") == "suspects: 2, above the limit of 1"
    assert failure.text is not None
    assert failure.text.splitlines()[0].startswith("pets.csv:7: 'c.png': label 'dog' is probably wrong")
    assert suite[-1].tag == "system-out"  # behind the test cases, as the schema has it


def test_junit_holds_the_top_rows(run, capsys):
    suites = ET.fromstring(formatted(capsys, "junit", run, "--max-suspects", "0", "--top", "1"))
    text = suites.findtext("testsuite/testcase/failure")
    assert text is not None and text.splitlines()[1:] == ["and 1 more"]


def test_junit_survives_hostile_texts(hostile, capsys):
    suites = ET.fromstring(formatted(capsys, "junit", hostile, "--max-suspects", "0"))
    text = suites.findtext("testsuite/testcase/failure")
    assert text is not None and len(text.splitlines()) == len(HOSTILE_LABELS)
    assert "<script>" in text and "\\x1b[2J" in text


def test_annotations_of_a_workflow(run, capsys):
    lines = formatted(capsys, "github", run, "--max-suspects", "1", "--top", "1").splitlines()
    assert lines[0].startswith("::error file=") and ",line=" in lines[0] and ",title=wrong label::'" in lines[0]
    assert lines[1].startswith("::error::suspects: 2, above the limit of 1")
    assert lines[2].startswith("::notice::") and lines[2].endswith("1 more are not shown")
    lines = formatted(capsys, "github", run, "--baseline", run).splitlines()
    assert len(lines) == 1 and lines[0].startswith("::notice")


def test_annotations_let_no_text_out_of_them(hostile, capsys):
    out = formatted(capsys, "github", hostile)
    assert all(re.match(r"::(warning |notice::)", line) for line in out.splitlines())
    assert len(out.splitlines()) == len(HOSTILE_LABELS) + 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ufffe]", out)


def test_what_is_new_comes_before_the_counts_and_what_is_not_new_is_only_counted(run, capsys):
    lines = call(capsys, "check", run, "--baseline", run).out.splitlines()
    assert lines[0] == "newly suspect: 0" and "2 suspects" in lines[-2]
    assert not any("probably wrong" in line for line in lines)
    lines = call(capsys, "check", run).out.splitlines()
    assert lines[0] == "suspects: 2" and "probably wrong" in lines[1]


def test_markdown(run, capsys):
    text = formatted(capsys, "markdown", run, "--baseline", run, "--max-noise", "1%")
    assert text.startswith("### nlclean check: a limit is exceeded\n")
    assert "| `max-noise` | **exceeded** | noise rate: 12.3 %, above the limit of 1 % |" in text
    assert "<details><summary>2 suspects</summary>\n\n| line |" in text
    assert "| 4 | `b.png` | `dog` | `cat` | 95 % | wrong label |" in text
    assert "1 of them here" in formatted(capsys, "markdown", run, "--top", "1")


def test_markdown_lets_no_text_out_of_its_cell(hostile, capsys):
    markdown = pytest.importorskip("markdown_it")
    text = formatted(capsys, "markdown", hostile, "--baseline", hostile)
    tokens = markdown.MarkdownIt("commonmark").enable("table").parse(text)
    cells = [token for token in tokens if token.type == "inline"]
    kinds = {child.type for token in cells for child in token.children or []}
    assert kinds <= {"text", "code_inline", "strong_open", "strong_close"}
    blocks = [token.content.strip() for token in tokens if token.type == "html_block"]
    assert all(re.fullmatch(r"<details><summary>[\w ]+</summary>|</details>", block) for block in blocks)
    rows = text[text.index("<details>") :].count("\n| ") - 2
    assert rows == len(HOSTILE_LABELS)
    assert len([token for token in tokens if token.type == "td_open"]) == 6 * rows + 3 + 2 * 5
    shown = {child.content for token in cells for child in token.children or [] if child.type == "code_inline"}
    assert {"a|b`c``d", "<script>alert(1)</script>", "</details>"} <= shown
    assert max(map(len, text.splitlines())) < 700  # long labels are cut


# --- SARIF ----------------------------------------------------------------------------------------------------------


def sarif(capsys, *arguments: object) -> dict:
    """The one run of a SARIF document, after what version 2.1.0 demands of any."""
    document = json.loads(formatted(capsys, "sarif", *arguments))
    assert set(document) == {"$schema", "version", "runs"}
    assert document["version"] == "2.1.0" and "sarif-schema-2.1.0.json" in document["$schema"]
    [found] = document["runs"]
    assert set(found) == {"tool", "columnKind", "results"}
    assert found["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    driver = found["tool"]["driver"]
    assert driver["name"] == "nlclean" and isinstance(driver["version"], str)
    assert len({rule["id"] for rule in driver["rules"]}) == len(driver["rules"])
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    for result in found["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        assert result.get("baselineState", "new") in ("new", "unchanged", "updated", "absent")
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
        for location in result["locations"]:
            physical = location["physicalLocation"]
            assert re.fullmatch(r"[\w./:%~?&=-]+", physical["artifactLocation"]["uri"])
            assert physical.get("region", {"startLine": 1})["startLine"] >= 1
    return found


def places(found: dict) -> list[tuple[str, int | None]]:
    physical = [result["locations"][0]["physicalLocation"] for result in found["results"]]
    return [(each["artifactLocation"]["uri"], each.get("region", {}).get("startLine")) for each in physical]


@pytest.mark.parametrize(("name", "text"), [("pets.csv", CSV), ("pets.jsonl", JSONL)])
def test_sarif_points_at_the_line_of_the_row(tmp_path, capsys, name, text):
    Path(name).write_text(text)
    found = sarif(capsys, make_run(Path("run"), Path(name), four()))
    assert [uri for uri, _ in places(found)] == [name, name]
    lines = text.split("\n")
    for (_, line), id in zip(places(found), ("c.png", "b.png"), strict=True):
        assert line is not None
        # the row starts in this line; a quoted field may carry its path to a later one
        record = (
            next(csv.reader(io.StringIO("\n".join(lines[line - 1 :])))) if name.endswith(".csv") else [lines[line - 1]]
        )
        assert any(id in cell for cell in record)


def test_sarif_results(run, capsys):
    found = sarif(capsys, run)
    assert [result["ruleId"] for result in found["results"]] == ["out_of_vocabulary", "mislabel"]
    assert {result["level"] for result in found["results"]} == {"warning"}
    assert all("baselineState" not in result for result in found["results"])
    assert found["results"][1]["message"]["text"] == (
        "'b.png': label 'dog' is probably wrong (95 %), 'cat' fits better: "
        "another class was ahead on average over training"
    )
    assert {result["level"] for result in sarif(capsys, run, "--max-suspects", "1")["results"]} == {"error"}


def test_sarif_against_a_baseline(run, capsys):
    make_run(Path("before"), Path("data/pets.csv"), [*four()[:2], row("c.png", content="cc"), four()[3]])
    found = sarif(capsys, run, "--baseline", "before")
    assert [(result["baselineState"], result["level"]) for result in found["results"]] == [
        ("new", "error"),
        ("unchanged", "warning"),
    ]


def test_sarif_fingerprints_survive_a_rename_and_not_a_new_label(run, capsys):
    def fingerprint(**changes) -> str:
        folder = Path(f"run{len(list(Path().iterdir()))}")
        rows = [mislabel("b.png", content="bb") | changes, *four()[1:]]
        results = sarif(capsys, make_run(folder, Path("data/pets.csv"), rows))["results"]
        return results[1]["partialFingerprints"]["nlcleanRow/v1"]

    assert fingerprint() == fingerprint(id="renamed.png") != fingerprint(given_label="owl")


def test_sarif_of_hostile_texts(hostile, capsys):
    found = sarif(capsys, hostile)
    assert len(found["results"]) == len(HOSTILE_LABELS)
    assert not any("\x1b" in result["message"]["text"] for result in found["results"])


def test_sarif_of_a_class_folder_tree_points_at_the_files(capsys):
    names = ["cat/d 1.png", "dog/\u00e4.png"]
    for name in names:
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Path("photos", name).write_bytes(b"")
    rows = [mislabel(name, content=name[:3], path=name) for name in names]
    found = sarif(capsys, make_run(Path("run"), Path("photos"), rows))
    assert places(found) == [("photos/cat/d%201.png", None), ("photos/dog/%C3%A4.png", None)]


def test_sarif_of_metadata_in_a_folder_points_at_the_table(capsys):
    Path("photos").mkdir()
    Path("photos/metadata.csv").write_text("file_name,label\na.png,cat\nb.png,dog\n")
    found = sarif(capsys, make_run(Path("run"), Path("photos"), [row("a.png"), mislabel("b.png")]))
    assert places(found) == [("photos/metadata.csv", 3)]


def test_sarif_beyond_the_folder_is_a_file_uri(run, capsys, monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = sarif(capsys, tmp_path / "run")
    assert places(found)[0] == ((tmp_path / "data" / "pets.csv").as_uri(), 7)


def test_a_remote_manifest_keeps_its_url(capsys):
    manifest = make_manifest(Path("pets.csv"), ["a.png"], ["dog"])
    run = finished_run(Path("run"), make_report([mislabel("a.png", content="aa")]))
    url = "https://example.org/sets/my%20pets.csv?v=2"
    save_manifest(replace(manifest, source=replace(manifest.source, path=url)), run / "manifest.parquet")
    assert places(sarif(capsys, run)) == [(url, None)]


@pytest.mark.slow
def test_sarif_by_the_validator_of_its_makers(run, hostile, capsys):
    """Microsoft's multitool holds a document against the official schema, and knows rules that no schema can say."""
    tool = node_package("@microsoft/sarif-multitool") / "bin.js"
    make_run(Path("before"), Path("data/pets.csv"), [*four()[:2], row("c.png", content="cc"), four()[3]])
    documents = {
        "plain": [run],
        "failed": [run, "--max-suspects", "1"],
        "baseline": [run, "--baseline", "before"],
        "hostile": [hostile],
    }
    for name, arguments in documents.items():
        Path(f"{name}.sarif").write_text(formatted(capsys, "sarif", *arguments), "utf-8")
    broken = json.loads(Path("plain.sarif").read_text("utf-8"))
    broken["runs"][0]["tool"]["driver"]["rules"][0]["id"] = 5
    Path("broken.sarif").write_text(json.dumps(broken), "utf-8")
    files = [f"{name}.sarif" for name in [*documents, "broken"]]
    environment = os.environ | {"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}  # it runs without ICU then
    command = ["node", str(tool), "validate", *files, "--output", "found.json"]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    [judged] = json.loads(Path("found.json").read_text("utf-8"))["runs"]
    found = {
        (Path(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]).stem, result["ruleId"])
        for result in judged["results"]
    }
    assert ("broken", "JSON1001") in found  # it looks
    # of ours it only misses an address of the tool, and there is none yet
    assert {each for each in found if each[0] != "broken"} == {(name, "SARIF2005") for name in documents}


def test_lines_are_read_without_the_rest(run):
    lines, whole = load_lines(run / "manifest.parquet"), load_manifest(run / "manifest.parquet")
    assert lines.source == whole.source and lines.ids.to_pylist() == whole.ids.tolist()
    assert lines.numbers is not None and lines.numbers.tolist() == whole.lines.tolist() == [2, 4, 7, 9]


# --- docs -----------------------------------------------------------------------------------------------------------

DOCS = Path(__file__).parents[1] / "docs"


def test_the_examples_of_the_docs_run(run, capsys):
    text = (DOCS / "check.md").read_text("utf-8")
    examples = re.findall(r"^ {4}.*?nlclean check ([^#|\n]+)", text, re.MULTILINE)
    assert len(examples) >= 6
    for example in examples:
        words = ["run" if word in ("RUN", "NEW_RUN") else word for word in shlex.split(example)]
        if words[0].startswith("--"):
            words.insert(0, "run")  # the newest one
        expected = 1 if "--max-noise" in words else 0
        assert call(capsys, "check", *words).code == expected, example
    assert Path("labels.baseline.json").is_file() and Path("labels.sarif").is_file()


def test_the_options_of_the_docs_exist(capsys):
    text = (DOCS / "check.md").read_text("utf-8")
    known = "".join(call(capsys, command, "--help").out for command in ("check", "audit", "runs"))
    assert {option for option in re.findall(r"--[a-z][a-z-]+", text) if option not in known} == set()


def test_the_page_of_columns_tells_all_of_them():
    text = (DOCS / "columns.md").read_text("utf-8")
    rows = [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| `")]
    told = [(name.strip("`"), *(cell.replace("\\|", "|").strip() for cell in cells[:3])) for name, *cells in rows]
    assert told == [(name, str(dtype), unit, meaning) for name, dtype, unit, meaning in COLUMNS]
    assert set(re.findall(r"^- `(\w+)`", text, re.MULTILINE)) == {*ISSUES} - {"none"}

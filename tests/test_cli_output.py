"""What `report` prints, for people and for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from cli_world import HOSTILE, HOSTILE_SHOWN, call, finished_run, make_report, mislabel, on_terminal, row

from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.run.report import COLUMNS
from cleanlab_lite.text import escape, shorten

ROWS = [
    row("a.png"),
    mislabel("b.png", label_score=0.2, p_mislabel=0.8),
    mislabel("c.png", label_score=0.1, p_mislabel=0.9, reasons=["negative_margin", "neighbours_disagree"]),
    row("d.png", given_label="cat"),
]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "nlclean-runs" / "pets" / "20260101T000000Z-0123abcd"
    finished_run(folder, make_report(ROWS))
    for name in ("pruned.csv", "corrected.csv"):  # which an audit leaves
        (folder / name).touch()
    return folder


def test_the_view_says_rate_classes_confusions_rows_and_what_next(run, capsys):
    result = call(capsys, "report", run)
    assert result.code == 0
    assert result.err == ""
    out = result.out
    assert "noise rate: 12.3 %, between 10.0 % and 15.0 %" in out
    assert "flagged: 2 rows (wrong label 2)\n" in out
    assert out.index("Worst classes") < out.index("dog") < out.index("cat")
    assert "Top confusions" in out
    assert out.index("c.png") < out.index("b.png")  # most suspicious first
    assert "dog -> cat 90 %" in out
    assert "Another class was ahead on average over training; the nearest rows carry another label" in out
    assert "a.png" not in out
    assert f"nlclean export {run} --policy correct-prune   # 2 to relabel, other flagged rows left out" in out
    assert out.splitlines()[-1] == str(run / "report.parquet")
    assert "\x1b" not in out


def test_the_newest_run_is_the_default(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = run.relative_to(tmp_path) / "report.parquet"
    assert call(capsys, "report").out.splitlines()[-1] == str(path)
    assert call(capsys, "report", path).out.splitlines()[-1] == str(path)


def test_a_low_terminal_is_shown_the_headline_some_rows_and_what_next(run):
    def shown(*more: object) -> list[str]:
        _, text = on_terminal("-m", "nlclean", "report", run, *more, LINES="24", COLUMNS="80", NO_COLOR="1")
        return text.strip().splitlines()

    lines = shown()
    low = "\n".join(lines)
    assert len(lines) <= 24
    for needed in ("noise rate: 12.3 %", "c.png", "Next:", "nlclean review", f"nlclean report {run} --top 20"):
        assert needed in low.replace("\r", "")
    assert "Worst classes" not in low
    assert "Worst classes" in "\n".join(shown("--top", 20))


def test_top_limits_the_rows(run, capsys):
    out = call(capsys, "report", run, "--top", 1).out
    assert "c.png" in out
    assert "b.png" not in out
    assert "Most suspicious" not in call(capsys, "report", run, "--top", 0).out


def test_json_is_the_summary_the_path_and_the_rows(run, capsys):
    result = call(capsys, "report", run, "--json", "--top", 1)
    document = json.loads(result.out)
    assert document["noise_rate"]["estimate"] == 0.123
    assert document["report"] == str(run / "report.parquet")
    assert [entry["id"] for entry in document["suspicious"]] == ["c.png"]
    assert document["suspicious"][0]["p_mislabel"] == 0.9


def test_json_knows_no_nan(tmp_path, capsys):
    rate = {"estimate": 0.1, "low": float("nan"), "high": float("inf"), "method": "x"}
    folder = finished_run(tmp_path / "run", make_report(ROWS, noise_rate=rate))
    document = json.loads(call(capsys, "report", folder, "--json").out, parse_constant=pytest.fail)
    assert document["noise_rate"] == {"estimate": 0.1, "low": None, "high": None, "method": "x"}


def test_schema_describes_every_column(capsys):
    columns = json.loads(call(capsys, "report", "--schema").out)
    assert [column["name"] for column in columns] == [name for name, *_ in COLUMNS]
    assert columns[8] == {
        "name": "p_mislabel",
        "type": "float",
        "range": "0-1",
        "meaning": "calibrated probability that the given label is wrong",
    }


def test_warnings_go_to_stderr(tmp_path, capsys):
    folder = finished_run(tmp_path / "run", make_report(ROWS, warnings=["class cat has one row"]))
    result = call(capsys, "report", folder)
    assert result.err == "warning: class cat has one row\n"
    assert call(capsys, "-q", "report", folder).err == ""
    assert call(capsys, "report", "-q", folder).err == ""


def advised(tmp_path, capsys, rows):
    """The export that `report` names for a run of which the audit has left corrected.csv only."""
    folder = finished_run(tmp_path / f"run-{len(rows)}", make_report(rows))
    (folder / "corrected.csv").touch()
    steps = call(capsys, "report", folder).out.split("Next:")[1]
    assert "nlclean review" in steps
    return [line.strip() for line in steps.splitlines() if "nlclean export" in line]


def test_an_export_that_would_be_refused_is_not_advised(tmp_path, capsys):
    """Where only a rare class loses too much, the most probable half of it may go; where too many rows do, no export
    is named that leaves them out."""
    owls = [mislabel(f"{i}.png", given_label="owl", action="review") for i in range(3)]
    kept = [row("3.png", given_label="owl"), *(row(f"{i}.png") for i in range(4, 14)), mislabel("14.png")]
    [step] = advised(tmp_path, capsys, [*owls, *kept])
    assert "--policy correct-prune --max-drop-per-class 50%   # 1 to relabel, other flagged rows left out" in step
    many = [mislabel(f"{i}.png", action="review") for i in range(20, 23)]  # 4 of 9 rows, no class more than half
    [step] = advised(tmp_path, capsys, [owls[0], *many, *kept[:4], kept[-1]])
    assert "--policy correct " in step


def test_one_policy_is_advised(tmp_path, capsys):
    """Without a correction `correct-prune` would be called by a name that promises more than it does."""
    rows = [each | {"action": "review" if each["is_label_issue"] else "keep"} for each in ROWS]
    folder = finished_run(tmp_path / "run", make_report(rows))
    (folder / "pruned.csv").touch()
    steps = call(capsys, "report", folder).out.split("Next:")[1]
    assert steps.count("nlclean export") == 1 and "--policy prune " in steps


def test_after_decisions_nothing_is_counted_that_they_change(run, capsys):
    DecisionLog(run / "decisions.jsonl").append(Decision("b.png", "keep", "dog", reviewer="ann"))
    steps = call(capsys, "report", run).out.split("Next:")[1]
    assert "# as people have decided, the other rows as the audit advises" in steps
    assert "--policy correct-prune" in steps
    assert "# go on" in steps and "to relabel" not in steps


def test_what_is_protected_is_not_promised(tmp_path, capsys):
    """An export leaves test rows as they are, so they are in no count of what it does."""
    folder = finished_run(tmp_path / "run", make_report([*ROWS, mislabel("e.png", split="Test")]))
    for name in ("pruned.csv", "corrected.csv"):
        (folder / name).touch()
    assert "--policy correct-prune   # 2 to relabel," in call(capsys, "report", folder).out
    finished_run(tmp_path / "all", make_report([each | {"split": "test"} for each in ROWS]))
    (tmp_path / "all" / "pruned.csv").touch()
    assert "nlclean export" not in call(capsys, "report", tmp_path / "all").out


def test_the_parts_of_what_is_flagged_add_up(tmp_path, capsys):
    """Of contradicting copies some are flagged, others not: neither is counted twice."""
    issues = {"none": 4, "mislabel": 3, "out_of_vocabulary": 1, "duplicate_conflict": 3, "unreadable": 2}
    folder = finished_run(tmp_path / "run", make_report(ROWS, flagged=5, issues=issues))
    out = call(capsys, "report", folder).out
    assert "flagged: 5 rows (wrong label 3, no class fits 1, contradicting copy 1)\n" in out
    assert "not flagged, with an issue: 4 rows (contradicting copy 2, unreadable 2)\n" in out
    assert "look at 5 flagged and 4 other rows" in out


def test_what_is_noted_of_files_is_counted_apart(tmp_path, capsys):
    reasons = {"high_loss": 3, "near_duplicate": 2, "odd_size": 1, "blurred": 1_200}
    out = call(capsys, "report", finished_run(tmp_path / "run", make_report(ROWS, reasons=reasons))).out
    assert "\nnoted: blurred 1,200, odd_size 1\n" in out


@pytest.mark.parametrize("columns", [80, 200])
def test_every_row_has_its_sentence_on_any_terminal(tmp_path, columns):
    wide = mislabel(
        "a/long/path/to/some/picture/of/a/dog.png",
        given_label="Staffordshire Bullterrier",
        suggested_label="American Staffordshire Terrier",
        reasons=["neighbours_disagree", "never_learned"],
        knn_label="American Staffordshire Terrier",
        neighbors=["b"],
    )
    rows = [wide, row("b", given_label="American Staffordshire Terrier")]
    folder = finished_run(tmp_path / "run", make_report(rows))
    _, shown = on_terminal("-m", "nlclean", "report", folder, COLUMNS=str(columns), LINES="50", NO_COLOR="1")
    table = shown[shown.index("Most suspicious") : shown.index("Next:")]
    assert max(map(len, table.splitlines())) <= columns
    assert "90 %" in table and "1 nearest rows are labelled American" in " ".join(table.split())


def test_names_of_files_take_the_room_that_is_there(tmp_path):
    """Of frames in folders of classes the number tells one from the other, and the folder stands beside it already."""
    rows = [mislabel(f"screws and nuts/seq{i}_frame000.jpg", given_label="screws and nuts") for i in range(3)]
    folder = finished_run(tmp_path / "run", make_report(rows))
    _, shown = on_terminal("-m", "nlclean", "report", folder, COLUMNS="80", LINES="50", NO_COLOR="1")
    assert all(f"/seq{i}_frame000.jpg" in shown for i in range(3))
    assert max(map(len, shown[: shown.index("Next:")].splitlines())) <= 80


UNLEARNED = {
    "noise_rate": {"estimate": None, "low": 0.0, "high": 1.0, "method": "unknown: nothing was learned"},
    "flagged": 0,
    "issues": {"none": 3, "unreadable": 1},
    "actions": {"keep": 3, "drop": 1},
    "confusions": [],
    "classes": [{"label": "cat", "rows": 4, "flagged": 0, "noise_rate": None, "low": None, "high": None}],
    "proxy": {"proxy": "cnn", "epochs": 8},
}


def test_where_nothing_was_learned_the_report_says_what_to_try(tmp_path, capsys):
    unjudged = [row(id, p_mislabel=None, label_score=None) for id in "abc"]
    broken = row("d", p_mislabel=None, label_score=None, issue="unreadable", reasons=["file_empty"])
    folder = finished_run(tmp_path / "run", make_report([*unjudged, broken], **UNLEARNED))
    for name in ("pruned.csv", "corrected.csv"):
        (folder / name).touch()
    out = call(capsys, "report", folder).out
    assert "noise rate: unknown: nothing was learned\nflagged: 0 rows\n" in out
    for absent in ("Worst classes", "Most suspicious", "nlclean export", " - ", "->"):
        assert absent not in out
    assert "--proxy lite0" in out and "--epochs 16" in out
    document = json.loads(call(capsys, "report", folder, "--json").out)
    assert document["advice"] and all(text in out for text in document["advice"])
    assert (
        json.loads(call(capsys, "report", finished_run(tmp_path / "other", make_report(ROWS)), "--json").out)["advice"]
        == []
    )


def test_copies_with_different_labels_are_proof_where_nothing_was_learned(tmp_path, capsys):
    values = {"p_mislabel": None, "label_score": None, "issue": "duplicate_conflict", "reasons": ["duplicate_conflict"]}
    rows = [row("a", content="00", **values), row("b", given_label="cat", duplicate_of="a", content="00", **values)]
    issues = {"issues": {"none": 0, "duplicate_conflict": 2}}
    out = call(capsys, "report", finished_run(tmp_path / "run", make_report(rows, **UNLEARNED | issues))).out
    assert "Copies that carry different labels" in out and "The same content occurs with another label" in out


def test_an_undetermined_rate_advises_no_export(tmp_path, capsys):
    rate = {"estimate": 0.3, "low": 0.0, "high": 0.9, "method": "planted errors"}
    folder = finished_run(tmp_path / "run", make_report(ROWS, noise_rate=rate))
    for name in ("pruned.csv", "corrected.csv"):
        (folder / name).touch()
    out = call(capsys, "report", folder).out
    assert "nlclean review" in out and "nlclean export" not in out


def test_nothing_flagged_is_no_table(tmp_path, capsys):
    empty = make_report([row("a")], flagged=0, confusions=[], issues={"none": 1}, actions={"keep": 1})
    folder = finished_run(tmp_path / "run", empty)
    for name in ("pruned.csv", "corrected.csv"):
        (folder / name).touch()
    out = call(capsys, "report", folder).out
    assert "nlclean review" not in out and "nlclean export" not in out
    assert "flagged: 0 rows\n" in out
    assert "Most suspicious" not in out
    assert "Top confusions" not in out


def hostile_run(folder):
    rows = [mislabel(f"{HOSTILE}.png", given_label=HOSTILE, reasons=[HOSTILE])]
    classes = [{"label": HOSTILE, "rows": 1, "flagged": 1, "noise_rate": 1.0, "low": 0.9, "high": 1.0}]
    confusions = [{"given": HOSTILE, "suggested": "cat", "rows": 1, "expected": 1.0}]
    manifest = {"path": HOSTILE, "rows": 1, "labelled": 1, "classes": 2, "modality": "image"}
    changes = {"classes": classes, "confusions": confusions, "manifest": manifest, "warnings": [HOSTILE]}
    return finished_run(folder, make_report(rows, **changes))


def test_hostile_names_are_shown_escaped(tmp_path, capsys):
    folder = hostile_run(tmp_path / "run")
    result = call(capsys, "report", folder)
    for text in (result.out, result.err):
        assert not {"\x1b", "\u202e"} & set(text)
    assert f"{HOSTILE_SHOWN}.png" in result.out  # the id, markup and all, on one line
    assert shorten(HOSTILE_SHOWN, 24) in result.out
    assert "[red]" in result.out
    document = call(capsys, "report", folder, "--json").out
    assert document.isascii()
    assert json.loads(document)["suspicious"][0]["given_label"] == HOSTILE


def test_hostile_names_on_a_terminal(tmp_path):
    """Colours are rich's own; the codes of a label never reach the terminal."""
    folder = hostile_run(tmp_path / "run")
    _, shown = on_terminal("-m", "nlclean", "report", folder)
    assert "\x1b[1m" in shown
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    _, shown = on_terminal("-m", "nlclean", "report", folder, TERM="dumb")
    assert "\x1b" not in shown


def test_a_label_beyond_the_code_page_is_no_crash(tmp_path):
    folder = finished_run(tmp_path / "run", make_report([mislabel("猫.png", given_label="🐈")]))
    environ = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-m", "nlclean", "report", folder], capture_output=True, env=environ)
    assert done.returncode == 0
    assert rb"\u732b.png" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise")
def test_a_reader_that_leaves_is_no_error(run):
    command = f"{sys.executable} -m nlclean report --schema | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[\n", "")


def test_text_helpers():
    assert escape("plain é 猫 🐈") == "plain é 猫 🐈"
    assert escape("a\tb\r\x85\udcff\ufeff") == r"a\tb\r\x85\udcff\ufeff"
    assert escape("a\nb", keep="\n") == "a\nb"
    assert shorten("x" * 40, 40) == "x" * 40
    assert shorten("start-" + "x" * 99 + "-end.png", 20) == "start-xx...x-end.png"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::set-output name=a::b", r"\x3a:set-output name=a::b"),
        ("  ::error::x", r"  \x3a:error::x"),
        ("a ##vso[task.setvariable]b", r"a \x23#vso[task.setvariable]b"),
        ("##[error]x", r"\x23#[error]x"),
        ("std::vector", "std::vector"),
        ("## a heading", "## a heading"),
        (":: two", ":: two"),
    ],
)
def test_commands_of_ci_systems_are_broken_up(text, shown):
    assert escape(text) == shown


def test_a_terminal_breaks_lines_between_words_and_cuts_a_long_path_in_the_middle(tmp_path):
    path = f"/data/{'deep/' * 20}pets.csv"
    manifest = {"path": path, "rows": 4, "labelled": 4, "classes": 2, "modality": "image"}
    warning = "a sentence that is much longer than a line of a terminal which has only sixty characters in it, really"
    run = finished_run(
        tmp_path / "run", make_report([mislabel("a.png"), row("b.png")], manifest=manifest, warnings=[warning])
    )
    _, shown = on_terminal("-m", "nlclean", "report", run, COLUMNS="60", NO_COLOR="1")
    lines = shown.replace("\r\n", "\n").split("\n")
    assert lines[0].startswith("warning: a sentence") and lines[1].startswith("    ") and len(lines[0]) <= 60
    assert "/data/deep" in shown and "..." in shown and "pets.csv: 4 rows" in shown and path not in shown
    piped = subprocess.run([sys.executable, "-m", "nlclean", "report", run], capture_output=True, text=True)
    assert path in piped.stdout and f"warning: {warning}\n" in piped.stderr

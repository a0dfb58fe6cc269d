"""Exit codes, streams, start-up: what a script relies on."""

from __future__ import annotations

import errno
import json
import logging
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_world import (
    HOSTILE,
    HOSTILE_SHOWN,
    call,
    fake_pipeline,
    loaded_by_all,
    make_manifest,
    make_report,
    mislabel,
    row,
)

from cleanlab_lite import errors
from cleanlab_lite.config import FIELDS
from cleanlab_lite.progress import Progress
from nlclean import diagnostics
from nlclean.commands.doctor import guess_graphics
from nlclean.diagnostics import ExitCode
from nlclean.help import GROUPS
from nlclean.main import COMMANDS, program


@pytest.fixture
def audit(tmp_path, monkeypatch, capsys):
    """Call `nlclean audit` with a pipeline that raises an error, or else finds one wrong label."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.csv").write_text("file,species,label\na.png,1,dog\nb.png,2,cat\nc.png,1,dog\nd.png,1,cat\n")
    report = make_report([row("a.png"), mislabel("b.png")])

    def run(*arguments, error: BaseException | None = None):
        def pipeline(given, config, *, run, source, on_progress, forecast):
            if error:
                raise error
            on_progress(Progress("train", 1, 1, "epochs"))
            report.write(run.path("report.parquet"))
            return report

        fake_pipeline(monkeypatch, pipeline)
        return call(capsys, "audit", "pets.csv", *arguments)

    return run


def test_exit_codes_are_fixed():
    codes = {"OK": 0, "GATE_FAILED": 1, "USAGE": 2, "FAILED": 3, "STOPPED": 4, "INTERRUPTED": 130}
    assert {code.name: int(code) for code in ExitCode} == codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ManifestError("no rows"), 2),
        (errors.ConfigError("no loss"), 2),
        (errors.EvidenceError("no logits"), 3),
        (errors.ReportError("no report"), 3),
        (errors.DecodeError("no image"), 3),
        (errors.NlcleanError("no idea"), 3),
        (errors.RunLocked("held"), 4),
        (errors.StoppedEarly("time is up"), 4),
        (OSError(28, "No space left on device", "x.npy"), 3),
        (ZeroDivisionError("division by zero"), 3),
        (MemoryError("Unable to allocate 3 GiB"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_has_its_exit_code_and_no_traceback(audit, error, code):
    result = audit(error=error)
    assert result.code == code
    assert result.out == ""
    assert "Traceback" not in result.err
    assert "error: " in result.err


def test_errors_say_what_to_do_next_and_are_harmless(audit):
    result = audit(error=errors.ManifestError(f"bad label {HOSTILE}", hint="name the label column"))
    assert result.err.endswith(
        f"error: bad label {HOSTILE_SHOWN}\n  hint: name the label column\n".replace(r"\n", "\n")
    )


def test_a_bug_says_how_to_report_it_and_shows_its_traceback_at_vv(audit):
    bug = ZeroDivisionError("division by zero")
    quiet, loud = audit("-q", error=bug), audit("-vv", error=bug)
    assert "error: unexpected ZeroDivisionError: division by zero\n  hint: this is a bug in nlclean" in quiet.err
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err


def test_a_full_memory_is_no_bug(audit):
    result = audit(error=MemoryError("Unable to allocate 3 GiB"))
    assert "error: the memory is used up: Unable to allocate 3 GiB\n  hint: --preset fast" in result.err
    assert "error: the memory is used up\n" in audit(error=MemoryError()).err
    mapped = audit(error=OSError(errno.ENOMEM, "Cannot allocate memory")).err  # of a map of a file
    assert "error: the memory is used up: Cannot allocate memory\n  hint: --preset fast" in mapped


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "MPS backend out of memory",
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 8589934592 bytes. Error code 12 (Cannot allocate memory)",
        "could not create a primitive",
    ],
)
def test_a_memory_that_is_full_by_the_word_of_torch_is_no_bug(audit, words):
    result = audit(error=RuntimeError(f"{words}\nframe #0: nobody reads this"))
    assert result.code == 3
    assert "error: the memory is used up: " in result.err and "hint: --preset fast" in result.err
    assert "bug" not in result.err and "frame" not in result.err


def test_what_the_system_refuses_names_the_place_and_what_to_do(audit):
    result = audit(error=OSError(28, "No space left on device", "x.npy"))
    assert "error: x.npy: No space left on device\n  hint: check free space and permissions; an audit" in result.err
    result = audit(error=RuntimeError("can't start new thread"))
    assert result.code == 3
    assert "error: the system starts no more threads" in result.err and "ulimit -u" in result.err


def test_audit_answers_on_stdout_and_talks_on_stderr(audit, tmp_path):
    result = audit()
    assert result.code == 0
    assert "label column: label" in result.err
    assert "noise rate" not in result.err
    path = result.out.splitlines()[-1]
    assert (tmp_path / path).is_file()
    assert Path(path).parts[:2] == ("nlclean-runs", "pets")
    assert "noise rate: 12.3 %" in result.out


def test_columns_can_be_named(audit):
    result = audit("--label-column", "species", "--path-column", "fil")
    assert result.code == 2
    assert "file" in result.err  # did you mean
    assert "species" in audit("--label-column", "species").err


def test_audit_records_the_command_line(audit, tmp_path):
    assert audit("--out", "there", "--seed", 7).code == 0
    state = json.loads((tmp_path / "there" / "run.json").read_text())
    assert state["command"] == ["nlclean", "audit", "pets.csv", "--out", "there", "--seed", "7"]


def test_audit_json_is_pure(audit):
    result = audit("--json")
    document = json.loads(result.out)
    assert document["report"].endswith("report.parquet")
    assert document["flagged"] == 2
    assert document["suspicious"][0]["id"] == "b.png"


@pytest.mark.parametrize(
    ("limit", "code"), [("5%", 1), ("12.2%", 1), ("12.3%", 0), ("50 %", 0), ("1", 1), ("2", 0), ("0.05", 2), ("x", 2)]
)
def test_fail_on_a_rate_or_a_number_of_rows(audit, limit, code):
    result = audit("--fail-on", limit)
    assert result.code == code
    assert ("above the limit" in result.err) == (code == 1)
    if code < 2:
        assert result.out.splitlines()[-1].endswith("report.parquet")  # the answer comes before the verdict


def test_dry_run_prints_the_plan_and_writes_nothing(audit, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    result = audit("--dry-run", "--epochs", 3)
    assert "4 pictures, 2 classes" in result.out and "3 epochs" in result.out
    assert "takes     about 1m35s (1m20s to 2m05s: trials decide what is trained)" in result.out
    plan = json.loads(audit("--dry-run", "--json").out)
    assert (plan["rows"], plan["epochs"], plan["estimated_seconds"]) == (4, 0, 95)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_config_error_comes_before_the_manifest_is_read(capsys):
    result = call(capsys, "audit", "nowhere.csv", "--ensemble", 1, "--planted", 2)
    assert result.code == 2
    assert "ensemble is 1" in result.err
    assert "planted is 2.0" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["adit"], "Did you mean 'audit'?"),
        (["xyzzy"], "error: no such command 'xyzzy'."),
        (["audit", "--epoch", "3"], "--epochs"),
        (["audit"], "missing argument 'MANIFEST'"),
        (["audit", "x.csv", "--preset", "fats"], "'balanced'"),
        (["export", "--policy", "prun"], "'prune'"),
        (["report", "--top", "-1"], "--top"),
        (["report", "a", "b"], "unexpected extra argument"),
        (["completion", "tcsh"], "'bash'"),
        ([], "Find wrong labels:"),
    ],
)
def test_usage_errors(capsys, arguments, said):
    result = call(capsys, *arguments)
    assert result.code == (0 if not arguments and result.out else 2)  # click 8.1 calls a bare `nlclean` fine
    assert said in (result.err or result.out)


def test_no_run_is_a_helpful_failure(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("report", "export"):
        result = call(capsys, command)
        assert result.code == 3
        assert "run `nlclean audit MANIFEST` first" in result.err


def test_verbosity_before_and_after_the_command(capsys, tmp_path):
    for arguments, level in ((["-vv", "report"], 2), (["report", "-v"], 1), (["-q", "report"], -1), (["report"], 0)):
        call(capsys, *arguments, tmp_path / "none")
        assert diagnostics.verbosity() == level


def test_logs_and_warnings_follow_the_verbosity(capsys):
    for level, count in ((-1, 0), (0, 1), (1, 3), (2, 4)):
        diagnostics.set_verbosity(level)
        for say in ("debug", "info", "warning"):
            getattr(logging.getLogger("cleanlab_lite.train.fit"), say)("news")
        logging.getLogger("py.warnings").warning("third.py:1: DeprecationWarning: old")
        assert len(capsys.readouterr().err.splitlines()) == count


def test_help_and_errors_of_usage_and_configuration_load_nothing_heavy():
    helps = (["--help"], ["--version"], *([name, "--help"] for name in ("audit", "report", "export", "review")))
    errors = (["adit"], ["audit", "--epoch", "3"], ["audit", "x.csv", "--ensemble", "1"])
    limit = ["check", ".", "--max-noise", "x"]
    assert loaded_by_all(*helps, *errors, limit, ["audit", "--show-config"]) == set()


@pytest.mark.parametrize("command", ["report", "check", "compare", "verify", "review"])
def test_help_and_errors_name_numbers_in_words(capsys, command):
    assert "RANGE" not in call(capsys, command, "--help").out
    option = "--port" if command == "review" else "--seeds" if command == "verify" else "--top"
    assert f"'{option}': 'x' is not a valid whole number." in call(capsys, command, option, "x").err


def test_methods(capsys, monkeypatch):
    from cleanlab_lite.train.strategies import STRATEGIES

    tables = json.loads(call(capsys, "methods", "--json").out)
    assert list(tables) == ["losses", "strategies", "detectors", "proxies"]
    assert [row["name"] for row in tables["strategies"]] == STRATEGIES.names()
    (gce,) = [row for row in tables["losses"] if row["name"] == "gce"]
    assert gce["options"] == {"q": 0.7} and "2018" in gce["paper"] and gce["needs"] == []
    assert list(json.loads(call(capsys, "methods", "detectors", "--json").out)) == ["detectors"]
    runs = {row["name"]: row["runs"] for row in tables["detectors"]}
    assert runs["aum"] and runs["second_split_forgetting"] and not runs["simifeat"]
    (resnet,) = [row for row in tables["proxies"] if row["name"] == "resnet18"]
    assert resnet["takes"] == ["image", "sound"] and resnet["pretrained"] and resnet["learning_rate"] == 0.1

    shown = call(capsys, "methods", "strategies").out
    (line,) = [line for line in shown.splitlines() if line.split()[:1] == ["mixup"]]
    assert "alpha=1.0, warmup=0.1" in line and "Zhang et al., ICLR 2018" in line
    assert "gce" not in shown and "forgetting" not in shown
    shown = call(capsys, "methods", "detectors").out.splitlines()
    marked = {line.split()[0] for line in shown if re.search(r"\S {2,}yes {2,}\S", line)}
    assert marked == {name for name, in_audit in runs.items() if in_audit}
    monkeypatch.setattr("nlclean.tables.width", lambda: 80)
    narrow = call(capsys, "methods", "strategies").out.splitlines()
    assert narrow[narrow.index("  mixup") + 1].startswith("      convex combinations of pairs")
    assert max(map(len, narrow)) <= 80 and not any("…" in line for line in narrow)
    assert call(capsys, "methods", "loss").code == 2


@pytest.mark.usefixtures("untimed")
def test_options_of_a_loss_are_checked_before_anything_is_written(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = make_manifest(tmp_path / "m.csv", ["a.png", "b.png", "c.png"], ["x", "y", "x"])
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    arguments = (manifest.source.path, "--ensemble", 2, "--views", "pixels", "--device", "cpu", "--loss")
    result = call(capsys, "audit", *arguments, "gce:qq=0.5,q=x", "--dry-run")
    assert result.code == 2 and "unknown option 'qq', did you mean 'q'?; q is 'x', must be a number" in result.err
    result = call(capsys, "audit", *arguments, "gce:q=0.5", "--dry-run")
    assert result.code == 0 and "gce:q=0.5" in result.out


def test_doctor(capsys, tmp_path, monkeypatch):
    (tmp_path / "pack.npy").write_bytes(b"x" * 3 * 2**20)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path))
    document = json.loads(call(capsys, "doctor", "--json").out)
    assert document["versions"]["torch"]
    assert "cpu" in document["devices"]
    assert document["decoders"]["PNG"] is True
    assert document["cache"] == {"folder": str(tmp_path), "files": 1, "MiB": 3.0}
    shown = call(capsys, "doctor").out
    assert f"folder: {tmp_path}" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("environ", "graphics"),
    [
        ({}, "none"),
        ({"TERM": "dumb"}, "none"),
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "kitty"),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/t", "KITTY_WINDOW_ID": "1"}, "half-blocks"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "foot"}, "sixel"),
        ({"WT_SESSION": "1"}, "sixel"),
        ({"TERM": "xterm-256color"}, "half-blocks"),
    ],
)
def test_terminal_graphics(environ, graphics):
    assert guess_graphics(environ) == graphics


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_calls_the_program(capsys, shell):
    result = call(capsys, "completion", shell)
    assert result.code == 0
    assert "_NLCLEAN_COMPLETE" in result.out


def test_completion_knows_commands_and_options():
    def complete(words: str, index: int) -> str:
        environ = {"_NLCLEAN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
        code = f"import os; os.environ.update({environ}); from nlclean.main import main; main()"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout

    assert "plain,export" in complete("nlclean ex", 1)
    assert "plain,--time-budget" in complete("nlclean audit --ti", 2)
    assert "plain,thorough" in complete("nlclean audit --preset ", 3)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option_once_in_a_group_and_ends_with_an_example_that_parses(name, capsys):
    command = program.get_command(click.Context(program), name)
    shown = call(capsys, name, "--help").out
    listed = shown[re.search(r"^[A-Z][a-z ]+:$", shown, re.MULTILINE).start() :]
    for option in command.params:
        if isinstance(option, click.Option):
            assert len(re.findall(rf"^  (?:-\w, )?{option.opts[-1]} ?[A-Z\[ \n]", listed, re.MULTILINE)) == 1, (
                option.opts
            )
    titles = re.findall(r"^([A-Z][a-z ]+):$", shown, re.MULTILINE)
    assert titles == [title for title in GROUPS if title in titles]
    example = shown.rstrip().splitlines()[-1]
    assert example.startswith(f"Example: nlclean {name}") and len(example) <= 80
    words = shlex.split(example)[3:]
    command.make_context(name, words)
    flags = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= flags


def test_every_group_of_options_has_its_place():
    assert {option.group.capitalize() for option in FIELDS.values()} <= GROUPS.keys()
    known = {
        flag
        for name in COMMANDS
        for option in program.get_command(click.Context(program), name).params
        for flag in option.opts
    }
    assert {flag for flags in GROUPS.values() for flag in flags} - {"--help"} <= known


def test_the_list_of_commands_fits_a_terminal(capsys):
    shown = call(capsys, "--help").out.partition("Find wrong labels")[2]
    assert "..." not in shown and max(map(len, shown.splitlines())) <= 80

"""What the README promises exists: commands, options, Python names, files. Nothing here is run."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from pathlib import Path

import click
import pytest

import nlclean
from cleanlab_lite.run.report import COLUMNS
from nlclean.diagnostics import ExitCode
from nlclean.main import COMMANDS, program

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")
FIRST_LINES = re.compile(r"^[ \t]*(?:\$ )?(?:python3? -m )?pip install .*&&.*$", re.MULTILINE)


def commands() -> dict[str, click.Command]:
    context = click.Context(program)
    found = {name: program.get_command(context, name) for name in COMMANDS}
    return {name: command for name, command in found.items() if command is not None}


def options(command: click.Command) -> set[str]:
    return {"--help", *(name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts))}


def examples() -> list[str]:
    """Lines of code blocks, fenced or indented, and code between backticks."""
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (.*)$", TEXT, re.MULTILINE)
    return [*"\n".join(fenced).splitlines(), *indented, *re.findall(r"`([^`\n]+)`", TEXT)]


def calls() -> list[list[str]]:
    """Arguments of every `nlclean` in the examples; what follows a `#` is a comment."""
    found = []
    for example in examples():
        for part in re.split(r"&&|\||;", example.partition(" #")[0].replace(r"\|", "/")):
            words = part.split()
            if words[:1] == ["$"]:
                words = words[1:]
            if words[:1] == ["nlclean"] and len(words) > 1:
                found.append(shlex.split(" ".join(words[1:])))
    return found


def test_two_lines_to_install_and_run():
    """The two that a newcomer copies, and that are tried on a fresh machine."""
    lines = [match.strip() for match in FIRST_LINES.findall(TEXT)]
    assert len(lines) == 2
    assert any("nlclean audit sample_data/" in line for line in lines)
    assert any("pytest" in line for line in lines)
    for path in re.findall(r"sample_data/\S+", "\n".join(lines)):
        assert (ROOT / path).exists(), path


def test_examples_are_found():
    assert len(calls()) >= 10


@pytest.mark.parametrize("words", calls(), ids=" ".join)
def test_every_command_has_its_options(words):
    known = commands()
    name = words[0]
    if name.startswith("-"):
        assert name in options(program)
        return
    assert name in known
    flags = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
    assert set(flags) <= options(known[name])


def test_every_option_belongs_to_a_command():
    known = set().union(*(options(command) for command in [program, *commands().values()]))
    assert {flag for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT)} <= known


def test_every_command_is_told():
    assert {words[0] for words in calls()} >= set(COMMANDS)


def test_exit_codes():
    listed = re.search(r"Exit codes: (.*?)\.\s", TEXT, re.DOTALL)
    assert listed
    codes = [int(code) for code in re.findall(r"(?:^|;\s)(\d+) ", listed[1])]
    assert codes == [int(code) for code in ExitCode]


def test_python_names():
    blocks = re.findall(r"(?:^    (?:import|from) .*\n(?:^    .*\n|^\n)*)", TEXT, re.MULTILINE)
    blocks += re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert blocks
    known = {"nlclean": nlclean, "report": nlclean.Report}
    for block in blocks:
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
                assert hasattr(known[node.value.id], node.attr), ast.unparse(node)


def test_columns_of_the_report():
    row = next(line for line in TEXT.splitlines() if line.startswith("| `report.parquet`"))
    named = set(re.findall(r"`([a-z_]+)`", row))
    assert named and named <= {name for name, *_ in COLUMNS}

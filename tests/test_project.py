"""nlclean.toml: what commands take where the command line is silent."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from cli_world import call

pytestmark = pytest.mark.usefixtures("here")

PROJECT = """
manifest = "data/rows.csv"
features-columns = "x*"
out = "found"
preset = "fast"
seed = 3

[check]
max-noise = "60%"
format = "json"

[export]
policy = "weight"
output = "clean/rows.csv"
min-confidence = 0.5

[review]
reviewer = "ada"
"""


@pytest.fixture
def project(here: Path) -> Path:
    """60 vectors of two classes, and a project file beside them."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    vectors = rng.normal(size=(60, 3)) + 5 * labels[:, None]
    given = np.where(np.arange(60) % 20 == 0, 1 - labels, labels)
    (here / "data").mkdir()
    lines = [
        f"{','.join(f'{value:.3f}' for value in row)},{'ab'[label]}" for row, label in zip(vectors, given, strict=True)
    ]
    (here / "data" / "rows.csv").write_text("\n".join(["x1,x2,x3,kind", *lines]))
    (here / "nlclean.toml").write_text(PROJECT.replace("out =", 'label_column = "kind"\nout ='))
    (here / "clean").mkdir()
    return here


def test_commands_need_no_arguments_also_from_a_folder_below(project, capsys):
    (project / "sub").mkdir()
    os.chdir(project / "sub")
    audited = call(capsys, "audit", "-q")
    assert (audited.code, audited.out.splitlines()[-1]) == (0, str(project / "found" / "report.parquet"))
    assert json.loads((project / "found" / "summary.json").read_text())["manifest"]["rows"] == 60
    checked = call(capsys, "check")
    assert checked.code == 0 and "60" in checked.out and not json.loads(checked.out)["exceeded"]
    exported = call(capsys, "export", "-q")
    assert exported.out.strip() == str(project / "clean" / "rows.csv")
    assert "weight" in (project / "clean" / "rows.csv").read_text().splitlines()[0]
    assert call(capsys, "report", "--json").code == 0
    assert json.loads(call(capsys, "review", "--json").out)


def test_the_command_line_comes_first(project, capsys):
    call(capsys, "audit", "-q")
    assert not call(capsys, "check", "--format", "text").out.startswith("{")
    assert call(capsys, "check", "--max-noise", "0%").code == 1
    other = call(capsys, "export", "-q", "--policy", "prune", "--output", "other.csv")
    assert other.out.strip() == "other.csv"
    assert call(capsys, "check", "elsewhere").err.startswith("error: elsewhere does not exist")


@pytest.mark.parametrize(
    ("text", "arguments", "parts"),
    [
        ('manifst = "a.csv"', ("audit",), ["nlclean.toml", "unknown key 'manifst'", "did you mean 'manifest'"]),
        ("[chekc]\nmax-noise = 1", ("audit", "x.csv"), ["unknown key 'chekc'", "did you mean 'check'"]),
        ("[check]\nmax-nois = 1", ("check",), ["[check]", "unknown key 'max-nois'", "did you mean 'max-noise'"]),
        ('[check]\nmax-noise = "lots"', ("check",), ["[check]: max-noise", "lots"]),
        ("[check]\nexit-zero = 1", ("check",), ["exit-zero is 1, must be true or false"]),
        ("[export]\npolicy = true", ("export",), ["policy is True, must be a text or a number"]),
        ("check = 3", ("check",), ["check is no table"]),
        ("", ("audit",), ["missing argument 'MANIFEST'", "nlclean.toml"]),
    ],
)
def test_what_is_wrong_in_it_is_named(here, capsys, text, arguments, parts):
    (here / "nlclean.toml").write_text(text)
    found = call(capsys, *arguments)
    assert found.code == 2
    for part in parts:
        assert part in found.err


def test_help_is_there_whatever_the_file_says(here, capsys):
    (here / "nlclean.toml").write_text("[check]\nmax-nois = 1")
    assert call(capsys, "check", "--help").code == 0


def test_switches_and_lists(project, capsys):
    call(capsys, "audit", "-q")
    file = project / "nlclean.toml"
    text = file.read_text().replace("seed = 3", "seed = 3\nsegments = false")
    file.write_text(text.replace("[export]", "[export]\nforce = true"))
    for _ in range(2):  # overwritten the second time
        assert call(capsys, "export", "-q").code == 0
    assert call(capsys, "audit", "--dry-run", "-q").code == 0
    file.write_text(text.replace("[export]", '[export]\nforce = true\ninclude-split = ["dev", "test"]'))
    assert "no row has the split" in call(capsys, "export").err

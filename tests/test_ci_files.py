"""What CI systems run: action.yml and the hooks for pre-commit, each run as they would."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of vectors with two wrong labels, audited by the action."""
    here = tmp_path_factory.mktemp("repository")
    rows = [f"{10 * (i % 2) + i / 100:.2f},{i % 7},{'xy'[(i % 2) ^ (i in (4, 9))]}" for i in range(60)]
    (here / "rows.csv").write_text("\n".join(["f1,f2,label", *rows]))
    (here / "nlclean.toml").write_text('manifest = "rows.csv"\nfeatures_columns = "f*"\npreset = "fast"\n')
    assert step("Audit", here).returncode == 0
    return here


def environment(extra: dict[str, str]) -> dict[str, str]:
    """With `nlclean` on the path, as it is once it is installed."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"} | extra


def step(name: str, folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """One step of the action as a runner does it."""
    [found] = [each for each in ACTION["runs"]["steps"] if each["name"] == name]
    given = {key: str(about["default"]) for key, about in ACTION["inputs"].items()} | inputs

    def filled(text: str) -> str:
        return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: given[match[1]], text)

    values = {key: filled(value) for key, value in found["env"].items()} | {"GITHUB_STEP_SUMMARY": "summary.md"}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]]
    return subprocess.run(command, cwd=folder, env=environment(values), capture_output=True, text=True)


def test_the_action_audits_checks_and_annotates(repository: Path) -> None:
    checked = step("Check", repository, **{"max-suspects": "0"})
    assert checked.returncode == 1
    assert re.search(r"^::error file=rows\.csv,line=\d+,title=wrong label::", checked.stdout, re.MULTILINE)
    assert "nlclean check: a limit is exceeded" in (repository / "summary.md").read_text()


def test_with_a_baseline_the_action_shows_what_is_new(repository: Path) -> None:
    shutil.copytree(repository / "nlclean-run", repository / "a run")
    command = ["nlclean", "check", "a run", "--write-baseline", "base.json"]
    subprocess.run(command, cwd=repository, env=environment({}), check=True, capture_output=True)
    checked = step("Check", repository, run="a run", baseline="base.json")
    assert checked.returncode == 0 and "::warning" not in checked.stdout and "::notice" in checked.stdout


def test_the_action_installs_this_repository() -> None:
    [install] = [each for each in ACTION["runs"]["steps"] if each["name"] == "Install nlclean"]
    assert install["run"] == 'python -m pip install "$GITHUB_ACTION_PATH"'
    assert (ROOT / "pyproject.toml").is_file()


def run_hook(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    hook: dict[str, Any] = HOOKS[name]
    assert hook["language"] == "python" and not hook["pass_filenames"] and re.search(hook["files"], "rows.csv")
    command = [*shlex.split(hook["entry"]), *arguments]
    return subprocess.run(command, cwd=folder, env=environment({}), capture_output=True, text=True)


def test_the_hook_that_checks(repository: Path) -> None:
    assert run_hook("nlclean-check", repository, "nlclean-run").returncode == 0
    assert run_hook("nlclean-check", repository, "nlclean-run", "--max-suspects", "0").returncode == 1


@pytest.mark.slow
def test_the_hooks_audit_and_check_as_the_project_says(repository: Path, tmp_path: Path) -> None:
    shutil.copy(repository / "rows.csv", tmp_path)
    limits = "\n[check]\nmax-suspects = 0\n"
    (tmp_path / "nlclean.toml").write_text((repository / "nlclean.toml").read_text() + limits)
    assert run_hook("nlclean-audit", tmp_path).returncode == 0
    assert run_hook("nlclean-check", tmp_path).returncode == 1


def test_the_workflow_tries_what_the_metadata_promise() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["classifiers"]
    promised = [text.rpartition(" ")[2] for text in classifiers if re.search(r":: 3\.\d+$", text)]
    assert matrix["python"] == promised
    assert {each["os"] for each in matrix["include"]} == {"macos-latest", "windows-latest"}
    assert {each["python"] for each in matrix["include"]} == {promised[0], promised[-1]}

"""The architecture holds: floors and contracts (import-linter), no torch where none is needed, packages complete."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from cleanlab_lite.train.planned import may_have_gpu

ROOT = Path(__file__).parents[1]

WITHOUT_TORCH = [
    "cleanlab_lite",
    "cleanlab_lite.judge.verdict",
    "cleanlab_lite.config",
    "cleanlab_lite.judge.detectors",
    "cleanlab_lite.door",
    "cleanlab_lite.estimator",
    "cleanlab_lite.manifest.from_objects",
    *(
        f"cleanlab_lite.export.{name}"
        for name in ("argilla", "cleanlab", "fiftyone", "folders", "huggingface", "labelstudio", "manifest", "patch")
    ),
    "cleanlab_lite.export.policy",
    "cleanlab_lite.export.target",
    "cleanlab_lite.report.gate_formats",
    "cleanlab_lite.report.page.html",
    "cleanlab_lite.report.gate",
    "cleanlab_lite.evidence.own",
    "cleanlab_lite.pipeline",
    "cleanlab_lite.manifest.readers",
    "cleanlab_lite.evidence.recorder",
    "cleanlab_lite.run.report",
    "cleanlab_lite.run",
    "nlclean",
    "cleanlab_lite.train.search",
    "cleanlab_lite.train.warm_start",
    "nlclean.main",
    "nlclean.commands.audit",
    "nlclean.commands.check",
    "nlclean.commands.export",
    "nlclean.commands.report",
    "nlclean.review.app",
    "nlclean.review.session",
]

TORCH = ["torch", "torchaudio", "torchvision"]
SLOW_TO_LOAD = ["scipy.stats", "sklearn"]


def test_imports_point_downwards() -> None:
    """The contracts in pyproject.toml. Needs `pip install -e .`, so that `nlclean` can be found."""
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


# A linter cannot tell a deferred import from a leak, so look at what is loaded.
def test_none_of_these_modules_loads_torch() -> None:
    code = f"""
import importlib, sys
for module in {WITHOUT_TORCH}:
    importlib.import_module(module)
    if found := set({TORCH}) & set(sys.modules):
        sys.exit(f"{{module}} loads {{found}}")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(may_have_gpu(), reason="torch is asked for the GPU")
def test_vectors_are_audited_without_what_is_slow_to_load_where_nothing_is_trained(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    np.savez(tmp_path / "all.npz", features=rng.normal(size=(60, 4)) + 9 * np.eye(4)[labels], labels=labels)
    code = f"""
import sys
from nlclean.main import program
arguments = ["audit", r"{tmp_path / "all.npz"}", "--preset", "fast", "--out", r"{tmp_path / "run"}"]
program(arguments, standalone_mode=False)
sys.exit(" ".join(set({TORCH + SLOW_TO_LOAD}) & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "report.parquet").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_a_module_loads_alone_and_without_torch(module: str) -> None:
    code = f"import {module}, sys; print(*sorted(set({TORCH}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


def test_every_package_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    found = {
        ".".join(("nlclean" if part == "cli" else part) if depth == 0 else part for depth, part in enumerate(parts))
        for top in ("cleanlab_lite", "cli")
        for file in (ROOT / top).rglob("__init__.py")
        for parts in [file.parent.relative_to(ROOT).parts]
    }
    assert sorted(settings["packages"]) == sorted(found | {"nlclean.samples"})


def test_every_folder_with_code_is_a_package() -> None:
    folders = {file.parent for top in ("cleanlab_lite", "cli") for file in (ROOT / top).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_contributing_names_every_file() -> None:
    """Losses, strategies, detectors and commands are one line each for the folder."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    files = [file for top in ("cleanlab_lite", "cli") for file in (ROOT / top).rglob("*.py")]
    listed_as_folder = {"losses", "strategies", "detectors", "commands"}
    names = {file.name for file in files if file.parent.name not in listed_as_folder} - {"__init__.py"}
    assert [name for name in sorted(names) if f" {name} " not in text] == []

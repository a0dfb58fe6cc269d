"""Programs that our exports are for, where they are installed: in this environment, or in one of their own.

FiftyOne, Argilla and the SDK of Label Studio want other versions of what we need. Each may have an environment of its
own: `NLCLEAN_RECEIVERS` lists their interpreters as PATH lists folders. Node's packages are those of `npm install -g`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 300  # seconds; FiftyOne starts a database


@lru_cache
def interpreter(module: str) -> str | None:
    """The first Python that has the module."""
    others = os.environ.get("NLCLEAN_RECEIVERS", "").split(os.pathsep)
    find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    for python in [sys.executable, *filter(None, others)]:
        if subprocess.run([python, "-I", "-c", find], check=False).returncode == 0:
            return python
    return None


def seen_by(module: str, script: str, folder: Path, *arguments: object, **variables: str) -> Any:
    """What a script of that program says of our export, as JSON in its last line. Skips where it is not installed.

    It runs without our code on its path, in `folder` and with that as its home.
    """
    python = interpreter(module)
    if python is None:
        pytest.skip(f"{module} is not installed")
    keep = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    home = {"HOME": str(folder), "USERPROFILE": str(folder)}
    done = subprocess.run(
        [python, "-c", script, *map(str, arguments)],
        cwd=folder,
        env=keep | home | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def node_package(name: str) -> Path:
    """The folder of a package of `npm install -g`, or one on NODE_PATH. Skips where it is not installed."""
    npm = shutil.which("npm")
    root = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=True).stdout.strip() if npm else ""
    for place in [*os.environ.get("NODE_PATH", "").split(os.pathsep), root]:
        if place and (Path(place) / name).is_dir():
            return Path(place) / name
    pytest.skip(f"the npm package {name} is not installed")

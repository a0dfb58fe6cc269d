"""The pages as a site, built by MkDocs, where a warning is an error: links, anchors, pages in no menu, docstrings."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from receivers import interpreter

import nlclean

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_asks_nobody(tmp_path: Path) -> None:
    python = interpreter("mkdocs")
    if python is None:
        pytest.skip("mkdocs is not installed")
    command = [python, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    reference = (tmp_path / "docs/api/index.html").read_text("utf-8")
    assert [name for name in nlclean.__all__ if name != "__version__" and f"{name}</" not in reference] == []
    for page in tmp_path.rglob("*.html"):
        text = page.read_text("utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?(https?:[^\" >]+)", text)
        loaded += re.findall(r"<link[^>]* href=\"?(https?:[^\" >]+)", text)
        assert loaded == [], page

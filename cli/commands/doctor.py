"""`nlclean doctor`: what this machine offers, to be pasted into a bug report."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from .. import version
from ..help import HelpfulCommand
from ..options import json_option, verbosity_options

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "pyarrow",
    "pillow",
    "soundfile",
    "fsspec",
    "rich",
    "textual",
    "textual-image",
    "click",
)
_PILLOW_FEATURES = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "TIFF": "libtiff"}


@click.command("doctor", cls=HelpfulCommand, epilog="Example: nlclean doctor --json")
@json_option
@verbosity_options
def command(as_json: bool) -> None:
    """Print what belongs into a bug report.

    Versions, devices, decoders, terminal and cache.
    """
    from ..output import json_document
    from ..views.listings import facts_view

    facts: dict[str, Mapping[str, Any]] = {
        "versions": _versions(),
        "devices": _devices(),
        "decoders": _decoders(),
        "terminal": _terminal(os.environ),
        "cache": _cache(),
    }
    (json_document if as_json else facts_view)(facts)


def _versions() -> dict[str, str | None]:
    """Of nlclean, Python, the platform and every package; None where a package is not installed."""
    versions: dict[str, str | None] = {
        "nlclean": version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _devices() -> dict[str, str]:
    """What torch can compute on."""
    import torch

    devices = {"cpu": f"{torch.get_num_threads()} threads of {os.cpu_count()} processors"}
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        bf16 = ", bf16" if card.major >= 8 else ""
        devices[f"cuda:{index}"] = (
            f"{card.name}, {card.total_memory / 2**30:.0f} GiB, sm_{card.major}{card.minor}{bf16}"
        )
    if torch.backends.mps.is_available():
        devices["mps"] = platform.processor()
    return devices


def _decoders() -> dict[str, bool]:
    """What can be read beyond BMP and GIF, which need no library."""
    from PIL import features

    decoders = {name: bool(features.check(feature)) for name, feature in _PILLOW_FEATURES.items()}
    return decoders | {"soundfile": find_spec("soundfile") is not None}


def _terminal(environ: Mapping[str, str]) -> dict[str, Any]:
    return {
        "stdout": "terminal" if sys.stdout.isatty() else "not a terminal",
        "encoding": sys.stdout.encoding,
        "graphics": guess_graphics(environ),
        **{name: environ.get(name) for name in ("TERM", "TERM_PROGRAM", "COLORTERM", "NO_COLOR", "CI")},
    }


def guess_graphics(environ: Mapping[str, str]) -> str:
    """How pictures could be drawn, by the variables that terminals set: kitty, iterm, sixel, half-blocks or none."""
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if term in ("", "dumb", "linux") and "WT_SESSION" not in environ:
        return "none"
    if "TMUX" in environ or term.startswith(("screen", "tmux")):  # a multiplexer swallows pictures
        return "half-blocks"
    if term == "xterm-kitty" or "KITTY_WINDOW_ID" in environ or program in ("ghostty", "WezTerm"):
        return "kitty"
    if program == "iTerm.app":
        return "iterm"
    if "WT_SESSION" in environ or "sixel" in term or term.startswith(("foot", "mlterm")):
        return "sixel"
    return "half-blocks"


def _cache() -> dict[str, Any]:
    """Folder of decoded pictures, and how much lies there."""
    from cleanlab_lite.data.cache import default_cache_dir

    folder = Path(default_cache_dir())
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {"folder": str(folder), "files": len(sizes), "MiB": round(sum(sizes) / 2**20, 1)}

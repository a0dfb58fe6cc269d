"""The command line of nlclean: `python -m nlclean` and the `nlclean` script."""

from __future__ import annotations


def version() -> str:
    """The installed version, or "not installed" when run from a bare source tree."""
    from importlib.metadata import PackageNotFoundError, version  # 20 ms that --help does not need

    try:
        return version("nlclean")
    except PackageNotFoundError:
        return "not installed"

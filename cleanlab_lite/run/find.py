"""Which folder: that of a finished run, and that in which a run begins or goes on."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path

from cleanlab_lite.errors import ConfigError, ReportError
from cleanlab_lite.run.layout import JOBS, LOCK, OWN, REPORT, ROOT, STAGES, STATE, TEMPORARY
from cleanlab_lite.run.state import State


def find_run(path: Path | None, root: Path = ROOT) -> Path:
    """The folder of a run: `path` itself, the folder of the report that `path` is, or the newest under `root`.

    Raises ReportError when there is no report there.
    """
    if path is None:
        return _newest(root)
    folder = path.parent if path.is_file() and path.name == REPORT else path
    if (folder / REPORT).is_file():
        return folder
    if not path.exists():
        raise ReportError(f"{path} does not exist", hint="name a run folder or the report.parquet in it")
    if not path.is_dir():
        raise ReportError(f"{path} is no run folder", hint="name the folder that `nlclean audit` wrote")
    state = State.read(path)
    if state is None:
        reports = _reports(path)
        wrote = (
            f"name the folder that `nlclean audit` wrote; data are audited by `nlclean audit {shlex.quote(str(path))}`"
        )
        hint = f"did you mean {reports[-1]}?" if reports else wrote
        raise ReportError(f"{path} is no run folder: it has no {REPORT}", hint=hint)
    raise ReportError(f"the run in {path} is not finished", hint=_how_to_go_on(state))


def is_run(path: Path) -> bool:
    """Whether `path` is the folder of a run, finished or not, or the report in it."""
    return _is_run(path) or (path.name == REPORT and _is_run(path.parent))


def is_run_file(path: Path) -> bool:
    """Whether the file at `path`, there or not, is one that an audit or a review keeps in a run folder."""
    inner = next((folder for folder in path.parents if folder.name in (STAGES, JOBS)), None)
    if inner is not None and _is_run(inner.parent):
        return True
    return _is_run(path.parent) and any(fnmatch(path.name, pattern) for pattern in OWN)


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (STATE, REPORT))


def safe_stem(stem: str) -> str:
    """`stem` as a folder name: letters of any script, digits, `_`, `-` and inner dots; at most 60 characters."""
    return re.sub(r"[^\w.-]+", "-", stem)[:60].strip("-.") or "dataset"


def _newest(root: Path) -> Path:
    reports = _reports(root)
    if reports:
        return reports[-1]
    unfinished = max(root.glob(f"*/*/{STATE}"), key=lambda path: path.parent.name, default=None)
    if unfinished is not None:
        raise ReportError(f"no run under {root} is finished", hint=_how_to_go_on(State.read(unfinished.parent)))
    raise ReportError(f"there is no run under {root}", hint="run `nlclean audit MANIFEST` first, or name a run folder")


def _reports(root: Path) -> list[Path]:
    """Run folders one or two levels below `root` that hold a report, oldest report first."""
    found = [*root.glob(f"*/{REPORT}"), *root.glob(f"*/*/{REPORT}")]
    return [path.parent for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path))]


def _how_to_go_on(state: State | None) -> str:
    return f"go on with: {shlex.join(state.command)}" if state and state.command else "start it again to go on"


def choose(parent: Path, key: str) -> Path:
    """The newest unfinished run of `key` in `parent`, else a name that is free."""
    for folder in sorted(parent.glob(f"????????T??????Z-{key[:8]}"), reverse=True):
        state = State.read(folder)
        if state is None or (state.key == key and state.finished is None):
            return folder
    moment = datetime.now(UTC)
    while (folder := parent / f"{moment:%Y%m%dT%H%M%SZ}-{key[:8]}").exists():
        moment += timedelta(seconds=1)
    return folder


def finished_run(stem: str, key: str) -> Path | None:
    """The newest run of `key` under `ROOT/stem` that is finished; None where there is none."""
    for folder in sorted((ROOT / safe_stem(stem)).glob(f"????????T??????Z-{key[:8]}"), reverse=True):
        state = State.read(folder)
        if state is not None and state.key == key and state.finished is not None:
            return folder
    return None


def refuse_foreign(folder: Path, key: str) -> None:
    """Raise ConfigError unless `folder` is free, or holds a run of `key`."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file, a run needs a folder", hint="choose another --out")
    state = State.read(folder)
    if state is None:
        entries = [entry.name for entry in folder.iterdir()]
        if any(name != LOCK and not name.startswith(TEMPORARY) for name in entries):
            raise ConfigError(f"{folder} is not empty and holds no run", hint="choose another --out, or empty it")
    elif state.key != key:
        raise ConfigError(
            f"{folder} holds a run of another manifest or configuration",
            hint=f"choose another --out, or delete {folder}",
        )

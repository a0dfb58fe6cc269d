"""The runs in a folder: what each holds, and which of them another has made superfluous."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cleanlab_lite.errors import NlcleanError, ReportError
from cleanlab_lite.evidence.decisions import DecisionLog, standing
from cleanlab_lite.run.find import is_run_file
from cleanlab_lite.run.layout import DECISIONS, JOBS, PLANTED, REPORT, SEEDS, STAGES, STATE, SUMMARY
from cleanlab_lite.run.lock import acquire, release
from cleanlab_lite.run.state import ALWAYS, read_json

FOLDERS = (STAGES, JOBS, PLANTED)  # of a run


@dataclass(frozen=True)
class ListedRun:
    """One run folder, read as far as a list needs."""

    folder: Path
    manifest: str  # that was audited; "" where an unfinished run does not say so yet
    finished: str | None  # time, UTC, ISO 8601
    begun: str  # the same
    rows: int  # 0 where it is not finished
    flagged: int
    decided: bool  # by people, who have not undone all of it
    bytes: int
    fault: str = ""  # why it cannot be read

    @property
    def when(self) -> str:
        return self.finished or self.begun


def list_runs(root: Path) -> list[ListedRun]:
    """The runs one or two levels below `root`, newest first."""
    states = {*root.glob(f"*/{STATE}"), *root.glob(f"*/*/{STATE}")}
    return sorted((_listed(path.parent) for path in states), key=lambda run: (run.when, str(run.folder)), reverse=True)


def _listed(folder: Path) -> ListedRun:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    decided = any(map(_stands, [folder / DECISIONS, *folder.glob(f"{SEEDS}/*/{DECISIONS}")]))
    try:
        stored = read_json(folder / STATE, **ALWAYS)
        begun, finished = str(stored.get("created", "")), stored["finished"]
        if finished is None or not (folder / REPORT).is_file():
            return ListedRun(folder, _manifest_of(stored["command"]), None, begun, 0, 0, decided, size)
        summary = read_json(folder / SUMMARY, manifest=dict, flagged=int)
        manifest = summary["manifest"]
        rows = int(manifest["rows"])
        return ListedRun(folder, str(manifest["path"]), finished, begun, rows, summary["flagged"], decided, size)
    except (NlcleanError, KeyError, TypeError, ValueError) as error:
        return ListedRun(folder, "", None, "", 0, 0, decided, size, fault=str(error) or type(error).__name__)


def _stands(journal: Path) -> bool:
    """Whether a decision stands in a journal, all undone ones being none. What cannot be read may hold one."""
    try:
        return bool(standing(DecisionLog(journal).read()))
    except NlcleanError:
        return True


def _manifest_of(command: Sequence[str]) -> str:
    """What an audit was typed for: the first word behind its name that is no option."""
    word = str(command[2]) if len(command) > 2 else ""
    return "" if word.startswith("-") else word


def superseded(runs: Sequence[ListedRun]) -> list[ListedRun]:
    """Runs that a newer finished one of the same manifest replaces, and in which no person has decided anything.

    Runs that hold files of others, a page or an export, are not among them, nor are those that cannot be read.
    """
    newest: dict[str, ListedRun] = {}
    for run in runs:  # newest first
        if run.finished:
            newest.setdefault(run.manifest, run)
    return [
        run
        for run in runs
        if (last := newest.get(run.manifest)) is not None
        and run is not last
        and run.when < last.when
        and not run.decided
        and not run.fault
        and not foreign_files(run.folder)
    ]


def foreign_files(folder: Path) -> list[Path]:
    """What lies in a run folder and is not the run's."""
    found: list[Path] = []
    for entry in folder.iterdir():
        is_folder = entry.is_dir() and not entry.is_symlink()
        if is_folder and entry.name == SEEDS:  # holds runs
            found += [each for run in entry.iterdir() for each in (foreign_files(run) if run.is_dir() else [run])]
        elif not (entry.name in FOLDERS if is_folder else is_run_file(entry)):
            found.append(entry)
    return found


def delete_run(run: ListedRun) -> None:
    """Delete the folder of a run. Raises RunLocked where a process is at work in it, and OSError."""
    if run.folder.is_symlink():
        raise ReportError(f"{run.folder} is a link", hint="delete it yourself")
    lock = acquire(run.folder)
    try:
        shutil.rmtree(run.folder)
    finally:
        release(lock)

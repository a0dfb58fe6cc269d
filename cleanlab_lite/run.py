"""`Run`: the run folder. Every file is complete or absent, one process writes, a killed run goes on where it stopped.

run.json       key, command and times; `finished` is null until the last stage is done
log.jsonl      one event a line
stages/*.json  one marker per finished stage, written after the files that the stage leaves
.lock          held by the writing process
.tmp-*         files being written; removed when the run is opened again
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cleanlab_lite.errors import ConfigError, ReportError, RunLocked
from cleanlab_lite.files import json_object, load_archive, reading

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

ROOT = Path("nlclean-runs")
REPORT = "report.parquet"
_STATE, _LOG, _LOCK, _STAGES, _TEMPORARY = "run.json", "log.jsonl", ".lock", "stages", ".tmp-"

_OPENING = {"key": str, "command": list, "resumed": int, "finished": (str, type(None))}  # what run.json always has
_MARKER = {"finished": str, "seconds": (int, float), "facts": dict}

_held: set[BinaryIO] = set()  # locks of this process


def _let_go() -> None:
    for lock in _held:
        lock.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    # A forked worker inherits the lock and would keep it after the run itself is killed.
    os.register_at_fork(after_in_child=_let_go)


class Run:
    """A run folder, open for writing by exactly one process. Make one with `Run.start`, use it in a `with` block.

    `key` is the identity of what is computed (hex digest of manifest and configuration); `run_id` is its short form.
    """

    def __init__(self, folder: Path, key: str, lock: BinaryIO, command: Sequence[str]) -> None:
        self.folder = folder
        self.key = key
        self._lock = lock
        for leftover in folder.glob(f"{_TEMPORARY}*"):
            leftover.unlink()
        _drop_torn_line(folder / _LOG)
        self._stages = {path.stem: _read_json(path, **_MARKER) for path in sorted((folder / _STAGES).glob("*.json"))}
        self.resumed = self._in_order()  # stages that an earlier process did
        self._since = time.monotonic()
        state = _state(folder)
        self._state = state or {"key": key, "command": list(command), "created": _now(), "resumed": 0, "finished": None}
        if not self.finished:
            self._state["resumed"] += state is not None
            self.write_json(_STATE, self._state)
            self.log("run opened", pid=os.getpid(), stages_done=self.resumed)

    @classmethod
    def start(cls, out: Path | None, stem: str, key: str, command: Sequence[str] = (), root: Path = ROOT) -> Run:
        """Open `out`, else the newest unfinished run of `key` under `root/stem`, else a new folder there.

        `command` is what the user typed, kept so that an unfinished run can say how to go on.
        Raises ConfigError when `out` is a file or holds something else, RunLocked when another process
        holds the folder, ReportError when the folder cannot be written.
        """
        with _reporting(out or root):
            folder = _choose(root / safe_stem(stem), key) if out is None else out
            _refuse_foreign(folder, key)
            folder.mkdir(parents=True, exist_ok=True)
            lock = _acquire(folder)
            try:
                _refuse_foreign(folder, key)  # again: it may have changed before the lock was held
                return cls(folder, key, lock, command)
            except BaseException:
                _release(lock)
                raise

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        _release(self._lock)

    @property
    def run_id(self) -> str:
        """The first 8 characters of the key: the same for every run of the same data and configuration."""
        return self.key[:8]

    @property
    def finished(self) -> bool:
        return self._state["finished"] is not None

    def path(self, name: str) -> Path:
        return self.folder / name

    # stages

    def done(self, stage: str) -> bool:
        return stage in self._stages

    def _in_order(self) -> list[str]:
        return sorted(self._stages, key=lambda stage: self._stages[stage]["finished"])

    def facts(self, stage: str) -> dict[str, Any]:
        """What `mark` was told, as JSON types. Raises KeyError when the stage is not done."""
        return self._stages[stage]["facts"]

    def mark(self, stage: str, **facts: Any) -> None:
        """Declare a stage done. Its files must be written already. `seconds` runs from the last mark, or the start."""
        if not re.fullmatch(r"[\w.-]+", stage):
            raise ValueError(f"stage {stage!r} is no file name")
        now = time.monotonic()
        marker = {"finished": _now(), "seconds": round(now - self._since, 3), "facts": _plain(facts)}
        self.write_json(f"{_STAGES}/{stage}.json", marker)
        self._stages[stage] = marker
        self._since = now
        self.log("stage done", stage=stage, seconds=marker["seconds"])

    # files

    def write(self, name: str, writer: Callable[[Path], object]) -> None:
        """Let `writer` fill a temporary file, then put it in place at once.

        A reader, or a run after a power cut, sees the old file or the new one, never a part.
        Raises ReportError when the disk is full or refuses.
        """
        target = self.path(name)
        # the name comes last: np.savez and others look at the ending
        temporary = self.folder / f"{_TEMPORARY}{name.replace('/', '-')}"
        try:
            with _reporting(target):
                writer(temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                _sync(temporary)
                os.replace(temporary, target)
                _sync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def write_json(self, name: str, value: Any) -> None:
        """NumPy scalars become numbers; NaN and infinity become null, since JSON has neither."""
        text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        # a file name that is not UTF-8 holds lone surrogates; Python's escape for them is JSON's too
        self.write(name, lambda path: path.write_bytes(text.encode("utf-8", "backslashreplace")))

    def write_parquet(self, name: str, table: pa.Table) -> None:
        """zstd, with the run id added to the table's own metadata."""
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), b"nlclean.run_id": self.run_id.encode()}
        )
        self.write(name, lambda path: pq.write_table(table, path, compression="zstd", write_page_checksum=True))

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """One .npz file, uncompressed. Raises TypeError for object arrays, which only pickle could store."""
        refused = [key for key, array in arrays.items() if np.asarray(array).dtype.hasobject]
        if refused:
            raise TypeError(f"{name}: object arrays cannot be stored: {', '.join(refused)}")
        self.write(name, lambda path: np.savez(path, **arrays))  # type: ignore[arg-type]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """What `write_arrays` stored. Raises ReportError when the file is missing or damaged."""
        path = self.path(name)
        with reading(f"cannot read {path}", ReportError, hint=f"delete {self.folder} and run again"):
            return load_archive(path)

    def remove(self, pattern: str) -> None:
        """Delete files that later stages do not need."""
        for path in self.folder.glob(pattern):
            path.unlink()

    def log(self, event: str, **facts: Any) -> None:
        """Append one event, with the time in UTC, to `log.jsonl`."""
        line = json.dumps(_plain({"time": _now(), "event": event, **facts}), allow_nan=False)
        with _reporting(self.path(_LOG)), self.path(_LOG).open("ab") as file:
            file.write(line.encode() + b"\n")

    def events(self) -> list[dict[str, Any]]:
        """The log so far."""
        path = self.path(_LOG)
        with reading(f"cannot read {path}", ReportError, hint=f"delete {path}, which nothing else needs"):
            return [json_object(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def finish(self, **info: Any) -> None:
        """Write `run.json` in full: versions, platform, seconds per stage, and `info`. The run is then finished."""
        self._state |= {
            "finished": _now(),
            "versions": _versions(),
            "platform": platform.platform(),
            "seconds": {stage: self._stages[stage]["seconds"] for stage in self._in_order()},
            **info,
        }
        self.write_json(_STATE, self._state)


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
    state = _state(path)
    if state is None:
        reports = _reports(path)
        hint = f"did you mean {reports[-1]}?" if reports else "name the folder that `nlclean audit` wrote"
        raise ReportError(f"{path} is no run folder: it has no {REPORT}", hint=hint)
    raise ReportError(f"the run in {path} is not finished", hint=_how_to_go_on(state))


def read_state(folder: Path) -> dict[str, Any]:
    """`run.json` of a run folder. Raises ReportError when there is none."""
    state = _state(folder)
    if state is None:
        raise ReportError(f"{folder} has no {_STATE}", hint="name the folder that `nlclean audit` wrote")
    return state


def safe_stem(stem: str) -> str:
    """`stem` as a folder name: letters of any script, digits, `_`, `-` and inner dots; at most 60 characters."""
    return re.sub(r"[^\w.-]+", "-", stem)[:60].strip("-.") or "dataset"


def _newest(root: Path) -> Path:
    reports = _reports(root)
    if reports:
        return reports[-1]
    unfinished = max(root.glob(f"*/*/{_STATE}"), key=lambda path: path.parent.name, default=None)
    if unfinished is not None:
        raise ReportError(f"no run under {root} is finished", hint=_how_to_go_on(_read_json(unfinished)))
    raise ReportError(f"there is no run under {root}", hint="run `nlclean audit MANIFEST` first, or name a run folder")


def _reports(root: Path) -> list[Path]:
    """Run folders one or two levels below `root` that hold a report, oldest report first."""
    found = [*root.glob(f"*/{REPORT}"), *root.glob(f"*/*/{REPORT}")]
    return [path.parent for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path))]


def _how_to_go_on(state: dict[str, Any]) -> str:
    command = state.get("command")
    if not command or not isinstance(command, list):
        return "start it again to go on"
    return f"go on with: {shlex.join(map(str, command))}"


def _choose(parent: Path, key: str) -> Path:
    """The newest unfinished run of `key` in `parent`, else a name that is free."""
    for folder in sorted(parent.glob(f"????????T??????Z-{key[:8]}"), reverse=True):
        state = _state(folder)
        if state is None or (state["key"] == key and state["finished"] is None):
            return folder
    moment = datetime.now(UTC)
    while (folder := parent / f"{moment:%Y%m%dT%H%M%SZ}-{key[:8]}").exists():
        moment += timedelta(seconds=1)
    return folder


def _refuse_foreign(folder: Path, key: str) -> None:
    """Raise ConfigError unless `folder` is free, or holds a run of `key`."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file, a run needs a folder", hint="choose another --out")
    state = _state(folder)
    if state is None:
        entries = [entry.name for entry in folder.iterdir()]
        if any(name != _LOCK and not name.startswith(_TEMPORARY) for name in entries):
            raise ConfigError(f"{folder} is not empty and holds no run", hint="choose another --out, or empty it")
    elif state["key"] != key:
        raise ConfigError(
            f"{folder} holds a run of another manifest or configuration",
            hint=f"choose another --out, or delete {folder}",
        )


def _acquire(folder: Path) -> BinaryIO:
    """The lock of the folder, held until released or until this process dies. Raises RunLocked."""
    lock = (folder / _LOCK).open("a+b")
    if not _try_lock(lock):
        lock.seek(0)
        pid = lock.read(20).decode("ascii", "replace").strip()
        lock.close()
        raise RunLocked(
            f"{folder} is in use by process {pid}" if pid else f"{folder} is in use by another process",
            hint="wait until it is done, or choose another --out",
        )
    lock.truncate(0)
    lock.write(str(os.getpid()).encode())
    lock.flush()
    _held.add(lock)
    return lock


def _try_lock(lock: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            lock.seek(1 << 30)  # Windows locks bytes against reading too: one far behind the pid
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _release(lock: BinaryIO) -> None:
    _held.discard(lock)
    lock.close()


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into ReportError."""
    try:
        yield
    except OSError as error:
        raise ReportError(
            f"cannot write {path}: {error.strerror or error}",
            hint="check free space and permissions, or choose another --out; the same command goes on from here",
        ) from error


def _sync(path: Path) -> None:
    """Force a file, or the entries of a folder, to the disk."""
    if path.is_dir() and sys.platform == "win32":
        return  # Windows cannot open a folder, and journals renames itself
    handle = os.open(path, os.O_RDONLY if sys.platform != "win32" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _drop_torn_line(path: Path) -> None:
    """Cut off what a killed process left of its last line."""
    if path.exists():
        data = path.read_bytes()
        os.truncate(path, data.rfind(b"\n") + 1)


def _state(folder: Path) -> dict[str, Any] | None:
    """`run.json` of a run folder, None where there is none."""
    path = folder / _STATE
    if not path.exists():
        return None
    if not _OPENING.keys() <= _read_json(path).keys():
        raise ReportError(f"{path} is not a file of nlclean", hint="choose another folder")
    return _read_json(path, **_OPENING)


def _read_json(path: Path, **expected: Any) -> dict[str, Any]:
    with reading(f"{path} is damaged", ReportError, hint="delete the run folder and run again"):
        return json_object(path.read_bytes(), **expected)


def _plain(value: Any) -> Any:
    """The same in JSON types."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _versions() -> dict[str, str]:
    """torch only where the run has loaded it: asking must not import it."""
    torch = sys.modules.get("torch")
    try:
        nlclean = importlib.metadata.version("nlclean")
    except importlib.metadata.PackageNotFoundError:
        nlclean = "not installed"
    return {
        "nlclean": nlclean,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
        **({"torch": str(torch.__version__)} if torch else {}),
    }

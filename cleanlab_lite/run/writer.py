"""`Run`: a run folder to fill. Every file is whole or absent, one process writes, a killed run goes on where it was."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from cleanlab_lite.errors import ConfigError, ReportError
from cleanlab_lite.files import load_archive, reading, whole, why
from cleanlab_lite.run.find import choose, refuse_foreign, safe_stem
from cleanlab_lite.run.layout import ARRAYS, JOBS, LOG, ROOT, STAGES, STATE, TEMPORARY, marker
from cleanlab_lite.run.lock import acquire, release
from cleanlab_lite.run.state import MARKER, read_json, stored_state


class RunFiles:
    """The files of a run folder. Who has only this, such as a worker process, leaves stages and log to the `Run`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / name

    def write(self, name: str, writer: Callable[[Path], object]) -> None:
        """Let `writer` fill a temporary file, then put it in place at once.

        A reader, or a run after a power cut, sees the old file or the new one, never a part.
        Raises ReportError when the disk is full or refuses.
        """
        target = self.path(name)
        # the name comes last: np.savez and others look at the ending
        temporary = self.folder / f"{TEMPORARY}-{name.replace('/', '-')}"
        with reporting(target), whole(target, temporary):
            writer(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)

    def remove_folder(self, name: str) -> None:
        """With all that is in it, if it is there. Windows keeps files that are still mapped."""
        shutil.rmtree(self.path(name), ignore_errors=True)

    def write_json(self, name: str, value: Any) -> None:
        """NumPy scalars become numbers; NaN and infinity become null, since JSON has neither."""
        text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        # a file name that is not UTF-8 holds lone surrogates; Python's escape for them is JSON's too
        self.write(name, lambda path: path.write_bytes(text.encode("utf-8", "backslashreplace")))


class Run(RunFiles):
    """A run folder, open for writing by exactly one process. Make one with `Run.start`, use it in a `with` block.

    `key` is the identity of what is computed (hex digest of manifest and configuration); `run_id` is its short form.
    """

    def __init__(self, folder: Path, key: str, lock: BinaryIO, command: Sequence[str]) -> None:
        super().__init__(folder)
        self.key = key
        self._lock = lock
        for leftover in folder.glob(f"{TEMPORARY}*"):
            leftover.unlink()
        _drop_torn_line(folder / LOG)
        self._stages = {path.stem: read_json(path, **MARKER) for path in sorted((folder / STAGES).glob("*.json"))}
        self.resumed = self._in_order()  # stages that an earlier process did
        self._since = time.monotonic()
        state = stored_state(folder)
        typed = {"command": list(command), "directory": os.getcwd()}
        self._state = state or {"key": key, **typed, "created": _now(), "resumed": 0, "finished": None}
        if not self.finished:
            self._state["resumed"] += state is not None
            self.write_json(STATE, self._state)
            self.log("run opened", pid=os.getpid(), stages_done=self.resumed)

    @classmethod
    def start(cls, out: Path | None, stem: str, key: str, command: Sequence[str] = (), root: Path = ROOT) -> Run:
        """Open `out`, else the newest unfinished run of `key` under `root/stem`, else a new folder there.

        `command` is what the user typed, kept so that an unfinished run can say how to go on.
        Raises ConfigError when `out` is a file or holds something else, RunLocked when another process
        holds the folder, ReportError when the folder cannot be written.
        """
        with reporting(out or root):
            folder = choose(root / safe_stem(stem), key) if out is None else out
            refuse_foreign(folder, key)
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_links(folder)
            lock = acquire(folder)
            try:
                refuse_foreign(folder, key)  # again: it may have changed before the lock was held
                return cls(folder, key, lock, command)
            except BaseException:
                release(lock)
                raise

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        release(self._lock)

    @property
    def run_id(self) -> str:
        """The first 8 characters of the key: the same for every run of the same data and configuration."""
        return self.key[:8]

    @property
    def finished(self) -> bool:
        return self._state["finished"] is not None

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
        done = {"finished": _now(), "seconds": round(now - self._since, 3), "facts": _plain(facts)}
        self.write_json(marker(stage), done)
        self._stages[stage] = done
        self._since = now
        self.log("stage done", stage=stage, seconds=done["seconds"])

    # files

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

    def sweep(self, name: str) -> None:
        """Remove what a killed worker has left half written in the folder `name`."""
        for path in self.folder.glob(f"{TEMPORARY}-{name.replace('/', '-')}-*"):
            path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete what only an unfinished run needs: arrays of its stages, and the folder of its jobs."""
        for path in self.folder.glob(f"*{ARRAYS}"):
            path.unlink()
        self.remove_folder(JOBS)

    def log(self, event: str, **facts: Any) -> None:
        """Append one event, with the time in UTC, to the log."""
        line = json.dumps(_plain({"time": _now(), "event": event, **facts}), allow_nan=False)
        with reporting(self.path(LOG)), self.path(LOG).open("ab") as file:
            file.write(line.encode() + b"\n")

    def finish(self, **info: Any) -> None:
        """Write `run.json` in full: versions, platform, seconds per stage, and `info`. The run is then finished."""
        self._state |= {
            "finished": _now(),
            "versions": _versions(),
            "platform": platform.platform(),
            "seconds": {stage: self._stages[stage]["seconds"] for stage in self._in_order()},
            **info,
        }
        self.write_json(STATE, self._state)


def _refuse_links(folder: Path) -> None:
    """Raise ConfigError where a run would write through a link, which only a stranger has made."""
    for place, folders, files in os.walk(folder):
        if links := [name for name in (*folders, *files) if os.path.islink(os.path.join(place, name))]:
            raise ConfigError(
                f"{os.path.join(place, links[0])} is a link, and nothing is written through links",
                hint="delete it, or choose another --out",
            )


@contextmanager
def reporting(path: Path, option: str = "--out") -> Iterator[None]:
    """Turn what the operating system refuses into ReportError; `option` names the place."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors packs a full disk into an error of its own
        raise ReportError(
            f"cannot write {path}: {why(error)}",
            hint=f"check free space and permissions, or choose another {option}; the same command goes on from here",
        ) from error


def _drop_torn_line(path: Path) -> None:
    """Cut off what a killed process left of its last line."""
    if path.exists():
        data = path.read_bytes()
        os.truncate(path, data.rfind(b"\n") + 1)


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

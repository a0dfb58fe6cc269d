"""Where a file that a user names goes: never into what was audited or a run holds, never over something else unasked,
and whole or not at all."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from cleanlab_lite.errors import ConfigError, ReportError
from cleanlab_lite.files import is_remote, whole
from cleanlab_lite.manifest.manifest import Manifest, Source
from cleanlab_lite.manifest.readers.base import CODECS
from cleanlab_lite.run import RunFolder, is_run_file, safe_stem

MARKER = ".nlclean-export"  # in a folder that an export wrote, so that --force replaces no other
ELSEWHERE = "give another place to write to"


def choose_target(
    manifest: Manifest,
    wanted: Path | None,
    *,
    word: str,
    endings: Sequence[str],
    tree: bool,
    force: bool,
    inputs: Iterable[Path] = (),
    beside: Path | None = None,
) -> Path:
    """The file or folder to write: `wanted`, else STEM.`word` beside the original, where its relative paths stay right,
    or in the folder `beside`.

    `endings` are those that a file may have, the default first. Raises ConfigError when the target has another ending,
    when it is or lies in what was audited, is one of `inputs` (other files that are read) or a file of a run, and when
    it is there already, unless `force`, which replaces files, and of folders the empty ones and those that an export
    made.
    """
    original = Path(manifest.source.path)
    if wanted is None:
        usual = original.parent if original.parent.is_dir() and not _is_glob(original) else Path.cwd()
        folder = usual if beside is None else beside
        wanted = folder / f"{safe_stem(_stem(original))}.{word}{endings[0] if endings else ''}"
    if endings and not wanted.name.lower().endswith(tuple(endings)):
        ending = " or ".join(endings)
        raise ConfigError(f"cannot write {wanted}: it must end in {ending}", hint=f"--output FILE{endings[0]}")
    if not tree and wanted.is_dir():
        raise ConfigError(f"{wanted} is a folder", hint=f"--output {wanted / ('FILE' + endings[0])}")
    if tree and wanted.exists() and not wanted.is_dir():
        raise ConfigError(f"{wanted} is a file, this format writes a folder", hint="give another --output")
    if tree and wanted.is_dir() and wanted.samefile(Path.cwd()):
        raise ConfigError(f"{wanted} is the folder that you are in", hint="name a new one: --output clean")
    refuse_inputs(wanted, manifest.source, lambda: _local(manifest.uris), inputs)
    if tree and wanted.is_dir() and any(wanted.iterdir()):
        _refuse_folder(manifest, wanted, force)
    elif not tree:
        refuse_existing(wanted, force)
    return wanted


def choose_file(run: RunFolder, wanted: Path, *, force: bool, inputs: Iterable[Path] = ()) -> Path:
    """`wanted`, a file to write about a run. Raises ConfigError as `choose_target` does."""
    if wanted.is_dir():
        raise ConfigError(f"{wanted} is a folder", hint=f"name a file: {wanted / 'FILE'}")
    refuse_inputs(wanted, run.lines.source, lambda: _local(run.manifest.uris), inputs)
    refuse_existing(wanted, force)
    return wanted


def refuse_existing(wanted: Path, force: bool) -> None:
    """Raise ConfigError where there is a file already. A pipe or a device is written to, not replaced."""
    if wanted.is_file() and not force:
        raise ConfigError(f"{wanted} exists", hint="give another file, or --force to overwrite it")


def refuse_inputs(wanted: Path, source: Source, uris: Callable[[], Iterable[str]], inputs: Iterable[Path] = ()) -> None:
    """Raise ConfigError where `wanted` is, or lies in, what was audited or is read, or is a file of a run.

    `source` is the audited manifest. The local files `uris()` of its rows are asked for only where `wanted` is a file.
    """
    real = Path(os.path.realpath(wanted))
    if is_run_file(real):
        raise ConfigError(f"{wanted} is a file of a run folder, which only its run changes", hint=ELSEWHERE)
    original = Path(source.path)
    audited = Path(os.path.realpath(original))
    inside = original.is_dir() and audited in (real, *real.parents)
    many = _is_glob(original) and fnmatch.fnmatch(str(real), source.path)
    if inside or many:
        raise ConfigError(f"{wanted} lies in the audited data, which is never changed", hint=ELSEWHERE)
    if real == audited or (source.file and real == Path(os.path.realpath(source.file))):
        raise ConfigError(f"{wanted} is the audited manifest, which is never changed", hint=ELSEWHERE)
    if not wanted.is_file():
        return
    if _file_id(wanted) in map(_file_id, inputs):
        raise ConfigError(f"{wanted} is read by this command", hint=ELSEWHERE)
    if _file_id(wanted) in map(_file_id, uris()):
        raise ConfigError(f"{wanted} is an audited file, which is never changed", hint=ELSEWHERE)


def _stem(path: Path) -> str:
    """Name without ending, nor that of a compression."""
    packed = path.suffix.lower() in CODECS
    return Path(path.stem).stem if packed else path.stem


def _is_glob(original: Path) -> bool:
    return glob.has_magic(str(original)) and not original.exists()


def _file_id(path: str | Path) -> tuple[int, int] | None:
    """The same for all names of a file; None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _local(uris: np.ndarray | None) -> list[str]:
    return [] if uris is None else [uri for uri in uris.tolist() if uri and not is_remote(uri)]


def _refuse_folder(manifest: Manifest, wanted: Path, force: bool) -> None:
    """Raise ConfigError unless the folder, which is not empty, may be replaced."""
    if not (wanted / MARKER).is_file():
        raise ConfigError(f"{wanted} holds files that no export wrote", hint="give another --output")
    if not force:
        raise ConfigError(f"{wanted} exists", hint="give another --output, or --force to replace it")
    real = Path(os.path.realpath(wanted))
    folders = {os.path.realpath(os.path.dirname(uri)) for uri in _local(manifest.uris)}
    if any(real in (Path(folder), *Path(folder).parents) for folder in folders):
        raise ConfigError(f"{wanted} holds audited files, which are never changed", hint="give another --output")


@contextmanager
def replacing(target: Path, *, tree: bool = False, hint: str = "give another place with --output") -> Iterator[Path]:
    """A path to write to, which becomes `target` when the block ends well; nothing stays of it when it does not.

    A pipe or a device is written to as it is. Raises ReportError when the disk is full or refuses.
    """
    special = not tree and target.exists() and not target.is_file()
    try:
        with nullcontext(target) if special else _whole_folder(target) if tree else _whole_file(target) as place:
            yield place
    except OSError as error:
        reason = error.strerror or error
        raise ReportError(f"cannot write {target}: {reason}", hint=hint) from error


@contextmanager
def _whole_file(target: Path) -> Iterator[Path]:
    """`whole`, and what killed processes have left of the same file goes."""
    for entry in target.parent.iterdir():
        name = re.fullmatch(rf"\.(\d+)\.{re.escape(target.name)}", entry.name)
        if name is not None and entry.is_file() and not entry.is_symlink() and not _lives(int(name[1])):
            entry.unlink()
    with whole(target) as place:
        yield place


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """`whole` for a folder, marked as one of an export; one that is there steps aside until the new one is whole."""
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    old = target.with_name(f".{os.getpid()}.old.{target.name}")
    _clear_up(target)
    try:
        temporary.mkdir()
        (temporary / MARKER).touch()
        yield temporary
        if not target.exists():
            os.replace(temporary, target)
            return
        os.replace(target, old)
        try:
            os.replace(temporary, target)
        except OSError:
            os.replace(old, target)
            raise
    finally:
        for leftover in (temporary, old):
            if leftover.is_dir():
                shutil.rmtree(leftover)


def _clear_up(target: Path) -> None:
    """Delete what killed exports to `target` have left; the folder that stepped aside for one comes back."""
    for entry in target.parent.iterdir():
        name = re.fullmatch(rf"\.(\d+)(\.old)?\.{re.escape(target.name)}", entry.name)
        if name is None or entry.is_symlink() or not (entry / MARKER).is_file() or _lives(int(name[1])):
            continue
        if name[2] and not target.exists():
            os.replace(entry, target)
        else:
            shutil.rmtree(entry)


def _lives(pid: int) -> bool:
    """Whether there is such a process; on Windows, where one is asked by ending it, always."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True

"""Where an export goes: never into what was audited, never over something else unasked, and whole or not at all."""

from __future__ import annotations

import fnmatch
import glob
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cleanlab_lite.errors import ConfigError, ReportError
from cleanlab_lite.manifest import Manifest
from cleanlab_lite.run import safe_stem

MARKER = ".nlclean-export"  # in a folder that an export wrote, so that --force replaces no other


def choose_target(
    manifest: Manifest, wanted: Path | None, *, word: str, endings: Sequence[str], tree: bool, force: bool
) -> Path:
    """The file or folder to write: `wanted`, else STEM.`word` beside the original, where its relative paths stay right.

    `endings` are those that a file may have, the default first. Raises ConfigError when the target has another ending,
    when it is or lies in what was audited, and when it is there already, unless `force`, which replaces files, and of
    folders the empty ones and those that an export made.
    """
    original = Path(manifest.source.path)
    many = glob.has_magic(manifest.source.path) and not original.exists()
    if wanted is None:
        folder = original.parent if original.parent.is_dir() and not many else Path.cwd()
        wanted = folder / f"{safe_stem(original.stem)}.{word}{endings[0] if endings else ''}"
    if endings and wanted.suffix.lower() not in endings:
        ending = " or ".join(endings)
        raise ConfigError(f"cannot write {wanted}: it must end in {ending}", hint=f"--output FILE{endings[0]}")
    if not tree and wanted.is_dir():
        raise ConfigError(f"{wanted} is a folder", hint=f"--output {wanted / ('FILE' + endings[0])}")
    if tree and wanted.exists() and not wanted.is_dir():
        raise ConfigError(f"{wanted} is a file, this format writes a folder", hint="give another --output")
    real = Path(os.path.realpath(wanted))
    source = Path(os.path.realpath(original))
    inside = original.is_dir() and source in (real, *real.parents)
    if inside or real == source or (many and fnmatch.fnmatch(str(real), manifest.source.path)):
        what = "lies in the audited data" if inside or many else "is the audited manifest"
        raise ConfigError(f"{wanted} {what}, which is never changed", hint="give another --output")
    if tree and wanted.is_dir() and any(wanted.iterdir()):
        _refuse_folder(manifest, wanted, real, force)
    elif not tree and wanted.exists() and not force:
        raise ConfigError(f"{wanted} exists", hint="give another --output, or --force to overwrite it")
    return wanted


def _refuse_folder(manifest: Manifest, wanted: Path, real: Path, force: bool) -> None:
    """Raise ConfigError unless the folder, which is not empty, may be replaced."""
    if not (wanted / MARKER).is_file():
        raise ConfigError(f"{wanted} holds files that no export wrote", hint="give another --output")
    if not force:
        raise ConfigError(f"{wanted} exists", hint="give another --output, or --force to replace it")
    uris = manifest.uris.tolist() if manifest.uris is not None else []
    folders = {os.path.realpath(os.path.dirname(uri)) for uri in uris if uri and "://" not in uri}
    if any(real in (Path(folder), *Path(folder).parents) for folder in folders):
        raise ConfigError(f"{wanted} holds audited files, which are never changed", hint="give another --output")


@contextmanager
def replacing(target: Path, *, tree: bool = False, hint: str = "give another place with --output") -> Iterator[Path]:
    """A path to write to, which becomes `target` when the block ends well; nothing stays of it when it does not.

    A pipe or a device is written to as it is. Raises ReportError when the disk is full or refuses.
    """
    special = not tree and target.exists() and not target.is_file()
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    old = target.with_name(f".{os.getpid()}.old.{target.name}")
    try:
        if special:
            yield target
            return
        if tree:
            temporary.mkdir()
            (temporary / MARKER).touch()
        yield temporary
        if not tree or not target.exists():
            os.replace(temporary, target)
            return
        os.replace(target, old)
        try:
            os.replace(temporary, target)
        except OSError:
            os.replace(old, target)
            raise
    except OSError as error:
        reason = error.strerror or error
        raise ReportError(f"cannot write {target}: {reason}", hint=hint) from error
    finally:
        for leftover in (temporary, old):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)

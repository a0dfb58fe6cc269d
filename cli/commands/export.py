"""`nlclean export`: write the dataset without its wrong labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import diagnostics
from ..options import json_option, run_argument, verbosity_options

if TYPE_CHECKING:
    from cleanlab_lite.exporters.policy import What
    from cleanlab_lite.manifest import Manifest


@click.command("export")
@run_argument
@click.option(
    "--what",
    type=click.Choice(["pruned", "corrected"]),
    default="pruned",
    show_default=True,
    help="pruned: no flagged rows. corrected: suggested labels filled in, hopeless rows out.",
)
@click.option(
    "--output", "target", type=click.Path(path_type=Path), help="File to write.  [default: STEM.WHAT beside MANIFEST]"
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Change nothing that is less sure than this.",
)
@click.option(
    "--include-split",
    "include_splits",
    multiple=True,
    metavar="SPLIT",
    help="Change rows of this test or validation split too; may be repeated.",
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
@json_option
@verbosity_options
def command(
    run: Path | None,
    what: What,
    target: Path | None,
    min_confidence: float,
    include_splits: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Write the manifest without its wrong labels.

    RUN is a run folder or the report.parquet in it.  [default: the newest under nlclean-runs/]

    Format and columns stay as they are, and so do the rows of test and validation splits.
    The path of the file is printed on stdout.
    """
    from cleanlab_lite.errors import ReportError
    from cleanlab_lite.exporters.manifest import load_manifest, suffix, write_manifest
    from cleanlab_lite.exporters.policy import apply_policy
    from cleanlab_lite.report import Report
    from cleanlab_lite.run import REPORT, find_run

    from .. import output

    folder = find_run(run)
    report = Report.read(folder / REPORT)
    manifest = load_manifest(folder / "manifest.parquet")
    if len(manifest) != len(report):
        raise ReportError(f"{folder} holds a report on {len(report)} rows and a manifest of {len(manifest)}")

    target = _target(manifest, what, suffix(manifest), target, force)
    keep, labels = apply_policy(report.table, manifest.held_back, what, min_confidence, include_splits)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        write_manifest(manifest, temporary, keep=keep, labels=labels)
        os.replace(temporary, target)
    except OSError as error:
        reason = error.strerror or error
        raise ReportError(f"cannot write {target}: {reason}", hint="give another file with --output") from error
    finally:
        temporary.unlink(missing_ok=True)

    counts = {
        "kept": int(keep.sum()),
        "dropped": int((~keep).sum()),
        "relabelled": sum(label is not None for label in labels),
    }
    diagnostics.note(", ".join(f"{name} {count:,}" for name, count in counts.items()) + f" of {len(manifest):,} rows")
    if manifest.source.path_column and target.parent.resolve() != Path(_base(manifest)).resolve():
        diagnostics.note(f"relative paths in it count from {_base(manifest)}")
    if as_json:
        output.json_document({"path": str(target), "what": what, **counts})
    else:
        output.line(str(target))


def _target(manifest: Manifest, what: str, ending: str, target: Path | None, force: bool) -> Path:
    """The file to write. Beside the original by default: there its relative paths stay right."""
    from cleanlab_lite.errors import ConfigError
    from cleanlab_lite.run import safe_stem

    original = Path(manifest.source.path)
    if target is None:
        folder = original.parent if original.parent.is_dir() else Path.cwd()
        target = folder / f"{safe_stem(original.stem)}.{what}{ending}"
    if target.suffix.lower() != ending:
        raise ConfigError(f"cannot write {target}: the manifest is a {ending} file", hint=f"--output FILE{ending}")
    if target.is_dir():
        raise ConfigError(f"{target} is a folder", hint=f"--output {target / ('FILE' + ending)}")
    if target.exists() and original.exists() and target.samefile(original):
        raise ConfigError(f"{target} is the audited manifest, which is never changed", hint="give another --output")
    if target.exists() and not force:
        raise ConfigError(f"{target} exists", hint="give another --output, or --force to overwrite it")
    return target


def _base(manifest: Manifest) -> str:
    """The folder, or URL, that relative paths of the manifest start from."""
    path = manifest.source.path
    return path if os.path.isdir(path) else os.path.dirname(path)

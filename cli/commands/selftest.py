"""`nlclean selftest`: what to expect of an audit of these data."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from cleanlab_lite.config import PRESETS

from .. import diagnostics
from ..help import HelpfulCommand
from ..options import READING, config_options, json_option, verbosity_options
from ..project import defaults
from ..settings import resolve, to_config
from .audit import read, reading_options

if TYPE_CHECKING:
    from cleanlab_lite.config import AuditConfig
    from cleanlab_lite.manifest.manifest import Manifest
    from cleanlab_lite.run import RunFolder
    from cleanlab_lite.run.state import State


manifest_or_run = click.argument("data", required=False, metavar="[MANIFEST|RUN]")
out_option = click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder of a MANIFEST.  [default: one under nlclean-runs/]"
)


@click.command(
    "selftest",
    cls=HelpfulCommand,
    short_help="Say how many flags are real, by planted errors.",
    epilog="Example: nlclean selftest run --preset fast",
)
@manifest_or_run
@reading_options
@out_option
@click.option(
    "--preset", type=click.Choice(list(PRESETS)), default="fast", show_default=True, help="How thorough to be."
)
@config_options("time_budget", "seed", "device", "workers")
@json_option
@verbosity_options
@click.pass_context
def command(ctx: click.Context, data: str | None, out: Path | None, as_json: bool, **given: Any) -> None:
    """Say what to expect of an audit: how many flags are real, and how many errors are flagged.

    Wrong labels are planted among those of a finished RUN, shaped in several ways, and audited. A MANIFEST is audited
    first. Without either it is the newest run under nlclean-runs/. What was found is kept in the run folder as
    selftest.json, and shown on the page of `nlclean report --html`.
    """
    reading = {name: given.pop(name) for name in READING}
    settings = resolve(given, environ=os.environ, cwd=Path.cwd())
    config = to_config(settings)
    from cleanlab_lite.selftest import self_test

    from .. import output
    from ..progress import Drawer
    from ..views.selftest import selftest_view

    with Drawer() as drawer:
        run, manifest = run_of(data, reading, config, out, ctx.obj, drawer)
        found = self_test(run, manifest, config, preset=settings["preset"].value, command=ctx.obj, on_progress=drawer)
    for sentence in found.left_out:
        diagnostics.note(f"left out: {sentence}")
    if as_json:
        output.json_document(found.as_dict() | {"run": str(run.folder)})
    else:
        selftest_view(found, run.folder)


def run_of(
    data: str | None, reading: dict[str, Any], config: AuditConfig, out: Path | None, typed: list[str], drawer: Any
) -> tuple[RunFolder, Manifest]:
    """A finished run, and what it audited; a manifest is audited first, or its run is found."""
    from cleanlab_lite.pipeline import run_audit, run_key
    from cleanlab_lite.run import Run, RunFolder, finished_run, is_run

    if data is None or is_run(Path(data)):
        if out is not None:
            raise click.UsageError("--out is for a MANIFEST: what is found of a RUN is kept in its folder")
        run = RunFolder(None if data is None else Path(data))
        return run, audited(run, reading)
    manifest = read(data, reading)
    key, stem = run_key(manifest, config), PurePath(manifest.source.path).stem
    folder = out or finished_run(stem, key)
    with Run.start(folder, stem, key, typed) as first:
        run_audit(manifest, config, run=first, on_progress=drawer)
        return RunFolder(first.folder), manifest


def _state(run: RunFolder) -> State | None:
    """Of what read the data of a run; one with another seed lies in the folder of the run that it repeats."""
    from cleanlab_lite.run import RunFolder, is_run
    from cleanlab_lite.run.layout import SEEDS

    place = run.folder.absolute().parent
    if place.name == SEEDS and is_run(place.parent) and (first := RunFolder(place.parent)).own:
        return _state(first)
    return run.state


def _from(directory: Path, named: Path | None) -> Path | None:
    """A file or folder that was named there."""
    from cleanlab_lite.manifest.manifest import NO_FEATURES

    return named if named is None or str(named) == NO_FEATURES else directory / named


def audited(run: RunFolder, reading: dict[str, Any]) -> Manifest:
    """What the run audited. Vectors are not kept in a run: they are read again, as the run's own command read them."""
    manifest = run.manifest
    if manifest.modality != "vector":
        return manifest
    from cleanlab_lite.errors import ConfigError

    if not run.own:
        raise ConfigError(
            f"{run.folder} was made elsewhere, and does not decide what is read here",
            hint="audit the manifest here, and name that run: nlclean audit MANIFEST --features ...",
        )
    if manifest.source.in_memory:
        raise ConfigError(
            f"the vectors that the run in {run.folder} audited were in memory only, and a run keeps none",
            hint="save them (numpy.save) beside a table with the labels, and audit that: nlclean audit TABLE --features"
            " FILE",
        )
    path, told = manifest.source.path, reading
    state = _state(run)
    command = list(state.command) if state else []
    if state and command[1:2] and command[1] in ("audit", "selftest", "verify"):
        said = diagnostics.verbosity()
        typed = import_module(f".{command[1]}", __package__).command
        there = Path(state.directory)
        silent = defaults(typed, there.absolute())
        params = typed.make_context(command[1], command[2:], default_map=silent).params
        diagnostics.set_verbosity(said)  # a --quiet of that time is over
        params |= {name: _from(there, params[name]) for name in ("features", "path_root")}
        told = {name: reading[name] if reading[name] not in (None, True) else params[name] for name in READING}
    again = read(path, told)
    if again.fingerprint != manifest.fingerprint:
        raise ConfigError(
            f"{path} is not what the run in {run.folder} audited",
            hint="audit it again, and name that run: nlclean audit MANIFEST --features ...",
        )
    return again

"""`nlclean verify`: does cleaning help on these data?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cleanlab_lite.config import PRESETS, AuditConfig, validate

from .. import diagnostics
from ..help import HelpfulCommand
from ..options import READING, Whole, config_options, json_option, verbosity_options
from ..settings import resolve, to_config
from .audit import read, reading_options
from .selftest import manifest_or_run, out_option, run_of

if TYPE_CHECKING:
    from cleanlab_lite.run import RunFolder

_HOW_TO_RUN = ("device", "workers", "time_budget", "max_memory")  # options that are not those of the run


@click.command(
    "verify",
    cls=HelpfulCommand,
    short_help="Say whether cleaning helps the same network.",
    epilog="Example: nlclean verify run",
)
@manifest_or_run
@click.option("--test", metavar="MANIFEST", help="Rows whose labels are trusted.  [default: rows of the run]")
@click.option("--test-features", type=click.Path(path_type=Path), help="Their embeddings, aligned by row.")
@click.option(
    "--seeds",
    type=Whole(min=2, max=100),
    metavar="N",
    default=5,
    show_default=True,
    help="Networks per way of cleaning.",
)
@click.option(
    "--learner",
    type=click.Choice(["run", "plain"]),
    default="run",
    show_default=True,
    help="What learns: what the run has trained, or networks without anything against wrong labels, as most models.",
)
@reading_options
@out_option
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="fast",
    show_default=True,
    help="How thorough to be with a MANIFEST.",
)
@config_options("time_budget", "seed", "device", "workers")
@json_option
@verbosity_options
@click.pass_context
def command(
    ctx: click.Context,
    data: str | None,
    test: str | None,
    test_features: Path | None,
    seeds: int,
    learner: str,
    out: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Say whether cleaning helps: train on the labels as they are and as cleaning leaves them.

    What a finished RUN has trained learns from all labels, without the flagged rows, with corrected labels, with
    weights, and without as many rows at random, and is tested on the same rows: those of --test, or else of the test
    and validation splits, or else rows that every view agrees with. A MANIFEST is audited first. Without either it is
    the newest run under nlclean-runs/. What was found is kept in the run folder as verify.json, and shown on the page
    of `nlclean report --html`.
    """
    reading = {name: given.pop(name) for name in READING}
    config = to_config(resolve(given, environ=os.environ, cwd=Path.cwd()))
    if test_features is not None and test is None:
        raise click.UsageError("--test-features is for --test")
    from cleanlab_lite.evidence.decisions import settle
    from cleanlab_lite.text import counted
    from cleanlab_lite.verify import verify

    from .. import output
    from ..progress import Drawer
    from ..views.verification import verification_view

    with Drawer() as drawer:
        run, manifest = run_of(data, reading, config, out, ctx.obj, drawer)
        trusted = None if test is None else read(test, reading | {"features": test_features})
        config = as_the_run(run, config, named=[name for name in given if given[name] is not None])
        plain = learner == "plain"
        found = verify(
            run, manifest, config, test=trusted, seeds=seeds, plain=plain, command=ctx.obj, on_progress=drawer
        )
    for sentence in found.left_out:
        diagnostics.note(f"left out: {sentence}")
    if decided := len(settle(run.decisions)):
        diagnostics.note(
            f"people have decided on {counted(decided, 'row')}: all ways but original and random follow them"
        )
    if as_json:
        output.json_document(found.as_dict() | {"run": str(run.folder)})
    else:
        verification_view(found, run.folder)


def as_the_run(run: RunFolder, config: AuditConfig, named: Sequence[str] = ()) -> AuditConfig:
    """The options of the run, but for how to run, and for those that the user has `named`."""
    stored = run.state.configuration if run.state else {}
    known = {each.name: stored[each.name] for each in fields(AuditConfig) if each.name in stored}
    return validate(
        replace(config, **{name: value for name, value in known.items() if name not in (*_HOW_TO_RUN, *named)})
    )

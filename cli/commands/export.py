"""`nlclean export`: write the dataset without its wrong labels, or the findings for another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cleanlab_lite.export.formats import FORMATS, LINKS, POLICIES, Format, Link, Policy
from cleanlab_lite.text import counted

from .. import diagnostics
from ..help import HelpfulCommand
from ..options import Limit, data_root_option, json_option, run_argument, together, verbosity_options

if TYPE_CHECKING:
    from cleanlab_lite.evidence.decisions import Decision
    from cleanlab_lite.export.policy import Cleaning

OF_POLICIES = ("policy", "min_confidence", "max_drop_per_class", "max_drop", "include_splits", "decisions")
OF_PATCHES = ("to", "reverse", "skip_conflicts")
OF_BOTH = ("patch", *OF_PATCHES, "max_drop", "target", "force", "as_json")


def _formats(kind: str) -> str:
    return "\n".join(f"  {format.name:<13}{format.summary}" for format in FORMATS.values() if format.kind == kind)


HELP = f"""Write the dataset without its wrong labels, or the findings for another program.

RUN is a run folder or the report.parquet in it.  [default: the newest under nlclean-runs/]

Rows of test and validation splits stay as they are. Decisions of `nlclean review` come before the tool's verdict.
The path of what was written is printed on stdout.

\b
Formats of the dataset that a policy leaves:
{_formats("dataset")}

\b
Formats with every row and the verdict on it:
{_formats("review")}

\b
Policies:
  prune          no flagged rows
  correct        suggested labels filled in, hopeless rows out
  correct-prune  suggested labels filled in where they are clear, no other flagged rows
  weight         every row, with a column `weight` of how far to trust its label
  decided        nothing but what people have decided

A patch is applied, or taken back, with --apply PATCH --to MANIFEST.
"""


_policy_options = together(
    click.option(
        "--min-confidence",
        type=Limit("share"),
        default="0%",
        show_default=True,
        metavar="P",
        help="Change nothing that is less sure than this.",
    ),
    click.option(
        "--max-drop-per-class",
        type=Limit("share"),
        default="100%",
        show_default=True,
        metavar="SHARE",
        help="Let at most this share of the rows of a class go, the most probable errors first.",
    ),
    click.option(
        "--max-drop",
        type=Limit("share"),
        metavar="SHARE",
        help="Refuse to drop more than this, 60% or 0.6, of all rows or of a class.  "
        "[default: 30% of all, 50% of a class]",
    ),
    click.option(
        "--include-split",
        "include_splits",
        multiple=True,
        metavar="SPLIT",
        help="Change rows of this test or validation split too; may be repeated.",
    ),
    click.option(
        "--decisions",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Decisions of people; may be repeated, several reviewers vote.  [default: decisions.jsonl of the run]",
    ),
)
_patch_options = together(
    click.option(
        "--apply",
        "patch",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Apply this patch instead.",
    ),
    click.option("--to", metavar="MANIFEST", help="Manifest that --apply changes a copy of."),
    click.option("--reverse", is_flag=True, help="Take the patch back."),
    click.option("--skip-conflicts", is_flag=True, help="Pass over lines of the patch that no longer fit."),
)


@click.command(
    "export",
    cls=HelpfulCommand,
    help=HELP,
    short_help="Write the dataset, or the findings, cleaned.",
    epilog="Example: nlclean export run --policy correct --output corrected.csv",
)
@run_argument
@click.option(
    "--format",
    "name",
    type=click.Choice(list(FORMATS)),
    default="manifest",
    metavar="FORMAT",
    help="One of those above.  [default: manifest]",
)
@click.option("--policy", type=click.Choice(POLICIES), default="prune", show_default=True, help="What to change.")
@click.option("--output", "target", type=click.Path(path_type=Path), help="Where to.  [default: beside MANIFEST]")
@_policy_options
@click.option(
    "--link",
    type=click.Choice(LINKS),
    default="hard",
    show_default=True,
    help="How files get into a folder; a hard link and its original are one file.",
)
@_patch_options
@data_root_option
@click.option("--force", is_flag=True, help="Overwrite the file, or replace the folder of an earlier export.")
@json_option
@verbosity_options
@click.pass_context
def command(
    ctx: click.Context,
    run: Path | None,
    name: str,
    policy: Policy,
    target: Path | None,
    min_confidence: tuple[float, bool],
    max_drop_per_class: tuple[float, bool],
    max_drop: tuple[float, bool] | None,
    include_splits: tuple[str, ...],
    decisions: tuple[Path, ...],
    link: Link,
    patch: Path | None,
    to: str | None,
    reverse: bool,
    skip_conflicts: bool,
    data_roots: tuple[Path, ...],
    force: bool,
    as_json: bool,
) -> None:
    format = FORMATS[name]
    _refuse_idle_options(ctx, format, patch, to)
    limit = max_drop[0] if max_drop else None
    if patch is not None and to is not None:
        _answer(*_apply(patch, to, target, reverse, skip_conflicts, limit, force), as_json)
        return

    from cleanlab_lite.export.export import export
    from cleanlab_lite.report.reviewed import reviewed
    from cleanlab_lite.run import RunFolder

    found = RunFolder(run, data_roots=data_roots)
    if format.tree:
        found.need_files()
    elif found.withheld:
        diagnostics.warn(found.withheld)
    manifest, journal = found.manifest, _read_decisions(decisions) if decisions else found.decisions
    with found.blamed():
        exported = export(
            found.report,
            manifest,
            format,
            target,
            policy=policy,
            min_confidence=min_confidence[0],
            max_drop_per_class=max_drop_per_class[0],
            max_drop=limit,
            include_splits=include_splits,
            decisions=journal,
            link=link,
            force=force,
            inputs=decisions,
            beside=found.exports,
        )
    facts: dict[str, Any] = {"format": name}
    if exported.cleaning is None:
        diagnostics.note(counted(len(manifest), "row"))
        facts |= {"rows": len(manifest)}
    else:
        facts |= {"policy": policy, **_counted(exported.cleaning, policy)}
    said = reviewed(found.report.table, journal)
    if said is not None:
        facts["reviews"] = said.as_dict()
    sentences = said.in_words() if said else []
    _answer(exported.path, facts, [*exported.notes, *sentences[:1], *sentences[-1:]], as_json)


def _refuse_idle_options(ctx: click.Context, format: Format, patch: Path | None, to: str | None) -> None:
    """An option that would do nothing is a mistake."""
    given = {
        parameter.name: parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name in ctx.params and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    }
    if patch is not None and to is None:
        raise click.UsageError("--apply needs --to MANIFEST", ctx)
    if patch is not None:
        idle = given.keys() - {*OF_BOTH} | (given.keys() & {"max_drop"} if ctx.params["reverse"] else set())
    else:
        idle = given.keys() & {
            *OF_PATCHES,
            *(OF_POLICIES if format.kind == "review" else ()),
            *(() if format.tree else ("link",)),
        }
    if idle:
        names = ", ".join(given[name] for name in given if name in idle)
        where = (
            ("--apply --reverse" if ctx.params["reverse"] else "--apply")
            if patch is not None
            else f"an export of format {format.name}"
        )
        raise click.UsageError(f"{names} does nothing in {where}", ctx)
    if ctx.params["policy"] == "weight" and "max_drop" in given:
        raise click.UsageError("--max-drop does nothing with the policy weight, which drops nothing", ctx)
    if ctx.params["policy"] == "weight" and not format.weights:
        raise click.UsageError(f"--format {format.name} has no place for weights", ctx)


def _read_decisions(files: tuple[Path, ...]) -> list[Decision]:
    from cleanlab_lite.evidence.decisions import read_journal

    return [decision for file in files for decision in read_journal(file)]


def _counted(cleaning: Cleaning, policy: str) -> dict[str, int]:
    """Say what happened, and return it."""
    counts = cleaning.counts()
    people = counts["decided_by_people"]
    diagnostics.note(
        f"kept {counts['kept']:,}, dropped {counts['dropped']:,}, relabelled {counts['relabelled']:,} "
        f"of {counted(len(cleaning.keep), 'row')}" + (f"; {people:,} decided by people" if people else "")
    )
    if policy == "decided" and not people:
        diagnostics.note("nobody has decided about a row: nothing is changed")
    return counts


def _apply(
    patch: Path,
    to: str,
    target: Path | None,
    reverse: bool,
    skip_conflicts: bool,
    max_drop: float | None,
    force: bool,
) -> tuple[Path, dict[str, Any], list[str]]:
    """The file written, what happened, and notes. Raises ConfigError with all conflicts where there are any."""
    from cleanlab_lite.errors import ConfigError
    from cleanlab_lite.export.manifest import suffix
    from cleanlab_lite.export.patch import apply_patch, read_patch
    from cleanlab_lite.export.target import choose_target, replacing
    from cleanlab_lite.manifest.readers import read_labels

    changes = read_patch(patch)
    manifest = read_labels(to, changes[0].columns, quotes_are_text=changes[0].quotes_are_text)
    word = "restored" if reverse else "patched"
    target = choose_target(
        manifest, target, word=word, endings=(suffix(manifest),), tree=False, force=force, inputs=[patch]
    )
    with replacing(target) as temporary:
        outcome = apply_patch(
            manifest, changes, temporary, reverse=reverse, skip_conflicts=skip_conflicts, max_drop=max_drop
        )
        if outcome.conflicts and not skip_conflicts:
            raise ConfigError(
                f"{len(outcome.conflicts):,} of {len(changes):,} changes conflict with {to}, nothing is written:\n"
                + "\n".join(f"  {conflict}" for conflict in outcome.conflicts),
                hint="--skip-conflicts makes the others",
            )
    diagnostics.note(f"dropped {outcome.dropped:,}, put back {outcome.restored:,}, relabelled {outcome.relabelled:,}")
    facts = {"dropped": outcome.dropped, "restored": outcome.restored, "relabelled": outcome.relabelled}
    return target, facts, [f"passed over {conflict}" for conflict in outcome.conflicts]


def _answer(path: Path, facts: dict[str, Any], notes: list[str], as_json: bool) -> None:
    from .. import output

    for note in notes:
        diagnostics.note(note)
    if as_json:
        output.json_document({"path": str(path), **facts, "notes": notes})
    else:
        output.line(str(path))

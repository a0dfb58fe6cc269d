"""An export from end to end: what `nlclean export` and `Report.export` do."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.evidence.decisions import Decision
from cleanlab_lite.export.formats import STEMS, Format, Link, Policy
from cleanlab_lite.export.manifest import suffix
from cleanlab_lite.export.policy import Cleaned, Cleaning, apply_policy
from cleanlab_lite.export.target import choose_target, replacing
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.run.report import ReportTable

AUTOMATIC: tuple[Policy, ...] = ("prune", "correct", "correct-prune")  # change rows that nobody has looked at


def undetermined(policy: Policy) -> ConfigError:
    """Why such a policy is refused after an audit that has learned too little."""
    return ConfigError(
        f"the policy {policy} changes rows that nobody has seen, and this audit cannot say how many labels are wrong",
        hint="`nlclean review` shows the rows, --policy decided does what people have decided; --force overrules",
    )


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    notes: list[str]  # for the user, a sentence each
    cleaning: Cleaning | None = None  # what became of the rows; None where the format takes no policy


def export(
    report: ReportTable,
    manifest: Manifest,
    format: Format,
    target: Path | None = None,
    *,
    policy: Policy = "prune",
    min_confidence: float = 0.0,
    max_drop_per_class: float = 1.0,
    max_drop: float | None = None,
    include_splits: Collection[str] = (),
    decisions: Iterable[Decision] = (),
    link: Link = "hard",
    force: bool = False,
    inputs: Iterable[Path] = (),
    beside: Path | None = None,
) -> Exported:
    """Write the dataset that `policy` leaves, or every row with the verdict on it, as the format wants.

    Options that the format has no use for are passed over; `inputs` are files that the target must not replace,
    `beside` is the folder of a target that is not named, by default that of the audited manifest. Raises
    ConfigError where format, policy and rows do not go together, where more would be dropped than is safe or `max_drop`
    allows, and where the target must not be written.
    """
    if format.needs and manifest.modality not in format.needs:
        raise ConfigError(
            f"--format {format.name} needs {' or '.join(format.needs)} files, and the rows are of the kind "
            f"{manifest.modality}"
        )
    target = choose_target(
        manifest,
        target,
        word=format.word or STEMS[policy],
        endings=() if format.tree else format.endings or (suffix(manifest),),
        tree=format.tree,
        force=force,
        inputs=inputs,
        beside=beside,
    )
    rest: tuple[Any, ...] = (link,) if format.tree else ()
    if format.kind == "review":
        with replacing(target, tree=format.tree) as temporary:
            notes = format.module().write(manifest, report.table, temporary, *rest)
        return Exported(target, notes)
    cleaning = apply_policy(
        report.table,
        manifest.held_back,
        policy,
        min_confidence=min_confidence,
        max_drop_per_class=max_drop_per_class,
        include_splits=include_splits,
        decisions=decisions,
    )
    if policy in AUTOMATIC and not report.summary.noise_rate.determined and not force:
        raise undetermined(policy)
    cleaned = Cleaned(manifest, report.table, cleaning)
    if (error := cleaned.excess(max_drop)) is not None:
        raise error
    with replacing(target, tree=format.tree) as temporary:
        notes = format.module().write(cleaned, temporary, *rest)
    return Exported(target, [*cleaning.notes, *notes], cleaning)

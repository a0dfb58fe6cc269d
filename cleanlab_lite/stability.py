"""`stability`: how far the flags of a run hang on chance: the same audit with other seeds, flag by flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cleanlab_lite.config import AuditConfig
from cleanlab_lite.errors import ConfigError, ReportError
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.pipeline import run_audit, run_key
from cleanlab_lite.progress import OnProgress, ignore
from cleanlab_lite.report.comparison import GONE, NEW, OTHER, OtherSeed, Stability, compare
from cleanlab_lite.run import Run, RunFolder, layout
from cleanlab_lite.run.report import flags


def stability(
    run: RunFolder,
    manifest: Manifest,
    config: AuditConfig,
    *,
    seeds: int,
    command: Sequence[str] = (),
    on_progress: OnProgress = ignore,
) -> Stability:
    """Audit again with the next `seeds` seeds, into folders of the run's own; those that are finished are read.

    Args:
        manifest: what the run audited.
        config: the options of the run.
        command: what the user typed.

    Raises:
        ReportError: the run flags no row.
        ConfigError: the run started from evidence or proxies that it does not hold.
    """
    flagged = flags(run.report.table)
    if not flagged.any():
        raise ReportError(f"the run in {run.folder} flags no row, so none can stay or go")
    plan = run.state.plan if run.state else None
    if run.summary.proxy is None or (plan or {}).get("warm_start"):
        what = "evidence" if run.summary.proxy is None else "the proxies of another run"
        raise ConfigError(
            f"the run in {run.folder} started from {what}: it cannot be repeated with another seed",
            hint="`nlclean compare RUN RUN` compares two runs, however they were made",
        )
    always, found = flagged.copy(), []
    for seed in range(config.seed + 1, config.seed + 1 + seeds):
        changed = replace(config, seed=seed)
        key, folder = run_key(manifest, changed), run.path(layout.SEEDS)
        with Run.start(folder / f"{seed}-{key[:8]}", str(seed), key, command) as again:
            report = run_audit(manifest, changed, run=again, on_progress=on_progress)
        difference = compare(run.report, report)
        always &= flags(report.table)
        found.append(
            OtherSeed(
                seed=seed,
                folder=str(again.folder),
                flagged=report.summary.flagged,
                stay=difference.stay or 0.0,
                newly_flagged=difference.counts[NEW],
                no_longer_flagged=difference.counts[GONE],
                other_suggestion=difference.counts[OTHER],
                noise_rate=report.summary.noise_rate.estimate,
            )
        )
    stay = float(np.mean([each.stay for each in found]))
    added = float(np.mean([each.newly_flagged for each in found]) / flagged.sum())
    kept = float(always.sum() / flagged.sum())
    return Stability(
        run_id=run.summary.run_id,
        seed=config.seed,
        flagged=int(flagged.sum()),
        noise_rate=run.summary.noise_rate.estimate,
        stay=stay,
        always=kept,
        added=added,
        seeds=found,
        sentence=f"{100 * stay:.0f} % of the flags stay with another seed, {100 * kept:.0f} % with all {seeds}; "
        f"another seed adds {100 * added:.0f} %.",
    )

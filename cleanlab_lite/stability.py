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
from cleanlab_lite.report.comparison import GONE, NEW, OTHER, compare
from cleanlab_lite.run import Run, RunFiles, RunFolder, layout
from cleanlab_lite.run.report import flags
from cleanlab_lite.run.stability import VERSION, OtherSeed, Stability
from cleanlab_lite.text import chance


def stability(
    run: RunFolder,
    manifest: Manifest,
    config: AuditConfig,
    *,
    seeds: int,
    command: Sequence[str] = (),
    on_progress: OnProgress = ignore,
) -> Stability:
    """Audit again with the next `seeds` seeds, into folders of the run's own; those that are finished are read. What
    they show is written into `stability.json` of the run.

    Args:
        manifest: what the run audited.
        config: the options of the run.
        command: what the user typed.

    Raises:
        ReportError: the run flags no row.
        ConfigError: the run started from evidence, proxies or decisions that it does not hold.
    """
    flagged = flags(run.report.table)
    if not flagged.any():
        raise ReportError(f"the run in {run.folder} flags no row, so none can stay or go")
    plan = run.state.plan if run.state else None
    started = {
        "evidence": run.summary.proxy is None,
        "the proxies of another run": bool((plan or {}).get("warm_start")),
        "decisions of people": run.summary.trusted > 0,
    }
    if what := " and ".join(name for name, so in started.items() if so):
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
    told = Stability(
        version=VERSION,
        run_id=run.summary.run_id,
        seed=config.seed,
        flagged=int(flagged.sum()),
        noise_rate=run.summary.noise_rate.estimate,
        stay=stay,
        always=kept,
        added=added,
        seeds=found,
        sentence=in_words(stay, kept, added, seeds),
    )
    RunFiles(run.folder).write_json(layout.STABILITY, told.as_dict())
    return told


def in_words(stay: float, kept: float, added: float, seeds: int) -> str:
    """By the shares of the flags that another seed raises too, that all `seeds` do, and that another one adds."""
    of_all = "" if seeds == 1 else f", {_percent(kept)} with all {seeds}"
    return f"{_percent(stay)} of the flags stay with another seed{of_all}; another seed adds {_percent(added)}."


def _percent(share: float) -> str:
    """Whole, but 0 % and 100 % only where that is so."""
    return f"{100 * share:.0f} %" if share in (0, 1) else chance(share)

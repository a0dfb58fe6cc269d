"""What a reader should know before trusting the numbers of an audit, a sentence each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cleanlab_lite.addresses import shown
from cleanlab_lite.data.inputs import Inputs, causes
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.verdict import Verdict
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.report.advice import UNLEARNED
from cleanlab_lite.report.reviewed import ASKED
from cleanlab_lite.text import counted, percent, shorten

HIDDEN = 0.05  # share of the rows that may be wrong beyond the estimate, where it is twice that or more
LOOSE = 0.2  # length of the noise rate's interval from which decisions leave it open
LONGEST_ID = 60  # characters of an id in a sentence
# What is lost with a kind of evidence.
WITHOUT = {
    "history": (
        "no history (--history): how training went says nothing, and its columns are null: loss_mean, loss_last, "
        "p_noisy_loss, aum, margin_streak, learned_epoch, forgetting_events"
    ),
    "pred_probs": (
        "no out-of-sample probabilities (--pred-probs): wrong labels that were soon learned by heart look right, a "
        "suggested label is only what the network predicted most often, and predicted_label, confident_joint_flag and "
        "ood_score are null"
    ),
    "features": (
        "no features (--features): rows of no class are not told from mislabelled ones, and the columns of neighbours "
        "and prototypes are null"
    ),
}


def warnings(verdict: Verdict, inputs: Inputs, advice: Sequence[str]) -> list[str]:
    """What a reader should know before trusting the numbers, a sentence each. `advice`: where nothing was learned."""
    found = []
    unreadable = int((~inputs.readable).sum())
    if unreadable:
        n = len(inputs.codes)
        why = causes(inputs.codes, inputs.errors)
        found.append(f"{unreadable:,} of {n:,} rows could not be read ({why}): unreadable in the report")
    if alone := int(verdict.alone.sum()):
        found.append(
            f"{alone:,} {'row is' if alone == 1 else 'rows are'} the only one of a class, copies aside, and not "
            "judged: nothing else says what the class looks like; are the labels spelled as they should be?"
        )
    rate, estimators = verdict.calibration.rate, verdict.estimators
    few = estimators if estimators is not None and estimators.too_few else None
    if few is not None:
        found.append(
            f"classes have {few.rows / few.classes:.0f} rows on average, too few to judge: few rows are "
            "flagged, and the noise rate says little. Go by the order of the rows (`nlclean review`; all are on the "
            "page of `nlclean report --html`). Decisions of `nlclean review --calibrate`, given to another audit by "
            "`--trusted`, mend the rate; more rows of every class help most"
        )
    if "unknown" in rate.method:
        found.append(f"{UNLEARNED}: {advice[0]} (`nlclean report` says what else to try)")
    elif "uncalibrated" in rate.method:
        found.append("without enough planted errors p_mislabel is not calibrated: rely on the order of the rows")
    elif not rate.reported.determined:
        why = "classes have too few rows" if few is not None else "too little is learned from these labels"
        why = "decisions contradict them" if verdict.contrary.any() else why
        found.append(
            f"the noise rate is hardly determined: {why}; nothing is changed without a person (`nlclean review`)"
        )
    elif estimators is not None and rate.high >= max(2 * rate.estimate, rate.estimate + HIDDEN):
        found.append(
            f"up to {percent(rate.high)} of the labels may be wrong, more than is flagged: where people mistake what "
            f"looks alike, most wrong labels look right. {ASKED}"
        )
    return found


def contradictions(manifest: Manifest, verdict: Verdict) -> list[str]:
    """A sentence on the decisions that contradict the data, where these are many."""
    rows = np.flatnonzero(verdict.contrary)
    if not len(rows):
        return []
    names = ", ".join(repr(shorten(shown(id), LONGEST_ID)) for id in manifest.ids[rows[:3]].tolist())
    return [
        f"{counted(len(rows), 'decided row')} {'contradicts' if len(rows) == 1 else 'contradict'} all other rows "
        f"({names}{', ...' if len(rows) > 3 else ''}): look at them again; where they are right, decide rows drawn at "
        "random (`nlclean review --calibrate`) until the noise rate is certain"
    ]


def loose(verdict: Verdict, decided: int) -> list[str]:
    """A sentence where an audit was given `decided` rows, and the noise rate is open all the same."""
    rate = verdict.calibration.rate
    if not decided or rate.high - rate.low <= LOOSE or verdict.contrary.any():
        return []
    leave, low, high = "leaves" if decided == 1 else "leave", percent(rate.low), percent(rate.high)
    return [
        f"{counted(decided, 'decided row')} {leave} the noise rate between {low} and {high}: rows that were picked, as "
        "the most suspicious ones, move it and the flags, and say little of the others. 40 rows drawn at random tell "
        "more (`nlclean review --calibrate`)"
    ]


def leaks(manifest: Manifest, leaking: np.ndarray) -> list[str]:
    """Which test and validation splits share rows with others, a sentence each. `leaking` is (n,) bool."""
    found = []
    for name in np.unique(manifest.splits[manifest.held_back & leaking]):
        rows = manifest.splits == name
        count = int((rows & leaking).sum())
        found.append(
            f"split {name}: {count:,} of {counted(int(rows.sum()), 'row')} ({percent(count / rows.sum())}) with "
            "the same or nearly the same content as a row of another split: scores on it are too good"
        )
    return found


def costs(manifest: Manifest, evidence: Evidence, inputs: Inputs, verdict: Verdict) -> list[str]:
    """What an audit of the user's own evidence lacks, and what that costs, a sentence each."""
    found = [sentence for name, sentence in WITHOUT.items() if getattr(evidence, name) is None]
    silent = int((inputs.readable & (evidence.labels >= 0) & ~verdict.judged & ~verdict.alone).sum())
    if silent:
        found.append(f"not judged, as the history does not have them: {counted(silent, 'labelled row')}")
    if not inputs.array.shape[1] and not manifest.is_bare:
        found.append("the files were not decoded: broken ones are not found, copies only where the bytes are the same")
    return found

"""The method card: how p_mislabel was made in a run, what that assumes, and when it fails; from the summary alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cleanlab_lite.run.summary import FEW, UNDECIDED, Summary
from cleanlab_lite.text import counted, percent

SMALL = 60  # rows of a class on average, with which a twentieth of what is counted is not believed
WEAK = 0.5  # share of the given labels that views predict, below which much is left to chance
LOOKS = {
    "encoder": "vectors of a pretrained encoder",
    "pixels": "networks trained on the pictures",
    "patches": "networks trained on the spectrograms",
    "statistics": "statistics of the spectrograms",
    "filters": "small pieces of the data as filters",
    "vectors": "your vectors",
}
ESTIMATORS = (
    "The noise rate is a median of estimators that fail differently: errors planted among the predictions, a confusion "
    "of the true classes in the given labels, and votes of independent views or of halves of one, or errors that a "
    "network was shown and what a regression says beside networks"
)
VOICES = {
    "planted": "planted errors",
    "confusion": "confusion",
    "views": "views",
    "halves": "halves",
    "shown": "errors that a network was shown",
    "together": "its votes and those of the networks",
}
CALIBRATED = {  # by what the method of the rate begins with
    "two clear groups": "The rows fell into two clear groups, right and wrong, which were counted; no planted error "
    "was "
    "needed",
    "median of estimators": f"{ESTIMATORS}. p_mislabel falls along the ranking as it does among planted errors, and "
    f"its "
    "mean is that rate",
    "planted errors": "Wrong labels were planted for one network. How suspicious they look says how probable a wrong "
    "label is along the ranking, and how many there are",
    "Gaussian mixture": "There were not enough planted errors: p_mislabel is the share of a mixture of two bell "
    "curves, "
    "and is not calibrated. Rely on the order of the rows",
    "annotators and views": "Votes of several annotators were weighed by how reliable each is, with the views as one "
    "more "
    "voice (Dawid and Skene, 1979). p_mislabel is what that leaves for other classes than the label",
    "unknown": "Nothing was learned: held-out labels are predicted no better than by chance, so no row has a "
    "p_mislabel",
}


@dataclass(frozen=True)
class Section:
    """A heading and sentences under it; names of the user's classes are not in them."""

    title: str
    sentences: list[str]


def method_card(summary: Summary) -> list[Section]:
    """What a reader should know before believing a number."""
    return [
        Section(
            "How p_mislabel was made", [*_seen(summary), *_ranked(summary), *_calibrated(summary), *_beside(summary)]
        ),
        Section("What it assumes", _assumed(summary)),
        Section("When it fails", _fails(summary)),
    ]


def _seen(summary: Summary) -> list[str]:
    """What looked at the rows, by what means, and how well."""
    if summary.proxy is None:
        brought = {
            "history": "the history of a training",
            "pred_probs": "out-of-sample probabilities",
            "features": "features",
        }
        kinds = [brought[kind] for kind in summary.evidence if kind in brought]
        return [f"You brought {' and '.join(kinds)}; nothing was trained"] if kinds else []
    found = []
    for name, facts in (summary.views or {}).items():
        what, trained = LOOKS.get(name, name), f"networks {facts.get('proxy', '')}".strip()
        if facts.get("left_out"):
            found.append(f"{what} ({trained} left out: {percent(facts['networks'])} agreement was too little)")
            continue
        means = {"head": "regression in closed form", "networks": trained}
        how = [f"{text} {percent(facts[kind])}" for kind, text in means.items() if facts.get(kind) is not None]
        found.append(f"{what} ({', '.join(how)})")
    networks = summary.proxy.get("ensemble")
    epochs = summary.proxy.get("epochs")
    ensemble = f", {networks} cross-fitted networks of {counted(epochs, 'epoch')}" if networks and epochs else ""
    if not found:
        return [f"The rows were looked at by networks{ensemble}"]
    seen = f"The rows were looked at in {len(found)} {'way' if len(found) == 1 else 'ways'}{ensemble}"
    return [f"{seen}, with the share of given labels that each predicts without having seen them: {'; '.join(found)}"]


def _ranked(summary: Summary) -> list[str]:
    """How many voices make the order: a regression is one, whatever it looks at, and so are networks on each view."""
    if not summary.noise_rate.learned:
        return []
    ways = [facts for facts in (summary.views or {}).values() if not facts.get("left_out")]
    voices = any("head" in facts for facts in ways) + sum("networks" in facts for facts in ways)
    told = "Every row is judged by what has not learned from its label, nor from that of its copies"
    return [f"{told}; rankings are put together by these shares" if voices > 1 else told, *_looked_at(summary)]


def _looked_at(summary: Summary) -> list[str]:
    """Which of several views of vectors a regression without networks looks at."""
    looks_at = (summary.proxy or {}).get("looks_at") or []
    heads = [name for name, facts in (summary.views or {}).items() if "head" in facts]
    if not looks_at or len(heads) < 2:
        return []
    if len(looks_at) > 1:
        return [
            "The regression looks at all of them side by side, each is asked alone only for how many labels are wrong"
        ]
    return [f"The regression looks at {LOOKS.get(looks_at[0], looks_at[0])} alone, which predicts more of the labels"]


def _calibrated(summary: Summary) -> list[str]:
    rate = summary.noise_rate
    found = [text for method, text in CALIBRATED.items() if rate.method.startswith(method)][:1]
    if not rate.learned:
        return found
    found.append(
        f"Noise rate: {percent(rate.estimate)}, between {percent(rate.low)} and {percent(rate.high)}; {_ends(summary)}"
    )
    estimators = summary.detectors.get("rate") or {}
    if "median" in rate.method and (said := _said(estimators)):
        found.append(f"The estimators said: {said}")
        if regression := estimators.get("regression"):
            found.append(f"So did a regression on the same vectors, which ranks no row: {_said(regression)}")
        rows, classes = (estimators.get(name) or 0 for name in ("rows", "classes"))
        if rows < SMALL * classes:
            found.append(
                f"Classes have {rows / classes:.0f} rows on average: with few, a wrong prediction passes for a wrong "
                "label. The fewer, the less of that is believed, and the less sure is p_mislabel"
            )
    if "hidden classes" in rate.method:
        found.append(
            "Rows of no class were estimated by hiding classes from the predictions and looking for rows like those of "
            "the hidden ones; they are in p_mislabel"
        )
    return found


def _said(estimators: Mapping[str, Any]) -> str:
    """The share of wrong labels by each of the estimators there are."""
    return ", ".join(
        f"{text} {percent(estimators[name])}" for name, text in VOICES.items() if estimators.get(name) is not None
    )


def _ends(summary: Summary) -> str:
    """Where the interval comes from."""
    rate = summary.noise_rate
    if "annotators" in rate.method:
        return (
            "the lower end is the least of what votes alone, views alone and both say, the upper one all labels that "
            "the views differ from"
        )
    if "median" in rate.method:
        disagreement = (summary.detectors.get("rate") or {}).get("disagreement")
        differing = "" if disagreement is None else f" ({percent(disagreement)})"
        return (
            "the lower end is the least that any of them counts, and errors along the confusions of classes, which are "
            "easier to see than real ones; the upper one is nearer to all labels that predictions differ from"
            f"{differing} the more of the errors that are counted could be right labels as well; chance widens both"
        )
    if "uncalibrated" in rate.method:
        return "half and one and a half of the estimate"
    return "the ends are what chance and doubtful rows add"


def _beside(summary: Summary) -> list[str]:
    """Copies, annotators, and who decides."""
    found = []
    copies = sum((summary.duplicates or {}).get("rows", {}).values())
    if copies:
        found.append(
            f"{counted(copies, 'row')} with the content of another: copies are held out together, and of contradicting "
            "labels of the same content at most one is right"
        )
    if summary.annotators:
        found.append(
            f"Votes of {counted(len(summary.annotators), 'annotator')}; their qualities are estimated without any truth"
        )
    if summary.warm_start:
        found.append("The networks started from those of an earlier run")
    return found


def _assumed(summary: Summary) -> list[str]:
    found = [
        "Most labels of every class are right",
        "What rows look like says what they are: rows of one class look more like each other than like others",
        "Wrong labels are wrong one by one, not all in the same way",
    ]
    if _planted(summary):
        found.append("Real wrong labels look like planted ones: about as likely to be a similar class")
    if summary.annotators:
        found.append("Annotators err independently of each other and of the views, once the true class is known")
    if summary.proxy is None:
        found.append("The evidence that you brought is out of sample: no row's probabilities have seen its own label")
    return found


def _planted(summary: Summary) -> bool:
    """Whether the rate rests on planted errors."""
    return summary.noise_rate.method.startswith(("median", "planted"))


def _undecided(summary: Summary) -> bool:
    """The sign of errors that are a matter of the row: a median rate of rows that are hardly told from right ones."""
    rate, estimators = summary.noise_rate, summary.detectors.get("rate") or {}
    return "median" in rate.method and (estimators.get("unsure") or 0.0) >= UNDECIDED * (rate.estimate or 1.0)


def _fails(summary: Summary) -> list[str]:
    """What holds for this run comes first, then what always may."""
    views = (summary.views or {}).values()
    best = max((facts.get(kind) or 0.0 for facts in views for kind in ("head", "networks")), default=None)
    few = [row for row in summary.classes if row.rows < FEW]
    found = []
    if not summary.noise_rate.learned:
        found.append("Here: nothing was learned, see what to try")
    elif not summary.noise_rate.determined:
        found.append("Here: the rate is hardly determined, and nothing should be changed without a look")
    if _undecided(summary):
        found.append(
            "Here: most of the errors that the rate counts could be right labels as well. That is so where classes "
            "overlap, and where labels are wrong because rows look like another class. Such errors are hardly counted: "
            "where they were planted, the truth was 1.4 to 6.5 times the estimate, and only its upper end, "
            f"{percent(summary.noise_rate.high)}, held"
        )
    if best is not None and summary.noise_rate.learned and best < WEAK:
        found.append(
            f"Here: weak features. The best view predicts {percent(best)} of the labels; many wrong ones stay unseen"
        )
    if few:
        found.append(
            f"Here: {len(few):,} {'class has' if len(few) == 1 else 'classes have'} fewer than {FEW} rows, too few "
            f"to judge"
        )
    unlike = "Errors unlike those that were planted, or rows of no class" if _planted(summary) else "Rows of no class"
    if summary.overlaps:
        pairs = "pair of classes overlaps" if len(summary.overlaps) == 1 else "pairs of classes overlap"
        found.append(f"Here: {len(summary.overlaps):,} {pairs}: between them rows are called wrong that are ambiguous")
    return [
        *found,
        "Classes of few rows: what they look like is not known, and rare but right rows look wrong",
        "Weak features: what the views cannot see, such as a small detail or the context, cannot be found",
        "A whole class that is mislabelled in the same way is learned as it is, and looks right",
        "Errors that copies share confirm each other where the copies are not found",
        "Classes that overlap: two labels may be right, and p_mislabel is between them",
        f"{unlike} that look like one: the rate is too low",
        "A probability is about many rows: of those with .8 about four in five are wrong; `nlclean selftest` says "
        "how true "
        "that is on your data",
    ]

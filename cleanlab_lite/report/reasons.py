"""Why a row is doubted: the reason codes of a report, which of them tell most, and as sentences with their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.run.summary import Summary
from cleanlab_lite.text import chance, short_names, shorten

# what people read instead of the codes in a report's column `issue`
ISSUES = {
    "none": "no issue",
    "mislabel": "wrong label",
    "out_of_vocabulary": "no class fits",
    "ambiguous": "ambiguous",
    "duplicate_conflict": "contradicting copy",
    "unreadable": "unreadable",
    "unlabeled": "no label",
}

SHOWN = 3  # reasons of a row
BESIDE = 2  # rank of what says nothing against the label
CLEAR = 0.5  # probability from which a class is said to be predicted, and share from which neighbours agree
SLIGHT = 0.1  # probability below which nothing speaks for a class
LABEL_WIDTH = 24  # columns of a label in a sentence


def by_issue(counts: Mapping[str, int]) -> str:
    """Numbers of rows by issue, in words."""
    return ", ".join(f"{ISSUES.get(issue, issue)} {rows:,}" for issue, rows in counts.items())


def in_parts(counts: Mapping[str, int]) -> str:
    """What a number of rows is made of, by issue, to be put behind it."""
    return f": {by_issue(counts)}" if counts else ""


@dataclass(frozen=True)
class Reason:
    """What a code says."""

    text: str  # without numbers and full stop
    numbered: str = ""  # the same with numbers, where the row has them; see `_numbers`
    is_fact: bool = False  # not a measurement: it comes first
    names: str = ""  # the column with the class that it speaks for
    family: str = ""  # of reasons that mostly hold together
    beside: bool = False  # says something about the row, and nothing against its label: it comes last


# The order decides between reasons that tell as much.
REASONS: dict[str, Reason] = {
    # facts
    "decode_failed": Reason("The file cannot be decoded", is_fact=True),
    "file_empty": Reason("The file is empty", is_fact=True),
    "file_missing": Reason("The file does not exist", is_fact=True),
    "is_directory": Reason("The path is a folder, not a file", is_fact=True),
    "not_finite": Reason("The vector holds NaN or infinity", is_fact=True),
    "out_of_scale": Reason("The vector is out of all scale", is_fact=True),
    "not_readable": Reason("The file cannot be read", is_fact=True),
    "too_slow": Reason("The file takes too long to be decoded", is_fact=True),
    "too_large": Reason("The file is too large to be decoded", is_fact=True),
    "unsupported_format": Reason("The file is of a kind that is not read here", is_fact=True),
    "bad_segment": Reason("The row names no part of its file", is_fact=True),
    "silent": Reason("No sample is louder than -60 dB", is_fact=True),
    "decided_wrong": Reason("A person has decided that the label is wrong", is_fact=True),
    "duplicate_conflict": Reason("The same content occurs with another label", is_fact=True),
    "near_duplicate_conflict": Reason("Nearly the same content occurs with another label", is_fact=True),
    # what several annotators say
    "outweighed": Reason("Annotators who are mostly right say another class", family="votes"),
    "annotators_disagree": Reason("The annotators disagree", family="votes"),
    # what is said of rows that were not learned from
    "confident_joint": Reason(
        "Out of sample another class is predicted",
        "Out of sample it is taken for {predicted} ({chance})",
        names="predicted_label",
    ),
    # where the row lies among the others
    "neighbours_disagree": Reason(
        "The nearest rows carry another label",
        "{near} nearest rows are labelled {neighbour}",
        names="knn_label",
        family="place",
    ),
    "prototypes_disagree": Reason(
        "It looks more like the typical rows of another class",
        "It looks like typical rows of {prototype} (similarity {to_other:.2f}, to its own {to_own:.2f})",
        names="prototype_label",
        family="place",
    ),
    "neighbours_unlike": Reason("The labels around it speak for another class", family="place"),
    "misaligned": Reason("Its features point away from its class", family="place"),
    "thin_region": Reason("It lies far from most rows of its class: wrong, or rare", family="place"),
    # what was seen during training
    "never_learned": Reason(
        "The given label was never learned",
        "The given label was never learned in {epochs} epochs",
        family="training",
    ),
    "negative_margin": Reason(
        "Another class was ahead on average over training",
        "Another class was ahead on average over training (margin {margin:+.1f})",
        family="training",
    ),
    "high_loss": Reason(
        "The loss on the given label is high",
        "The loss on the given label is high ({loss:.2f} nats)",
        family="training",
    ),
    "high_loss_curve": Reason("The loss falls late, like that of the wrong labels of its class", family="training"),
    "low_confidence": Reason("The given label stayed improbable throughout training", family="training"),
    "abandoned": Reason("Most networks gave the label up for epochs in a row", family="training"),
    "forgotten_early": Reason(
        "It was soon forgotten while the network learned other rows",
        "It was forgotten after {forgotten} epochs of learning other rows",
        family="training",
    ),
    # beside the label
    "leakage": Reason("The same or nearly the same content is in another split", beside=True),
    "near_duplicate": Reason(
        "Another row has nearly the same content",
        "Another row has nearly the same content (similarity to the first {copy:.3f})",
        beside=True,
    ),
    "truncated": Reason("The file breaks off", beside=True),
    "clipped": Reason("The sound is clipped", beside=True),
    "blank": Reason("The picture is all but one grey level", beside=True),
    "dark": Reason("The picture is very dark", beside=True),
    "bright": Reason("The picture is very bright", beside=True),
    "blurred": Reason("The picture is much less sharp than most others", beside=True),
    "odd_size": Reason("The picture has a size or shape that hardly any other has", beside=True),
    "low_sample_rate": Reason("The sound has a lower sample rate than it was heard at", beside=True),
    "long": Reason("The sound is longer than what was heard of it", beside=True),
}

# Of files as files; of copies there are lists
NOTES = tuple(code for code, reason in REASONS.items() if reason.beside and code not in ("leakage", "near_duplicate"))


def with_context(report: ReportTable, table: pa.Table) -> list[dict[str, Any]]:
    """`table`, rows of the report with all columns, as dicts with what sentences need beside: see `context`."""
    epochs, short = epochs_of(report.summary), in_sentences(report.summary)
    labels = _neighbour_labels(report.table, table)
    return [row | context(found, epochs, short) for row, found in zip(table.to_pylist(), labels, strict=True)]


def context(neighbor_labels: list[str | None] | None, epochs: int, short: Mapping[str, str]) -> dict[str, Any]:
    """What sentences need that is not in the row: given labels of its nearest rows, epochs of the training, and
    what long labels are called, see `in_sentences`.
    """
    return {"neighbor_labels": neighbor_labels, "epochs": epochs, "short": short}


def in_sentences(summary: Summary) -> dict[str, str]:
    """What labels are called that are too long for a sentence."""
    return short_names((entry.label for entry in summary.classes), LABEL_WIDTH)


def why(row: Mapping[str, Any]) -> list[str]:
    """Up to SHOWN sentences on a row of `with_context`, most telling first. Labels in them are as they are."""
    codes = to_show(row)[:SHOWN]
    found = [sentence(code, row) for code in codes]
    silent = all(_rank(code) == BESIDE for code in codes)
    if silent and row.get("is_label_issue") and row.get("top_labels"):
        return [_most_probable(row), *found]
    return found


def _most_probable(row: Mapping[str, Any]) -> str:
    """What is left to say of a flagged row where no sign stands out."""
    chances = zip(row["top_labels"][:2], row["top_probs"][:2], strict=True)
    return f"No sign stands out; most probable: {', '.join(f'{_name(label, row)} {chance(p)}' for label, p in chances)}"


def in_one_sentence(row: Mapping[str, Any], width: int = 10_000) -> str:
    """What `why` says, as much of it as fits into `width` characters, but at least the first."""
    first, *others = why(row) or [""]
    for text in others:
        longer = f"{first}; {text[0].lower()}{text[1:]}"
        first = longer if len(longer) <= width else first
    return first


def epochs_of(summary: Summary) -> int:
    """Epochs of every proxy; 0 where they are not known."""
    return int((summary.proxy or {}).get("epochs") or 0)


def _neighbour_labels(whole: pa.Table, part: pa.Table) -> list[list[str | None] | None]:
    """The given labels of the nearest rows of every row of `part`; None for a row without."""
    lists = part["neighbors"].combine_chunks()
    place = pc.index_in(pc.list_flatten(lists), value_set=whole["id"].combine_chunks())
    labels = iter(whole["given_label"].combine_chunks().take(place).to_pylist())
    return [None if ids is None else [next(labels) for _ in ids] for ids in lists.to_pylist()]


def order_reasons(
    reasons: Mapping[str, np.ndarray],
    strength: Mapping[str, np.ndarray],
    flagged: np.ndarray,
    before_all: Mapping[str, np.ndarray] | None = None,
) -> pa.ListArray:
    """n lists of the codes of every row, the most telling first.

    A reason tells a row from the others when few flagged rows have it, and fewer have it as strongly: what counts is
    the number of those that do. Facts come first, what is beside the label comes last.

    Args:
        reasons: code -> (n,) bool.
        strength: code -> (n,) float, larger speaks more against the label; NaN where it is not known.
        flagged: (n,) bool.
        before_all: code -> (n,) bool, of codes that come before the others.
    """
    unknown = np.full(len(flagged), np.nan)
    first = before_all or {}
    codes = [*sorted(first), *sorted(reasons, key=_place)]
    keys = []  # row, rank, rows that have it as strongly, code: of every pair of a row and one of its codes
    for number, code in enumerate(codes):
        held = first[code] if number < len(first) else reasons[code]
        rows = np.flatnonzero(held)
        others = as_strong(strength.get(code, unknown), held & flagged)[rows]
        rank = -1 if number < len(first) else _rank(code)
        keys.append(np.stack([rows, np.full(len(rows), rank), others, np.full(len(rows), number)]).astype(np.int32))
    rows, rank, others, number = np.concatenate([np.zeros((4, 0), np.int32), *keys], axis=1)
    order = np.lexsort((number, others, rank, rows))
    ends = np.concatenate([[0], np.bincount(rows, minlength=len(flagged)).cumsum()]).astype(np.int32)
    names = pa.array(codes, pa.string()).take(pa.array(number[order]))
    return pa.ListArray.from_arrays(pa.array(ends), names)


def as_strong(strength: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(n,) int: how many of the rows `among` (n,) bool have at least the strength (n,) of each row; NaN is least."""
    values = np.where(np.isnan(strength), -np.inf, strength)
    ordered = np.sort(values[among])
    return len(ordered) - np.searchsorted(ordered, values, side="left")


def _rank(code: str) -> int:
    reason = REASONS.get(code)
    return 1 if reason is None else 0 if reason.is_fact else BESIDE if reason.beside else 1


def _place(code: str) -> tuple[int, str]:
    """Where the code stands in `REASONS`; after them by name."""
    return list(REASONS).index(code) if code in REASONS else len(REASONS), code


def noted(counts: Mapping[str, int]) -> str:
    """Of rows by reason those of `NOTES`, which no issue counts: "blurred 9, odd_size 3"; "" for none."""
    return ", ".join(f"{code} {counts[code]:,}" for code in NOTES if counts.get(code))


def to_show(row: Mapping[str, Any]) -> list[str]:
    """The codes of a row in the order of the report, without those that its own numbers contradict.

    Later come: those that speak for another class than the suggested one; the prediction where it is the suggestion
    itself, which whoever sees the row sees already; and the second of a family, which says much the same as the first.
    """
    suggested = row.get("suggested_label")

    def tells_less(code: str) -> bool:
        named = row.get(REASONS[code].names) if code in REASONS else None
        return None not in (suggested, named) and (named == suggested) == (code == "confident_joint")

    codes = [code for code in row["reasons"] or () if not contradicted(code, row)]
    codes.sort(key=lambda code: (_rank(code), tells_less(code)))
    families = [REASONS[code].family if code in REASONS else "" for code in codes]
    again = {code: bool(families[i]) and families[i] in families[:i] for i, code in enumerate(codes)}
    return sorted(codes, key=lambda code: (_rank(code), tells_less(code), again[code]))


def contradicted(code: str, row: Mapping[str, Any]) -> bool:
    """Whether what is shown of the row says otherwise than the reason would."""
    given = row.get("given_label")
    named = row.get(REASONS[code].names) if code in REASONS else None
    if named is not None and named == given:
        return True
    least = CLEAR if code == "confident_joint" else SLIGHT
    if named is not None and row.get("top_labels") is not None and _chance(row, named) < least:
        return True
    if code in ("neighbours_disagree", "neighbours_unlike"):
        labels = row.get("neighbor_labels") or []
        outvoted = bool(labels) and named is not None and labels.count(named) <= labels.count(given)
        return outvoted or (_number(row, "knn_agreement") or 0) >= CLEAR
    if code == "prototypes_disagree":
        own, other = (_number(row, f"prototype_similarity_{which}") for which in ("given", "suggested"))
        return own is not None and other is not None and other <= own
    if code == "negative_margin":
        return (margin := _number(row, "aum")) is not None and margin >= 0
    return code == "never_learned" and row.get("learned_epoch") is not None


def sentences() -> dict[str, str]:
    """Code -> sentence, without numbers and full stop."""
    return {code: reason.text for code, reason in REASONS.items()}


def sentence(code: str, row: Mapping[str, Any]) -> str:
    """The sentence for a reason code, without full stop; with the numbers of the report's `row` where it has them.

    An unknown code is said in plain letters.
    """
    reason = REASONS.get(code, Reason(code.replace("_", " ")))
    if not reason.numbered:
        return reason.text
    try:
        return reason.numbered.format_map(_numbers(row))
    except KeyError:  # the row does not have one of them
        return reason.text


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """What sentences are about, as far as it is known."""
    nearest = row.get("neighbor_labels") or []
    values = {
        "predicted": _name(row.get("predicted_label"), row),
        "chance": chance(share) if (share := _chance(row, row.get("predicted_label"))) else None,
        "near": _of_all(nearest.count(row.get("knn_label")), len(nearest)),
        "neighbour": _name(row.get("knn_label"), row),
        "prototype": _name(row.get("prototype_label"), row),
        "to_other": _number(row, "prototype_similarity_suggested"),
        "to_own": _number(row, "prototype_similarity_given"),
        "epochs": row.get("epochs") or None,
        "margin": _number(row, "aum"),
        "loss": _number(row, "loss_mean"),
        "forgotten": _number(row, "second_split_epoch"),
        "copy": _number(row, "near_duplicate_similarity"),
    }
    return {name: value for name, value in values.items() if value is not None}


def _of_all(count: int, total: int) -> str | None:
    return None if not count else f"All {total}" if count == total else f"{count} of the {total}"


def _number(row: Mapping[str, Any], column: str) -> float | None:
    """A finite number of the row; None where there is none."""
    value = row.get(column)
    return value if value is not None and math.isfinite(value) else None


def _chance(row: Mapping[str, Any], label: str | None) -> float:
    """Probability of a class; 0 where it is not among the most probable ones."""
    chances = dict(zip(row.get("top_labels") or (), row.get("top_probs") or (), strict=True))
    return chances.get(label, 0.0)


def _name(label: str | None, row: Mapping[str, Any]) -> str | None:
    return None if label is None else row.get("short", {}).get(label) or shorten(label, LABEL_WIDTH)

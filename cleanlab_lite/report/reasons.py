"""The reason codes of a report as sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# code: what it says, the column with the number behind it, how that number is written
_SENTENCES: dict[str, tuple[str, str, str]] = {
    # what the networks did during training
    "abandoned": ("Most networks gave the given label up for epochs in a row", "", ""),
    "high_loss": ("The loss on the given label is high", "loss_mean", "{:.2f} nats"),
    "high_loss_curve": ("The loss falls late, like that of the wrong labels of its class", "", ""),
    "low_confidence": ("The given label stayed improbable throughout training", "", ""),
    "negative_margin": ("Another class was ahead for most of training", "aum", "margin {:+.1f}"),
    "never_learned": ("The given label was never learned", "", ""),
    # what the networks say of rows they have not seen
    "confident_joint": ("Networks that never saw the row are sure of another class", "", ""),
    # where the row lies among the others
    "forgotten_early": ("It was soon forgotten while the network learned other rows", "", ""),
    "misaligned": ("Its features point away from its class", "", ""),
    "neighbours_disagree": ("The nearest rows carry another label", "knn_agreement", "{:.0%} agree"),
    "neighbours_unlike": ("The labels around it speak for another class", "", ""),
    "prototypes_disagree": (
        "It looks more like the typical rows of another class",
        "prototype_similarity_given",
        "similarity to its own {:.2f}",
    ),
    "thin_region": ("It lies far from most rows of its class: wrong, or rare", "", ""),
    # facts
    "bad_segment": ("The row names no part of its file", "", ""),
    "duplicate_conflict": ("The same content occurs with another label", "", ""),
    "leakage": ("The same or nearly the same content is in another split", "", ""),
    "near_duplicate": (
        "Another row has nearly the same content",
        "near_duplicate_similarity",
        "similarity to the first {:.3f}",
    ),
    "near_duplicate_conflict": ("Nearly the same content occurs with another label", "", ""),
    "decode_failed": ("The file cannot be decoded", "", ""),
    "file_empty": ("The file is empty", "", ""),
    "file_missing": ("The file does not exist", "", ""),
    "is_directory": ("The path is a folder, not a file", "", ""),
    "not_finite": ("The vector holds NaN or infinity", "", ""),
    "not_readable": ("The file cannot be read", "", ""),
    "too_large": ("The file is too large to be decoded", "", ""),
    "truncated": ("The file breaks off", "", ""),
}


def sentences() -> dict[str, str]:
    """Code -> sentence, without numbers and full stop."""
    return {code: text for code, (text, _, _) in _SENTENCES.items()}


def sentence(code: str, row: Mapping[str, Any]) -> str:
    """The sentence for a reason code, with the number from the report's `row`; an unknown code in plain letters."""
    text, column, form = _SENTENCES.get(code, (code.replace("_", " "), "", ""))
    value = row.get(column)
    if value is None or not math.isfinite(value):
        return text
    return f"{text} ({form.format(value).replace('%', ' %')})"

"""`ReportTable`: what we conclude. One row per manifest row, in manifest order, in a versioned schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cleanlab_lite.errors import ReportError
from cleanlab_lite.files import json_object, read_table, reading
from cleanlab_lite.run.summary import Summary
from cleanlab_lite.text import renamed, tell_apart

SCHEMA_VERSION = 1
VIEW_MARGIN = "view_margin_"  # begins the columns of each view
FLAG = 0.5  # p_mislabel from which a row is a label issue

ISSUES = ("none", "mislabel", "out_of_vocabulary", "ambiguous", "duplicate_conflict", "unreadable", "unlabeled")
ACTIONS = ("keep", "relabel", "drop", "review")

_S, _F, _I, _B = pa.string(), pa.float32(), pa.int32(), pa.bool_()

# name, type, range or unit, meaning
COLUMNS: tuple[tuple[str, pa.DataType, str, str], ...] = (
    ("id", _S, "unique", "identifier of the row: the id column, else the path"),
    ("path", _S, "", "location as the manifest gives it, without signatures; null for embeddings"),
    ("split", _S, "", "split of the row; null where the manifest has none"),
    ("given_label", _S, "a class", "label in the manifest; null where it is missing"),
    ("predicted_label", _S, "a class", "most probable class, from proxies that did not train on the row"),
    ("suggested_label", _S, "a class", "correction on offer; null where none is"),
    ("is_label_issue", _B, "", f"p_mislabel is at least {FLAG}"),
    ("label_score", _F, "0-1", "label quality, low is suspicious: 1 - p_mislabel with ties broken by the ranking"),
    ("p_mislabel", _F, "0-1", "calibrated probability that the given label is wrong"),
    ("issue", _S, " | ".join(ISSUES), "what is the matter with the row"),
    ("suggestion_confidence", _F, "0-1", "probability that the suggested label is right"),
    ("action", _S, " | ".join(ACTIONS), "what export does with the row unless a person decides otherwise"),
    ("weight", _F, "0-1", "weight of the row for training on the given label"),
    ("loss_mean", _F, "nats", "cross entropy of the given label, mean over epochs and proxies that trained on it"),
    ("loss_last", _F, "nats", "the same after the last epoch"),
    ("p_noisy_loss", _F, "0-1", "posterior of the high-loss component of the loss mixture"),
    ("aum", _F, "logits", "area under the margin: mean logit margin of the given label over epochs and proxies"),
    ("aum_threshold", _F, "logits", "99th percentile of the AUM of rows with planted labels"),
    ("margin_streak", _I, "epochs", "longest run of consecutive epochs with a negative margin"),
    ("prototype_label", _S, "a class", "class of the most similar prototypes"),
    ("prototype_similarity_given", _F, "-1-1", "cosine similarity to the prototypes of the given class"),
    ("prototype_similarity_suggested", _F, "-1-1", "cosine similarity to the prototypes of prototype_label"),
    ("knn_label", _S, "a class", "most common label among the nearest neighbours, the row itself left out"),
    ("knn_agreement", _F, "0-1", "share of the neighbours' votes that went to the given label"),
    ("ood_score", _F, "0-1", "how unlike every class of the vocabulary the row is"),
    ("confident_joint_flag", _B, "", "off the diagonal of the confident joint (confident learning)"),
    ("learned_epoch", _I, "epoch, from 1", "first epoch from which the given label stays predicted; null if never"),
    ("forgetting_events", _F, "count", "times the given label was predicted and then not, mean over proxies"),
    (
        "second_split_epoch",
        _I,
        "epoch, from 0",
        "epoch of learning other rows from which the given label stays forgotten, 0 if it was never learned; null if "
        "it is remembered, and without --second-split",
    ),
    *(
        (
            f"{VIEW_MARGIN}{view}",
            _F,
            "nats",
            f"log-probability of the given label minus the best other's, by {what}",
        )
        for view, what in (
            ("encoder", "the vectors of a pretrained encoder"),
            ("pixels", "networks on the pictures"),
            ("patches", "networks on the spectrograms"),
            ("statistics", "statistics of the spectrograms"),
            ("filters", "pieces of the pictures or spectrograms as filters"),
            ("vectors", "your vectors"),
        )
    ),
    ("duplicate_of", _S, "an id", "first row with the same content; null for the first and for unique rows"),
    (
        "near_duplicate_of",
        _S,
        "an id",
        "first row with nearly the same content; null for the first, for unique rows and for exact copies of the first",
    ),
    ("near_duplicate_similarity", _F, "0-1", "of the row and near_duplicate_of: correlation, or cosine of vectors"),
    ("content", _S, "16 hex digits", "start of the sha256 of the content, the same after a rename; null if unreadable"),
    ("neighbors", pa.list_(_S), "ids", "nearest rows in feature space, nearest first"),
    ("top_labels", pa.list_(_S), "classes", "the three most probable classes"),
    ("top_probs", pa.list_(_F), "0-1", "their probabilities"),
    ("reasons", pa.list_(_S), "codes", "short names of the evidence that speaks against the row"),
    ("error", _S, "", "why the row could not be read; null where it could"),
)

SCHEMA = pa.schema([pa.field(name, dtype) for name, dtype, _, _ in COLUMNS])


@dataclass(frozen=True)
class ReportTable:
    """The verdict on every row (`table`, in `SCHEMA`) and on the whole set (`summary`)."""

    table: pa.Table
    summary: Summary

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def names(self) -> dict[str, str]:
        """Labels that look like another one, and what people are shown instead; see `tell_apart`."""
        return tell_apart(entry.label for entry in self.summary.classes)

    @cached_property
    def told_apart(self) -> ReportTable:
        """The same for people to read: labels that look alike can be told apart in it. Decisions need the labels."""
        if not self.names:
            return self
        table = self.table
        for name, dtype, kind, _ in COLUMNS:
            if kind in ("a class", "classes"):
                shown = pa.array(renamed(table[name].to_pylist(), self.names), dtype)
                table = table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), shown)
        return ReportTable(table, Summary.from_dict(renamed(self.summary.as_dict(), self.names)))

    def flagged(self) -> pa.Table:
        """Rows with a label issue, most suspicious first."""
        return self._most_suspicious(flags(self.table))

    def suspicious(self) -> pa.Table:
        """Rows with a label issue or a contradicting copy, most suspicious first."""
        return self._most_suspicious(flags(self.table) | contradicts(self.table))

    def _most_suspicious(self, shown: np.ndarray) -> pa.Table:
        order = by_suspicion(self.table)
        return self.table.take(pa.array(order[shown[order]]))

    def write(self, path: Path, *, run_id: str = "") -> None:
        """Write `report.parquet` (zstd). The summary travels in the file's metadata."""
        metadata = {
            b"nlclean.schema_version": str(SCHEMA_VERSION).encode(),
            b"nlclean.run_id": run_id.encode(),
            b"nlclean.summary": json.dumps(self.summary.as_dict()).encode(),
        }
        table = self.table.replace_schema_metadata(metadata)
        pq.write_table(table, path, compression="zstd", write_page_checksum=True)

    @classmethod
    def read(cls, path: Path) -> ReportTable:
        """Read a file that `write` made. Raises ReportError when it is none."""
        with reading(f"cannot read {path}", ReportError, hint="run `nlclean audit` first"):
            table = read_table(path)
            metadata = table.schema.metadata or {}
            version = metadata.get(b"nlclean.schema_version")
            if version is None:
                raise ReportError(f"{path} is not a report of nlclean")
            if int(version) > SCHEMA_VERSION:
                raise ReportError(
                    f"{path} has schema version {int(version)}, this nlclean reads up to {SCHEMA_VERSION}",
                    hint="upgrade nlclean",
                )
            for field in SCHEMA:
                if field.name.startswith(VIEW_MARGIN) and field.name not in table.column_names:  # an older run
                    table = table.append_column(field, pa.nulls(len(table), field.type))
            if lacking := [field.name for field in SCHEMA if field not in table.schema]:
                raise ValueError(f"columns are missing or of another type: {', '.join(lacking)}")
            for name in ("top_labels", "neighbors", "reasons"):
                if pc.list_flatten(table[name]).null_count:
                    raise ValueError(f"column {name} holds lists with nulls")
            if not pc.list_value_length(table["top_labels"]).equals(pc.list_value_length(table["top_probs"])):
                raise ValueError("top_labels and top_probs differ in length")
            with reading(f"the summary in {path} is damaged", ReportError, hint="run `nlclean audit` again"):
                summary = Summary.from_dict(json_object(metadata[b"nlclean.summary"]))
            return cls(table, summary)


def flags(table: pa.Table) -> np.ndarray:
    """(n,) bool: rows with a label issue."""
    return np.asarray(table["is_label_issue"].fill_null(False))


def contradicts(table: pa.Table) -> np.ndarray:
    """(n,) bool: rows whose content occurs with another label."""
    return np.asarray(pc.equal(table["issue"].fill_null("none"), "duplicate_conflict"))


def with_issue(table: pa.Table) -> np.ndarray:
    """(n,) bool: rows with any issue, flagged or not."""
    return flags(table) | np.asarray(pc.not_equal(table["issue"].fill_null("none"), "none"))


def content_groups(table: pa.Table) -> np.ndarray:
    """(n,) int64: the first row with the same content; the row itself where there is none before it."""
    first = pc.index_in(table["duplicate_of"], value_set=table["id"].combine_chunks(), skip_nulls=True).fill_null(-1)
    return np.where(np.asarray(first) >= 0, first, np.arange(table.num_rows))


def by_suspicion(table: pa.Table) -> np.ndarray:
    """(n,) row numbers: contradicting copies first, together, for they prove an error without a model; then other
    label issues, other issues, and the rest, each by label score."""
    score = np.asarray(table["label_score"].fill_null(2.0), dtype=np.float64)  # unknown comes last
    conflict = contradicts(table)
    kinds = [conflict, flags(table), with_issue(table)]
    group = np.where(conflict, content_groups(table), 0)
    return np.lexsort((score, group, np.select(kinds, [0, 1, 2], default=3)))

"""From verdicts to tables: the report, a row per class, the noise matrix, the history of every row, the summary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cleanlab_lite.addresses import unsigned
from cleanlab_lite.arrays import Z, rows_by
from cleanlab_lite.copies import Duplicates
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.verdict import Verdict
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.matrices import Matrix, Subset, blocks
from cleanlab_lite.report.reasons import order_reasons
from cleanlab_lite.run.report import ACTIONS, FLAG, ISSUES, SCHEMA, SCHEMA_VERSION, ReportTable
from cleanlab_lite.run.summary import FEW, Audited, ClassNoise, Confusion, Summary

TOP = 3  # classes listed per row
CONFUSIONS = 50  # pairs of classes kept in the summary
ROWS = 50_000  # whose curves are averaged at a time
# columns of the detectors with the number behind a reason
STRENGTHS = ("loss_mean", "aum", "knn_agreement", "prototype_similarity_given", "prototype_similarity_suggested")


def build_report(
    manifest: Manifest,
    verdict: Verdict,
    duplicates: Duplicates,
    content: np.ndarray,
    codes: np.ndarray,
    errors: np.ndarray,
    about: dict[str, Any],
) -> ReportTable:
    """One row per manifest row. `about` is what the summary says of the run: its optional fields (proxy, warnings)."""
    classes, ids = pa.array(manifest.classes, pa.string()), pa.array(manifest.ids)
    columns = verdict.columns
    top, top_probs = _top(verdict.posterior)
    reasons = _reasons(verdict, codes)
    paths = manifest.paths
    values: dict[str, Any] = {
        "id": ids,
        "path": pa.nulls(len(manifest), pa.string()) if paths is None else unsigned(paths.to_pylist()),
        "split": _texts(manifest.splits),
        "given_label": _named(classes, manifest.labels),
        "predicted_label": _named(classes, verdict.predicted),
        "suggested_label": _named(classes, verdict.suggested),
        "is_label_issue": np.nan_to_num(verdict.p_mislabel) >= FLAG,
        "label_score": label_score(verdict.p_mislabel, verdict.score),
        "p_mislabel": verdict.p_mislabel,
        "issue": verdict.issue,
        "suggestion_confidence": verdict.suggestion_confidence,
        "action": verdict.action,
        "weight": verdict.weight,
        "duplicate_of": _named(ids, duplicates.by_kind["exact"]),
        "near_duplicate_of": _named(ids, np.where(duplicates.near, duplicates.copy_of, -1)),
        "near_duplicate_similarity": np.where(duplicates.near, duplicates.similarity, np.nan),
        "content": _texts(content.astype("U16")),
        "neighbors": _lists(ids, columns["neighbors"], verdict.judged) if "neighbors" in columns else None,
        "top_labels": _lists(classes, top, top[:, 0] >= 0),
        "top_probs": _lists(pa.array(top_probs.ravel()), np.where(top >= 0, _places(top), -1), top[:, 0] >= 0),
        "reasons": reasons,
        "error": _texts(errors),
    }
    for name, array in columns.items():
        if name not in values:
            values[name] = _named(classes, array) if name.endswith("_label") else array
        if array.dtype.kind == "b":
            values[name] = pa.array(array, mask=~verdict.judged)
    n = len(manifest)
    arrays = [_column(values.get(field.name), field.type, n) for field in SCHEMA]
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    return ReportTable(table, summarise(manifest, verdict, reasons, about))


def label_score(p: np.ndarray, score: np.ndarray) -> np.ndarray:
    """(n,) 1 - p, with rows of the same p (to .001) told apart by the ranking."""
    known = np.isfinite(p) & np.isfinite(score)
    result = np.where(np.isfinite(p), 1 - p, np.nan)
    rank = np.argsort(np.argsort(score[known], kind="stable")) / max(known.sum(), 1)
    result[known] = 0.999 * result[known] + 0.001 * rank
    return result


def summarise(manifest: Manifest, verdict: Verdict, reasons: pa.ListArray, about: dict[str, Any]) -> Summary:
    """The numbers about the whole set."""
    rate = verdict.calibration.rate
    counts = {count["values"]: count["counts"] for count in pc.value_counts(reasons.flatten()).to_pylist()}
    return Summary(
        schema_version=SCHEMA_VERSION,
        manifest=Audited(
            path=manifest.source.path,
            rows=len(manifest),
            labelled=int((manifest.labels >= 0).sum()),
            classes=manifest.num_classes,
            modality=manifest.modality,
            fingerprint=manifest.fingerprint,
        ),
        noise_rate=rate.reported,
        flagged=int((np.nan_to_num(verdict.p_mislabel) >= FLAG).sum()),
        issues={name: int((verdict.issue == name).sum()) for name in ISSUES},
        actions={name: int((verdict.action == name).sum()) for name in ACTIONS},
        reasons=dict(sorted(counts.items())),
        classes=[ClassNoise(**row) for row in class_table(manifest, verdict).to_pylist()],
        confusions=_confusions(manifest, verdict),
        detectors=verdict.facts,
        **about,
    )


def _confusions(manifest: Manifest, verdict: Verdict) -> list[Confusion]:
    """Which labels are to become which, most rows first."""
    given, suggested = manifest.labels, verdict.suggested
    pairs = np.stack([given, suggested], axis=1)[(suggested >= 0) & (given >= 0)]
    unique, rows = np.unique(pairs, axis=0, return_counts=True) if len(pairs) else (pairs, np.zeros(0, int))
    confidence = np.nan_to_num(verdict.suggestion_confidence)
    return [
        Confusion(
            given=manifest.classes[unique[i, 0]],
            suggested=manifest.classes[unique[i, 1]],
            rows=int(rows[i]),
            expected=float(confidence[(given == unique[i, 0]) & (suggested == unique[i, 1])].sum()),
        )
        for i in np.argsort(-rows, kind="stable")[:CONFUSIONS]
    ]


def class_table(manifest: Manifest, verdict: Verdict) -> pa.Table:
    """A row per class, by given label: rows, flagged, noise rate with the interval of the calibration.

    As far as it is open which rows of a class are wrong, its rate is drawn towards that of all (`shrunken`). Of fewer
    than `FEW` rows it is null.
    """
    calibration, judged = verdict.calibration, verdict.judged
    label = manifest.labels[judged]
    p = verdict.p_mislabel[judged]
    k = manifest.num_classes
    rows = np.bincount(label, minlength=k)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(label, weights=values, minlength=k) / np.maximum(rows, 1)

    variance = mean(p * (1 - p)) / np.maximum(rows, 1)  # of the share of wrong rows, given the p
    spread = Z * np.sqrt(variance)
    rate = np.where(rows < FEW, np.nan, shrunken(mean(p), variance, rows))
    return pa.table(
        {
            "label": list(manifest.classes),
            "rows": rows + np.bincount(manifest.labels[verdict.alone], minlength=k),
            "flagged": np.bincount(label, weights=p >= FLAG, minlength=k).astype(np.int64),
            "noise_rate": pa.array(rate, from_pandas=True),
            "low": pa.array(np.clip(np.minimum(mean(calibration.p_low), rate) - spread, 0, 1), from_pandas=True),
            "high": pa.array(np.clip(np.maximum(mean(calibration.p_high), rate) + spread, 0, 1), from_pandas=True),
        }
    )


def shrunken(rate: np.ndarray, variance: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(k,) rates of classes with `rows` (k,) rows each, drawn towards the rate of all; NaN where there are none.

    An empirical Bayes estimate (Efron & Morris, 1975): a rate counts as much as rates of classes differ beyond their
    `variance` (k,), and as little as that is large. A rate whose wrong rows are known stays as it is.
    """
    known = rows > 0
    if not np.isfinite(rate[known]).all() or not known.any():
        return np.where(known, rate, np.nan)
    weight = rows / rows.sum()
    overall = float((weight * rate).sum())
    between = max(float((weight * ((rate - overall) ** 2 - variance))[known].sum()), 0.0)
    own = between / np.maximum(between + variance, 1e-12)
    return np.where(known, overall + own * (rate - overall), np.nan)


def noise_matrix_table(manifest: Manifest, verdict: Verdict) -> pa.Table:
    """P(given | true) and the expected number of rows, a line per pair of classes that has at least 0.05 rows."""
    judged = np.flatnonzero(verdict.judged)
    k = manifest.num_classes
    expected = np.zeros((k, k))  # [given, true]
    for place in rows_by(manifest.labels[judged]):
        of_class = Subset(verdict.posterior, judged[place])
        total = sum(of_class[part].sum(axis=0, dtype=np.float64) for part in blocks(of_class))
        expected[manifest.labels[judged[place[0]]]] = total
    probability = expected / np.maximum(expected.sum(axis=0, keepdims=True), 1e-12)
    given, true = np.nonzero(expected >= 0.05)
    classes = np.array(manifest.classes, dtype=object)
    return pa.table(
        {
            "true_label": classes[true],
            "given_label": classes[given],
            "probability": probability[given, true],
            "expected_rows": expected[given, true],
        }
    )


def duplicates_table(manifest: Manifest, duplicates: Duplicates) -> pa.Table:
    """A line per copy, with the first row of the same content, else of its group."""
    others, first, alike = duplicates.pairs
    classes = pa.array(manifest.classes, pa.string())
    sides: dict[str, pa.Array] = {}
    for side, rows in (("a", first), ("b", others)):
        sides[f"id_{side}"] = pa.array(manifest.ids[rows], pa.string())
        sides[f"label_{side}"] = _named(classes, manifest.labels[rows])
        sides[f"split_{side}"] = _texts(manifest.splits[rows])
    kind = pa.array(duplicates.kind[others].astype(object), pa.string())
    similarity = pa.array(alike.astype(np.float32))
    order = ("id_a", "id_b", "kind", "similarity", "label_a", "label_b", "split_a", "split_b")
    return pa.table(sides | {"kind": kind, "similarity": similarity}).select(order)


def history_table(manifest: Manifest, evidence: Evidence) -> pa.Table:
    """Loss and margin of every row after each epoch, mean over the proxies that trained on its given label."""
    history = evidence.need_history()
    _, epochs, n = history.shape
    means = {name: np.empty((n, epochs), dtype=np.float32) for name in ("loss", "margin")}  # nats, logits
    for start in range(0, n, ROWS):
        part = slice(start, start + ROWS)
        some = history.select(part)
        for name, mean in means.items():
            mean[part] = some.mean_over_proxies(getattr(some, name), evidence.labels[part]).T
    curves = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(mean.ravel(), from_pandas=True), epochs)
        for name, mean in means.items()
    }
    return pa.table({"id": pa.array(manifest.ids), **curves})


def _top(posterior: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """(n, t) the `TOP` most probable classes, of equals the first, and their probabilities; -1 where there are none."""
    n, k = posterior.shape
    top, chance = np.full((n, min(TOP, k)), -1), np.full((n, min(TOP, k)), np.nan, dtype=np.float32)
    for part in blocks(posterior):
        left = posterior[part]
        known = np.flatnonzero(np.isfinite(left).all(axis=1))
        left, rows = left[known], np.arange(len(known))
        for place in range(top.shape[1]):
            best = left.argmax(axis=1)
            top[part][known, place], chance[part][known, place] = best, left[rows, best]
            left[rows, best] = -1
    return top, chance


def _reasons(verdict: Verdict, codes: np.ndarray) -> pa.ListArray:
    """The codes of every row, most telling first; why it cannot be read (codes, "" where it can) before all others."""
    unreadable = {str(code): codes == code for code in np.unique(codes) if code}
    flagged = np.nan_to_num(verdict.p_mislabel) >= FLAG
    return order_reasons(verdict.reasons, _strength(verdict), flagged, before_all=unreadable)


def _strength(verdict: Verdict) -> dict[str, np.ndarray]:
    """Reason code -> (n,) the number behind it, larger speaks more against the label; NaN where it is not known."""
    unknown = np.full(len(verdict.judged), np.nan)
    columns = {name: verdict.columns.get(name, unknown) for name in STRENGTHS}
    rows = np.arange(len(verdict.judged))
    predicted = np.where(verdict.predicted >= 0, verdict.posterior[rows, np.maximum(verdict.predicted, 0)], np.nan)
    own, other = (columns[f"prototype_similarity_{which}"] for which in ("given", "suggested"))
    return {
        "confident_joint": predicted,
        "high_loss": columns["loss_mean"],
        "negative_margin": -columns["aum"],
        "neighbours_disagree": -columns["knn_agreement"],
        "prototypes_disagree": other - own,
    }


def _named(names: pa.Array, index: np.ndarray) -> pa.Array:
    """n names, null where index (n,) is -1."""
    return names.take(pa.array(index, mask=index < 0))


def _texts(values: np.ndarray) -> pa.Array:
    """n texts, null where they are empty."""
    return pa.array(values, pa.string(), mask=values == "")


def _places(array: np.ndarray) -> np.ndarray:
    """The numbers of the cells of an array, of its shape."""
    return np.arange(array.size).reshape(array.shape)


def _lists(names: pa.Array, index: np.ndarray, known: np.ndarray) -> pa.ListArray:
    """n lists of names, of index (n, c) without -1; null for rows that are not known (n,)."""
    there = (index >= 0) & known[:, None]
    ends = np.concatenate([[0], there.sum(axis=1).cumsum()]).astype(np.int32)
    values = names.take(pa.array(index[there]))
    return pa.ListArray.from_arrays(pa.array(ends), values, mask=pa.array(~known))


def _column(values: Any, dtype: pa.DataType, n: int) -> pa.Array | pa.ChunkedArray:
    """Of the schema's type; NaN, and -1 of counts, become null. A column that no detector filled is null."""
    if values is None:
        return pa.nulls(n, dtype)
    if isinstance(values, pa.ChunkedArray | pa.Array):
        return values
    if isinstance(values, np.ndarray) and values.dtype.kind == "f" and pa.types.is_floating(dtype):
        return pa.array(values.astype(np.float32), dtype, from_pandas=True)
    if isinstance(values, np.ndarray) and pa.types.is_integer(dtype):
        numbers = np.nan_to_num(values.astype(np.float64), nan=-1).round().astype(np.int32)
        return pa.array(numbers, dtype, mask=numbers < 0)
    return pa.array(list(values), dtype)

"""`LabelIssueDetector`: the audit of vectors as an estimator of scikit-learn."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from cleanlab_lite.config import AuditConfig, validate
from cleanlab_lite.manifest.manifest import Manifest, Source
from cleanlab_lite.pipeline import run_audit, run_key
from cleanlab_lite.run import Run
from cleanlab_lite.run.report import by_suspicion, flags

# Half of what the command trains: on vectors of a few thousand rows that is seconds.
CONFIG = AuditConfig(ensemble=3)
SEEDS = 2**31 - 1


class LabelIssueDetector(BaseEstimator):
    """Finds the wrong labels of vectors: `LabelIssueDetector().fit(X, y).ranking_[:20]`.

    Every row is judged by networks that did not train on it, so `fit` is all it takes; the judgement is on (X, y).
    `decision_function` is for rows that come later.

    Parameters:
        config: an AuditConfig, e.g. for other proxies or more of them; its seed is replaced by `random_state`.
        random_state: an int for the same result every time, None or a RandomState for another one each time.

    Attributes, all in the order of the rows of X:
        p_mislabel_: (n,) calibrated probability that the label is wrong; NaN where labels are predicted no better
            than chance, so that nothing can be said.
        suggested_: (n,) labels in the type of y: the correction on offer, else the label as given.
        is_label_issue_: (n,) bool, p_mislabel_ is at least one half.
        label_scores_: (n,) label quality of 0 to 1, low is suspicious: 1 - p_mislabel_ with ties broken.
        ranking_: (n,) row numbers, most suspicious first.
        classes_: (k,) labels, sorted.
        noise_rate_: estimated share of wrong labels.
        n_features_in_: d; feature_names_in_: names of the columns, where X has any.
    """

    def __init__(self, config: AuditConfig | None = None, *, random_state: Any = 0) -> None:
        self.config = config
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> LabelIssueDetector:
        """Audit the labels `y` (n,) of the vectors `X` (n, d).

        Raises ValueError on anything else, and ConfigError where the rows are too few for the proxies.
        """
        X, y = validate_data(self, X, y, dtype=np.float32, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class only, {self.classes_[0]!r}; wrong labels need at least two")
        manifest = _manifest(X, labels.astype(np.int64), len(self.classes_))
        seed = self.random_state
        if not isinstance(seed, Integral):
            seed = check_random_state(seed).randint(SEEDS)
        config = validate(replace(self.config or CONFIG, seed=int(seed)))
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            with Run.start(out, "estimator", run_key(manifest, config)) as run:
                report = run_audit(manifest, config, run=run)
        table = report.table
        self.p_mislabel_ = np.asarray(table["p_mislabel"].fill_null(np.nan), dtype=np.float64)
        self.label_scores_ = np.asarray(table["label_score"].fill_null(np.nan), dtype=np.float64)
        self.is_label_issue_ = flags(table)
        self.ranking_ = by_suspicion(table)
        rate = report.summary.noise_rate.estimate
        self.noise_rate_ = np.nan if rate is None else rate
        offered = [-1 if label is None else int(label) for label in table["suggested_label"].to_pylist()]
        suggested = np.where(np.array(offered) >= 0, offered, labels)
        self.suggested_ = self.classes_[suggested]
        self._judge = _closed_model(X, labels, np.asarray(table["action"].fill_null("keep")) == "keep")
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """(n, k) log-probability of each class for rows that were not audited: the higher, the better it would fit.

        Of a linear discriminant (shrunken covariance) on the rows that the audit keeps, not of the networks. With a
        label for each row, `scores[range(n), numpy.searchsorted(classes_, y)]` says how well it fits; how low is too
        low has not been calibrated. Rows of `fit` have `p_mislabel_`, which did not see them.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        center, scale, model = self._judge
        scores = model.decision_function((X - center) / scale)
        scores = np.stack([-scores, scores], axis=1) / 2 if scores.ndim == 1 else scores  # of two classes, one column
        return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.single_output = True
        return tags


def _manifest(X: np.ndarray, labels: np.ndarray, k: int) -> Manifest:
    """Classes are called by their numbers, so that labels of any type come back as they were."""
    import pyarrow as pa

    n = len(labels)
    ids = np.arange(n).astype(str)
    return Manifest(
        table=pa.table({"id": ids.tolist(), "label": labels}),
        source=Source("arrays", "arrays", "label", id_column="id"),
        modality="vector",
        classes=tuple(map(str, range(k))),
        ids=ids,
        labels=labels,
        splits=np.full(n, "", dtype=str),
        features=X,
    )


def _closed_model(
    X: np.ndarray, labels: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray, LinearDiscriminantAnalysis]:
    """Centre (d,), scale (d,) and a discriminant of the rows (n,) bool that are kept; a class that would vanish stays
    whole."""
    kept = kept | ~np.isin(labels, labels[kept])
    center, scale = X[kept].mean(axis=0), X[kept].std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return center, scale, model.fit(((X - center) / scale)[kept], labels[kept])

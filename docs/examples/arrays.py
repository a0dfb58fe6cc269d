"""Arrays: vectors and labels for an audit, and for a scikit-learn estimator. Runs as it is, without a network."""

# %% 600 handwritten digits as vectors of 64 numbers; one label in twenty is wrong
import numpy as np
from sklearn.datasets import load_digits

import nlclean

X, truth = (part[:600] for part in load_digits(return_X_y=True))
rng = np.random.default_rng(0)
wrong = rng.choice(len(X), len(X) // 20, replace=False)
y = truth.copy()
y[wrong] = (truth[wrong] + rng.integers(1, 10, len(wrong))) % 10

# %% The audit of (X, y): a report with a run folder, to export, check and go on with in `nlclean review`
report = nlclean.audit((X, y))
print(report)

# %% A limit for a test suite: at most a tenth of the labels may be wrong
gate = report.check(max_noise=0.1)
print("too many wrong labels" if gate.exceeded else "fine")

# %% The same as an estimator of scikit-learn: nothing is kept but its attributes
detector = nlclean.LabelIssueDetector(random_state=0).fit(X, y)
worst = detector.ranking_[: len(wrong)]
print(
    "row, label, suggestion:",
    *zip(worst[:5].tolist(), y[worst[:5]].tolist(), detector.suggested_[worst[:5]].tolist(), strict=True),
)

# %% How well a label fits a row that was not audited: the log-probability of every class
scores = detector.decision_function(X[:3])
print(scores.argmax(axis=1), "for", truth[:3])

# %% The errors were planted, so that it can be counted how many were found
found = np.isin(wrong, worst).mean()
print(f"{found:.0%} of the planted errors are among the {len(worst)} rows that rank worst")

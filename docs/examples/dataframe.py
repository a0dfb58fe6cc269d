"""A DataFrame of embeddings: which labels are wrong, and the frame without them. Runs as it is, without a network."""

# %% 2,000 embeddings of five kinds; one label in twenty is wrong
import numpy as np
import pandas as pd
from sklearn.datasets import make_blobs

import nlclean

X, truth = make_blobs(2000, n_features=32, centers=5, cluster_std=3.0, random_state=0)
rng = np.random.default_rng(0)
wrong = rng.choice(2000, 100, replace=False)
labels = truth.copy()
labels[wrong] = (truth[wrong] + rng.integers(1, 5, 100)) % 5
names = np.array(["ant", "bee", "cow", "dog", "eel"])
frame = pd.DataFrame({"embedding": list(X), "label": names[labels]})

# %% The audit. The columns are found by what is in them; label_column= and features_column= name them
report = nlclean.audit(frame)
print(report)  # in a notebook, `report` alone shows the counts and the twenty worst rows

# %% Every row with the verdict on it, in the order of the frame
verdict = report.to_pandas()
print(verdict[["given_label", "suggested_label", "p_mislabel"]].iloc[wrong[:5]])

# %% The frame without the rows that are flagged, or with what they should be called
clean = frame[~verdict["is_label_issue"].to_numpy(dtype=bool)]
corrected = frame.assign(label=verdict["suggested_label"].fillna(verdict["given_label"]))

# %% The errors were planted, so that it can be counted how many were found
found = verdict["is_label_issue"].iloc[wrong].mean()
print(f"{found:.0%} of the planted errors are flagged, {len(frame) - len(clean)} rows in all")

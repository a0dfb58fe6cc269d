"""A Hugging Face dataset of pictures: an audit, a page to look at, a clean dataset. Runs as it is, offline."""

# %% 400 pictures of the digits 0 to 3, with an Image and a ClassLabel column; one label in twenty is wrong
import numpy as np
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Pictures
from sklearn.datasets import load_digits

import nlclean

digits = load_digits(n_class=4)
pixels = (digits.images[:400] * 15).astype(np.uint8)
truth = digits.target[:400]
rng = np.random.default_rng(0)
wrong = rng.choice(400, 20, replace=False)
labels = truth.copy()
labels[wrong] = (truth[wrong] + rng.integers(1, 4, 20)) % 4
dataset = Dataset.from_dict(
    {"image": [Pictures.fromarray(part).resize((16, 16)) for part in pixels], "label": labels},
    features=Features({"image": Image(), "label": ClassLabel(names=["zero", "one", "two", "three"])}),
)

# %% The audit. Image and Audio columns, and ClassLabel columns with their names, are known by their types
report = nlclean.audit(dataset, image_size=16)
print(report)  # in a notebook, `report` alone shows the twenty worst rows with their pictures

# %% A page with pictures and charts, to open in any browser and decide in
report.page("digits.html", force=True)

# %% The dataset without the flagged rows: the report is in its order
keep = np.flatnonzero(~report.to_pandas()["is_label_issue"].to_numpy(dtype=bool))
clean = dataset.select(keep)

# %% Or with the corrections that need no look: numbers of the ClassLabel again
table = report.to_pandas()
names = table["suggested_label"].where(table["action"] == "relabel", table["given_label"])
label = dataset.features["label"]
corrected = dataset.remove_columns("label").add_column("label", label.str2int(names.tolist()), feature=label)

# %% Or as a folder that `datasets.load_dataset("imagefolder", data_dir="digits")` reads
report.export("huggingface", output="digits", force=True)

# %% The errors were planted, so that it can be counted how many were found
found = np.isin(wrong, keep, invert=True).mean()
left = (np.array(corrected["label"]) != truth).sum()
print(f"{left} wrong labels are left after the corrections")
print(f"{found:.0%} of the planted errors are flagged, {len(dataset) - len(clean)} rows in all")

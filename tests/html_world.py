"""A finished run with pictures, curves and hostile names, for the tests of the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from audit_world import picture
from cli_world import finished_run, make_manifest, make_report, mislabel, row

from cleanlab_lite.manifest.saved import save_manifest

HOSTILE = "</script><img src=x onerror=alert(1)>&\u202e'\"${x}$data"
EPOCHS = 4
WRONG, FINE = 5, 15


def page_run(
    folder: Path, *, side: int = 16, fine: int = FINE, wrong: int = WRONG, copies: bool = False, within: str = ""
) -> Path:
    """A run on `wrong` wrong and `fine` fine pictures of `side` pixels; one row and one class have a hostile name.

    With `copies` the first wrong row has a copy among the fine ones, in another split; all ids begin with `within`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"wrong{i}.png" for i in range(wrong - 1)] + [HOSTILE] + [f"fine{i}.png" for i in range(fine)]
    ids = [within + name for name in names]
    common: dict[str, Any] = {
        "neighbors": [within + "fine1.png", within + "wrong0.png"],
        "top_labels": ["cat", "dog"],
        "top_probs": [0.9, 0.1],
    }
    step = 0.05 / wrong
    rows = [
        mislabel(
            id,
            p_mislabel=0.99 - i * step,
            label_score=0.01 + i * step,
            path=f"pictures/{i}.png",
            loss_mean=3.0,
            **common,
        )
        for i, id in enumerate(ids[:wrong])
    ]
    rows[wrong - 1]["given_label"] = HOSTILE
    rows += [row(id, label_score=0.9 + i / 1e6, loss_mean=0.1 + i / 1e3, **common) for i, id in enumerate(ids[wrong:])]
    rows[-1] |= {"issue": "unreadable", "error": "the file has 0 bytes", "p_mislabel": None, "label_score": None}
    rows[wrong + 1] |= {"reasons": ["odd_size"]}
    if copies:
        rows[0] |= {"issue": "duplicate_conflict", "split": "train"}
        rows[wrong] |= {"issue": "duplicate_conflict", "duplicate_of": ids[0], "given_label": "cat", "split": "val"}
    classes = [
        {"label": label, "rows": 1, "flagged": 1, "noise_rate": 0.2, "low": 0.1, "high": 0.3}
        for label in ("cat", "dog", HOSTILE)
    ]
    run = finished_run(folder / "run", make_report(rows, classes=classes, warnings=[f"beware of {HOSTILE}"]))
    manifest = make_manifest(folder / "pets.csv", [f"{i}.png" for i in range(len(ids))], ["cat"] * len(ids))
    save_manifest(replace(manifest, ids=np.array(ids)), run / "manifest.parquet")
    rng = np.random.default_rng(0)
    for i in range(len(ids) - 1):  # the last one is missing
        picture(i % 3, seed=i).resize((side, side)).save(folder / f"{i}.png")
    margins = rng.normal(size=(len(ids), EPOCHS)).astype(np.float32)
    curves = pa.FixedSizeListArray.from_arrays(pa.array(margins.ravel()), EPOCHS)
    pq.write_table(pa.table({"id": ids, "loss": curves, "margin": curves}), run / "history.parquet")
    matrix = {
        "true_label": ["cat", HOSTILE],
        "given_label": ["dog", "cat"],
        "probability": [0.4, 0.2],
        "expected_rows": [4.0, 1.0],
    }
    pq.write_table(pa.table(matrix), run / "noise_matrix.parquet")
    return run


def island(page: bytes) -> dict[str, Any]:
    """The data of a page."""
    start = page.index(b'id="data">') + len(b'id="data">')
    return json.loads(page[start : page.index(b"</script>", start)])

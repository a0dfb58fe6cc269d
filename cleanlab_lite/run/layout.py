"""The files of a run folder. Their names stand here and nowhere else."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("nlclean-runs")  # where run folders go unless --out says otherwise

# what a user finds
REPORT = "report.parquet"  # a row per manifest row; the summary is in its metadata
SUMMARY = "summary.json"
CLASSES = "classes.parquet"  # a row per class
NOISE_MATRIX = "noise_matrix.parquet"
DUPLICATES = "duplicates.parquet"  # a row per copy
PROVENANCE = "provenance.parquet"  # a row per value of the user's columns
ANNOTATORS = "annotators.parquet"  # a row per annotator, where there are several
CONSENSUS = "consensus.parquet"  # a row per row of the report, what its annotators say together with the views
HISTORY = "history.parquet"  # loss and margin of every row after each epoch
FEATURES = "features.npy"  # (n, d)
MANIFEST = "manifest.parquet"  # as it was read
PROXIES = "proxies.safetensors"  # what --warm-start starts from
DECISIONS = "decisions.jsonl"  # the journal of `nlclean review`
ASKED = "asked.parquet"  # what earlier runs said of the rows that were decided there
SELFTEST = "selftest.json"  # what `nlclean selftest` found
VERIFICATION = "verify.json"  # what `nlclean verify` found
STABILITY = "stability.json"  # what `nlclean compare --seeds` found

# what the run itself needs
STATE = "run.json"  # key, command and times; `finished` is null until the last stage is done
LOG = "log.jsonl"  # one event a line
STAGES = "stages"  # folder of markers, one per finished stage, written after the files that the stage leaves
LOCK = ".lock"  # held by the writing process
TEMPORARY = ".tmp"  # starts the names of files being written, also by safetensors; removed when the run is opened again
ARRAYS = ".npz"  # ends the names of what only an unfinished run needs
COPIES = f"copies{ARRAYS}"
JOBS = "jobs"  # folder of what every network saw while it was trained: gone when the run is finished
PLANTED = "selftest"  # folder of the audits of planted errors: gone when the self-test is done
SEEDS = "seeds"  # folder of the same audit with other seeds, by `nlclean compare --seeds`
VERIFYING = "verify"  # folder of what `nlclean verify` trains: gone when it is done
# Names that are for the audit and the review, as patterns; stages and jobs lie in folders of their own.
OWN = (
    ".*",
    *(REPORT, SUMMARY, CLASSES, NOISE_MATRIX, DUPLICATES, PROVENANCE, HISTORY, FEATURES, MANIFEST, PROXIES),
    *(ANNOTATORS, CONSENSUS, DECISIONS, ASKED, SELFTEST, VERIFICATION, STABILITY, STATE, LOG),
    *("pruned.*", "corrected.*", f"*{ARRAYS}"),
)


def marker(stage: str) -> str:
    """The file that says that a stage is done."""
    return f"{STAGES}/{stage}.json"

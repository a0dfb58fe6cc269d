"""The table of export formats and policies. It imports nothing heavy, so that `nlclean export --help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Literal, get_args

Policy = Literal["prune", "correct", "correct-prune", "weight", "decided"]
Link = Literal["hard", "sym", "copy"]

POLICIES: tuple[Policy, ...] = get_args(Policy)
LINKS: tuple[Link, ...] = get_args(Link)
STEMS: dict[Policy, str] = {  # of file names
    "prune": "pruned",
    "correct": "corrected",
    "correct-prune": "corrected-pruned",
    "weight": "weighted",
    "decided": "decided",
}


@dataclass(frozen=True)
class Format:
    """A format is a module of this package with a function `write`.

    A dataset takes the rows and labels that a policy leaves: `write(cleaned: Cleaned, ...)`. A review takes every row
    with the verdict on it, and no policy: `write(manifest, table, ...)`. What follows is the path and, where `tree`,
    how files get there. `write` returns notes for the user, a sentence each.
    """

    name: str
    summary: str
    kind: Literal["dataset", "review"]
    word: str = ""  # in the default name of what is written, before the ending; "" for that of the policy
    endings: tuple[str, ...] = ()  # of the file, the default first; () for that of the manifest
    tree: bool = False  # writes a folder of files
    needs: tuple[str, ...] = ()  # modalities, () for any
    weights: bool = False  # has a place for weights

    def module(self) -> ModuleType:
        """Where its `write` is."""
        return import_module(f"{__package__}.{self.name}")


MEDIA = ("image", "sound")
FORMATS = {
    format.name: format
    for format in (
        Format("manifest", "your manifest, in its own format and columns", "dataset", weights=True),
        Format("folders", "a folder per class", "dataset", tree=True, needs=MEDIA),
        Format(
            "huggingface",
            "imagefolder or audiofolder with metadata.csv, .jsonl or .parquet",
            "dataset",
            word="huggingface",
            tree=True,
            needs=MEDIA,
            weights=True,
        ),
        Format("patch", "a line per changed row, to apply and to reverse", "dataset", "labels.patch", (".jsonl",)),
        Format("labelstudio", "tasks with predictions and scores", "review", "labelstudio", (".json",), needs=MEDIA),
        Format("fiftyone", "FiftyOneImageClassificationDataset", "review", "fiftyone", tree=True, needs=("image",)),
        Format("cleanlab", "the columns of Datalab's label issues", "review", "cleanlab", (".csv", ".parquet")),
        Format("argilla", "records with suggestions and scores", "review", "argilla", (".jsonl",)),
    )
}

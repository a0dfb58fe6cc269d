"""Names that a receiving program keeps for itself: neither our fields nor the user's columns may have them there."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from fnmatch import fnmatchcase

RESERVED = {  # format -> names, with * as in file names
    # `datasets` takes these columns for files to load, and makes a column `image` or `audio` of them
    "huggingface": ("file_name", "file_names", "*_file_name", "*_file_names", "image", "audio"),
    # fields and members of fiftyone.Classification, whose attributes the others become
    "fiftyone": (
        *("_*", "id", "tags", "label", "confidence", "logits", "STRICT", "my_metaclass", "fancy_repr"),
        *("*_attribute", "*_attribute_value", "*_field", "*_fields", "*_attributes", "field_names", "field_to_*"),
        *("clean", "copy", "merge", "validate", "from_dict", "from_json", "to_dict", "to_json", "to_mongo"),
        "get_text_score",
    ),
    "labelstudio": ("image", "audio"),  # what the labelling configuration shows
    "argilla": ("id", "status", "_*", "image", "text", "label"),  # of a record; names in its settings must differ
    "cleanlab": ("is_label_issue", "label_score", "given_label", "predicted_label"),  # of Datalab's label issues
}


def is_reserved(receiver: str, name: str) -> bool:
    """Whether the program that format `receiver` is for takes `name` for something of its own."""
    return any(fnmatchcase(name, pattern) for pattern in RESERVED[receiver])


def free_name(receiver: str, name: str, taken: Collection[str]) -> str:
    """`name` where the receiver allows it, else with `source` before or behind it, unlike all that are `taken`."""
    if not is_reserved(receiver, name):
        return name
    numbered = (f"{name}_source_{number}" for number in itertools.count(2))
    wanted = itertools.chain([f"source_{name}", f"{name}_source"], numbered)
    return next(other for other in wanted if not is_reserved(receiver, other) and other not in taken)

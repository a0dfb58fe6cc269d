"""A folder per class: `root/cat/1.jpg`, or `root/train/cat/1.jpg` where the manifest has splits.

What torchvision's `ImageFolder` reads (of a root with splits: one folder for each), and `nlclean audit`.
"""

from __future__ import annotations

import os
from pathlib import Path

from cleanlab_lite.export.files import Names, Placer, file_names, local_uris, refuse_empty, renamed, split_folders
from cleanlab_lite.export.formats import Link
from cleanlab_lite.export.policy import Cleaned
from cleanlab_lite.text import counted


def write(cleaned: Cleaned, target: Path, link: Link) -> list[str]:
    """Link or copy the file of every row that stays into the folder of its class. Rows without a label are left out.

    File names stay, made safe; one that comes again in its folder gets `-2`, `-3`, ... in the order of the rows.
    """
    manifest = cleaned.manifest
    uris = local_uris(manifest)
    own = file_names(manifest, uris)
    splits, notes = split_folders(manifest)
    labels = cleaned.labels()
    classes, files = Names(), Names()
    folders = {label: classes.claim("", label) for label in _sorted(labels)}
    placer = Placer(target, link)
    placed = without = 0
    for row in cleaned.cleaning.keep.nonzero()[0].tolist():
        label = labels[row]
        if label is None:
            without += 1
            continue
        folder = os.path.join(splits[row], folders[label])
        placed += placer.place(uris[row], os.path.join(folder, files.claim(folder, own[row])), manifest.segment(row))
    if without:
        notes.append(f"left out: {counted(without, 'row')} without a label")
    notes += [*renamed("class", folders), *placer.notes()]
    refuse_empty(placed, notes)
    return notes


def _sorted(labels: list[str | None]) -> list[str]:
    """Classes in an order that does not depend on that of the rows. Safe names first: they keep theirs."""
    present = {label for label in labels if label is not None}
    return sorted(present, key=lambda label: (Names().claim("", label) != label, label))

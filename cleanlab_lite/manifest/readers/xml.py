"""XML of programs that people label pictures with: CVAT for images 1.1, and Pascal VOC, a file per picture.

Tags are the labels; boxes and other shapes are, where those of a picture have one class.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import is_remote, reading
from cleanlab_lite.manifest.annotated import OF_BOXES, one_label
from cleanlab_lite.manifest.readers.base import Rows, check_rows, folder_of, json_table, read_text, title
from cleanlab_lite.text import counted

SHAPES = ("box", "polygon", "polyline", "points", "ellipse", "mask", "cuboid", "skeleton")  # of CVAT
PICTURES = ("JPEGImages", "images", "img")  # folders beside that of the files of VOC
OTHER = "export the annotations as CSV or JSON (CVAT: for images 1.1, Datumaro or ImageNet)"


def read_xml(paths: Sequence[str]) -> Rows:
    """A row per picture, with the columns `name` or `path`, and `label`. Raises ManifestError for any other XML."""
    records: list[dict[str, Any]] = []
    folders = []
    path, note = "path", ""
    for file in paths:
        root = _parsed(file)
        before = len(records)
        if root.tag == "annotations" and root.find("image") is not None:
            records += _of_cvat(root, file)
            path, note = "name", "CVAT for images"
        elif root.tag == "annotation" and root.findtext("filename"):
            records.append(_of_voc(root, file))
            note = "Pascal VOC: the class of the objects"
        else:
            raise ManifestError(f"{file!r}: XML of an unknown form, <{root.tag:.40}>", hint=OTHER)
        folders.append((folder_of(file), len(records) - before))
    check_rows(paths, len(records))
    several = sum(len(record["label"]) > 1 for record in records if isinstance(record["label"], set))
    if several:
        raise ManifestError(
            f"{title(paths)!r}: shapes of several classes in {several:,} of {counted(len(records), 'picture')}",
            hint=OF_BOXES,
        )
    for record in records:
        if isinstance(record["label"], set):
            record["label"] = next(iter(record["label"]), None)
    return Rows(
        path=title(paths),
        table=json_table(records, title(paths)),
        format="json",
        folders=tuple(folders),
        known={"path": path, "label": "label"},
        notes=(note,),
    )


def _parsed(path: str) -> ElementTree.Element:
    text = read_text(path).text
    if "<!ENTITY" in text or "<!DOCTYPE" in text:  # entities can grow without bounds
        raise ManifestError(f"{path!r} declares a document type, which is not read", hint=OTHER)
    with reading(f"{path!r} is no XML", ManifestError, hint="is it written completely?"):
        return ElementTree.fromstring(text)


def _of_cvat(root: ElementTree.Element, path: str) -> list[dict[str, Any]]:
    """Labels are those of tags; where no picture has any, the set of classes of its shapes."""
    tagged = root.find("image/tag") is not None
    records = []
    for picture in root.iterfind("image"):
        found = [each.get("label") for each in picture if (each.tag == "tag" if tagged else each.tag in SHAPES)]
        if picture.get("name") is None:
            raise ManifestError(f"{path!r}: an <image> without a name", hint=OTHER)
        subset = {"subset": picture.get("subset")} if picture.get("subset") else {}
        records.append({"name": picture.get("name"), **subset, "label": one_label(found) if tagged else {*found}})
    return records


def _of_voc(root: ElementTree.Element, path: str) -> dict[str, Any]:
    """Its picture lies beside the file, or in the folder that it names or `JPEGImages` beside its folder."""
    name = str(root.findtext("filename")).strip()
    folder = (root.findtext("folder") or "").strip()
    beside = [f"../{each}/{name}" for each in (folder, *PICTURES) if each]
    here = folder_of(path)
    there = [] if is_remote(here) else [each for each in (name, *beside) if os.path.isfile(os.path.join(here, each))]
    classes = {each.text.strip() for each in root.iterfind("object/name") if each.text}
    return {"path": there[0] if there else name, "label": classes}

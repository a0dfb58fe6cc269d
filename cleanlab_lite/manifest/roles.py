"""What columns are called, by what they hold: paths, labels, ids, vectors; and what is none of these.

Names are compared without blanks, hyphens, underscores, case and what stands in parentheses. A role is looked for under
its usual names first; the others, which also mean other things, count where no column has one of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_ASKED = re.compile(r"(?:input|answer|output|assignment)[.:](?=.)", re.IGNORECASE)  # of MTurk and Toloka
_ASIDE = re.compile(r"\([^)]*\)|\[[^\]]*\]|[\s_.-]")

USUAL: dict[str, tuple[str, ...]] = {
    "path": ("path", "filename", "filepath", "file", "image", "imagepath", "audiofilepath", "audio", "uri", "url"),
    "label": ("label", "labels", "class", "category", "target", "givenlabel", "primarylabel", "y", "command"),
    "id": ("id", "sampleid", "uuid", "key"),
    "features": ("features", "feature", "embeddings", "embedding", "vectors", "vector"),
}
OTHERS: dict[str, tuple[str, ...]] = {
    "path": (
        *("imgpath", "imagefile", "imagefilename", "imagename", "imagefilepath", "imgfile", "imgname", "imgfilename"),
        *("audiopath", "audiofile", "audiofilename", "audioname", "wavpath", "wavfile", "wavfilename", "wavname"),
        *("slicefilename", "fname", "soundfile", "soundpath", "clippath", "clipname", "clipfile", "mediapath"),
        *("relativepath", "relpath", "fullpath", "absolutepath", "abspath", "location", "photopath", "picturepath"),
        *("imageurl", "imageuri", "audiourl", "audiouri", "imguri", "imgurl", "dataimage", "dataaudio"),
    ),
    "label": (
        *("classname", "classlabel", "labelname", "labeltext", "categoryname", "targetname", "classes", "categories"),
        *("classid", "labelid", "categoryid", "targetid", "classindex", "labelindex", "groundtruth", "gt", "gtlabel"),
        *("groundtruthlabel", "truelabel", "species", "breed", "choice", "annotation", "diagnosis", "dx", "emotion"),
        *("genre", "finelabel", "findinglabels", "tags", "tag", "variety", "expression", "labelcode"),
        *("soundclass", "sceneclass", "scenelabel", "eventlabel", "imageclass", "imagelabel", "disease"),
        *("speciesname", "speciesid", "commonname", "scientificname", "benignmalignant", "annotationlabel", "keyword"),
    ),
    "id": ("imageid", "audioid", "fileid", "clipid", "trackid", "itemid", "recordid", "uid", "guid"),
    "features": (),
}
# Labels where no column has one of those
RARE = (
    *("ytrue", "actual", "actualclass", "gold", "goldlabel", "humanlabel", "manuallabel", "verifiedlabel", "result"),
    *("answer", "categorylabel", "classification", "klasse", "kategorie", "clase", "classe", "categoria", "categoría"),
    *("catégorie", "etiqueta", "etichetta", "étiquette", "etiquette", "вид", "класс", "标签", "类别", "ラベル"),
)
# Lists of numbers that say where something is, how large it is, or how many there are
GEOMETRY = (
    *("bbox", "bboxes", "box", "boxes", "boundingbox", "boundingboxes", "roi", "rect", "rectangle", "region"),
    *("keypoints", "keypoint", "landmarks", "points", "point", "polygon", "polygons", "segmentation", "rle", "mask"),
    *("coordinates", "coordinate", "coords", "position", "center", "centre", "centroid", "location", "gps", "latlon"),
    *("size", "shape", "imagesize", "resolution", "area", "areas", "counts", "votes", "timestamps", "span"),
)
ANNOTATORS = (  # columns that say who gave a label
    *("annotator", "annotatorid", "annotatorname", "annotatedby", "worker", "workerid", "rater", "raterid", "coder"),
    *("coderid", "labeler", "labelerid", "labeller", "labellerid", "labeledby", "labelledby", "voter", "voterid"),
    *("judge", "judgeid", "expert", "expertid", "assessor", "assessorid", "reviewer", "reviewerid", "contributor"),
    *("contributorid", "turker", "completedby", "user", "userid", "username"),
)
_VOTER = r"(?:annotator|annot|ann|worker|rater|coder|labell?er|voter|judge|expert|assessor|reviewer|contributor|user)"
_VOTE = r"(?:random|raw)?(?:labels?|class|votes?|annotations?|choice)"
# `label_ann1`, `label_by_rater_b`, `annotator_2`, `vote_c`, and `random_label1`, which may be anything: what is called
# alike, and who it is
OF_ANNOTATOR = re.compile(rf"((?:{_VOTE}(?:by|of|from)?)?{_VOTER}|votes?(?:by|of))(.+)|({_VOTE})(\d+|[a-z])")
PLURAL = ("labels", "tags", "classes", "categories", "targets", "findinglabels")  # of columns that may hold several


def spelled(name: str) -> str:
    """A name of a column as names are compared."""
    return _ASIDE.sub("", _ASKED.sub("", name, count=1)).casefold()


def called(role: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Columns with a usual name of the role, and those with another."""
    usual = [name for name in names if spelled(name) in USUAL[role]]
    others = [name for name in names if spelled(name) in OTHERS[role]]
    if role == "label" and not usual and not others:
        others = [name for name in names if spelled(name) in RARE]
    return usual, others


def is_geometry(name: str) -> bool:
    """Whether a list column of this name holds boxes, points or sizes, no vector to look at."""
    return spelled(name) in GEOMETRY

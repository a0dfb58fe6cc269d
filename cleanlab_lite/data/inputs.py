"""From a manifest to arrays: files through the decode-once cache, vectors as they are. Failures are rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from cleanlab_lite.addresses import REACHED
from cleanlab_lite.data.cache import Store, default_cache_dir, load
from cleanlab_lite.data.content import content_of, find_duplicates, vector_content
from cleanlab_lite.data.formats import Decoder, ImageFormat, choose_depth
from cleanlab_lite.data.kinds import CODE as UNSUPPORTED
from cleanlab_lite.data.media import read_bytes
from cleanlab_lite.data.quality import picture_notes
from cleanlab_lite.data.sound import SoundFormat
from cleanlab_lite.errors import ConfigError, DecodeError
from cleanlab_lite.files import is_remote
from cleanlab_lite.manifest.manifest import Encoded, Manifest
from cleanlab_lite.matrices import finite_rows, per_row
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.text import counted

CAUSES = {  # code of a row that cannot be read -> how it is counted
    "file_missing": "missing",
    "file_empty": "empty",
    "truncated": "truncated",
    "decode_failed": "broken, or no picture or sound",
    "too_large": "too large",
    "too_slow": "too slow to decode",
    "is_directory": "folders, not files",
    "not_readable": "not readable from here",
    "not_finite": "with NaN or infinity",
    "out_of_scale": "out of all scale",
    "bad_segment": "that name no part of their file",
}
HOLLOW = ("silent", "blank")  # notes on files that hold nothing
MOST_CAUSES = 6  # in one sentence
BEYOND = 1_000_000  # times the median of the largest numbers of vectors
HEARD = 1000  # files between two events of progress


@dataclass(frozen=True)
class Inputs:
    """What the proxies see, one row per manifest row; of sounds, patches."""

    array: np.ndarray  # (n, 3, s, s) uint8, (n, d) float32 or float16, or (p, 1, s, s) uint8 patches of n clips
    codes: np.ndarray  # (n,) str, reason code of an unreadable row, "" where it is readable
    errors: np.ndarray  # (n,) str, the same in words
    duplicate_of: np.ndarray  # (n,) int64, first row with the same content, -1 where there is none before it
    decoded: int  # files decoded now rather than found in the cache
    content: np.ndarray  # (n,) str, `content_of` the row, "" where unreadable
    offsets: np.ndarray | None = None  # (n + 1,) int64: clip i has array[offsets[i]:offsets[i + 1]]; None: no clips
    notes: dict[str, np.ndarray] = field(default_factory=dict)  # reason code -> (n,) bool, of readable rows
    form: str = ""  # what became of the files, as the cache calls it: rows of one content are equal in one form only

    @property
    def readable(self) -> np.ndarray:
        """(n,) bool"""
        return self.codes == ""

    @property
    def empty(self) -> np.ndarray:
        """(n,) bool: rows whose file can be read, and holds nothing that a class could be told by."""
        return np.any([self.notes[code] for code in HOLLOW if code in self.notes], axis=0) & self.readable

    def order(self, labels: np.ndarray) -> np.ndarray:
        """(n,) int64: all rows by content, those of one content by their labels (n,); no order of a manifest tells."""
        return np.lexsort((labels, self.content))

    def select(self, rows: np.ndarray) -> Inputs:
        """The part of these rows (r,). What a duplicate is a duplicate of may be outside, so none is one."""
        array, offsets = self.array, None
        if self.offsets is None:
            array = array[rows]
        else:
            array = np.concatenate([array[self.offsets[row] : self.offsets[row + 1]] for row in rows])
            offsets = np.cumsum([0, *np.diff(self.offsets)[rows]])
        notes = {code: holds[rows] for code, holds in self.notes.items()}
        unique = np.full(len(rows), -1)
        parts = (self.codes[rows], self.errors[rows], unique, 0, self.content[rows])
        return Inputs(array, *parts, offsets, notes, self.form)


def load_inputs(
    manifest: Manifest,
    image_size: int,
    sound: SoundFormat | None = None,
    *,
    workers: int = 0,
    on_progress: OnProgress = ignore,
) -> Inputs:
    """`sound` is needed for sounds, `image_size` for pictures. Raises ConfigError when no row is readable."""
    require_looks(manifest)
    if manifest.modality == "vector":
        assert manifest.features is not None
        if manifest.encoded is not None:
            return _of_files(manifest.features, manifest.encoded)
        finite = finite_rows(manifest.features)
        sane = finite & ~_beyond(manifest.features, finite)
        content = vector_content(manifest.features)
        array = manifest.features
        codes, errors = np.zeros(len(finite), dtype="U1"), np.zeros(len(finite), dtype="U1")
        if not sane.all():
            array = np.array(array)
            array[~sane] = 0
            codes = np.select([sane, finite], ["", "out_of_scale"], "not_finite")
            beyond = f"the vector is more than {BEYOND:,} times as large as most others"
            errors = np.select([sane, finite], ["", beyond], "the vector holds NaN or infinity")
        return Inputs(array, codes, errors, find_duplicates(content), decoded=0, content=content)
    assert manifest.uris is not None
    form = form_of(manifest, image_size, sound)
    store = load(
        manifest.uris,
        form,
        segments=manifest.segments,
        cache_dir=default_cache_dir(),
        workers=workers,
        on_progress=on_progress,
    )
    if not (store.codes == "").any():
        raise ConfigError(
            f"none of {counted(len(manifest), 'file')} can be read ({causes(store.codes, store.errors)}); "
            f"the first, {str(manifest.uris[0])!r}: {store.errors[0]}",
            hint=_way_out(manifest, set(store.codes.tolist())),
        )
    inputs = inputs_of(store, form)
    if isinstance(form, ImageFormat):
        inputs = replace(inputs, notes=inputs.notes | picture_notes(store.pixels, store.sizes, inputs.readable))
    return inputs


def require_looks(manifest: Manifest) -> None:
    """Raise ConfigError where rows have neither files nor vectors."""
    if manifest.is_bare:
        raise ConfigError(
            "the rows have neither files nor vectors, and nothing that judges them",
            hint="give --pred-probs or --history, of your own training, or --features FILE",
        )


def _beyond(features: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """(n,) bool: vectors so large that beside them all others are one point, and nothing is learned of these."""
    largest = per_row(lambda block: np.abs(block).max(axis=1).astype(np.float64), features)
    usual = largest[finite & (largest > 0)]
    return largest > BEYOND * np.median(usual) if len(usual) else np.zeros(len(features), dtype=bool)


def form_of(manifest: Manifest, image_size: int, sound: SoundFormat | None) -> Decoder:
    """What the files of a manifest become."""
    assert manifest.uris is not None
    return sound or ImageFormat(image_size, choose_depth(manifest.uris))


def inputs_of(store: Store, form: Decoder) -> Inputs:
    """Files that are read, as rows."""
    return Inputs(
        store.pixels,
        store.codes,
        store.errors,
        find_duplicates(store.content),
        store.decoded,
        store.content,
        offsets=store.offsets if isinstance(form, SoundFormat) else None,
        notes=_by_code(store.notes),
        form=form.folder,
    )


def _of_files(vectors: np.ndarray, encoded: Encoded) -> Inputs:
    """Vectors (n, d) that an encoder has made of files, with what was found out about these."""
    unreadable = encoded.codes != ""
    array = np.where(unreadable[:, None], 0, vectors) if unreadable.any() else vectors
    copies = find_duplicates(encoded.content)
    return Inputs(array, encoded.codes, encoded.errors, copies, 0, encoded.content, notes=_by_code(encoded.notes))


def _way_out(manifest: Manifest, codes: set[str]) -> str:
    """What to do where no file can be read: of the manifest at hand."""
    if codes == {UNSUPPORTED}:
        return "convert the files, or install what reads them"
    if any(map(is_remote, manifest.uris[:1].tolist() if manifest.uris is not None else ())):
        return REACHED
    if manifest.source.format == "folder":
        return f"are the files below {manifest.source.path!r} pictures or sounds, and written completely?"
    if codes <= {"file_missing", "is_directory"}:
        return "--path-root DIR names the folder of the files, --path-column NAME the column of their paths"
    return f"is {manifest.source.path_column!r} the column of the paths (--path-column)? Are the files complete?"


def causes(codes: np.ndarray, errors: np.ndarray) -> str:
    """Why rows cannot be read, counted: "31 HEIC: pip install ...; 4 truncated". (n,) as in `Inputs`."""
    unreadable = np.flatnonzero(codes != "")
    found = Counter(
        str(errors[row]) if codes[row] == UNSUPPORTED else CAUSES.get(str(codes[row]), str(codes[row]))
        for row in unreadable
    )
    shown = [f"{count:,} {cause}" for cause, count in found.most_common(MOST_CAUSES)]
    rest = found.total() - sum(count for _, count in found.most_common(MOST_CAUSES))
    return "; ".join([*shown, f"{rest:,} for other reasons"] if rest else shown)


def load_contents(manifest: Manifest, *, on_progress: OnProgress = ignore) -> Inputs:
    """Inputs for an audit that shows nothing to a proxy: local files are hashed to find copies, and not decoded.

    A file that cannot be read has no content; its row is readable all the same, for the evidence is there already.
    Vectors are loaded as ever.
    """
    n = len(manifest)
    if manifest.is_bare:
        return _unseen(_row_content(manifest))
    if manifest.modality == "vector":
        return load_inputs(manifest, 0)
    assert manifest.uris is not None
    content = np.zeros(n, dtype="U64")
    files: dict[str, str] = {}  # location -> sha256, "" where unreadable
    for row, uri in enumerate(manifest.uris.tolist()):
        if uri not in files:
            try:
                files[uri] = "" if is_remote(uri) else hashlib.sha256(read_bytes(uri)).hexdigest()
            except DecodeError:
                files[uri] = ""
        content[row] = content_of(files[uri], manifest.segment(row))
        if row % HEARD == 0 or row == n - 1:
            on_progress(Progress("decode", row + 1, n, "files"))
    return _unseen(content)


def _unseen(content: np.ndarray) -> Inputs:
    """Rows of which only the content (n,) is known."""
    nothing = np.zeros(len(content), dtype="U1")
    array = np.zeros((len(content), 0), np.float32)
    return Inputs(array, nothing, nothing, find_duplicates(content), decoded=0, content=content)


def _row_content(manifest: Manifest) -> np.ndarray:
    """(n,) str, sha256 of the columns that say neither label, id nor split, so that texts that come twice are copies;
    of the id where there are none.
    """
    source = manifest.source
    said = {*source.label_columns, *source.vote_columns, source.label_column, source.id_column, source.split_column}
    rest = manifest.table.select([name for name in manifest.table.column_names if name not in said])
    rows = [repr(list(row.values())) for row in rest.to_pylist()] if rest.num_columns else manifest.ids.tolist()
    return np.array([hashlib.sha256(row.encode(errors="surrogatepass")).hexdigest() for row in rows], dtype="U64")


def _by_code(notes: np.ndarray) -> dict[str, np.ndarray]:
    """Code -> (n,) bool, of codes (n,) str with commas."""
    rows = [set(row.split(",")) - {""} for row in notes]
    return {code: np.array([code in row for row in rows]) for code in sorted(set().union(*rows))}

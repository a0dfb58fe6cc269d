"""Modality by content: the first bytes of the files decide, their names only where no file can be opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from cleanlab_lite.addresses import is_elsewhere
from cleanlab_lite.archives import member, read_member
from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import is_remote, open_regular
from cleanlab_lite.manifest.readers.base import ending
from cleanlab_lite.manifest.sniff import HEAD, IMAGE_ENDINGS, SOUND_ENDINGS, Media, sniff
from cleanlab_lite.text import counted

FILES = 20  # opened at most
TRIES = 500  # rows looked at for files that exist


def modality(path: str, uris: Sequence[str]) -> tuple[Media, str]:
    """Kind of the files at `uris`, and one sentence on how it was found.

    Raises ManifestError naming `path` when neither content nor endings decide.
    """
    if not any(uris):
        raise ManifestError(f"{path!r}: the path column is empty in all {len(uris)} rows")
    spread = uris[:: max(1, len(uris) // TRIES)]
    kinds: Counter[Media | None] = Counter()
    for uri in spread:
        if kinds.total() == FILES:
            break
        if uri and (head := _head(uri)):
            kinds[sniff(head)] += 1
    if kinds:
        return _decide(path, kinds, f"content of {counted(kinds.total(), 'file')}")
    endings = Counter(ending(uri) for uri in spread if uri)
    for name, count in endings.items():
        kinds["image" if name in IMAGE_ENDINGS else "sound" if name in SOUND_ENDINGS else None] += count
    named = [uri for uri in spread if uri]
    why = "remote files are not opened for that" if all(map(is_elsewhere, named)) else "no file could be opened"
    return _decide(path, kinds, f"file endings ({', '.join(sorted(endings)) or 'none'}), as {why}")


def _head(uri: str) -> bytes:
    """The first bytes of a local file, also of one in an archive; nothing where there is none, which is an unreadable
    row later on, and of a remote one."""
    with suppress(Exception):  # zipfile and tarfile raise many
        if place := member(uri):
            return read_member(place, HEAD)
        if not is_remote(uri):
            with open_regular(uri, block=HEAD) as file:
                return file.read(HEAD)
    return b""


def _decide(path: str, kinds: Counter[Media | None], how: str) -> tuple[Media, str]:
    images, sounds = kinds["image"], kinds["sound"]
    if not images and not sounds:
        raise ManifestError(
            f"{path!r}: neither images nor sounds, by {how}",
            hint="read are JPEG, PNG, WebP, AVIF, BMP, TIFF, GIF, JPEG 2000, WAV, FLAC, OGG, MP3, AIFF, AU, CAF, W64, "
            "HEIC with nlclean[heif], or vectors with --features (a file of all, numpy.stack makes one of many .npy); "
            "are the paths relative to the manifest?",
        )
    kind: Media = "image" if images >= sounds else "sound"
    if images and sounds:
        other = "sounds" if kind == "image" else "pictures"
        how += f"; {min(images, sounds)} of them are {other}, which are unreadable rows"
    return kind, f"modality: {kind} (by {how})"

"""Kinds of files that are told by their first bytes and not decoded here, with what to do about each."""

from __future__ import annotations

from importlib.util import find_spec

from cleanlab_lite.errors import DecodeError
from cleanlab_lite.manifest.sniff import is_aac_frame

HEAD = 256  # bytes looked at
CODE = "unsupported_format"
HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
AVIF = {b"avif", b"avis"}
HEIF_EXTRA = "pip install 'nlclean[heif]'"
FLAC = "ffmpeg -i IN OUT.flac"

_PICTURES = {
    b"%PDF": "PDF: export its pages as pictures",
    b"8BPS": "Photoshop: export it as PNG",
    b"gimp xcf": "GIMP: export it as PNG",
    b"\0\0\0\x0cJXL ": "JPEG XL: convert it to PNG, e.g. `djxl IN OUT.png`",
    b"\xff\x0a": "JPEG XL: convert it to PNG, e.g. `djxl IN OUT.png`",
    b"SIMPLE  =": "FITS: convert it to TIFF or .npy",
}
_SOUNDS = {
    b"#!AMR": f"AMR: `{FLAC}`",
    b"\x30\x26\xb2\x75": f"WMA: `{FLAC}`",
    b"\x1aE\xdf\xa3": f"WebM or Matroska: `{FLAC}`",
    b"MAC ": f"Monkey's Audio: `{FLAC}`",
    b"wvpk": f"WavPack: `{FLAC}`",
    b"MThd": "MIDI: notes, not a sound; render it first",
}


def brand(head: bytes) -> bytes:
    """Of a file in boxes, as HEIC, AVIF, MP4 are; b"" of others."""
    return head[8:12] if head[4:8] == b"ftyp" else b""


def is_svg(head: bytes) -> bool:
    """Whether it begins as a drawing in XML does."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!doctype svg", b"<!--")) and b"<svg" in text)


def refuse_picture(head: bytes) -> None:
    """Raise DecodeError for kinds of pictures that Pillow does not read here."""
    if brand(head) in HEIC and find_spec("pillow_heif") is None:
        raise DecodeError(f"HEIC: {HEIF_EXTRA}", code=CODE)
    if brand(head) in AVIF and not reads_avif() and find_spec("pillow_heif") is None:
        raise DecodeError(f"AVIF: {HEIF_EXTRA}", code=CODE)
    if is_svg(head):
        raise DecodeError("SVG: a drawing without pixels, convert it to PNG, e.g. `rsvg-convert IN -o OUT`", code=CODE)
    for magic, what in _PICTURES.items():
        if head.startswith(magic):
            raise DecodeError(what, code=CODE)


def reads_avif() -> bool:
    """Whether Pillow was built with it."""
    from PIL import features

    return bool(features.check("avif"))


def refuse_sound(head: bytes) -> None:
    """Raise DecodeError for kinds of sounds that libsndfile does not read."""
    if brand(head):
        raise DecodeError(f"M4A or MP4 (AAC): `{FLAC}`", code=CODE)
    if is_aac_frame(head):
        raise DecodeError(f"AAC: `{FLAC}`", code=CODE)
    for magic, what in _SOUNDS.items():
        if head.startswith(magic):
            raise DecodeError(what, code=CODE)

"""Picture or sound, by the first bytes of a file; and what such files are called."""

from __future__ import annotations

from typing import Literal

Media = Literal["image", "sound"]

HEAD = 256  # bytes that are enough

IMAGE_MAGIC = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",  # TIFF, and BigTIFF with "+"
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",
)
SOUND_MAGIC = (b"fLaC", b"OggS", b"ID3", b".snd", b"caff", b"riff\x2e\x91\xcf\x11", b"#!AMR", b"\x30\x26\xb2\x75")
# Kinds that need another program, so that the rows can say so
BRANDS: dict[bytes, Media] = dict.fromkeys((b"heic", b"heix", b"mif1", b"msf1", b"hevc", b"avif", b"avis"), "image")
BRANDS |= dict.fromkeys((b"M4A ", b"M4B "), "sound")
BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}

IMAGE_ENDINGS = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jp2", ".avif", ".heic"}
IMAGE_ENDINGS |= {".heif"}
SOUND_ENDINGS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"}
SOUND_ENDINGS |= {".m4a", ".aac"}
MEDIA_ENDINGS = IMAGE_ENDINGS | SOUND_ENDINGS | {".svg"}  # of files that are looked for by their names


def sniff(first_bytes: bytes) -> Media | None:
    """Kind of a media file by its first bytes (`HEAD` are enough); None when they are neither."""
    if first_bytes.startswith(IMAGE_MAGIC):
        return "image"
    if first_bytes.startswith(SOUND_MAGIC):
        return "sound"
    if first_bytes[4:8] == b"ftyp":
        return BRANDS.get(first_bytes[8:12])
    if first_bytes[:4] == b"FORM":
        return "sound" if first_bytes[8:12] in (b"AIFF", b"AIFC") else None
    if first_bytes[:4] in (b"RIFF", b"RF64"):
        kinds: dict[bytes, Media] = {b"WEBP": "image", b"WAVE": "sound"}
        return kinds.get(first_bytes[8:12])
    if first_bytes[:2] == b"BM" and int.from_bytes(first_bytes[14:18], "little") in BMP_HEADER_SIZES:
        return "image"
    if b"<svg" in first_bytes and first_bytes.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "image"  # no pixels, as the rows say
    return "sound" if _is_mp3_frame(first_bytes) or is_aac_frame(first_bytes) else None


def _is_mp3_frame(head: bytes) -> bool:
    """Frame header of MPEG audio layer III: 11 sync bits, version, layer, bit rate and sample rate not reserved."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer == 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3


def is_aac_frame(head: bytes) -> bool:
    """AAC without a container: 12 sync bits, layer 0, a sample rate that exists."""
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 and head[2] >> 2 & 15 < 13

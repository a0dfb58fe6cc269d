"""What the page of `nlclean review --web` asks for: itself, pictures and sounds of rows, and the journal. No HTTP."""

from __future__ import annotations

import io
import json
import threading
import wave
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cleanlab_lite.data import media
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.evidence.decisions import Decision, Follower, encoded_line, now
from cleanlab_lite.files import json_value
from cleanlab_lite.progress import OnProgress, ignore
from cleanlab_lite.report.page.html import build_page
from cleanlab_lite.report.page.previews import Preview
from cleanlab_lite.run import RunFolder

from .previews import decode_sound, paint_patches, paint_sound

SMALL, FULL = 320, 4096  # pixels, longest side of a preview and of a picture in full
SPECTROGRAM = {"preview": (320, 200), "picture": (1280, 640)}  # width and height in pixels
LOSSLESS = 1 << 20  # pixels up to which a picture in full is sent as PNG; a larger one as JPEG of
QUALITY = 92  # as are previews of what is larger, which would take a sixth of their time to write as PNG
AT_ONCE = 2  # files decoded at a time: a large picture takes a gigabyte
LONGEST = 500  # characters of a name or label that comes from the page
MOST = 10_000  # decisions in one request


@dataclass(frozen=True)
class Media:
    """Something to see or to hear."""

    mime: str
    content: bytes


class SharedReview:
    """A run under review by people in browsers, safe for several threads.

    `login` is who decides where the page does not say. Raises ReportError when a part of the run cannot be read.
    """

    def __init__(self, run: RunFolder, login: str, *, on_progress: OnProgress = ignore) -> None:
        table = run.report.table
        self.login = login
        self._log, self._journal, self._encoded = run.journal, Follower(run.journal), list[bytes]()
        self._writing, self._decoding = threading.Lock(), threading.Semaphore(AT_ONCE)
        self._given: dict[str, str | None] = dict(
            zip(table["id"].to_pylist(), table["given_label"].to_pylist(), strict=True)
        )
        self._manifest = run.manifest if run.has_manifest and run.manifest.uris is not None else None
        self._decoded = {} if self._manifest is None else run.decoded
        self._sound = self._manifest is not None and "sound" in (self._manifest.modality, self._manifest.source.media)
        self._unreadable = np.asarray(table["issue"].combine_chunks().cast("string")) == "unreadable"
        self.page = build_page(run, served=self._look, on_progress=on_progress)
        self.decided: set[str] = set()  # reviewers who have decided something here
        self.since(0)

    def _look(self, row: int, _side: int) -> Preview:
        """Where the page finds the picture and the sound of a row."""
        if self._manifest is None or self._manifest.uris is None or not self._manifest.uris[row]:
            return Preview()
        if self._unreadable[row]:
            return Preview()
        return Preview(f"preview/{row}", f"sound/{row}" if self._sound and row not in self._decoded else "")

    # the journal

    def since(self, after: int) -> bytes:
        """The decisions behind the first `after`, as JSON. `from` is less than that where the journal was replaced."""
        with self._writing:
            return self._since(after)

    def decide(self, body: bytes, after: int) -> bytes:
        """Write what a page has decided, a JSON list, to disk; then as `since`.

        Raises ValueError, and writes nothing, where one of them is no decision about a row of this run.
        """
        records = json_value(body)
        if not isinstance(records, list) or len(records) > MOST:
            raise ValueError(f"expected a list of at most {MOST:,} decisions")
        decisions = [self._decision(record) for record in records]
        with self._writing:
            self._log.append(*decisions)
            self.decided |= {decision.reviewer for decision in decisions}
            return self._since(after)

    def close(self) -> None:
        """Wait until what is being written is on disk; nothing is written after that."""
        self._writing.acquire()

    def _since(self, after: int) -> bytes:
        self._journal.refresh()
        known = self._journal.decisions
        if len(self._encoded) > len(known):
            self._encoded.clear()
        self._encoded += [encoded_line(decision).rstrip() for decision in known[len(self._encoded) :]]
        start = after if after <= len(known) else 0
        head = json.dumps({"login": self.login, "from": start})[:-1].encode()
        return head + b', "decisions": [' + b",".join(self._encoded[start:]) + b"]}"

    def _decision(self, record: Any) -> Decision:
        if not isinstance(record, dict) or not {*record} <= {"id", "action", "label", "reviewer"}:
            raise ValueError("a decision has an id, an action, a label and a reviewer")
        id = record.get("id")
        if not isinstance(id, str) or id not in self._given:
            raise ValueError("there is no such row")
        decision = Decision(
            id, record.get("action", ""), self._given[id], record.get("label"), record.get("reviewer", "")
        )
        if max(len(decision.label or ""), len(decision.reviewer)) > LONGEST:
            raise ValueError(f"a label or a name has more than {LONGEST} characters")
        if decision.label is not None and not decision.label.strip():
            raise ValueError("the label is empty")
        decision.reviewer.encode()  # ValueError where it holds half a character
        return replace(decision, reviewer=decision.reviewer.strip() or self.login, time=now())

    # pictures and sounds

    def media(self, kind: str, row: int) -> Media:
        """`preview`, `picture` or `sound` of a row of the report: decoded, and encoded again, never the file itself.

        Raises DecodeError where there is none, or the file cannot be read.
        """
        if self._manifest is None or self._manifest.uris is None or not 0 <= row < len(self._manifest.uris):
            raise DecodeError("there is no such row")
        if kind == "sound" and (not self._sound or row in self._decoded):
            raise DecodeError("there is no sound to play")
        if row in self._decoded:
            decoded = self._decoded[row]
            return _encoded(paint_patches(decoded, *SPECTROGRAM[kind]) if self._sound else decoded.transpose(1, 2, 0))
        with self._decoding:
            data = media.read_bytes(str(self._manifest.uris[row]))
            if self._sound:
                sound = decode_sound(data, self._manifest.segment(row))
                if kind == "sound":
                    return Media("audio/wav", _wav(sound.wave, sound.rate))
                return _encoded(paint_sound(sound, *SPECTROGRAM[kind]))
            if kind == "preview":
                pixels = np.asarray(media.thumbnail(data, SMALL, quick=True))
                return _encoded(pixels, lossless=max(pixels.shape[:2]) < SMALL)  # all of its pixels
            return _encoded(np.asarray(media.thumbnail(data, FULL)))


def _encoded(pixels: np.ndarray, *, lossless: bool = True) -> Media:
    from PIL import Image

    buffer = io.BytesIO()
    if lossless and pixels.shape[0] * pixels.shape[1] <= LOSSLESS:
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        return Media("image/png", buffer.getvalue())
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return Media("image/jpeg", buffer.getvalue())


def _wav(samples: np.ndarray, rate: int) -> bytes:
    """A WAVE file of 16-bit mono samples."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(32767 * np.clip(samples, -1, 1)).astype("<i2").tobytes())
    return buffer.getvalue()

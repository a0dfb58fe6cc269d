"""Plays a sound with the program that the system has for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .previews import Sound

PLAYERS: dict[str, tuple[str, ...]] = {  # program: arguments before the file
    "afplay": (),
    "paplay": (),
    "aplay": ("-q",),
    "ffplay": ("-nodisp", "-autoexit", "-loglevel", "quiet"),
}


class Player:
    """One sound at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._file: Path | None = None

    def play(self, sound: Sound) -> str:
        """Start to play; the name of the program, "" where the system has none."""
        import soundfile

        self.stop()
        found = [(path, options) for name, options in PLAYERS.items() if (path := shutil.which(name))]
        if not found:
            return ""
        handle, name = tempfile.mkstemp(prefix="nlclean-", suffix=".wav")
        self._file = Path(name)
        with os.fdopen(handle, "wb") as file:
            soundfile.write(file, sound.wave, sound.rate, format="WAV", subtype="PCM_16")
        path, options = found[0]
        self._process = subprocess.Popen(
            [path, *options, name], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return os.path.basename(path)

    @property
    def playing(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Fall silent and leave no file behind."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            self._file = None

"""Formats that misbehave, for the tests of decoding. In a module of its own, which loads no torch."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from cleanlab_lite.data.formats import ImageFormat
from cleanlab_lite.manifest.manifest import WHOLE


@dataclass(frozen=True)
class Hanging(ImageFormat):
    """Pictures of 11 bytes hang, and hear nothing where `deaf`; those of 7 bytes end the process."""

    deaf: bool = False

    def decode(self, data, segment=WHOLE):
        if len(data) == 11:
            if self.deaf:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            time.sleep(600)
        if len(data) == 7:
            os._exit(9)
        return super().decode(data, segment)

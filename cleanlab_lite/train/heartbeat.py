"""`Heartbeat`: what ranks say of themselves in the store that they share; one that falls silent is lost.

A process that dies closes its connections, which the others notice at once. A machine without power or network closes
nothing, nor does a process that is stopped. So each rank says again and again that it is there, from a thread, which
goes on while the main one computes. Times of two machines are never compared: a rank counts how often it has looked for
a new word of another in vain, and one that was stopped itself has not looked.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch.distributed as dist

from cleanlab_lite.errors import RankLost
from cleanlab_lite.progress import Progress

BEAT = 1.0  # seconds between two words of a rank, and between two looks
SILENCE = 60.0  # seconds without a word after which a rank is lost; TCP needs half of them after a network was away
AGAIN = "the same command goes on from here, also with fewer ranks"


@dataclass(frozen=True)
class Word:
    """What a rank says of itself."""

    machine: str
    number: int  # no two that follow each other have the same
    errands: int  # that it has begun
    progress: Progress | None  # of the last


class Heartbeat:
    """That of one rank, until it is closed; and what it hears of the `others`.

    The store may not answer any more: one thread alone waits for it, and another counts the silence.
    """

    def __init__(self, store: dist.Store, rank: int, others: Iterable[int]) -> None:
        self.store, self.rank = store, rank
        self.machine = socket.gethostname() or "a machine without a name"
        self._number = self._errands = 0
        self._progress: Progress | None = None
        self._say()
        self._heard = {other: self._word(other) for other in others}  # waits until they are there
        self._asked = dict.fromkeys(self._heard, 0)
        self._silent = dict.fromkeys(self._heard, 0)  # looks since the last word
        self._over = threading.Event()
        self._talking = threading.Thread(target=self._talk, daemon=True)
        self._talking.start()
        threading.Thread(target=self._count, daemon=True).start()

    def close(self) -> None:
        """Fall silent."""
        self._over.set()
        self._talking.join(2 * BEAT)  # whose store goes with what it is made of

    def begin(self) -> None:
        """This rank begins another errand."""
        self._progress = None
        self._errands += 1

    def tell(self, progress: Progress) -> None:
        """How far this rank is with its errand."""
        self._progress = progress

    def ask(self, other: int) -> None:
        """Another rank is given another errand."""
        self._asked[other] += 1

    def told(self, other: int) -> Progress | None:
        """How far another is with the last errand that it was given; None where it has not begun."""
        word = self._heard[other]
        return word.progress if word.errands == self._asked[other] else None

    def lost(self, other: int) -> RankLost | None:
        """What is to be raised where another has been silent for too long."""
        seconds = self._silent[other] * BEAT
        if seconds < SILENCE:
            return None
        return RankLost(
            f"rank {other}, on {self.machine_of(other)}, has not been heard of for {seconds:.0f} seconds",
            hint=f"it, or its machine or that of MASTER_ADDR, is stopped, off or cut off from the network; {AGAIN}",
        )

    def machine_of(self, other: int) -> str:
        return self._heard[other].machine

    def _say(self) -> None:
        self._number += 1
        word = Word(self.machine, self._number, self._errands, self._progress)
        self.store.set(f"word-{self.rank}", json.dumps(asdict(word)))

    def _word(self, other: int) -> Word:
        fields: dict[str, Any] = json.loads(self.store.get(f"word-{other}"))
        progress = fields.pop("progress")
        return Word(**fields, progress=progress and Progress(**progress))

    def _talk(self) -> None:
        with contextlib.suppress(RuntimeError):  # there is no store any more: all are silent from now on
            while not self._over.wait(BEAT):
                self._say()
                for other, before in self._heard.items():
                    word = self._word(other)
                    if word.number != before.number:
                        self._heard[other], self._silent[other] = word, 0

    def _count(self) -> None:
        while not self._over.wait(BEAT):
            for other in self._silent:
                self._silent[other] += 1

"""A rank that falls silent is lost, and so is one that cannot be heard; one that says nothing new is not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch.distributed as dist

from cleanlab_lite.progress import Progress
from cleanlab_lite.train.heartbeat import Heartbeat

HALF = Progress("train", 1, 2, "epochs")
WHOLE = Progress("train", 2, 2, "epochs")


class Network:
    """One rank's way to the store that all share; it may hang, as one does of which a machine has lost power."""

    def __init__(self, store: dist.Store) -> None:
        self.store, self.up = store, threading.Event()
        self.up.set()

    def set(self, key: str, value: str) -> None:
        self.up.wait()
        self.store.set(key, value)

    def get(self, key: str) -> bytes:
        self.up.wait()
        return self.store.get(key)


class Pair:
    """Ranks 0 and 1, each with its network."""

    def __init__(self) -> None:
        store = dist.HashStore()
        self.networks = Network(store), Network(store)
        self.ranks: list[Heartbeat] = []
        second = threading.Thread(target=lambda: self.ranks.append(Heartbeat(self.networks[1], 1, [0])))
        second.start()
        first = Heartbeat(self.networks[0], 0, [1])  # waits for the other
        second.join()
        self.ranks.insert(0, first)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr("cleanlab_lite.train.heartbeat.BEAT", 0.02)
    monkeypatch.setattr("cleanlab_lite.train.heartbeat.SILENCE", 0.5)
    found = Pair()
    yield found
    for network in found.networks:
        network.up.set()
    for rank in found.ranks:
        rank.close()


def comes(true: Callable[[], object]) -> bool:
    """Whether it becomes true; it takes a moment."""
    end = time.monotonic() + 30
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.01)
    return bool(found)


def test_progress_is_told_of_the_errand_that_was_asked_for_last(pair: Pair) -> None:
    first, second = pair.ranks
    first.ask(1)
    assert first.told(1) is None
    second.begin()
    second.tell(HALF)
    assert comes(lambda: first.told(1) == HALF)
    first.ask(1)
    assert first.told(1) is None  # not that of the errand before
    second.begin()
    second.tell(WHOLE)
    assert comes(lambda: first.told(1) == WHOLE)


def test_who_says_nothing_new_is_not_lost(pair: Pair) -> None:
    time.sleep(1.0)
    assert not pair.ranks[0].lost(1) and not pair.ranks[1].lost(0)


def test_who_is_silent_is_lost_and_named(pair: Pair) -> None:
    pair.ranks[1].close()
    assert comes(lambda: pair.ranks[0].lost(1))
    error = pair.ranks[0].lost(1)
    assert error is not None
    assert f"rank 1, on {socket.gethostname()}, has not been heard of for" in error.message
    assert "the same command goes on" in error.hint


def test_where_the_network_hangs_both_are_lost_to_each_other_until_it_is_back(pair: Pair) -> None:
    first, second = pair.ranks
    pair.networks[1].up.clear()
    second.tell(HALF)  # does not wait for the network
    assert comes(lambda: first.lost(1)) and comes(lambda: second.lost(0))
    pair.networks[1].up.set()
    assert comes(lambda: not first.lost(1)) and comes(lambda: not second.lost(0))

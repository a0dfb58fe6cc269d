"""`Ranks`: processes that share the work of one audit, on this machine or on several.

Rank 0 is the audit: it reads, judges, writes, and alone speaks. The others know nothing but what it asks of them, an
errand each at a time, and leave what they make in folders that all see, the run folder above all. So a run over several
ranks takes the same steps as a run of one. What passes between them passes through gloo; torchrun says only how they
find each other. There is no second attempt: when a rank is ended so is the run, and the same command goes on.
Errands are pickled, as torch.distributed does with objects: ranks run what rank 0 sends, so they must trust each other.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from cleanlab_lite.clock import Clock
from cleanlab_lite.data.cache import default_cache_dir
from cleanlab_lite.errors import ConfigError, RankLost, StoppedEarly
from cleanlab_lite.progress import Progress
from cleanlab_lite.train.crew import Listener, Work, answer_of
from cleanlab_lite.train.heartbeat import AGAIN, Heartbeat
from cleanlab_lite.workers import cores, start

MEETING = timedelta(minutes=5)  # that ranks wait for each other when they begin
LONGEST = timedelta(days=30)  # that one waits for another's errand: its death, or its silence, ends that sooner
LISTENS = 0.5  # seconds between two looks at how far the others are
SHARED = 10.0  # seconds until a file is seen on all machines that share a disk


class Link:
    """One rank's end of what passes between all of them: objects, and, by the heartbeat, how far each is.

    Rank 0 hears all others, and they hear rank 0.
    """

    def __init__(self, store: dist.Store, rank: int, size: int, options: Any) -> None:
        self.rank, self.size = rank, size
        self.group = dist.ProcessGroupGloo(store, rank, size, options)
        self.heartbeat = Heartbeat(store, rank, [0] if rank else range(1, size))

    def send(self, to: int, value: Any) -> None:
        """Raises RankLost when the other end is gone, or silent for too long."""
        self._wait(to, lambda: self._send(to, value))

    def receive(self, sender: int, listen: Callable[[], None] = lambda: None) -> Any:
        """As `send`; `listen` is called while it is waited for."""
        return self._wait(sender, lambda: self._receive(sender), listen)

    def _send(self, to: int, value: Any) -> None:
        data = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
        for tensor in (torch.tensor([len(data)]), data):
            self.group.send([tensor], to, 0).wait(LONGEST)

    def _receive(self, sender: int) -> Any:
        size = torch.zeros(1, dtype=torch.int64)
        self.group.recv([size], sender, 0).wait(LONGEST)
        data = torch.empty(int(size), dtype=torch.uint8)
        self.group.recv([data], sender, 0).wait(LONGEST)
        return pickle.loads(data.numpy().tobytes())

    def _wait(self, other: int, call: Callable[[], Any], listen: Callable[[], None] = lambda: None) -> Any:
        def meanwhile() -> None:
            if lost := self.heartbeat.lost(other):
                raise lost
            listen()

        try:
            return _patiently(call, meanwhile)
        except RuntimeError as error:
            raise _lost(other, self.heartbeat.machine_of(other)) from error


def _options(**where: str) -> Any:
    """`where` is the `hostname` or the `interface` at which this rank listens."""
    options = dist.ProcessGroupGloo._Options()
    options._timeout = MEETING
    options._devices = [dist.ProcessGroupGloo.create_device(**where)]
    return options


class Ranks:
    """All of them, as rank 0 sees them. In a `with` block, behind which the others have ended.

    `share_cache` is whether all see the cache of this one.
    """

    def __init__(self, link: Link, here: int, processes: Sequence[BaseProcess] = ()) -> None:
        self.link, self.size, self.here, self.processes = link, link.size, here, processes
        self._busy: set[int] = set()
        self.share_cache = False

    def __enter__(self) -> Ranks:
        self._threads = torch.get_num_threads()
        torch.set_num_threads(self.cores)
        self.share_cache = all(self._see(None, 0.0))
        return self

    def require(self, folder: Path) -> None:
        """Raise ConfigError where a rank does not see a folder as this one sees it."""
        for rank, sees in enumerate(self._see(folder, SHARED)):
            if not sees:
                machine = self.link.heartbeat.machine_of(rank)
                raise ConfigError(
                    f"rank {rank}, on {machine}, does not see the run folder {folder}: what it learns would be lost",
                    hint="--out must be on a disk that all machines share, under the same path",
                )

    def _see(self, folder: Path | None, seconds: float) -> list[bool]:
        """By rank whether it sees what is put into the folder, or into the cache. `seconds` are what a shared disk may
        take."""
        here = default_cache_dir() if folder is None else folder
        here.mkdir(parents=True, exist_ok=True)
        token = here / f".{os.getpid()}.ranks"
        token.touch()
        found: list[bool] = []
        try:
            self.do(_sees, [(folder, token.name, seconds)] * self.size, _Found(found), Clock())
        finally:
            token.unlink(missing_ok=True)
        return found

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._threads)
        for rank in set(range(1, self.size)) - self._busy:  # those that are busy see that we are gone
            with contextlib.suppress(RankLost):
                self.link.send(rank, None)
        self.link.heartbeat.close()

    @property
    def cores(self) -> int:
        """Of this machine, for each of its ranks."""
        return max(1, cores() // self.here)

    def crew(self, work: Work) -> RankCrew:
        """For jobs, in the place of worker processes."""
        return RankCrew(self, work)

    def do(self, work: Work, errands: Sequence[Any], listener: Listener, clock: Clock) -> None:
        """Do all of them, as many at a time as there are ranks; `work` is an importable function.

        Raises, when all that are under way have come to an end:
            RankLost: a rank was ended.
            StoppedEarly: the time of `clock` is up.
            Exception: what an errand has raised.
        """
        for start_ in range(0, len(errands), self.size):
            numbers = range(start_, min(start_ + self.size, len(errands)))
            _Round(self, work, errands, numbers, listener, clock).do()

    def ask(self, rank: int, question: tuple[Work, Any, float]) -> None:
        self.link.heartbeat.ask(rank)
        self._busy.add(rank)
        self.link.send(rank, question)

    def answer(self, rank: int, listen: Callable[[], None]) -> tuple[str, Any]:
        """What a rank answers; `listen` is called while it is waited for."""
        found: tuple[str, Any] = self.link.receive(rank, listen)
        self._busy.discard(rank)
        return found


def _lost(rank: int, machine: str) -> RankLost:
    return RankLost(
        f"rank {rank}, on {machine}, was ended, or its machine cannot be reached any more",
        hint=f"most often the memory was full; {AGAIN}",
    )


@dataclass(frozen=True)
class RankCrew:
    """Ranks that do one kind of work; where jobs are done side by side it stands for a `Crew`."""

    ranks: Ranks
    work: Work

    @property
    def size(self) -> int:
        return self.ranks.size

    def do(self, errands: Sequence[Any], listener: Listener, clock: Clock, *, workers: int) -> None:
        """As `Ranks.do`; `workers` are all of them."""
        self.ranks.do(self.work, errands, listener, clock)


class _Round:
    """An errand for each rank, that of rank 0 done by this process."""

    def __init__(
        self, ranks: Ranks, work: Work, errands: Sequence[Any], numbers: range, listener: Listener, clock: Clock
    ) -> None:
        self.ranks, self.work, self.errands, self.numbers = ranks, work, errands, numbers
        self.listener, self.clock = listener, clock
        self.error: Exception | None = None
        self.next = 0.0  # when to look how far the others are

    def do(self) -> None:
        for rank, number in enumerate(self.numbers):
            if rank:
                self.ranks.ask(rank, (self.work, self.errands[number], self.clock.remaining))
        self.hear(self.numbers[0], answer_of(self.errands[self.numbers[0]], self.work, _Own(self)))
        for rank, number in enumerate(self.numbers):
            if rank:
                self.hear(number, self.ranks.answer(rank, self.listen))
        if self.error is not None:
            raise self.error

    def hear(self, number: int, answer: tuple[str, Any]) -> None:
        kind, content = answer
        if kind == "done":
            self.clock.moved = True
            self.listener.done(number, content)
        elif self.error is None:
            self.error = content or self.clock.late("ranks have stopped")

    def heard(self, number: int, progress: Progress) -> None:
        """The listener may say that time is up; all end first."""
        try:
            self.listener.heard(number, progress)
        except StoppedEarly as error:
            self.error = self.error or error

    def listen(self) -> None:
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + LISTENS
        for rank, number in enumerate(self.numbers):
            if rank and (progress := self.ranks.link.heartbeat.told(rank)) is not None:
                self.heard(number, progress)


class _Own(Clock):
    """Of the errand that rank 0 does."""

    def __init__(self, round_: _Round) -> None:
        super().__init__(on_progress=self._heard)
        self.round = round_

    def _heard(self, progress: Progress) -> None:
        self.round.heard(self.round.numbers[0], progress)
        self.round.listen()

    def check(self, where: str) -> None:
        self.round.clock.moved |= self.moved
        self.round.clock.check(where)


@dataclass(frozen=True)
class _Found:
    """Gathers answers."""

    answers: list[bool]

    def heard(self, errand: int, progress: Progress) -> None:
        """Nobody waits long."""

    def done(self, errand: int, answer: bool) -> None:
        self.answers.append(answer)

    def lost(self, errand: int, exit_code: int | None) -> None:
        """Then the run is over."""


def _sees(place: tuple[Path | None, str, float], clock: Clock) -> bool:
    """Whether the folder, or the cache, of this rank has a file of this name, or gets it within seconds."""
    folder, name, seconds = place
    end = time.monotonic() + seconds
    while not ((folder or default_cache_dir()) / name).exists():
        if time.monotonic() >= end:
            return False
        time.sleep(LISTENS)
    return True


def _patiently(call: Callable[[], Any], meanwhile: Callable[[], None]) -> Any:
    """`call()`, which waits where Python hears no Ctrl-C: in a thread, so that it is heard."""
    found: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LISTENS / 10)
        meanwhile()
    if errors:
        raise errors[0]
    return found[0]


# --- How they find each other ----------------------------------------------------------------------------------------


def joined() -> Ranks | Link:
    """The ranks that torchrun has started; of any but rank 0 its link, to `serve`. Raises RankLost."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    _take_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, rank, size = next(iter(dist.rendezvous("env://")))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store outlives it
    try:
        link = Link(dist.PrefixStore(f"nlclean-{attempt}", store), rank, size, _options(**_listens_at()))
    except (RuntimeError, OSError) as error:
        raise RankLost(
            f"rank {rank} does not find the others: {error}",
            hint="GLOO_SOCKET_IFNAME names the network interface by which they reach this machine",
        ) from error
    return link if rank else Ranks(link, here)


def _listens_at() -> dict[str, str]:
    """The interface that the user names, or the address from which this machine reaches that of rank 0.

    What the name of this machine stands for is on many an address that others cannot reach, or nothing at all.
    """
    if interface := os.environ.get("GLOO_SOCKET_IFNAME", "").partition(",")[0]:
        return {"interface": interface}
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)  # sends nothing
        return {"hostname": probe.getsockname()[0]}


@contextlib.contextmanager
def spawned(count: int, device: str) -> Iterator[Ranks]:
    """So many ranks on this machine, of which this process is the first; each has a GPU, or is a process on the CPU.

    Raises ConfigError where there are not as many.
    """
    kind = torch.device(device)
    if kind.type == "cuda" and (kind.index is not None or count > torch.cuda.device_count()):
        raise ConfigError(
            f"--devices {count} needs as many GPUs, "
            + (f"--device names {device}" if kind.index is not None else f"there are {torch.cuda.device_count()}"),
            hint="leave one of the two out" if kind.index is not None else "--device cpu takes processes",
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "store"
        processes = [start(_begin, str(file), rank, count, daemon=False) for rank in range(1, count)]
        try:
            link = _patiently(lambda: _local(str(file), 0, count), lambda: _require_alive(processes))
            with Ranks(link, count, processes) as ranks:
                yield ranks
        finally:
            for process in processes:
                process.join(0.5)
                process.kill()
                process.join()


def _require_alive(processes: Sequence[BaseProcess]) -> None:
    for rank, process in enumerate(processes, 1):
        if process.exitcode:
            raise _lost(rank, "this machine")


def _local(file: str, rank: int, size: int) -> Link:
    return Link(dist.FileStore(file, size), rank, size, _options(hostname="127.0.0.1"))


def _begin(file: str, rank: int, size: int) -> None:
    """What a spawned rank does."""
    _take_device(rank)
    torch.set_num_threads(max(1, cores() // size))
    with contextlib.suppress(RankLost):  # rank 0 alone speaks
        serve(_local(file, rank, size))


def _take_device(number: int) -> None:
    """ "cuda" is this GPU from now on."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def serve(link: Link) -> None:
    """Do what rank 0 asks for, silently, until it asks for no more. Raises RankLost when it is gone."""
    warnings.simplefilter("ignore")
    while (question := link.receive(0)) is not None:
        work, errand, seconds = question
        link.heartbeat.begin()
        link.send(0, answer_of(errand, work, _Far(link.heartbeat, seconds)))
    link.heartbeat.close()


class _Far(Clock):
    """Of an errand that another rank does."""

    def __init__(self, heartbeat: Heartbeat, seconds: float) -> None:
        super().__init__(seconds, heartbeat.tell)
        self.heartbeat = heartbeat

    def check(self, where: str) -> None:
        if self.heartbeat.lost(0):  # nobody waits for the errand, but what is done of it can be saved
            raise StoppedEarly(f"rank 0 is lost ({where})")
        super().check(where)

"""Several processes share an audit: it finds what one finds, and when one of them is ended it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import crew_work
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, QUICK, descendants, findings, save_pictures, task, vector_parquet, write_csv
from cli_world import call

from cleanlab_lite.clock import Clock
from cleanlab_lite.errors import ConfigError, RankLost, StoppedEarly
from cleanlab_lite.progress import Progress
from cleanlab_lite.train.ranks import Ranks, joined, spawned

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills by signals")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
NLCLEAN = ("-m", "nlclean")
FLAGS = (*QUICK, "--image-size", "32", "--epochs", "2")


class Heard:
    def __init__(self) -> None:
        self.answers: dict[int, Any] = {}
        self.progress: list[tuple[int, Progress]] = []

    def heard(self, errand: int, progress: Progress) -> None:
        self.progress.append((errand, progress))

    def done(self, errand: int, answer: Any) -> None:
        self.answers[errand] = answer

    def lost(self, errand: int, exit_code: int | None) -> None: ...


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Two, for all tests that do not end them: starting one is what takes the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        with spawned(2, "cpu") as found:
            yield found


def test_all_errands_are_done_by_both(ranks: Ranks) -> None:
    heard = Heard()
    ranks.do(crew_work.do, [("square", number) for number in range(5)], heard, Clock())
    assert heard.answers == {number: number**2 for number in range(5)}
    assert ranks.share_cache
    pids = Heard()
    ranks.do(crew_work.do, [("pid", None)] * 4, pids, Clock())
    assert pids.answers[0] == pids.answers[2] == os.getpid() != pids.answers[1] == pids.answers[3]


def test_what_one_raises_ends_the_round_and_not_the_ranks(ranks: Ranks) -> None:
    for errands in ([("fail", None), ("square", 2)], [("square", 2), ("fail", None)]):
        heard = Heard()
        with pytest.raises(ConfigError, match="it cannot be"):
            ranks.do(crew_work.do, [*errands, ("square", 3)], heard, Clock())
        assert list(heard.answers.values()) == [4]


def test_all_stop_when_the_time_is_up(ranks: Ranks, tmp_path: Path) -> None:
    left = [tmp_path / str(number) for number in range(2)]
    with pytest.raises(StoppedEarly):
        ranks.do(crew_work.do, [("steps", (60, str(path))) for path in left], Heard(), Clock(0.2))
    assert all(path.exists() for path in left)


def test_more_gpus_than_there_are() -> None:
    with pytest.raises(ConfigError, match="needs as many GPUs"), spawned(99, "cuda"):
        pass


def test_a_folder_that_a_rank_does_not_see_is_refused(ranks: Ranks, tmp_path: Path, monkeypatch) -> None:
    ranks.require(tmp_path / "run")
    monkeypatch.setattr("cleanlab_lite.train.ranks.SHARED", 0.0)
    monkeypatch.chdir(tmp_path)  # the other rank stays where it is
    with pytest.raises(ConfigError, match=f"rank 1, on {socket.gethostname()}, does not see the run folder run"):
        ranks.require(Path("run"))


def test_an_interface_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    facts = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "no0"}
    for name, value in facts.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(RankLost, match="no0") as caught:
        joined()
    assert "GLOO_SOCKET_IFNAME" in caught.value.hint
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    assert isinstance(joined(), Ranks)


def test_two_ranks_find_what_one_finds(here: Path, capsys) -> None:
    vector_parquet(here / "vectors.parquet", task())
    assert call(capsys, "audit", "vectors.parquet", *QUICK, "--out", "one").code == 0
    two = call(capsys, "audit", "vectors.parquet", *QUICK, "--out", "two", "--devices", 2)
    assert two.code == 0, two.err
    assert findings(Path("two")) == findings(Path("one"))


@pytest.fixture
def pictures(here: Path) -> Path:
    given = task(90, wrong=8)
    names = [f"{row:03}.png" for row in range(90)]
    save_pictures(here / "files", given.truth, names)
    (here / "files" / "005.png").write_text("no picture")
    labels = [CLASSES[label] for label in given.labels]
    return write_csv(here / "manifest.csv", {"path": [f"files/{name}" for name in names], "label": labels})


def judged(run: str) -> tuple[list[bool], list[float]]:
    table = pq.read_table(f"{run}/report.parquet")
    return table["is_label_issue"].to_pylist(), [p or 0.0 for p in table["p_mislabel"].to_pylist()]


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | variables, timeout=300)


@pytest.mark.slow
def test_torchrun_finds_what_one_finds(pictures: Path, capsys) -> None:
    """Pictures, an encoder, networks on its vectors and on the pictures; with one cache, and with one for each rank."""
    assert call(capsys, "audit", pictures, *FLAGS, "--out", "one").code == 0
    flags, p = judged("one")
    script = pictures.parent / "own_cache.py"  # as on two machines that share the run folder alone
    script.write_text(
        "import os\nos.environ['NLCLEAN_CACHE_DIR'] += os.environ['RANK']\nfrom nlclean.main import main\nmain()\n"
    )
    for out, program in (("shared", NLCLEAN), ("apart", (str(script),))):
        found = run(
            *TORCHRUN, *program, "audit", "manifest.csv", *FLAGS, "--out", out, NLCLEAN_CACHE_DIR=f"{out}-cache"
        )
        assert found.returncode == 0, found.stderr
        assert found.stdout.count("report.parquet") == 1 and found.stderr.count("plan: ") == 1  # rank 0 alone speaks
        assert judged(out)[0] == flags
        assert judged(out)[1] == pytest.approx(p, abs=1e-3)
        done = [json.loads(path.read_text()) for path in Path(out, "stages").glob("decode.json")]
        assert done[0]["facts"] == {"decoded": 0, "unreadable": 1}  # what the ranks have left was found
    assert list(Path("apart-cache1").glob("images-*/*.npy"))


VECTORS = ("audit", "vectors.parquet", *QUICK, "--epochs", "12", "--ensemble", "4")


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_run_and_the_command_goes_on(here: Path) -> None:
    vector_parquet(here / "vectors.parquet", task(300))
    command = (sys.executable, *NLCLEAN, *VECTORS, "--out", "run", "--devices", "2")
    code, err = killed(command)
    assert code == 3, err
    assert "rank 1, on" in err and "was ended" in err and "the same command goes on" in err
    again = run(*command)
    assert again.returncode == 0, again.stderr
    code, err = killed((*TORCHRUN, "--max-restarts", "1", *NLCLEAN, *VECTORS, "--out", "again"))
    assert code == 0, err  # torchrun has repeated it
    assert run(sys.executable, *NLCLEAN, *VECTORS, "--out", "alone").returncode == 0
    assert findings(Path("run")) == findings(Path("again")) == findings(Path("alone"))


def killed(command: tuple[str, ...]) -> tuple[int, str]:
    """How it ends when rank 1 is killed after the first networks, and what it says."""
    out = Path(command[command.index("--out") + 1])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for_a_network(out)
        [rank] = [pid for pid in descendants(process.pid) if is_rank_1(pid)]
        os.kill(rank, signal.SIGKILL)
        _, err = process.communicate(timeout=120)
    return process.returncode, err


def wait_for_a_network(run: Path) -> None:
    """The first is trained, and others are being trained."""
    end = time.monotonic() + 120
    while not list(run.glob("stages/proxy-*.json")) and time.monotonic() < end:
        time.sleep(0.02)


def is_rank_1(pid: int) -> bool:
    """The only one that was spawned, or that torchrun calls so."""
    return "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text() or "\0RANK=1\0" in environment(pid)


def environment(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


def test_a_rank_that_dies_is_named(here: Path) -> None:
    with spawned(2, "cpu") as both:
        both.processes[0].kill()
        with pytest.raises(RankLost, match=f"rank 1, on {socket.gethostname()}, was ended"):
            both.do(crew_work.do, [("square", 2), ("square", 3)], Heard(), Clock())


def test_a_rank_that_is_stopped_is_lost_after_a_while(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with spawned(2, "cpu") as both:
        [rank] = both.processes
        assert rank.pid
        os.kill(rank.pid, signal.SIGSTOP)
        threading.Timer(1.0, os.kill, (rank.pid, signal.SIGCONT)).start()
        heard = Heard()
        both.do(crew_work.do, [("square", 2), ("square", 3)], heard, Clock())
        assert heard.answers == {0: 4, 1: 9}  # a moment does no harm
        monkeypatch.setattr("cleanlab_lite.train.heartbeat.SILENCE", 1.0)
        os.kill(rank.pid, signal.SIGSTOP)
        with pytest.raises(RankLost, match=f"rank 1, on {socket.gethostname()}, has not been heard of for"):
            both.do(crew_work.do, [("square", 2), ("square", 3)], Heard(), Clock())
    assert not rank.is_alive()


@pytest.mark.slow
def test_a_rank_that_works_for_long_without_a_word_is_not_lost(ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cleanlab_lite.train.heartbeat.SILENCE", 5.0)
    heard = Heard()
    ranks.do(crew_work.do, [("square", 2), ("wait", 12.0)], heard, Clock())
    assert heard.answers == {0: 4, 1: "waited"}


# --- two machines: each has a network, a name and a cache of its own, which is as near to them as one comes ----------


@dataclass(frozen=True)
class Machines:
    """Two, that see the working folder."""

    networks: tuple[str, str]
    program: tuple[str, ...] = NLCLEAN

    def start(self, number: int, *arguments: str, before: str = "", **variables: str) -> subprocess.Popen[str]:
        """torchrun on one of them, with one rank; `before` is a shell command that changes what the machine sees."""
        address = ("--nnodes", "2", "--node-rank", str(number), "--master-addr", FIRST, "--master-port", PORT)
        command = (*TORCHRUN[:3], *address, "--nproc-per-node", "1", *self.program, *arguments)
        script = f'hostname machine-{number}; {before or ":"}; exec "$@"'
        alone = ("ip", "netns", "exec", self.networks[number], "unshare", "--uts", "--mount", "sh", "-c", script, "sh")
        variables = os.environ | {"NLCLEAN_CACHE_DIR": f"cache-{number}"} | variables
        return subprocess.Popen(
            [*alone, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
        )

    def run(self, *arguments: str, before: str = "", **variables: str) -> tuple[int, str, str]:
        """On both, the second of which has `before` and `variables`: how the first ends, and what it says."""
        with self.start(1, *arguments, before=before, **variables) as second:
            first = self.start(0, *arguments)
            out, err = first.communicate(timeout=300)
            second.communicate(timeout=300)
        return first.returncode, out, err


FIRST, SECOND, PORT = "10.83.0.1", "10.83.0.2", "29517"


@pytest.fixture
def machines() -> Iterator[Machines]:
    if not all(map(shutil.which, ("ip", "unshare", "mount"))):
        pytest.skip("needs ip and unshare of Linux")
    one, two = names = f"nl{os.getpid()}a", f"nl{os.getpid()}b"
    try:
        for command in (
            f"ip netns add {one}",
            f"ip netns add {two}",
            f"ip link add {one} netns {one} type veth peer name {two} netns {two}",
            *(f"ip -n {name} addr add {at}/24 dev {name}" for name, at in zip(names, (FIRST, SECOND), strict=True)),
            *(f"ip -n {name} link set {device} up" for name in names for device in ("lo", name)),
        ):
            done = subprocess.run(command.split(), capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"not allowed to make networks: {done.stderr}")
        yield Machines(names)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize("clock", ["right", "fast"])
def test_two_machines_find_what_one_finds(clock: str, pictures: Path, machines: Machines, capsys) -> None:
    """Also where the clock of the second is an hour fast."""
    wrong = {}
    if clock == "fast":  # for all that is Python; not for torch, whose waits a library such as libfaketime upsets
        save = "import time\nreal, real_ns = time.time, time.time_ns\n"
        Path("sitecustomize.py").write_text(
            f"{save}time.time = lambda: real() + 3600\ntime.time_ns = lambda: real_ns() + 3600 * 10**9\n"
        )
        wrong = {"PYTHONPATH": f"{Path.cwd()}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    assert call(capsys, "audit", pictures, *FLAGS, "--out", "one").code == 0
    flags, p = judged("one")
    code, out, err = machines.run("audit", "manifest.csv", *FLAGS, "--out", "two", **wrong)
    assert code == 0, err
    assert out.count("report.parquet") == 1
    assert judged("two")[0] == flags
    assert judged("two")[1] == pytest.approx(p, abs=1e-3)
    assert all(list(Path(f"cache-{number}").glob("images-*/*.npy")) for number in range(2))


@pytest.mark.slow
def test_a_machine_that_does_not_see_the_run_folder_is_refused(pictures: Path, machines: Machines) -> None:
    Path("disk").mkdir()
    arguments = ("audit", "manifest.csv", *FLAGS, "--out", "disk/run")
    code, _, err = machines.run(*arguments, before="mount -t tmpfs none disk")
    assert code == 1 and "exitcode  : 2" in err  # torchrun says what that of rank 0 was
    assert "rank 1, on machine-1, does not see the run folder disk/run" in err
    assert "--out must be on a disk that all machines share" in err


@pytest.mark.slow
def test_a_rank_that_is_killed_on_the_other_machine_ends_the_run(here: Path, machines: Machines) -> None:
    vector_parquet(here / "vectors.parquet", task(300))
    arguments = (*VECTORS, "--out", "run")
    with machines.start(1, *arguments) as second, machines.start(0, *arguments) as first:
        wait_for_a_network(Path("run"))
        [rank] = [pid for pid in descendants(second.pid) if is_rank_1(pid)]
        os.kill(rank, signal.SIGKILL)
        _, err = first.communicate(timeout=120)
        second.communicate(timeout=120)
    assert first.returncode == 1 and "exitcode  : 3" in err, err
    assert "rank 1, on machine-1, was ended, or its machine cannot be reached" in err
    code, _, err = machines.run(*arguments)
    assert code == 0, err
    assert run(sys.executable, *NLCLEAN, *VECTORS, "--out", "alone").returncode == 0
    assert findings(Path("run")) == findings(Path("alone"))


@pytest.fixture
def impatient(machines: Machines) -> Machines:
    """The same machines, where four seconds of silence are enough."""
    script = Path("impatient.py")
    script.write_text(
        "from cleanlab_lite.train import heartbeat\nheartbeat.SILENCE = 4.0\nfrom nlclean.main import main\nmain()\n"
    )
    return replace(machines, program=(str(script),))


@pytest.mark.slow
def test_a_machine_that_is_cut_off_ends_the_run_on_both_sides(here: Path, impatient: Machines) -> None:
    vector_parquet(here / "vectors.parquet", task(300))
    arguments = (*VECTORS, "--out", "run")
    _, network = impatient.networks
    link = ("ip", "-n", network, "link", "set", network)
    with impatient.start(1, *arguments) as second, impatient.start(0, *arguments) as first:
        wait_for_a_network(Path("run"))
        subprocess.run([*link, "down"], check=True)
        _, err = first.communicate(timeout=120)
        _, other = second.communicate(timeout=120)
    assert first.returncode == 1 and "exitcode  : 3" in err, err
    assert "rank 1, on machine-1, has not been heard of for" in err
    assert second.returncode == 1 and "exitcode  : 3" in other, other
    assert "rank 0, on machine-0, has not been heard of for" in other
    subprocess.run([*link, "up"], check=True)
    code, _, err = impatient.run(*arguments)
    assert code == 0, err
    assert run(sys.executable, *NLCLEAN, *VECTORS, "--out", "alone").returncode == 0
    assert findings(Path("run")) == findings(Path("alone"))


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_rank_that_is_stopped_on_one_machine_is_lost_to_the_other(
    stopped: int, here: Path, impatient: Machines
) -> None:
    vector_parquet(here / "vectors.parquet", task(300))
    arguments = (*VECTORS, "--out", "run")
    with impatient.start(1, *arguments) as second, impatient.start(0, *arguments) as first:
        both = first, second
        wait_for_a_network(Path("run"))
        [rank] = [pid for pid in descendants(both[stopped].pid) if f"\0RANK={stopped}\0" in environment(pid)]
        os.kill(rank, signal.SIGSTOP)
        _, err = both[1 - stopped].communicate(timeout=120)
        os.kill(rank, signal.SIGCONT)
        both[stopped].communicate(timeout=120)
    assert both[1 - stopped].returncode == 1 and "exitcode  : 3" in err, err
    assert f"rank {stopped}, on machine-{stopped}, has not been heard of for" in err
    assert both[stopped].returncode == 1

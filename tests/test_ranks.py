"""Several processes share an audit: it finds what one finds, and when one of them is ended it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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
from cleanlab_lite.train.ranks import Ranks, spawned

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
    assert "rank 1 was ended" in err and "the same command goes on" in err
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
        end = time.monotonic() + 120
        while not list(out.glob("stages/proxy-*.json")) and time.monotonic() < end:
            time.sleep(0.02)
        [rank] = [pid for pid in descendants(process.pid) if is_rank_1(pid)]
        os.kill(rank, signal.SIGKILL)
        _, err = process.communicate(timeout=120)
    return process.returncode, err


def is_rank_1(pid: int) -> bool:
    """The only one that was spawned, or that torchrun calls so."""
    process = Path(f"/proc/{pid}")
    return "spawn_main" in (process / "cmdline").read_text() or "\0RANK=1\0" in (process / "environ").read_text()


def test_a_rank_that_dies_is_named(here: Path) -> None:
    with spawned(2, "cpu") as both:
        both.processes[0].kill()
        with pytest.raises(RankLost, match="rank 1 was ended"):
            both.do(crew_work.do, [("square", 2), ("square", 3)], Heard(), Clock())

"""A run that is killed, anywhere, and started again with the same command ends like one that was left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_world import CLASSES, FILES, findings, save_pictures, task, vector_parquet, write_csv

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="killer.py forks")

KILLED = -9
EPOCHS = 2
QUICK = ("--epochs", str(EPOCHS), "--ensemble", "2", "--device", "cpu")
BY_TRIAL = ("--ensemble", "2", "--device", "cpu")


class Machine:
    """Runs `nlclean audit` in processes that die where they are told. Runs are folders of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vectors = vector_parquet(folder / "vectors.parquet", task(60, wrong=6))
        given = task(70, wrong=6)
        names = [f"{row}.png" for row in range(len(given.labels))]
        save_pictures(folder, given.truth, names)
        self.pictures = write_csv(
            folder / "pictures.csv", {"path": names, "label": [CLASSES[label] for label in given.labels]}
        )
        self.killer = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("killer.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"NLCLEAN_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
        )

    def audit(self, manifest: Path, run: str, *options: str, at: int | None = None) -> tuple[int, list[str]]:
        """Exit code and steps of an audit that is killed at step `at`."""
        assert self.killer.stdin and self.killer.stdout
        arguments = ["audit", str(manifest), "--out", str(self.folder / run), *options]
        self.killer.stdin.write(json.dumps({"arguments": arguments, "at": at}) + "\n")
        self.killer.stdin.flush()
        answer = json.loads(self.killer.stdout.readline())
        return answer["code"], answer["steps"]

    def finish(self, manifest: Path, run: str, *options: str) -> list[str]:
        """Steps of an audit that nobody disturbs."""
        code, steps = self.audit(manifest, run, *options)
        assert code == 0
        return steps

    def kill(self, manifest: Path, run: str, *options: str, at: int) -> None:
        """Kill an audit at a step, and look at what it leaves: every file is whole or not there."""
        code, steps = self.audit(manifest, run, *options, at=at)
        assert (code, len(steps)) == (KILLED, at + 1)
        left = self.folder / run
        for path in [*left.glob("[!.]*.json"), *left.glob("stages/*.json")]:
            json.loads(path.read_bytes())
        if (left / "report.parquet").exists():  # the last file to come
            assert {path.name for path in left.iterdir()} >= FILES


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.killer.communicate()


@pytest.fixture(scope="module")
def steps(machine: Machine) -> list[str]:
    """Steps of an undisturbed audit of the vectors, in the run "alone"."""
    return machine.finish(machine.vectors, "alone", *QUICK)


def test_the_steps_are_where_a_run_can_be_killed(steps):
    assert steps.count("epoch") == 3 * EPOCHS
    files = [step.removeprefix("write ") for step in steps if step != "epoch"]
    assert set(files) >= FILES - {"log.jsonl"}  # which is appended to
    stages = [file for file in files if file.startswith("stages/")]
    order = ("decode", "duplicates", "folds", "proxy-0", "proxy-1", "planted", "judge", "report")
    assert stages == [f"stages/{name}.json" for name in order]


@pytest.mark.parametrize("what", ["write", "epoch"])
def test_killed_at_any_step(machine, steps, what):
    expected = findings(machine.folder / "alone")
    for at, step in enumerate(steps):
        if step.startswith(what):
            machine.kill(machine.vectors, f"killed-{at}", *QUICK, at=at)
            machine.finish(machine.vectors, f"killed-{at}", *QUICK)
            assert findings(machine.folder / f"killed-{at}") == expected, step
            assert not list((machine.folder / f"killed-{at}").rglob(".tmp-*"))


def test_what_is_done_is_not_done_again(machine, steps):
    for marker, epochs_left in (("proxy-0", 2 * EPOCHS), ("planted", 0), ("report", 0)):
        at = steps.index(f"write stages/{marker}.json") + 1  # the marker itself is written
        machine.kill(machine.vectors, f"after-{marker}", *QUICK, at=at)
        assert machine.finish(machine.vectors, f"after-{marker}", *QUICK).count("epoch") == epochs_left
        run = machine.folder / f"after-{marker}"
        assert json.loads((run / "run.json").read_bytes())["finished"]
        assert not list(run.glob("*.npz"))


def test_a_report_is_not_taken_for_a_finished_run(machine, steps):
    run = machine.folder / "unmarked"
    machine.kill(machine.vectors, "unmarked", *QUICK, at=steps.index("write stages/report.json"))
    assert (run / "report.parquet").is_file()
    assert json.loads((run / "run.json").read_bytes())["finished"] is None
    machine.finish(machine.vectors, "unmarked", *QUICK)
    assert json.loads((run / "run.json").read_bytes())["finished"]


def test_killed_again_and_again(machine, steps):
    """Every attempt trains one proxy and dies right after; the last one only writes."""
    run = machine.folder / "stubborn"
    first, second = (steps.index(f"write stages/proxy-{m}.json") for m in (0, 1))
    again = steps.index("write copies.npz")  # of the steps before, every process does all
    for at in (first + 1, again + second - first, again + second - first):
        machine.kill(machine.vectors, "stubborn", *QUICK, at=at)
    assert "epoch" not in machine.finish(machine.vectors, "stubborn", *QUICK)
    assert findings(run) == findings(machine.folder / "alone")
    events = [json.loads(line)["event"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert events.count("run opened") == 4
    assert json.loads((run / "run.json").read_bytes())["resumed"] == 3


def test_killed_during_the_trials_of_epochs(machine):
    trials = machine.finish(machine.vectors, "trials", *BY_TRIAL)
    first, second, *_ = [at for at, step in enumerate(trials) if step.startswith("write stages/trial-")]
    for at in (first - 3, first, first + 3, second + 3):
        machine.kill(machine.vectors, f"trials-{at}", *BY_TRIAL, at=at)
        machine.finish(machine.vectors, f"trials-{at}", *BY_TRIAL)
        assert findings(machine.folder / f"trials-{at}") == findings(machine.folder / "trials"), trials[at]


def test_pictures_killed_while_decoding_and_while_training(machine):
    options = (*QUICK, "--image-size", "16")
    machine.kill(machine.pictures, "decoding", *options, at=68)  # in the second chunk of 64 files
    steps = machine.finish(machine.pictures, "decoding", *options)
    assert 0 < steps.count("decode") <= 70
    machine.kill(machine.pictures, "training", *options, at=steps.index("epoch") - steps.count("decode") + 2)
    machine.finish(machine.pictures, "training", *options)
    assert "decode" not in machine.finish(machine.pictures, "pictures", *options)
    assert findings(machine.folder / "decoding") == findings(machine.folder / "pictures")
    assert findings(machine.folder / "training") == findings(machine.folder / "pictures")

"""A run that is killed, anywhere, and started again with the same command ends like one that was left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from audit_world import CLASSES, FILES, findings, save_pictures, task, vector_parquet, write_csv
from cli_world import call
from safetensors.torch import save_file

from cleanlab_lite import clock
from cleanlab_lite.clock import Clock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="killer.py forks")

KILLED = -9
EPOCHS = 2
QUICK = ("--epochs", str(EPOCHS), "--ensemble", "2", "--device", "cpu")
BY_TRIAL = ("--ensemble", "2", "--device", "cpu", "--views", "pixels", "--image-size", "24")  # decoded by these alone


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

    def audit(self, manifest: Path, run: str, *options: str, **job: int | str) -> tuple[int, list[str]]:
        """Exit code and steps of an audit; `job` is when to kill it, see killer.py."""
        assert self.killer.stdin and self.killer.stdout
        arguments = ["audit", str(manifest), "--out", str(self.folder / run), *options]
        self.killer.stdin.write(json.dumps({"arguments": arguments, "at": None} | job) + "\n")
        self.killer.stdin.flush()
        answer = json.loads(self.killer.stdout.readline())
        return answer["code"], answer["steps"]

    def finish(self, manifest: Path, run: str, *options: str, **job: int | str) -> list[str]:
        """Steps of an audit that nobody disturbs."""
        code, steps = self.audit(manifest, run, *options, **job)
        assert code == 0
        return steps

    def kill(self, manifest: Path, run: str, *options: str, at: int, of: str = "", **job: int | str) -> list[str]:
        """Kill an audit at a step, and look at what it leaves: every file is whole or not there."""
        code, steps = self.audit(manifest, run, *options, at=at, of=of, **job)
        assert (code, len([step for step in steps if step.startswith(of)])) == (KILLED, at + 1)
        left = self.folder / run
        for path in [*left.glob("[!.]*.json"), *left.glob("stages/*.json")]:
            json.loads(path.read_bytes())
        if (left / "report.parquet").exists():  # the last file to come
            assert {path.name for path in left.iterdir()} >= FILES
        return steps


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.killer.communicate()


@pytest.fixture(scope="module")
def steps(machine: Machine) -> list[str]:
    """Steps of an undisturbed audit of the vectors, in the run "alone"."""
    return machine.finish(machine.vectors, "alone", *QUICK)


@pytest.fixture(scope="module")
def trials(machine: Machine) -> list[str]:
    """Steps of an undisturbed audit that tries for how long to teach, in the run "trials"."""
    return machine.finish(machine.pictures, "trials", *BY_TRIAL)


def test_the_steps_are_where_a_run_can_be_killed(steps):
    assert steps.count("epoch") == 3 * EPOCHS and steps.count("learn") >= 3 * EPOCHS
    files = [step.removeprefix("write ") for step in steps if step.startswith("write ")]
    assert set(files) >= FILES - {"log.jsonl"}  # which is appended to
    stages = [file for file in files if file.startswith("stages/")]
    order = ("decode", "duplicates", "heads", "folds", "proxy-0", "proxy-1", "planted", "judge", "report")
    assert stages == [f"stages/{name}.json" for name in order]


def killed_and_finished(machine: Machine, steps: list[str], places: list[int], name: str) -> None:
    """Kill an audit at each of the places, start it again, and hold it against the one that was left alone."""
    expected = findings(machine.folder / "alone")
    for at in places:
        run = machine.folder / f"{name}-{at}"
        machine.kill(machine.vectors, run.name, *QUICK, at=at)
        machine.finish(machine.vectors, run.name, *QUICK)
        assert findings(run) == expected, steps[at]
        assert not list(run.rglob(".tmp-*"))


@pytest.mark.parametrize(("what", "count"), [("write", 3), ("learn", 1), ("epoch", 1)])
def test_killed_at_some_steps(machine, steps, what, count):
    places = [at for at, step in enumerate(steps) if step.startswith(what)]
    spread = [len(places) * (2 * part + 1) // (2 * count) for part in range(count)]
    killed_and_finished(machine, steps, [places[part] for part in spread], "some")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["write", "learn", "epoch"])
def test_killed_at_any_step(machine, steps, what):
    killed_and_finished(machine, steps, [at for at, step in enumerate(steps) if step.startswith(what)], "any")


@pytest.mark.parametrize(("marker", "epochs_left"), [("proxy-0", 2 * EPOCHS), ("planted", 0), ("report", 0)])
def test_what_is_done_is_not_done_again(machine, steps, marker, epochs_left):
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
    again = steps.index("write copies.npz") + 1  # every process does all steps before, and the regression
    for at in (first + 1, again + second - first, again + second - first):
        machine.kill(machine.vectors, "stubborn", *QUICK, at=at)
    assert "epoch" not in machine.finish(machine.vectors, "stubborn", *QUICK)
    assert findings(run) == findings(machine.folder / "alone")
    events = [json.loads(line)["event"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert events.count("run opened") == 4
    assert json.loads((run / "run.json").read_bytes())["resumed"] == 3


@pytest.mark.parametrize(
    ("at", "of"),
    [
        (10, "epoch"),  # in the second trial
        pytest.param(5, "epoch", marks=pytest.mark.slow),
        pytest.param(0, "write stages/trial-", marks=pytest.mark.slow),
        pytest.param(1, "write stages/trial-", marks=pytest.mark.slow),
    ],
)
def test_killed_during_the_trials_of_epochs(machine, trials, at, of):
    run = machine.folder / f"trials-{at}-{of[:5]}"
    tried = [number for number, step in enumerate(trials) if step.startswith("write stages/trial-")]
    assert len(tried) >= 2
    steps = machine.kill(machine.pictures, run.name, *BY_TRIAL, at=at, of=of)
    assert len(steps) <= tried[-1] + 1
    machine.finish(machine.pictures, run.name, *BY_TRIAL)
    assert findings(run) == findings(machine.folder / "trials")


def test_pictures_killed_while_decoding_and_while_training(machine):
    options = (*QUICK, "--views", "pixels", "--image-size", "16")
    machine.kill(machine.pictures, "decoding", *options, at=68, of="decode")  # in the second chunk of 64 files
    steps = machine.finish(machine.pictures, "decoding", *options)
    assert 0 < steps.count("decode") <= 70
    machine.kill(machine.pictures, "training", *options, at=1, of="epoch")
    machine.finish(machine.pictures, "training", *options)
    assert "decode" not in machine.finish(machine.pictures, "pictures", *options)
    assert findings(machine.folder / "decoding") == findings(machine.folder / "pictures")
    assert findings(machine.folder / "training") == findings(machine.folder / "pictures")


# --- A proxy that takes longer than a process is given ----------------------------------------------------------------

LONG = ("--ensemble", "2", "--planted", "0", "--epochs", "6", "--batch-size", "8", "--device", "cpu")
CHECKPOINT = "jobs/proxy-0/checkpoint.safetensors"


@pytest.mark.parametrize(
    ("data", "of"),
    [
        ("vectors", "learn"),
        pytest.param("pictures", "learn", marks=pytest.mark.slow),
        pytest.param("vectors", f"write {CHECKPOINT}", marks=pytest.mark.slow),
    ],
)
def test_a_proxy_killed_five_times_goes_on_inside_itself(machine, data, of):
    """A kill costs the batch that was being learned, or whose checkpoint was being written."""
    manifest, run = getattr(machine, data), machine.folder / f"long-{data}-{of[:5]}"
    options = (*LONG, "--image-size", "16") if data == "pictures" else LONG
    alone = machine.finish(manifest, f"{run.name}-alone", *options)
    learned = 0
    for _ in range(5):
        learned += machine.kill(manifest, run.name, *options, at=3, of=of, interval=0).count("learn")
        assert (run / CHECKPOINT).exists() and not list((run / "stages").glob("proxy-*"))
    learned += machine.finish(manifest, run.name, *options, interval=0).count("learn")
    assert learned == alone.count("learn") + 5
    assert findings(run) == findings(machine.folder / f"{run.name}-alone")


# --- A time budget that is used up ------------------------------------------------------------------------------------

ENCODING = (*QUICK, "--proxy", "torchvision:resnet18", "--image-size", "32", "--precision", "fp32")


@pytest.fixture(scope="module")
def encoder(machine: Machine) -> str:
    """Weights of a frozen encoder, with which the pictures have been audited undisturbed, in the run "encoded"."""
    path = machine.folder / "resnet18.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(torchvision.models.resnet18().state_dict(), path)
    machine.finish(machine.pictures, "encoded", *ENCODING, "--weights", str(path))
    return str(path)


@pytest.mark.parametrize(
    "stage",
    [
        *("decode", "encode"),
        pytest.param("duplicates", marks=pytest.mark.slow),
        pytest.param("network 1 of 2", marks=pytest.mark.slow),
        "the network with planted errors",
    ],
)
def test_a_time_budget_stops_any_stage_and_the_same_command_goes_on(machine, encoder, monkeypatch, capsys, stage):
    """An hour passes at the second look at the clock in that stage."""
    run = machine.folder / f"stopped-{stage.split()[0]}"
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(machine.folder / f"cache-{run.name}"))
    command = ("audit", machine.pictures, "--out", run, *ENCODING, "--weights", encoder, "--time-budget", "60s")
    check, now, looks = Clock.check, [0.0], []

    def looked(self: Clock, where: str) -> None:
        looks.extend([where] if where.startswith(stage) else [])
        now[0] = 3600.0 if len(looks) >= 2 else 0.0
        check(self, where)

    with monkeypatch.context() as patch:
        patch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0]))
        patch.setattr(Clock, "check", looked)
        stopped = call(capsys, *command)
    assert (stopped.code, stopped.out) == (4, "")
    assert f"({stage}" in stopped.err and "the same command goes on from here" in stopped.err
    assert not (run / "report.parquet").exists()
    assert call(capsys, *command[:-2]).code == 0  # without a budget, which a busy machine might use up again
    assert findings(run) == findings(machine.folder / "encoded")

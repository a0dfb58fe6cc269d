"""Jobs done side by side in worker processes leave what they leave one after the other, to the bit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audit_world import CLASSES, findings, save_pictures, task, vector_parquet, write_csv
from test_ensemble import CONFIG, KEY, PLAN, assert_same, inputs_of
from test_training import pictures
from worlds import blobs

import cleanlab_lite as cl
from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.errors import ConfigError, StoppedEarly, WorkerDied
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.run import Run
from cleanlab_lite.train import jobs, trials
from cleanlab_lite.train.crew import Crew
from cleanlab_lite.train.ensemble import beside, watch, watch_beside
from cleanlab_lite.train.fit import Teaching
from cleanlab_lite.train.jobs import Bench, Job, Mapped, hire, run_jobs, workers_for
from cleanlab_lite.train.models import PROXIES
from cleanlab_lite.train.task import Task
from cleanlab_lite.train.trials import Rival

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills by signals")
WORLD = blobs(150, 3, 0.1)
TASK = Task.of(WORLD.labels, 3, inputs_of(WORLD, (3, 7)))


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WORTH", 0.0)


@pytest.fixture(scope="module")
def lasting() -> Iterator[Crew]:
    """Two workers for all tests that do not end them: starting them is what takes the time."""
    with hire("cpu", 2) as crew:
        yield crew


@pytest.fixture
def own() -> Iterator[Crew]:
    with hire("cpu", 2) as crew:
        yield crew


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What is seen by proxies that are trained one after the other."""
    return watched(tmp_path_factory.mktemp("alone") / "run", None)


def watched(
    folder: Path, crew: Crew | None, on_progress: OnProgress = ignore, budget: float = 0.0, **changes: Any
) -> Evidence:
    with Run.start(folder, "world", KEY) as run:
        plan = replace(PLAN, **{"epochs": 2} | changes)
        return watch(TASK, plan, CONFIG, run=run, clock=Clock(budget, on_progress), crew=crew)


def test_the_evidence_is_the_same_to_the_bit(tmp_path, alone, lasting):
    heard: list[Progress] = []
    beside = watched(tmp_path / "run", lasting, heard.append)
    assert_same(alone, beside)
    assert [(event.done, event.total) for event in heard] == [(i, 8) for i in range(1, 9)]
    assert {event.note for event in heard[:6]} == {"network 1 of 3", "network 2 of 3", "network 3 of 3"}
    marked = {path.stem for path in (tmp_path / "run" / "stages").iterdir()}
    assert marked == {"folds", "proxy-0", "proxy-1", "proxy-2", "planted"}
    assert not list((tmp_path / "run").rglob("checkpoint*")) and not list((tmp_path / "run").rglob(".tmp-*"))
    assert_same(alone, watched(tmp_path / "run", None))  # read


@pytest.mark.parametrize("sound", [False, True], ids=["pictures", "clips"])
def test_pictures_and_clips_are_mapped_and_give_the_same_arrays(tmp_path, lasting, sound):
    pixels, labels = pictures(48)
    offsets = np.arange(0, 97, 2) if sound else None
    array = np.repeat(pixels[:, :1], 2, axis=0) if sound else pixels
    nothing = np.zeros(48, dtype="U1")
    task = Task.of(labels, 2, Inputs(array, nothing, nothing, np.full(48, -1), 0, nothing, offsets))
    taught = Teaching("baseline_cnn", "", "elr", "dividemix", 2, 16, 0.01, 5e-4, flip=not sound, shift=2, autocast=None)
    asked = [Job(f"job-{m}", "pixels", np.arange(40), labels, taught, m, "") for m in range(2)]
    seen = {}
    for crew in (None, lasting):
        with Run.start(tmp_path / str(crew is None), "world", KEY) as run:
            seen[crew is None] = list(run_jobs(asked, Bench(task, "cpu", 2**30, crew), run, Clock()))
    for one, two in zip(seen[True], seen[False], strict=True):
        for name in ("loss", "margin", "predicted", "logits", "features"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
        assert all(torch.equal(weight, two.weights[name]) for name, weight in one.weights.items())
    assert (tmp_path / "False" / "jobs" / "inputs" / "pixels.npy").is_file()


def test_a_file_that_is_mapped_already_is_not_written_again(tmp_path):
    np.save(tmp_path / "pack.npy", np.arange(24, dtype=np.float32).reshape(6, 4))
    whole = np.load(tmp_path / "pack.npy", mmap_mode="c")
    with Run.start(tmp_path / "run", "world", KEY) as run:
        mapped = Mapped.of(whole, run, "jobs/inputs/whole.npy")
        assert mapped.path == tmp_path / "pack.npy"
        for part in (whole[2:], whole[:, ::2], whole.T, np.array(whole)):
            other = Mapped.of(part, run, "jobs/inputs/part.npy")
            assert other.path.is_relative_to(tmp_path / "run")
            np.testing.assert_array_equal(other.open(), part)
        (tmp_path / "pack.npy").unlink()
        assert Mapped.of(whole, run, "jobs/inputs/whole.npy").path.is_relative_to(tmp_path / "run")
    assert mapped.shape == (6, 4) and mapped.dtype == np.float32


# --- Workers that die, time that is up, and Ctrl-C -------------------------------------------------------------------


def kill(crew: Crew) -> None:
    for pid in crew.pids:
        os.kill(pid, signal.SIGKILL)


def test_killed_workers_are_made_up_for(tmp_path, alone, own):
    heard: list[Progress] = []

    def kill_once(event: Progress) -> None:
        heard.append(event)
        if len(heard) == 1:
            kill(own)

    assert_same(alone, watched(tmp_path / "run", own, kill_once))
    assert (tmp_path / "run" / "log.jsonl").read_text().count('"worker died"') == 2
    assert [event.done for event in heard] == sorted(event.done for event in heard)


@pytest.mark.slow
def test_a_job_that_costs_two_workers_ends_the_run_which_goes_on_later(tmp_path, own):
    undisturbed = watched(tmp_path / "whole", None, epochs=4)
    with pytest.raises(WorkerDied, match="signal 9") as caught:
        watched(tmp_path / "run", own, lambda _: kill(own), epochs=4)
    assert "the same command goes on from here" in caught.value.hint
    assert_same(undisturbed, watched(tmp_path / "run", None, epochs=4))


@pytest.mark.slow
def test_a_used_up_budget_stops_all_workers_and_the_same_call_goes_on(tmp_path, lasting):
    long = {"epochs": 12, "batch_size": 4}  # no network is done between two looks of its worker at the clock
    undisturbed = watched(tmp_path / "whole", None, **long)
    with pytest.raises(StoppedEarly, match=r"is used up \(network . of 3, epoch 1 of 12\)"):
        watched(tmp_path / "run", lasting, budget=1e-9, **long)
    assert len(list((tmp_path / "run").rglob("checkpoint.safetensors"))) == 2
    stops = 1
    while True:
        try:
            resumed = watched(tmp_path / "run", lasting, budget=0.1, **long)
            break
        except StoppedEarly:
            stops += 1
    assert stops > 2
    assert_same(undisturbed, resumed)


@pytest.mark.slow
def test_an_interrupt_leaves_no_process_and_a_run_that_goes_on(tmp_path, alone, own):
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    before = set(multiprocessing.active_children())  # the lasting ones
    with pytest.raises(KeyboardInterrupt):
        watched(tmp_path / "run", own, interrupt)
    assert set(multiprocessing.active_children()) <= before and not own.pids
    assert_same(alone, watched(tmp_path / "run", None))


def test_what_fails_in_a_worker_fails_here(tmp_path, lasting):
    with Run.start(tmp_path / "run", "world", KEY) as run:
        with pytest.raises(ConfigError, match="takes no pretrained weights"):
            next(run_jobs(asked(weights="file"), Bench(TASK, "cpu", 2**30, lasting), run, Clock()))
        assert not run.done("job-0")


# --- How many workers ------------------------------------------------------------------------------------------------


def asked(proxy: str = "mlp", count: int = 4, **changes: object) -> list[Job]:
    taught = Teaching(proxy, "", "ce", "plain", 4, 32, 0.1, 5e-4, flip=False, shift=0, autocast=None)
    rows = np.flatnonzero(TASK.teachable)
    one = Job("job", "pixels", rows, WORLD.labels, replace(taught, **changes), 0, "")  # type: ignore[arg-type]
    return [replace(one, stage=f"job-{m}") for m in range(count)]


def bench(workers: int, device: str = "cpu") -> Bench:
    return Bench(TASK, "cpu", 2**30, hire(device, workers))


def test_as_many_workers_as_were_asked_for_or_cores_or_jobs(monkeypatch):
    monkeypatch.setattr(jobs, "available", lambda: 2.0**40)
    assert workers_for(asked(), bench(3)) == 3
    assert workers_for(asked(), bench(9)) == 4
    monkeypatch.setattr(jobs, "cores", lambda: 2)
    assert workers_for(asked(), bench(0)) == 2
    assert workers_for(asked(), bench(1)) == workers_for(asked(count=1), bench(4)) == 1
    assert workers_for(asked(), bench(4, device="cuda")) == workers_for(asked(), bench(4, device="mps")) == 1


def test_fewer_workers_where_memory_is_short(monkeypatch):
    room = jobs._memory(asked()[0], bench(4))
    assert room > 300 * 2**20
    for gives, workers in ((4.5, 4), (2.5, 2), (1.5, 1), (0.5, 1)):
        monkeypatch.setattr(jobs, "available", lambda gives=gives: gives * room)
        assert workers_for(asked(), bench(4)) == workers
    assert jobs._memory(asked("wide_mlp", batch_size=4096)[0], bench(4)) > room


def test_small_jobs_are_not_worth_a_process(monkeypatch, tmp_path):
    monkeypatch.setattr(jobs, "WORTH", 10.0)
    assert workers_for(asked(), bench(4)) == 1
    assert workers_for(asked(epochs=1000), bench(4)) > 1
    crew = hire("cpu", 4)
    assert watched(tmp_path / "run", crew) and not crew.pids


def test_what_a_user_has_registered_stays_in_this_process(tmp_path):
    with PROXIES.temporarily():
        PROXIES.register("tiny")(lambda examples: (torch.nn.Linear(examples.shape[1], 5), 5))
        assert workers_for(asked("tiny"), bench(4)) == 1
        with Run.start(tmp_path / "run", "world", KEY) as run:
            assert len(list(run_jobs(asked("tiny", count=2), bench(2), run, Clock()))) == 2


# --- Networks beside those of an encoder, and whole audits ------------------------------------------------------------


def test_the_first_network_beside_others_decides_alone_whether_there_are_more(tmp_path, lasting):
    seen = {}
    for name, near in (("far", -2.0), ("near", 2.0)):
        for crew in (None, lasting):
            folder = tmp_path / f"{name}-{crew is None}"
            with Run.start(folder, "world", KEY) as run:
                rival = Rival(WORLD.labels, near)
                others = beside(TASK, PLAN, CONFIG, run=run, clock=Clock(), crew=crew)
                seen[name, crew is None] = watch_beside(others, rival)
            marked = {path.stem for path in (folder / "stages").glob("pixels-proxy-*")}
            assert marked == {f"pixels-proxy-{m}" for m in range(3 if name == "near" else 1)}
    assert seen["far", True] is seen["far", False] is None
    one, two = seen["near", True], seen["near", False]
    np.testing.assert_array_equal(one.history.margin, two.history.margin)
    np.testing.assert_array_equal(one.pred_probs, two.pred_probs)


class Listening(Clock):
    """Keeps what it hears of networks of a later part."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.early: list[tuple[str, int]] = []

    def ahead(self, part: str, epochs: int) -> None:
        self.early.append((part, epochs))
        super().ahead(part, epochs)


def test_what_is_trained_on_another_view_in_any_case_is_begun_beside_the_first(tmp_path, lasting, monkeypatch):
    do, begin, rounds, begun, seen = Crew.do, Crew.begin, [], [], {}
    heard: list[Progress] = []

    def counting(crew: Crew, errands: list[Any], *rest: Any, **options: Any) -> None:
        rounds.append([errand.job.stage for errand in errands])
        do(crew, errands, *rest, **options)

    def beginning(crew: Crew, errand: Any, *rest: Any) -> None:
        begun.append(errand.job.stage)
        begin(crew, errand, *rest)

    monkeypatch.setattr(Crew, "do", counting)
    monkeypatch.setattr(Crew, "begin", beginning)
    turned = replace(WORLD, features=WORLD.features[:, ::-1])
    there = Task.of(WORLD.labels, 3, inputs_of(turned), view="turned")
    open_ = replace(PLAN, epochs=0)
    for crew in (None, lasting):
        with Run.start(tmp_path / str(crew is None), "world", KEY) as run:
            clock = Listening(on_progress=heard.append)
            others = beside(there, open_, CONFIG, run=run, clock=clock, crew=crew)
            first = watch(TASK, PLAN, CONFIG, run=run, clock=clock, crew=crew, also=(others.foremost, others.bench))
            told = [(event.done, event.total) for event in heard]
            seen[crew is None] = first, watch_beside(others, Rival(WORLD.labels, 2.0))
        assert told[-1] == (8, 8) and max(done for done, _ in told) == 8
        heard.clear()
    tried, epochs = others.foremost.stage, others.foremost.teaching.epochs
    assert clock.early[0] == ("turned", 1) and clock.early[-1][1] <= epochs  # so that the line of progress moves
    assert begun == [tried] and tried.startswith("turned-trial-")
    assert rounds[0] == ["proxy-0", "proxy-1", "proxy-2"] and rounds[-1] == ["turned-proxy-1", "turned-proxy-2"]
    assert_same(seen[True][0], seen[False][0])
    np.testing.assert_array_equal(seen[True][1].history.margin, seen[False][1].history.margin)
    np.testing.assert_array_equal(seen[True][1].pred_probs, seen[False][1].pred_probs)


def test_networks_of_the_first_view_do_not_wait_for_that_of_another(tmp_path, own):
    there = Task.of(WORLD.labels, 3, inputs_of(WORLD), view="turned")
    [long] = asked(count=1, epochs=100_000)
    also = replace(long, stage="also", view="turned"), Bench(there, "cpu", 2**30, own)
    with Run.start(tmp_path / "run", "world", KEY) as run:
        watch(TASK, PLAN, CONFIG, run=run, clock=Clock(), crew=own, also=also)
        assert run.done("planted") and not run.done("also")
        assert [errand.job.stage for errand in own.begun] == ["also"]


@pytest.mark.parametrize("enough", [True, False])
def test_networks_that_mostly_come_near_a_rival_do_not_wait_for_the_first(enough, tmp_path, lasting, monkeypatch):
    do, rounds, seen = Crew.do, [], {}
    fewest = PROXIES.get(PLAN.proxy).facts.fewest_epochs

    def counting(crew: Crew, errands: list[Any], *rest: Any, **options: Any) -> None:
        rounds.append([errand.job.stage for errand in errands])
        do(crew, errands, *rest, **options)

    def found(agreement: Callable[[int], tuple[float, float]], *_: float) -> int:
        epochs = fewest if enough else 2 * fewest
        agreement(fewest), agreement(epochs)
        return epochs

    monkeypatch.setattr(Crew, "do", counting)
    monkeypatch.setattr(trials, "epochs_to_reach", found)
    rival, plan = Rival(WORLD.labels, 0.0), replace(PLAN, epochs=0)
    for crew in (None, lasting):
        with Run.start(tmp_path / str(crew is None), "world", KEY) as run:
            seen[crew is None] = watch(TASK, plan, CONFIG, run=run, clock=Clock(), crew=crew, rival=rival)
    together = [f"trial-{fewest}", f"trial-{fewest}-1", f"trial-{fewest}-2"]
    assert rounds == ([together] if enough else [together, ["proxy-1", "proxy-2"]])
    assert_same(seen[True], seen[False])


AUDIT = """
import sys

import nlclean
import torch
from cleanlab_lite.train import jobs, trials

print("before the call")
jobs.WORTH = 0.0
nlclean.PROXIES.register("tiny")(lambda examples: (torch.nn.Linear(examples.shape[1], 5), 5))
options = dict(epochs=2, ensemble=2, device="cpu", image_size=16, views=sys.argv[5], workers=int(sys.argv[2]))
nlclean.audit(sys.argv[4], out=sys.argv[1], proxy=sys.argv[3], **options)
"""


def audited(folder: Path, workers: int, proxy: str, manifest: Path, views: str) -> Path:
    """A run by a script without a guard."""
    (folder / "script.py").write_text(AUDIT)
    out = folder / f"{manifest.stem}-{workers}-{proxy}"
    command = [sys.executable, "script.py", out.name, str(workers), proxy, manifest.name, views]
    environment = os.environ | {"NLCLEAN_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (0, "before the call\n"), done.stderr
    return out


@pytest.mark.slow
def test_an_audit_finds_the_same_with_workers(tmp_path, monkeypatch):
    manifest = vector_parquet(tmp_path / "vectors.parquet", task(60, wrong=6))
    started: list[int] = []
    do = Crew.do

    def counting(crew: Crew, *rest: Any, **options: Any) -> None:
        do(crew, *rest, **options)
        started.append(len(crew.pids))

    monkeypatch.setattr(Crew, "do", counting)
    for workers in (1, 2):
        cl.audit(manifest, out=tmp_path / f"run-{workers}", epochs=2, ensemble=2, device="cpu", workers=workers)
    assert findings(tmp_path / "run-1") == findings(tmp_path / "run-2")
    assert started == [2]
    assert not (tmp_path / "run-2" / "jobs").exists() and not list((tmp_path / "run-2").rglob(".tmp-*"))


@pytest.mark.slow
def test_a_script_without_a_guard_finds_the_same_with_workers(tmp_path):
    manifest = vector_parquet(tmp_path / "vectors.parquet", task(60, wrong=6))
    one, two = (audited(tmp_path, workers, "mlp", manifest, "vectors") for workers in (1, 2))
    assert findings(one) == findings(two)


@pytest.mark.slow
def test_a_script_with_a_proxy_of_its_own_or_pictures(tmp_path):
    manifest = vector_parquet(tmp_path / "vectors.parquet", task(60, wrong=6))
    one, two = (audited(tmp_path, workers, "tiny", manifest, "vectors") for workers in (1, 2))
    assert findings(one) == findings(two)
    given = task(70, wrong=6)
    names = [f"{row}.png" for row in range(70)]
    save_pictures(tmp_path, given.truth, names)
    labels = [CLASSES[label] for label in given.labels]
    pets = write_csv(tmp_path / "pets.csv", {"path": names, "label": labels})
    one, two = (audited(tmp_path, workers, "small_cnn", pets, "pixels") for workers in (1, 2))
    assert findings(one) == findings(two)


@pytest.mark.slow
def test_trials_of_a_search_that_do_not_depend_on_each_other(tmp_path, lasting, monkeypatch):
    do, rounds = Crew.do, []

    def counting(crew: Crew, errands: list[Any], *rest: Any, **options: Any) -> None:
        rounds.append([errand.job.stage for errand in errands])
        do(crew, errands, *rest, **options)

    monkeypatch.setattr(Crew, "do", counting)
    config = AuditConfig(ensemble=2, epochs=1, planted=0.0, strategy="plain", loss="auto")
    plan = replace(PLAN, epochs=1, ensemble=2, recipes=6)
    found, evidence = [], []
    for crew in (None, lasting):
        with Run.start(tmp_path / str(crew is None), "world", KEY) as run:
            evidence.append(watch(TASK, plan, config, run=run, clock=Clock(), crew=crew))
            tried = run.facts("search")["tried"]
            found.append([{**each, "seconds": 0} for each in tried])
            assert all(each["seconds"] > 0 for each in tried)
    assert found[0] == found[1]
    np.testing.assert_array_equal(evidence[0].pred_probs, evidence[1].pred_probs)
    assert rounds[0] == ["proxy-0", *[f"search-{recipe}-0-0" for recipe in range(1, len(found[0]))]]
    columns = [{stage[-4:] for stage in stages if stage.startswith("search")} for stages in rounds]
    assert columns == [{"-0-0"}, {"-1-0"}, {"-0-1"}, {"-1-1"}]

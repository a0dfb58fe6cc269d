"""How long an audit takes, and how far it is: arithmetic on seconds that are wound by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_ensemble import PLAN

from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.errors import StoppedEarly
from cleanlab_lite.forecast import Course, Forecast, Part, Speed, Wave, epochs_of, schedule_seconds
from cleanlab_lite.judge.cost import heads_seconds, judge_seconds
from cleanlab_lite.progress import Progress
from cleanlab_lite.train.timing import Stopwatch, forecast, schedules

TRAINED = Part("train", 60, 60, 120, epochs=60), Part("pixels", 20, 10, 30, epochs=20)
FORECAST = Forecast((Part.sure("decode", 10), *TRAINED, Part.sure("judge", 10)))


class Walk:
    """A course, and what it said at every event."""

    def __init__(self, forecast: Forecast = FORECAST) -> None:
        self.now = 0.0
        self.course = Course(forecast, lambda: self.now)
        self.shares: list[float] = []

    def to(self, now: float, name: str, done: float, work: float = 1.0, *, found: bool = False) -> tuple[float, float]:
        self.now = now
        share, left = self.course.hear(name, done, work, found=found)
        self.shares.append(share)
        return share, left


def test_a_forecast_that_comes_true_is_told_to_the_second():
    walk = Walk()
    for second in range(101):
        name, begun, length = next(
            part for part in (("judge", 90, 10), ("pixels", 70, 20), ("train", 10, 60), ("decode", -1, 10))
            if second > part[1]
        )  # fmt: skip
        share, left = walk.to(second, name, (second - max(begun, 0)) / length)
        assert left == pytest.approx(100 - second, abs=1e-6)
        assert share == pytest.approx(min(second / 100, 0.99) if second < 100 else 1)


def test_what_takes_three_times_as_long_corrects_the_rest():
    walk = Walk()
    for second in range(31):
        _, left = walk.to(second, "decode", second / 30)
    assert 150 < left <= 270  # 90 were expected
    for second in range(31, 120):
        _, left = walk.to(second, "train", (second - 30) / 180)
    assert left == pytest.approx(3 * (FORECAST.seconds - 10) - 90, rel=0.1)
    assert walk.shares == sorted(walk.shares) and walk.shares[-1] < 0.99


def test_the_share_never_falls_and_is_whole_at_the_end_only():
    walk = Walk()
    rng = np.random.default_rng(0)
    now = 0.0
    for name in ("decode", "train", "pixels", "judge"):
        for done in np.sort(rng.random(20)):
            now += rng.exponential(5.0)
            walk.to(now, name, float(done), work=1 + float(rng.random()))
    assert walk.shares == sorted(walk.shares) and max(walk.shares) <= 0.99
    assert walk.to(now, "judge", 1.0) == (1.0, 0.0)


def test_work_of_an_earlier_process_counts_as_done_and_not_as_speed():
    walk = Walk()
    walk.to(0, "decode", 1.0, found=True)
    share, left = walk.to(0, "train", 0.5, found=True)
    assert (share, left) == (pytest.approx(0.4), pytest.approx(60))
    _, left = walk.to(15, "train", 0.75)
    assert left == pytest.approx(45, rel=0.05)


def test_a_part_that_is_left_out_is_passed_over():
    walk = Walk()
    walk.to(10, "decode", 1)
    walk.to(70, "train", 1)
    walk.to(75, "pixels", 0.25)
    _, left = walk.to(75, "judge", 0)
    assert left == pytest.approx(10)
    assert walk.to(75, "else", 0.5)[1] == pytest.approx(10)  # what no forecast knows


def test_what_is_gone_through_twice_is_done_the_first_time():
    walk = Walk()
    for second in range(11):
        walk.to(second, "decode", second / 10)
    for second in range(11, 21):
        walk.to(second, "decode", (second - 10) / 10)
    assert walk.shares == sorted(walk.shares)
    assert walk.to(20, "train", 0)[1] == pytest.approx(90, rel=0.5)


# --- Through the clock -----------------------------------------------------------------------------------------------


def test_events_say_how_far_the_whole_audit_is():
    heard: list[Progress] = []
    clock = Clock(on_progress=heard.append, forecast=FORECAST)
    clock(Progress("decode", 0, 4, "files"))
    clock(Progress("decode", 4, 4, "files"))
    clock.begin("train")
    trial = clock.pulse(20, "trying 20 epochs", "trial-20")
    for epoch in range(20):
        trial.end_epoch(epoch)
    clock.expect(60, ["trial-20"])
    clock.found("proxy-1", 20)
    clock.reach(40)
    last = clock.pulse(20, "network 3 of 3", "proxy-2")
    for epoch in range(20):
        last.end_epoch(epoch)
    clock.begin("pixels")
    clock.tell(Progress("judge", 0, 1, "steps"))
    clock.tell(Progress("judge", 1, 1, "steps"))
    shares = [event.share for event in heard]
    assert shares == sorted(shares) and shares[-1] == 1.0 and shares[-2] < 1
    assert [event.left for event in heard if event.stage == "judge"][-1] == 0
    assert (heard[-3].done, heard[-3].total, heard[-3].note) == (60, 60, "network 3 of 3")


def test_a_network_of_a_later_part_moves_the_line_and_is_not_counted_twice():
    heard: list[Progress] = []
    clock = Clock(on_progress=heard.append, forecast=FORECAST)
    clock.begin("train")
    clock.expect(60)
    networks = clock.pulse(60, "network 3 of 3", "proxy-2")
    for epoch in range(60):
        networks.end_epoch(epoch)
    for epochs in (2, 4, 6, 8, 10):
        clock.ahead("pixels", epochs)
    shares, left = [event.share for event in heard[-6:]], [event.left for event in heard[-6:]]
    assert all(np.diff(shares) > 0.01) and all(np.diff(left) < 0)
    clock.begin("pixels")
    clock.found("pixels-proxy-0", 10)
    clock.pulse(10, "network 2 of 3", "pixels-proxy-1").end_epoch(0)
    assert shares[-1] < heard[-1].share < shares[-1] + 0.03  # an epoch more, of a hundred
    clock.ahead("else", 5)  # what no forecast knows


def test_what_the_cache_holds_is_no_speed():
    heard: list[Progress] = []
    clock = Clock(on_progress=heard.append, forecast=FORECAST)
    clock(Progress("decode", 400, 400, "files", "400 from the cache"))
    assert heard[0].left == pytest.approx(90) and heard[0].share == pytest.approx(0.1)


@pytest.mark.parametrize(("cached", "left"), [(0.8, 100), (1.0, 90)])
def test_seconds_that_are_of_what_the_cache_lacks_are_left_when_that_begins(cached, left):
    heard: list[Progress] = []
    decode = Part.sure("decode", 10, cached)
    clock = Clock(on_progress=heard.append, forecast=Forecast((decode, *FORECAST.parts[1:])))
    clock(Progress("decode", round(100 * cached), 100, "files", "from the cache"))
    assert heard[0].left == pytest.approx(left)
    beyond = [decode.beyond(done) for done in (0.5, 0.9, 1)]
    assert beyond == pytest.approx([0, 0.5, 1] if cached < 1 else [0.5, 0.9, 1])


def test_without_a_forecast_events_are_passed_on_as_they_are():
    heard: list[Progress] = []
    clock = Clock(on_progress=heard.append)
    clock(Progress("decode", 1, 4, "files"))
    clock.pulse(2, "proxy").end_epoch(0)
    assert heard == [Progress("decode", 1, 4, "files"), Progress("train", 1, 2, "epochs", "proxy")]


def test_a_budget_that_was_overrun_says_why(monkeypatch):
    from types import SimpleNamespace

    from cleanlab_lite import clock as clocks

    now = 0.0
    monkeypatch.setattr(clocks, "time", SimpleNamespace(monotonic=lambda: now))
    clock = Clock(20)
    clock(Progress("decode", 0, 100, "files"))
    now = 144.0
    with pytest.raises(StoppedEarly) as caught:
        clock(Progress("decode", 64, 100, "files"))
    assert "124 s late" in str(caught.value) and "nothing yet to go on from" in str(caught.value)

    now = 0.0
    clock = Clock(20)
    clock.moved = True
    clock.check("network 1 of 3, epoch 1 of 8")
    now = 30.0
    with pytest.raises(StoppedEarly, match="10 s late, after network 1 of 3, epoch 1 of 8, which is done in one piece"):
        clock.check("network 1 of 3, epoch 2 of 8")
    assert "10 s over the time budget of 20 s" in clock.overrun()
    now = 20.5
    assert clock.overrun() == ""


# --- Networks --------------------------------------------------------------------------------------------------------

SPEED = Speed(begin=1.0, step=0.1, epoch=0.2, row=0.01, batch=10)


def test_the_seconds_of_a_network():
    assert SPEED.of(2, rows=80, observed=100) == pytest.approx(1 + 1 + 2 * (8 * 0.1 + 0.2 + 1))
    one = SPEED.of(2, rows=80, observed=100)
    waves = [Wave(1, 2), Wave(3, 2), Wave(1, 2)]
    assert schedule_seconds(waves, SPEED, 80, 100, workers=1) == pytest.approx(5 * one)
    assert schedule_seconds(waves, SPEED, 80, 100, workers=2) == pytest.approx(4 * one)
    assert schedule_seconds([Wave(1, 2, 0.5)], SPEED, 160, 100, workers=1) == pytest.approx(one)
    assert epochs_of(waves) == 10


def test_what_is_trained_is_what_trials_most_likely_choose():
    config = AuditConfig(planted=0.1)
    plan = replace(PLAN, proxy="mlp", ensemble=5, epochs=0)  # 16 epochs at least

    def epochs(waves: list[Wave]) -> list[tuple[int, int]]:
        return [(wave.networks, wave.epochs) for wave in waves]

    usual, most = schedules(plan, config, rival=False)
    assert epochs(usual) == [(1, 16), (1, 32), (4, 16), (1, 16)]
    assert epochs(most) == [(1, 16), (1, 32), (4, 32), (1, 32)]
    usual, most = schedules(plan, config, rival=True)
    assert epochs(usual) == [(1, 16), (4, 16), (1, 16)]
    assert epochs(most) == [(1, 16), (1, 32), (4, 32), (1, 32)]
    many = replace(plan, device="cuda", labelled=20_000)
    usual, most = schedules(many, config, rival=True, first_alone=True)
    assert usual == most and epochs(usual) == [(1, 16), (4, 16), (1, 16)]
    assert epochs(schedules(many, config, rival=False)[1]) == [(5, 16), (1, 16)]
    named = schedules(replace(plan, epochs=3), replace(config, second_split=True), rival=True)
    assert epochs(named[0]) == [(5, 3), (1, 3), (1, 3), (1, 3), (1, 3), (1, 3)] and named[0] == named[1]
    beside = schedules(replace(plan, epochs=3), replace(config, planted=0.0), rival=True, first_alone=True)
    assert epochs(beside[0]) == [(1, 3), (4, 3)]


def test_a_stopwatch_tells_steps_from_rows():
    """Building takes 5 s, a step 2 s, between training and looking 0.5 s; 100 rows take 4 s, as their features do."""
    epoch = np.array([2, 4, 6, 6.5, 8.5, 10.5])
    times = iter([0.0, *(5 + epoch), *(5 + 10.5 + epoch)])
    watch = Stopwatch("cpu", 2, lambda: next(times))
    for watch.epoch in range(2):
        for _ in range(3):
            watch.step()
        watch.look()
        watch.look()
        watch.end_epoch(watch.epoch)
    speed = watch.speed(5 + 2 * 10.5 + 4, rows=100, batch=8)
    assert (speed.begin, speed.step, speed.epoch, speed.row, speed.batch) == (5.0, 2.0, 0.5, 0.04, 8)


def test_a_regression_costs_as_many_rows_and_columns_as_it_has():
    assert 1.5 < heads_seconds(200_000, 10, [300]) / heads_seconds(100_000, 10, [300]) < 2.1
    assert heads_seconds(1000, 10, [300, 200]) > heads_seconds(1000, 10, [500])  # each view alone, too


def test_the_parts_of_an_audit_are_forecast_and_nothing_is_left_behind(tmp_path, monkeypatch):
    from test_plan import vectors

    from cleanlab_lite.train.plan import make_plan

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    manifest = vectors(400)
    config = AuditConfig(device="cpu", ensemble=3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    found = forecast(manifest, make_plan(manifest, config), config)
    assert [part.name for part in found.parts] == ["decode", "duplicates", "heads", "train", "judge", "report"]
    assert 0 < found.least <= found.seconds < found.most
    closed = replace(config, heads="closed")
    found = forecast(manifest, make_plan(manifest, closed), closed)
    assert [part.name for part in found.parts] == ["decode", "duplicates", "heads", "judge", "report"]
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    assert not list(tmp_path.glob("nlclean-*")) and not (tmp_path / "cache").exists()


def test_a_forecast_looks_into_the_cache_and_says_so(tmp_path, monkeypatch):
    from PIL import Image

    from cleanlab_lite.data.inputs import load_inputs
    from cleanlab_lite.manifest.readers import read_manifest
    from cleanlab_lite.train.encode import encode
    from cleanlab_lite.train.ensemble import PRECISIONS
    from cleanlab_lite.train.models import lite
    from cleanlab_lite.train.models.encoders import describe_encoder, load_encoder
    from cleanlab_lite.train.plan import make_plan
    from nlclean.views.plan import cached_in_words

    pytest.importorskip(lite.PACKAGE)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("cleanlab_lite.data.packs.RACY_NS", 0)
    rng = np.random.default_rng(0)
    for i in range(24):
        place = tmp_path / "pets" / ("cat", "dog")[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(place)
    config = AuditConfig(device="cpu", heads="closed")

    def told(folder: str) -> tuple[dict[str, float], str]:
        manifest = read_manifest(tmp_path / folder)
        found = forecast(manifest, make_plan(manifest, config), config)
        return found.facts()["estimated_cached"], cached_in_words(found, "image")

    assert told("pets") == ({}, "") and not (tmp_path / "cache").exists()
    manifest = read_manifest(tmp_path / "pets")
    plan = make_plan(manifest, config)
    inputs = load_inputs(manifest, plan.picture_size)
    assert told("pets") == ({"decode": 1.0}, "the cache holds the pictures, and no vectors yet")
    encoder = load_encoder(describe_encoder(plan.encoder, plan.image_size), plan.encoder_weights)
    precision = PRECISIONS[plan.encoder_precision]
    encode(inputs.select(np.arange(12)), encoder, device=torch.device("cpu"), autocast=precision)
    halves = {"decode": 1.0, "encode": 0.5}
    assert told("pets") == (halves, "the cache holds the pictures, and the vectors of 50 %")
    encode(inputs, encoder, device=torch.device("cpu"), autocast=precision)
    both = {"decode": 1.0, "encode": 1.0}, "the cache holds the pictures and their vectors"
    assert told("pets") == both
    (tmp_path / "pets").rename(tmp_path / "moved")
    assert told("moved") == both  # by their content


def test_wide_vectors_cost_the_judge_more_and_no_more_than_they_are_wider():
    narrow, wide = (judge_seconds(100_000, 10, d) for d in (128, 744))
    assert 1.5 * narrow < wide < 744 / 128 * narrow


def test_a_few_pieces_of_long_sounds_tell_how_long_filters_take(tmp_path, monkeypatch):
    import wave

    from cleanlab_lite.manifest.readers import read_manifest
    from cleanlab_lite.train.filters import Filters
    from cleanlab_lite.train.plan import make_plan

    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for i in range(4):
        place = tmp_path / "calls" / ("owl", "crow")[i % 2] / f"{i}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(place), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(rng.integers(-9000, 9000, 8000 * 20).astype("<i2").tobytes())
    compared, call = [], Filters.__call__

    def counted(self: Filters, pictures: np.ndarray) -> np.ndarray:
        compared.append(len(pictures))
        return call(self, pictures)

    monkeypatch.setattr(Filters, "__call__", counted)
    config = AuditConfig(device="cpu", heads="closed", views="filters")
    manifest = read_manifest(tmp_path / "calls")
    found = forecast(manifest, make_plan(manifest, config), config)
    assert "filters" in [part.name for part in found.parts]
    assert 0 < sum(compared) < 1000 * torch.get_num_threads()

"""Where wrong labels come from: who is noisier is found, once; chance is not; and it is said in all places."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_world import task, vectors
from cli_world import call
from scipy.stats import beta, false_discovery_control, pearson3

import cleanlab_lite as cl
from cleanlab_lite.judge.calibration import scale_odds
from cleanlab_lite.judge.provenance import Source, beyond, false_discovery_rates, find_sources
from cleanlab_lite.manifest.provenance import provenance_columns
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.run.summary import NoisySource

N, K = 2000, 5
ALONE = np.arange(N)  # no copies


def test_tails_and_false_discoveries_are_those_of_scipy():
    x, skewness = np.meshgrid(np.linspace(-4, 6, 21), [-3, -0.5, -1e-3, 0, 1e-3, 0.5, 3.0])
    np.testing.assert_allclose(beyond(x, skewness), pearson3.sf(x, skewness), rtol=1e-6, atol=1e-300)
    p = np.random.default_rng(0).random(40) ** 3
    np.testing.assert_allclose(false_discovery_rates(p), false_discovery_control(p))


class World:
    """Labels, and p_mislabel as an audit of average strength gives it."""

    def __init__(self, seed: int, noise: np.ndarray | float = 0.15) -> None:
        self.rng = np.random.default_rng(seed)
        self.labels = self.rng.integers(0, K, N)
        wrong = self.rng.random(N) < noise
        self.p = np.where(wrong, self.rng.beta(2, 1, N), self.rng.beta(0.2, 2, N))

    def drawn(self, values: int) -> np.ndarray:
        return self.rng.integers(0, values, N)

    def found(self, *columns: np.ndarray, group: np.ndarray = ALONE) -> list[Source]:
        return [source for source in find_sources(columns, self.p, self.labels, group) if source.found]


def annotators(seed: int) -> np.ndarray:
    """(N,) the annotator of each row; annotator 0 has a tenth of them."""
    return np.random.default_rng(1000 + seed).integers(0, 10, N)


def pairs(found: list[Source]) -> list[tuple[int, int]]:
    return [(source.column, source.value) for source in found]


def test_columns_of_chance_say_nothing():
    worlds = [World(seed) for seed in range(60)]
    assert sum(bool(world.found(*(world.drawn(v) for v in (2, 10, 40)))) for world in worlds) <= 6


def test_a_bad_annotator_is_found():
    worlds = [(World(seed, np.where(annotators(seed) == 0, 0.375, 0.125)), annotators(seed)) for seed in range(40)]
    found = [world.found(who, world.drawn(20)) for world, who in worlds]
    assert sum((0, 0) in pairs(each) for each in found) >= 38
    assert sum(len(each) for each in found) <= 43  # and hardly anything else
    ratios = [source.rate / source.expected for each in found for source in each if source.value == 0]
    assert 2 < np.mean(ratios) < 3.5


def test_the_interval_holds_the_rate_of_a_bad_annotator_where_the_whole_is_underestimated():
    holds = []
    for seed in range(40):
        who, rng = annotators(seed), np.random.default_rng(seed)
        wrong = rng.random(N) < np.where(who == 0, 0.375, 0.125)
        seen = np.where(wrong, rng.beta(2, 1, N), rng.beta(0.5, 2, N))
        odds = 0.15 / 0.85 * beta.pdf(seen, 2, 1) / np.maximum(beta.pdf(seen, 0.5, 2), 1e-9)
        p = scale_odds(odds / (1 + odds), 0.125)
        [source] = [s for s in find_sources([who], p, rng.integers(0, K, N), ALONE) if s.value == 0]
        assert source.low <= source.rate <= source.high <= 0.6
        holds.append(source.low <= wrong[who == 0].mean() <= source.high)
    assert np.mean(holds) >= 0.9


def test_who_was_given_the_hard_class_is_not_noisy():
    rng = np.random.default_rng(0)
    world = World(0)
    hard = world.labels == 0
    world.p = np.where(hard, rng.beta(1, 1, N), rng.beta(0.2, 2, N))
    who = np.where(hard & (rng.random(N) < 0.9), 0, 1 + world.drawn(4))
    assert world.p[who == 0].mean() > 2 * world.p[who > 0].mean()
    assert not world.found(who)


def test_batches_of_a_bad_annotator_are_not_told_again():
    who = annotators(1)
    world = World(1, np.where(who == 0, 0.5, 0.1))
    batch = 3 * who + world.drawn(3)
    assert pairs(world.found(who, batch, who)) == [(0, 0)]
    table = find_sources([who, batch], world.p, world.labels, ALONE)
    assert sum(source.q < 0.05 for source in table) > 1  # though they are noisier than the rest


def test_of_an_annotator_with_one_bad_batch_the_batch_is_told():
    who = annotators(2)
    batch = 3 * who + np.random.default_rng(2).integers(0, 3, N)
    world = World(2, np.where(batch == 1, 0.7, 0.1))
    assert pairs(world.found(who, batch)) == [(1, 1)]


def test_two_bad_annotators_are_both_found():
    who = annotators(3)
    world = World(3, np.where(who == 0, 0.6, np.where(who == 1, 0.4, 0.1)))
    assert pairs(world.found(who)) == [(0, 0), (0, 1)]


def test_copies_count_once():
    rng = np.random.default_rng(0)
    world = World(4)
    group = np.where(ALONE < 30, 0, ALONE)  # one wrong row, thirty times
    world.labels[:30], world.p[:30] = 0, 0.99
    who = np.where(ALONE < 30, 0, np.where(rng.random(N) < 0.02, 0, 1))
    assert world.found(who)
    assert not world.found(who, group=group)


def test_nothing_to_test():
    world = World(0)
    assert find_sources([], world.p, world.labels, ALONE) == []
    assert find_sources([world.labels, ALONE, np.zeros(N, int)], world.p, world.labels, ALONE) == []


def test_the_columns_that_may_say_where_labels_come_from(tmp_path):
    n = 40
    columns = dict(
        path=[f"data/site{i % 2}/{'cat' if i % 4 < 2 else 'dog'}/b{i % 5}/{i}.png" for i in range(n)],
        label=["cat" if i % 4 < 2 else "dog" for i in range(n)],
        second_opinion=["dog" if i % 3 else "cat" for i in range(n)],
        annotator=["anna" if i % 2 else None for i in range(n)],
        year=[2020 + i % 2 for i in range(n)],
        labelled=[date(2024, 1 + i % 3, 1 + i % 28) for i in range(n)],
        scanned=[f"2023:0{1 + i % 4}:11 10:00:00" for i in range(n)],
        comment=[f"note {i}" for i in range(n)],
        box=[[1, 2, 3, 4]] * n,
        split=["test" if i % 4 == 0 else "train" for i in range(n)],
    )
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    manifest = read_manifest(tmp_path / "m.parquet")
    found = {column.name: column.values for column in provenance_columns(manifest)}
    assert found == {
        "annotator": ("", "anna"),
        "year": ("2020", "2021"),
        "split": ("test", "train"),
        "folder": ("site0", "site1"),
        "labelled": ("2024-01", "2024-02", "2024-03"),
        "scanned": ("2023-01", "2023-02", "2023-03", "2023-04"),
        "folder 2": tuple(f"site{s}/b{b}" for s in (0, 1) for b in range(5)),
    }


def test_the_sentence():
    source = NoisySource("annotator", "B", 300, 0.4, 0.3, 0.5, 4.12, 1e-6, "cat", "lynx", 0.7)
    assert source.in_words == "rows of annotator B are 4.1 times noisier (q = 1e-06), mostly cat -> lynx"
    unknown = NoisySource("annotator", "", 300, 0.4, 0.3, 0.5, 2.0, 0.012)
    assert unknown.in_words == "rows without annotator are 2.0 times noisier (q = 0.01)"


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """An audit of rows of which one annotator's are wrong, mostly class 0 instead of 1; and the answer."""
    folder = tmp_path_factory.mktemp("provenance")
    given = task(400, wrong=0)
    rng = np.random.default_rng(0)
    who = np.array(["anna", "ben", "eve<b>"])[rng.integers(0, 3, 400)]
    labels = given.truth.copy()
    labels[(who == "eve<b>") & (given.truth == 1) & (rng.random(400) < 0.7)] = 0
    names = np.array(["lynx", "cat", "dog"])
    features = pa.FixedSizeListArray.from_arrays(pa.array(vectors(given.truth).ravel()), 8)
    pq.write_table(pa.table({"features": features, "label": names[labels], "who": who}), folder / "m.parquet")
    cl.audit(folder / "m.parquet", out=folder / "run", preset="fast")
    return folder / "run"


def test_an_audit_says_who_is_noisy(audited, capsys):
    shown = json.loads(call(capsys, "report", audited, "--json").out)["provenance"]
    assert [(row["column"], row["value"], row["given"], row["suggested"]) for row in shown] == [
        ("who", "eve<b>", "lynx", "cat")
    ]
    assert "  rows of who eve<b> are " in call(capsys, "report", audited).out
    table = pq.read_table(audited / "provenance.parquet").to_pylist()
    assert [row["value"] for row in table] == ["eve<b>", *(row["value"] for row in table[1:])]
    assert [row["found"] for row in table] == [True, False, False]
    assert table[0]["low"] < table[0]["rate"] < table[0]["high"]


def test_the_page_shows_who_is_noisy(audited, capsys):
    page = audited.parent / "page.html"
    assert call(capsys, "report", audited, "--html", page).code == 0
    text = page.read_text("utf-8")
    assert "Where wrong labels come from" in text
    assert "eve&lt;b&gt;" in text
    assert "eve<b>" not in text.split('id="data"')[0]

"""The Recorder: the numbers of `statistics`, whoever trains, in whatever order the rows come; the file it leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import cleanlab_lite as cl
from cleanlab_lite.errors import EvidenceError
from cleanlab_lite.evidence import recorder as module
from cleanlab_lite.evidence.history import HELD_OUT, statistics
from cleanlab_lite.evidence.recorder import FILE, Recorder, read_history

N, K, E = 37, 4, 3


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(scale=5, size=(E, N, K)).astype(np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, K, N)


def record(logits: np.ndarray, labels: np.ndarray, kind=np.asarray, batch: int = 8) -> Recorder:
    """Every row once an epoch, in another order each time."""
    recorder = Recorder(N, K)
    rng = np.random.default_rng(2)
    for epoch in logits:
        order = rng.permutation(N)
        for start in range(0, N, batch):
            ids = order[start : start + batch]
            recorder.update(kind(ids), kind(epoch[ids]), kind(labels[ids]))
        recorder.end_epoch()
    return recorder


def assert_equal(history: cl.History, logits: np.ndarray, labels: np.ndarray) -> None:
    for epoch in range(len(logits)):
        expected = statistics(logits[epoch], labels)
        for found, values in zip((history.loss, history.margin, history.predicted), expected, strict=True):
            assert found.dtype == values.dtype
            np.testing.assert_array_equal(found[0, epoch], values)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, np.ndarray.tolist], ids=["array", "tensor", "list"])
def test_numbers_are_those_of_our_own_training(logits, labels, kind):
    history = record(logits, labels, kind).history()
    assert history.shape == (1, E, N)
    assert_equal(history, logits, labels)
    np.testing.assert_array_equal(history.trained_on, labels[None])


def test_a_full_buffer_changes_nothing(logits, labels, monkeypatch):
    monkeypatch.setattr(module, "BUFFER", 10 * K)
    assert_equal(record(logits, labels, torch.as_tensor).history(), logits, labels)


def test_half_precision_is_recorded_as_it_is(logits, labels):
    half = torch.as_tensor(logits).to(torch.bfloat16)
    recorder = Recorder(N, K)
    recorder.update(torch.arange(N), half[0], torch.as_tensor(labels, dtype=torch.int32))
    recorder.end_epoch()
    assert_equal(recorder.history(), half[:1].float().numpy(), labels)


def test_later_changes_of_the_tensors_do_not_matter(logits, labels):
    ids, values, given = torch.arange(N), torch.tensor(logits[0], requires_grad=True), torch.tensor(labels)
    recorder = Recorder(N, K)
    recorder.update(ids, values, given)
    values.data.zero_()
    ids.zero_()
    given.zero_()
    recorder.end_epoch()
    assert_equal(recorder.history(), logits[:1], labels)


def test_rows_without_an_update_are_unknown(logits, labels):
    recorder = Recorder(N, K)
    recorder.update(np.arange(5), logits[0][:5], labels[:5])
    recorder.end_epoch()
    recorder.update(np.arange(3, 9), logits[1][3:9], labels[3:9])
    recorder.end_epoch()
    history = recorder.history()
    assert np.isfinite(history.loss[0]).sum(axis=1).tolist() == [5, 6]
    assert np.isnan(history.margin[0, 0, 5:]).all() and np.isnan(history.margin[0, 1, :3]).all()
    assert (history.predicted[0, 0, 5:] == -1).all()
    assert (history.trained_on[0, 9:] == HELD_OUT).all() and (history.trained_on[0, :9] == labels[:9]).all()


def test_the_last_update_of_an_epoch_stays(logits, labels):
    """Samplers of several processes repeat rows to make batches even."""
    recorder = Recorder(N, K)
    recorder.update([3, 4], logits[0][[3, 4]], labels[[3, 4]])
    recorder.update([3], logits[1][[3]], labels[[3]])
    recorder.end_epoch()
    assert recorder.history().margin[0, 0, 3] == statistics(logits[1], labels)[1][3]


@pytest.mark.parametrize(
    ("ids", "shape", "labels", "message"),
    [
        ([0, 1], (2, K + 1), [0, 1], "shapes"),
        ([0, 1], (2, K), [0], "shapes"),
        ([0, N], (2, K), [0, 1], f"ids must lie in 0..{N - 1}, found 0..{N}"),
        ([0, -1], (2, K), [0, 1], "ids must lie in"),
        ([0, 1], (2, K), [0, K], f"labels must lie in 0..{K - 1}"),
        ([0, 0], (2, K), [0, 1], "row 0 comes with different labels"),
    ],
)
def test_wrong_batches_are_refused(ids, shape, labels, message):
    recorder = Recorder(N, K)
    with pytest.raises(EvidenceError, match=message):  # noqa: PT012
        recorder.update(ids, np.zeros(shape), labels)
        recorder.end_epoch()


def test_a_label_that_changes_between_epochs_is_refused(logits, labels):
    recorder = record(logits, labels)
    recorder.update([7], logits[0][[7]], [(labels[7] + 1) % K])
    with pytest.raises(EvidenceError, match="row 7 comes with different labels"):
        recorder.end_epoch()


def test_a_plain_loop_of_torch(labels):
    """The wrong labels of separable blobs are what the recorded margins rank lowest."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(300) % 3
    x = 4 * torch.eye(3)[truth] + torch.randn(300, 3, generator=generator)
    given = truth.clone()
    given[:20] = (truth[:20] + 1) % 3
    torch.manual_seed(0)
    network = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    data = torch.utils.data.TensorDataset(torch.arange(300), x, given)
    recorder = cl.Recorder(300, 3)
    for _ in range(5):
        for ids, inputs, targets in torch.utils.data.DataLoader(data, 32, shuffle=True, generator=generator):
            logits = network(inputs)
            recorder.update(ids, logits, targets)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, targets).backward()
            optimizer.step()
        recorder.end_epoch()
    margin = recorder.history().margin[0].mean(axis=0)
    assert set(np.argsort(margin)[:18]) <= set(range(20))


def test_nothing_but_tensors_loads_torch():
    code = (
        "import sys, cleanlab_lite as cl; r = cl.Recorder(2, 2); r.update([0], [[1, 2]], [0]); r.end_epoch();"
        "r.history(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the file --------------------------------------------------------------------------------------------------------


def test_what_was_saved_is_read_again(logits, labels, tmp_path):
    recorder = record(logits, labels)
    path = recorder.save(tmp_path / "new" / "folder")
    recorder.update([0], logits[0][[0]], labels[[0]])  # of an epoch that has not ended: not in the file
    assert recorder.save(tmp_path / "new" / "folder") == path
    history, num_classes = read_history(tmp_path / "new" / "folder")
    assert num_classes == K
    assert_equal(history, logits, labels)
    np.testing.assert_array_equal(history.trained_on[0], labels)
    assert [file.name for file in path.parent.iterdir()] == [FILE]


def test_nothing_recorded_is_not_saved(tmp_path):
    with pytest.raises(EvidenceError, match="no epoch"):
        Recorder(N, K).save(tmp_path)
    with pytest.raises(EvidenceError, match="holds no history"):
        read_history(tmp_path)


def rewritten(path: Path, **changes: np.ndarray) -> None:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": np.array(99)}, "version 99"),
        ({"loss": None}, "lacks loss"),
        ({"margin": np.zeros((1, 2))}, "shapes"),
        ({"labels": np.array([{}])}, "cannot read"),  # a pickle
    ],
)
def test_other_files_are_refused(logits, labels, tmp_path, changes, message):
    rewritten(record(logits, labels).save(tmp_path), **changes)
    with pytest.raises(EvidenceError, match=message):
        read_history(tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"text"])
def test_damaged_files_are_refused(logits, labels, tmp_path, damage):
    path = record(logits, labels).save(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(EvidenceError, match="cannot read"):
        read_history(tmp_path)

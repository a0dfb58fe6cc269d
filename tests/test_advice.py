"""What to try where nothing was learned: it fits the data, and is not what the run has done already."""

from __future__ import annotations

import pytest

from cleanlab_lite.report.advice import advise

TRAINED = {"proxy": "cnn", "epochs": 16, "sample_rate": 16_000}
CLOSED = {"proxy": "ridge", "epochs": 0}


def text(*arguments):
    return "\n".join(advise(*arguments))


def test_pictures_are_advised_a_pretrained_encoder():
    assert "--proxy lite0" in text("image", TRAINED, None) and "torchvision:" in text("image", TRAINED, None)


def test_sounds_are_never_sent_to_an_encoder_of_pictures():
    for encoder in (None, {"name": "lite0"}):
        found = text("sound", TRAINED, encoder)
        assert "torchvision" not in found and "timm" not in found
        assert "--features" in found and "--sample-rate" in found and "16,000 Hz" in found
    assert "log-mel" in text("sound", TRAINED, None)


def test_vectors_are_advised_other_vectors_and_a_look_at_their_order():
    found = text("vector", TRAINED, None)
    assert "--proxy" not in found and "--features" in found and "row i of the manifest" in found


@pytest.mark.parametrize("modality", ["image", "sound"])
def test_what_was_used_is_not_advised(modality):
    assert "lite0" not in text(modality, CLOSED, {"name": "lite0"})
    assert "--heads trained" in text(modality, CLOSED, {"name": "lite0"})
    assert "--heads" not in text(modality, TRAINED, None)
    assert "--epochs" not in text(modality, CLOSED, None)


def test_more_epochs_are_more_than_there_were():
    assert "--epochs 32" in text("vector", TRAINED, None)


def test_ones_own_evidence_is_to_be_in_order():
    found = text("image", None, None)
    assert "history and probabilities" in found and "--proxy" not in found and "--epochs" not in found

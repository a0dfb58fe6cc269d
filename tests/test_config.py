"""Options of an audit from Python: one table of what each may be, every wrong value named, no wrong name taken."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from cleanlab_lite.config import FIELDS, PRESETS, AuditConfig, as_dict, preset, validate
from cleanlab_lite.errors import ConfigError

every_option = pytest.mark.parametrize(("name", "option"), FIELDS.items(), ids=FIELDS)


@every_option
def test_an_option_says_all_there_is_to_know_of_it(name, option):
    assert option.help.endswith(".") and "\n" not in option.help
    assert getattr(AuditConfig(), name) == option.default
    assert validate(AuditConfig()) == AuditConfig()
    left_open = option.default in ("", "auto", "default") or not option.within(option.default)
    assert option.stands_for or not left_open, "say what is chosen"


@every_option
def test_a_value_out_of_bounds_is_refused_and_the_bounds_are_not(name, option):
    if option.kind in (int, float):
        step = 1 if option.kind is int else 1e-6
        for bound, beyond in ((option.least, option.least - step), (option.most, option.most + step)):
            if np.isfinite(bound):
                assert getattr(preset("balanced", **{name: bound}), name) == bound
                if beyond != option.default:
                    with pytest.raises(ConfigError, match=f"^{name} is .*, must {option.bounds}"):
                        preset("balanced", **{name: beyond})
    for choice in option.choices:
        assert getattr(preset("balanced", **{name: choice}), name) == choice


@every_option
@pytest.mark.parametrize(
    "wrong", [None, [1], float("nan"), 10**400, object], ids=["none", "list", "nan", "huge", "class"]
)
def test_a_value_of_another_type_is_refused(name, option, wrong):
    with pytest.raises(ConfigError, match=f"{name} is"):
        preset("balanced", **{name: wrong})


def test_text_is_no_number_and_a_number_no_switch():
    for changes in ({"epochs": "8"}, {"planted": "0.1"}, {"epochs": True}, {"second_split": 1}, {"epochs": 2.5}):
        with pytest.raises(ConfigError, match=", must be "):
            preset("balanced", **changes)


def test_numbers_of_numpy_and_whole_floats_are_taken_as_plain_ones():
    config = preset("balanced", epochs=np.int64(8), batch_size=32.0, planted=np.float32(0.25), time_budget=60)
    assert (config.epochs, config.batch_size, config.planted, config.time_budget) == (8, 32, 0.25, 60.0)
    assert [type(value) for value in as_dict(config).values()] == [option.kind for option in FIELDS.values()]
    assert preset("balanced", weights=Path("weights.safetensors")).weights == "weights.safetensors"


def test_all_wrong_values_are_named_at_once():
    wrong = {"epochs": -1, "batch_size": 1, "image_size": 4, "precision": "fp8", "loss": 3, "sample_rate": 100}
    with pytest.raises(ConfigError) as caught:
        preset("balanced", **wrong)
    assert caught.value.message.split("; ") == [
        "epochs is -1, must be at least 1, or 0 (8, for mlp 16, doubled up to 32 until near a regression, else while "
        "held-out rows agree better)",
        "image_size is 4, must lie in 8..1024 px, or 0 (160 by lite0 and 32 by networks beside it, or the "
        "median shorter side, snapped down to 32, 48, 64, 96 or "
        "128)",
        "sample_rate is 100, must lie in 4000..400000 Hz, or 0 (8000 or 16000, by the files)",
        "loss is 3, must be text",
        "batch_size is 1, must be at least 2, or 0 (1/40 of the labelled rows, 32 to 128, of an encoder's vectors "
        "1/10, to 256, on a GPU to 2,048)",
        "precision is 'fp8', must be auto, fp32, bf16 or fp16",
    ]


def test_an_unknown_name_finds_its_neighbour():
    with pytest.raises(ConfigError) as caught:
        preset("balanced", epcohs=3, sed=1, colour="red")
    for part in ("'epcohs', did you mean 'epochs'?", "'sed', did you mean 'seed'?", "unknown option 'colour'"):
        assert part in caught.value.message
    assert ", ".join(FIELDS) in caught.value.hint
    with pytest.raises(ConfigError, match="unknown preset 'fats', did you mean 'fast'"):
        preset("fats")


def test_presets_change_options_that_there_are():
    assert list(FIELDS) == [field.name for field in fields(AuditConfig)]
    for name, changes in PRESETS.items():
        assert as_dict(preset(name)) == as_dict(AuditConfig()) | changes

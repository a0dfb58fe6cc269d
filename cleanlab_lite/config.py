"""Options of an audit: one frozen dataclass, one default for each, presets as named changes to it.

A field carries all there is to know of it. The command line, the files, the validation and docs/audit.md read it here,
so that an option is written once. What concerns several options at once is code, in `plan`.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Real
from typing import Any, Literal

from cleanlab_lite.errors import ConfigError

Group = Literal["how thorough", "the proxy", "how it is taught", "the machine"]
Unit = Literal["", "px", "Hz", "s", "GiB"]
UNITS: dict[Unit, str] = {"": "", "px": " of pixels", "Hz": " of Hz", "s": " of seconds", "GiB": " of GiB"}
NOUNS: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Option:
    """What is known of a field of AuditConfig. A default out of bounds stands for a choice, and is always allowed."""

    default: Any
    group: Group
    help: str  # a sentence for `--help` and the docs
    stands_for: str = ""  # what the default means, where it does not say so itself
    unit: Unit = ""  # "s" and "GiB" may be written as 25m and 512MiB
    least: float = -math.inf
    most: float = math.inf
    choices: tuple[str, ...] = ()

    @property
    def kind(self) -> type:
        return type(self.default)

    @property
    def bounds(self) -> str:
        """What a value must be, behind "must"; "" where all are allowed."""
        unit = f" {self.unit}" if self.unit else ""
        if self.choices:
            return f"be {', '.join(self.choices[:-1])} or {self.choices[-1]}"
        if math.isfinite(self.most):
            return f"lie in {self.least:.10g}..{self.most:.10g}{unit}"
        if self.least == 0:
            return "not be negative"
        return f"be at least {self.least:.10g}{unit}" if math.isfinite(self.least) else ""

    def within(self, value: Any) -> bool:
        """Whether a value of the right type lies within the bounds."""
        if self.kind is str:
            return not self.choices or value in self.choices
        return self.least <= value <= self.most


def _option(default: Any, group: Group, help: str, **rest: Any) -> Any:
    return field(default=default, metadata={"option": Option(default, group, help, **rest)})


@dataclass(frozen=True)
class AuditConfig:
    """What `audit` may be told. 0 and "auto" mean: choose from the data and the machine, and say what was chosen."""

    heads: str = _option(
        "trained",
        "how thorough",
        "What is learned on what the rows look like: 'trained', networks with their histories; 'closed', a regression "
        "in closed form on vectors, seconds after they are there. Pictures and sounds pass the encoder lite0 for it, "
        "and filters that are made of themselves.",
        stands_for="trained",
        choices=("trained", "closed"),
    )
    views: str = _option(
        "auto",
        "how thorough",
        "What is looked at, with commas: encoder (vectors of a pretrained network), pixels of pictures or patches of "
        "sounds (networks from scratch), statistics of sounds, filters (small pieces of the data), vectors.",
        stands_for="all that the data have; of --proxy what it looks at",
    )
    finetune: str = _option(
        "no",
        "how thorough",
        "Train the pretrained encoder itself, too, lite0 or the one that --proxy names, in the place of networks from "
        "scratch beside it: 'gpu' where there is a GPU, or 'yes', which takes minutes per thousand pictures on a CPU.",
        stands_for="no",
        choices=("no", "gpu", "yes"),
    )
    ensemble: int = _option(
        5,
        "how thorough",
        "Cross-fitted proxies; every row is held out of one. Networks from scratch beside an encoder are 3, or half as "
        "many.",
        least=2,
    )
    epochs: int = _option(
        0,
        "how thorough",
        "Epochs per proxy.",
        stands_for="8, for mlp 16, doubled up to 32 until near a regression, else while held-out rows agree better",
        least=1,
    )
    planted: float = _option(
        0.1,
        "how thorough",
        "Share of rows given a planted wrong label, by which networks of a single view are calibrated, beside what "
        "their held-out predictions say of such labels; with 0 by that alone.",
        least=0,
        most=0.3,
    )
    second_split: bool = _option(
        False,
        "how thorough",
        "Also learn one half of the rows, then the other: wrong labels are forgotten early, rare ones not.",
    )
    proxy: str = _option(
        "auto",
        "the proxy",
        "Network to train, of `nlclean methods proxies`; or a pretrained encoder, frozen (see --finetune): lite0, "
        "torchvision:MODEL, timm:MODEL.",
        stands_for="lite0 with networks, on your vectors mlp",
    )
    weights: str = _option(
        "",
        "the proxy",
        "Pretrained weights: a file (safetensors, or a state dict), or 'default' to download those that torchvision or "
        "timm publishes.",
        stands_for="from scratch",
    )
    image_size: int = _option(
        0,
        "the proxy",
        "Pixels per side that pictures are seen at.",
        stands_for="160 by lite0 and 32 by networks beside it, or the median shorter side, snapped down to 32, 48, 64, "
        "96 or 128",
        unit="px",
        least=8,
        most=1024,
    )
    sample_rate: int = _option(
        0,
        "the proxy",
        "Samples per second that sounds are resampled to.",
        stands_for="8000 or 16000, by the files",
        unit="Hz",
        least=4000,
        most=400_000,
    )
    loss: str = _option(
        "default",
        "how it is taught",
        "Training loss, with options: gce:q=0.5 (see `nlclean methods losses`); auto searches.",
        stands_for="ce",
    )
    strategy: str = _option(
        "default",
        "how it is taught",
        "Training strategy, with options: mixup:alpha=4,warmup=0.2 (see `nlclean methods strategies`); auto searches "
        "strategies and losses.",
        stands_for="mixup for vectors, also of an encoder, plain for pictures and sounds",
    )
    search_budget: float = _option(
        0.0,
        "how it is taught",
        "Longest search, e.g. 10m; the audit comes on top.",
        stands_for="none",
        unit="s",
        least=0,
    )
    batch_size: int = _option(
        0,
        "how it is taught",
        "Samples per training step.",
        stands_for="1/40 of the labelled rows, 32 to 128, of an encoder's vectors 1/10, to 256, on a GPU to 2,048",
        least=2,  # batch norm divides by the spread of a batch
    )
    learning_rate: float = _option(
        0.0, "how it is taught", "Peak of the one-cycle schedule.", stands_for="by proxy", least=0
    )
    weight_decay: float = _option(
        5e-4, "how it is taught", "l2 penalty on the weights, not on biases and norms.", least=0
    )
    l1: float = _option(0.0, "how it is taught", "l1 penalty on the same; published values are 5e-7 to 5e-5.", least=0)
    seed: int = _option(0, "how it is taught", "Seed of every random choice.", least=0, most=2**32 - 1)
    device: str = _option("auto", "the machine", "cpu, cuda, cuda:1 or mps.", stands_for="a GPU where there is one")
    precision: str = _option(
        "auto",
        "the machine",
        "Numbers that the proxies compute in.",
        stands_for="fp32 for vectors; else bf16 where the hardware has it, then fp16 on CUDA, fp32 elsewhere",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    workers: int = _option(
        0,
        "the machine",
        "Processes that decode files, and on a CPU train networks side by side.",
        stands_for="one per core",
        least=1,
    )
    devices: int = _option(
        1,
        "the machine",
        "Processes that share the work of one audit, with a GPU each where there is one; see also torchrun, in "
        "docs/distributed.md.",
        least=1,
    )
    max_memory: float = _option(
        0.0,
        "the machine",
        "Inputs kept on the device, e.g. 8GiB; larger sets travel batch by batch.",
        stands_for="4GiB, or half of what a GPU has left",
        unit="GiB",
        least=0,
    )
    time_budget: float = _option(
        0.0,
        "the machine",
        "Stop, resumable, after e.g. 90s, 25m or 1h30m.",
        stands_for="none",
        unit="s",
        least=0,
    )
    allow_remote: bool = _option(
        False,
        "the machine",
        "Fetch the files that rows of a manifest on this machine name by addresses (https://, s3://).",
    )


FIELDS: dict[str, Option] = {field.name: field.metadata["option"] for field in fields(AuditConfig)}

# Those that `encode` has, too.
ENCODER_OPTIONS = ("proxy", "weights", "image_size", "sample_rate", "device", "precision", "workers", "allow_remote")

# Chosen from the tables of benchmarks/METHODS.md: no one recipe is best on every kind of data, so the
# thorough one searches.
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"heads": "closed"},
    "balanced": {},
    "thorough": {"ensemble": 10, "strategy": "auto", "finetune": "gpu"},
}


def preset(name: str, **changes: Any) -> AuditConfig:
    """The configuration of a preset with some values changed. Raises ConfigError on unknown names or bad values."""
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}{suggest(str(name), PRESETS)}", hint=f"known: {', '.join(PRESETS)}")
    if unknown := [option for option in changes if option not in FIELDS]:
        raise ConfigError(
            "; ".join(f"unknown option {option!r}{suggest(option, FIELDS)}" for option in unknown),
            hint=f"options: {', '.join(FIELDS)}",
        )
    return validate(replace(AuditConfig(), **(PRESETS[name] | changes)))


def validate(config: AuditConfig) -> AuditConfig:
    """`config` with every value of the type of its field. Raises ConfigError naming every value that is wrong."""
    problems = []
    values: dict[str, Any] = {}
    for name, option in FIELDS.items():
        given = getattr(config, name)
        try:
            value = values[name] = typed(name, given)
        except ConfigError as error:
            problems.append(error.message)
            continue
        if value != option.default and not option.within(value):
            otherwise = "" if option.within(option.default) else f", or {option.default} ({option.stands_for})"
            problems.append(f"{name} is {given!r}, must {option.bounds}{otherwise}")
    if problems:
        raise ConfigError("; ".join(problems))
    return replace(config, **values)


def typed(name: str, value: Any) -> Any:
    """`value` as the type of the field `name`. Raises ConfigError where it is of another type, or not finite."""
    kind = FIELDS[name].kind
    if kind is str and isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if kind is bool and isinstance(value, bool):
        return value
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    with contextlib.suppress(ValueError, OverflowError):  # NaN, infinity, an integer that no array holds
        if kind is float and is_number and math.isfinite(value):
            return float(value)
        if kind is int and is_number and int(value) == value and abs(value) < 2**63:
            return int(value)
    raise ConfigError(f"{name} is {value!r}, must be {NOUNS[kind]}{UNITS[FIELDS[name].unit]}")


def suggest(name: str, known: Iterable[str]) -> str:
    """ ", did you mean ...?" with the nearest of the known names; "" where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def as_dict(config: AuditConfig) -> dict[str, Any]:
    """Plain values, in declared order, for `run.json` and `--show-config`."""
    return asdict(config)

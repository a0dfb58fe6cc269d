"""Options of an audit: one frozen dataclass, one default for each, presets as named changes to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from cleanlab_lite.errors import ConfigError


@dataclass(frozen=True)
class AuditConfig:
    """What `audit` may be told. 0 and "auto" mean: choose from the data and the machine, and say what was chosen."""

    proxy: str = "auto"  # a name of PROXIES, or a frozen encoder: "torchvision:resnet50", "timm:MODEL"
    weights: str = ""  # file of pretrained weights, or "default" for those that the library publishes
    loss: str = "default"  # "auto" to search, or a name of LOSSES, with options: "gce:q=0.5"
    strategy: str = "default"  # "auto" to search, or a name of STRATEGIES, with options: "mixup:alpha=4,warmup=0.2"
    search_budget: float = 0.0  # seconds for a search; 0 = none
    epochs: int = 0  # per proxy
    ensemble: int = 5  # cross-fitted proxies; every row is held out of exactly one
    planted: float = 0.1  # share of rows given a planted wrong label to calibrate p_mislabel; 0 = off
    second_split: bool = False  # also train on one half of the rows, then on the other, and see what is forgotten
    image_size: int = 0  # pixels, square
    sample_rate: int = 0  # Hz that sounds are resampled to
    batch_size: int = 0  # samples
    learning_rate: float = 0.0  # peak of the one-cycle schedule
    weight_decay: float = 5e-4  # l2 penalty on weights, not on biases and norms
    l1: float = 0.0  # l1 penalty on the same; published values are 5e-7 to 5e-5
    seed: int = 0
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"
    precision: str = "auto"  # "auto", "fp32", "bf16", "fp16"
    workers: int = 0  # decoding processes
    max_memory: float = 0.0  # GiB of inputs on the device, 0 = 4; larger sets travel batch by batch
    time_budget: float = 0.0  # seconds; 0 = none


# Chosen from the table of methods in benchmarks/RESULTS.md: no one recipe is best on every kind of data, so the
# thorough one searches.
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"ensemble": 3},
    "balanced": {},
    "thorough": {"ensemble": 10, "strategy": "auto"},
}


def preset(name: str, **changes: Any) -> AuditConfig:
    """The configuration of a preset with some values changed. Raises ConfigError on unknown names or bad values."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", hint=f"known: {', '.join(PRESETS)}")
    return validate(replace(AuditConfig(), **(PRESETS[name] | changes)))


def validate(config: AuditConfig) -> AuditConfig:
    """Return `config`, or raise ConfigError naming every value that is out of range."""
    problems = []
    if config.ensemble < 2:
        problems.append(f"ensemble is {config.ensemble}, must be at least 2 (each row is held out of one proxy)")
    if not 0 <= config.planted <= 0.3:
        problems.append(f"planted is {config.planted}, must lie in 0..0.3")
    for field in (
        "epochs",
        "image_size",
        "sample_rate",
        "batch_size",
        "workers",
        "learning_rate",
        "weight_decay",
        "l1",
        "max_memory",
        "time_budget",
        "search_budget",
        "seed",
    ):
        if getattr(config, field) < 0:
            problems.append(f"{field} is {getattr(config, field)}, must not be negative")
    if config.batch_size == 1:
        problems.append("batch_size is 1, must be at least 2 (batch norm)")
    if config.image_size and not 8 <= config.image_size <= 1024:
        problems.append(f"image_size is {config.image_size}, must lie in 8..1024")
    if config.sample_rate and not 4000 <= config.sample_rate <= 400_000:
        problems.append(f"sample_rate is {config.sample_rate}, must lie in 4000..400000")
    if config.precision not in ("auto", "fp32", "bf16", "fp16"):
        problems.append(f"precision is {config.precision!r}, must be auto, fp32, bf16 or fp16")
    if problems:
        raise ConfigError("; ".join(problems))
    return config


def as_dict(config: AuditConfig) -> dict[str, Any]:
    """Plain values, in declared order, for `run.json` and `--show-config`."""
    return asdict(config)


FIELDS = {field.name: field for field in fields(AuditConfig)}

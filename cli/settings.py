"""Where an option gets its value: flag > NLCLEAN_* > nlclean.toml > [tool.nlclean] > preset > default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cleanlab_lite.config import FIELDS, NOUNS, PRESETS, AuditConfig, suggest, typed, validate
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.registry import TRUTH

from .project import PROJECT, layers

KEYS = ("preset", *FIELDS)  # of an audit
DEFAULT_PRESET = "balanced"
NOT_OF_FILES = ("allow_remote",)  # a dataset may bring a file of settings along: it must not say so itself
_OTHER_VARIABLES = {"NLCLEAN_CACHE_DIR"}  # read by the library

_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?", re.IGNORECASE)
_SIZE = re.compile(rf"{_NUMBER}\s*([kmgt])(ib|b|)", re.IGNORECASE)


@dataclass(frozen=True)
class OptionValue:
    """A value and where it came from."""

    value: Any
    origin: str  # "default", "preset fast", path of a file, "NLCLEAN_EPOCHS", "--epochs"


def resolve(flags: Mapping[str, str | bool | None], *, environ: Mapping[str, str], cwd: Path) -> dict[str, OptionValue]:
    """Value and origin of every key of `KEYS`, in that order. A flag that is None was not given.

    Raises ConfigError naming every unknown key and every value that cannot be understood, whether or not a
    stronger source overrides it.
    """
    problems: list[str] = []
    hint = ""
    given: dict[str, OptionValue] = {}  # later layers replace earlier ones
    typed_in = _flag_layer(flags)
    for layer in (*_file_layers(cwd), _environment_layer(environ), typed_in):
        for key, raw in layer.items():
            name = key.replace("-", "_")
            if name not in KEYS:
                problems.append(f"{raw.origin}: unknown key {key!r}{suggest(name, (*KEYS, *PROJECT))}")
                hint = f"keys: {', '.join(KEYS)}"
                continue
            if name in NOT_OF_FILES and raw.origin.endswith((".toml", "]")):
                problems.append(f"{raw.origin}: {key} is taken from the command line or NLCLEAN_{name.upper()} only")
                continue
            try:
                given[name] = OptionValue(convert(name, raw.value), raw.origin)
                if layer is typed_in:
                    _refuse_zero(name, given[name].value)
            except ConfigError as error:
                problems.append(f"{raw.origin}: {error.message}")
    if problems:
        raise ConfigError("\n".join(problems), hint=hint)

    chosen = given.get("preset", OptionValue(DEFAULT_PRESET, "default"))
    settings = {"preset": chosen} | {name: OptionValue(field.default, "default") for name, field in FIELDS.items()}
    settings |= {name: OptionValue(value, f"preset {chosen.value}") for name, value in PRESETS[chosen.value].items()}
    return settings | given


def to_config(settings: Mapping[str, OptionValue]) -> AuditConfig:
    """The configuration that `settings` describe. Raises ConfigError on values out of range."""
    return validate(AuditConfig(**{name: settings[name].value for name in FIELDS}))


def convert(name: str, raw: Any) -> Any:
    """`raw` (text, or a value from TOML) as the type of the key `name`. Raises ConfigError."""
    if name == "preset":
        if raw not in PRESETS:
            raise ConfigError(f"preset is {raw!r}, must be one of {', '.join(PRESETS)}")
        return raw
    option = FIELDS[name]
    if option.kind is bool and str(raw).lower() in TRUTH:
        return TRUTH[str(raw).lower()]
    if isinstance(raw, str) and option.unit in _PARSERS:
        return _PARSERS[option.unit](raw)
    if isinstance(raw, str) and option.kind in (int, float):
        try:
            return typed(name, option.kind(raw))
        except (ValueError, ConfigError):
            raise ConfigError(f"{name} is {raw!r}, must be {NOUNS[option.kind]}") from None
    return typed(name, raw)


def _refuse_zero(name: str, value: Any) -> None:
    """Files hold a 0 where `--show-config` has written that something is chosen; who types one wants nothing chosen."""
    option = FIELDS.get(name)  # none of the preset
    if option is not None and value == option.default and not option.within(value):
        raise ConfigError(f"{name} is {value}, must {option.bounds}; left out it is {option.stands_for}")


def parse_duration(text: str) -> float:
    """Seconds in "90s", "25m", "1h30m" or a bare number of seconds. Raises ConfigError."""
    if re.fullmatch(_NUMBER, text.strip()):
        return float(text)
    match = _DURATION.fullmatch(text.strip())
    if not match or not any(match.groups()):
        raise ConfigError(f"{text!r} is no duration, write 90s, 25m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def parse_size(text: str) -> float:
    """GiB in "8GiB", "8G", "512MiB", "8GB" (8 * 10^9 bytes) or a bare number of GiB. Raises ConfigError."""
    if re.fullmatch(_NUMBER, text.strip()):
        return float(text)
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ConfigError(f"{text!r} is no size, write 8GiB or 512MiB")
    number, prefix, unit = match.groups()
    base = 1000 if unit.lower() == "b" else 1024
    return float(number) * base ** ("kmgt".index(prefix.lower()) + 1) / 1024**3


_PARSERS = {"s": parse_duration, "GiB": parse_size}  # by unit


def _flag_layer(flags: Mapping[str, str | bool | None]) -> dict[str, OptionValue]:
    return {k: OptionValue(v, f"--{k.replace('_', '-')}") for k, v in flags.items() if v is not None}


def _environment_layer(environ: Mapping[str, str]) -> dict[str, OptionValue]:
    names = [n for n in sorted(environ) if n.startswith("NLCLEAN_") and n not in _OTHER_VARIABLES and environ[n]]
    return {n.removeprefix("NLCLEAN_").lower(): OptionValue(environ[n], n) for n in names}


def _file_layers(cwd: Path) -> list[dict[str, OptionValue]]:
    return [
        {k: OptionValue(v, layer.origin) for k, v in layer.values.items() if k.replace("-", "_") not in PROJECT}
        for layer in layers(cwd)
    ]

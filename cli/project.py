"""The project file, `nlclean.toml`: what a command takes where the command line is silent.

Options of an audit stand in it by name, and so do `manifest`, its columns and `out`; `[check]`, `[export]` and
`[review]` hold options of these commands. Paths in it are relative to it. `[tool.nlclean]` in `pyproject.toml` may say
the same.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cleanlab_lite.config import suggest
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.files import is_remote, reading

from .options import READING

TABLES = ("check", "export", "review")  # commands that have one
PLACES = ("manifest", "out")
OF_RUNS = (*TABLES, "report")  # commands about a run, which `out` names
OF_MANIFESTS = {"audit": (*PLACES, *READING), "selftest": READING, "verify": READING, "encode": ("manifest", *READING)}
OF_PROJECTS = (*OF_MANIFESTS, *OF_RUNS)  # commands that the file says something about
PROJECT = frozenset((*TABLES, *PLACES, *READING))  # keys that are no options of an audit


@dataclass(frozen=True)
class Layer:
    """What one file says."""

    values: dict[str, Any]
    origin: str
    folder: Path


def layers(cwd: Path) -> list[Layer]:
    """The nearest pyproject.toml with a [tool.nlclean] table, then the nearest nlclean.toml.

    "Nearest" looks from `cwd` upwards, as far as the root of the repository or the home folder.
    """
    found: dict[str, Layer] = {}
    for folder in (cwd, *cwd.parents):
        if "pyproject" not in found and (file := folder / "pyproject.toml").is_file():
            table = _read(file).get("tool", {}).get("nlclean")
            if table is not None:
                found["pyproject"] = Layer(table, f"{file} [tool.nlclean]", folder)
        if "nlclean" not in found and (file := folder / "nlclean.toml").is_file():
            found["nlclean"] = Layer(_read(file), str(file), folder)
        if folder == Path.home() or (folder / ".git").exists():
            break
    return [found[name] for name in ("pyproject", "nlclean") if name in found]


def _read(file: Path) -> dict[str, Any]:
    with reading(f"{file} is not valid TOML", ConfigError):
        return tomllib.loads(file.read_text(encoding="utf-8"))


def defaults(command: click.Command, cwd: Path) -> dict[str, Any]:
    """What the project says about the parameters of a command, by their names. Raises ConfigError on what is wrong."""
    parameters = {parameter.name: parameter for parameter in command.params if parameter.name}
    found: dict[str, Any] = {}
    for layer in layers(cwd):
        for origin, key, value in _about(command, layer):
            name = _parameter(parameters, key)
            if name is None:
                raise ConfigError(f"{origin}: unknown key {key!r}{suggest(key, _keys(parameters))}")
            found[name] = _typed(parameters[name], value, layer.folder, f"{origin}: {key}")
    return found


def _about(command: click.Command, layer: Layer) -> Iterator[tuple[str, str, Any]]:
    """(origin, key, value) of all that a layer says about a command."""
    said = {key.replace("-", "_"): value for key, value in layer.values.items()}
    wanted = OF_MANIFESTS.get(command.name or "", ())
    yield from ((layer.origin, key, said[key]) for key in wanted if key in said)
    if command.name in OF_RUNS and "out" in said:
        yield layer.origin, "run", said["out"]
    if command.name in TABLES and command.name in said:
        table, origin = said[command.name], f"{layer.origin} [{command.name}]"
        if not isinstance(table, dict):
            raise ConfigError(f"{layer.origin}: {command.name} is no table", hint=f"write [{command.name}] above it")
        yield from ((origin, key, value) for key, value in table.items())


def _parameter(parameters: dict[str, click.Parameter], key: str) -> str | None:
    """The parameter that `key` spells: its name, or a flag without the dashes."""
    for name, parameter in parameters.items():
        if key.replace("_", "-") in {name.replace("_", "-"), *(flag.removeprefix("--") for flag in parameter.opts)}:
            return name
    return None


def _keys(parameters: dict[str, click.Parameter]) -> list[str]:
    return [parameter.opts[0].removeprefix("--") for parameter in parameters.values()]


def _typed(parameter: click.Parameter, value: Any, folder: Path, what: str) -> Any:
    """`value` as the command line would have it. Raises ConfigError where it would be refused there."""
    if isinstance(value, list) and (parameter.multiple or parameter.nargs != 1):
        return [_typed_one(parameter, one, folder, what) for one in value]
    one = _typed_one(parameter, value, folder, what)
    return [one] if parameter.multiple else one


def _typed_one(parameter: click.Parameter, value: Any, folder: Path, what: str) -> Any:
    if isinstance(parameter, click.Option) and parameter.is_flag:
        if not isinstance(value, bool):
            raise ConfigError(f"{what} is {value!r}, must be true or false")
        return value
    if isinstance(value, bool | list | dict):
        raise ConfigError(f"{what} is {value!r}, must be a text or a number")
    text = str(value)
    is_path = isinstance(parameter.type, click.Path) or parameter.name == "manifest"
    if is_path and not is_remote(text):
        text = str(folder / text)
    try:
        parameter.type.convert(text, parameter, None)
    except click.BadParameter as error:
        raise ConfigError(f"{what}: {error.message}") from error
    return text

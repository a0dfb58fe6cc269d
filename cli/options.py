"""Option decorators that commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import click

from cleanlab_lite.config import FIELDS, PRESETS, Option
from cleanlab_lite.manifest.reading import Reading

from . import diagnostics

# Parameters that say how a manifest is read.
READING = tuple(field.name for field in fields(Reading))

_LIMIT = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(?P<percent>%?)")
_METAVARS = {"s": "DURATION", "GiB": "SIZE", "px": "PIXELS", "Hz": "HZ"}  # by unit
_TYPE_METAVARS = {str: "TEXT", int: "INTEGER", float: "NUMBER"}


def config_options(*names: str) -> Callable[..., Any]:
    """Add a flag for each of these fields of AuditConfig; with no names for every one, and --preset.

    They arrive as text, switches as bool, or None where not given: `settings` reads flags, variables and files with
    one parser.
    """
    flags = [
        click.option(
            "/".join(flag_names(name)),
            name,
            default=None,
            metavar=_metavar(option),
            help=f"{option.help}  [{'; '.join((*limits(option), f'default: {default_text(option)}'))}]",
        )
        for name, option in FIELDS.items()
        if name in (names or FIELDS)
    ]
    preset = click.option("--preset", type=click.Choice(list(PRESETS)), help="How thorough to be.  [default: balanced]")
    return together(*flags) if names else together(preset, *flags)


def flag_names(name: str) -> tuple[str, ...]:
    """How a field of AuditConfig is spelled: one flag, or two for a switch."""
    spelled = name.replace("_", "-")
    return (f"--{spelled}", f"--no-{spelled}") if FIELDS[name].kind is bool else (f"--{spelled}",)


def default_text(option: Option) -> str:
    """What holds where nothing is said."""
    if option.kind is bool:
        return "on" if option.default else "off"
    return option.stands_for or f"{option.default:g}"


def limits(option: Option) -> list[str]:
    """The bounds of a number where they are more than its sign."""
    bounded = option.bounds and not option.choices and option.bounds != "not be negative"
    return [option.bounds.removeprefix("be ").removeprefix("lie in ")] if bounded else []


def _metavar(option: Option) -> str | None:
    if option.kind is bool:
        return None
    if option.choices:
        return f"[{'|'.join(option.choices)}]"
    return _METAVARS.get(option.unit, _TYPE_METAVARS[option.kind])


def together(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Several options as one decorator; help shows them in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def run_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """RUN: a run folder or its report.parquet; None stands for the newest run."""
    return click.argument("run", required=False, type=click.Path(path_type=Path))(command)


def data_root_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--data-root, as `data_roots`."""
    return click.option(
        "--data-root",
        "data_roots",
        multiple=True,
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="Open the files below this folder for a run that was made elsewhere; may be repeated.",
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--json, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(command)


def verbosity_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """-q and -v, before or after the name of the command."""

    def quiet(_ctx: click.Context, _param: click.Parameter, given: bool) -> None:
        if given:
            diagnostics.set_verbosity(diagnostics.QUIET)

    def verbose(_ctx: click.Context, _param: click.Parameter, count: int) -> None:
        if count:
            diagnostics.set_verbosity(count)

    command = click.option(
        "-v", "--verbose", count=True, expose_value=False, callback=verbose, help="Say more; -vv with tracebacks."
    )(command)
    return click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=quiet, help="Print errors and the answer only."
    )(command)


class Whole(click.IntRange):
    """A whole number, by that name in what is said of another one."""

    name = "whole number"


class Limit(click.ParamType):
    """(value, whether it is a share): "5%" is (0.05, True). A bare number is a share, or a number of rows."""

    name = "limit"

    def __init__(self, bare: Literal["share", "rows"]) -> None:
        self.bare = bare

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, bool]:
        match = _LIMIT.fullmatch(value.strip())
        other = "a share (0.05)" if self.bare == "share" else "a number of rows (100)"
        if not match or (not match["percent"] and self.bare == "rows" and "." in value):
            self.fail(f"{value!r} is neither a percentage (5%) nor {other}", param, ctx)
        if not match["percent"] and self.bare == "rows":
            return int(match["number"]), False
        share = float(match["number"] + ("e-2" if match["percent"] else ""))
        if share > 1:
            self.fail(
                f"{value!r} is more than all of it" + ("" if match["percent"] else f", {value}% is a percentage"),
                param,
                ctx,
            )
        return share, True


def _above_nothing(ctx: click.Context, param: click.Parameter, value: tuple[float, bool]) -> float:
    if not value[0]:
        raise click.BadParameter("fewer than none cannot be wrong: name a share above 0", ctx, param)
    return value[0]


def target_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--target, a share: when a review may stop."""
    return click.option(
        "--target",
        metavar="SHARE",
        type=Limit("share"),
        default="1%",
        show_default=True,
        callback=_above_nothing,
        help="Share of wrong labels below which a review may stop.",
    )(command)

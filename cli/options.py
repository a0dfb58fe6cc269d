"""Option decorators that commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from cleanlab_lite.config import FIELDS, PRESETS

from . import diagnostics

# One line of help for every field of AuditConfig.
HELP = {
    "proxy": "Model to train: auto, cnn, baseline_cnn, mlp, resnet18, resnet50; or a frozen encoder: "
    "torchvision:MODEL, timm:MODEL.",
    "weights": "Pretrained weights: a file, or 'default' for those that torchvision or timm publishes.",
    "loss": "Training loss, with options: gce:q=0.5 (see `nlclean methods losses`); auto searches.",
    "strategy": "Training strategy, with options: mixup:alpha=4,warmup=0.2; auto searches strategies and losses.",
    "search_budget": "Longest search, e.g. 10m; the audit comes on top.",
    "epochs": "Epochs per proxy.",
    "ensemble": "Cross-fitted proxies; every row is held out of one.",
    "planted": "Share of rows given a planted wrong label for calibration; 0 is off.",
    "second_split": "Also learn one half of the rows, then the other: wrong labels are forgotten early, rare ones not.",
    "image_size": "Pixels per side that pictures are resized to.",
    "sample_rate": "Samples per second that sounds are resampled to.",
    "batch_size": "Samples per training step.",
    "learning_rate": "Peak of the one-cycle schedule.",
    "weight_decay": "l2 penalty on the weights.",
    "l1": "l1 penalty on the weights.",
    "seed": "Seed of every random choice.",
    "device": "auto, cpu, cuda, cuda:1 or mps.",
    "precision": "auto, fp32, bf16 or fp16.",
    "workers": "Decoding processes.",
    "max_memory": "Inputs kept on the device, e.g. 8GiB; larger sets travel batch by batch.",
    "time_budget": "Stop, resumable, after e.g. 90s, 25m or 1h30m.",
}
_LIMIT = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(?P<percent>%?)")
_METAVARS = {"max_memory": "SIZE", "time_budget": "DURATION", "search_budget": "DURATION"}
_TYPE_METAVARS = {str: "TEXT", int: "INTEGER", float: "NUMBER"}
_EMPTY_DEFAULTS = {
    "max_memory": "4GiB",
    "time_budget": "none",
    "search_budget": "none",
    "seed": "0",
    "weights": "none",
    "l1": "0",
    "second_split": "off",
}


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --preset and a flag for every field of AuditConfig.

    They arrive as text, switches as bool, or None where not given: `settings` reads flags, variables and files with
    one parser.
    """
    for name, field in reversed(FIELDS.items()):
        flag, default = name.replace("_", "-"), field.default or _EMPTY_DEFAULTS.get(name, "chosen")
        switch = isinstance(field.default, bool)
        command = click.option(
            f"--{flag}/--no-{flag}" if switch else f"--{flag}",
            name,
            default=None,
            metavar=None if switch else _METAVARS.get(name, _TYPE_METAVARS[type(field.default)]),
            help=f"{HELP[name]}  [default: {default}]",
        )(command)
    return click.option("--preset", type=click.Choice(list(PRESETS)), help="How thorough to be.  [default: balanced]")(
        command
    )


def run_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """RUN: a run folder or its report.parquet; None stands for the newest run."""
    return click.argument("run", required=False, type=click.Path(path_type=Path))(command)


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

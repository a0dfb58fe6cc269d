"""`nlclean methods`: every loss, strategy, detector and proxy, by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from ..help import HelpfulCommand
from ..options import json_option, verbosity_options

# What is on show beside name, summary and paper; JSON has all there is.
TABLES = {
    "losses": ("needs", "options"),
    "strategies": ("options",),
    "detectors": ("runs", "needs", "options"),
    "proxies": ("takes", "usual_for", "pretrained", "learning_rate"),
}


@click.command("methods", cls=HelpfulCommand, epilog="Example: nlclean methods losses")
@click.argument("table", required=False, type=click.Choice(list(TABLES)))
@json_option
@verbosity_options
def command(table: str | None, as_json: bool) -> None:
    """List the methods: losses, strategies, detectors, proxies.

    Options are written behind the name, as in --loss gce:q=0.5 and --strategy mixup:alpha=4,warmup=0.2. An audit runs
    the detectors that are marked so; the others are functions of the library, for evidence of your own.
    """
    from .. import output
    from ..views.listings import methods_view

    methods = {name: _rows(name) for name in TABLES if table in (None, name)}
    if as_json:
        output.json_document(methods)
    else:
        methods_view(methods, TABLES)


def _rows(table: str) -> list[dict[str, Any]]:
    from cleanlab_lite.judge.detectors import DETECTORS
    from cleanlab_lite.registry import Registry
    from cleanlab_lite.train.losses import LOSSES
    from cleanlab_lite.train.models import PROXIES
    from cleanlab_lite.train.strategies import STRATEGIES

    registries: dict[str, Registry[Any]] = {
        "losses": LOSSES,
        "strategies": STRATEGIES,
        "detectors": DETECTORS,
        "proxies": PROXIES,
    }
    return [
        {
            "name": spec.name,
            "summary": spec.summary,
            "paper": spec.paper,
            "needs": list(spec.needs),
            "options": dict(spec.options),
            **asdict(spec.facts),
        }
        for spec in registries[table]
    ]

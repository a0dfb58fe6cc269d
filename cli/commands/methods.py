"""`nlclean methods`: every loss, strategy and detector, by name."""

from __future__ import annotations

from typing import Any

import click

from ..options import json_option, verbosity_options

TABLES = ("losses", "strategies", "detectors")


@click.command("methods")
@click.argument("table", required=False, type=click.Choice(TABLES))
@json_option
@verbosity_options
def command(table: str | None, as_json: bool) -> None:
    """List the methods: losses, strategies, detectors.

    Options are written behind the name, as in --loss gce:q=0.5 and --strategy mixup:alpha=4,warmup=0.2.
    """
    from cleanlab_lite.detectors import DETECTORS
    from cleanlab_lite.losses import LOSSES
    from cleanlab_lite.strategies import STRATEGIES

    from .. import output

    registries = dict(zip(TABLES, (LOSSES, STRATEGIES, DETECTORS), strict=True))
    methods: dict[str, list[dict[str, Any]]] = {
        name: [
            {
                "name": spec.name,
                "summary": spec.summary,
                "paper": spec.paper,
                "needs": list(spec.needs),
                "options": dict(spec.options),
            }
            for spec in registry
        ]
        for name, registry in registries.items()
        if table in (None, name)
    }
    (output.json_document if as_json else output.methods_view)(methods)

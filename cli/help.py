"""How `--help` reads: options in groups, in the order in which they are thought of, and an example at the end."""

from __future__ import annotations

import click
from click.core import augment_usage_errors

from cleanlab_lite.config import FIELDS

from .options import READING

FIRST = "Options"  # of what is said nowhere below: what only one command has
MANIFEST = "The manifest"  # options of `READING`

# The title above options, in this order, and their flags. Those of an audit are in the group of their field.
GROUPS: dict[str, tuple[str, ...]] = {
    FIRST: (),
    MANIFEST: (),
    "What is known already": ("--history", "--pred-probs", "--warm-start", "--trusted"),
    "Limits": ("--max-noise", "--max-suspects", "--max-new-suspects", "--baseline", "--exit-zero", "--fail-on"),
    "What changes": (
        *("--policy", "--min-confidence", "--max-drop-per-class", "--max-drop", "--include-split", "--decisions"),
    ),
    "Patches": ("--apply", "--to", "--reverse", "--skip-conflicts"),
    "How thorough": ("--preset",),
    "The proxy": (),
    "How it is taught": (),
    "The machine": (),
    "Output": (
        *("--out", "--output", "--format", "--html", "--write-baseline", "--link", "--force", "--top", "--schema"),
        *("--method", "--dry-run", "--show-config", "--json", "--quiet", "--verbose", "--help"),
    ),
}
_OF_FLAGS = {flag: title for title, flags in GROUPS.items() for flag in flags}


class HelpfulCommand(click.Command):
    """A command whose help is in groups. Its epilog is an example, a line that can be copied."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is wrong with an option names this command, also where no value follows it."""
        with augment_usage_errors(ctx):
            return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found: dict[str, list[tuple[str, str]]] = {title: [] for title in GROUPS}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and (record := option.get_help_record(ctx)) is not None:
                found[group_of(option)].append(record)
        for title, records in found.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write(f"\n{self.epilog}\n")


def group_of(option: click.Option) -> str:
    """The title of `GROUPS` under which help shows an option."""
    if option.name in READING:
        return MANIFEST
    if option.name in FIELDS:
        return FIELDS[option.name].group.capitalize()
    return next((_OF_FLAGS[flag] for flag in option.opts if flag in _OF_FLAGS), FIRST)

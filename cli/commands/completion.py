"""`nlclean completion`: the script that makes a shell complete nlclean's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ..help import HelpfulCommand


@click.command("completion", cls=HelpfulCommand, epilog="Example: nlclean completion bash")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For bash, put into ~/.bashrc: eval "$(nlclean completion bash)"
    """
    from .. import output

    program = ctx.find_root().command
    completion = get_completion_class(shell)
    assert completion is not None
    output.line(completion(program, {}, "nlclean", "_NLCLEAN_COMPLETE").source())

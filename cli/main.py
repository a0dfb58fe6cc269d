"""The `nlclean` program: its commands, loaded when they are asked for, and the one place that makes exit codes."""

from __future__ import annotations

import difflib
import errno
import gc
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from cleanlab_lite.errors import NlcleanError

from . import diagnostics, version
from .diagnostics import ExitCode
from .options import verbosity_options
from .project import OF_PROJECTS, defaults

# as `nlclean --help` shows them
GROUPS = {
    "Find wrong labels": ("audit", "encode", "demo"),
    "Look and decide": ("report", "review", "compare"),
    "Trust": ("selftest", "verify", "check"),
    "Export": ("export",),
    "Housekeeping": ("runs", "cache", "methods", "doctor", "completion"),
}
GOES_ON = "an audit goes on where it was when its command is run again"
# What torch says of a machine or a device without memory: "CUDA out of memory", "DefaultCPUAllocator: can't allocate
# memory", on Windows "not enough memory"; of oneDNN, and of the loader of libraries, the last two.
NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|could not create a primitive|failed to map segment"
)
# torch and its like make 300,000 objects that stay: by Python's own thresholds they are looked through again and again
# while they are imported, for half a second
GARBAGE = (50_000, 20, 100)
NO_THREAD = "can't start new thread"  # Python's words
COMMANDS = tuple(name for names in GROUPS.values() for name in names)


class Program(click.Group):
    """A group whose commands are modules of `commands/`, and whose errors become exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in GROUPS.items():
            found = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl([(name, command.get_short_help_str(60)) for name, command in found if command])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return import_module(f".commands.{name}", __package__).command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        name, found, rest = super().resolve_command(ctx, args)
        if name in OF_PROJECTS and found is not None and not {"-h", "--help"} & {*rest}:
            ctx.default_map = {name: defaults(found, Path.cwd())}
        return name, found, rest

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run a command line and exit. The context's `obj` is that command line, for the record of the run."""
        arguments = list(sys.argv[1:] if args is None else args)
        extra |= {"prog_name": "nlclean", "standalone_mode": False}
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a label may be beyond the terminal's code page
        diagnostics.set_verbosity(diagnostics.NORMAL)
        try:
            code = super().main(arguments, obj=["nlclean", *arguments], **extra) or ExitCode.OK
        except NlcleanError as error:
            diagnostics.error(error.message, hint=error.hint, cause=error)
            code = diagnostics.exit_code(error)
        except NoArgsIsHelpError as error:
            error.show()
            code = ExitCode.USAGE
        except click.ClickException as error:
            asked = getattr(error, "ctx", None)
            text = error.format_message()
            hint = f"see `{asked.command_path if asked else 'nlclean'} --help`"
            diagnostics.error(text[:1].lower() + text[1:], hint=hint)
            code = ExitCode.USAGE
        except (click.Abort, KeyboardInterrupt):
            diagnostics.error("interrupted", hint=GOES_ON)
            code = ExitCode.INTERRUPTED
        except Exception as error:
            text, hint = _in_words(error)
            diagnostics.error(text, hint=hint, cause=error)
            code = ExitCode.FAILED
        sys.exit(int(code))


def _in_words(error: Exception) -> tuple[str, str]:
    """What is said of an error that is none of ours, and what to do about it."""
    if (
        isinstance(error, MemoryError)
        or (isinstance(error, RuntimeError | ImportError) and NO_MEMORY.search(str(error)))
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)  # of a map of a file, or of a process
    ):
        first = (getattr(error, "strerror", None) or str(error)).partition("\n")[0]
        return f"the memory is used up: {first}".rstrip(": "), f"--preset fast or --workers 1 need less; {GOES_ON}"
    if isinstance(error, RuntimeError) and NO_THREAD in str(error):
        return (
            "the system starts no more threads for this program: there are too many, or no memory is left for one",
            f"end other programs, or raise the limits of `ulimit -u`, `ulimit -v` and the container; {GOES_ON}",
        )
    if isinstance(error, OSError):  # a full disk, a folder without permission: not ours to fix
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror or error}", f"check free space and permissions; {GOES_ON}"
    return (
        f"unexpected {type(error).__name__}: {error}",
        "this is a bug in nlclean: please report it, with what the command prints at -vv and with `nlclean doctor`",
    )


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"nlclean {version()}")
        ctx.exit()


@click.group(cls=Program, name="nlclean", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@verbosity_options
def program() -> None:
    """Find wrong labels in image, sound and embedding datasets.

    Exit codes: 0 fine, 1 a gate failed, 2 usage, configuration or manifest error, 3 the run failed,
    4 stopped early and resumable, 130 interrupted.
    """


def main() -> NoReturn:
    """Entry point of the `nlclean` script."""
    if getattr(sys, "frozen", False):  # one executable, which is started again for every worker
        from multiprocessing.spawn import freeze_support

        freeze_support()
    gc.set_threshold(*GARBAGE)
    try:
        program.main()
    except KeyboardInterrupt:  # a second one, while the first was being told
        os._exit(ExitCode.INTERRUPTED)
    except SystemExit as ended:
        if ended.code == ExitCode.INTERRUPTED:  # what ends from here on is not to be interrupted again
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.freeze()  # or Python looks through all that torch has made once more at its end, for half a second
        raise

"""All of stderr: notes, warnings, errors, logs; and the exit codes."""

from __future__ import annotations

import logging
import sys
import traceback
from enum import IntEnum

from cleanlab_lite.addresses import shown
from cleanlab_lite.errors import ConfigError, ManifestError, NlcleanError, RunLocked, StoppedEarly
from cleanlab_lite.text import escape

from .terminal import supports_color, wrapped


class ExitCode(IntEnum):
    """What a script may rely on."""

    OK = 0
    GATE_FAILED = 1
    USAGE = 2
    FAILED = 3
    STOPPED = 4
    INTERRUPTED = 130


QUIET, NORMAL, VERBOSE, DEBUG = -1, 0, 1, 2
_LOG_LEVELS = {QUIET: logging.ERROR, NORMAL: logging.WARNING, VERBOSE: logging.INFO, DEBUG: logging.DEBUG}
_COLORS = {"error": "31", "warning": "33"}

_verbosity = NORMAL


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _write(f"{record.levelname.lower()}: {record.name}: {self.format(record)}")


_handler = _Handler()


def set_verbosity(level: int) -> None:
    """Set how much is said: QUIET (errors only) to DEBUG (with tracebacks and the libraries' warnings)."""
    global _verbosity
    _verbosity = max(QUIET, min(level, DEBUG))
    for name in ("cleanlab_lite", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers = [_handler]
        logger.setLevel(_LOG_LEVELS[_verbosity])
    logging.captureWarnings(True)
    if _verbosity < VERBOSE:  # warnings of third parties are addressed to programmers
        logging.getLogger("py.warnings").setLevel(logging.ERROR)


def verbosity() -> int:
    """The level that `set_verbosity` set."""
    return _verbosity


def note(message: str) -> None:
    """Say something that is good to know."""
    if _verbosity > QUIET:
        _write(message)


def warn(message: str) -> None:
    """Say something that the user should look into."""
    if _verbosity > QUIET:
        _write(message, "warning")


def error(message: str, *, hint: str = "", cause: BaseException | None = None) -> None:
    """Say why the command failed and what to do next; the traceback of `cause` only at -vv."""
    if cause is not None and _verbosity >= DEBUG:
        _write("".join(traceback.format_exception(cause)).rstrip())
    _write(message, "error")
    if hint:
        _write(f"  hint: {hint}")


def exit_code(exception: NlcleanError) -> ExitCode:
    """The exit code that belongs to an error of the library."""
    if isinstance(exception, ManifestError | ConfigError):
        return ExitCode.USAGE
    if isinstance(exception, RunLocked | StoppedEarly):
        return ExitCode.STOPPED
    return ExitCode.FAILED


def _write(message: str, kind: str = "") -> None:
    text = escape(shown(message), keep="\n")
    text = wrapped(f"{kind}: {text}" if kind else text, sys.stderr)
    if kind and supports_color(sys.stderr):
        text = f"\x1b[{_COLORS[kind]}m{kind}:\x1b[0m" + text.removeprefix(f"{kind}:")
    print(text, file=sys.stderr, flush=True)

"""Everything that nlclean raises on purpose.

    NlcleanError
    ├── ManifestError    the manifest cannot be understood (exit code 2)
    ├── ConfigError      an option or a combination of options is wrong (exit code 2)
    ├── DecodeError      one file cannot be decoded; becomes a row of the report, never ends a run
    ├── EvidenceError    recorded arrays are missing, inconsistent or unusable (exit code 3)
    ├── ReportError      a report or run folder cannot be read or written (exit code 3)
    ├── WorkerDied       a worker process was ended, twice, or cannot be started (exit code 3); finished work is saved
    ├── RankLost         a process of a run over several was ended, or is silent (exit code 3); finished work is saved
    ├── RunLocked        another process holds the run folder (exit code 4)
    └── StoppedEarly     the time budget is used up; state is saved and resumable (exit code 4)

The library raises; `cli/main.py` is the one place that turns these into exit codes.
"""


class NlcleanError(Exception):
    """Base class. `message` says what and where, `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ManifestError(NlcleanError):
    """The manifest cannot be understood."""


class ConfigError(NlcleanError):
    """An option, or a combination of options, is wrong."""


class DecodeError(NlcleanError):
    """One file cannot be decoded. `code` is a short snake_case reason for the report."""

    def __init__(self, message: str, *, code: str = "decode_failed", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class EvidenceError(NlcleanError):
    """Recorded arrays are missing, inconsistent or unusable."""


class ReportError(NlcleanError):
    """A report or run folder cannot be read or written."""


class WorkerDied(NlcleanError):
    """A worker process was ended, twice, most often for the memory that it took; or cannot be started."""


class RankLost(NlcleanError):
    """One of several processes that share a run was ended, or is not heard of any more."""


class RunLocked(NlcleanError):
    """Another process holds the run folder."""


class StoppedEarly(NlcleanError):
    """The time budget is used up; everything finished so far is saved."""

"""A review from the command line: opened on a terminal, summed up when it is left."""

from __future__ import annotations

import contextlib
import getpass
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from cleanlab_lite.errors import ConfigError, ReportError
from cleanlab_lite.evidence.decisions import agreement, read_journal, standing
from cleanlab_lite.report.reviewed import looks_of, rows_to_decide
from cleanlab_lite.run import RunFolder
from cleanlab_lite.text import counted, escape

from .. import diagnostics, output
from ..terminal import is_terminal, supports_color, wrapped
from . import state


def review(run: RunFolder, reviewer: str | None, *, calibrate: bool, target: float) -> None:
    """Take the terminal over until the reviewer quits, then say where the review stands.

    Raises ConfigError where there is no terminal, ReportError when the journal cannot be written.
    """
    if not (is_terminal(sys.stdout) and sys.stdin.isatty()):
        raise ConfigError(
            "review needs a terminal",
            hint="`nlclean review --web` needs a browser only; --json prints where the review stands, `nlclean report` "
            "what was found",
        )
    reviewer = reviewer or _login_name()

    from .app import ReviewApp
    from .queue import Queue
    from .samples import SampleReader
    from .widgets import graphics

    samples, log = SampleReader(run), run.journal
    rows = None
    if calibrate:
        own = [decision for decision in log.read() if decision.reviewer == reviewer]
        rows = rows_to_decide(samples.table, looks_of(samples.table, own).decided)
    queue = Queue(samples.table, log, reviewer, rows)
    pixels = graphics() if supports_color(sys.stdout) else None
    app = ReviewApp(samples, queue, blind=calibrate, target=target, graphics=pixels)
    app.run()
    if app.failure is not None:
        raise _unwritten(log.path, app.failure)
    if app.return_code:
        raise RuntimeError("the review screen failed")
    _sum_up(run, [state.progress_line(log.read(), reviewer) + f", {queue.left:,} left"], target)


def serve(run: RunFolder, reviewer: str | None, *, port: int, target: float) -> None:
    """Serve the page of the run to this machine until Ctrl-C, then say what was decided.

    Raises ConfigError when the port is taken, ReportError when the run cannot be read.
    """
    from ..progress import Drawer
    from .server import ReviewServer
    from .web import SharedReview

    with Drawer() as drawer:
        review = SharedReview(run, reviewer or _login_name(), on_progress=drawer)
    with ReviewServer(review, port) as server:
        with contextlib.suppress(KeyboardInterrupt):  # from the moment on that the address is known
            output.line(server.url)
            diagnostics.note(
                "open it in a browser of this machine; whoever knows the address may decide; Ctrl-C closes it"
            )
            server.serve_forever()
        review.close()
    decisions = run.decisions
    who = sorted(review.decided)
    _sum_up(run, [state.progress_line(decisions, name) for name in who] or ["nothing was decided"], target)


def _sum_up(run: RunFolder, progress: Sequence[str], target: float) -> None:
    """What a person reads when a review is left."""
    decisions = run.decisions
    for line in (*progress, *state.calibration_lines(run.report.table, decisions, target)):
        output.line(wrapped(line, sys.stdout))
    if len(agreement(decisions).reviewers) > 1:
        print_agreement(run)
    if standing(decisions):
        output.line(f"Next: nlclean export {escape(shlex.quote(str(run.folder)))} --policy decided")


def _unwritten(journal: Path, error: OSError) -> ReportError:
    return ReportError(
        f"cannot write {journal}: {error.strerror or error}",
        hint="check free space and permissions; all decisions before are on disk, the same command goes on",
    )


def merge(run: RunFolder, files: Sequence[Path]) -> None:
    """Put the decisions of other journals into that of the run."""
    try:
        added = sum(run.journal.add(read_journal(file)) for file in files)
    except OSError as error:
        raise _unwritten(run.journal.path, error) from error
    diagnostics.note(f"{counted(added, 'new decision')} in {run.journal.path}")
    unknown = state.describe(run.report.table, run.decisions)["unknown_ids"]
    if unknown:
        diagnostics.warn(f"not in this run: {counted(unknown, 'decided row')}; was the journal made on another one?")


def print_state(run: RunFolder, target: float) -> None:
    """Where the review stands, as JSON."""
    found = state.describe(run.report.table, run.decisions, target)
    output.json_document({"journal": str(run.journal.path)} | found)


def print_agreement(run: RunFolder) -> None:
    """How far the reviewers of a run agree."""
    output.line(state.agreement_line(agreement(run.decisions)))


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:  # a user id without an entry, as in containers
        raise ConfigError("you have no login name", hint="say who decides with --reviewer NAME") from error

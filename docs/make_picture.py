"""Draws the pictures in the README: `python docs/make_picture.py RUN`, with a run of the sample images.

`report.svg` is `nlclean report` in a terminal, `review.svg` the screen of `nlclean review`.
"""

import asyncio
import io
import os
import pty
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from cleanlab_lite.evidence.decisions import DecisionLog
from cleanlab_lite.run import RunFolder
from cleanlab_lite.run.layout import DECISIONS
from nlclean.review.app import ReviewApp
from nlclean.review.queue import Queue
from nlclean.review.samples import SampleReader

COLUMNS, ROWS = 108, 8
SIZE = (112, 32)  # characters of the review


def report(run: str) -> None:
    command = [sys.executable, "-m", "nlclean", "report", run, "--top", str(ROWS)]
    answer = on_terminal(command, os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"})
    lines = answer.replace(run, "nlclean-runs/manifest/...").replace(f"{Path.cwd()}/", "").splitlines()
    width = max(COLUMNS, *(Text.from_ansi(line).cell_len for line in lines))  # "Next" is never broken
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(Text("$ nlclean audit sample_data/images/manifest.csv", style="bold"))
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
    console.save_svg(str(Path(__file__).with_name("report.svg")), title="nlclean", theme=MONOKAI)


def on_terminal(command: list[str], environment: dict[str, str]) -> str:
    """What a command prints on a terminal, where lines are broken and tables fit."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL):
        os.close(theirs)
        parts = []
        with suppress(OSError):  # it is over
            while part := os.read(ours, 1 << 16):
                parts.append(part)
    os.close(ours)
    return b"".join(parts).decode()


async def review(run: str) -> None:
    samples = SampleReader(RunFolder(Path(run)))
    with tempfile.TemporaryDirectory() as folder:
        queue = Queue(samples.table, DecisionLog(Path(folder) / DECISIONS), "ann")
        queue.filter(pair=queue.choices("pair")[0][0])
        app = ReviewApp(samples, queue)
        async with app.run_test(size=SIZE) as pilot:
            await pilot.pause()
            await app.workers.wait_for_complete()
            await pilot.pause()
            picture = app.export_screenshot(title="nlclean review", simplify=True)
    Path(__file__).with_name("review.svg").write_text(picture, encoding="utf-8")


report(sys.argv[1])
asyncio.run(review(sys.argv[1]))

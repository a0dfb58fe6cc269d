"""Draws `report.svg`, the picture in the README: `python docs/make_picture.py RUN`, with a run of the sample images."""

import io
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS, ROWS = 108, 8

command = [sys.executable, "-m", "nlclean", "report", sys.argv[1], "--top", str(ROWS)]
environment = os.environ | {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1"}
answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
lines = answer.replace(sys.argv[1], "nlclean-runs/manifest/...").replace(f"{Path.cwd()}/", "").splitlines()
console = Console(record=True, width=COLUMNS, file=io.StringIO())
console.print(Text("$ nlclean audit sample_data/images/manifest.csv", style="bold"))
for line in lines:
    console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
console.save_svg(str(Path(__file__).with_name("report.svg")), title="nlclean", theme=MONOKAI)

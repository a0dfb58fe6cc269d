"""Tables and lists on stdout, as wide as the terminal; what has no room in a row stands under it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from cleanlab_lite.addresses import shown
from cleanlab_lite.text import escape, room_of, short_names, shorten, tell_apart

from .output import document, line
from .terminal import is_terminal, supports_color, wrapped

ID_WIDTH, LABEL_WIDTH = 40, 24  # columns
INDENT = " " * 6  # of a sentence under its row
CLASSES = 8  # rows of a table of classes, the worst ones
_PIPE_WIDTH = 1000  # characters per line off a terminal: tables take what they need, nothing is cut
_SENTENCES = 8


def table(
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[int],
    below: Sequence[str] = (),
) -> None:
    """A table, a line per row; nothing where there are no rows.

    Where the terminal is too narrow, the last column is cut. Cells are never markup. `below`: a text under each row.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for index, name in enumerate(header):
        drawn.add_column(name, justify="right" if index in right else "left", no_wrap=index < len(header) - 1)
    for row in rows:
        drawn.add_row(*(Text(escape(shown(cell)), no_wrap=True, overflow="ellipsis") for cell in row))
    if not drawn.row_count:
        return
    console = Console(file=sys.stdout, width=width(), color_system="auto" if supports_color(sys.stdout) else None)
    with console.capture() as capture:
        console.print(drawn)
    lines = [text.rstrip() for text in capture.get().splitlines()]
    if below:
        first = len(lines) - 1 - drawn.row_count  # an empty line is the last
        lines = [*lines[:first], *_under(lines[first:-1], (escape(shown(text)) for text in below)), lines[-1]]
    document("\n".join(lines))


def wide_table(
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[int],
    under: Mapping[int, str],
) -> None:
    """A table of which columns stand under each row where the terminal has no room for all beside each other.

    `under`: those columns, and what is said before their cells there.
    """
    rows = list(rows)
    longest = [max(map(room_of, column)) for column in zip(header, *rows, strict=True)]
    if sum(longest) + 3 * len(longest) < width():
        table(title, header, rows, right)
        return
    kept = [index for index in range(len(header)) if index not in under]
    below = ["; ".join(before + row[index] for index, before in under.items() if row[index]) for row in rows]
    cells = [[row[index] for index in kept] for row in rows]
    table(title, [header[i] for i in kept], cells, {kept.index(i) for i in right if i in kept}, below=below)


def _under(lines: Iterable[str], texts: Iterable[str]) -> Iterator[str]:
    """Every line and the text under it, indented."""
    for each, text in zip(lines, texts, strict=True):
        yield each
        wrapper = textwrap.TextWrapper(
            width(), initial_indent=INDENT, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
        )
        yield from wrapper.wrap(text)


def sentences(title: str, texts: Sequence[str]) -> None:
    """A line each, the first ones; nothing where there are none. Strangers' text is made safe here."""
    if not texts:
        return
    document(f"\x1b[1m{title}\x1b[0m" if supports_color(sys.stdout) else title)
    for text in texts[:_SENTENCES]:
        line(wrapped(f"  {escape(text)}", sys.stdout))
    if len(texts) > _SENTENCES:
        line(f"  and {len(texts) - _SENTENCES:,} more")
    line()


def width() -> int:
    """Characters that a line has room for."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else _PIPE_WIDTH


def label_names(labels: Iterable[str]) -> dict[str, str]:
    """What is shown of labels in tables, where that is something else: no two look alike, none is too long."""
    labels = list(labels)
    apart = tell_apart(labels)
    short = short_names((apart.get(label, label) for label in labels), LABEL_WIDTH)
    return {label: short.get(apart.get(label, label), apart.get(label, label)) for label in labels}


def label_cell(label: str | None, most: int = LABEL_WIDTH) -> str:
    return "-" if label is None else shorten(escape(label), most)

"""How a CSV was written, so that what an export does not change comes out as it was."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

from cleanlab_lite.manifest.manifest import TextStyle
from cleanlab_lite.manifest.roles import called

LOOKED_AT = 1 << 20  # characters, for blanks behind delimiters
TITLES = 6  # lines above a header
RECORDS = 1000  # looked at for quotes
NOTHING = ("", "NA", "NaN", "NULL", "None")  # R and others leave these without quotes
SEPARATOR = re.compile(r'"?sep=([^\n\r])"?\r?\n?')
LINE_END = re.compile(r"\r\n|\n|\r")


def preamble(text: str, delimiters: str) -> tuple[str, str]:
    """What stands before the header, `sep=;` and comments, and the delimiter that it names, or "".

    A line that begins with "#" may be the header itself: where no blank follows, and the next line has as many fields.
    """
    at, named = 0, ""
    if found := SEPARATOR.match(text):
        at, named = found.end(), found[1]
    while text.startswith("#", at):
        line, following = (_line(text, at), _line(text, _after(text, at)))
        counts = [(line.count(char), following.count(char)) for char in named or delimiters]
        if line[1:2].strip() and any(here == there > 0 for here, there in counts):
            break
        if (end := _after(text, at)) == len(text):
            break
        at = end
    return text[: at + _titles(text[at:], named or delimiters)], named


def _titles(text: str, delimiters: str) -> int:
    """Length of what stands above the header: a title, a date, empty lines, all of fewer cells."""
    at, most = 0, 0
    for _ in range(TITLES):
        line = _line(text, at)
        cells = max(([cell.strip().strip('"') for cell in line.split(char)] for char in delimiters), key=len)
        filled = [cell for cell in cells if cell]
        if len(filled) > most and all(any(called(role, filled)) for role in ("path", "label")):
            return at
        if any(any(called(role, filled)) for role in ("path", "label")):
            return 0
        most = max(most, len(filled))
        at = _after(text, at)
    return 0


def without_blanks(text: str, delimiter: str) -> str:
    """The text without the blank that follows every delimiter; as it is where it does not."""
    lines = [line for line in text[:LOOKED_AT].splitlines()[:RECORDS] if line.strip()]
    spaced = bool(lines) and all(
        0 < line.count(f"{delimiter} ") == line.count(delimiter) or (number and f'{delimiter} "' in line)
        for number, line in enumerate(lines)
    )
    if not spaced or delimiter == " ":
        return text
    return re.sub(rf'("(?:[^"]|"")*")|{re.escape(delimiter)} ', lambda found: found[1] or delimiter, text)


def _line(text: str, at: int) -> str:
    found = LINE_END.search(text, at)
    return text[at : found.start() if found else len(text)]


def _after(text: str, at: int) -> int:
    """Where the next line starts."""
    found = LINE_END.search(text, at)
    return found.end() if found else len(text)


def line_end(text: str) -> str:
    """The first one, which may stand in quotes."""
    found = LINE_END.search(text)
    return found[0] if found else "\n"


def blank(text: str) -> str:
    """As many empty lines: what follows keeps its numbers."""
    return "\n" * len(LINE_END.findall(text))


def quoting_of(text: str, delimiter: str, width: int) -> TextStyle:
    """Which columns are always in quotes, by the first records of well-formed text with quotes in it."""
    records = islice(_raw(text, delimiter), RECORDS + 1)
    header = next(records, [])
    bare: defaultdict[int, set[str]] = defaultdict(set)
    quoted: set[int] = set()
    for record in records:
        for column, cell in enumerate(record[:width]):
            if cell.startswith('"'):
                quoted.add(column)
            else:
                bare[column].add(cell)
    always = [column for column in sorted(quoted) if bare[column].issubset(NOTHING)]
    needed = {column for column in always if _all_need(text, delimiter, column)}
    always = [column for column in always if column not in needed]
    title = bool(header) and all(cell.startswith('"') for cell in header)
    left = sorted(set().union(*(bare[column] for column in always)))
    if not always and not title:
        return TextStyle()
    return TextStyle(header_quoted=title, quoted=tuple(always), bare=tuple(left))


def _all_need(text: str, delimiter: str, column: int) -> bool:
    """Whether the cells of a column are in quotes because they hold delimiters, quotes or line breaks."""
    cells = [record[column] for record in islice(_raw(text, delimiter), 1, RECORDS + 1) if column < len(record)]
    inner = [cell[1:-1] for cell in cells if cell.startswith('"')]
    return all(any(mark in cell for mark in (delimiter, '"', "\n", "\r")) for cell in inner)


def _raw(text: str, delimiter: str) -> Iterator[list[str]]:
    """Records with their quotes; ends where the text is not well formed."""
    field = re.compile(rf'("(?:[^"]|"")*"|[^{re.escape(delimiter)}\r\n]*)({re.escape(delimiter)}|\r\n|\n|\r|\Z)')
    record: list[str] = []
    at = 0
    while at < len(text) and (found := field.match(text, at)):
        at = found.end()
        record.append(found[1])
        if found[2] != delimiter:
            if record != [""]:
                yield record
            record = []


def write_record(
    cells: Sequence[object], delimiter: str, quoted: Sequence[int], bare: Sequence[str], end: str, blank: str = ""
) -> str:
    """One record, the columns `quoted` in quotes, others where they need them; a blank behind delimiters."""
    texts = ["" if cell is None else str(cell) for cell in cells]
    always = set(quoted)
    return (
        f"{delimiter}{blank}".join(
            f'"{text.replace(chr(34), chr(34) * 2)}"'
            if (column in always and text not in bare) or any(mark in text for mark in (delimiter, '"', "\n", "\r"))
            else text
            for column, text in enumerate(texts)
        )
        + end
    )

"""What holds for every text, table and journal: readers, exporters, registries, decision logs.

The same examples every time; `slow` runs more of them.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cleanlab_lite.errors import ConfigError, ManifestError, NlcleanError, ReportError
from cleanlab_lite.evidence.decisions import ACTIONS, Decision, DecisionLog, settle
from cleanlab_lite.export.manifest import write_manifest
from cleanlab_lite.judge.detectors import DETECTORS
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.text import UNSAFE, escape, looks, room_of, shorten, tell_apart
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.models import PROXIES
from cleanlab_lite.train.strategies import STRATEGIES

pytestmark = pytest.mark.survival

QUICK, DEEP = 20, 600  # examples

TEXT = st.text(max_size=12)
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
MARKUP = st.text(st.sampled_from("ab,;|:'\"[]{}=\\ \n\t#1.0-\u0301\u200b"), max_size=12)
ROWS = st.lists(st.tuples(CELL | MARKUP, CELL | MARKUP), min_size=3, max_size=8)
DECISIONS = st.builds(
    lambda id, action, given_label, label, reviewer: Decision(
        id, action, given_label, label if action == "relabel" else None, reviewer, "2026-01-01T00:00:00+00:00"
    ),
    CELL,
    st.sampled_from(sorted(ACTIONS)),
    st.none() | CELL,
    CELL,
    CELL,
)


def often(check: Callable[[int], None]) -> Callable[[int], None]:
    """A test with few examples in every push, and one with many that is slow."""
    counts = [QUICK, pytest.param(DEEP, marks=pytest.mark.slow)]
    return pytest.mark.parametrize("examples", counts)(check)


def holds(examples: int, check: Callable[..., None], **strategies: st.SearchStrategy) -> None:
    """`check` for so many examples, the same ones every time."""
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    fixed = settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=quiet)
    fixed(given(**strategies)(check))()


# --- Texts ----------------------------------------------------------------------------------------------------------


@often
def test_an_escaped_text_is_safe_and_stays_so(examples):
    def check(text: str) -> None:
        safe = escape(text)
        assert not re.search(f"[{UNSAFE}]", safe) and not re.search(r"^\s*::[A-Za-z]|##(vso)?\[", safe)
        assert escape(safe) == safe
        assert room_of(shorten(text, 9)) <= 9 and shorten(text, 2 * 12) == text  # of columns, two for some letters

    holds(examples, check, text=TEXT | st.text(st.sampled_from("#:[vsoe \x1b"), max_size=12))


@often
def test_names_that_look_alike_are_shown_as_names_that_do_not(examples):
    def check(names: list[str]) -> None:
        shown = tell_apart(names)
        seen = [looks(shown.get(name, name)) for name in names if "\\" not in name]
        assert len(set(seen)) == len(seen)
        assert shown.keys() <= set(names)

    pieces = st.sampled_from(
        ["a", "e\u0301", "\u00e9", "\u200b", " ", "\u00a0", "\t", "\ufe0f", "\U000e0061", "\u0301"]
    )
    holds(examples, check, names=st.lists(TEXT | st.lists(pieces, max_size=4).map("".join), unique=True))


# --- Registries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("registry", [LOSSES, STRATEGIES, PROXIES, DETECTORS], ids=lambda registry: registry.kind)
@often
def test_options_of_a_method_are_read_or_refused(registry, examples):
    names = registry.names()
    options = sorted({option for name in names for option, _ in registry.get(name).options} | {"x"})
    values = st.sampled_from(["1", "0.5", "-1", "nan", "1e999", "none", "1+4", "yes", "", "0x1", "1_0"]) | TEXT
    pair = st.tuples(st.sampled_from(options) | TEXT, values).map("=".join)
    spelled = st.tuples(st.sampled_from(names) | TEXT, st.lists(pair | TEXT, max_size=3).map(",".join))

    def check(text: str) -> None:
        try:
            spec, given_options = registry.parse(text)
        except ConfigError:
            return
        assert set(given_options) <= {option for option, _ in spec.options}

    holds(examples, check, text=spelled.map(":".join) | TEXT)


# --- Journals of decisions -------------------------------------------------------------------------------------------


@often
def test_a_journal_holds_what_was_written_also_after_a_torn_line(examples, tmp_path):
    def check(first: list[Decision], torn: int, second: list[Decision]) -> None:
        path = tmp_path / "decisions.jsonl"
        path.unlink(missing_ok=True)
        log = DecisionLog(path)
        log.append(*first)
        assert log.read() == first
        whole = path.read_bytes() if first else b""
        last = whole.rfind(b"\n", 0, -1) + 1
        path.write_bytes(whole[: last + min(torn, max(len(whole) - last - 1, 0))])  # killed inside the last line
        kept = log.read()
        assert kept in (first, first[:-1])
        assert settle(kept).keys() <= {decision.id for decision in first}
        if second and path.read_bytes()[-1:] in (b"", b"\n"):
            log.append(*second)
            assert log.read() == [*kept, *second]

    holds(examples, check, first=st.lists(DECISIONS, max_size=4), torn=st.integers(0, 200), second=st.lists(DECISIONS))


@often
def test_a_journal_of_anything_is_read_or_refused(examples, tmp_path):
    keys = st.sampled_from(["id", "action", "given_label", "label", "reviewer", "time"])
    values = st.recursive(st.none() | st.booleans() | st.floats() | TEXT, lambda inner: st.lists(inner, max_size=2))
    line = st.dictionaries(keys, st.sampled_from(["keep", "undo", "relabel"]) | values).map(json.dumps) | TEXT

    def check(content: bytes) -> None:
        (tmp_path / "decisions.jsonl").write_bytes(content)
        with suppress(ReportError):
            settle(DecisionLog(tmp_path / "decisions.jsonl").read())

    text = st.lists(line, max_size=3).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))
    holds(examples, check, content=text | st.binary(max_size=60))


# --- Readers and exporters ------------------------------------------------------------------------------------------


def written(folder: Path, form: str, names: list[str], rows: list[tuple[str, ...]]) -> Path:
    """The rows as a file of that form, every cell of text in quotes."""
    path = folder / f"m.{form}"
    if form == "parquet":
        columns = zip(*rows, strict=True)
        pq.write_table(pa.table({name: list(cells) for name, cells in zip(names, columns, strict=True)}), path)
    elif form in ("json", "jsonl"):
        records = [json.dumps(dict(zip(names, cells, strict=True))) for cells in rows]
        path.write_text("\n".join(records) if form == "jsonl" else f"[{','.join(records)}]")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL, delimiter="\t" if form == "tsv" else ",")
            writer.writerows([names, *rows])
    return path


NAMED = {"path_column": "file", "label_column": "label", "id_column": "key", "multi_label": "whole"}


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "jsonl", "parquet"])
@often
def test_what_is_exported_is_what_was_read(form, examples, tmp_path):
    """Every row of a manifest with cells of any text, read, written in its own format, and read again."""

    def check(rows: list[tuple[str, str]]) -> None:
        cells = [(f"k{at}", f"{at}.png", label, note) for at, (label, note) in enumerate(rows)]
        path = written(tmp_path, form, ["key", "file", "label", "note"], cells)
        try:
            read = read_manifest(path, **NAMED)
        except ManifestError:
            return  # one class, or none
        assert read.ids.tolist() == [key for key, *_ in cells]
        cells_read = (read.table[name].to_pylist() for name in ("label", "note"))
        assert list(zip(*cells_read, strict=True)) == rows
        write_manifest(read, tmp_path / f"again.{form}", keep=np.ones(len(read), dtype=bool), labels=None)
        again = read_manifest(tmp_path / f"again.{form}", **NAMED)
        assert again.table.equals(read.table) and again.classes == read.classes
        assert (again.labels == read.labels).all()

    holds(examples, check, rows=ROWS)


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "jsonl"])
@often
def test_a_file_of_anything_is_read_or_refused(form, examples, tmp_path):
    def check(content: str) -> None:
        (tmp_path / f"m.{form}").write_bytes(content.encode("utf-8", "surrogatepass"))
        with suppress(NlcleanError):
            read_manifest(tmp_path / f"m.{form}")

    head = st.sampled_from(["path,label\n", "path\tlabel\n", '{"path": "a.png", "label": ', "[", "label\n", ""])
    line = (
        st.sampled_from(["a.png,cat\n", "b.png,dog\n", "c.png\tcat\n", '"cat"}\n', '{"path": 1}', "]"]) | MARKUP | TEXT
    )
    holds(examples, check, content=st.tuples(head, st.lists(line, max_size=6).map("".join)).map("".join))

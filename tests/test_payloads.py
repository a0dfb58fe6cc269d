"""Texts that are out to do harm, against every output: none runs, none asks for anything, none is lost.

One run holds all of them at once, as ids, labels, cells, paths, names of columns and of sources.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xmlschema
from cli_world import call, finished_run, make_report, mislabel, on_terminal, row, sealed, summary
from payloads import ALL, SAMPLE
from review_world import open_review
from test_html_browser import Keys, Page, Select, browser  # noqa: F401
from test_html_browser import pytestmark as in_browser
from test_review_browser import ServedPage
from test_review_web import Client, serving

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.evidence.decisions import DecisionLog
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.manifest.saved import save_manifest
from cleanlab_lite.report.page.html import build_page
from cleanlab_lite.report.page.notebook import html_view
from cleanlab_lite.run import RunFolder

pytestmark = pytest.mark.survival

TABLE = {"table", "thead", "tbody", "tr", "th", "td"}
JUNIT = xmlschema.XMLSchema10(Path(__file__).parent / "schemas" / "junit-10.xsd")
# controls but line ends, marks that reorder text; what runners of CI systems take for commands
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
FRAGMENT = TABLE | {  # what a notebook may hold
    *("div", "p", "b", "br", "ul", "li"),
    *("figure", "figcaption", "svg", "g", "title", "text", "path", "rect"),
}
COMMAND = re.compile(r"^\s*::[A-Za-z]|##(vso)?\[", re.MULTILINE)


NAMED = {"id_column": "key", "path_column": "file", "label_column": "label", "multi_label": "whole"}


@dataclass(frozen=True)
class World:
    folder: Path
    texts: list[str]

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def manifest(self) -> Manifest:
        return RunFolder(self.run).manifest


def columns(texts: list[str]) -> dict[str, list[str]]:
    """Every text is the label of two rows, and in each of them id, path and a cell besides."""
    twice = [*texts, *texts]
    return {
        "key": [*texts, *(f"{text}#2" for text in texts)],
        "file": [f"{text}/{place}.png" for place, text in enumerate(twice)],
        "label": twice,
        "=note<b>": twice[::-1],
    }


def hostile_run(folder: Path, manifest: Manifest) -> Path:
    """A run of this user on the manifest: of every two rows of a class the first is flagged."""
    names = manifest.classes
    given = [names[label] if label >= 0 else None for label in manifest.labels]
    rows = []
    for place, (id, label) in enumerate(zip(manifest.ids.tolist(), given, strict=True)):
        other = names[(place + 1) % len(names)]
        facts = {"path": id, "given_label": label, "content": f"{place:016x}", "split": id}
        facts |= {"knn_label": label, "top_labels": [other, names[0]], "top_probs": [0.8, 0.1], "neighbors": [id]}
        if place < len(given) // 2:
            rows.append(mislabel(id, **facts, suggested_label=other, predicted_label=other, duplicate_of=id))
        else:
            rows.append(row(id, **facts, error=id))
    share = {"noise_rate": 0.5, "low": 0.1, "high": 0.9}
    about = {
        "manifest": asdict(summary().manifest) | {"path": manifest.source.path, "rows": len(rows)},
        "classes": [{"label": name, "rows": 9, "flagged": 1, **share} for name in names],
        "confusions": [{"given": a, "suggested": b, "rows": 1, "expected": 0.9} for a, b in pairwise(names)],
        "overlaps": [
            {"a": a, "b": b, "rows_a": 9, "rows_b": 9, "a_like_b": 3.0, "b_like_a": 3.0} for a, b in pairwise(names)
        ],
        "provenance": [
            {"column": name, "value": name, "rows": 9, "rate": 0.5, "low": 0.1, "high": 0.9, "ratio": 2.0, "q": 0.01}
            | {"given": name, "suggested": name, "confusion_share": 0.9}
            for name in names
        ],
        "leakage": [
            {
                "split_a": name,
                "split_b": name,
                "kind": "exact",
                "rows_a": 1,
                "rows_b": 1,
                "share_a": 0.1,
                "share_b": 0.1,
            }
            for name in names
        ],
        "warnings": list(names),
        "flagged": len(given) // 2,
    }
    report = make_report(rows, **about)
    run = finished_run(folder / "run", report)
    save_manifest(manifest, run / "manifest.parquet")
    return sealed(run)


@pytest.fixture(scope="module", params=["sample", pytest.param("all", marks=pytest.mark.slow)])
def world(request, tmp_path_factory):
    texts = [text for text in {"sample": SAMPLE, "all": ALL}[request.param] if "\x00" not in text]  # these are refused
    folder = tmp_path_factory.mktemp("payloads")
    pq.write_table(pa.table(columns(texts)), folder / "<b>$data::error::x.parquet")
    manifest = read_manifest(folder / "<b>$data::error::x.parquet", **NAMED)
    hostile_run(folder, manifest)
    return World(folder, texts)


def test_there_are_enough_of_them():
    assert len(set(ALL)) >= 150


@pytest.mark.parametrize("text", [text for text in ALL if "\x00" in text])
@pytest.mark.parametrize("column", ["key", "label"])
def test_a_nul_is_refused_in_words_that_hold_none(text, column, tmp_path):
    cells = columns(["cat", "dog", "owl"])
    cells[column][2] = text
    pq.write_table(pa.table(cells), tmp_path / "m.parquet")
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "m.parquet", **NAMED)
    assert repr(text)[1:-1] in caught.value.message and "\x00" not in caught.value.message


def test_a_manifest_holds_them_as_they_are(world):
    read = world.manifest
    wanted = columns(world.texts)
    assert read.ids.tolist() == wanted["key"]
    assert [read.classes[label] if label >= 0 else "" for label in read.labels] == [
        text if text.strip() else "" for text in wanted["label"]
    ]


# --- The terminal ---------------------------------------------------------------------------------------------------


def safe(text: str) -> None:
    assert not (found := RAW.search(text)), repr(text[max(found.start() - 40, 0) : found.end() + 40])
    assert not (found := COMMAND.search(text)), repr(text[max(found.start() - 40, 0) : found.end() + 40])


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "{run}", "--top", "1000"),
        ("report", "{run}", "--method"),
        ("check", "{run}", "--top", "1000", "--max-suspects", "0"),
        ("check", "{run}", "--format", "junit", "--top", "1000", "--max-suspects", "0"),
        ("check", "{run}", "--format", "markdown", "--top", "1000", "--max-suspects", "0"),
        ("compare", "{run}", "{run}"),
        ("runs", "{folder}"),
    ],
    ids=lambda arguments: "-".join(text for text in arguments if text.isalpha()),
)
def test_the_terminal_gets_none_of_them_raw(world, arguments, capsys):
    found = call(capsys, *(text.format(run=world.run, folder=world.folder) for text in arguments))
    assert found.code in (0, 1) and "Traceback" not in found.err and "this is a bug" not in found.err, found.err
    safe(found.out)
    safe(found.err)


@pytest.mark.slow
def test_a_real_terminal_gets_none_of_them_raw(world):
    _, shown = on_terminal("-m", "nlclean", "report", world.run, "--top", "1000")
    safe(re.sub(r"\x1b\[[0-9;]*m|\r(?=\n)", "", shown))  # colours are ours


def test_the_review_shows_none_of_them_raw(world, tmp_path):
    shutil.copytree(world.run, tmp_path / "run")

    async def look() -> None:
        app = open_review(tmp_path / "run")
        async with app.run_test(size=(120, 50)) as pilot:
            for place in range(8 if len(world.texts) < 100 else app.queue.left):
                await pilot.press("k")
                text = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
                assert not (found := RAW.search(text)), (place, found)
            for key in ("l", "escape", "f", "escape", "z", "?", "escape"):
                await pilot.press(key)
                text = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
                assert not RAW.search(text), key

    asyncio.run(look())
    ids = {decision.id for decision in DecisionLog(tmp_path / "run" / "decisions.jsonl").read()}
    assert ids <= set(columns(world.texts)["key"])


# --- Files for other programs ---------------------------------------------------------------------------------------


def checked(capsys, world: World, form: str) -> str:
    found = call(capsys, "check", world.run, "--format", form, "--top", "1000", "--max-suspects", "0")
    assert found.code == 1
    return found.out


def test_json_holds_them_as_they_are(world, capsys):
    suspects = json.loads(checked(capsys, world, "json"))["suspicious"]
    assert sorted(each["id"] for each in suspects) == sorted(columns(world.texts)["key"][: len(world.texts)])
    found = json.loads(call(capsys, "report", world.run, "--json", "--top", "1000").out)
    assert {each["id"] for each in found["suspicious"]} == {each["id"] for each in suspects}
    assert {each["label"] for each in found["classes"]} == set(world.manifest.classes)


def test_junit_is_well_formed_and_holds_a_line_each(world, capsys):
    text = checked(capsys, world, "junit")
    JUNIT.validate(text)
    [failure] = ET.fromstring(text).iter("failure")
    assert len(failure.text.splitlines()) == len(world.texts)


def test_sarif_is_json_with_a_result_each(world, capsys):
    [run] = json.loads(checked(capsys, world, "sarif"))["runs"]
    assert len(run["results"]) == len(world.texts)
    for result in run["results"]:
        assert not RAW.search(result["message"]["text"])
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[\w:/.%~-]+", uri)


def test_annotations_are_one_line_each_and_no_other_command(world, capsys):
    lines = checked(capsys, world, "github").split("\n")
    found = [line for line in lines if line.startswith("::")]
    assert len(found) == len(world.texts) + 2  # the limit, and one about all
    assert [line for line in lines if not line.startswith("::")] == [""]
    for line in found:
        assert re.match(r"::(error|warning|notice) ?[^:]*::", line)
        assert not RAW.search(line) and "##[" not in line and "##vso[" not in line


class Tags(HTMLParser):
    """The tags and attributes of HTML, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.texts = set[str](), set[str](), list[str]()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.texts.append(data)


def test_markdown_is_text_wherever_it_is_shown(world, capsys):
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable("table")
    text = checked(capsys, world, "markdown")
    shown = Tags(markdown.render(text))
    allowed = TABLE | {"h3", "p", "code", "strong", "details", "summary", "blockquote"}
    assert shown.tags <= allowed and not shown.attributes
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3 + 2 + len(world.texts)


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_a_cleaned_manifest_holds_the_rows_that_are_left_as_they_were(world, form, tmp_path, capsys):
    wanted = {name: list(cells) for name, cells in columns(world.texts).items()}
    file = tmp_path / f"m.{form}"
    records = [dict(zip(wanted, cells, strict=True)) for cells in zip(*wanted.values(), strict=True)]
    if form == "parquet":
        pq.write_table(pa.table(wanted), file)
    elif form == "jsonl":
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, wanted, quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(records)
    read = read_manifest(file, **NAMED)
    assert read.ids.tolist() == wanted["key"]
    run = hostile_run(tmp_path, read)
    left = len(records) // 2
    done = call(capsys, "export", run, "--policy", "prune", "--max-drop", "100%", "--output", tmp_path / f"out.{form}")
    assert done.code == 0, done.err
    out = (tmp_path / f"out.{form}").read_bytes()
    if form == "parquet":
        again = pq.read_table(io.BytesIO(out)).to_pylist()
    elif form == "jsonl":
        again = [json.loads(line) for line in out.splitlines()]
    else:
        again = list(csv.DictReader(io.StringIO(out.decode(), newline="")))
    assert again == records[left:]


@pytest.mark.parametrize("form", ["patch", "labelstudio", "cleanlab"])
def test_other_exports_hold_labels_as_they_are(world, form, tmp_path, capsys):
    target = tmp_path / ("out.json" if form == "labelstudio" else "out.csv" if form == "cleanlab" else "out.jsonl")
    options = ["--policy", "correct", "--max-drop", "100%"] if form == "patch" else []
    done = call(capsys, "export", world.run, "--format", form, *options, "--output", target)
    assert done.code == 0, done.err
    safe(done.err)
    text = target.read_bytes().decode()
    if form == "cleanlab":
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert [each["id"] for each in rows] == columns(world.texts)["key"]
    elif form == "labelstudio":
        assert isinstance(json.loads(text), list)
    else:
        records = [json.loads(line) for line in text.split("\n") if line]
        known = set(columns(world.texts)["key"])
        assert {record["id"] for record in records if "id" in record} <= known


# --- The page, and the notebook -------------------------------------------------------------------------------------


def untouched(driver, ours: str) -> None:
    """No script but ours has run, nothing was logged, nothing asked for."""
    assert driver.execute_script("return window.ran ?? null") is None
    logged = [entry for entry in driver.get_log("browser") if "/preview/" not in entry["message"]]  # there is no file
    assert logged == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith((ours, "data:", "blob:")) for url in asked), asked


@in_browser
def test_the_page_shows_them_and_nothing_runs(world, browser, tmp_path):  # noqa: F811
    file = tmp_path / "page.html"
    file.write_bytes(build_page(RunFolder(world.run)))
    browser.get("about:blank")
    browser.get_log("performance")
    page = Page(browser, file, tmp_path)
    page.open()
    look_around(page, world)
    untouched(browser, file.as_uri())


def look_around(page: Page, world: World) -> None:
    Select(page.find("#show")).select_by_value("all")
    assert f"{2 * len(world.texts)} of" in page.find("#count").text
    page.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
    page.press("k", "u", "z", "l", Keys.ESCAPE, "g", Keys.ARROW_RIGHT, " ", " ", "g", "?", "k", "b", Keys.ESCAPE)
    seen = set()
    for _ in range(8 if len(world.texts) < 100 else 120):
        page.press(Keys.ARROW_DOWN)
        seen.add(page.find("#detail h2").get_property("textContent"))
    assert len(seen) > 7 and seen <= set(columns(world.texts)["key"])
    for select in ("#given", "#suggested"):
        options = Select(page.find(select)).options
        Select(page.find(select)).select_by_index(len(options) - 1)
    page.find("#reset").click()
    for at in (0, -1):
        page.run(f"[...document.querySelectorAll('button[data-given]')].at({at}).click()")


@in_browser
def test_a_notebook_shows_them_and_nothing_runs(world, browser, tmp_path):  # noqa: F811
    view = html_view(RunFolder(world.run).report, top=1000)  # a notebook has no policy that would stop anything
    assert Tags(view).tags <= FRAGMENT
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><link rel=icon href=data:,>{view}", "utf-8", "replace")
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get(file.as_uri())
    untouched(browser, file.as_uri())


@in_browser
def test_a_served_review_shows_them_and_keeps_decisions_as_they_are(world, browser, tmp_path):  # noqa: F811
    run = tmp_path / "run"
    shutil.copytree(world.run, run)
    for server in serving(run):
        client = Client(server)
        ids = columns(world.texts)["key"]
        short = [text for text in world.texts if text.strip() and len(text) < 500]
        wanted = [(id, label) for id, label in zip(ids, short, strict=False)]
        body = [{"id": id, "action": "relabel", "label": label, "reviewer": "<b>ann"} for id, label in wanted]
        answer = client.post(json.dumps(body).encode())
        assert answer.status == 200
        assert [(each["id"], each["label"]) for each in answer.journal] == wanted
        for text in world.texts:
            path = "".join(char for char in text if char.isascii() and (char.isalnum() or char in "./%"))[:80]
            assert client.get(f"preview/{path}").status in (403, 404)
        browser.get("about:blank")
        browser.get_log("performance")
        page = ServedPage(browser, server.url)
        page.open()
        Select(page.find("#show")).select_by_value("all")
        page.press("k", "z", Keys.ARROW_DOWN, "l", Keys.ESCAPE)
        page.settle()
        untouched(browser, server.url)
        browser.get("about:blank")


# --- Names of folders -----------------------------------------------------------------------------------------------


def test_folders_may_be_called_so_and_classes_get_no_folder_outside(world, tmp_path, capsys):
    from audit_world import picture

    names = [text for text in world.texts if fits(text)]
    for place, name in enumerate(names):
        (tmp_path / "set" / name).mkdir(parents=True)
        for copy in range(2):
            picture(place % 3, seed=2 * place + copy).save(tmp_path / "set" / name / f"{copy}.png")
    read = read_manifest(tmp_path / "set", multi_label="whole")
    assert sorted(read.classes) == sorted(names)
    run = hostile_run(tmp_path, replace(read, ids=np.array(read.ids.tolist())))
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "out")}
    done = call(capsys, "export", run, "--format", "folders", "--policy", "correct", "--output", tmp_path / "out")
    assert done.code == 0, done.err
    safe(done.out + done.err)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "out")} == before
    made = [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png")]
    assert len(made) == len(read) and all(len(path.parts) == 2 for path in made)
    for path in made:
        assert not RAW.search(str(path)) and ".." not in path.parts


def fits(name: str) -> bool:
    """Whether the file system takes a folder of that name, and we take it for a class."""
    return (
        bool(name.strip())
        and len(os.fsencode(name)) < 200
        and not set(name) & {"/", "\x00"}
        and not name.startswith(".")
    )

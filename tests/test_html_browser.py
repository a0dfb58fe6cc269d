"""The page in a real browser: it opens, filters, marks, remembers, downloads; nothing is logged, nothing is fetched."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_world import finished_run, make_report, mislabel
from html_world import FINE, HOSTILE, WRONG, island, page_run
from receivers import node_package
from scipy.io import wavfile

from cleanlab_lite.evidence.decisions import DecisionLog, settle
from cleanlab_lite.report.keys import PAGE
from cleanlab_lite.report.page.html import build_page
from cleanlab_lite.report.page.notebook import html_view
from cleanlab_lite.run import RunFolder
from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.run.summary import Confusion

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --force-prefers-reduced-motion --disable-sync --window-size=1280,900"
)

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=Service(DRIVER)) as driver:
        yield driver


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.html").write_bytes(build_page(RunFolder(page_run(folder))))
    return folder / "page.html"


class Page:
    """The opened page, as a person meets it."""

    def __init__(self, driver: Any, file: Path, downloads: Path) -> None:
        self.driver, self.file, self.downloads = driver, file, downloads

    def open(self) -> None:
        self.driver.get(self.file.as_uri())

    def find(self, css: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def ids(self) -> list[str]:
        return self.run("return [...document.querySelectorAll('#body .c-id > :first-child')].map(e => e.textContent)")

    def selected(self) -> str:
        return self.find("#body tr[aria-selected=true] .c-id > :first-child").get_attribute("textContent")

    def press(self, *keys: str) -> None:
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def mark(self, row: int, action: str) -> None:
        self.find(f"#body tr[aria-rowindex='{row + 2}'] [data-action={action}]").click()

    def progress(self) -> str:
        return self.find("#progress").text

    def pressed(self) -> list[list[Any]]:
        return self.run(
            "return [...document.querySelectorAll('#body [aria-pressed=true]')]"
            ".map(e => [e.closest('tr').ariaRowIndex - 2, e.textContent])"
        )

    def wait(self, condition: Callable[[], Any]) -> Any:
        return WebDriverWait(self.driver, 20).until(lambda _: condition())

    def journal(self) -> DecisionLog:
        target = self.downloads / "decisions.jsonl"
        target.unlink(missing_ok=True)
        self.find("#download").click()
        self.wait(target.exists)
        return DecisionLog(target)


@pytest.fixture
def page(browser, built, tmp_path):
    """The page, opened for the first time by this browser. At the end nothing may have been logged or asked for."""
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    opened = Page(browser, built, tmp_path)
    opened.open()
    browser.execute_script("localStorage.clear()")
    browser.get_log("performance")
    opened.open()
    yield opened
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert asked  # the log works: the page itself is in it
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert {url for url in asked if url.startswith("file")} == {built.as_uri()}


def test_it_opens_on_the_suspects_with_their_pictures(page):
    assert page.find("h1").text == "pets.csv"
    assert len(page.ids()) == WRONG + 1
    assert page.ids()[:2] == ["wrong0.png", "wrong1.png"]
    assert HOSTILE in page.ids()
    page.wait(lambda: all(image.get_property("naturalWidth") for image in page.all("#body img")))
    assert len(page.all("#body img")) == WRONG
    detail = page.find("#detail").text
    assert "Another class was ahead on average over training." in detail
    assert "typical dog" in detail


def test_the_policy_stops_what_is_not_the_page(page):
    run = page.driver.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
        "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; return window.ran ?? null"
    )
    assert run is None
    logged = page.wait(lambda: page.driver.get_log("browser"))
    assert all("Content Security Policy" in entry["message"] for entry in logged)
    events = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    failed = [event["params"] for event in events if event["method"] == "Network.loadingFailed"]
    assert [failure["blockedReason"] for failure in failed] == ["csp"]
    page.open()


def test_it_filters_and_sorts(page):
    Select(page.find("#show")).select_by_value("all")
    assert page.find("#count").text == f"{WRONG + FINE} of {WRONG + FINE} rows"
    page.find("#search").send_keys("FINE1")
    assert page.ids() == ["fine14.png", "fine1.png", *(f"fine1{i}.png" for i in range(4))]
    page.find("#search").send_keys("zzz")
    assert page.find("#empty").is_displayed()
    page.find("#reset2").click()
    Select(page.find("#given")).select_by_visible_text(HOSTILE)
    assert page.ids() == [HOSTILE]
    page.find("#reset").click()
    Select(page.find("#show")).select_by_visible_text("noted: odd size (1)")
    assert page.ids() == ["fine1.png"]
    page.find("#reset").click()
    page.find("[data-sort=p]").click()
    assert page.find("th[aria-sort=ascending]").text.startswith("Wrong")
    page.find("[data-sort=p]").click()
    assert page.ids()[0] == "wrong0.png"


def test_a_confusion_shows_its_rows(page):
    page.find("#pairs button").click()
    assert set(page.ids()) == {f"wrong{i}.png" for i in range(WRONG - 1)}


def test_marks_survive_a_reload_and_are_downloaded(page):
    page.find("#reviewer").send_keys("Ann \N{SNOWMAN}")
    page.mark(0, "keep")
    page.mark(1, "drop")
    page.mark(2, "relabel")
    page.find("#chooser-search").send_keys("cat")
    page.find("#chooser-ok").click()
    page.mark(WRONG - 1, "unsure")
    page.mark(1, "drop")  # again: taken back
    expected = [[0, "Keep"], [2, "Accept"], [WRONG - 1, "Unsure"]]
    assert page.pressed() == expected
    page.open()
    assert page.pressed() == expected
    assert page.progress() == "3 decided"
    log = page.journal()
    assert [line.action for line in log.read()] == ["keep", "drop", "relabel", "unsure", "undo"]
    settled = settle(log.read())
    assert {id: (d.action, d.label) for id, d in settled.items()} == {
        "wrong0.png": ("keep", None),
        "wrong2.png": ("relabel", "cat"),
        HOSTILE: ("unsure", None),
    }
    assert settled["wrong0.png"].given_label == "dog"
    assert settled[HOSTILE].given_label == HOSTILE
    assert {d.reviewer for d in settled.values()} == {"Ann \N{SNOWMAN}"}
    moment = time.strptime(settled["wrong0.png"].time, "%Y-%m-%dT%H:%M:%S+00:00")
    assert moment.tm_year >= 2024


def test_everything_can_be_done_with_keys(page):
    page.find("#search").send_keys(Keys.ESCAPE)
    assert page.selected() == "wrong0.png"
    page.press("k")
    assert page.selected() == "wrong1.png"  # goes on by itself
    page.press("l", Keys.ENTER)  # the suggestion
    page.press("d", Keys.ARROW_UP)
    page.press("z")  # undone: back to its row
    assert page.selected() == "wrong2.png"
    page.press("u", "a", Keys.ARROW_LEFT, Keys.ARROW_LEFT, "s")
    assert page.selected() == HOSTILE  # the next one without a decision
    page.press("2", "/")
    assert page.driver.switch_to.active_element.get_attribute("id") == "search"
    page.press("k", Keys.ESCAPE)  # a letter in the search is a letter
    page.press("f")
    assert page.driver.switch_to.active_element.get_attribute("id") == "show"
    found = {id: (d.action, d.label) for id, d in settle(page.journal().read()).items()}
    assert found == {
        "wrong0.png": ("keep", None),
        "wrong1.png": ("relabel", "cat"),
        "wrong2.png": ("unsure", None),
        "wrong3.png": ("relabel", "cat"),
        HOSTILE: ("relabel", "dog"),
    }


def test_the_keys_are_shown(page):
    page.press("?")
    shown = page.find("#help").text
    assert all(key.meaning in shown for key in PAGE)
    page.press("k")  # any key leaves it, and does nothing else
    assert not page.find("#help").is_displayed() and page.progress() == "no decision yet"


def test_a_confused_pair_at_once_and_back(page):
    page.press("b")
    assert page.find("#bulk-title").text == "Accept all 4 of dog→cat?"
    assert "about 4 of them are right and 0 wrong" in page.find("#bulk-means").text
    assert len(page.all("#bulk-rows img")) == WRONG - 1
    page.press(Keys.ENTER)
    assert page.progress() == "4 decided"
    assert page.selected() == HOSTILE
    page.press("z")
    assert page.progress() == "no decision yet"
    page.find("#pairs .bulk").click()  # the same by the mouse
    page.find("#bulk-ok").click()
    assert [line.action for line in page.journal().read()] == ["relabel"] * 4 + ["undo"] * 4 + ["relabel"] * 4
    assert {(d.action, d.label) for d in settle(page.journal().read()).values()} == {("relabel", "cat")}


def test_one_row_is_no_all(page):
    page.press("k", "k", "k", "b")
    assert page.find("#bulk-title").text == "Accept dog→cat?"
    assert page.find("#bulk-means").text.startswith("One row, whose suggestion is right with ")
    page.press(Keys.ESCAPE)


def test_a_grid_of_pictures_and_one_as_large_as_the_window(page):
    page.find("#as-grid").click()
    assert len(page.all("#grid img")) == WRONG and not page.find("#table").is_displayed()
    page.press(Keys.ARROW_RIGHT, " ")
    zoom = page.find("#zoom")
    assert zoom.is_displayed() and "wrong1.png" in zoom.text and "typical dog" in zoom.text
    page.press("k")  # keys go on in here
    assert "wrong2.png" in zoom.text and page.progress() == "1 decided"
    page.press(" ")
    assert not zoom.is_displayed()
    page.press("g", Keys.ARROW_DOWN)
    assert page.selected() == "wrong3.png"


def test_neighbours_can_be_gone_to(page):
    page.find("#detail button.face[title='fine1.png']").click()
    assert page.find("#detail h2").text == "fine1.png"  # which the filter hides
    page.press("k", "z")
    assert page.find("#detail h2").text == "fine1.png" and page.progress() == "no decision yet"
    page.press(Keys.ARROW_DOWN)
    assert page.selected() == "wrong1.png"  # the list has kept its place


def test_a_class_and_a_cell_of_the_matrix_show_their_suspects(page):
    page.find("button[data-given=dog]").click()
    assert page.find("#count").text.startswith(f"{WRONG} of")  # four and the unreadable one
    assert page.find("#given").get_property("selectedOptions")[0].text == "dog"
    page.find("#reset").click()
    page.find("[data-given=dog][data-true=cat] rect").click()
    assert page.find("#suggested").get_property("selectedOptions")[0].text == "cat"
    assert set(page.ids()) == {f"wrong{i}.png" for i in range(WRONG - 1)}


def test_a_lasso_on_the_map_shows_its_rows(browser, tmp_path):
    run = page_run(tmp_path)
    wrong = np.arange(WRONG + FINE) < WRONG  # on the left, the others on the right
    np.save(run / "features.npy", np.stack([np.where(wrong, -9, 9), np.arange(WRONG + FINE) % 5], 1).astype(np.float16))
    (tmp_path / "page.html").write_bytes(build_page(RunFolder(run)))
    page = Page(browser, tmp_path / "page.html", tmp_path)
    page.open()
    canvas = page.find("#map-canvas")
    page.run("document.querySelector('#map').scrollIntoView()")
    x, y = canvas.size["width"] // 2 - 2, canvas.size["height"] // 2 - 2
    drag = ActionChains(browser, duration=20).move_to_element_with_offset(canvas, -x, 0).click_and_hold()
    for corner in ((-x, -y), (-9, -y), (-9, y), (-x, y)):
        drag.move_to_element_with_offset(canvas, *corner)
    drag.release().perform()
    assert page.find("#count").text == f"{WRONG} of {WRONG + FINE} rows, of {WRONG} rows in the lasso"
    page.find("#reset").click()
    assert len(page.ids()) == WRONG + 1
    left = -5 * (canvas.size["width"] - 20) // 12  # a twelfth of the map is left around the rows
    ActionChains(browser).move_to_element_with_offset(canvas, left, 0).perform()
    assert "wrong" in page.find("#map-under").text or HOSTILE in page.find("#map-under").text
    assert browser.get_log("browser") == []


def test_what_did_not_fit_is_counted_among_the_rows_on_show(browser, tmp_path):
    run = page_run(tmp_path, fine=300, side=64)
    built = build_page(RunFolder(run), limit=300_000)
    (tmp_path / "page.html").write_bytes(built)
    page = Page(browser, tmp_path / "page.html", tmp_path)
    page.open()
    assert page.find("#count").text == f"{WRONG + 1} of {WRONG + 300} rows"  # the suspects have all
    Select(page.find("#show")).select_by_value("all")
    said = re.fullmatch(r"305 of 305 rows; (\d+) of them without the pictures, .* this file", page.find("#count").text)
    data = island(built)
    assert said, page.find("#count").text
    assert 0 < int(said[1]) == len(data["rows"]) - len(data["details"])


def test_copies_stand_side_by_side(browser, tmp_path):
    (tmp_path / "page.html").write_bytes(build_page(RunFolder(page_run(tmp_path, copies=True))))
    page = Page(browser, tmp_path / "page.html", tmp_path)
    page.open()
    assert page.find("#copies-note").text == "1 group with different labels in different splits."
    assert [card.text for card in page.all("#groups .mini")] == ["dog · train", "cat · val"]
    page.find("#groups .mini button").click()
    assert "The same content with another label" in page.find("#detail").text
    assert browser.get_log("browser") == []


def test_what_is_decided_of_a_label_is_said_of_a_contradicting_copy(browser, tmp_path):
    (tmp_path / "page.html").write_bytes(build_page(RunFolder(page_run(tmp_path, copies=True))))
    page = Page(browser, tmp_path / "page.html", tmp_path)
    page.open()

    def issues() -> list[str]:
        return [note.text for note in page.all("#body .c-id .note")][:2]

    assert issues() == ["contradicting copy"] * 2
    page.mark(0, "keep")
    assert issues() == ["contradicting copy", "its copy was kept as dog"]
    page.find("#body tr[aria-rowindex='3']").click()
    assert "Its copy was kept as dog: of the labels of one content at most one is right." in page.find("#detail").text
    page.press("z")
    assert issues() == ["contradicting copy"] * 2
    assert browser.get_log("browser") == []


def test_charts_of_a_notebook_have_room_for_their_texts(browser, tmp_path):
    """In Jupyter's font, with names as long as they get."""
    report = RunFolder(page_run(tmp_path)).report
    name = "doors_made_of_wood_that_are_opening"
    entry = replace(report.summary.classes[0], label=name, rows=250_000, noise_rate=0.4552, low=0.2, high=0.6)
    confusion = Confusion(f"{name} 2", name, 120_000, 90_000.0)
    summary = replace(report.summary, classes=(entry,), confusions=(confusion,))
    shown = html_view(ReportTable(report.table, summary))
    (tmp_path / "shown.html").write_text(f"<body style='font-family: \"DejaVu Sans\", sans-serif'>{shown}", "utf-8")
    browser.get((tmp_path / "shown.html").as_uri())
    texts = browser.execute_script(
        "return [...document.querySelectorAll('svg text')].map(e => {"
        "const [box, all] = [e.getBoundingClientRect(), e.closest('svg').getBoundingClientRect()];"
        "return [e.textContent, box.left >= all.left && box.right <= all.right]})"
    )
    assert len(texts) == 4 and all(fits for _, fits in texts), texts


def test_folders_that_all_rows_share_do_not_hide_their_names(browser, tmp_path):
    folders = "/home/ann/projects/hands/pictures/"
    (tmp_path / "page.html").write_bytes(build_page(RunFolder(page_run(tmp_path, within=folders))))
    page = Page(browser, tmp_path / "page.html", tmp_path)
    page.open()
    assert page.ids()[0] == "…/wrong0.png"
    assert page.find("#detail h2").text == f"{folders}wrong0.png"
    assert page.find("#body .c-id > :first-child").get_attribute("title") == "pictures/0.png"
    assert browser.get_log("browser") == []


def test_a_hundred_decisions_take_few_keys(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_bytes(build_page(RunFolder(page_run(tmp_path, wrong=200))))
    page = Page(browser, file, tmp_path)
    page.open()
    # 70 suggestions are right, 20 labels were right, 5 rows belong to no class, 5 labels are searched for; 5 long looks
    keys = ["a"] * 70 + ["k"] * 20 + ["d"] * 5
    for search in ("cat", "dog", "cat", "dog", "cat"):
        keys += ["l", *search, Keys.ENTER]
    keys += [" ", " "] * 5
    page.press(*keys)
    assert len(keys) <= 140
    assert page.progress() == "100 decided"
    assert browser.get_log("browser") == []


def test_a_sound_can_be_heard(browser, tmp_path):
    run = page_run(tmp_path)
    tone = np.sin(np.arange(16_000) / 4)
    wavfile.write(tmp_path / "0.png", 8000, tone.astype(np.float32))  # what a file is, its content says
    (tmp_path / "page.html").write_bytes(build_page(RunFolder(run)))
    page = Page(browser, tmp_path / "page.html", tmp_path)
    page.open()
    page.run("document.querySelector('#detail audio').preload = 'auto'")
    seconds = page.wait(lambda: page.run("return document.querySelector('#detail audio').duration"))
    assert seconds == pytest.approx(2.0, abs=0.1)
    assert browser.get_log("browser") == []


def test_without_storage_it_says_so_and_still_works(page):
    refusal = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no') }})"
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": refusal})
    page.open()
    page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    assert page.find("#storage").is_displayed()
    page.mark(0, "keep")
    assert [d.id for d in page.journal().read()] == ["wrong0.png"]


def test_only_rows_within_sight_are_drawn(browser, tmp_path):
    file = tmp_path / "many.html"
    file.write_bytes(build_page(RunFolder(page_run(tmp_path, fine=2000))))
    page = Page(browser, file, tmp_path)
    page.open()
    Select(page.find("#show")).select_by_value("all")
    assert len(page.ids()) < 40
    browser.execute_script("document.getElementById('scroller').scrollTop = 1e9")
    page.wait(lambda: "fine1998.png" in page.ids())
    assert len(page.ids()) < 40
    assert page.find("#table").get_attribute("aria-rowcount") == str(2000 + WRONG + 1)


@pytest.mark.parametrize("width", [390, 480, 800, 1280])
def test_nothing_sticks_out_sideways(page, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.open()
    widths = page.driver.execute_script(
        "return ['html', '#scroller'].map(s => document.querySelector(s)).map(e => e.scrollWidth - e.clientWidth)"
    )
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert widths == [0, 0]


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_of_long_names_both_are_seen_in_the_table_and_the_grid(browser, tmp_path, width):
    given, suggested = (f"{word} and goes home to rest for a while, as it is its habit" for word in ("fox", "dog"))
    labels = {"given_label": given, "suggested_label": suggested, "top_labels": [suggested], "top_probs": [0.9]}
    run = finished_run(tmp_path / "run", make_report([mislabel("a folder/and a long name.png", **labels)]))
    (tmp_path / "page.html").write_bytes(build_page(RunFolder(run)))
    page = Page(browser, tmp_path / "page.html", tmp_path)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.open()
    inside = """
        const [inner, outer] = [...arguments].map(css => document.querySelector(css).getBoundingClientRect());
        return inner.height > 0 && inner.top >= outer.top && inner.bottom <= outer.bottom && inner.left < outer.right;
    """
    in_the_table = page.driver.execute_script(inside, "#body .c-labels b", "#body .c-labels")
    page.press("g")
    in_the_grid = [page.driver.execute_script(inside, css, "#grid .tile-row") for css in ("#grid b", "#grid .share")]
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert in_the_table and in_the_grid == [True, True]


def test_a_wide_table_scrolls_on_a_telephone_and_keeps_its_shares(browser, tmp_path):
    source = {"column": "annotator", "value": "eve", "rows": 287, "rate": 0.207, "low": 0.165, "high": 0.268}
    source |= {"ratio": 2.6, "q": 5e-9, "given": "a long name", "suggested": "another name", "confusion_share": 0.5}
    run = finished_run(tmp_path / "run", make_report([mislabel("a.png")], provenance=[source]))
    (tmp_path / "page.html").write_bytes(build_page(RunFolder(run)))
    page = Page(browser, tmp_path / "page.html", tmp_path)
    size = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.open()
    beyond = page.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    text = page.find(".classes tbody tr").text
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert beyond == 0 and "20.7 %" in text and "16.5 %" not in text


FAULTS = """
const done = arguments[0];
axe.run(document, {resultTypes: ["violations"]}).then(found => done(found.violations
  .filter(each => ["serious", "critical"].includes(each.impact))
  .map(each => `${each.id}: ${each.nodes.map(node => node.target.join(" ")).slice(0, 5).join(", ")}`)))
"""


def assert_axe_finds_nothing(page, scheme: str) -> None:
    """In the table, the grid, the keys, the dialogs and a picture as large as the window."""
    source = (node_package("axe-core") / "axe.min.js").read_text("utf-8")
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        page.run(source)
        page.run("document.body.insertAdjacentHTML('beforeend', '<button id=nameless></button>')")
        assert page.driver.execute_async_script(FAULTS) == ["button-name: #nameless"]  # it looks
        page.run("document.querySelector('#nameless').remove()")
        assert page.driver.execute_async_script(FAULTS) == []
        page.find("#as-grid").click()
        assert page.driver.execute_async_script(FAULTS) == []
        page.find("#as-table").click()
        for key, dialog in (("?", "#help"), ("b", "#bulk"), ("l", "#chooser"), (Keys.SPACE, "#zoom")):
            page.press(key)
            assert page.find(dialog).is_displayed()
            assert page.driver.execute_async_script(FAULTS) == []
            page.press(Keys.ESCAPE)
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page, scheme):
    assert_axe_finds_nothing(page, scheme)


@pytest.mark.slow
def test_axe_finds_no_serious_fault_in_map_and_copies(browser, tmp_path):
    run = page_run(tmp_path, copies=True)
    np.save(run / "features.npy", np.random.default_rng(0).normal(size=(WRONG + FINE, 3)).astype(np.float16))
    (tmp_path / "page.html").write_bytes(build_page(RunFolder(run)))
    page = Page(browser, tmp_path / "page.html", tmp_path)
    page.open()
    assert page.find("#map-canvas").is_displayed() and page.find("#groups").is_displayed()
    for scheme in ("light", "dark"):
        assert_axe_finds_nothing(page, scheme)


def test_paper_shows_rows_and_no_controls(page):
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not page.find(".top").is_displayed()
    assert not page.find(".tools").is_displayed()
    assert page.find("#body tr:not(.gap)").is_displayed()
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

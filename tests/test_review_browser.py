"""The page of `nlclean review --web` in a real browser: a key decides, the file says so, others see it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from html_world import WRONG, page_run
from review_world import make_run
from test_html_browser import Keys, Page, assert_axe_finds_nothing, browser, pytestmark  # noqa: F401  a fixture, and what it needs
from test_review_web import serving, start

from cleanlab_lite.evidence.decisions import Decision, DecisionLog, settle


class ServedPage(Page):
    """The page as its address shows it."""

    def __init__(self, driver, url: str) -> None:
        super().__init__(driver, Path(), Path())
        self.url = url

    def open(self) -> None:
        self.driver.get(self.url)
        self.wait(lambda: self.find("#reviewer").get_attribute("placeholder"))  # the journal has been read

    def settle(self) -> None:
        """Until all that was decided here is on disk."""
        self.wait(lambda: self.find("html").get_attribute("data-unsaved") == "0")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return page_run(tmp_path_factory.mktemp("web"), side=400)


@pytest.fixture
def page(browser, run):  # noqa: F811
    """A page of a running server. At the end nothing may have been logged, or asked of anyone else."""
    (run / "decisions.jsonl").unlink(missing_ok=True)
    for server in serving(run):
        browser.get_log("performance")
        opened = ServedPage(browser, server.url)
        opened.review, opened.log = server.review, DecisionLog(run / "decisions.jsonl")
        opened.open()
        yield opened
        assert browser.get_log("browser") == []
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        asked = [e["request"]["url"] for e in sent if not e["documentURL"].startswith("chrome")]  # a tab's own pages
        assert asked
        assert [url for url in asked if not url.startswith((server.url, "data:"))] == []
        browser.get("about:blank")


def test_a_key_decides_and_the_file_says_so(page):
    page.press("k", "a", "d", "z")
    page.settle()
    found = page.log.read()
    assert [(d.id, d.action, d.label) for d in found] == [
        ("wrong0.png", "keep", None),
        ("wrong1.png", "relabel", "cat"),
        ("wrong2.png", "drop", None),
        ("wrong2.png", "undo", None),
    ]
    assert page.progress() == "2 decided"
    assert not page.find("#download").is_displayed()
    page.open()
    assert page.progress() == "2 decided"  # from the file
    assert page.pressed() == [[0, "Keep"], [1, "Accept"]]
    page.press("z")  # what an earlier session decided
    page.settle()
    assert settle(page.log.read()).keys() == {"wrong0.png"}


def test_pictures_come_from_the_server_small_and_in_full(page):
    page.wait(lambda: all(image.get_property("naturalWidth") == 320 for image in page.all("#body img")))
    assert len(page.all("#body img")) == WRONG
    page.find("#detail button.main").click()
    page.wait(lambda: page.find("#zoom .zoom-face img").get_property("naturalWidth") == 400)


def test_a_pair_is_accepted_and_taken_back_at_once(page):
    page.press("b", Keys.ENTER)
    page.settle()
    assert [(d.action, d.label) for d in page.log.read()] == [("relabel", "cat")] * (WRONG - 1)
    page.log.append(Decision("wrong1.png", "keep", "dog", reviewer="bob"))
    page.wait(lambda: "accept" in page.find("#body").text.lower() and "bob: keep" in page.find("#body").text)
    page.press("z")
    page.settle()
    assert settle(page.log.read()).keys() == {"wrong1.png"}  # bob's


def test_two_reviewers_see_each_other(page):
    page.log.append(Decision("wrong1.png", "relabel", "dog", "cat", reviewer="bob"))
    page.wait(lambda: "bob: label → cat" in page.find("#body").text)  # without a reload
    assert page.progress() == "no decision yet"
    page.find("#reviewer").send_keys("eve")
    page.mark(0, "keep")
    page.settle()
    assert [(d.reviewer, d.id) for d in page.log.read()] == [("bob", "wrong1.png"), ("eve", "wrong0.png")]
    page.run("const r = document.getElementById('reviewer'); r.value = 'bob'; r.dispatchEvent(new Event('change'))")
    assert page.progress() == "1 decided"  # bob's own
    assert "eve: keep" in page.find("#body").text


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page, scheme):
    """With decisions of its own and of others."""
    page.log.append(Decision("wrong1.png", "relabel", "dog", "cat", reviewer="bob"))
    page.mark(2, "keep")
    page.wait(lambda: "bob: label" in page.find("#body").text)
    assert_axe_finds_nothing(page, scheme)


def test_what_is_not_on_disk_is_said(page):
    page.review.close()  # nothing can be written from here on
    page.press("k")
    assert page.find("html").get_attribute("data-unsaved") == "1"
    page.review._writing.release()
    page.settle()
    assert [d.id for d in page.log.read()] == ["wrong0.png"]


def test_a_closed_server_is_noticed(browser, tmp_path):  # noqa: F811
    process, url = start(page_run(tmp_path), "--reviewer", "ann")
    page = ServedPage(browser, url)
    page.open()
    process.kill()
    process.communicate()
    page.press("k")
    page.wait(lambda: "nlclean review has been closed. 1 decision not on disk yet." in page.find("#storage").text)
    browser.get("about:blank")
    browser.get_log("browser")  # a browser logs requests that nobody answers


def test_sounds_are_played(browser, tmp_path):  # noqa: F811
    for server in serving(make_run(tmp_path, "sound")):
        page = ServedPage(browser, server.url)
        page.open()
        page.run("document.querySelector('#detail audio').preload = 'auto'")
        duration = partial(page.run, "return document.querySelector('#detail audio').duration")
        assert page.wait(duration) > 0.1
        assert browser.get_log("browser") == []
        browser.get("about:blank")

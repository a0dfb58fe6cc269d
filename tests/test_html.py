"""The page of `nlclean report --html`: what is in it, how large it gets, and that strangers' text stays text."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import wave
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from cli_world import call, finished_run, loaded_by, make_report, mislabel, row
from html_world import HOSTILE, WRONG, island, page_run
from PIL import Image

from cleanlab_lite.data.media import thumbnail
from cleanlab_lite.errors import DecodeError, ReportError
from cleanlab_lite.evidence.decisions import Decision
from cleanlab_lite.judge.mixture import fit_beta_mixture, fit_gaussian_mixture
from cleanlab_lite.report.page.charts import MAX_CELLS, component_densities, fold_noise_matrix
from cleanlab_lite.report.page.html import LIMIT, build_page
from cleanlab_lite.report.page.previews import BANDS, LARGE, RATE, SECONDS, SMALL, preview
from cleanlab_lite.run import RunFiles, RunFolder
from cleanlab_lite.run.report import ReportTable, by_suspicion
from cleanlab_lite.run.verification import VERSION, Verification, Way


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return page_run(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(run):
    return build_page(RunFolder(run))


class Reader(HTMLParser):
    """Tags with their attributes, and what stands in scripts and styles."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.cdata_elem:  # inside a script or style
            key = self.tags[-1][1].get("id") or self.cdata_elem
            self.raw[key] = self.raw.get(key, "") + data
        else:
            self.text += data


# what is in it


def test_rows_are_those_of_the_report_most_suspicious_first(run, page):
    data, table = island(page), ReportTable.read(run / "report.parquet").table
    order = by_suspicion(table)
    fields, labels = data["fields"], data["labels"]
    assert [cells[0] for cells in data["rows"]] == [table["id"][int(i)].as_py() for i in order]
    for cells, i in zip(data["rows"], order, strict=True):
        shown = dict(zip(fields, cells, strict=False))
        record = {name: table[name][int(i)].as_py() for name in table.column_names}
        assert labels[shown["given"]] == record["given_label"]
        assert (shown.get("suggested") is None) == (record["suggested_label"] is None)
        assert shown["issue"] == record["issue"] and shown["action"] == record["action"]
        assert shown["p"] == (None if record["p_mislabel"] is None else pytest.approx(record["p_mislabel"], abs=5e-4))
        assert [data["reasons"][code] for code in shown["reasons"]] == record["reasons"]
        assert shown.get("error") == record["error"]
        assert shown.get("path") == record["path"]
    assert data["total"] == len(table)
    assert data["run"] == "0123abcd"


def test_issues_stand_before_fine_rows(page):
    issues = [cells[5] for cells in island(page)["rows"]]
    assert issues[: WRONG + 1] == ["mislabel"] * WRONG + ["unreadable"]
    assert set(issues[WRONG + 1 :]) == {"none"}


def test_details_hold_preview_margins_and_neighbours(run, page):
    data = island(page)
    margins = pq.read_table(run / "history.parquet")["margin"].to_pylist()
    place, picture, sound, curve, neighbors, why = data["details"][0]
    assert place == 0
    assert why == ["Another class was ahead on average over training"]
    shown = Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))
    assert shown.size == (16, 16)  # not enlarged
    assert sound == ""
    assert curve == pytest.approx(margins[0], abs=0.051)
    names = [data["rows"][n][0] for n in neighbors]
    assert names == ["fine1.png", "wrong0.png"]
    unreadable = next(i for i, cells in enumerate(data["rows"]) if cells[5] == "unreadable")
    assert data["details"][unreadable][:2] == [unreadable, ""]  # its file is missing
    dogs = next(example for example in data["examples"] if data["labels"][example[0]] == "dog")
    assert [picture[:23] for picture, _, _ in dogs[1:]] == ["data:image/webp;base64,"] * 3
    assert {data["labels"][data["rows"][row][1]] for _, _, row in dogs[1:]} == {"dog"}  # to be gone to


def test_headline_and_charts(page):
    text = Reader(page).text
    for words in ("12.3 %", "between 10.0 % and 15.0 %", "Margin while learning", "Who is mistaken for whom", "4 rows"):
        assert words in text
    assert page.count(b"<svg") == 3 + 3  # loss, margin, heat map; a bar for each of three classes


def test_a_run_without_history_matrix_and_files_still_has_a_page(tmp_path):
    folder = finished_run(tmp_path / "run", make_report([mislabel("a"), row("b")]))
    data = island(build_page(RunFolder(folder)))
    assert [cells[0] for cells in data["rows"]] == ["a", "b"]
    assert [detail[:5] for detail in data["details"]] == [[0, "", "", [], []], [1, "", "", [], []]]


def test_where_nothing_was_learned_the_page_says_what_to_try(tmp_path):
    rate = {"estimate": None, "low": 0.0, "high": 1.0, "method": "unknown: nothing was learned"}
    about = {"path": "birds.csv", "rows": 2, "labelled": 2, "classes": 2, "modality": "sound"}
    rows = [row(id, p_mislabel=None, label_score=None) for id in "ab"]
    report = make_report(rows, noise_rate=rate, flagged=0, issues={"none": 2}, confusions=[], manifest=about)
    text = Reader(build_page(RunFolder(finished_run(tmp_path / "run", report)))).text
    assert "What to try" in text and "--proxy lite0" in text and "torchvision" not in text
    assert "most suspicious first" not in text and "Estimated share of wrong labels" not in text


def test_the_counts_of_the_page_add_up(tmp_path):
    issues = {"none": 1, "mislabel": 3, "duplicate_conflict": 3, "unreadable": 2}
    report = make_report([mislabel("a"), row("b")], flagged=5, issues=issues)
    text = Reader(build_page(RunFolder(finished_run(tmp_path / "run", report)))).text
    assert "labelled rows: wrong label 3, contradicting copy 2" in text
    assert "not flagged: contradicting copy 1, unreadable 2" in text


def test_what_was_decided_is_on_the_page(tmp_path):
    folder = finished_run(tmp_path / "run", make_report([mislabel("a"), mislabel("b"), row("c")]))
    assert b"By the decisions of people" not in build_page(RunFolder(folder))
    for id, action in (("a", "drop"), ("b", "keep"), ("c", "keep")):
        RunFolder(folder).journal.append(Decision(id, action, "dog", reviewer="ann"))
    page = build_page(RunFolder(folder)).decode()
    assert "real flags: about 1 ± 0 of 2; wrong rows that are not flagged: about 0 ± 0" in page
    assert "stop here" in page


def test_the_fitted_mixture_is_the_one_of_the_audit(tmp_path):
    rng = np.random.default_rng(0)
    loss = np.concatenate([rng.gamma(2, 0.1, 300), rng.normal(3, 0.4, 60)])
    rows = [row(str(i), loss_mean=float(value)) for i, value in enumerate(loss)]
    facts = {"family": "gaussian", "degenerate": False, "separated": True, "iterations": 9}
    plain = finished_run(tmp_path / "plain", make_report(rows))
    fitted = finished_run(tmp_path / "fitted", make_report(rows, detectors={"bmm": facts}))
    one_bump = finished_run(tmp_path / "one", make_report(rows, detectors={"bmm": facts | {"separated": False}}))
    assert [b"fit noisy" in build_page(RunFolder(run)) for run in (plain, fitted, one_bump)] == [False, True, False]


@pytest.mark.parametrize("fit", [fit_beta_mixture, fit_gaussian_mixture])
def test_drawn_densities_cover_the_rows_they_describe(fit):
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.beta(2, 8, 2000), rng.beta(8, 2, 1000)])
    mixture = fit(x)
    grid = np.linspace(-1, 2, 30_001)
    area = component_densities(mixture, grid, x).sum() * (grid[1] - grid[0])
    assert area == pytest.approx(0.9 if fit is fit_beta_mixture else 1.0, abs=0.01)  # Beta: the middle 90 %


def test_heat_map_keeps_the_most_confused_classes():
    pairs = [(f"c{i:02}", f"c{(i + 1) % 60:02}", float(i)) for i in range(60)]
    table = [{"true_label": t, "given_label": g, "probability": 0.1, "expected_rows": rows} for t, g, rows in pairs]
    labels, cells, left_out = fold_noise_matrix(table)
    assert (len(labels), left_out) == (MAX_CELLS, 60 - MAX_CELLS)
    assert "c59" in labels and "c05" not in labels
    assert cells[labels.index("c58"), labels.index("c59")] == (0.1, 58.0)


@pytest.mark.slow
def test_large_pictures_go_to_the_most_suspicious_rows_and_small_ones_to_their_neighbours(tmp_path):
    run = page_run(tmp_path, side=400, fine=120)
    whole = island(build_page(RunFolder(run)))
    assert {side(detail[1]) for detail in whole["details"] if detail[1]} == {LARGE}  # there is room for all
    shell = len(build_page(RunFolder(run))) - len(json.dumps(whole["details"])) - len(json.dumps(whole["examples"]))
    tight = island(build_page(RunFolder(run), limit=shell + 700_000))
    sides = {detail[0]: side(detail[1]) for detail in tight["details"] if detail[1]}
    assert [sides[row] for row in range(WRONG)] == [LARGE] * WRONG
    assert min(sides.values()) == SMALL
    near = next(i for i, cells in enumerate(tight["rows"]) if cells[0] == "fine1.png")
    assert near in sides  # the neighbour of all of them


def side(uri: str) -> int:
    return max(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size)


def test_decisions_of_the_run_are_in_the_page(tmp_path):
    run = page_run(tmp_path)
    for id, action, label in (("wrong0.png", "keep", None), ("fine3.png", "relabel", "bird"), ("gone", "drop", None)):
        RunFolder(run).journal.append(Decision(id, action, "dog", label, "ann"))
    data = island(build_page(RunFolder(run)))
    decided = {data["rows"][row][0]: (action, to, who) for row, action, to, who in data["decided"]}
    assert decided["wrong0.png"] == ("keep", None, "ann")
    assert decided["fine3.png"] == ("relabel", data["labels"].index("bird"), "ann")
    assert len(decided) == 2 and data["labels"].index("bird") >= data["choices"]  # no class to choose


# strangers' text, and nothing from elsewhere


def test_hostile_text_stays_text(page):
    reader = Reader(page)
    assert [tag for tag, _ in reader.tags].count("script") == 2
    assert "img" not in {tag for tag, _ in reader.tags}
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    data = island(page)
    assert data["rows"][WRONG - 1][0] == HOSTILE and HOSTILE in data["labels"]
    assert f"beware of {HOSTILE}" in reader.text
    assert "<" not in reader.raw["data"]


def test_what_a_stranger_says_of_cleaning_stays_text(tmp_path):
    run = finished_run(tmp_path / "run", make_report([mislabel("a"), row("b")]))
    said = "<img src=x onerror=alert(1)>"
    way = Way(said, said, 2, 0, 0.5, [0.5], 0.1, 0.0, 0.2, said)
    found = Verification(VERSION, "k", "r", said, 2, "file", said, 2, 2, [said], [way], said)
    RunFiles(run).write_json("verify.json", found.as_dict())
    reader = Reader(build_page(RunFolder(run)))
    assert "img" not in {tag for tag, _ in reader.tags} and reader.text.count(said) == 6


def test_control_characters_survive(tmp_path):
    run = finished_run(tmp_path / "run", make_report([mislabel("a"), row("\u20ac\x00\x1b")]))
    data = island(build_page(RunFolder(run)))
    assert data["rows"][1][0] == "\u20ac\x00\x1b"


def test_the_policy_lets_only_this_script_and_style_run(page):
    reader = Reader(page)
    policy = next(a["content"] for tag, a in reader.tags if tag == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(reader.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not [tag for tag, attributes in reader.tags if "style" in attributes]  # the policy would refuse them


def test_nothing_points_elsewhere(page):
    text = page.decode().replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.findall(r"https?://|@import|url\(|srcset|<link|<iframe", text)
    references = [v for _, a in Reader(page).tags for k, v in a.items() if k in ("src", "href")]
    assert set(references) == {"#overview", "#classes", "#confusions", "#copies", "#map", "#rows"}


def test_controls_have_names_and_tables_have_headers(page):
    reader = Reader(page)
    labels = page.decode().count("<label")
    assert labels == sum(tag in ("input", "select") for tag, _ in reader.tags)
    assert all(a.get("scope") in ("col", "row") for tag, a in reader.tags if tag == "th")
    assert all(a.get("aria-label") or a.get("aria-hidden") for tag, a in reader.tags if tag == "svg")


# size


def test_the_same_run_gives_the_same_bytes(run, page):
    assert build_page(RunFolder(run)) == page


def test_one_core_gives_the_same_page_as_many(run, page, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    assert build_page(RunFolder(run)) == page


def test_the_limit_holds_whatever_the_size_of_the_data(tmp_path):
    run = page_run(tmp_path, side=100, fine=120)
    whole = build_page(RunFolder(run))
    shell = len(whole) - len(json.dumps(island(whole)["rows"])) - len(json.dumps(island(whole)["details"]))
    previous = 121 + WRONG
    for limit in (len(whole) * 2 // 3, len(whole) // 2, shell + 30_000):
        page = build_page(RunFolder(run), limit=limit)
        data = island(page)
        assert len(page) <= limit
        assert len(page) > limit - 6_000  # as full as a row allows
        assert len(data["details"]) < previous
        previous = len(data["details"])
        assert data["total"] == 120 + WRONG  # the rest is counted
    assert len(data["rows"]) >= len(data["details"])


def test_many_rows_leave_room_for_details(tmp_path):
    rows = [mislabel(f"{i:0200}") for i in range(3000)]
    run = finished_run(tmp_path / "run", make_report(rows))
    data = island(build_page(RunFolder(run), limit=400_000))
    assert 0 < len(data["details"]) <= len(data["rows"]) < 3000


def test_a_limit_below_the_empty_page_is_an_error(run):
    with pytest.raises(ReportError, match="without any row"):
        build_page(RunFolder(run), limit=10_000)


def test_the_limit_is_15_mb():
    assert LIMIT == 15_000_000


# previews


def test_thumbnails_keep_proportions_and_orientation():
    picture = Image.new("RGB", (400, 100), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    assert thumbnail(buffer.getvalue(), SMALL).size == (SMALL // 4, SMALL)


def wav(samples: np.ndarray, rate: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def test_a_sound_becomes_its_loudest_seconds_and_a_spectrogram(tmp_path):
    rate = 16_000
    time = np.arange(6 * rate) / rate
    loud = (time > 3) & (time < 4)
    path = tmp_path / "tone.wav"
    path.write_bytes(wav(np.where(loud, 20_000, 100) * np.sin(2 * np.pi * 1010 * time), rate))
    found = preview(str(path), side=LARGE)
    samples, found_rate = soundfile.read(io.BytesIO(base64.b64decode(found.sound.partition(",")[2])))
    assert (found_rate, len(samples)) == (RATE, pytest.approx(SECONDS * RATE, abs=3000))  # MP3 has frames
    assert (np.abs(samples) > 0.45).sum() == pytest.approx(RATE * 2 / 3, rel=0.1)  # the second that is loud
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * RATE / len(samples) == pytest.approx(1010, abs=2)
    shown = Image.open(io.BytesIO(base64.b64decode(found.picture.partition(",")[2])))
    assert shown.size == (LARGE, BANDS) and np.ptp(np.asarray(shown), axis=2).max() > 50  # in colour
    shown = np.asarray(shown.convert("L"))
    bright = shown.astype(float).mean(axis=1)
    lowest, tone, highest = 2595 * np.log10(1 + np.array([50, 1010, RATE / 2]) / 700)  # mel
    assert len(bright) - 1 - np.argmax(bright) == pytest.approx((tone - lowest) / (highest - lowest) * BANDS, abs=3)


@pytest.mark.parametrize("form", ["FLAC", "OGG", "MP3"])
def test_compressed_sounds_have_spectrograms_as_well(tmp_path, form):
    tone = 0.5 * np.sin(np.arange(16_000) / 4)
    soundfile.write(tmp_path / "x", tone, 16_000, format=form)
    found = preview(str(tmp_path / "x"))
    assert found.picture.startswith("data:image/webp") and found.sound.startswith("data:audio/mpeg")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture",
        b"RIFF____WAVEfmt ",
        b"RIFF____WAVE",
        b"RIFF\x64\0\0\0WAVE" + bytes(4) + b"\x40\x1f" + bytes(99),  # a chunk that says it goes on behind the end
        b"OggS" + bytes(99_999),
    ],
)
def test_what_cannot_be_shown_is_a_decode_error(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DecodeError):
        preview(str(tmp_path / "x"))


# the command


def test_the_command_writes_the_page_and_prints_its_path(run, tmp_path, capsys, page):
    target = tmp_path / "page.html"
    result = call(capsys, "report", run, "--html", target)
    assert (result.code, result.out) == (0, f"{target}\n")
    assert target.read_bytes() == page
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_nothing_is_overwritten_unless_forced(run, tmp_path, capsys):
    target = tmp_path / "page.html"
    target.write_text("precious")
    result = call(capsys, "report", run, "--html", target)
    assert result.code == 2 and "--force" in result.err
    assert target.read_text() == "precious"
    result = call(capsys, "report", run, "--html", target, "--force", "--json")
    assert json.loads(result.out) == {"path": str(target), "bytes": target.stat().st_size}


def test_the_page_takes_no_audited_file_of_that_name(tmp_path, capsys):
    run = page_run(tmp_path)
    (tmp_path / "page.html").symlink_to("0.png")
    before = (tmp_path / "0.png").read_bytes()
    result = call(capsys, "report", run, "--html", tmp_path / "page.html", "--force")
    assert result.code == 2 and "is an audited file" in result.err
    assert (tmp_path / "0.png").read_bytes() == before
    for _ in range(2):  # a page may lie in the run folder
        assert call(capsys, "report", run, "--html", run / "page.html", "--force").code == 0


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("run/report.parquet", 2, "no name of a page"),
        ("folder.html", 2, "is a folder"),
        ("no/x.html", 3, "cannot write"),
    ],
)
def test_what_is_refused(run, tmp_path, capsys, name, code, said):
    (tmp_path / "folder.html").mkdir()
    result = call(capsys, "report", run, "--html", tmp_path / name, "--force")
    assert (result.code, result.out) == (code, "")
    assert said in result.err


def test_the_page_is_written_without_torch(run, tmp_path):
    loaded = loaded_by("report", run, "--html", tmp_path / "x.html")
    assert "pyarrow" in loaded
    assert not {"torch", "torchvision", "torchaudio"} & loaded
    assert (tmp_path / "x.html").exists()


def test_a_history_of_another_report_is_refused(tmp_path):
    run = page_run(tmp_path)
    table = pa.concat_tables([ReportTable.read(run / "report.parquet").table] * 2)
    ReportTable(table, ReportTable.read(run / "report.parquet").summary).write(run / "report.parquet")
    with pytest.raises(ReportError, match="a report on 40 rows and a history of 20"):
        build_page(RunFolder(run))


def test_the_page_rounds_as_the_terminal_does(tmp_path):
    """13.46 rows are 13; by way of 13.5 they would be 14."""
    pair = {"given": "dog", "suggested": "cat", "rows": 16, "expected": 13.46}
    run = finished_run(tmp_path / "run", make_report([row("a.png")], confusions=[pair]))
    assert [each[2:] for each in island(build_page(RunFolder(run)))["confusions"]] == [[16, 13]]

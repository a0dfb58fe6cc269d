"""Parts of long sounds: which columns name them, what is read, cached, found, shown and exported of them."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audit_world import QUICK, write_csv
from cli_world import call, make_report, row

from cleanlab_lite.data import media, packs
from cleanlab_lite.data.cache import load
from cleanlab_lite.data.content import content_of
from cleanlab_lite.data.formats import choose_sound_format
from cleanlab_lite.data.inputs import load_contents, load_inputs
from cleanlab_lite.data.sound import SoundFormat, cut_out, read_samples
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.export import argilla, folders, huggingface, labelstudio
from cleanlab_lite.export.policy import Cleaned, apply_policy
from cleanlab_lite.manifest.manifest import WHOLE, Manifest, Segment
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.manifest.saved import load_manifest, save_manifest
from cleanlab_lite.report.page.previews import preview
from cleanlab_lite.run.report import ReportTable
from nlclean.review import previews

RATE = 8000
FORM = SoundFormat(RATE, 1.024)
FORMATS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("MP3", None)]
STEPS = (300, 700, 1500, 3000)  # Hz, a second each


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(packs, "RACY_NS", 0)


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def steps() -> np.ndarray:
    return np.concatenate([tone(hertz) for hertz in STEPS])


def encoded(samples: np.ndarray, form: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format=form, subtype=subtype)
    return buffer.getvalue()


def pitch(samples: np.ndarray, rate: int = RATE) -> float:
    """Frequency of the strongest tone."""
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[np.abs(np.fft.rfft(samples)).argmax()])


def rejected(segment: Segment, data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        FORM.decode(data, segment)
    return caught.value


# --- which columns name segments -------------------------------------------------------------------------------------


def read(tmp_path: Path, rows: list[dict], form: str = "jsonl") -> Manifest:
    """A manifest of these rows; the files are there."""
    for entry in rows:
        name = next(entry[key] for key in ("audio_filepath", "path") if key in entry)
        (tmp_path / name).write_bytes(encoded(steps()))
    if form == "csv":
        columns = list(dict.fromkeys(key for entry in rows for key in entry))
        return read_manifest(
            write_csv(tmp_path / "m.csv", {key: [entry.get(key, "") for entry in rows] for key in columns})
        )
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in rows))
    return read_manifest(tmp_path / "m.jsonl")


def test_nemo_offsets_and_durations_are_segments(tmp_path):
    rows = [
        {"audio_filepath": "a.wav", "offset": 1.5, "duration": 0.5, "label": "x"},
        {"audio_filepath": "a.wav", "offset": 2, "duration": 1, "label": "y"},
        {"audio_filepath": "a.wav", "duration": 1.25, "label": "x"},
        {"audio_filepath": "a.wav", "offset": 3.5, "label": "y"},
        {"audio_filepath": "a.wav", "offset": "soon", "duration": True, "label": "y"},
    ]
    manifest = read(tmp_path, rows)
    np.testing.assert_array_equal(manifest.segments, [[1.5, 0.5], [2, 1], [0, 1.25], [3.5, np.inf], [np.nan, np.nan]])
    assert "segments of files: offset and duration, in seconds" in manifest.source.notes
    save_manifest(manifest, tmp_path / "saved.parquet")
    again = load_manifest(tmp_path / "saved.parquet")
    np.testing.assert_array_equal(again.segments, manifest.segments)
    assert again.source == manifest.source and again.fingerprint == manifest.fingerprint
    assert again.segment(0) == Segment(1.5, 0.5) and again.table.schema == manifest.table.schema


def test_an_offset_is_enough_in_nemo_manifests_only(tmp_path):
    rows = [{"offset": 1.0, "label": "x"}, {"offset": 2.0, "label": "y"}]
    assert (
        read(tmp_path, [{"audio_filepath": "a.wav"} | entry for entry in rows]).segments[:, 1].tolist()
        == [math.inf] * 2
    )
    assert read(tmp_path, [{"path": "a.wav"} | entry for entry in rows]).segments is None


def test_a_duration_alone_is_that_of_the_file(tmp_path):
    rows = [{"audio_filepath": f"{label}.wav", "duration": 1.0, "label": label} for label in "xy"]
    manifest = read(tmp_path, rows)
    assert manifest.segments is None and manifest.source.segment_columns == ()
    assert load_inputs(manifest, 0, FORM).offsets.tolist() == [0, FORM.patches(4), 2 * FORM.patches(4)]


def test_plain_columns_are_segments_too(tmp_path):
    rows = [
        {"path": "a.wav", "label": "x", "Offset": "1.5", "Duration": ""},
        {"path": "b.wav", "label": "y", "Offset": ""},
    ]
    manifest = read(tmp_path, rows, "csv")
    assert manifest.segment(0) == Segment(1.5, math.inf) and manifest.segment(1) == WHOLE


@pytest.mark.parametrize(
    ("files", "starts", "segments"),
    [
        ("aab", (0.1, 1, 2), [[0.1, 0.2], [1, 0.5], [2, 0.5]]),  # two parts of a.wav
        ("abc", (0.1, 1, 2), None),  # where the files were cut from
        ("aab", (1, 1, 2), None),  # a row twice
        ("aab", ("noon", "one", 2), None),  # times of the day
    ],
)
def test_start_and_end_are_segments_where_a_file_has_several(tmp_path, files, starts, segments):
    ends = [0.3 if start == 0.1 else start + 0.5 if start in (1, 2) else "later" for start in starts]
    rows = [
        {"path": f"{name}.wav", "label": name if name == "b" else f"not {number}", "start": start, "end": end}
        for number, (name, start, end) in enumerate(zip(files, starts, ends, strict=True))
    ]
    found = read(tmp_path, rows).segments
    assert found is None if segments is None else found.tolist() == segments


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
def test_a_segment_is_that_part_of_the_file(form, subtype, capfd):
    time = np.arange(30 * RATE) / RATE
    data = encoded(0.5 * np.sin(2 * np.pi * (100 + 50 * time) * time), form, subtype)  # nowhere like elsewhere
    whole, _, _ = read_samples(data)
    np.testing.assert_allclose(whole, soundfile.read(io.BytesIO(data), dtype="float32")[0], atol=1e-5)
    for offset, duration in ((0.0, 1.0), (7.25, 0.5), (20.5, 0.5), (12.0, 3.0)):
        samples, rate, notes = read_samples(data, segment=Segment(offset, duration))
        start = round(offset * rate)
        np.testing.assert_allclose(samples, whole[start : start + round(duration * rate)], atol=1e-4)
        assert notes == ()
    end, _, _ = read_samples(data, segment=Segment(29.5, math.inf))
    assert len(end) == len(whole) - 29.5 * RATE
    shift = np.correlate(whole[-4300:], end, "full")[len(end) - 1 :].argmax() - (4300 - len(end))
    assert abs(shift) <= (128 if form == "OGG" else 0)
    assert capfd.readouterr().err == ""


def test_the_end_may_be_rounded_but_not_missing():
    data = encoded(steps())
    assert FORM.decode(data, Segment(3.0, 1.05))[1] == ()
    assert FORM.decode(data, Segment(3.0, 1.2))[1] == ("truncated",)
    patches, notes, _ = FORM.decode(data, Segment(3.0, math.inf))
    assert notes == () and len(patches) == FORM.patches(1)
    cut = encoded(steps())[:-RATE]  # half a second is missing
    assert FORM.decode(cut, Segment(1.0, 1.0))[1] == ()
    assert FORM.decode(cut, Segment(1.0, math.inf))[1] == FORM.decode(cut, Segment(3.0, 1.0))[1] == ("truncated",)


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        (Segment(4.0, 1.0), "offset 4 s, duration 1 s"),
        (Segment(9.5, math.inf), "offset 9.5 s, duration to the end"),
        (Segment(-1.0, 2.0), "offset -1 s"),
        (Segment(math.nan, 1.0), "offset nan s"),
        (Segment(1e308, 1.0), "offset 1e+308 s"),
        (Segment(1.0, 0.0), "duration 0 s"),
        (Segment(1.0, -0.5), "duration -0.5 s"),
        (Segment(1.0, math.nan), "duration nan s"),
    ],
)
def test_what_is_no_part_of_the_file_is_unreadable(segment, said):
    error = rejected(segment, encoded(steps()))
    assert error.code == "bad_segment"
    assert said in error.message and "it has 4 s" in error.message


def test_a_file_that_breaks_off_before_the_segment():
    rng = np.random.default_rng(0)
    data = encoded(0.2 * rng.normal(size=8 * RATE), "FLAC", "PCM_16")
    assert rejected(Segment(7.0, 0.5), data[: len(data) // 2]).code == "truncated"


# --- many rows of a file ---------------------------------------------------------------------------------------------


def test_rows_of_a_file_are_samples_of_their_own(tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(media, "read_bytes", lambda uri, remote: reads.append(uri) or Path(uri).read_bytes())
    (tmp_path / "a.wav").write_bytes(encoded(steps()))
    (tmp_path / "b.wav").write_bytes(encoded(tone(440)))
    a, b = str(tmp_path / "a.wav"), str(tmp_path / "b.wav")
    uris = [a, b, a, a, a, a]
    segments = np.array([[0, 1], [0, np.inf], [1, 1], [0, 1], [3, 9], [8, 1]])
    store = load(uris, FORM, segments=segments, cache_dir=tmp_path / "cache", workers=1)
    assert sorted(reads) == [a, b]  # once each
    assert store.codes.tolist() == ["", "", "", "", "", "bad_segment"]
    assert store.notes.tolist() == ["", "", "", "", "truncated", ""]
    assert store.content[0] == store.content[3] and len(set(store.content[:5].tolist())) == 4
    for place, expected in ((0, STEPS[0]), (2, STEPS[1]), (4, STEPS[3])):
        alone, *_ = FORM.decode(encoded(tone(expected)))
        found = store.pixels[store.offsets[place] : store.offsets[place + 1]]
        assert (
            abs(int(found[0, 0, :, 20:40].mean(axis=1).argmax()) - int(alone[0, 0, :, 20:40].mean(axis=1).argmax()))
            <= 1
        )
    again = load(uris[:5], FORM, segments=segments[:5], cache_dir=tmp_path / "cache")
    assert again.decoded == 0 and again.content.tolist() == store.content[:5].tolist()
    whole = load([a], FORM, cache_dir=tmp_path / "cache")
    assert whole.decoded == 1 and whole.content[0] not in store.content


def test_content_without_decoding_is_the_same(tmp_path):
    rows = [
        {"path": "a.wav", "label": label, "offset": offset, "duration": duration}
        for label, offset, duration in (("x", 0, 1), ("y", 1, 1), ("x", 1, 1), ("y", "?", 1), ("y", "?", 1))
    ]
    manifest = read(tmp_path, rows, "csv")
    contents, inputs = load_contents(manifest), load_inputs(manifest, 0, FORM)
    assert contents.content.tolist() == inputs.content.tolist()
    assert inputs.duplicate_of.tolist() == [-1, -1, 1, -1, -1]
    assert inputs.codes.tolist() == ["", "", "", "bad_segment", "bad_segment"]
    assert content_of("", Segment(0, 1)) == "" and content_of("abc") == "abc"


def test_patches_are_chosen_by_the_segments(tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded(steps()))
    uris = [str(tmp_path / "a.wav")] * 3
    assert choose_sound_format(uris)[1] == 4.0
    assert choose_sound_format(uris, 0, np.array([[0, 0.4], [1, 0.5], [2, 0.4]])) == (SoundFormat(RATE, 0.512), 0.4)


# --- shown -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
def test_review_and_page_play_the_segment(tmp_path, form, subtype):
    path = tmp_path / "a"
    path.write_bytes(encoded(steps(), form, subtype))
    segment = Segment(2.1, 0.8)
    shown = previews.drawing(str(path), "sound", segment)
    assert shown.sound.seconds == pytest.approx(0.8) and pitch(shown.sound.wave) == pytest.approx(STEPS[2], rel=0.01)
    assert shown.caption == "0.8 s from 2.1 s · 8 kHz"
    found = preview(str(path), segment)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(found.sound.partition(",")[2])))
    assert len(samples) / rate == pytest.approx(0.8, abs=0.1)  # MP3 has frames
    assert pitch(samples, rate) == pytest.approx(STEPS[2], rel=0.01)
    assert found.picture.startswith("data:image/webp")


# --- exported --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "subtype"),
    [("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_24"), ("FLAC", "PCM_16")],
)
def test_what_is_cut_out_has_the_samples_of_the_source(form, subtype):
    rng = np.random.default_rng(0)
    samples = np.clip(rng.normal(size=(RATE, 2)), -1, 1)
    data = encoded(samples, form, subtype)
    whole, _ = soundfile.read(io.BytesIO(data))
    part, rate = soundfile.read(io.BytesIO(cut_out(data, Segment(0.25, 0.5))))
    assert rate == RATE
    np.testing.assert_array_equal(part, whole[2000:6000])


ROWS = [(0, 1, "x"), (1, 1, "y"), (2, 0.5, "x"), (2.5, 9, "y"), (7, 1, "y")]  # the last is no part of the file


def cleaned(tmp_path: Path) -> tuple[Manifest, ReportTable, Cleaned]:
    (tmp_path / "data").mkdir()
    columns = ("audio_filepath", "offset", "duration", "label")
    rows = [dict(zip(columns, ("a.wav", *cells), strict=True)) for cells in ROWS]
    manifest = read(tmp_path / "data", rows)
    report = make_report(
        [row(name, path="a.wav", given_label=cells[2]) for name, cells in zip(manifest.ids, ROWS, strict=True)]
    )
    return manifest, report, Cleaned(manifest, report.table, apply_policy(report.table, manifest.held_back, "prune"))


def test_class_folders_hold_the_parts(tmp_path):
    _, _, dataset = cleaned(tmp_path)
    notes = folders.write(dataset, tmp_path / "out", "hard")
    files = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.wav")}
    assert sorted(files) == ["x/a-0-1.wav", "x/a-2-2.5.wav", "y/a-1-2.wav", "y/a-2.5-11.5.wav"]
    for name, hertz, seconds in (("x/a-0-1.wav", 300, 1), ("y/a-1-2.wav", 700, 1), ("x/a-2-2.5.wav", 1500, 0.5)):
        samples, rate = soundfile.read(files[name])
        assert len(samples) == seconds * rate and pitch(samples, rate) == pytest.approx(hertz, rel=0.01)
    assert soundfile.info(files["y/a-2.5-11.5.wav"]).duration == 1.5
    assert (
        notes[0].startswith("left out: 1 row without a readable part")
        and "cut out of files, as WAV: 4 parts" in notes[1]
    )


def test_a_hugging_face_folder_of_parts_is_audited_as_it_is(tmp_path):
    _, _, dataset = cleaned(tmp_path)
    huggingface.write(dataset, tmp_path / "out", "hard")
    again = read_manifest(tmp_path / "out" / "train")
    assert again.segments is None and again.table.column_names == [
        "file_name",
        "source_offset",
        "source_duration",
        "label",
    ]
    assert again.table["source_offset"].to_pylist() == ["0", "1", "2", "2.5"]
    inputs = load_inputs(again, 0, FORM)
    assert inputs.readable.all() and len(set(inputs.content.tolist())) == 4


def test_tasks_and_records_say_which_part(tmp_path):
    manifest, report, _ = cleaned(tmp_path)
    labelstudio.write(manifest, report.table, tmp_path / "tasks.json")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["segment"] for task in tasks][:3] == ["0 to 1 s", "1 to 2 s", "2 to 2.5 s"]
    argilla.write(manifest, report.table, tmp_path / "records.jsonl")
    texts = [json.loads(line)["fields"]["text"] for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert texts[0].endswith("a.wav (0 to 1 s)") and len(set(texts)) == 5


# --- the whole audit -------------------------------------------------------------------------------------------------


def test_an_audit_of_segments_from_the_command_line(tmp_path, capsys):
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(48) % 2)
    recording = np.concatenate([tone((400, 2500)[kind] * rng.uniform(0.9, 1.1)) for kind in truth])
    (tmp_path / "long.flac").write_bytes(encoded(recording + 0.01 * rng.normal(size=len(recording)), "FLAC"))
    given = truth.copy()
    given[:5] = 1 - given[:5]
    rows = [
        {"audio_filepath": "long.flac", "offset": float(start), "duration": 1.0, "label": ("low", "high")[kind]}
        for start, kind in enumerate(given)
    ]
    rows += [rows[20] | {"label": ("high", "low")[given[20]]}, rows[30] | {"offset": 99.0}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in rows))
    run = tmp_path / "run"
    result = call(
        capsys,
        "audit",
        tmp_path / "m.jsonl",
        "--out",
        run,
        *QUICK,
        "--epochs",
        8,
        "--planted",
        0,
        "--proxy",
        "baseline_cnn",
    )
    assert result.code == 0, result.err
    assert "segments of files: offset and duration, in seconds" in result.out + result.err
    table = ReportTable.read(run / "report.parquet").table.to_pandas()
    assert table["issue"].tolist().count("unreadable") == 1 and table["reasons"][49].tolist() == ["bad_segment"]
    assert "it has 48 s" in table["error"][49]
    assert table["issue"][20] == table["issue"][48] == "duplicate_conflict"
    assert set(np.argsort(table["label_score"].to_numpy(float, na_value=np.nan)[:48])[:7]) >= set(range(5)) - {20}
    assert call(capsys, "export", run, "--policy", "prune", "--output", tmp_path / "p.jsonl", "--force").code == 0
    kept = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert all({"offset", "duration"} <= set(entry) for entry in kept) and 30 <= len(kept) <= 47
    assert call(capsys, "report", run, "--html", tmp_path / "page.html").code == 0
    assert "data:audio/mpeg" in (tmp_path / "page.html").read_text()

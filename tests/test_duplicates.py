"""Copies: what is found and what is not, who leads a group, what splits share, and what a user sees of it."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from audit_world import CLASSES, QUICK, write_csv
from cli_world import call, finished_run, make_report, mislabel, row, summary
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter
from scipy.signal import resample_poly

from cleanlab_lite.copies import Duplicates, find_copies
from cleanlab_lite.copies.perceptual import FARTHEST, RADIUS, hamming_pairs, small_pictures, usual_distance
from cleanlab_lite.data.content import find_duplicates, vector_content
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.data.media import decode_image
from cleanlab_lite.data.sound import SoundFormat
from cleanlab_lite.groups import group_pairs, roots
from cleanlab_lite.judge import neighbors
from cleanlab_lite.report.page.html import build_page
from cleanlab_lite.run import RunFolder
from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.run.summary import Leak
from nlclean.main import program

SIDE = 32
FORM = SoundFormat(8000, 0.5)


def inputs_of(array: np.ndarray, *, offsets: np.ndarray | None = None, content: np.ndarray | None = None) -> Inputs:
    nothing = np.full(len(array) if offsets is None else len(offsets) - 1, "")
    content = nothing if content is None else content
    return Inputs(array, nothing, nothing, find_duplicates(content), 0, content, offsets)


# --- pictures ---------------------------------------------------------------------------------------------------------


def photo(seed: int, side: int = 96) -> Image.Image:
    """Soft blobs of colour, no two seeds alike."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(side, side, 3)), (5, 5, 0))
    return Image.fromarray(np.clip(128 + 45 * noise / noise.std(), 0, 255).astype(np.uint8))


def encoded(picture: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


SAVED_AGAIN = {
    "JPEG of low quality": lambda p: encoded(p, quality=30),
    "another format": lambda p: encoded(p, "PNG"),
    "smaller": lambda p: encoded(p.resize((61, 61)), quality=85),
    "larger": lambda p: encoded(p.resize((150, 150)), quality=85),
    "brighter": lambda p: encoded(ImageEnhance.Brightness(p).enhance(1.15), quality=90),
    "more contrast": lambda p: encoded(ImageEnhance.Contrast(p).enhance(1.2), quality=90),
}


def pictures(*files: bytes) -> np.ndarray:
    return np.stack([decode_image(file, SIDE)[0] for file in files])


ORIGINALS = [encoded(photo(seed), quality=92) for seed in range(60)]


@pytest.mark.parametrize("how", SAVED_AGAIN)
def test_pictures_saved_again_are_found_and_no_others(how):
    copies = [SAVED_AGAIN[how](photo(seed)) for seed in range(10, 30)]
    found = find_copies(inputs_of(pictures(*ORIGINALS, *copies)))
    expected = np.concatenate([np.full(60, -1), np.arange(10, 30)])
    np.testing.assert_array_equal(found.copy_of, expected)
    assert set(found.kind[60:]) == {"perceptual"}
    assert (found.similarity[60:] > 1 - FARTHEST).all() and (found.similarity[60:] <= 1).all()
    assert found.near.sum() == 20 and found.facts["rows"] == {
        "exact": 0,
        "perceptual": 20,
        "reframed": 0,
        "embedding": 0,
    }


def test_turned_mirrored_and_other_pictures_are_no_copies():
    turned = [encoded(photo(seed).transpose(Image.Transpose.ROTATE_90)) for seed in range(10)]
    mirrored = [encoded(photo(seed).transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for seed in range(10)]
    assert (find_copies(inputs_of(pictures(*ORIGINALS, *turned, *mirrored))).copy_of < 0).all()


def test_pictures_of_one_scene_are_no_copies_of_each_other():
    """All alike, as hands before one wall: what counts as a copy is far nearer than they are."""
    wall = np.asarray(photo(1000), dtype=float)
    scenes = [
        Image.fromarray(np.clip(0.75 * wall + 0.25 * np.asarray(photo(seed), float), 0, 255).astype(np.uint8))
        for seed in range(60)
    ]
    array = pictures(*[encoded(scene, quality=92) for scene in scenes], *[encoded(s, quality=60) for s in scenes[:5]])
    found = find_copies(inputs_of(array))
    assert found.facts["perceptual_distance"] < FARTHEST / 2
    np.testing.assert_array_equal(np.flatnonzero(found.copy_of >= 0), np.arange(60, 65))


def test_flat_pictures_are_copies_only_where_they_are_equal():
    colours = [(0, 0, 0), (255, 255, 255), (200, 30, 30), (0, 0, 0), (201, 31, 31)]
    flat = [Image.new("RGB", (SIDE, SIDE), colour) for colour in colours]
    array = pictures(*ORIGINALS[:20], *[encoded(picture, "PNG") for picture in flat])
    found = find_copies(inputs_of(array))
    np.testing.assert_array_equal(np.flatnonzero(found.copy_of >= 0), [23])
    assert found.copy_of[23] == 20 and found.similarity[23] == 1


def test_the_hash_stays_where_only_brightness_and_contrast_change():
    array = pictures(*ORIGINALS)
    rows = np.arange(len(array))
    darker = np.rint(0.7 * array + 20).astype(np.uint8)
    bits = np.bitwise_count(small_pictures(array, rows).hashes ^ small_pictures(darker, rows).hashes)
    assert bits.max() <= RADIUS
    shuffled = small_pictures(array, rows[::-1]).hashes
    assert np.median(np.bitwise_count(small_pictures(array, rows).hashes ^ shuffled)) > 24  # chance has 32


@pytest.mark.parametrize("crowded", [False, True])
def test_hashes_are_compared_as_if_all_were(crowded):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 400, dtype=np.uint64)
    if crowded:
        hashes &= np.uint64(0x0101_0101_0101_0101)
    else:
        for copy in range(200, 300):
            flips = rng.choice(64, copy % 10, replace=False)
            hashes[copy] = hashes[copy - 200] ^ np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64))
    near = np.triu(np.bitwise_count(hashes[:, None] ^ hashes) <= RADIUS, 1)
    found = np.concatenate([np.zeros((0, 2), int), *hamming_pairs(hashes)])
    assert near.sum() > 50
    assert set(map(tuple, found.tolist())) == set(map(tuple, np.argwhere(near).tolist()))


def test_the_usual_distance_is_that_of_all_pairs():
    small = small_pictures(pictures(*ORIGINALS), np.arange(60)).small
    centred = (small - small.mean(axis=2, keepdims=True)).reshape(60, -1)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    assert usual_distance(small) == pytest.approx(np.median(1 - np.sort(unit @ unit.T, axis=1)[:, -11]), abs=1e-4)
    assert (
        usual_distance(small[:10]) == usual_distance(small[:11]) == np.inf
    )  # there, the tenth nearest is the farthest
    assert 0 < usual_distance(small[:12]) < 2


def test_copies_are_found_where_every_picture_has_a_dozen():
    variants = [encoded(photo(seed), quality=quality) for seed in range(20) for quality in range(40, 100, 5)]
    duplicates = find_copies(inputs_of(pictures(*variants)))
    np.testing.assert_array_equal(roots(duplicates.copy_of), np.repeat(np.arange(20) * 12, 12))


def test_hundreds_of_copies_of_one_picture_are_one_group():
    rng = np.random.default_rng(0)
    soft = gaussian_filter(rng.normal(size=(901, 3, SIDE, SIDE)), (0, 0, 2, 2))
    others = np.clip(128 + 45 * soft / soft.std(), 0, 255)
    crowd = np.clip(others[900] + rng.integers(-4, 5, (600, 3, SIDE, SIDE)), 0, 255)
    found = find_copies(inputs_of(np.concatenate([others[:900], crowd]).astype(np.uint8)))
    assert (roots(found.copy_of)[900:] == 900).all() and (found.copy_of[:900] < 0).all()


# --- sounds -----------------------------------------------------------------------------------------------------------


def clip(seed: int, seconds: float = 1.2, rate: int = 16_000) -> np.ndarray:
    """Bursts of noise and tones at random times."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    bursts = np.zeros(len(t))
    for _ in range(5):
        start, width, pitch = rng.uniform(0, seconds), rng.uniform(0.03, 0.15), rng.uniform(200, 1800)
        sound = rng.normal(size=len(t)) * 0.4 + np.sin(2 * np.pi * pitch * t)
        bursts += np.exp(-(((t - start) / width) ** 2)) * sound
    return (0.8 * bursts / np.abs(bursts).max()).astype(np.float32)


def file_of(samples: np.ndarray, rate: int = 16_000, **options: object) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **({"format": "WAV"} | options))
    return file.getvalue()


HEARD_AGAIN = {
    "OGG": lambda x: file_of(x, format="OGG", subtype="VORBIS"),
    "softer": lambda x: file_of(0.2 * x),
    "another rate": lambda x: file_of(resample_poly(x, 3, 4), 12_000),
}


def clips(*files: bytes) -> Inputs:
    decoded = [FORM.decode(file) for file in files]
    offsets = np.cumsum([0, *(len(each.arrays) for each in decoded)])
    inputs = inputs_of(np.concatenate([each.arrays for each in decoded]), offsets=offsets)
    return replace(inputs, notes={"silent": np.array(["silent" in each.notes for each in decoded])})


@pytest.mark.parametrize("how", HEARD_AGAIN)
def test_sounds_saved_again_are_found_and_no_others(how):
    files = [file_of(clip(seed)) for seed in range(30)]
    found = find_copies(clips(*files, *[HEARD_AGAIN[how](clip(seed)) for seed in range(10)]))
    np.testing.assert_array_equal(found.copy_of, np.concatenate([np.full(30, -1), np.arange(10)]))
    assert set(found.kind[30:]) == {"perceptual"}


def test_silence_and_other_lengths_are_no_copies():
    rng = np.random.default_rng(0)
    silent = [file_of(np.zeros(16_000)), file_of(np.zeros(16_000), 8_000), file_of(1e-4 * rng.normal(size=16_000))]
    longer = [file_of(np.tile(clip(seed), 3)) for seed in range(5)]
    found = find_copies(clips(*[file_of(clip(seed)) for seed in range(20)], *silent, *longer))
    assert (found.copy_of < 0).all()


# --- vectors ----------------------------------------------------------------------------------------------------------


def vectors_with_copies(noise: float = 0.01, n: int = 600, d: int = 24) -> np.ndarray:
    """(n + 40, d) float32: blobs, then copies of the first 40 rows with a little noise and another length."""
    rng = np.random.default_rng(0)
    rows = 3 * np.eye(4, d)[rng.integers(0, 4, n)] + rng.normal(size=(n, d))
    copies = rows[:40] * (1 + noise * rng.normal(size=(40, d))) * rng.uniform(0.5, 2, (40, 1))
    return np.concatenate([rows, copies]).astype(np.float32)


def test_vectors_with_a_little_noise_are_found_and_no_others():
    found = find_copies(inputs_of(vectors_with_copies()))
    np.testing.assert_array_equal(found.copy_of, np.concatenate([np.full(600, -1), np.arange(40)]))
    assert set(found.kind[600:]) == {"embedding"} and (found.similarity[600:] > 0.999).all()
    assert found.facts["search"] == {"method": "exact", "recall": None, "share": found.facts["search"]["share"]}


@pytest.mark.parametrize("d", [1, 2, 3, 5, 50])
def test_no_copies_among_random_vectors(d):
    """In few dimensions neighbours come very near by chance."""
    found = find_copies(inputs_of(np.random.default_rng(d).normal(size=(1500, d)).astype(np.float32)))
    assert (found.copy_of < 0).all()


def test_more_copies_than_neighbours_are_one_group():
    rng = np.random.default_rng(1)
    crowd = np.repeat(vectors_with_copies()[:2], 60, axis=0)
    crowd = (crowd * (1 + 0.01 * rng.normal(size=crowd.shape))).astype(np.float32)
    found = find_copies(inputs_of(np.concatenate([vectors_with_copies()[:600], crowd])))
    np.testing.assert_array_equal(found.copy_of[600:], np.repeat([0, 1], 60))


@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_a_few_rows(n):
    assert (find_copies(inputs_of(vectors_with_copies()[:n])).copy_of < 0).all()
    assert (find_copies(inputs_of(pictures(*ORIGINALS[:n]))).copy_of < 0).all()


def test_huge_and_tiny_vectors_are_compared_too():
    scale = np.where(np.arange(640) % 2 == 0, 1e30, 1e-30)[:, None]
    found = find_copies(inputs_of((vectors_with_copies() * scale).astype(np.float32)))
    np.testing.assert_array_equal(found.copy_of[600:], np.arange(40))


def test_equal_vectors_are_exact_copies_and_unreadable_ones_none():
    array = vectors_with_copies()
    array[300] = array[2]
    array[[7, 8]] = 0
    inputs = inputs_of(array, content=vector_content(array))
    codes = np.where(np.isin(np.arange(640), [7, 8]), "not_finite", "")
    content = np.where(codes == "", inputs.content, "")
    found = find_copies(replace(inputs, codes=codes, content=content, duplicate_of=find_duplicates(content)))
    assert found.kind[300] == "exact" and found.copy_of[300] == 2 and found.similarity[300] == 1
    assert not np.isin(found.copy_of, [7, 8]).any() and (found.copy_of[[7, 8]] < 0).all()


def test_pictures_are_compared_by_pixels_and_by_an_encoder():
    array = pictures(*ORIGINALS, SAVED_AGAIN["smaller"](photo(3)))
    vectors = vectors_with_copies()[:61]
    vectors[40] = vectors[5] * 1.001
    found = find_copies(inputs_of(array), inputs_of(vectors.astype(np.float16)))
    assert (found.kind[60], found.copy_of[60]) == ("perceptual", 3)
    assert (found.kind[40], found.copy_of[40]) == ("embedding", 5)
    assert found.near.sum() == 2


def test_large_sets_are_searched_in_cells_and_their_recall_is_measured(monkeypatch):
    exact = find_copies(inputs_of(vectors_with_copies()))
    assert exact.facts["search"]["method"] == "exact" and (exact.copy_of[600:] == np.arange(40)).all()
    monkeypatch.setattr(neighbors, "EXACT_PAIRS", 100)
    found = find_copies(inputs_of(vectors_with_copies()))
    np.testing.assert_array_equal(found.copy_of, exact.copy_of)
    assert found.facts["search"]["method"] == "cells" and 0.02 < found.facts["search"]["recall"] <= 1


def test_progress_ends_at_all_rows():
    for inputs in (inputs_of(vectors_with_copies()), inputs_of(pictures(*ORIGINALS))):
        heard = []
        find_copies(inputs, on_progress=heard.append)
        assert {event.stage for event in heard} == {"duplicates"}
        assert heard[-1].done == heard[-1].total == len(inputs.codes)


# --- groups, reasons, leakage -----------------------------------------------------------------------------------------


def test_a_group_is_the_union_of_pairs_and_its_first_row_leads():
    pairs = np.array([[5, 4], [4, 2], [7, 6], [2, 5]])
    np.testing.assert_array_equal(group_pairs(9, pairs), [-1, -1, -1, -1, 2, 2, -1, 6, -1])
    np.testing.assert_array_equal(group_pairs(3, np.zeros((0, 2), int)), [-1, -1, -1])


# row:        0        1       2       3      4       5      6   7
EXACT = np.array([-1, 0, -1, -1, -1, 4, -1, -1])  # 1 = 0, 5 = 4
NEAR = np.array([-1, 0, 0, -1, -1, 4, 4, -1])  # 2 ~ 0, 6 ~ 4
KIND = np.array(["", "exact", "perceptual", "", "", "exact", "perceptual", ""])
COPIES = Duplicates(NEAR, KIND, np.where(NEAR < 0, np.nan, 1.0), {"exact": EXACT, "perceptual": NEAR}, {})
SPLITS = np.array(["train", "train", "test", "test", "train", "test", "", "val"])


def test_reasons_tell_proof_from_hint():
    labels = np.array([0, 0, 1, 1, 2, 0, 2, -1])
    reasons = COPIES.reasons(labels, SPLITS)
    assert {code: np.flatnonzero(rows).tolist() for code, rows in reasons.items()} == {
        "near_duplicate": [0, 1, 2, 4, 5, 6],
        "near_duplicate_conflict": [0, 1, 2, 6],  # 4 and 5 contradict each other, which is proof and said elsewhere
        "leakage": [0, 1, 2, 4, 5],
    }


def test_a_row_without_a_label_contradicts_nobody():
    reasons = COPIES.reasons(np.array([0, 0, -1, 1, 2, 2, -1, -1]), SPLITS)
    assert not reasons["near_duplicate_conflict"].any()


def test_leakage_counts_rows_of_either_split_by_kind():
    found = COPIES.leakage(SPLITS)
    assert found == [
        Leak("test", "train", "exact", rows_a=1, rows_b=1, share_a=1 / 3, share_b=1 / 3),
        Leak("test", "train", "perceptual", rows_a=1, rows_b=2, share_a=1 / 3, share_b=2 / 3),
    ]
    assert COPIES.leakage(np.full(8, "")) == [] == COPIES.leakage(np.full(8, "train"))


def test_a_copy_of_a_copy_is_exact_and_counted_once():
    """Row 60 is row 3 saved again, and row 61, of another split, the file of row 60."""
    again = SAVED_AGAIN["smaller"](photo(3))
    content = np.array([f"{row}" for row in (*range(61), 60)])
    found = find_copies(inputs_of(pictures(*ORIGINALS, again, again), content=content))
    assert found.kind[60:].tolist() == ["perceptual", "exact"] and found.near[60:].all()
    assert found.copy_of[60:].tolist() == [3, 3] and found.similarity[61] == found.similarity[60] < 1
    copies, beside, similarity = found.pairs
    assert (copies.tolist(), beside.tolist(), similarity[1]) == ([60, 61], [3, 60], 1)
    leaks = found.leakage(np.array(["train"] * 61 + ["val"]))
    assert [(leak.kind, leak.rows_a, leak.rows_b) for leak in leaks] == [("exact", 1, 1), ("perceptual", 1, 0)]


# --- what a user sees -------------------------------------------------------------------------------------------------

TRAIN, TEST = 75, 30
FOLDS: list[np.ndarray] = []  # that the audit has dealt


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three colours; of the test split 2 are the same files as in train and 3 are saved again, 1 of these
    with another label; within train, one is saved again."""
    folder = tmp_path_factory.mktemp("leaking")
    truth = np.arange(TRAIN + TEST) % 3
    names = [f"{'train' if i < TRAIN else 'test'}/{i:03}.jpg" for i in range(TRAIN + TEST)]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)

    def scene(i: int) -> Image.Image:
        tint = np.zeros(3)
        tint[truth[i]] = 50
        return Image.fromarray(np.clip(np.asarray(photo(i), float) * 0.7 + tint, 0, 255).astype(np.uint8))

    for i, name in enumerate(names):
        scene(i).save(folder / name, quality=92)
    labels = truth.copy()
    for i in (0, 3):
        shutil.copy(folder / names[i], folder / names[TRAIN + i])
    for i in (7, 11, 14):
        scene(i).resize((80, 80)).save(folder / names[TRAIN + i], quality=60)
    labels[TRAIN + 14] = (labels[14] + 1) % 3
    scene(20).save(folder / names[23], quality=50)
    columns = {
        "path": names,
        "label": [CLASSES[label] for label in labels],
        "split": ["train"] * TRAIN + ["test"] * TEST,
    }
    write_csv(folder / "m.csv", columns)
    return folder


@pytest.fixture(scope="module")
def run(leaking: Path) -> Path:
    from cleanlab_lite.train import folds

    def dealt(*given):
        FOLDS.append(assign(*given))
        return FOLDS[-1]

    assign = folds.assign_folds
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLCLEAN_CACHE_DIR", str(leaking / "cache"))
        patch.setattr(folds, "assign_folds", dealt)
        with pytest.raises(SystemExit) as stop:
            program.main(["audit", str(leaking / "m.csv"), "--out", str(leaking / "run"), *QUICK, "--epochs", "1"])
        assert not stop.value.code
    return leaking / "run"


def test_an_audit_names_copies_and_leakage(run):
    report = ReportTable.read(run / "report.parquet")
    rows = {record["id"]: record for record in report.table.to_pylist()}
    near = {id: found["near_duplicate_of"] for id, found in rows.items() if found["near_duplicate_of"]}
    assert near == {
        "train/023.jpg": "train/020.jpg",
        "test/082.jpg": "train/007.jpg",
        "test/086.jpg": "train/011.jpg",
        "test/089.jpg": "train/014.jpg",
    }
    assert all(0.95 < rows[id]["near_duplicate_similarity"] <= 1 for id in near)
    assert rows["test/075.jpg"]["duplicate_of"] == "train/000.jpg"
    assert rows["test/075.jpg"]["near_duplicate_of"] is rows["test/075.jpg"]["near_duplicate_similarity"] is None
    leaks = {id for id, found in rows.items() if "leakage" in found["reasons"]}
    leaked = (0, 3, 7, 11, 14)
    assert leaks == {f"train/{i:03}.jpg" for i in leaked} | {f"test/{TRAIN + i:03}.jpg" for i in leaked}
    conflicts = {id for id, found in rows.items() if "near_duplicate_conflict" in found["reasons"]}
    assert conflicts == {"train/014.jpg", "test/089.jpg"}
    assert "duplicate_conflict" not in report.summary.reasons  # nearly the same content is no proof


def test_the_summary_and_the_table_of_pairs_agree(run):
    found = json.loads((run / "summary.json").read_bytes())
    assert [(x["split_a"], x["split_b"], x["kind"], x["rows_a"], x["rows_b"]) for x in found["leakage"]] == [
        ("test", "train", "exact", 2, 2),
        ("test", "train", "perceptual", 3, 3),
    ]
    assert found["leakage"][0]["share_a"] == pytest.approx(2 / TEST)
    assert found["duplicates"]["rows"] == {"exact": 2, "perceptual": 4, "reframed": 0, "embedding": 0}
    assert any(text.startswith("split test: 5 of 30 rows (16.7 %)") for text in found["warnings"])
    pairs = pq.read_table(run / "duplicates.parquet").to_pylist()
    assert list(pairs[0]) == ["id_a", "id_b", "kind", "similarity", "label_a", "label_b", "split_a", "split_b"]
    assert len(pairs) == 6 and sum(pair["label_a"] != pair["label_b"] for pair in pairs) == 1
    assert sum(pair["split_a"] != pair["split_b"] for pair in pairs) == 5


def test_copies_are_held_out_together(run):
    """No proxy that judges a row as held out has seen its copy."""
    assert len(FOLDS) == 2  # of the networks on the vectors of the encoder, and on pixels
    for fold in FOLDS:
        for a, b in ((0, 75), (3, 78), (7, 82), (11, 86), (14, 89), (20, 23)):
            assert fold[a] == fold[b]
        assert len(set(fold)) == 2


def test_report_and_page_show_the_leakage(run, capsys):
    shown = call(capsys, "report", run)
    assert "Leakage between splits" in shown.out and "copies: exact 2, perceptual 4" in shown.out
    assert "leakage: 10 rows with a copy in another split" in shown.out
    assert "split test: 5 of 30 rows" in shown.err
    as_json = json.loads(call(capsys, "report", run, "--json").out)
    assert [line["kind"] for line in as_json["leakage"]] == ["exact", "perceptual"]
    page = build_page(RunFolder(run)).decode()
    assert "Leakage between splits" in page and "train/007.jpg" in page


def test_the_recall_of_a_search_in_cells_is_printed(tmp_path, capsys):
    facts = {"rows": {"exact": 0, "perceptual": 0, "embedding": 3}, "search": {"method": "cells", "recall": 0.987}}
    folder = finished_run(tmp_path / "run", make_report([row("a")], duplicates=facts))
    assert "98.7 % of all neighbours" in call(capsys, "report", folder).out


def test_proof_without_a_model_is_shown_first(tmp_path, capsys):
    rows = [
        mislabel("sure", label_score=0.001, p_mislabel=0.999),
        row("copy 1", issue="duplicate_conflict", label_score=0.9, p_mislabel=0.1),
        row("other 1", issue="duplicate_conflict", label_score=0.6, p_mislabel=0.4),
        mislabel("other 2", issue="duplicate_conflict", duplicate_of="other 1", label_score=0.4, p_mislabel=0.6),
        mislabel("copy 2", issue="duplicate_conflict", duplicate_of="copy 1", label_score=0.2, p_mislabel=0.8),
        row("fine"),
    ]
    folder = finished_run(tmp_path / "run", make_report(rows))
    order = ["copy 2", "copy 1", "other 2", "other 1", "sure"]
    shown = json.loads(call(capsys, "report", folder, "--json").out)["suspicious"]
    assert [line["id"] for line in shown] == order
    text = call(capsys, "report", folder).out
    assert [text.index(f"\n  {id} ") for id in order] == sorted(text.index(f"\n  {id} ") for id in order)
    page = build_page(RunFolder(folder)).decode()
    places = [page.index(f'["{id}"') for id in [*order, "fine"]]
    assert places == sorted(places)


def test_a_report_without_splits_shows_no_leakage(tmp_path, capsys):
    folder = finished_run(tmp_path / "run", make_report([row("a")]))
    assert not summary().leakage and "eakage" not in call(capsys, "report", folder).out

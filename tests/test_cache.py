"""Decode once: what comes out, what is decoded again, and what damage, crashes and rivals do to the cache."""

import hashlib
import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from cleanlab_lite.data import cache, decode, formats, media, packs
from cleanlab_lite.data.content import find_duplicates, vector_content
from cleanlab_lite.data.formats import ImageFormat, choose_image_size
from cleanlab_lite.data.sound import SoundFormat
from cleanlab_lite.errors import ConfigError, DecodeError
from cleanlab_lite.manifest.manifest import WHOLE

S = 32
PICTURES = ImageFormat(S)


def picture(seed, size=S):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue(), pixels.transpose(2, 0, 1)


@pytest.fixture
def files(tmp_path):
    """Ten pictures: (uris, (10, 3, S, S) pixels)."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    uris, pixels = [], []
    for i in range(10):
        data, expected = picture(i)
        (folder / f"{i}.png").write_bytes(data)
        uris.append(str(folder / f"{i}.png"))
        pixels.append(expected)
    return uris, np.stack(pixels)


@pytest.fixture
def decodes(monkeypatch):
    """Counts calls of decode_image in this process."""
    calls = []
    original = media.decode_image
    monkeypatch.setattr(media, "decode_image", lambda data, size: calls.append(size) or original(data, size))
    return calls


def settle(uris):
    """Make the files look old, as files of a data set are."""
    for uri in uris:
        os.utime(uri, (1e9, 1e9))


def pack_files(cache_dir):
    return sorted((cache_dir / f"images-v{media.PREPROCESSING_VERSION}-{S}").glob("*.npy"))


# --- what comes out


def test_second_call_decodes_nothing(files, tmp_path, decodes):
    uris, expected = files
    first = cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    assert np.array_equal(first.pixels, expected)
    assert first.decoded == len(decodes) == 10
    assert first.content.tolist() == [hashlib.sha256(Path(uri).read_bytes()).hexdigest() for uri in uris]
    assert not any(first.errors) and not any(first.codes)

    second = cache.load(np.array(uris), PICTURES, cache_dir=tmp_path / "cache")
    assert second.decoded == 0 and len(decodes) == 10
    assert isinstance(second.pixels, np.memmap)
    assert np.array_equal(second.pixels, expected)
    assert np.array_equal(second.content, first.content)


def test_what_the_cache_holds_is_told_without_touching_it(files, tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "RACY_NS", 0)
    uris, folder = [*files[0], str(tmp_path / "gone.png"), "https://example.org/a.png"], tmp_path / "cache"
    assert not any(cache.found_before(uris, PICTURES, cache_dir=folder)) and not folder.exists()
    content = cache.load(uris[:6], PICTURES, cache_dir=folder).content.tolist()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert cache.found_before(uris, PICTURES, cache_dir=folder).tolist() == [*content, *[""] * 6]
    assert not any(cache.found_before(uris, ImageFormat(2 * S), cache_dir=folder))
    assert cache.held_by_cache([*content[:2], "0" * 64, ""], PICTURES, folder) == set(content[:2])
    Path(uris[0]).write_bytes(picture(99)[0])
    assert cache.found_before(uris, PICTURES, cache_dir=folder).tolist() == ["", *content[1:], *[""] * 6]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    for pack in pack_files(folder):
        pack.unlink()
    assert not any(cache.found_before(uris, PICTURES, cache_dir=folder))


def test_failures_are_rows(files, tmp_path):
    uris, expected = files
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes(picture(1)[0][:1000])
    (tmp_path / "text.png").write_text("no picture")
    rows = [uris[0], str(tmp_path / "empty.png"), str(tmp_path / "gone.png"), uris[1], str(tmp_path / "cut.png")]
    rows += [str(tmp_path), "", str(tmp_path / "text.png"), uris[2]]
    for _ in range(2):
        store = cache.load(rows, PICTURES, cache_dir=tmp_path / "cache")
        codes = ["", "file_empty", "file_missing", "", "truncated", "is_directory", "file_missing", "decode_failed", ""]
        assert store.codes.tolist() == codes
        assert [bool(error) for error in store.errors] == [bool(code) for code in codes]
        assert np.array_equal(store.content == "", store.codes != "")
        assert np.array_equal(store.pixels[[0, 3, 8]], expected[:3])
        assert not store.pixels[[1, 2, 4, 5, 6, 7]].any()
    assert store.decoded == 0


def test_order_subset_and_repeats(files, tmp_path):
    uris, expected = files
    cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    order = [7, 1, 1, 0]
    store = cache.load([uris[i] for i in order], PICTURES, cache_dir=tmp_path / "cache")
    assert store.decoded == 0
    assert np.array_equal(store.pixels, expected[order])


def test_only_new_and_changed_pictures_are_decoded(files, tmp_path):
    uris, expected = files
    settle(uris)
    cache.load(uris[:6], PICTURES, cache_dir=tmp_path / "cache")
    data, pixels = picture(99)
    with open(uris[0], "wb") as file:
        file.write(data)
    expected[0] = pixels
    store = cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    assert store.decoded == 5
    assert np.array_equal(store.pixels, expected)


def test_a_changed_file_of_the_same_size_and_time_is_noticed(tmp_path):
    path = tmp_path / "a.bmp"
    for value in (10, 20):
        Image.new("RGB", (S, S), (value, value, value)).save(path)
        os.utime(path, (1e9, 1e9))
        assert (cache.load([str(path)], PICTURES, cache_dir=tmp_path / "cache").pixels == value).all()


def test_unchanged_old_files_are_not_even_read(files, tmp_path, monkeypatch):
    uris, expected = files
    monkeypatch.setattr(packs, "RACY_NS", 0)  # the change time cannot be set back
    cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(media, "read_bytes", lambda uri, **_: pytest.fail(f"read {uri}"))
    store = cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    assert np.array_equal(store.pixels, expected)
    assert len(set(store.content)) == 10


def test_sizes_and_versions_are_kept_apart(files, tmp_path, monkeypatch):
    uris, _ = files
    assert cache.load(uris, PICTURES, cache_dir=tmp_path / "cache").decoded == 10
    assert cache.load(uris, ImageFormat(48), cache_dir=tmp_path / "cache").pixels.shape == (10, 3, 48, 48)
    monkeypatch.setattr(media, "PREPROCESSING_VERSION", media.PREPROCESSING_VERSION + 1)
    assert cache.load(uris, PICTURES, cache_dir=tmp_path / "cache").decoded == 10


def test_no_rows(tmp_path):
    store = cache.load([], PICTURES, cache_dir=tmp_path / "cache")
    assert store.pixels.shape == (0, 3, S, S) and len(store.errors) == len(store.content) == 0


def test_only_unreadable_rows(tmp_path):
    store = cache.load([str(tmp_path / "gone")] * 3, PICTURES, cache_dir=tmp_path / "cache")
    assert store.pixels.shape == (3, 3, S, S) and not store.pixels.any()


def test_writing_to_the_pixels_does_not_change_the_cache(files, tmp_path):
    uris, expected = files
    cache.load(uris, PICTURES, cache_dir=tmp_path / "cache").pixels[:] = 0
    assert np.array_equal(cache.load(uris, PICTURES, cache_dir=tmp_path / "cache").pixels, expected)


def test_progress_starts_with_what_is_cached_and_closes(files, tmp_path):
    uris, _ = files
    events = []
    cache.load(uris[:4], PICTURES, cache_dir=tmp_path / "cache", on_progress=events.append)
    assert (events[-1].stage, events[-1].done, events[-1].total) == ("decode", 4, 4)


# --- large sets


def test_a_large_set_is_gathered_in_one_file(files, tmp_path, monkeypatch):
    uris, expected = files
    monkeypatch.setattr(decode, "CHUNK", 3)
    monkeypatch.setattr(packs, "PACK_BYTES", 4 * 3 * S * S)
    monkeypatch.setattr(packs, "MEMORY_BYTES", 3 * S * S)
    rows = [*uris, str(tmp_path / "gone"), uris[3]]
    for decoded in (11, 0):  # the repeat comes before the first call knows its content
        store = cache.load(rows, PICTURES, cache_dir=tmp_path / "cache")
        assert store.decoded == decoded
        assert isinstance(store.pixels, np.memmap)
        assert np.array_equal(store.pixels[[*range(10), 11]], expected[[*range(10), 3]])
        assert not store.pixels[10].any() and store.codes[10] == "file_missing"
        assert len(pack_files(tmp_path / "cache")) == 1  # the parts that it was gathered from are gone


def test_many_packs_are_joined_in_memory(files, tmp_path, monkeypatch):
    uris, expected = files
    monkeypatch.setattr(packs, "PACK_BYTES", 1)
    assert np.array_equal(cache.load(uris, PICTURES, cache_dir=tmp_path / "cache").pixels, expected)
    assert len(pack_files(tmp_path / "cache")) == 10


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for its address space")
@pytest.mark.parametrize("memory", [1 << 30, 1])
def test_packs_are_not_mapped_all_at_once_beside_what_they_become(tmp_path, memory):
    """32 MiB of vectors in 16 packs become one array, in memory or in a file, with 48 MiB of address space for it."""
    script = f"""
import resource
from pathlib import Path
import numpy as np
from cleanlab_lite.data import cache, formats, packs
from cleanlab_lite.data.media import Decoded

packs.PACK_BYTES, packs.MEMORY_BYTES = 2 << 20, {memory}
form, folder = formats.FeatureFormat("encoder", 4096), Path({str(tmp_path)!r})
names = [f"{{row:064x}}" for row in range(4096)]
cache.keep(form, ((name, Decoded(np.full((1, 4096), row, "<f2"))) for row, name in enumerate(names)), folder)

taken = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (taken + (48 << 20), resource.RLIM_INFINITY))
vectors, computed = cache.load_vectors(names[::-1], form, None, batch_size=64, cache_dir=folder)
assert computed == 0 and (vectors[:, 7] == np.arange(4096)[::-1].astype("<f2")).all()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- damage


def overwrite(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        file.write(data)


DAMAGE = {
    "truncated": lambda npy: os.truncate(npy, npy.stat().st_size - 1),
    "empty": lambda npy: os.truncate(npy, 0),
    "header": lambda npy: overwrite(npy, 0, b"garbage!"),
    "pixels": lambda npy: overwrite(npy, -100, b"garbage!"),
    "no pixels": lambda npy: npy.unlink(),
    "no index": lambda npy: npy.with_suffix(".txt").unlink(),
    "empty index": lambda npy: npy.with_suffix(".txt").write_bytes(b""),
    "binary index": lambda npy: npy.with_suffix(".txt").write_bytes(bytes(range(256)) * 3),
    "short index": lambda npy: os.truncate(npy.with_suffix(".txt"), 200),
    "swapped index": lambda npy: npy.with_suffix(".txt").write_text(
        "\n".join(sorted(npy.with_suffix(".txt").read_text().split(), key=lambda line: (len(line), line)))
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("subset", [False, True])
def test_a_damaged_pack_is_rebuilt(files, tmp_path, damage, subset):
    uris, expected = files
    cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    (npy,) = pack_files(tmp_path / "cache")
    DAMAGE[damage](npy)
    count = 7 if subset else 10
    store = cache.load(uris[:count], PICTURES, cache_dir=tmp_path / "cache")
    assert np.array_equal(store.pixels, expected[:count])
    assert store.decoded == count
    assert cache.load(uris[:count], PICTURES, cache_dir=tmp_path / "cache").decoded == 0


def test_a_damaged_pack_that_cannot_be_removed_is_left_alone(files, tmp_path, monkeypatch):
    uris, expected = files
    cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    DAMAGE["pixels"](pack_files(tmp_path / "cache")[0])

    remove = Path.unlink

    def in_use(path, missing_ok=False):
        if path.suffix in (".npy", ".txt"):
            raise PermissionError
        remove(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", in_use)
    assert np.array_equal(cache.load(uris, PICTURES, cache_dir=tmp_path / "cache").pixels, expected)


def two_pictures(tmp_path, monkeypatch):
    """A load of two pictures, what it gives, and the files of the cache: pack, index, stat file."""
    monkeypatch.setattr(packs, "RACY_NS", 0)
    monkeypatch.setattr(packs.os, "fsync", lambda handle: None)  # thousands of times
    folder = tmp_path / "cache"
    uris = [str(tmp_path / f"{i}.png") for i in range(2)]
    for i, uri in enumerate(uris):
        Path(uri).write_bytes(picture(i)[0])

    def load():
        store = cache.load(uris, PICTURES, cache_dir=folder)
        assert store.codes.tolist() == ["", ""]
        return store.pixels

    return load, np.stack([picture(i)[1] for i in range(2)]), folder


def two_sounds(tmp_path, monkeypatch):
    uris = [str(tmp_path / f"{i}.wav") for i in range(2)]
    for i, uri in enumerate(uris):
        soundfile.write(uri, np.random.default_rng(i).normal(size=20_000 + 16_000 * i) / 9, 16_000)
    monkeypatch.setattr(packs, "RACY_NS", 0)
    monkeypatch.setattr(packs.os, "fsync", lambda handle: None)
    form = SoundFormat(16_000, 1.024)

    def load():
        store = cache.load(uris, form, cache_dir=tmp_path / "cache")
        assert store.codes.tolist() == ["", ""] and store.offsets[-1] == len(store.pixels)
        return store.pixels

    expected = np.concatenate([form.decode(Path(uri).read_bytes(), WHOLE)[0] for uri in uris])
    return load, expected, tmp_path / "cache"


def two_vectors(tmp_path, monkeypatch):
    monkeypatch.setattr(packs.os, "fsync", lambda handle: None)
    expected = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float16)
    form = formats.FeatureFormat("e" * 64, 5)
    content = ["a" * 64, "b" * 64]

    def load():
        return cache.load_vectors(
            content, form, lambda rows: expected[rows], batch_size=2, cache_dir=tmp_path / "cache"
        )[0]

    return load, expected, tmp_path / "cache"


# steps without a common divisor with 8, so that each meets every bit of a byte
@pytest.mark.parametrize(
    ("make", "step"),
    [
        (two_vectors, 31),
        (two_pictures, 61),
        (two_sounds, 301),
        pytest.param(two_vectors, 5, marks=pytest.mark.slow),
        pytest.param(two_pictures, 13, marks=pytest.mark.slow),
        pytest.param(two_sounds, 67, marks=pytest.mark.slow),
    ],
)
def test_no_flipped_bit_stops_a_load_or_changes_what_it_gives(tmp_path, monkeypatch, make, step):
    load, expected, folder = make(tmp_path, monkeypatch)
    np.testing.assert_array_equal(load(), expected)
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path.suffix for path in whole} == {".npy", ".txt"}
    for path, data in whole.items():
        for bit in [*range(0, 8 * min(len(data), 160), step), *range(8 * 160, 8 * len(data), 4001)]:
            shutil.rmtree(folder)
            for other, content in whole.items():
                other.parent.mkdir(parents=True, exist_ok=True)
                other.write_bytes(content)
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            for _ in range(2):  # and after what was damaged has been made again
                np.testing.assert_array_equal(load(), expected, err_msg=f"bit {bit} of {path.name}")


def test_a_pack_of_the_right_numbers_in_another_order_counts_for_nothing(tmp_path, monkeypatch):
    load, expected, folder = two_vectors(tmp_path, monkeypatch)
    load()
    (npy,) = folder.rglob("*.npy")
    np.save(npy, np.asfortranarray(expected))
    np.testing.assert_array_equal(load(), expected)


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2], np.flip])
def test_what_is_decoded_is_kept_however_it_lies_in_memory(files, tmp_path, monkeypatch, layout):
    uris, expected = files
    original = media.decode_image
    monkeypatch.setattr(media, "decode_image", lambda data, size: (layout(original(data, size)[0]), (S, S)))
    expected = np.stack([layout(pixels) for pixels in expected])
    for _ in range(2):  # decoded, and from the cache
        assert np.array_equal(cache.load(uris, PICTURES, cache_dir=tmp_path / "cache").pixels, expected)


def test_the_sizes_of_the_files_are_kept_and_caches_without_them_are_read(files, tmp_path):
    uris, expected = files
    Image.fromarray(expected[3].transpose(1, 2, 0)).resize((64, 20)).save(uris[3])
    own = [[S, S]] * 3 + [[64, 20]] + [[S, S]] * 6
    for _ in range(2):  # decoded, and from the cache
        assert cache.load(uris, PICTURES, cache_dir=tmp_path / "cache").sizes.tolist() == own
    (index,) = pack_files(tmp_path / "cache")[0].parent.glob("*.txt")  # as they were written before
    lines = [line.split(" ")[0] for line in index.read_text().splitlines()[1:]]
    crc = zlib.crc32(
        pack_files(tmp_path / "cache")[0].read_bytes()[-10 * 3 * S * S :], zlib.crc32("\n".join(lines).encode())
    )
    index.write_text("\n".join([f"{crc:08x}", *lines]) + "\n")
    old = cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    assert old.decoded == 0 and not old.sizes.any()


def test_damaged_stat_files_cost_only_time(files, tmp_path, monkeypatch):
    uris, expected = files
    monkeypatch.setattr(packs, "RACY_NS", 0)
    cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "stat-v1").iterdir()
    path.write_bytes(b"\xff\0 \n" + path.read_bytes()[:500])
    assert np.array_equal(cache.load(uris, PICTURES, cache_dir=tmp_path / "cache").pixels, expected)


def test_leftovers_of_killed_runs_are_swept_but_not_work_in_progress(files, tmp_path):
    uris, _ = files
    cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    (npy,) = pack_files(tmp_path / "cache")
    names = ["old.npy.tmp", "old.npy", "new.npy.tmp", "new.npy"]
    for name in names:
        npy.with_name(name).write_bytes(b"x")
        if name.startswith("old"):
            os.utime(npy.with_name(name), (1e9, 1e9))
    cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    assert [npy.with_name(name).exists() for name in names] == [False, False, True, True]
    assert npy.exists()


def test_a_cache_that_cannot_be_written_says_so(files, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="file") as caught:
        cache.load(files[0], PICTURES, cache_dir=tmp_path / "file")
    assert "NLCLEAN_CACHE_DIR" in caught.value.hint


def test_a_full_disk_leaves_no_half_written_file(files, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        cache.load(files[0], PICTURES, cache_dir=tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


# --- processes


def many(tmp_path, n):
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(n):
        Image.new("RGB", (S, S), (i % 256, i // 256, 7)).save(folder / f"{i}.bmp")
    uris = [str(folder / f"{i}.bmp") for i in range(n)]
    (folder / "100.bmp").write_bytes(b"broken")
    expected = np.array([[i % 256, i // 256, 7] for i in range(n)], np.uint8)
    expected[100] = 0
    return uris, expected


def test_worker_processes_give_what_this_process_gives(tmp_path, decodes):
    uris, expected = many(tmp_path, 520)
    store = cache.load(uris, PICTURES, cache_dir=tmp_path / "cache", workers=2)
    assert decodes == [] and store.decoded == 519
    assert np.array_equal(store.pixels[:, :, 5, 9], expected)
    assert store.codes[100] == "decode_failed" and store.errors[100]
    alone = cache.load(uris, PICTURES, cache_dir=tmp_path / "other", workers=1)
    for field in ("pixels", "errors", "codes", "content", "decoded"):
        assert np.array_equal(getattr(store, field), getattr(alone, field))
    again = cache.load(uris, PICTURES, cache_dir=tmp_path / "cache", workers=2)
    assert again.decoded == 0 and np.array_equal(again.pixels, store.pixels)


class CrashingFormat(ImageFormat):
    """Ends the process that decodes, unless it is that of the test."""

    def decode(self, data, segment=WHOLE):
        if multiprocessing.parent_process() is not None:
            os._exit(1)
        return super().decode(data, segment)


def test_crashed_workers_do_not_end_the_run(files, tmp_path, monkeypatch):
    uris, expected = files
    monkeypatch.setattr(decode, "POOL_MIN_FILES", 1)
    monkeypatch.setattr(decode, "CHUNK", 2)
    store = cache.load(uris, CrashingFormat(S), cache_dir=tmp_path / "cache", workers=2)
    assert np.array_equal(store.pixels, expected) and store.decoded == 10


def test_a_pool_that_breaks_half_way_repeats_nothing(files, tmp_path, monkeypatch, decodes):
    uris, expected = files

    class BreakingPool:
        """Does the first task that it is given, right here; its workers die in the second."""

        def __init__(self, workers, start, arguments):
            start(*arguments)
            self.given = 0

        def submit(self, work, chunk):
            self.given += bool(chunk)
            future = Future()
            if self.given <= 1:
                future.set_result(work(chunk))
            else:
                future.set_exception(BrokenProcessPool())
            return future

        def shutdown(self, cancel_futures):
            pass

    monkeypatch.setattr(decode, "POOL_MIN_FILES", 1)
    monkeypatch.setattr(decode, "CHUNK", 2)
    monkeypatch.setattr(decode, "pool", BreakingPool)
    assert np.array_equal(cache.load(uris, PICTURES, cache_dir=tmp_path / "cache", workers=2).pixels, expected)
    assert len(decodes) == 10


def test_an_interrupted_call_keeps_what_it_decoded(files, tmp_path, monkeypatch):
    uris, expected = files
    monkeypatch.setattr(decode, "CHUNK", 2)

    def interrupt(event):
        if event.done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.load(uris, PICTURES, cache_dir=tmp_path / "cache", on_progress=interrupt)
    store = cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    assert store.decoded == 4
    assert np.array_equal(store.pixels, expected)


def _load(uris, cache_dir):
    cache.load(uris, PICTURES, cache_dir=cache_dir)


def test_two_processes_at_once(files, tmp_path):
    uris, expected = files
    context = multiprocessing.get_context("spawn")
    rivals = [context.Process(target=_load, args=(uris, tmp_path / "cache")) for _ in range(2)]
    for rival in rivals:
        rival.start()
    mine = cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    for rival in rivals:
        rival.join()
        assert rival.exitcode == 0
    assert np.array_equal(mine.pixels, expected)
    after = cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    assert after.decoded == 0 and np.array_equal(after.pixels, expected)


def test_the_cache_may_be_deleted_while_it_is_in_use(files, tmp_path):
    uris, expected = files
    cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    held = cache.load(uris, PICTURES, cache_dir=tmp_path / "cache")
    for npy in pack_files(tmp_path / "cache"):
        npy.unlink()
    assert np.array_equal(held.pixels, expected)
    assert cache.load(uris, PICTURES, cache_dir=tmp_path / "cache").decoded == 10


# Work for the workers, in a module: they never import the script.
SLOW = """
import os, sys, time
from cleanlab_lite.data.formats import ImageFormat

class SlowFormat(ImageFormat):
    def decode(self, data, segment):
        with open(sys.argv[1], "a") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(30)
"""
DECODES_SLOWLY = """
import sys
from pathlib import Path
from cleanlab_lite.data import cache, decode
from slow import SlowFormat

decode.CHUNK, decode.POOL_MIN_FILES = 1, 1
cache.load([__file__] * 3, SlowFormat(32), cache_dir=Path(sys.argv[2]), workers=2)
"""


def gone(pid):
    """Whether the process has ended; a zombie has."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks into /proc")
def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "script.py").write_text(DECODES_SLOWLY)
    pids = tmp_path / "pids"
    parent = subprocess.Popen([sys.executable, tmp_path / "script.py", pids, tmp_path / "cache"])
    try:
        wait(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait(lambda: all(gone(pid) for pid in pids.read_text().split()))


def wait(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


# --- the small functions


def test_choose_image_size_snaps_the_median_shorter_side_down(tmp_path):
    def sizes(*shapes):
        uris = []
        for i, (width, height) in enumerate(shapes):
            path = tmp_path / f"{width}x{height}-{i}.png"
            Image.new("L", (width, height)).save(path)
            uris.append(str(path))
        return uris

    assert choose_image_size(sizes((8, 8))) == 32
    assert choose_image_size(sizes((500, 47))) == 32
    assert choose_image_size(sizes((48, 500))) == 48
    assert choose_image_size(sizes((640, 480), (95, 95), (80, 80))) == 64
    assert choose_image_size(sizes((640, 480))) == 128
    assert choose_image_size([str(tmp_path / "gone"), *sizes((100, 100))]) == 96
    assert choose_image_size([str(tmp_path / "gone"), ""]) == 32
    assert choose_image_size([]) == 32


def test_choose_image_size_reads_an_evenly_spaced_sample(monkeypatch):
    seen = []
    monkeypatch.setattr(media, "opened", lambda uri, remote: seen.append(int(uri)) or fail())
    choose_image_size([str(i) for i in range(1001)], sample=5)
    assert seen == [0, 250, 500, 750, 1000]


def fail():
    raise DecodeError("no")


def test_find_duplicates():
    found = find_duplicates(np.array(["a", "b", "a", "", "", "b", "a", "c"]))
    assert found.dtype == np.int64
    assert found.tolist() == [-1, -1, 0, -1, -1, 1, 0, -1]
    assert find_duplicates([]).tolist() == []


def test_duplicate_files_are_found_by_content(files, tmp_path):
    uris, _ = files
    (tmp_path / "copy.png").write_bytes(Path(uris[4]).read_bytes())
    store = cache.load(
        [*uris, str(tmp_path / "copy.png"), str(tmp_path / "x"), str(tmp_path / "x")], PICTURES, cache_dir=tmp_path
    )
    assert find_duplicates(store.content).tolist() == [-1] * 10 + [4, -1, -1]


def test_duplicate_vectors_are_found_by_content():
    features = np.array([[1, 0.0], [2, 3], [1, -0.0], [np.nan, 1], [np.nan, 1], [np.inf, 0], [2, 3]], np.float32)
    content = vector_content(features)
    assert (content[[3, 4, 5]] == "").all()
    assert find_duplicates(content).tolist() == [-1, -1, 0, -1, -1, -1, 1]
    assert np.array_equal(vector_content(np.asfortranarray(features)), content)


def test_default_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path))
    assert cache.default_cache_dir() == tmp_path
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", "")
    assert "nlclean" in str(cache.default_cache_dir())

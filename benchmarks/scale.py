"""What an audit of many vectors, or of many files of pictures, costs: CPU seconds, peak memory and quality.

    python -m benchmarks.scale [--rows 10000 100000 1000000] [--classes 100] [--presets fast] [--folder DIR]
        [--most-gib 4] [--commands] [--json FILE]
    python -m benchmarks.scale --pictures --again [--rows 10000 100000] [--classes 100] [--side 64]

Vectors are made: classes are Gaussian clouds in families of five that overlap; a tenth of the labels is wrong and
names one of the family, mostly its nearest. Two rows in a thousand are copies of others with a little noise. Pictures
are JPEG files of blurred textures, of families too; their copies are saved in another quality. Audits have a cache of
their own: the first finds it empty, a second one (`--again`) filled, and the seconds of decoding and encoding say
what that saves.

Each audit is a process of its own. Its address space is limited to what it takes to import the libraries and
`--most-gib` on top, the vectors included, which are mapped into memory; beside it the resident memory of the process
and its workers is measured, and more of it than `--most-gib` is a failure. `--commands` measures what reads the run
afterwards.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cleanlab_lite import measure

GIB = 2**30
FAMILY = 5  # classes that are mistaken for each other
WRONG, COPIES = 0.1, 0.002  # shares of the rows
BLOCK = 50_000  # rows made at a time
GRAIN = (8, 8, 3)  # numbers of a texture, enlarged to a picture
FILES = 1000  # in a folder
EVERY = 0.5  # seconds between two looks at the memory of the child and its workers


@dataclass(frozen=True)
class Measured:
    """One audit."""

    preset: str
    rows: int
    classes: int
    run: int  # 1, or 2 with a warm cache
    cost: Cost
    average_precision: float
    f1: float  # at the own flags
    noise_rate: float
    copies_found: float  # share of the pairs that were made
    stages: dict[str, float]  # wall seconds
    commands: dict[str, Cost]  # afterwards


def make(folder: Path, rows: int, classes: int, dimensions: int, seed: int = 0) -> None:
    """Write `vectors.npy` (n, d) float32, `manifest.parquet` with the given labels, and `truth.npz`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    families = rng.normal(size=(-(-classes // FAMILY), dimensions))
    centres = np.repeat(families, FAMILY, axis=0)[:classes] + 0.45 * rng.normal(size=(classes, dimensions))
    true = rng.integers(0, classes, rows)
    given = mislabelled(true, classes, rng)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (rows, dimensions))
    for start in range(0, rows, BLOCK):
        part = true[start : start + BLOCK]
        spread = rng.lognormal(0.25, 0.35, (len(part), 1)) * 1.9
        vectors[start : start + BLOCK] = centres[part] + spread * rng.normal(size=(len(part), dimensions))
    original, copy = pairs(rows, rng)
    noise = rng.normal(size=(len(copy), dimensions))
    vectors[copy] = vectors[original] + 0.02 * noise
    given[copy], true[copy] = given[original], true[original]
    vectors.flush()
    save(folder, given, true, original, copy, {})


def make_pictures(folder: Path, rows: int, classes: int, side: int, seed: int = 0) -> None:
    """Write JPEG files below `files/`, `manifest.parquet` with the given labels, and `truth.npz`."""
    rng = np.random.default_rng(seed)
    families = rng.normal(size=(-(-classes // FAMILY), *GRAIN))
    textures = np.repeat(families, FAMILY, axis=0)[:classes] + 0.6 * rng.normal(size=(classes, *GRAIN))
    true = rng.integers(0, classes, rows)
    given = mislabelled(true, classes, rng)
    original, copy = pairs(rows, rng)
    given[copy], true[copy] = given[original], true[original]
    copied = dict(zip(original.tolist(), copy.tolist(), strict=True))
    paths = [f"files/{i // FILES:04d}/{i:07d}.jpg" for i in range(rows)]
    for number in range(-(-rows // FILES)):
        (folder / f"files/{number:04d}").mkdir(parents=True, exist_ok=True)
    twins = set(copy.tolist())
    for i, path in enumerate(paths):
        if i in twins:
            continue
        texture = textures[true[i]] + rng.normal(size=GRAIN)
        picture = Image.fromarray((127 + 45 * texture).clip(0, 255).astype(np.uint8)).resize((side, side))
        picture.save(folder / path, quality=90)
        if i in copied:
            picture.save(folder / paths[copied[i]], quality=75)
    save(folder, given, true, original, copy, {"path": paths})


def mislabelled(true: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) labels of which `WRONG` are of another class of the family."""
    given = true.copy()
    wrong = rng.permutation(len(true))[: round(WRONG * len(true))]
    step = rng.choice(np.arange(1, FAMILY), len(wrong), p=(0.6, 0.2, 0.1, 0.1))
    first = true[wrong] // FAMILY * FAMILY
    size = np.minimum(FAMILY, classes - first)
    given[wrong] = first + (true[wrong] - first + step) % size
    return given


def pairs(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(c,) rows and (c,) their copies, which come behind them."""
    chosen = rng.permutation(rows)[: 2 * round(COPIES * rows)]
    original, copy = np.sort(chosen.reshape(2, -1), axis=0)
    return original, copy


def save(
    folder: Path,
    given: np.ndarray,
    true: np.ndarray,
    original: np.ndarray,
    copy: np.ndarray,
    columns: Mapping[str, Sequence[str]],
) -> None:
    """The manifest, with more columns; and what is known of it."""
    names = np.array([f"class-{c:04d}" for c in range(max(given.max(), true.max()) + 1)])
    table = pa.table({"id": [f"row-{i:07d}" for i in range(len(given))], **columns, "label": names[given]})
    pq.write_table(table, folder / "manifest.parquet")
    np.savez(folder / "truth.npz", given=given, true=true, original=original, copy=copy)


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    cpu_seconds: float  # user and system, workers included
    wall_seconds: float
    peak_gib: float  # resident, of the process and its workers together


def audit(data: Path, out: Path, preset: str, most: float, options: Sequence[str]) -> Cost:
    """An audit in a process of its own, under a limit of address space."""
    arguments, vectors = ["audit", str(data / "manifest.parquet")], data / "vectors.npy"
    arguments += ["--features", str(vectors)] if vectors.exists() else []
    return run([*arguments, "--preset", preset, "--out", str(out), *options], out, address_space() + round(most * GIB))


def run(arguments: Sequence[str], out: Path, limit: int = resource.RLIM_INFINITY) -> Cost:
    """A command of nlclean in a process of its own. Raises SystemExit where it fails."""
    command, begun = [sys.executable, "-m", "nlclean", *arguments], time.monotonic()
    log_file = out.with_suffix(".log")
    with log_file.open("w") as log:
        child = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "NLCLEAN_CACHE_DIR": str(out.parent / "cache")},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY)),
        )
        watched = Watch(child.pid)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    peak = max(watched.stop(), used.ru_maxrss * 1024 / GIB)
    if child.returncode:
        said = log_file.read_text("utf-8", "replace")[-3000:]
        raise SystemExit(f"{' '.join(command)}\nended with {child.returncode}:\n{said}")
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - begun, peak)


def look(out: Path) -> dict[str, Cost]:
    """What commands take that read the run."""
    target = out.with_name(f"{out.name}-exported.parquet")
    target.unlink(missing_ok=True)
    commands = {
        "report": ["report", str(out)],
        "check": ["check", str(out)],
        "page": ["report", str(out), "--html", str(out / "page.html"), "--force"],
        "export": ["export", str(out), "--policy", "correct", "--output", str(target)],
    }
    return {name: run(arguments, out) for name, arguments in commands.items()}


def address_space() -> int:
    """Bytes of address space of a process that has imported what an audit imports, and has no data: Arrow's allocator
    alone reserves a gigabyte that it does not use."""
    code = (
        "import cleanlab_lite.pipeline, cleanlab_lite.train.ensemble, pyarrow as pa; pa.array([1]);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line[:6] == 'VmPeak'))"
    )
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout) * 1024


class Watch:
    """The largest memory of a process and its workers together, looked at now and then; shared pages count once."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak = pid, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(EVERY):
            workers = family(self.pid)
            if len(workers) > 1:  # of one process the kernel knows the peak
                self.peak = max(self.peak, sum(map(proportional, workers)))

    def stop(self) -> float:
        """GiB."""
        self._ended.set()
        self._thread.join()
        return self.peak / GIB


def family(pid: int) -> list[int]:
    """The process and all that it has started, and so on."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:  # it has just ended
                continue
    return found


def proportional(pid: int) -> int:
    """Bytes of resident memory, pages that several share divided among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def judge(data: Path, out: Path) -> dict[str, float]:
    """How good the report is."""
    with np.load(data / "truth.npz") as truth:
        wrong = truth["given"] != truth["true"]
        original, copy = truth["original"], truth["copy"]
    report = pq.read_table(out / "report.parquet", columns=["label_score", "is_label_issue"])
    score = np.asarray(report["label_score"], dtype=np.float64)
    flagged = np.asarray(report["is_label_issue"])
    pairs = pq.read_table(out / "duplicates.parquet", columns=["id_a", "id_b"]).to_pylist()
    found = {(int(pair["id_a"][4:]), int(pair["id_b"][4:])) for pair in pairs}
    made = list(zip(original.tolist(), copy.tolist(), strict=True))
    rate = json.loads((out / "summary.json").read_text("utf-8"))["noise_rate"]["estimate"]
    return {
        "average_precision": measure.average_precision(score, wrong),
        "f1": measure.f1_at_flags(flagged, wrong),
        "noise_rate": math.nan if rate is None else rate,
        "copies_found": sum(pair in found for pair in made) / max(len(made), 1),
    }


def measure_audit(data: Path, preset: str, number: int, args: argparse.Namespace, classes: int, rows: int) -> Measured:
    out = data / f"{preset}-{number}"
    shutil.rmtree(out, ignore_errors=True)
    if number == 1:
        shutil.rmtree(data / "cache", ignore_errors=True)
    cost = audit(data, out, preset, args.most_gib, args.options)
    state = json.loads((out / "run.json").read_text("utf-8"))
    afterwards = look(out) if args.commands else {}
    return Measured(
        preset, rows, classes, number, cost, **judge(data, out), stages=state["seconds"], commands=afterwards
    )


def row(found: Measured) -> str:
    cost = found.cost
    cells = (found.preset, f"{found.rows:,}", f"{found.classes:,}", f"{cost.cpu_seconds:.1f}", f"{cost.peak_gib:.2f}")
    quality = (found.average_precision, found.f1, found.noise_rate, found.copies_found)
    seen = [f"{sum(found.stages.get(stage, 0.0) for stage in ('decode', 'encode')):.1f}"]
    afterwards = [f"{name} {each.cpu_seconds:.1f} s {each.peak_gib:.2f} GiB" for name, each in found.commands.items()]
    return f"| {' | '.join((*cells, *seen, *(f'{value:.3f}' for value in quality), ', '.join(afterwards)))} |"


def slopes(found: Sequence[Measured]) -> list[str]:
    """By preset and classes, how CPU seconds grow: slope of their logarithm over that of the rows, step by step."""
    lines = []
    for preset, classes in dict.fromkeys((each.preset, each.classes) for each in found):
        steps = sorted(
            {(e.rows, e.cost.cpu_seconds) for e in found if (e.preset, e.classes, e.run) == (preset, classes, 1)}
        )
        for (a, before), (b, after) in pairwise(steps):
            slope = math.log(after / before) / math.log(b / a)
            lines.append(f"{preset}, {classes:,} classes, {a:,} to {b:,} rows: slope {slope:.2f}")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rows", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    add("--classes", type=int, default=100)
    add("--dimensions", type=int, default=256)
    add("--pictures", action="store_true", help="JPEG files in place of vectors")
    add("--side", type=int, default=64, help="pixels of a picture")
    add("--presets", nargs="+", default=["fast"])
    add("--most-gib", type=float, default=4.0, help="resident memory that is not to be exceeded")
    add("--folder", type=Path, help="where vectors and runs are kept (default: deleted at the end)")
    add("--again", action="store_true", help="audit twice")
    add("--commands", action="store_true", help="measure report, check, page and export as well")
    add("--json", type=Path, help="file for the figures")
    add("--options", nargs=argparse.REMAINDER, default=[], help="more options of the audit; they come last")
    args = parser.parse_args(argv)
    found: list[Measured] = []
    print(
        "| preset | rows | classes | CPU s | peak GiB | decode + encode, s | AP | F1 | noise rate | copies found | "
        "commands, CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for rows in args.rows:
            width = f"{args.side}px" if args.pictures else args.dimensions
            data = (args.folder or Path(temporary)) / f"{rows}x{width}-{args.classes}"
            if not (data / "truth.npz").exists():
                if args.pictures:
                    make_pictures(data, rows, args.classes, args.side)
                else:
                    make(data, rows, args.classes, args.dimensions)
            for preset in args.presets:
                for number in range(1, 2 + args.again):
                    found.append(measure_audit(data, preset, number, args, args.classes, rows))
                    print(row(found[-1]), flush=True)
                    if args.json:
                        args.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n", "utf-8")
    print("", *slopes(found), sep="\n")
    if too_much := [each for each in found if each.cost.peak_gib > args.most_gib]:
        raise SystemExit(f"{len(too_much)} of {len(found)} audits took more than {args.most_gib:g} GiB")


if __name__ == "__main__":
    main()

"""What `nlclean audit --dry-run` says an audit will take, against what it took: each with an empty cache.

    python -m benchmarks.estimates [--busy] [--data FOLDER ...] [--only NAME ...] [--presets balanced fast]

On the sample pictures and sounds, 300 photographs of 1600 x 1200 and 5,000 vectors of 128 numbers that are made here,
and the sets in `FOLDER` (see benchmarks/data.py). Seconds on the wall: nothing else should run meanwhile. Where
something does, `--busy` lets both have one thread and no workers, and takes of their seconds the share in which they
had a core. Fails where an estimate is off by more than a factor of `MOST`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.data import label_sets, load

MOST = 1.5
SAMPLES = Path(__file__).parents[1] / "sample_data"
PHOTOGRAPHS, VECTORS, CLASSES = 300, 5000, 5


@dataclass(frozen=True)
class Done:
    """A command."""

    said: str  # on stdout
    wall: float  # seconds
    cpu: float

    @property
    def share(self) -> float:
        """Of its time in which a command of one thread had a core."""
        return min(self.cpu / self.wall, 1.0)


@dataclass(frozen=True)
class Outcome:
    """Seconds."""

    estimate: float
    least: float
    most: float
    asking: float  # that the dry run took for its steps and everything else
    took: float  # by the audit from its plan to the report

    @property
    def factor(self) -> float:
        return max(self.estimate / self.took, self.took / self.estimate)


def photographs(folder: Path) -> Path:
    """JPEGs of 1600 x 1200 with shapes on a noisy ground, a tenth of the labels wrong."""
    rng = np.random.default_rng(0)
    lines = ["path,label"]
    for row in range(PHOTOGRAPHS):
        kind = row % CLASSES
        ground = rng.integers(0, 256, (75, 100, 3), dtype=np.uint8)
        picture = Image.fromarray(ground).resize((1600, 1200), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for _ in range(8):
            x, y, size = rng.integers(0, 1200), rng.integers(0, 900), rng.integers(150, 400)
            draw.regular_polygon((int(x), int(y), int(size)), 3 + kind, fill=tuple(rng.integers(0, 256, 3).tolist()))
        picture.save(folder / f"{row}.jpg", quality=92)
        lines.append(f"{row}.jpg,{(kind + (rng.random() < 0.1)) % CLASSES}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder / "manifest.csv"


def vectors(folder: Path) -> Path:
    """Ten overlapping clouds, a tenth of the labels wrong."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, VECTORS)
    features = 0.7 * rng.normal(size=(10, 128))[labels] + rng.normal(size=(VECTORS, 128))
    given = np.where(rng.random(VECTORS) < 0.1, rng.integers(0, 10, VECTORS), labels)
    np.savez(folder / "vectors.npz", features=features.astype(np.float32), labels=given)
    return folder / "vectors.npz"


def embeddings(data: Path) -> Callable[[Path], Path]:
    """The vectors of a set with known truth, with its first labels."""

    def make(folder: Path) -> Path:
        found = load(data, label_sets(data)[0], features_to=folder / "features.npy")
        np.savez(folder / f"{data.name}.npz", features=np.load(folder / "features.npy"), labels=found.given)
        return folder / f"{data.name}.npz"

    return make


def files(data: Path) -> Callable[[Path], Path]:
    return lambda _: data / f"manifest_{label_sets(data)[0]}.csv"


def nlclean(folder: Path, *arguments: object) -> Done:
    """The command with an empty cache."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        environment = os.environ | {"NLCLEAN_CACHE_DIR": cache}
        command = [sys.executable, "-m", "nlclean", *map(str, arguments)]
        begun, used = time.monotonic(), sum(os.times()[2:4])
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return Done(done.stdout, time.monotonic() - begun, sum(os.times()[2:4]) - used)


def compare(folder: Path, manifest: Path, options: list[str], *, busy: bool) -> Outcome:
    asked = nlclean(folder, "audit", manifest, "--dry-run", "--json", *options)
    plan = json.loads(asked.said)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        audit = nlclean(folder, "audit", manifest, "--out", Path(out) / "run", *options)
        state = json.loads((Path(out) / "run" / "run.json").read_text("utf-8"))
    took = sum(state["seconds"].values())
    estimate, least, most = (plan[f"estimated_{name}"] for name in ("seconds", "least", "most"))
    if busy:
        share = asked.share
        return Outcome(share * estimate, share * least, share * most, asked.cpu, audit.share * took)
    return Outcome(estimate, least, most, asked.wall, took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], metavar="FOLDER")
    parser.add_argument("--only", nargs="*", metavar="NAME")
    parser.add_argument("--presets", nargs="+", default=["balanced", "fast"])
    parser.add_argument("--busy", action="store_true")
    asked = parser.parse_args()
    options = ["--device", "cpu", "--workers", "1"] if asked.busy else []
    os.environ |= {"OMP_NUM_THREADS": "1"} if asked.busy else {}
    makers: dict[str, Callable[[Path], Path]] = {
        "sample pictures": lambda _: SAMPLES / "images/manifest.csv",
        "photographs": photographs,
        "sample sounds": lambda _: SAMPLES / "sounds/manifest.csv",
        "vectors": vectors,
    }
    for data in asked.data:
        makers[data.name] = embeddings(data) if (data / "embeddings.npy").is_file() else files(data)
    outcomes = []
    print("| set | preset | dry run says | range | audit took | factor | dry run itself |\n|" + "---|" * 7)
    for name, make in makers.items():
        if asked.only and name not in asked.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            manifest = make(Path(folder))
            for preset in asked.presets:
                outcome = compare(Path(folder), manifest, ["--preset", preset, *options], busy=asked.busy)
                outcomes.append((name, preset, outcome))
                print(
                    f"| {name} | {preset} | {outcome.estimate:.0f} s | {outcome.least:.0f} to {outcome.most:.0f} "
                    f"| {outcome.took:.0f} s | {outcome.factor:.2f} | {outcome.asking:.0f} s |",
                    flush=True,
                )
    wrong = [(name, preset) for name, preset, outcome in outcomes if outcome.factor > MOST]
    assert not wrong, f"off by more than {MOST}: {wrong}"


if __name__ == "__main__":
    main()

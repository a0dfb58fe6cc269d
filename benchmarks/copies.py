"""Copies among pictures, planted and found, beside imagededup's hashes: `python -m benchmarks.copies FOLDER ...`.

Of each folder (all pictures in it) some are taken, and some of these again: cropped at every side, mirrored, both, or
brighter, saved as JPEG. `nlclean audit --preset fast` searches them; imagededup where it is installed (its networks
need downloads), with the largest distance that it uses by default.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageEnhance, ImageOps

ENDINGS = (".jpg", ".jpeg", ".png")
HASHES = ("PHash", "DHash", "WHash", "AHash")
Pairs = set[tuple[str, str]]


def cropped(picture: Image.Image, share: float) -> Image.Image:
    width, height = picture.size
    box = (width * share, height * share, width * (1 - share), height * (1 - share))
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)


KINDS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "cropped by 4 %": lambda picture: cropped(picture, 0.04),
    "cropped by 8 %": lambda picture: cropped(picture, 0.08),
    "mirrored": ImageOps.mirror,
    "cropped by 4 %, mirrored": lambda picture: ImageOps.mirror(cropped(picture, 0.04)),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.2),
}


def plant(source: Path, folder: Path, rows: int, copies: int) -> dict[tuple[str, str], str]:
    """Write pictures, and copies of some of them; pairs of file names -> kind."""
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in ENDINGS)
    chosen = [files[i] for i in np.random.default_rng(0).permutation(len(files))[:rows]]
    if len(chosen) < copies * len(KINDS):
        raise SystemExit(f"error: {source} holds {len(files)} pictures, {copies * len(KINDS)} are needed")
    truth: dict[tuple[str, str], str] = {}
    for row, path in enumerate(chosen):
        picture = Image.open(path).convert("RGB")
        name = f"{row:05}.png"
        picture.save(folder / name)
        if row < copies * len(KINDS):
            kind = list(KINDS)[row // copies]
            KINDS[kind](picture).save(folder / f"{row:05}-copy.jpg", quality=90)
            truth[in_order(name, f"{row:05}-copy.jpg")] = kind
    return truth


def ours(folder: Path) -> Pairs:
    names = sorted(path.name for path in folder.iterdir())
    with tempfile.TemporaryDirectory() as there:
        manifest = Path(there, "manifest.csv")
        lines = [f"{folder / name},{number % 10}" for number, name in enumerate(names)]  # the labels do not matter
        manifest.write_text("\n".join(["path,label", *lines]))
        command = [sys.executable, "-m", "nlclean", "audit", str(manifest), "--preset", "fast", "-q"]
        environment = os.environ | {"NLCLEAN_CACHE_DIR": there}
        subprocess.run(
            [*command, "--out", f"{there}/run"], env=environment, check=True, stdout=subprocess.DEVNULL, text=True
        )
        found = pq.read_table(f"{there}/run/duplicates.parquet", columns=["id_a", "id_b"]).to_pylist()
    return {in_order(Path(pair["id_a"]).name, Path(pair["id_b"]).name) for pair in found}


def of_hash(name: str, folder: Path) -> Pairs:
    import imagededup.methods

    method = getattr(imagededup.methods, name)(verbose=False)
    hashes = method.encode_images(str(folder), num_enc_workers=0)
    found = method.find_duplicates(encoding_map=hashes, num_dist_workers=0)
    return {in_order(one, other) for one, others in found.items() for other in others}


def in_order(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def row(name: str, found: Pairs, truth: dict[tuple[str, str], str]) -> str:
    counts = Counter(truth[pair] for pair in found if pair in truth)
    cells = [name, *(str(counts[kind]) for kind in KINDS), f"{sum(pair not in truth for pair in found):,}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--rows", type=int, default=1000, help="pictures taken")
    parser.add_argument("--copies", type=int, default=60, help="of each kind")
    args = parser.parse_args()
    there = importlib.util.find_spec("imagededup") is not None
    for source in args.folders:
        with tempfile.TemporaryDirectory() as folder:
            truth = plant(source, Path(folder), args.rows, args.copies)
            print(f"\n{source.name}: {args.rows} pictures, {args.copies} copies of each kind; found")
            print(f"| by | {' | '.join(KINDS)} | other pairs |\n|{'---|' * (len(KINDS) + 2)}")
            print(row("nlclean", ours(Path(folder)), truth), flush=True)
            for name in HASHES if there else ():
                print(row(f"imagededup {name}", of_hash(name, Path(folder)), truth), flush=True)


if __name__ == "__main__":
    main()

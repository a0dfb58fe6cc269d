"""Runs commands in processes that die on cue, or to whom the machine is unkind, and compares what they leave."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from audit_world import CLASSES, fingerprints, save_pictures, task, vector_parquet, write_csv
from scipy.io import wavfile

from cleanlab_lite.evidence.decisions import Decision, encoded_line

# what JSON of a run says of the processes that filled it: when, how long, how much of it each did
OF_PROCESSES = ("created", "resumed", "finished", "seconds", "time", "pid", "decoded", "computed")
RUNS = ("run/", "disk/run/", "second/")
TINY = ("--epochs", "2", "--ensemble", "2", "--batch-size", "16", "--device", "cpu")
RATE = 8000  # samples per second
POLICED = ("manifest", "folders", "huggingface", "patch")  # formats that leave rows out
ENDINGS = {"manifest": ".csv", "patch": ".jsonl", "labelstudio": ".json", "cleanlab": ".csv", "argilla": ".jsonl"}


@dataclass(frozen=True)
class Ended:
    """How a process has ended."""

    code: int  # negative for a signal
    said: str  # on stderr
    steps: list[str]


def given_file(given: str) -> str:
    return "vectors.parquet" if given == "vectors" else f"{given}.csv"


@dataclass(frozen=True)
class World:
    """A command in a folder that holds `given` ("vectors", "pictures", "sounds", or a run of them), and how often to
    kill it."""

    name: str
    given: str
    command: tuple[str, ...]
    kills: int
    eager: bool = False  # with two workers, which so little work would not get


def audit(name: str, given: str, *options: str, kills: int, eager: bool = False) -> World:
    workers = ("--workers", "2" if eager else "1")
    return World(name, given, ("audit", given_file(given), "--out", "run", *workers, *options), kills, eager)


def export(form: str) -> World:
    options = ("--output", f"out{ENDINGS.get(form, '')}", "--force")
    options += ("--max-drop", "1") if form in POLICED else ()
    return World(f"export-{form}", "run of pictures", ("export", "run", "--format", form, *options), 2)


WORLDS = (
    audit("vectors", "vectors", *TINY, kills=8),
    audit("closed", "vectors", "--preset", "fast", "--device", "cpu", kills=4),
    audit("pictures", "pictures", *TINY, "--image-size", "32", "--precision", "fp32", kills=9),
    audit("sounds", "sounds", *TINY, "--precision", "fp32", kills=7),
    audit("vectors-2", "vectors", *TINY, kills=3, eager=True),
    audit("pictures-2", "pictures", *TINY, "--views", "pixels", "--image-size", "32", kills=3, eager=True),
    World("page", "run of pictures", ("report", "run", "--html", "page.html", "--force"), 4),
    *map(export, ("manifest", "patch", "labelstudio", "cleanlab", "argilla", "folders", "huggingface", "fiftyone")),
    World("merge", "run of pictures", ("review", "run", "--merge", "other.jsonl"), 2),
    World("encode", "pictures", ("encode", "pictures.csv", "--output", "out", "--image-size", "32"), 4),
    World("encode-2", "pictures", ("encode", "pictures.csv", "--output", "out", "--image-size", "32"), 2, eager=True),
    World("selftest", "run of vectors", ("selftest", "run", "--workers", "1", "--device", "cpu"), 5),
    World("verify", "run of vectors", ("verify", "run", "--seeds", "2", "--workers", "1", "--device", "cpu"), 5),
    World("seeds", "run of vectors", ("compare", "run", "--seeds", "2"), 3),
)


class Machine:
    """Runs commands in processes that die where they are told, all in the one folder `here`: some outputs name it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.here = folder, folder / "here"
        self.killer = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("killer.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"NLCLEAN_CACHE_DIR": str(self.here / "cache"), "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        )
        self.used = 0  # folders that were `here`

    def prepare(self, given: str) -> None:
        """Make `here` anew, with what is given."""
        if self.here.exists():  # a worker of a killed process may still be at it
            self.here.rename(self.folder / f"used-{self.used}")
            shutil.rmtree(self.folder / f"used-{self.used}", ignore_errors=True)
            self.used += 1
        shutil.copytree(self.given(given), self.here)

    def given(self, given: str) -> Path:
        """A folder with what is given, made once."""
        place = self.folder / given.replace(" ", "-")
        if place.exists():
            return place
        if given.startswith("run of "):
            of = given.removeprefix("run of ")
            self.prepare(of)
            options = ("--views", "pixels", "--image-size", "32") if of == "pictures" else ()
            self.done("audit", given_file(of), "--out", "run", "--workers", "1", *TINY, *options)
            decisions = [Decision(f"{row}.png", "keep", None, reviewer="ann") for row in range(10)]
            (self.here / "other.jsonl").write_bytes(b"".join(map(encoded_line, decisions)))
            self.here.rename(place)
            return place
        place.mkdir()
        truth = task(70, wrong=8)
        labels = [CLASSES[label] for label in truth.labels]
        if given == "vectors":
            vector_parquet(place / "vectors.parquet", truth)
        elif given == "pictures":
            names = [f"{row}.png" for row in range(len(labels))]
            save_pictures(place, truth.truth, names)
            write_csv(place / "pictures.csv", {"path": names, "label": labels})
        else:
            names = [f"{row}.wav" for row in range(len(labels))]
            rng, time = np.random.default_rng(0), np.arange(RATE // 2) / RATE
            for name, kind in zip(names, truth.truth, strict=True):
                tone = np.sin(2 * np.pi * 300 * (1 + kind) * time) + 0.3 * rng.normal(size=len(time))
                wavfile.write(place / name, RATE, (8000 * tone).astype(np.int16))
            write_csv(place / "sounds.csv", {"path": names, "label": labels})
        return place

    def call(self, *command: str, **job: Any) -> Ended:
        """What becomes of a command; `job` is what happens to it, see killer.py."""
        assert self.killer.stdin and self.killer.stdout
        where = {"cwd": str(self.here), "under": str(self.here) + os.sep}
        self.killer.stdin.write(json.dumps({"arguments": command, "at": None} | where | job) + "\n")
        self.killer.stdin.flush()
        return Ended(**json.loads(self.killer.stdout.readline()))

    def done(self, *command: str, **job: Any) -> list[str]:
        """Steps of a command that nobody disturbs."""
        ended = self.call(*command, **job)
        assert ended.code == 0, (command, ended)
        return ended.steps

    def left(self) -> dict[str, str]:
        """Fingerprints of all files that are `here`, but for the cache; of JSON what is not of the processes."""
        found = fingerprints(self.here)
        for name in list(found):
            path = self.here / name
            if name.startswith("cache/") or path.name in (".lock", "secret"):
                del found[name]
            elif name.startswith(RUNS) and path.suffix == ".json":
                found[name] = json.dumps(lasting(json.loads(path.read_bytes())), sort_keys=True)
            elif path.name == "log.jsonl":
                found[name] = str(all(map(json.loads, path.read_text().splitlines())))
        return found


def lasting(value: Any) -> Any:
    """JSON of a run without what is of its processes."""
    if isinstance(value, dict):
        return {name: lasting(inner) for name, inner in value.items() if name not in OF_PROCESSES}
    return [lasting(inner) for inner in value] if isinstance(value, list) else value

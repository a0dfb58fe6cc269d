"""What an audit does with a GPU: `python -m benchmarks.gpu OUT [--rows 50000] [--device cuda]`, six minutes at most.

    audit     `nlclean audit` of pictures of 32 px, as files, from the start of the process to the report, by stage;
              twice, each with an empty cache and the same seed: do they say the same?
    training  steps per second and TFLOP/s of `fit` beside a bare loop of the same network and batch, and the share of
              observing
    encoder   pictures per second

The pictures are textures: every class has a spectrum, every picture noise of it, and each a share of another class.
A tenth of the labels is wrong. OUT receives gpu.json, a log of both audits, and with --profile what took their time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from cleanlab_lite.clock import Clock
from cleanlab_lite.measure import average_precision, f1_at_flags
from cleanlab_lite.train.encode import BATCH_GPU, features
from cleanlab_lite.train.ensemble import OBSERVE_EVERY, PRECISIONS
from cleanlab_lite.train.fit import Teaching, Training
from cleanlab_lite.train.jobs import training_settings
from cleanlab_lite.train.loader import Samples
from cleanlab_lite.train.models import build_proxy
from cleanlab_lite.train.models.encoders import LITE, describe_encoder, load_encoder
from cleanlab_lite.train.plan import choose_device, choose_precision, default_batch_size

CLASSES, SIDE, WRONG = 10, 32, 0.1
EPOCHS = 6  # of the training that is timed, after two that warm up


def textures(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3, 32, 32) uint8 pictures, and their classes (n,)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, n)
    spectra = np.exp(1.5 * rng.normal(size=(CLASSES, 3, SIDE, SIDE // 2 + 1)))
    other = (truth + rng.integers(1, CLASSES, n)) % CLASSES
    share = rng.beta(1, 4, (n, 1, 1, 1)) / 1.5
    pictures = np.empty((n, 3, SIDE, SIDE), np.uint8)
    for start in range(0, n, 5000):
        part = slice(start, start + 5000)
        noise = np.fft.rfft2(rng.normal(size=pictures[part].shape))
        mixed = (1 - share[part]) * spectra[truth[part]] + share[part] * spectra[other[part]]
        waves = np.fft.irfft2(noise * mixed, s=(SIDE, SIDE))
        waves /= waves.std(axis=(2, 3), keepdims=True)
        pictures[part] = np.clip(128 + 45 * waves, 0, 255)
    return pictures, truth


def mislabelled(truth: np.ndarray, seed: int = 1) -> np.ndarray:
    """(n,) labels, a share `WRONG` of them of another class."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(truth)) < WRONG
    return np.where(wrong, (truth + rng.integers(1, CLASSES, len(truth))) % CLASSES, truth)


def write_files(folder: Path, pictures: np.ndarray, labels: np.ndarray) -> Path:
    """A manifest of PNG files."""
    (folder / "pictures").mkdir(parents=True)

    def write(i: int) -> None:
        Image.fromarray(pictures[i].transpose(1, 2, 0)).save(folder / f"pictures/{i:06}.png", compress_level=1)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(write, range(len(pictures))))
    lines = [f"pictures/{i:06}.png,class{label}" for i, label in enumerate(labels)]
    (folder / "manifest.csv").write_text("\n".join(["path,label", *lines]))
    return folder / "manifest.csv"


def audit(manifest: Path, run: Path, device: str, wrong: np.ndarray, profile: Path | None) -> dict[str, Any]:
    """The command in a process of its own, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        arguments = ["--device", device, "--out", str(run)]
        profiler = ["-m", "cProfile", "-o", str(profile)] if profile else []
        command = [sys.executable, *profiler, "-m", "nlclean", "audit", str(manifest)]
        begun = time.time()
        environment = os.environ | {"NLCLEAN_CACHE_DIR": cache}
        subprocess.run([*command, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
        seconds = time.time() - begun
    report = pq.read_table(run / "report.parquet", columns=["p_mislabel", "is_label_issue"])
    p = report["p_mislabel"].to_numpy(zero_copy_only=False).astype(np.float64)
    flagged = report["is_label_issue"].to_numpy(zero_copy_only=False).astype(bool)
    return {
        "seconds": seconds,
        "stages": stages(run / "log.jsonl", begun),
        "average_precision": average_precision(-np.nan_to_num(p), wrong),
        "f1": f1_at_flags(flagged, wrong),
        "flagged": int(flagged.sum()),
        "p": p,
    }


def stages(log: Path, begun: float) -> dict[str, float]:
    """Seconds between the ends of stages, the first from the start of the process."""
    before, found = begun, {}
    for line in log.read_text().splitlines():
        event = json.loads(line)
        now = datetime.fromisoformat(event["time"]).timestamp()
        found[event.get("stage") or event["event"]] = now - before
        before = now
    return found


# --- Training --------------------------------------------------------------------------------------------------------


def training(
    pictures: np.ndarray, labels: np.ndarray, proxy: str, device: str, batch: int, *, on_device: bool
) -> dict[str, float]:
    """Steps per second of our training and of a bare loop, TFLOP/s of both, and the share of observing.

    `on_device`: pictures lie there; else they travel batch by batch, as those do that the device cannot hold.
    """
    limit = 2**36 if on_device else 0
    samples = Samples(pictures, np.ones(len(pictures), bool), torch.device(device), device_limit=limit)
    autocast = PRECISIONS[choose_precision("auto", device, vectors=False)]
    usual = Teaching(proxy, "", "ce", "plain", EPOCHS + 2, batch, 0.3, 5e-4, flip=True, shift=4, autocast=autocast)
    teaching = replace(usual, observe_every=OBSERVE_EVERY)
    with training_settings(device):
        own = Training(samples, labels, np.arange(len(labels)), CLASSES, teaching, 0, None)
        pulse = Clock().pulse(EPOCHS + 2, "")
        learned = looked = 0.0
        for epoch in range(EPOCHS + 2):
            begun = now(device)
            save = own.learn(epoch, pulse, None, None)
            middle = now(device)
            own.look(epoch, pulse, save)
            end = now(device)
            if epoch > 1:
                learned, looked = learned + middle - begun, looked + end - middle
        bare, flops = bare_loop(samples, torch.as_tensor(labels, device=device), teaching)
    steps = EPOCHS * (len(labels) // batch)
    return {
        "batch": batch,
        "steps_per_second": steps / learned,
        "bare_steps_per_second": bare,
        "of_bare": steps / learned / bare,
        "tflops": steps / learned * flops / 1e12,
        "bare_tflops": bare * flops / 1e12,
        "observing_share": looked / (learned + looked),
        "device_peak_gib": torch.cuda.max_memory_allocated() / 2**30 if device.startswith("cuda") else 0.0,
    }


def bare_loop(samples: Samples, labels: torch.Tensor, teaching: Teaching) -> tuple[float, float]:
    """Steps per second of nothing but forward, backward and SGD on batches that lie ready; FLOPs of a step."""
    device, batch = samples.device, teaching.batch_size
    rows = torch.arange(len(samples), device=device)
    network = build_proxy(teaching.proxy, samples.inputs(rows[:2000]), CLASSES, seed=0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    ready = [(samples.inputs(part), labels[part]) for part in rows[: 8 * batch].split(batch) if len(part) == batch]

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> None:
        with torch.autocast(device.type, teaching.autocast, enabled=teaching.autocast is not None):
            loss = torch.nn.functional.cross_entropy(network(inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        step(*ready[0])
    for _ in range(2):
        for one in ready:
            step(*one)
    steps = EPOCHS * (len(labels) // batch)
    begun = now(str(device))
    for number in range(steps):
        step(*ready[number % len(ready)])
    return steps / (now(str(device)) - begun), counter.get_total_flops()


def now(device: str) -> float:
    """When all that the device was told is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def encoder(pictures: np.ndarray, device: str, batch: int) -> dict[str, float]:
    """Pictures per second of the default encoder, from the host's memory and back."""
    network = load_encoder(describe_encoder(LITE, 0), "").to(device, memory_format=torch.channels_last)
    autocast = PRECISIONS[choose_precision("auto", device, vectors=False)]
    for size in (len(pictures) // 4, len(pictures)):  # the first warms up
        begun = now(device)
        for start in range(0, size, batch):
            features(network, pictures[start : start + batch], torch.device(device), autocast)
        seconds = now(device) - begun
    return {"batch": batch, "pictures_per_second": size / seconds}


# --- All of it -------------------------------------------------------------------------------------------------------


def card(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "CPU"


def show(title: str, values: dict[str, Any]) -> None:
    print(f"\n{title}")
    for name, value in values.items():
        print(f"  {name:28} {value:,.3f}" if isinstance(value, float) else f"  {name:28} {value}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--profile", action="store_true", help="of the second audit, which takes longer then")
    args = parser.parse_args()
    device = choose_device(args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    pictures, truth = textures(args.rows)
    labels = mislabelled(truth)
    batch = default_batch_size(args.rows, device != "cpu")
    found: dict[str, Any] = {
        "device": card(device),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "rows": args.rows,
    }
    show("machine", found)
    found["training"] = {}
    for proxy, size, on_device in (
        ("cnn", batch, True),
        ("cnn", batch // 2, True),
        ("small_cnn", batch, True),
        ("cnn", batch, False),
    ):
        measured = training(pictures, labels, proxy, device, size, on_device=on_device)
        title = f"{proxy}, batch {size}" + (", from the host" if not on_device else "")
        found["training"][title] = measured
        show(f"training, {title}", measured)
    found["encoder"] = [encoder(pictures, device, size) for size in ((BATCH_GPU,) if device != "cpu" else (16,))]
    for measured in found["encoder"]:
        show("encoder", measured)
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_files(Path(folder), pictures, labels)
        audits = []
        for number in (1, 2):
            profile = args.out / "profile" if args.profile and number == 2 else None
            one = audit(manifest, Path(folder) / f"run{number}", device, labels != truth, profile)
            (args.out / f"log{number}.jsonl").write_bytes((Path(folder) / f"run{number}/log.jsonl").read_bytes())
            audits.append(one)
            show(f"audit {number}", {name: value for name, value in one.items() if name not in ("p", "stages")})
            show("  seconds by stage", one["stages"])
    p, again = (one.pop("p") for one in audits)
    found["audits"] = audits
    found["same_seed"] = {
        "largest_difference_of_p": float(np.nanmax(np.abs(p - again))),
        "flags_that_differ": int(((p >= 0.5) != (again >= 0.5)).sum()),
    }
    show("the same seed twice", found["same_seed"])
    (args.out / "gpu.json").write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

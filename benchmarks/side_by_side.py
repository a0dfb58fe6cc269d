"""Jobs side by side against one after the other: wall and CPU seconds, alone and beside a process that computes.

    python -m benchmarks.side_by_side [--jobs 2 4] [--rows 1000] [--epochs 3] [--busy 0 1] [--repeats 3]

Pictures are 32 pixels a side. Both ways have what they have in an audit: workers one thread each, this process as many
threads as torch takes (do not set OMP_NUM_THREADS). The time to start workers is part of theirs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cleanlab_lite.clock import Clock
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.run import Run
from cleanlab_lite.train import jobs as side
from cleanlab_lite.train.fit import Teaching
from cleanlab_lite.train.jobs import Bench, Job, hire, run_jobs
from cleanlab_lite.train.task import Task

TAUGHT = Teaching("cnn", "", "ce", "plain", 4, 64, 0.1, 5e-4, flip=True, shift=4, autocast=None)
NETWORKS = {
    "cnn": ((3, 32, 32), TAUGHT),
    "small_cnn": ((3, 32, 32), replace(TAUGHT, proxy="small_cnn")),
    "mlp": ((128,), replace(TAUGHT, proxy="mlp", strategy="mixup", learning_rate=0.05)),
}


def task_of(shape: tuple[int, ...], n: int) -> Task:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, n)
    array = rng.integers(0, 90, (n, *shape)) + 12 * labels.reshape(-1, *[1] * len(shape))
    nothing = np.zeros(n, dtype="U1")
    array = array.astype(np.uint8 if len(shape) == 3 else np.float32)
    return Task.of(labels, 10, Inputs(array, nothing, nothing, np.full(n, -1), 0, nothing), copy_of=np.full(n, -1))


def seconds(proxy: str, count: int, n: int, epochs: int, workers: int) -> tuple[float, float]:
    """Wall and CPU seconds of `count` jobs, those of workers too."""
    shape, teaching = NETWORKS[proxy]
    task = task_of(shape, n)
    teaching = replace(teaching, epochs=epochs)
    jobs = [Job(f"job-{m}", "pixels", np.arange(n), task.labels, teaching, m, "") for m in range(count)]
    with tempfile.TemporaryDirectory() as folder, Run.start(Path(folder) / "run", "bench", "0" * 64) as run:
        begun, used = time.monotonic(), sum(os.times()[:4])
        with hire("cpu", workers) as crew:
            for _ in run_jobs(jobs, Bench(task, "cpu", 2**32, crew), run, Clock()):
                pass
        return time.monotonic() - begun, sum(os.times()[:4]) - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxies", nargs="+", default=["small_cnn", "mlp"], choices=NETWORKS)
    parser.add_argument("--jobs", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--rows", type=int, default=1000, help="of vectors 20 times as many")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 1], help="processes that compute meanwhile")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    side.WORTH = 0.0
    ways = {f"one after the other, {torch.get_num_threads()} threads": 1, "two side by side": 2}
    print("| network | jobs | busy processes | way | wall s | CPU s |\n|---|---|---|---|---|---|")
    for proxy in options.proxies:
        for busy in options.busy:
            others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
            try:
                for count in options.jobs:
                    for way, workers in ways.items():
                        n = options.rows * (20 if proxy == "mlp" else 1)
                        took = [seconds(proxy, count, n, options.epochs, workers) for _ in range(options.repeats)]
                        wall, cpu = (sorted(part) for part in zip(*took, strict=True))
                        print(
                            f"| {proxy} | {count} | {busy} | {way} "
                            f"| {wall[0]:.1f} to {wall[-1]:.1f} | {cpu[0]:.1f} to {cpu[-1]:.1f} |",
                            flush=True,
                        )
            finally:
                for other in others:
                    other.kill()
                    other.wait()


if __name__ == "__main__":
    main()

"""One method in a process of its own, whose peak memory is thus its own: `python -m benchmarks.worker METHOD FILE OUT`.

FILE is a JSON file of `peers.Contest`; OUT receives `{"device", "torch", "cpu_seconds", "findings"}`. The method
"prepare" only fills the cache with decoded data and frozen features, so that none of the others pays for them.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import equal_features, peers
from benchmarks.peers import Contest
from cleanlab_lite.errors import NlcleanError
from cleanlab_lite.train.plan import choose_device, make_plan

METHODS = peers.METHODS | equal_features.METHODS
MAXRSS_PER_MIB = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere


def main(method: str, task_file: str, out: str) -> None:
    contest = Contest(**json.loads(Path(task_file).read_text("utf-8")))
    device = choose_device(contest.options.get("device", "auto"))
    findings = []
    start, cpu_start = time.monotonic(), cpu_seconds()
    if method == "prepare":
        for shown in (contest, equal_features.on_features(contest)):
            manifest, config = shown.read()
            peers.look(manifest, make_plan(manifest, config), config)
    else:
        for finding in METHODS[method](contest):
            cost = {
                "seconds": time.monotonic() - start,
                "cpu_seconds": cpu_seconds() - cpu_start,
                "peak_mib": peak_mib(),
                "device_peak_mib": device_peak_mib(),
            }
            findings.append(asdict(finding) | cost)
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    facts = {"device": name, "torch": torch.__version__, "cpu_seconds": cpu_seconds() - cpu_start}
    result = facts | {"findings": findings}
    Path(out).write_text(json.dumps(result, default=plain), "utf-8")


def cpu_seconds() -> float:
    """Of this process and those that it started and that have ended, user and system, all cores."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(times.ru_utime + times.ru_stime for times in used)


def peak_mib() -> float:
    """Largest resident memory so far, memory-mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MAXRSS_PER_MIB


def device_peak_mib() -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0


def plain(value: Any) -> Any:
    """Arrays and numbers of NumPy as JSON types."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON type")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except NlcleanError as error:
        raise SystemExit(f"error: {error}") from error

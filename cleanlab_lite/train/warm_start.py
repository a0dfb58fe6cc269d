"""Warm starts: what an audit leaves for the next one of the same rows, grown or corrected, and what that takes over.

`proxies.safetensors` of a run folder holds, for r different rows and m cross-fitted proxies:

content        (r, 32) uint8, sha256 of the content
fold           (r,) int16, the proxy that the row was held out of
<m>/<name>     float16, the parameters of proxy m

and in its metadata `facts`, a JSON object, among them the version. Files without one hold the kernels of CNNs in
the order in which they lay in memory (channels last) under a shape that names another, and are refused.

A row that is known keeps its fold: a proxy that starts from weights that have seen the row must not judge it as held
out. The new weights lie between the old ones and a fresh initialisation ("shrink and perturb": Ash and Adams, "On
warm-starting neural network training", NeurIPS 2020), since proxies that go on from the old ones know all labels by
heart, wrong ones too, and only new rows would look hard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from cleanlab_lite.config import AuditConfig
from cleanlab_lite.errors import ConfigError, ReportError
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.files import json_object, reading
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.run import Run, RunFolder
from cleanlab_lite.run.layout import PROXIES

VERSION = 2  # of the file of proxies; the first had none
OPTIONS = {  # that set what must be the same
    "proxy": "proxy",
    "encoder": "proxy",
    "ensemble": "ensemble",
    "image_size": "image-size",
    "sample_rate": "sample-rate",
}
OPEN = ("auto", "default")  # values of loss and strategy that leave the choice
KEPT = 0.5  # share of the old weights in those that a proxy starts from; measured in benchmarks/RESULTS.md
SHORTER = 2  # times fewer epochs than from scratch


@dataclass(frozen=True)
class WarmStart:
    """The proxies of an earlier audit, as a manifest of k classes can use them. That audit knew K classes."""

    folder: Path
    key: str  # of the earlier run
    planned: dict[str, Any]  # of the earlier run
    facts: dict[str, Any]  # what `save_proxies` was told
    fold_of: dict[str, int]  # sha256 of the content -> the proxy that a row was held out of
    weights: list[dict[str, np.ndarray]]  # per proxy, by name
    position: np.ndarray  # (k,) int64, number of each class among the K; -1 for new ones

    @property
    def run_id(self) -> str:
        return self.key[:8]

    @property
    def full_epochs(self) -> int:
        """Of a proxy from scratch."""
        return int(self.facts["epochs"])

    @property
    def epochs(self) -> int:
        """Of a proxy that starts from here."""
        return max(1, self.full_epochs // SHORTER)

    def settle(self, config: AuditConfig) -> AuditConfig:
        """What is left open as the earlier run has settled it, by the data or by trials; and fewer epochs."""
        return replace(
            config,
            epochs=config.epochs or self.epochs,
            loss=self.facts["loss"] if config.loss in OPEN else config.loss,
            strategy=self.facts["strategy"] if config.strategy in OPEN else config.strategy,
            image_size=config.image_size or self.planned["image_size"],
            sample_rate=config.sample_rate or self.planned["sample_rate"],
        )

    def require(self, **found: Any) -> None:
        """Compare values of this audit with those of the earlier run. Raises ConfigError naming all that differ."""
        before = self.planned | self.facts
        differs = [name for name, value in found.items() if value != before[name]]
        if differs:
            options = [f"--{OPTIONS[name]} {before[name]}" for name in differs if name in OPTIONS and before[name]]
            raise ConfigError(
                f"the proxies of {self.folder} do not fit this audit: "
                + "; ".join(f"{name} is {found[name]!r} here and was {before[name]!r}" for name in differs),
                hint=", or ".join([*([f"use {' '.join(options)}"] if options else []), "leave out --warm-start"]),
            )

    def folds(self, content: np.ndarray) -> np.ndarray:
        """(n,) int64 fold of the rows with this content (n,), -1 for new ones. Raises ConfigError where all are new."""
        fold = np.array([self.fold_of.get(key, -1) for key in content.tolist()], dtype=np.int64)
        if (fold < 0).all():
            raise ConfigError(
                f"no row of this manifest was learned by the proxies of {self.folder}",
                hint="start from a run of the same data, or leave out --warm-start",
            )
        return fold

    def described(self, content: np.ndarray) -> dict[str, Any]:
        """For the summary, as JSON types."""
        known = int((self.folds(content) >= 0).sum())
        return {"run_id": self.run_id, "known_rows": known, "epochs_from_scratch": self.full_epochs}

    def starter(self, m: int) -> ShrinkAndPerturb:
        """What moves a fresh proxy, in place, towards what proxy m had learned. New classes stay fresh."""
        return ShrinkAndPerturb(self.weights[m], self.position, self.folder)


@dataclass(frozen=True)
class ShrinkAndPerturb:
    """Moves a fresh proxy, in place, towards earlier weights (Ash and Adams, NeurIPS 2020)."""

    weights: dict[str, np.ndarray]  # by name
    position: np.ndarray  # (k,) int64, number of each class among the earlier ones; -1 for new ones, which stay fresh
    folder: Path  # where the weights come from

    def __call__(self, proxy: Any) -> None:
        """Raises ConfigError when the weights are those of a network of another shape."""
        known = np.flatnonzero(self.position >= 0)
        for name, parameter in proxy.named_parameters():
            rows: np.ndarray | slice = slice(None)
            fresh, old = parameter.data, self.weights.get(name)
            if old is not None and name.startswith("head."):  # a row per class
                fresh, old, rows = fresh[known], old[self.position[known]], known
            if old is None or old.shape != tuple(fresh.shape):
                raise ConfigError(
                    f"the proxies of {self.folder} do not fit this audit: {name} has another shape",
                    hint="audit on the same kind of device, which sets the width of a CNN, or leave out --warm-start",
                )
            old = fresh.new_tensor(old)
            parameter.data[rows] = fresh.lerp(old, KEPT) if parameter.requires_grad else old


@dataclass(frozen=True)
class Continue:
    """Gives a fresh proxy the weights of another one, whole."""

    weights: Mapping[str, Any]  # tensors by name, buffers too

    def __call__(self, proxy: Any) -> None:
        proxy.load_state_dict(self.weights)


def read_warm_start(folder: Path, manifest: Manifest, evidence: Evidence | None = None) -> WarmStart:
    """The proxies that a finished run has kept.

    Raises ConfigError when there is no such run, when it has kept none, and when evidence is there, not to be trained.
    """
    if evidence is not None:
        raise ConfigError(
            "from --history and --pred-probs nothing is trained, so nothing can be started from an earlier run",
            hint="leave out --warm-start",
        )
    try:
        run = RunFolder(folder)
        folder, state = run.folder, run.state
    except ReportError as error:
        raise ConfigError(f"--warm-start: {error.message}", hint=error.hint) from error
    if state is not None and state.finished is None:
        raise ConfigError(f"--warm-start: the run in {folder} is not finished", hint="finish it first")
    path = run.path(PROXIES)
    if state is None or state.plan is None or not path.is_file():
        raise ConfigError(
            f"the run in {folder} has kept no proxies to start from",
            hint="runs of older versions and of your own evidence have none: leave out --warm-start",
        )
    with reading(f"cannot read {path}", ConfigError, hint="leave out --warm-start"):
        with safe_open(path, framework="numpy") as file:
            facts = _facts(path, file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content, fold = tensors.pop("content"), tensors.pop("fold")
        weights: list[dict[str, np.ndarray]] = [{} for _ in range(state.plan["ensemble"])]
        for name, tensor in tensors.items():
            m, _, parameter = name.partition("/")
            weights[int(m)][parameter] = tensor
        classes = {name: number for number, name in enumerate(state.classes)}
        return WarmStart(
            folder=folder,
            key=state.key,
            planned=state.plan,
            facts=facts,
            fold_of={row.tobytes().hex(): int(m) for row, m in zip(content, fold, strict=True)},
            weights=weights,
            position=np.array([classes.get(name, -1) for name in manifest.classes], dtype=np.int64),
        )


def _facts(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What `save_proxies` was told. Raises ConfigError where the weights are those of another version."""
    facts = json_object(metadata["facts"])
    version = int(facts.pop("version", 1))
    if version < VERSION:
        raise ConfigError(
            f"the proxies in {path} are of an older version of nlclean, which wrote the weights in a wrong order",
            hint="leave out --warm-start, or audit that data again to have proxies to start from",
        )
    if version > VERSION:
        raise ConfigError(
            f"the proxies in {path} have version {version}, this nlclean reads up to {VERSION}",
            hint="upgrade nlclean, or leave out --warm-start",
        )
    return facts


def save_proxies(
    run: Run, proxies: list[dict[str, np.ndarray]], fold_of: Mapping[str, int], facts: Mapping[str, Any]
) -> None:
    """Write `PROXIES`.

    Args:
        proxies: the parameters of each, by name.
        fold_of: sha256 of the content -> the proxy that a row was held out of, of every row that another one learned.
        facts: JSON types: epochs, loss and strategy as they were chosen, the shape of a sample, and the fingerprint of
            the frozen encoder.
    """
    digests = np.frombuffer(bytes.fromhex("".join(fold_of)), dtype=np.uint8)
    tensors: dict[str, np.ndarray] = {
        "content": digests.reshape(-1, 32),
        "fold": np.array(list(fold_of.values()), dtype=np.int16),
    }
    tensors |= {f"{m}/{name}": array for m, weights in enumerate(proxies) for name, array in weights.items()}
    # safetensors writes the memory as it lies, whatever the strides say, and proxies are channels_last
    dense = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    metadata = {"facts": json.dumps({"version": VERSION, **facts})}  # one entry: of several the order is random
    run.write(PROXIES, lambda path: save_file(dense, path, metadata=metadata))

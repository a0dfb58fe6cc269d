"""`Plan`: what an audit is going to do. That of a regression on vectors is made here, without torch.

To import torch takes longer than such an audit of a few thousand rows.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.sound import SoundFormat
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.train.task import DATA, MADE

# What says something of networks, of encoders, or of where they learn: `plan.make_plan` has an answer to it.
OF_NETWORKS = ("proxy", "weights", "views", "loss", "strategy", "second_split", "finetune", "devices")
# What Linux has for a GPU of any maker, also inside Windows
GPUS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")


@dataclass(frozen=True)
class Beside:
    """Networks from scratch on the data themselves, beside those on the vectors of an encoder.

    Where an encoder fits they add nothing for ten times the time, so the first of them decides whether there are more.
    """

    views: tuple[str, ...]  # the one they look at
    image_size: int  # pixels; 0 for sounds
    proxy: str
    strategy: str
    loss: str
    recipes: int
    epochs: int  # 0: chosen by trial
    ensemble: int
    learning_rate: float
    precision: str
    batch_size: int
    weights: str  # that they start from
    enlarged: int  # pixels that smaller inputs are enlarged to before they see them; 0: none are


@dataclass(frozen=True)
class Plan:
    """Nothing is "auto" here."""

    rows: int
    labelled: int
    classes: int
    modality: str
    missing_files: int  # local paths where there is no file
    device: str
    precision: str  # "fp32", "bf16" or "fp16"
    proxy: str
    loss: str  # with its options
    strategy: str
    recipes: int  # that are tried before one is chosen; 1: the above is taken
    epochs: int  # 0: chosen by trial
    ensemble: int
    image_size: int  # pixels that the encoder sees, or else the proxy; 0 for vectors, and for sounds without an encoder
    batch_size: int
    learning_rate: float
    memory_gib: float
    disk_mib: float
    weights: str = ""  # that the proxies start from
    enlarged: int = 0  # pixels that smaller inputs are enlarged to before the proxies see them; 0: their usual size
    picture_size: int = 0  # pixels that pictures are decoded to; what is smaller than `image_size` is enlarged there
    sample_rate: int = 0  # Hz, 0 unless sounds
    patch_seconds: float = 0.0  # 0 unless sounds
    encoder: str = ""  # "": the proxy sees the pictures themselves
    encoder_weights: str = ""
    encoder_precision: str = ""
    encoder_features: int = 0  # dimensions of its vectors
    encoder_reason: str = ""
    heads: str = "trained"  # or "closed": then nothing that is said of proxies and how they are taught counts
    warm_start: str = ""  # id of the run whose proxies the cross-fitted ones start from; "": they start from scratch
    views: tuple[str, ...] = ()  # what is looked at; proxies are trained on the first
    beside: Beside | None = None  # what else is trained

    @property
    def sound(self) -> SoundFormat | None:
        """What clips become; None unless sounds."""
        return SoundFormat(self.sample_rate, self.patch_seconds) if self.sample_rate else None

    @property
    def in_closed_form(self) -> tuple[str, ...]:
        """The views that a head in closed form looks at: those that are vectors.

        Beside networks on the vectors of the user it tells how long they are to learn, and how many labels are wrong.
        """
        return tuple(view for view in self.views if view in MADE or view == DATA["vector"])

    @property
    def of_data(self) -> Plan:
        """The plan of the networks beside, as if they were all."""
        assert self.beside is not None
        return replace(self, **vars(self.beside), encoder="", warm_start="", beside=None)


def plan_of_regression(manifest: Manifest, config: AuditConfig) -> Plan | None:
    """The plan of a regression in closed form on vectors, on the CPU; None where it takes torch to make one."""
    usual = AuditConfig()
    asked = any(getattr(config, name) != getattr(usual, name) for name in OF_NETWORKS)
    on_cpu = config.device == "cpu" or (config.device == "auto" and not may_have_gpu())
    if config.heads != "closed" or manifest.features is None or asked or not on_cpu:
        return None
    return Plan(
        rows=len(manifest),
        labelled=int((manifest.labels >= 0).sum()),
        classes=manifest.num_classes,
        modality=manifest.modality,
        missing_files=0,
        device="cpu",
        precision=precision_of_vectors(config.precision),
        proxy="",
        loss="",
        strategy="",
        recipes=0,
        epochs=0,
        ensemble=0,
        image_size=0,
        batch_size=0,
        learning_rate=0.0,
        memory_gib=round(1 + 4 * manifest.features.size / 2**30, 1),
        disk_mib=1,
        heads="closed",
        views=(DATA[manifest.modality],),
    )


def may_have_gpu() -> bool:
    """Whether torch may find a GPU here: it is asked, but on a Linux without the devices of one."""
    return not sys.platform.startswith("linux") or any(Path(device).exists() for device in GPUS)


def precision_of_vectors(name: str) -> str:
    """Vectors are too cheap to round, unless the user wants it."""
    return "fp32" if name == "auto" else name

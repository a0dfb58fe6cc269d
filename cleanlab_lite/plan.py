"""What an audit is going to do: every choice left open resolved against the data and the machine."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, replace
from typing import Any

from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.cache import choose_image_size, choose_sound_format
from cleanlab_lite.data.media import is_remote
from cleanlab_lite.data.sound import SoundFormat
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.losses import LOSSES
from cleanlab_lite.manifest import Manifest
from cleanlab_lite.models import PROXIES
from cleanlab_lite.models.encoders import EncoderSpec, describe_encoder, is_encoder
from cleanlab_lite.search import Recipe, candidates, most_trials
from cleanlab_lite.strategies import STRATEGIES
from cleanlab_lite.warm_start import WarmStart

# seconds per sample and epoch on one CPU core, training and observing: measured, for the estimate only
SECONDS_PER_SAMPLE = {
    "mlp": 1e-4,
    "cnn": 4e-4,
    "baseline_cnn": 7e-4,
    "resnet18": 2e-2,
    "resnet50": 4e-2,
}  # pictures at 32 px
WEIGHTS_MIB = {
    "mlp": 1,
    "cnn": 4,
    "baseline_cnn": 1,
    "resnet18": 22,
    "resnet50": 47,
}  # in half precision, for the estimate only
GPU_SPEEDUP = 60.0  # of one CPU core
SECOND_SPLIT_COST = 2.5  # proxies: four trainings, each on half the rows but observing all of them
ENCODER_FLOPS, ENCODER_FLOPS_GPU = 3e10, 2e13  # per second, of one CPU core and of a GPU: for the estimate only
TYPICAL_EPOCHS = 20  # for the estimate, where the epochs are chosen by trial


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
    image_size: int  # pixels, 0 for vectors
    batch_size: int
    learning_rate: float
    estimated_seconds: float
    memory_gib: float
    disk_mib: float
    sample_rate: int = 0  # Hz, 0 unless sounds
    patch_seconds: float = 0.0  # 0 unless sounds
    encoder: str = ""  # "": the proxy sees the pictures themselves
    encoder_weights: str = ""
    encoder_precision: str = ""
    encoder_features: int = 0  # dimensions of its vectors
    encoder_reason: str = ""
    warm_start: str = ""  # id of the run whose proxies the cross-fitted ones start from; "": they start from scratch

    @property
    def sound(self) -> SoundFormat | None:
        """What clips become; None unless sounds."""
        return SoundFormat(self.sample_rate, self.patch_seconds) if self.sample_rate else None


def make_plan(manifest: Manifest, config: AuditConfig, warm: WarmStart | None = None) -> Plan:
    """Raises ConfigError for unknown names, an absent device, or a proxy that does not fit the data or `warm`."""
    if warm is not None:
        config = warm.settle(config)
        if config.second_split:
            raise ConfigError(
                "second_split learns from scratch, a warm start does not",
                hint="use --no-second-split, or no --warm-start",
            )
    n = len(manifest)
    labelled = int((manifest.labels >= 0).sum())
    device = choose_device(config.device)
    encoder = choose_encoder(manifest, config) if is_encoder(config.proxy) else None
    vectors = manifest.modality == "vector" or encoder is not None
    usual = "mlp" if vectors else "cnn"
    proxy = PROXIES.get(usual if encoder or config.proxy == "auto" else config.proxy).name
    if vectors != (proxy == "mlp"):
        takes, fit = ("vectors", "cnn") if proxy == "mlp" else ("pictures and sounds", "mlp")
        raise ConfigError(
            f"proxy {proxy!r} takes {takes}, this manifest holds {manifest.modality}s", hint=f"use --proxy {fit}"
        )
    loss = "ce" if config.loss in ("default", "auto") else config.loss
    # measured: vectors are memorised at once without mixup, pictures are learned too slowly with it
    taught = "mixup" if vectors else "plain"
    strategy = taught if config.strategy in ("default", "auto") else config.strategy
    recipes: tuple[Recipe, ...] = (Recipe(loss, strategy),)
    if "auto" in (config.loss, config.strategy):
        recipes = candidates(config.loss, config.strategy, recipes[0])
    for recipe in recipes:
        build_loss, options = LOSSES.parse(recipe.loss)
        build_loss.function(1, manifest.num_classes, **options)  # raises on values out of range
        STRATEGIES.parse(recipe.strategy)
    image_size, sound, patches = 0, None, 1
    if manifest.modality == "image" and manifest.uris is not None:
        image_size = encoder.image_size if encoder else config.image_size or choose_image_size(manifest.uris)
    elif manifest.modality == "sound" and manifest.uris is not None:
        sound, clip_seconds = choose_sound_format(manifest.uris, config.sample_rate, manifest.segments)
        if warm is not None and warm.plan["patch_seconds"]:
            sound = replace(sound, patch_seconds=warm.plan["patch_seconds"])
        patches = sound.patches(clip_seconds)
    if config.ensemble > labelled:
        raise ConfigError(f"ensemble is {config.ensemble}, the manifest has {labelled} labelled rows")
    if warm is not None:
        warm.require(
            modality=manifest.modality,
            proxy=proxy,
            encoder=encoder.name if encoder else "",
            ensemble=config.ensemble,
            image_size=image_size,
            sample_rate=sound.sample_rate if sound else 0,
            **({} if manifest.features is None else {"shape": list(manifest.features.shape[1:])}),
        )
    epochs = config.epochs or TYPICAL_EPOCHS
    on_gpu = not device.startswith("cpu")
    batch_size = config.batch_size or default_batch_size(labelled, on_gpu)
    dimensions = patches * math.prod(sound.shape) if sound else 3 * image_size**2  # of one byte
    pixels = n * dimensions * (manifest.modality != "vector")  # bytes on disk, one each
    if manifest.features is not None:
        dimensions = manifest.features.shape[1]
    elif encoder:
        dimensions = encoder.num_features
    side = sound.shape[-1] if sound else image_size
    speed = GPU_SPEEDUP if on_gpu else float(os.cpu_count() or 1) ** 0.7
    cost = SECONDS_PER_SAMPLE[proxy] * ((side / 32) ** 2 if proxy.startswith("resnet") else 1)
    cost *= (3 + patches) / 4  # a step learns from one patch of a clip, observing sees all
    proxies = config.ensemble + (config.planted > 0)
    second_split = SECOND_SPLIT_COST * config.second_split
    history = 8 * proxies * epochs * n + 4 * n * manifest.num_classes * proxies
    seconds = cost * epochs * n / speed
    trials = most_trials(len(recipes), config.ensemble)
    searching = seconds * trials
    weights_mib = WEIGHTS_MIB[proxy] * (2 * proxies + trials)  # of every stage, and those that stay
    if config.search_budget:
        searching = min(searching, config.search_budget)
    encoding = encoder.flops * n / (ENCODER_FLOPS_GPU if on_gpu else ENCODER_FLOPS * speed) if encoder else 0.0
    return Plan(
        rows=n,
        labelled=labelled,
        classes=manifest.num_classes,
        modality=manifest.modality,
        missing_files=missing_files(manifest),
        device=device,
        precision=choose_precision(config.precision, device, vectors),
        proxy=proxy,
        loss=loss,
        strategy=strategy,
        recipes=len(recipes),
        epochs=config.epochs,
        ensemble=config.ensemble,
        image_size=image_size,
        batch_size=batch_size,
        learning_rate=config.learning_rate or default_learning_rate(proxy),
        estimated_seconds=round(5 + encoding + (proxies + second_split) * seconds + searching),
        memory_gib=round(1 + (n * dimensions * (4 if vectors else 1) + 2 * history) / 2**30, 1),
        disk_mib=round((pixels + (2 * n * dimensions if encoder else 0) + history) / 2**20 + weights_mib + 1),
        sample_rate=sound.sample_rate if sound else 0,
        patch_seconds=sound.patch_seconds if sound else 0.0,
        encoder=encoder.name if encoder else "",
        encoder_weights=config.weights if encoder else "",
        encoder_precision=choose_precision(config.precision, device, vectors=False) if encoder else "",
        encoder_features=encoder.num_features if encoder else 0,
        encoder_reason="named by --proxy; frozen: a picture passes it once, and the proxies learn on its vectors"
        if encoder
        else "",
        warm_start=warm.run_id if warm else "",
    )


def choose_encoder(manifest: Manifest, config: AuditConfig) -> EncoderSpec:
    """The pretrained encoder that the configuration names. Raises ConfigError where it does not fit."""
    if manifest.modality != "image":
        raise ConfigError(
            f"encoder {config.proxy!r} takes pictures, this manifest holds {manifest.modality}s",
            hint="leave out --proxy",
        )
    if not config.weights:
        raise ConfigError(
            f"encoder {config.proxy!r} knows nothing without weights",
            hint="--weights FILE, or --weights default to download those that the library publishes",
        )
    if config.weights != "default" and not os.path.isfile(config.weights):
        raise ConfigError(f"no weights file at {config.weights}")
    return describe_encoder(config.proxy, config.image_size)


def as_dict(plan: Plan) -> dict[str, Any]:
    return asdict(plan)


def default_batch_size(labelled: int, on_gpu: bool) -> int:
    """The power of two nearest below 1/40 of the rows: noise needs many steps, a GPU needs wide ones."""
    most = 512 if on_gpu else 128
    return min(max(1 << max(labelled // 40, 1).bit_length() - 1, 32), most)


def default_learning_rate(proxy: str) -> float:
    return {"mlp": 0.1, "cnn": 0.3, "baseline_cnn": 0.01, "resnet18": 0.1, "resnet50": 0.05}[proxy]


def missing_files(manifest: Manifest) -> int:
    if manifest.modality == "vector" or manifest.uris is None:
        return 0
    return sum(1 for uri in manifest.uris if not is_remote(uri) and not os.path.isfile(uri))


def choose_device(name: str) -> str:
    """ "auto" takes CUDA, then MPS, then the CPU. Raises ConfigError when the named device is not there."""
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    try:
        kind = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}", hint="auto, cpu, cuda, cuda:1 or mps") from error
    there = {"cpu": True, "cuda": cuda and (kind.index or 0) < torch.cuda.device_count(), "mps": mps}
    if not there.get(kind.type, False):
        raise ConfigError(f"device {name!r} is not available here", hint="`nlclean doctor` lists the devices")
    return name


def choose_precision(name: str, device: str, vectors: bool) -> str:
    """bf16 where the hardware multiplies it, else fp16 on a GPU, else fp32; vectors are too cheap to round."""
    if name != "auto":
        return name
    if vectors:
        return "fp32"
    import torch

    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if device == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        known = torch.cpu.get_capabilities()
        return "bf16" if known.get("avx512_bf16") or known.get("amx_bf16") else "fp32"
    return "fp32"

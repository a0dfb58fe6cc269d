"""Decoding and encoding, shared by ranks: each fills the cache with some of the files, and rank 0 then finds all there.

A rank whose cache is another folder sends back what it has put there. What an audit does with the cache is the same
whoever has filled it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from cleanlab_lite.clock import Clock
from cleanlab_lite.data.cache import Store, default_cache_dir, keep, load
from cleanlab_lite.data.formats import Decoder
from cleanlab_lite.data.inputs import form_of, inputs_of
from cleanlab_lite.data.media import Decoded
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.progress import Progress
from cleanlab_lite.train.encode import encode, feature_format
from cleanlab_lite.train.models.encoders import Encoder, EncoderSpec, load_encoder
from cleanlab_lite.train.planned import Plan
from cleanlab_lite.train.ranks import Ranks

MOST, FEWEST = 2048, 64  # rows of a block: what is sent at once, and what is worth sending


@dataclass(frozen=True)
class Block:
    """Some rows to decode, and to encode where there is an encoder; plain data."""

    uris: np.ndarray  # (b,) str
    segments: np.ndarray | None  # (b, 2)
    form: Decoder
    encoder: EncoderSpec | None
    weights: str
    device: str
    autocast: torch.dtype | None
    workers: int
    shared: bool  # whether rank 0 has the same cache


@dataclass(frozen=True)
class Sent:
    """What a rank has put into a cache that rank 0 does not see."""

    store: Store
    vectors: np.ndarray | None  # (b, d) float16


def fill_cache(
    manifest: Manifest, plan: Plan, encoder: Encoder | None, autocast: torch.dtype | None, ranks: Ranks, clock: Clock
) -> None:
    """Have all ranks decode, and encode, what the cache of this one does not hold.

    Raises as `Ranks.do` does.
    """
    if manifest.uris is None or manifest.modality == "vector":
        return
    n = len(manifest)
    form = form_of(manifest, plan.picture_size, plan.sound)
    size = min(max(-(-n // ranks.size), FEWEST), MOST)
    starts = range(0, n, size)
    blocks = [
        Block(
            manifest.uris[start : start + size],
            None if manifest.segments is None else manifest.segments[start : start + size],
            form,
            encoder.spec if encoder else None,
            plan.encoder_weights,
            plan.device,
            autocast,
            ranks.cores,
            ranks.share_cache,
        )
        for start in starts
    ]
    clock(Progress("encode" if encoder else "decode", 0, n, "files"))
    ranks.do(do_block, blocks, _Kept(n, form, encoder, autocast, clock), clock)


class _Kept:
    """Hears of blocks, and keeps what they send."""

    def __init__(
        self, total: int, form: Decoder, encoder: Encoder | None, autocast: torch.dtype | None, clock: Clock
    ) -> None:
        self.total, self.form, self.clock = total, form, clock
        self.stage = "encode" if encoder else "decode"
        self.vectors = feature_format(encoder, autocast, form.folder) if encoder else None
        self.reached: dict[int, int] = {}  # rows, by number of the block

    def heard(self, errand: int, progress: Progress) -> None:
        if progress.stage == self.stage:
            self.reached[errand] = progress.done
            self.clock(Progress(self.stage, min(sum(self.reached.values()), self.total - 1), self.total, "files"))

    def done(self, errand: int, answer: Sent | None) -> None:
        if answer is None:
            return
        store, readable = answer.store, np.flatnonzero(answer.store.codes == "")
        content = store.content[readable].tolist()
        keep(self.form, zip(content, map(store.row, readable.tolist()), strict=True), default_cache_dir())
        if self.vectors is not None and answer.vectors is not None:
            vectors = ((name, Decoded(answer.vectors[row][None])) for name, row in zip(content, readable, strict=True))
            keep(self.vectors, vectors, default_cache_dir())

    def lost(self, errand: int, exit_code: int | None) -> None:
        """Then the run is over."""


_encoder: tuple[EncoderSpec, str, Encoder] | None = None  # of a rank: kept from one block to the next


def do_block(block: Block, clock: Clock) -> Sent | None:
    """What a rank does."""
    global _encoder
    store = load(
        block.uris,
        block.form,
        segments=block.segments,
        cache_dir=default_cache_dir(),
        workers=block.workers,
        on_progress=clock,
    )
    vectors = None
    if block.encoder is not None and (store.codes == "").any():
        if _encoder is None or _encoder[:2] != (block.encoder, block.weights):
            _encoder = block.encoder, block.weights, load_encoder(block.encoder, block.weights)
        device = torch.device(block.device)
        seen, _ = encode(
            inputs_of(store, block.form), _encoder[2], device=device, autocast=block.autocast, on_progress=clock
        )
        vectors = seen.array
    return None if block.shared else Sent(store, vectors)

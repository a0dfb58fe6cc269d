"""After decoding, data is arrays: a whole set on the device, an epoch is a permutation, a subset is a mask."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cleanlab_lite.workers import ahead


@dataclass(frozen=True)
class Batch:
    """Some rows of the data. `index` travels along, so nobody guesses which row a number belongs to."""

    inputs: Tensor  # (b, d) or (b, c, s, s) float32 on the device, normalised, not augmented; a patch of each clip
    targets: Tensor  # (b,) int64 on the device
    index: Tensor  # (b,) int64 on the device, rows of `Samples`


class Samples:
    """n samples in memory: uint8 pictures (n, 3, s, s), float vectors (n, d), or clips as uint8 patches (p, 1, s, s).

    A clip shows a training step one random patch, and every clean pass all of them.
    Inputs live on the device when they fit in `device_limit` bytes, else on the host and travel batch by batch.
    Pictures are normalised per channel, vectors per dimension, by statistics of `readable` rows.
    """

    def __init__(
        self,
        inputs: np.ndarray,
        readable: np.ndarray,  # (n,) bool, rows that can be trained on or predicted
        device: torch.device,
        *,
        offsets: np.ndarray | None = None,  # (n + 1,) int64: clip i has inputs[offsets[i]:offsets[i + 1]]
        device_limit: float = 4 * 2**30,
    ) -> None:
        self.is_image = inputs.ndim == 4  # spectrograms are pictures, too
        self.offsets = offsets
        self._first = None if offsets is None else torch.from_numpy(offsets).to(device)
        self.device = device
        self.readable = readable
        rows = np.flatnonzero(readable if offsets is None else np.repeat(readable, np.diff(offsets)))
        # statistics from an evenly spaced sample: reading all of a memory-mapped set would cost more than it tells
        sample = np.asarray(inputs[rows[:: max(1, len(rows) // 10_000)]], dtype=np.float32)
        axes = (0, 2, 3) if self.is_image else (0,)
        with np.errstate(over="ignore", invalid="ignore"):
            # in float64 their order does not matter, nor are squares of huge vectors beyond it
            mean, std = sample.mean(axes, dtype=np.float64), sample.std(axes, dtype=np.float64)
        std = np.maximum(std, 1e-3 if self.is_image else 1e-6)
        shape = (1, -1, 1, 1) if self.is_image else (1, -1)
        self._mean = torch.tensor(mean, dtype=torch.float32, device=device).reshape(shape)
        self._std = torch.tensor(std, dtype=torch.float32, device=device).reshape(shape)
        self._host = inputs
        self._inputs = None
        if inputs.nbytes <= device_limit:
            with warnings.catch_warnings():  # torch minds a memory map that may not be written to; nobody does
                warnings.simplefilter("ignore", UserWarning)
                self._inputs = torch.from_numpy(inputs).to(device)

    def __len__(self) -> int:
        return len(self.readable)

    @property
    def is_sound(self) -> bool:
        return self.offsets is not None

    @property
    def patches(self) -> float:
        """Of a clip, on average; 1 where there are no clips."""
        return len(self._host) / max(len(self), 1) if self.is_sound else 1.0

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation that inputs are normalised by, (1, c, 1, 1) or (1, d)."""
        return self._mean, self._std

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return tuple(self._host.shape[1:])

    def inputs(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(b, ...) float32 normalised inputs of `rows` (b,) int64.

        Of a clip, a patch: drawn from `generator`, or the one in the middle.
        """
        if self._first is None:
            return self._normalised(rows)
        first, count = self._first[rows], self._first[rows + 1] - self._first[rows]
        if generator is None:
            where = torch.full((len(rows),), 0.5, device=rows.device)
        else:
            where = torch.rand(len(rows), generator=generator, device=generator.device).to(rows.device)
        return self._normalised(first + (where * count).long())

    def averaged(self, rows: np.ndarray, size: int, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """(r, d) `compute` of the inputs of `rows`, at most `size` at a time; of a clip, the mean over its patches."""
        return torch.cat([values for _, values in self.passes(rows, size, compute)])

    def passes(
        self, rows: np.ndarray, size: int, compute: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[slice, Tensor]]:
        """Parts of `rows`, and (..., b, d) `compute` of their inputs; of a clip, the mean over its patches."""
        if self.offsets is None:
            start, parts = 0, list(self.batches(rows, size))
            for part, inputs in zip(parts, self._inputs_of(self._filled_up(parts)), strict=True):
                yield slice(start, start + len(part)), compute(inputs)[..., : len(part), :]
                start += len(part)
            return
        counts = np.diff(self.offsets)[rows]
        start = 0
        while start < len(rows):
            fit = np.searchsorted(np.cumsum(counts[start : start + size]), size, side="right")
            end = start + max(int(fit), 1)
            clips, count = rows[start:end], counts[start:end]
            place = np.repeat(np.arange(len(clips)), count)  # (q,) which clip a patch belongs to
            patches = np.arange(len(place)) + (self.offsets[clips] - np.cumsum(count) + count)[place]
            values = compute(self._normalised(torch.as_tensor(patches, device=self.device)))
            # (clips, q): a product, as the sums of scattered adding depend on their order on a GPU
            mean = (place == np.arange(len(clips))[:, None]) / count[:, None]
            yield slice(start, end), torch.as_tensor(mean, dtype=values.dtype, device=self.device) @ values
            start = end

    def _filled_up(self, parts: list[Tensor]) -> list[Tensor]:
        """On a GPU the last one as long as the others, with its rows again: every other length is planned anew."""
        if self.device.type == "cpu" or len(parts) < 2:
            return parts
        last = parts[-1]
        return [*parts[:-1], last.repeat(-(-len(parts[0]) // len(last)))[: len(parts[0])]]

    def _inputs_of(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """`inputs` of one part after the other. From the host the next ones travel while the present one is used."""
        if self._inputs is not None or self.device.type == "cpu" or self._first is not None:
            yield from map(self.inputs, parts)
            return
        yield from map(self._scaled, ahead(self._fetch, [part.cpu() for part in parts]))

    def _fetch(self, index: Tensor) -> Tensor:
        """Rows of the host, on the device."""
        raw = torch.from_numpy(np.ascontiguousarray(self._host[index.cpu().numpy()]))
        if self.device.type == "cuda":  # in the order in which the device is told, so that nobody waits
            return raw.pin_memory().to(self.device, non_blocking=True)
        return raw.to(self.device)

    def _normalised(self, index: Tensor) -> Tensor:
        """(b, ...) float32 of pictures, vectors or patches."""
        return self._scaled(self._inputs[index] if self._inputs is not None else self._fetch(index))

    def _scaled(self, raw: Tensor) -> Tensor:
        values = (raw.float() - self._mean) / self._std
        return values.contiguous(memory_format=torch.channels_last) if self.is_image else values

    def batches(self, rows: np.ndarray, size: int) -> Iterator[Tensor]:
        """`rows` in order, cut into index tensors of at most `size`, on the device."""
        yield from torch.as_tensor(rows, device=self.device).split(size)

    def shuffled(
        self, rows: np.ndarray, targets: Tensor, size: int, generator: torch.Generator, *, drop_last: bool = True
    ) -> Iterator[Batch]:
        """One epoch over `rows` in random order. The last short batch is dropped unless it is the only one."""
        order = torch.randperm(len(rows), generator=generator, device=generator.device)
        index = torch.as_tensor(rows, device=order.device)[order].to(self.device)
        parts = [part for part in index.split(size) if not drop_last or len(part) == size or size > len(rows)]
        if self._first is not None:  # a patch of each clip is drawn when its batch is
            for part in parts:
                yield Batch(self.inputs(part, generator), targets[part], part)
            return
        for part, inputs in zip(parts, self._inputs_of(parts), strict=True):
            yield Batch(inputs, targets[part], part)

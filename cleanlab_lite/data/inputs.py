"""From a manifest to arrays: pictures through the decode-once cache, vectors as they are. Failures are rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cleanlab_lite.data.cache import default_cache_dir, find_duplicates, load_images, vector_content
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.manifest import Manifest
from cleanlab_lite.progress import OnProgress, ignore


@dataclass(frozen=True)
class Inputs:
    """What the proxies see, one row per manifest row."""

    array: np.ndarray  # (n, 3, s, s) uint8 or (n, d) float32
    codes: np.ndarray  # (n,) str, reason code of an unreadable row, "" where it is readable
    errors: np.ndarray  # (n,) str, the same in words
    duplicate_of: np.ndarray  # (n,) int64, first row with the same content, -1 where there is none before it
    decoded: int  # files decoded now rather than found in the cache
    content: np.ndarray  # (n,) str, sha256 of the content, "" where unreadable

    @property
    def readable(self) -> np.ndarray:
        """(n,) bool"""
        return self.codes == ""


def load_inputs(manifest: Manifest, image_size: int, *, workers: int = 0, on_progress: OnProgress = ignore) -> Inputs:
    """Raises ConfigError when no row is readable. Sounds are refused earlier, by the plan."""
    if manifest.modality == "vector":
        assert manifest.features is not None
        finite = np.isfinite(manifest.features).all(axis=1)
        content = vector_content(manifest.features)
        array = np.where(finite[:, None], manifest.features, 0).astype(np.float32)
        codes = np.where(finite, "", "not_finite")
        errors = np.where(finite, "", "the vector holds NaN or infinity")
        return Inputs(array, codes, errors, find_duplicates(content), decoded=0, content=content)
    assert manifest.uris is not None
    store = load_images(
        manifest.uris, image_size, cache_dir=default_cache_dir(), workers=workers, on_progress=on_progress
    )
    if not (store.codes == "").any():
        first = store.errors[0]
        raise ConfigError(
            f"none of the {len(manifest):,} files can be read; the first: {first}",
            hint="paths are taken relative to the manifest; is the path column right (--path-column)?",
        )
    return Inputs(store.pixels, store.codes, store.errors, find_duplicates(store.content), store.decoded, store.content)

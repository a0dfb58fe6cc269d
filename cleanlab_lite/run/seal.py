"""The seal of a run: that this user's audit, and nobody else, has written which files it is about.

A manifest in a run folder names files, which a page shows and an export links. So it counts only with a seal in
`run.json`: an HMAC of the manifest and the run's key, by a secret that never leaves this user's data folder. A run that
was made elsewhere, was changed, or is older than seals has none that fits.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

import platformdirs

from cleanlab_lite.files import open_regular
from cleanlab_lite.run.layout import MANIFEST

LENGTH = 32  # bytes


def seal(folder: Path, key: str) -> str:
    """What `run.json` keeps of the manifest in `folder`; "" where no secret can be kept. `key` is that of the run."""
    secret = _secret()
    return "" if secret is None else _hmac(secret, folder, key)


def fits(folder: Path, key: str, sealed: str) -> bool:
    """Whether `sealed` is what `seal` gave this user for this manifest."""
    secret = _secret(make=False)
    try:
        return bool(sealed) and secret is not None and hmac.compare_digest(_hmac(secret, folder, key), sealed)
    except (OSError, OverflowError, TypeError):  # no manifest, or a seal that is no ASCII
        return False


def _hmac(secret: bytes, folder: Path, key: str) -> str:
    with open_regular(folder / MANIFEST) as file:
        content = hashlib.sha256(file.read()).hexdigest()
    return hmac.new(secret, f"{key} {content}".encode("utf-8", "backslashreplace"), "sha256").hexdigest()


def _secret(make: bool = True) -> bytes | None:
    """That of this user, made when it is needed first; None where it cannot be kept."""
    path = platformdirs.user_data_path("nlclean", appauthor=False) / "secret"
    with suppress(OSError):
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".secret-{secrets.token_hex(8)}")
            with open(new, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(secrets.token_bytes(LENGTH))
            with suppress(FileExistsError):  # another process was faster
                os.link(new, path)
            new.unlink()
        found = path.read_bytes()
        return found if len(found) == LENGTH else None
    return None

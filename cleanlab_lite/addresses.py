"""Addresses: which may be opened, and what is shown of them. Whoever wrote the manifest wrote them.

An address names an allowed protocol, alone or below an archive (`zip://a.png::https://host/set.zip`); never one that
opens files of this machine or keeps copies, as fsspec's chains can. Passwords do not belong into addresses, which
reports show.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from typing import NoReturn, TypeVar

from cleanlab_lite.files import is_remote, local_path

Text = TypeVar("Text", str, str | None)
WEB = ("http", "https")
PROTOCOLS = {*WEB, "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "hf", "memory"}  # those of fsspec
ARCHIVES = ("zip", "tar")
REACHED = (  # a hint
    "can the addresses be opened from here, with the rights that you have? Keys and endpoints are taken from where the "
    "library of the protocol looks for them: for s3:// AWS_ACCESS_KEY_ID, ~/.aws and AWS_ENDPOINT_URL"
)
DEEPEST = 3  # archives in archives
_LOGIN = re.compile(r"(?<=://)[^/?#\s@]*:[^/?#\s@]*@")
# of a query: what lets whoever has it open the file, by Amazon, Google, Azure, and others
_SIGNED = re.compile(
    r"(?i)([?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|sig|signature|token|key)=)[^&#\s'\"]+"
)


def allow(address: str) -> None:
    """Raise PermissionError where the address is none that is opened, with a reason that shows no password."""
    *outer, last = address.split("::")
    for each in (*outer, last):
        refuse_login(each)
    if len(outer) > DEEPEST or any(scheme(each) not in ARCHIVES for each in outer):
        refuse("only zip:// and tar:// lead into another address")
    if is_remote(local_path(last)) and scheme(last) not in PROTOCOLS:
        known = ", ".join(sorted(PROTOCOLS))
        refuse(f"the protocol {scheme(last)!r:.40} is not one of {known}")


def is_elsewhere(address: str) -> bool:
    """Whether opening it asks another machine: an archive on this one does not, however its members are called."""
    return is_remote(address) and is_remote(local_path(address.rpartition("::")[2]))


def refuse_login(address: str) -> None:
    """Raise PermissionError where an address holds a password, or for HTTP a user's name."""
    for part in address.split("::"):
        if is_remote(part):
            user, at, _ = re.split(r"[/?#]", part.partition("://")[2], maxsplit=1)[0].rpartition("@")
            if at and (":" in user or scheme(part) in WEB):
                refuse(
                    "the address holds a user's name or password, which reports would show: leave it out, and put it "
                    "into ~/.netrc or where the library of the protocol looks for it"
                )


def shown(text: str) -> str:
    """`text` without what lets whoever reads it open the addresses in it: passwords, and signatures of a query."""
    return _SIGNED.sub(r"\1…", _LOGIN.sub("…@", text)) if "://" in text else text


def unsigned(paths: Sequence[Text]) -> list[Text]:
    """Paths without what lets whoever has them open the files; as they are where only that tells two of them apart."""
    masked = [path and shown(path) for path in paths]
    return masked if masked == paths or len(set(masked)) == len(set(paths)) else list(paths)


def scheme(address: str) -> str:
    """The protocol, in lower case."""
    return address.partition("://")[0].lower()


def refuse(reason: str) -> NoReturn:
    """Raise PermissionError."""
    raise PermissionError(errno.EACCES, reason)

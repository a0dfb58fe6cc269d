"""Files elsewhere: opened within limits of how much and how long.

HTTP is done here and not by fsspec: a redirect stays with its scheme (or rises to https), and does not lead from a
public address to one inside the user's network.
"""

from __future__ import annotations

import errno
import http.client
import io
import ipaddress
import netrc
import os
import socket
import ssl
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, NoReturn

from cleanlab_lite.addresses import WEB, allow, refuse, refuse_login, scheme
from cleanlab_lite.files import MAX_FILE_BYTES, PART, is_remote, local_path, open_regular

HEADER_BLOCK = 1 << 14  # bytes fetched at a time to see a header
GRACE = 30.0  # seconds in which nothing need come
SLOWEST = 10_000  # bytes that each second more must bring
LONGEST = 900.0  # seconds for a file in all
IDLE = 20.0  # seconds without a byte
REDIRECTS = 5


def read_remote(address: str, limit: int | None = None) -> bytes:
    """All of a remote file, or of one in an archive.

    Raises PermissionError where the address is not to be opened, OverflowError beyond `limit` bytes (`MAX_FILE_BYTES`),
    TimeoutError where it comes too slowly, FileNotFoundError, EOFError where it breaks off, and whatever the backends
    raise.
    """
    limit = MAX_FILE_BYTES if limit is None else limit
    if scheme(address) in WEB and "::" not in address:
        allow(address)
        return _Fetch(address).all(limit)
    with open_remote(address) as file:
        return _all(file, limit)


@contextmanager
def open_remote(address: str) -> Iterator[BinaryIO]:
    """A file as `read_remote` takes it, to be read in parts: only those that are asked for are fetched."""
    allow(address)
    with _opened(address) as file:
        yield file


def _all(file: Any, limit: int) -> bytes:
    data, allowance = bytearray(), _Allowance()
    while part := file.read(min(PART, limit + 1 - len(data))):
        data += part
        allowance.spend(len(part))
        if len(data) > limit:
            _too_large(limit)
    return bytes(data)


@contextmanager
def _opened(address: str) -> Iterator[BinaryIO]:
    first, chained, rest = address.partition("::")
    if chained:
        with _opened(rest) as outer, _member(outer, scheme(first), first.partition("://")[2]) as file:
            yield file
    elif not is_remote(local := local_path(first)):
        with open_regular(local) as file:
            yield file
    elif scheme(first) in WEB:
        with io.BufferedReader(_Ranges(first), HEADER_BLOCK) as file:
            yield file
    else:
        from fsspec.core import url_to_fs  # slow to import and seldom needed

        system, path = url_to_fs(first)
        with system.open(path, "rb", block_size=HEADER_BLOCK) as file:
            yield _seekable(file)


def _seekable(file: Any) -> BinaryIO:
    try:
        file.seek(0, io.SEEK_END)
    except (OSError, ValueError):  # a server that sends no parts
        return io.BytesIO(_all(file, MAX_FILE_BYTES))
    file.seek(0)
    return file


@contextmanager
def _member(outer: BinaryIO, kind: str, name: str) -> Iterator[BinaryIO]:
    """A file in an archive, whose size is declared and within bounds."""
    if kind == "zip":
        with zipfile.ZipFile(outer) as packed, suppress(KeyError):
            if packed.getinfo(name).file_size > MAX_FILE_BYTES:
                _too_large(MAX_FILE_BYTES)
            with packed.open(name) as file:
                yield file  # type: ignore[misc]
            return
    else:
        with tarfile.open(fileobj=outer, mode="r:") as tar:
            found = next((info for info in tar if info.isreg() and info.name.removeprefix("./") == name), None)
            if found is not None and found.size > MAX_FILE_BYTES:
                _too_large(MAX_FILE_BYTES)
            if found is not None and (part := tar.extractfile(found)) is not None:
                with part:
                    yield part  # type: ignore[misc]
                return
    raise FileNotFoundError(errno.ENOENT, "the archive holds no such file", name)


# --- HTTP ------------------------------------------------------------------------------------------------------------


class _Allowance:
    """Time for one file: `GRACE`, and a second more for every `SLOWEST` bytes that came, `LONGEST` in all."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._received = 0

    def spend(self, received: int = 0) -> None:
        """Raises TimeoutError when it is used up."""
        self._received += received
        if self.over:
            seconds = time.monotonic() - self._begun
            raise TimeoutError(errno.ETIMEDOUT, f"it comes too slowly: {self._received:,} bytes in {seconds:.0f} s")

    @property
    def over(self) -> bool:
        return time.monotonic() - self._begun > min(GRACE + self._received / SLOWEST, LONGEST)


class _Fetch:
    """One file of a web server, and where its redirects may lead."""

    def __init__(self, address: str, allowance: _Allowance | None = None) -> None:
        self.address = address
        self.allowance = allowance or _Allowance()
        self.proxied = False  # then the proxy decides what may be reached
        self._inside: bool | None = None  # whether the address as it was named lies in the user's network
        self._socket: socket.socket | None = None

    def connected(self, to: socket.socket) -> None:
        """Called with every connection before anything is sent. Raises PermissionError."""
        self._socket = to
        if self.proxied:
            return
        inside = is_inside(to.getpeername()[0])
        if self._inside is None:
            self._inside = inside
        elif inside and not self._inside:
            refuse("a redirect leads from a public address into this machine or its network")

    @contextmanager
    def response(self, **headers: str) -> Iterator[http.client.HTTPResponse]:
        """What the server answers. A thread cuts the connection when time is up: a header can take for ever, too."""
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            _Connections(self),
            _Redirects(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            opener.add_handler(handler)
        request = urllib.request.Request(self.address, headers={"User-Agent": "nlclean", **headers})
        if login := _login(request.host):
            request.add_unredirected_header("Authorization", login)
        done = threading.Event()
        threading.Thread(target=self._watch, args=(done,), daemon=True).start()
        try:
            with opener.open(request, timeout=IDLE) as response:
                yield response
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (404, 410):
                    raise FileNotFoundError(errno.ENOENT, "the server has no such file") from error
                raise
        except (OSError, http.client.HTTPException):
            self.allowance.spend()  # the reason, where it is the time
            raise
        finally:
            done.set()

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(0.5):
            if self.allowance.over and self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
                return

    def all(self, limit: int) -> bytes:
        with self.response() as response:
            return self.body(response, limit)

    def body(self, response: http.client.HTTPResponse, limit: int) -> bytes:
        """The rest of an answer. Raises OverflowError, TimeoutError, EOFError."""
        if (response.length or 0) > limit:
            _too_large(limit)
        data = bytearray()
        while part := response.read1(min(PART, limit + 1 - len(data))):
            data += part
            self.allowance.spend(len(part))
            if len(data) > limit:
                _too_large(limit)
        self.allowance.spend()
        if response.length:
            raise EOFError(f"the server broke off {response.length:,} bytes before the end")
        return bytes(data)


class _Connections(urllib.request.AbstractHTTPHandler):
    """Of a fetch. Another scheme has no handler, so that no redirect leads to it."""

    def __init__(self, fetch: _Fetch) -> None:
        super().__init__()
        self._fetch = fetch

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_Plain, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_Secure, request, context=ssl.create_default_context())

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def _open(self, kind: Any, request: urllib.request.Request, **rest: Any) -> http.client.HTTPResponse:
        self._fetch.proxied = request.has_proxy() or bool(getattr(request, "_tunnel_host", None))
        return self.do_open(lambda host, **given: kind(host, **given).of(self._fetch), request, **rest)


class _Plain(http.client.HTTPConnection):
    def of(self, fetch: _Fetch) -> _Plain:
        self._fetch = fetch
        return self

    def connect(self) -> None:
        super().connect()
        self._fetch.connected(self.sock)


class _Secure(http.client.HTTPSConnection):
    def of(self, fetch: _Fetch) -> _Secure:
        self._fetch = fetch
        return self

    def connect(self) -> None:
        super().connect()
        self._fetch.connected(self.sock)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = REDIRECTS

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        before, after = scheme(req.full_url), scheme(newurl)
        if after not in (before, "https"):
            refuse(f"a redirect leads from {before} to {after!r:.20}")
        refuse_login(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Ranges(io.RawIOBase):
    """A file of a web server, fetched in the blocks that are read; whole where the server sends no parts."""

    def __init__(self, address: str) -> None:
        self._fetch, self._place = _Fetch(address), 0
        with self._fetch.response(Range=f"bytes=0-{HEADER_BLOCK - 1}") as response:
            total = (response.headers.get("Content-Range") or "").rpartition("/")[2]
            if response.status != http.client.PARTIAL_CONTENT or not total.isdecimal():
                self._head = self._fetch.body(response, MAX_FILE_BYTES)
                self._size = len(self._head)
            else:
                self._head = self._fetch.body(response, HEADER_BLOCK)
                self._size = int(total)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence])
        return self._place

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._place)
        if wanted <= 0:
            return 0
        data = self._head[self._place : self._place + wanted]
        if not data:
            last = self._place + wanted - 1
            with self._fetch.response(Range=f"bytes={self._place}-{last}") as response:
                if response.status != http.client.PARTIAL_CONTENT:
                    raise OSError(errno.EIO, "the server sends parts no longer")
                data = self._fetch.body(response, wanted)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def is_inside(address: str) -> bool:
    """Whether an IP address is of this machine or its network: loopback, private, link-local, or no unicast at all."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return not found.is_global or found.is_multicast


def _login(host: str | None) -> str:
    """What ~/.netrc, or the file that NETRC names, has for a host; "" where it has nothing."""
    with suppress(OSError, netrc.NetrcParseError):
        if found := netrc.netrc(os.environ.get("NETRC")).authenticators((host or "").partition(":")[0]):
            return "Basic " + b64encode(f"{found[0]}:{found[2]}".encode()).decode()
    return ""


def _too_large(limit: int) -> NoReturn:
    raise OverflowError(f"the file has more than the limit of {limit} bytes")

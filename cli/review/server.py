"""The server behind `nlclean review --web`: this machine only, and whoever knows the address.

Every request needs the token of the address, which no page of another host can know. The host by which the server is
called must be its own, or a name that somebody points at 127.0.0.1 would be let in. A page that asks must be ours.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cleanlab_lite.errors import ConfigError, DecodeError, ReportError

from .web import SharedReview

HOST = "127.0.0.1"
MAX_BODY = 1 << 20  # bytes
PATIENCE = 30  # seconds that a client may say nothing
_PATH = re.compile(r"/(?P<token>[\w-]{1,100})/(?P<rest>[\w/?=]{0,100})", re.ASCII)
_JOURNAL = re.compile(r"decisions\?after=(?P<after>[0-9]{1,9})", re.ASCII)
_MEDIA = re.compile(r"(?P<kind>preview|picture|sound)/(?P<row>[0-9]{1,9})", re.ASCII)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
# the page names its own scripts in a policy of its own, and both hold; nothing else may do anything
_PAGE_POLICY = "frame-ancestors 'none'"
_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


class ReviewServer(ThreadingHTTPServer):
    """Serves a review until it is closed. `port` 0 stands for a free one. Raises ConfigError when it is taken."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows it would let others listen on the same port

    def __init__(self, review: SharedReview, port: int = 0) -> None:
        self.review = review
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on port {port}: {error.strerror or error}", hint="name another --port, or none"
            ) from error
        self.hosts = {f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no news."""


class _Refusal(Exception):
    """Answered with a status and a sentence."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        self.status, self.reason = status, reason


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    disable_nagle_algorithm = True  # head and body are two writes, and the second would wait for an answer to the first

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, method: Any) -> None:
        try:
            mime, content, policy = method(self._allowed())
            self._send(HTTPStatus.OK, mime, content, policy)
        except _Refusal as refusal:
            self.close_connection = True  # a body may be left unread
            self._send(refusal.status, "text/plain; charset=utf-8", refusal.reason.encode(), _POLICY)

    def _allowed(self) -> str:
        """What is asked for, behind the token."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0] not in self.server.hosts:
            raise _Refusal(HTTPStatus.FORBIDDEN, "this is not the host that was asked for")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.server.hosts}:
            raise _Refusal(HTTPStatus.FORBIDDEN, "pages of other hosts may not ask")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise _Refusal(HTTPStatus.FORBIDDEN, "pages of other hosts may not ask")
        found = _PATH.fullmatch(self.path)
        if not found or not hmac.compare_digest(found["token"].encode(), self.server.token.encode()):
            raise _Refusal(HTTPStatus.FORBIDDEN, "the address lacks the token that nlclean review has printed")
        return found["rest"]

    def _get(self, asked: str) -> tuple[str, bytes, str]:
        if not asked:
            return "text/html; charset=utf-8", self.server.review.page, _PAGE_POLICY
        if found := _JOURNAL.fullmatch(asked):
            return self._journal(lambda after: self.server.review.since(after), int(found["after"]))
        if found := _MEDIA.fullmatch(asked):
            try:
                media = self.server.review.media(found["kind"], int(found["row"]))
            except DecodeError as error:
                raise _Refusal(HTTPStatus.NOT_FOUND, error.message) from error
            return media.mime, media.content, _POLICY
        raise _Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _post(self, asked: str) -> tuple[str, bytes, str]:
        found = _JOURNAL.fullmatch(asked)
        if not found:
            raise _Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
        if self.headers.get("Origin") is None or self.headers.get_content_type() != "application/json":
            raise _Refusal(HTTPStatus.FORBIDDEN, "only the page itself may decide")
        body = self._body()
        return self._journal(lambda after: self.server.review.decide(body, after), int(found["after"]))

    def _journal(self, look: Any, after: int) -> tuple[str, bytes, str]:
        try:
            return "application/json", look(after), _POLICY
        except ValueError as error:
            raise _Refusal(HTTPStatus.BAD_REQUEST, f"refused: {error}") from error
        except (ReportError, OSError) as error:
            raise _Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"cannot use the journal: {error}") from error

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,12}", length, re.ASCII) or "Transfer-Encoding" in self.headers:
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "say how long the body is")
        if int(length) > MAX_BODY:
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BODY:,} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _Refusal(HTTPStatus.BAD_REQUEST, "the body is cut off")
        return body

    def _send(self, status: HTTPStatus, mime: str, content: bytes, policy: str) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", policy)
        cached = mime.startswith(("image/", "audio/")) and status == HTTPStatus.OK
        self.send_header("Cache-Control", "private, max-age=3600" if cached else "no-store")
        self.send_header("Content-Type", mime)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Requests that are none, and methods that there are not."""
        self.close_connection = True
        status = HTTPStatus(code)
        self._send(status, "text/plain; charset=utf-8", status.phrase.encode(), _POLICY)

    def version_string(self) -> str:
        return "nlclean"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the address is a secret."""

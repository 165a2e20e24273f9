"""A server for one page on this machine alone.

Python's own server is enough for it: seven kinds of address, read only, for one person. Whoever asks must know the
secret part of the address, which is new each time, and name this machine as the host; otherwise other users of the
machine, and web pages whose name leads here (DNS rebinding), could read the pictures. Nothing in an address is a path
or a name: a picture is asked for by its number.
"""

import re
import secrets
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from yoso_cli.errors import RunError
from yoso_cli.view.answers import Answers
from yoso_cli.view.content import EDGES, Content, compact_json
from yoso_cli.view.document import ICON, script, served_page, style

USUAL_PORT = 8765
_HERE = "127.0.0.1"
_KEPT_BYTES = 96 << 20
# Pictures that are decoded at once; more would only take turns.
_AT_ONCE = 2
# Seconds after which a connection without a request is closed.
_IDLE = 60

_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_HTML, _CSS, _JS = "text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_JSON, _WEBP, _SVG, _TEXT = "application/json", "image/webp", "image/svg+xml", "text/plain; charset=utf-8"
_PICTURE = re.compile(r"(photo|maps)/([0-9]{1,4})/([0-9]{1,9})", re.ASCII)


class ViewServer(ThreadingHTTPServer):
    """Serves a page until it is shut down.

    Args:
        content: what it shows.
        port: to listen on; None for the usual one, or any if that is taken.
        report: takes a sentence on whatever should not have happened.

    Raises:
        RunError: the port is taken, or may not be used.
    """

    daemon_threads = True

    def __init__(
        self, content: Content, port: int | None = None, report: Callable[[str], None] = lambda _: None
    ) -> None:
        self.content = content
        self.report = report
        self.secret = secrets.token_urlsafe(12)
        self._answers = Answers(_KEPT_BYTES)
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        try:
            super().__init__((_HERE, USUAL_PORT if port is None else port), _Handler)
        except OSError as error:
            if port is None:
                super().__init__((_HERE, 0), _Handler)
                return
            raise RunError(
                f"--port {port}: cannot be listened on: {error.strerror or error}.", hint="Leave --port out."
            ) from None

    @property
    def port(self) -> int:
        """That it listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{_HERE}:{self.port}/{self.secret}/"

    def is_meant(self, host: str | None) -> bool:
        """Whether a request's `Host` is this server."""
        return host in (f"{_HERE}:{self.port}", f"localhost:{self.port}")

    def answer(self, name: str) -> tuple[str, bytes] | None:
        """Type and content of what is called `name`, behind the secret; None if there is no such thing."""
        fixed: dict[str, tuple[str, Callable[[], bytes]]] = {
            "": (_HTML, lambda: served_page(self.content).encode()),
            "icon.svg": (_SVG, lambda: ICON.encode()),
            "view.css": (_CSS, lambda: style().encode()),
            "view.js": (_JS, lambda: script().encode()),
            "index.json": (_JSON, lambda: compact_json(self.content.index())),
        }
        if name in fixed:
            kind, make = fixed[name]
            return kind, self._made(name, make)
        match = _PICTURE.fullmatch(name)
        if match is None:
            return None
        edge, place = int(match[2]), int(match[3])
        if edge not in EDGES or place >= len(self.content):
            return None
        if match[1] == "photo":
            return _WEBP, self._made(name, lambda: self.content.photo(place, edge))
        return _JSON, self._made(name, lambda: compact_json(self.content.maps(place, edge)))

    def _made(self, name: str, make: Callable[[], bytes]) -> bytes:
        def in_turn() -> bytes:
            with self._turns:
                return make()

        return self._answers.get(name, in_turn)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET, and nothing else."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "yoso", ""
    timeout = _IDLE
    server: ViewServer

    def do_GET(self) -> None:
        """Of the page or one of its parts."""
        if not self.server.is_meant(self.headers.get("Host")):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "This server is for this machine alone.")
            return
        before, _, name = urlsplit(self.path).path.removeprefix("/").partition("/")
        if not secrets.compare_digest(before.encode(), self.server.secret.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "Open the whole address that `yoso view` has printed.")
            return
        try:
            found = self.server.answer(name)
        except Exception as error:  # of one picture: all others can be shown
            self.server.report(f"{name}: {type(error).__name__}: {error}")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"This is a bug in yoso: {type(error).__name__}.")
            return
        if found is None:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such thing here.")
        else:
            self._send(HTTPStatus.OK, *found)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """For any other method, and what is no request: plain text that repeats nothing of it."""
        del message, explain
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "Nothing can be changed here.", {"Allow": "GET"})
        else:
            self._refuse(HTTPStatus(code), "This is no request that can be answered.")

    def _refuse(self, status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> None:
        # What else was sent is not read.
        self.close_connection = True
        self._send(status, _TEXT, f"{text}\n".encode(), {"Connection": "close", **(headers or {})})

    def _send(self, status: HTTPStatus, kind: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        # The next page at this address may be of another set.
        common = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store"}
        for name, value in {**common, **_HEADERS, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called in http.server
        """Nobody reads a line for every thumbnail."""

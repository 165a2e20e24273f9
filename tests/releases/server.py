"""A server on this machine that behaves, or misbehaves, as told."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server does.

    Attributes:
        content: the file, at every path.
        etag: its ETag; empty sends none.
        ranges: whether it answers a Range with a part.
        cuts: after how many bytes each next answer breaks off; answers after the last are whole.
        statuses: with which status each next request is refused, before all else.
        kind: the Content-Type.
        length: whether it says how long the file is.
        asked: the Range of each request, "" for none.
    """

    content: bytes = b""
    etag: str = '"one"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    kind: str = "application/octet-stream"
    length: bool = True
    asked: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        told = self.behaviour
        asked = self.headers.get("Range", "")
        told.asked.append(asked)
        if told.statuses:
            self.send_error(told.statuses.pop(0))
            return
        start = self._start(asked)
        if start >= len(told.content) > 0:
            self.send_error(416)
            return
        self._send_head(start)
        rest = told.content[start:]
        # Who hangs up has seen enough.
        with suppress(ConnectionError):
            self.wfile.write(rest[: told.cuts.pop(0)] if told.cuts else rest)

    def _start(self, asked: str) -> int:
        told = self.behaviour
        same = self.headers.get("If-Range", told.etag) == told.etag
        match = re.fullmatch(r"bytes=(\d+)-", asked)
        return int(match[1]) if match and told.ranges and same else 0

    def _send_head(self, start: int) -> None:
        told = self.behaviour
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", told.kind)
        if told.etag:
            self.send_header("ETag", told.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(told.content) - 1}/{len(told.content)}")
        if told.length:
            self.send_header("Content-Length", str(len(told.content) - start))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Gives the address of the folder that the server serves."""
    handler = type("Told", (Handler,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

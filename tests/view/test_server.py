"""The server answers this machine, the secret address and GET, and nothing else; what it keeps is bounded."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from page import pages
from view import serving

from yoso_cli.errors import RunError
from yoso_cli.panoptic.types import Panoptic, Segment
from yoso_cli.view.answers import Answers
from yoso_cli.view.server import USUAL_PORT, ViewServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewServer]:
    folder = tmp_path_factory.mktemp("server")
    truth = pages.truth_in(folder)
    with serving.served(serving.content_of(truth, serving.predicted_set(folder / "predictions", truth))) as running:
        yield running


def asked(
    server: ViewServer, name: str, method: str = "GET", host: str | None = None, whole: bool = False
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    path = name if whole else f"/{server.secret}/{name}"
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", f"127.0.0.1:{server.port}" if host is None else host)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("", "text/html; charset=utf-8"),
        ("view.css", "text/css; charset=utf-8"),
        ("view.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("index.json", "application/json"),
        ("maps/320/1", "application/json"),
        ("photo/1280/0", "image/webp"),
        ("photo/320/4?anything=1", "image/webp"),
    ],
)
def test_what_there_is_comes_with_its_type_and_a_policy(server: ViewServer, name: str, kind: str) -> None:
    status, headers, content = asked(server, name)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert int(headers["Content-Length"]) == len(content) > 0
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; img-src 'self'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    "name",
    [
        *("photo/320/5", "photo/320/-1", "photo/321/1", "maps/320/1.0", "maps/320/", "photo/320/01x"),
        *("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "photo/320/../../1", "page.css", "view.html", "index.json/"),
        *("photo/320/0.png", "photo/0/1", "photo/320/99999999999999999999", "maps/320/%D9%A1", "%00", "photo//1"),
    ],
)
def test_nothing_else_is_there(server: ViewServer, name: str) -> None:
    assert asked(server, name)[0] == 404


@pytest.mark.parametrize("path", ["/", "/index.json", "/x/index.json", "//", "/photo/320/1"])
def test_who_does_not_know_the_address_gets_nothing(server: ViewServer, path: str) -> None:
    status, headers, content = asked(server, path, whole=True)
    assert status == 403
    assert content == b"Open the whole address that `yoso view` has printed.\n"
    assert headers["Connection"] == "close"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "", "127.0.0.1", "[::1]:8765", "localhost:1"])
def test_another_name_of_this_machine_is_refused(server: ViewServer, host: str) -> None:
    """A web page whose name leads here (DNS rebinding) sends its own name."""
    status, _, content = asked(server, "index.json", host=host)
    assert status == 421
    assert b"machine" in content
    assert asked(server, "index.json", host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"])
def test_only_get_is_answered(server: ViewServer, method: str) -> None:
    status, headers, _ = asked(server, "", method)
    assert (status, headers["Allow"]) == (405, "GET")


NO_REQUESTS = (b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9", b"\x16\x03\x01\x02\x00" * 40, b"GET /" + b"a" * 70_000)


@pytest.mark.parametrize("sent", NO_REQUESTS, ids=range(len(NO_REQUESTS)))
def test_what_is_no_request_repeats_nothing_of_it(server: ViewServer, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(sent + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        told = b""
        while block := connection.recv(65536):
            told += block
    assert b"aaaa" not in told
    assert b"<html" not in told.lower()


def test_names_never_enter_the_page_as_markup(server: ViewServer) -> None:
    _, _, page = asked(server, "")
    assert pages.HOSTILE.encode() not in page
    assert b"&lt;script&gt;" in page
    index = json.loads(asked(server, "index.json")[2])
    assert pages.HOSTILE in [one["name"] for one in index["categories"]]


def test_an_answer_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = serving.content_of(pages.truth_in(tmp_path))
    made = []
    kind = type(content)
    original = kind.photo
    monkeypatch.setattr(kind, "photo", lambda self, place, edge: made.append(place) or original(self, place, edge))
    with serving.served(content) as running:
        first = asked(running, "photo/320/1")[2]
        assert asked(running, "photo/320/1")[2] == first
    assert made == [1]


def test_an_error_of_one_picture_leaves_the_others(tmp_path: Path) -> None:
    truth = pages.truth_in(tmp_path)
    truth.panoptic_path(truth.records[1]).unlink()
    with serving.served(serving.content_of(truth)) as running:
        status, _, content = asked(running, "maps/320/1")
        assert (status, "no such file" in json.loads(content)["problem"]) == (200, True)
        assert "truth" in json.loads(asked(running, "maps/320/2")[2])


def test_a_bug_in_one_picture_is_reported_and_ends_nothing(tmp_path: Path) -> None:
    content = serving.content_of(pages.truth_in(tmp_path))
    reported: list[str] = []
    with serving.served(replace(content, predict=lambda _: 1 / 0), reported.append) as running:  # type: ignore[arg-type,return-value]
        status, _, told = asked(running, "maps/320/1")
        assert (status, told) == (500, b"This is a bug in yoso: ZeroDivisionError.\n")
        assert asked(running, "photo/320/1")[0] == 200
    assert reported == ["maps/320/1: ZeroDivisionError: division by zero"]


def test_predictions_of_other_classes_are_told(tmp_path: Path) -> None:
    content = serving.content_of(pages.truth_in(tmp_path))
    other = Panoptic(np.full((48, 64), 5, np.int32), (Segment(5, 77, 48 * 64),))
    maps = replace(content, predict=lambda _: other).maps(1, 320)
    assert maps["problem"] == "1.png: has category 77, which the truth does not list."
    assert "truth" in maps


def test_a_port_that_is_taken_is_told(server: ViewServer, tmp_path: Path) -> None:
    content = serving.content_of(pages.truth_in(tmp_path))
    with pytest.raises(RunError, match=f"--port {server.port}: cannot be listened on"):
        ViewServer(content, server.port)
    with ViewServer(content) as usual, ViewServer(content) as other:
        assert usual.port != other.port
        assert other.port != USUAL_PORT
        assert usual.secret != other.secret
        assert usual.server_address[0] == other.server_address[0] == "127.0.0.1"


def test_what_is_kept_is_bounded_and_the_oldest_goes_first() -> None:
    answers, made = Answers(100), []

    def ask(key: int, size: int = 40) -> bytes:
        return answers.get(key, lambda: made.append(key) or bytes(size))

    for key in (1, 2, 1, 3, 1, 2):
        ask(key)
    assert made == [1, 2, 3, 2], "2 was asked for longest ago when 3 came"
    assert len(ask(9, 500)) == 500, "larger than all that may be kept"
    made.clear()
    ask(1)
    assert made == [1]


def test_threads_share_what_is_kept() -> None:
    answers = Answers(1000)
    threads = [
        threading.Thread(target=lambda: [answers.get(key % 7, lambda: bytes(100)) for key in range(300)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers._size == sum(map(len, answers._kept.values())) <= 1000

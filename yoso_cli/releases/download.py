"""HTTP download: resumes after a broken connection or a stopped process, with clear errors.

What has arrived so far lies beside the target as `.part`, with `.part.json` saying of what it is a part.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from yoso_cli import atomic
from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.locks import sole_writer
from yoso_cli.runtime.json_text import read_json
from yoso_cli.runtime.progress import SILENT, Progress

ATTEMPTS = 5
TIMEOUT = 30.0
_CHUNK = 1 << 20
# Temporary errors of the server or the network: tried again.
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class _BrokenError(Exception):
    """A temporary failure of the connection."""


@dataclass(frozen=True)
class _Origin:
    """Of what a part is a part.

    Attributes:
        address: where it comes from.
        validator: the server's ETag or Last-Modified; empty when it gives neither.
        total: bytes of the whole; None when the server does not say.
    """

    address: str
    validator: str
    total: int | None


def download(
    address: str,
    target: Path,
    *,
    progress: Progress = SILENT,
    attempts: int = ATTEMPTS,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Downloads `address` (http or https) to `target`, which appears when it is complete.

    Args:
        address: the file.
        target: replaced when it is there.
        progress: shows the bytes and the reason for waiting.
        attempts: failures in a row, without a byte between, after which it gives up.
        pause: waits for so many seconds before another try: 1, 2, 4, ...

    Raises:
        UsageError: `address` is of another kind.
        RunError: the server refuses, is not there or keeps failing, or the disk is full; what has arrived is kept,
            and the same call goes on from there.
    """
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        raise UsageError(f"{address}: is not a valid URL.", hint="It must start with https:// or http://.")
    part = target.with_name(f"{target.name}.part")
    with atomic.reporting(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.reporting(target), sole_writer(target):
        atomic.require_no_link(part)
        try:
            _bring(address, part, progress, attempts, pause)
            with _open(part, os.O_RDONLY) as whole:
                os.fsync(whole.fileno())
            part.replace(target)
            _origin_path(part).unlink(missing_ok=True)
        finally:
            if not _size(part):
                _forget(part)


def _bring(
    address: str,
    part: Path,
    progress: Progress,
    attempts: int,
    pause: Callable[[float], object],
) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            _go_on(address, part, progress)
        except _BrokenError as broken:
            failures = 1 if _size(part) > before else failures + 1
            if failures >= attempts:
                raise RunError(f"{address}: {broken}, after {attempts} tries.", hint=_way_on(part)) from broken
            wait = 2.0 ** (failures - 1)
            told = str(broken)
            progress.message(f"{told[:1].upper()}{told[1:]}; trying again in {wait:g} s")
            pause(wait)
        else:
            return


def _way_on(part: Path) -> str:
    if _size(part):
        return f"{_size(part) / 1e6:.1f} MB of it are kept; the same command goes on from there."
    return "Look at the network. A mirror or a copy that you have: `yoso weights get NAME --from URL or FILE`."


def _go_on(address: str, part: Path, progress: Progress) -> None:
    """One connection: asks for what is missing and appends it."""
    known = _read_origin(part)
    have = _size(part) if known is not None and known.address == address else 0
    if known is not None and have == known.total:
        return  # all of it had come when the process ended
    with _opened(address, have, known, part) as response:
        start = _start(response, have)
        origin = _Origin(address, _validator(response), _total(response, start))
        if start and known is not None and origin.total != known.total:
            _forget(part)
            raise _BrokenError("the file changed during the download")
        _require_room(part, origin.total, start)
        atomic.write_json(_origin_path(part), asdict(origin))
        _append(response, part, start, origin.total, progress)
    if origin.total is not None and _size(part) != origin.total:
        raise _BrokenError(f"the connection broke at {_size(part) / 1e6:.1f} of {origin.total / 1e6:.1f} MB")


@contextlib.contextmanager
def _opened(address: str, have: int, known: _Origin | None, part: Path) -> Iterator[HTTPResponse]:
    headers = {"User-Agent": "yoso", "Accept-Encoding": "identity"}
    if have and known is not None:
        headers["Range"] = f"bytes={have}-"
        if known.validator:
            # A server whose file has changed then sends all of it.
            headers["If-Range"] = known.validator
    try:
        # The scheme was looked at above, and a redirection to another kind is refused by urllib.
        with urlopen(Request(address, headers=headers), timeout=TIMEOUT) as response:  # noqa: S310
            yield response
    except HTTPError as error:
        if error.code == 416:
            _forget(part)
            raise _BrokenError("the partial download did not match the file") from error
        if error.code in _PASSING:
            raise _BrokenError(f"the server answers {error.code} {error.reason}") from error
        raise RunError(
            f"{address}: the server answers {error.code} {error.reason}.",
            hint="Check the URL, or name a mirror or your own copy.",
        ) from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise _BrokenError(f"no connection ({reason or type(error).__name__})") from error


def _start(response: HTTPResponse, have: int) -> int:
    """The first byte of the response. Raises RunError if the response is not a file."""
    if response.headers.get_content_type() == "text/html":
        raise RunError(
            f"{response.geturl()}: the server answers with a web page, not with a file.",
            hint="It may be a login page of the network: open the URL in a browser, or name a mirror.",
        )
    if response.status != 206:
        return 0
    stated = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not stated or int(stated[1]) != have:
        raise _BrokenError("the server sent another part of the file than requested")
    return have


def _validator(response: HTTPResponse) -> str:
    etag = response.headers.get("ETag", "")
    # A weak ETag does not promise equal bytes.
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _total(response: HTTPResponse, start: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _append(response: HTTPResponse, part: Path, start: int, total: int | None, progress: Progress) -> None:
    shown = progress.bar(total, part.stem, initial=start, unit="B")
    with atomic.reporting(part), _open(part, os.O_RDWR | os.O_CREAT) as file, shown as bar:
        file.truncate(start)
        file.seek(start)
        while chunk := _read(response):
            file.write(chunk)
            bar.update(len(chunk))


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (OSError, HTTPException) as error:
        raise _BrokenError(f"the connection broke ({error or type(error).__name__})") from error


def _require_room(part: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and free < total - have:
        raise RunError(
            f"{part.parent}: {(total - have) / 1e6:.1f} MB are needed, but the disk has only {free / 1e6:.1f} MB left.",
            hint="Free some space, or move the folder with the environment variable YOSO_HOME.",
        )


def _open(part: Path, flags: int) -> BinaryIO:
    """The part, for reading or writing; its name is predictable, so a link there is not followed."""
    return os.fdopen(os.open(part, flags | os.O_NOFOLLOW, 0o666), "rb" if flags == os.O_RDONLY else "r+b")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _origin_path(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _origin_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_origin(part: Path) -> _Origin | None:
    """None when there is nothing to go on from."""
    try:
        plain = read_json(_origin_path(part))
        return _Origin(str(plain["address"]), str(plain["validator"]), plain["total"])
    except (DataError, KeyError):
        return None

"""The one reader of JSON objects, with limits: a file is untrusted, whether it comes from elsewhere or was ours.

What passes has finite numbers, integers that fit into 64 bits, text that can be a name, and no deep nesting, so that
nothing behind it can overflow, fail to be written, or exhaust the stack.
"""

import codecs
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from yoso_cli.errors import DataError

Each = Mapping[str, Callable[[Any], Any]]

_NO_LIST = "Panoptic results are an object with 'annotations'; a list is the format of detection results."
_DEEPEST = 64
_LARGEST = 2**64 - 1

# Values are looked at one by one only where the text gives a reason to: large integers, large exponents and escaped
# surrogates show in it once every digit is a zero. That costs a hundredth of parsing it.
_SHAPE = bytes(ord("0") if chr(one).isdigit() and one < 128 else ord(chr(one).lower()) for one in range(128)) + bytes(
    range(128, 256)
)
_SUSPICIOUS = (b"0" * 19, b"0e000", b"0e+000", b"\\ud")
_NO_BRACKETS = bytes(one for one in range(256) if one not in b"[]{}")

# Of a file that is read in pieces. The scanner takes `1` of `1.5e+3` for a number where the piece ends.
_PIECE, _AFTER_A_NUMBER = 1 << 20, 3
# Levels, and brackets that a piece leaves open: all of them together are less deep than what is refused.
_FEWER = _DEEPEST // 4
_SPACE = " \t\n\r"

# A byte of a file's name that is no UTF-8 is one of these in Python (PEP 383), and a name with it can be a file.
_NO_NAME = re.compile("[\ud800-\udc7f\udd00-\udfff]")


class _LimitError(ValueError):
    """What is beyond the limits; the message continues a file's name."""


def read_json(path: Path, each: Each | None = None) -> dict[str, Any]:
    """The JSON object in the file `path`.

    Args:
        path: of the file.
        each: what takes the place of every item of the list at such a key. The file is then read piece by piece, and
            items become their replacements one by one, so that hundreds of megabytes are never there at once.

    Raises:
        DataError: as `parse_json`, or it is missing or unreadable.
    """
    replacing = each or {}
    with _reading(path):
        if replacing:
            with path.open("rb") as file:
                found = _in_pieces(file, replacing)
            if found is not None:
                return found
        text = path.read_bytes()
    content = _object(_parsed(text, str(path)), str(path), _NO_LIST)
    for key, replace in replacing.items():
        if isinstance(content.get(key), list):
            content[key] = [replace(item) for item in content[key]]
    return content


def read_json_list(path: Path) -> list[Any]:
    """The JSON list in the file `path`, with the same limits. Raises DataError as `read_json`."""
    with _reading(path):
        text = path.read_bytes()
    found = _parsed(text, str(path))
    if not isinstance(found, list):
        raise DataError(f"{path}: is a {type(found).__name__}; a JSON list is expected.")
    return found


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except ValueError:
        raise DataError(f"{path}: no file can have such a name.") from None


def parse_json(text: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `text`.

    Args:
        text: UTF-8, or another encoding of Unicode that shows in its first bytes.
        where: names it in what is raised.

    Raises:
        DataError: it is no JSON object; a number is not finite, or is an integer of more than 64 bits; it is nested
            more than 64 deep; or it has half of a surrogate pair, which no text has.
    """
    return _object(_parsed(text, where), where)


def _object(content: Any, where: str, hint: str = "") -> dict[str, Any]:
    if not isinstance(content, dict):
        raise DataError(f"{where}: is a {type(content).__name__}; a JSON object is expected.", hint=hint)
    return content


def _parsed(text: bytes, where: str) -> Any:
    try:
        return _within_limits(text)
    except UnicodeDecodeError:
        raise DataError(f"{where}: is not UTF-8 text.", hint="Fetch or write it again.") from None
    except json.JSONDecodeError as error:
        message = f"{where}: is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise DataError(message, hint="It may be truncated: download or write it again.") from None
    except RecursionError:
        raise DataError(f"{where}: is nested too deeply.") from None
    except _LimitError as error:
        raise DataError(f"{where}: {error}.", hint="It is damaged, or was written by a faulty tool.") from None


def _within_limits(text: bytes) -> Any:
    encoding = json.detect_encoding(text)
    decoded = text.decode(encoding)
    plain = text if encoding.startswith("utf-8") else decoded.encode()
    suspicious = _is_deep(plain) or _has_odd_values(plain)
    try:
        content = json.loads(decoded, parse_constant=_refuse)
    except (json.JSONDecodeError, _LimitError):
        raise
    except ValueError:
        # Python converts no integer of more than 4,300 digits.
        raise _LimitError("has an integer of thousands of digits") from None
    if suspicious:
        _require_limits(content)
    return content


def _refuse(name: str) -> float:
    raise _LimitError(f"has the number {name}, which JSON does not have")


def _has_odd_values(text: bytes) -> bool:
    shape = text.translate(_SHAPE)
    return any(one in shape for one in _SUSPICIOUS)


def _is_deep(text: bytes, *, rounds: int = _DEEPEST // 2, open_ends: int = 0) -> bool:
    """Whether brackets may be nested too deeply; those in strings count too.

    Args:
        text: all of it or, with `open_ends`, a piece.
        rounds: each takes away one level or, where the two kinds take turns, two.
        open_ends: brackets of a piece that may have their other half elsewhere.
    """
    brackets = text.translate(None, _NO_BRACKETS)
    for _ in range(rounds):
        if len(brackets) <= open_ends:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return len(brackets) > open_ends


def _require_limits(content: Any, depth: int = 1) -> None:
    waiting = [(content, depth)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, (dict, list)):
            if depth > _DEEPEST:
                raise _LimitError("is nested too deeply")
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            waiting += [(one, depth + 1) for one in inner]
        elif isinstance(value, str):
            if _NO_NAME.search(value):
                raise _LimitError(f"has half of a surrogate pair in {value[:80]!a}, which is no text")
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise _LimitError("has a number that is too large")
        elif isinstance(value, int) and abs(value) > _LARGEST:
            raise _LimitError("has an integer of more than 64 bits")


def _in_pieces(file: IO[bytes], each: Each) -> dict[str, Any] | None:
    """The content of `file`; None where it has anything odd, which is then told as a mistake of the whole text."""
    try:
        return _Pieces(file).content(each)
    except (_LimitError, ValueError, RecursionError):
        return None


class _Pieces:
    """Text of a JSON object of which a piece is in memory at a time.

    Raises ValueError for text that is no JSON object in UTF-8 whose keys differ, and _LimitError as `_require_limits`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._scan = json.JSONDecoder(parse_constant=_refuse).raw_decode
        self._text, self._place = "", 0
        self._at_end = self._suspicious = False

    def content(self, each: Each) -> dict[str, Any]:
        """The object."""
        found: dict[str, Any] = {}
        self._take("{")
        more = self._next() != "}"
        if not more:
            self._take("}")
        while more:
            key = self._value()
            if not isinstance(key, str) or key in found:
                raise ValueError
            self._take(":")
            found[key] = self._items(each[key]) if key in each and self._next() == "[" else self._value()
            more = self._take(",}") == ","
        if self._next():
            raise ValueError
        return found

    def _items(self, replace: Callable[[Any], Any]) -> list[Any]:
        found: list[Any] = []
        self._take("[")
        if self._next() == "]":
            self._take("]")
            return found
        while True:
            found.append(replace(self._value(depth=3)))
            if self._take(",]") == "]":
                return found

    def _value(self, depth: int = 2) -> Any:
        """The next value, at this depth, within the limits; what is beyond them may show in no single piece."""
        self._next()
        doubtful = self._suspicious
        while True:
            try:
                value, end = self._scan(self._text, self._place)
            except json.JSONDecodeError:
                end = None
            # What ends a piece may go on in the next one, as 12 and 1.
            if end is not None and (self._at_end or end + _AFTER_A_NUMBER <= len(self._text)):
                break
            if self._at_end:
                raise ValueError
            self._read_on()
            doubtful = True
        start, self._place = self._place, end
        if doubtful:
            text = self._text[start:end].encode()
            if _is_deep(text, rounds=_FEWER) or _has_odd_values(text):
                _require_limits(value, depth)
        return value

    def _take(self, expected: str) -> str:
        found = self._next()
        if not found or found not in expected:
            raise ValueError
        self._place += 1
        return found

    def _next(self) -> str:
        """The next character that is no white space, which is passed; "" at the end."""
        while (found := self._text[self._place : self._place + 1]) in _SPACE:
            if found:
                self._place += 1
            elif self._at_end:
                break
            else:
                self._read_on()
        return found

    def _read_on(self) -> None:
        """Adds a piece to what is left: at least as much again, so that a long value is scanned a few times only."""
        rest = self._text[self._place :]
        piece = self._file.read(max(_PIECE, len(rest)))
        self._at_end = not piece
        self._suspicious = _is_deep(piece, rounds=_FEWER, open_ends=_FEWER) or _has_odd_values(piece)
        self._text, self._place = rest + self._decoder.decode(piece, final=not piece), 0

"""The one reader of JSON objects, with limits: a file is untrusted, whether it comes from elsewhere or was ours.

What passes has finite numbers, integers that fit into 64 bits, text that can be a name, and no deep nesting, so that
nothing behind it can overflow, fail to be written, or exhaust the stack.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from yoso_cli.errors import DataError

_DEEPEST = 64
_LARGEST = 2**64 - 1

# Values are looked at one by one only where the text gives a reason to: large integers, large exponents and escaped
# surrogates show in it once every digit is a zero. That costs a hundredth of parsing it.
_SHAPE = bytes(ord("0") if chr(one).isdigit() and one < 128 else ord(chr(one).lower()) for one in range(128)) + bytes(
    range(128, 256)
)
_SUSPICIOUS = (b"0" * 19, b"0e000", b"0e+000", b"\\ud")
_NO_BRACKETS = bytes(one for one in range(256) if one not in b"[]{}")

# A byte of a file's name that is no UTF-8 is one of these in Python (PEP 383), and a name with it can be a file.
_NO_NAME = re.compile("[\ud800-\udc7f\udd00-\udfff]")


class _LimitError(ValueError):
    """What is beyond the limits; the message continues a file's name."""


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in the file `path`. Raises DataError as `parse_json`, or when it is missing or unreadable."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except ValueError:
        raise DataError(f"{path}: no file can have such a name.") from None
    return parse_json(text, str(path))


def parse_json(text: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `text`.

    Args:
        text: UTF-8, or another encoding of Unicode that shows in its first bytes.
        where: names it in what is raised.

    Raises:
        DataError: it is no JSON object; a number is not finite, or is an integer of more than 64 bits; it is nested
            more than 64 deep; or it has half of a surrogate pair, which no text has.
    """
    try:
        content = _within_limits(text)
    except UnicodeDecodeError:
        raise DataError(f"{where}: is not UTF-8 text.", hint="Fetch or write it again.") from None
    except json.JSONDecodeError as error:
        message = f"{where}: is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise DataError(message, hint="It may be truncated: download or write it again.") from None
    except RecursionError:
        raise DataError(f"{where}: is nested too deeply.") from None
    except _LimitError as error:
        raise DataError(f"{where}: {error}.", hint="It is damaged, or was written by a faulty tool.") from None
    if not isinstance(content, dict):
        raise DataError(
            f"{where}: is a {type(content).__name__}; a JSON object is expected.",
            hint="Panoptic results are an object with 'annotations'; a list is the format of detection results.",
        )
    return content


def _within_limits(text: bytes) -> Any:
    encoding = json.detect_encoding(text)
    decoded = text.decode(encoding)
    plain = text if encoding.startswith("utf-8") else decoded.encode()
    suspicious = _is_deep(plain) or any(one in plain.translate(_SHAPE) for one in _SUSPICIOUS)
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


def _is_deep(text: bytes) -> bool:
    """Whether brackets may be nested too deeply; those in strings count too."""
    brackets = text.translate(None, _NO_BRACKETS)
    # A round takes away one level or, where the two kinds take turns, two.
    for _ in range(_DEEPEST // 2):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)


def _require_limits(content: Any) -> None:
    waiting = [(content, 1)]
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

"""A CRC-32 in JSON files of our own, which have no checksum otherwise: a flipped bit in a digit is valid JSON.

It is the first entry, so that a gap cannot begin after it and take it along. Files of earlier versions lack it and are
read as they are; whoever edits a file removes the entry.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "crc32"

_BLOCK = 1 << 20


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON `values` behind their checksum: eight hexadecimal digits under KEY."""
    return {KEY: _checksum(values), **values}


def checked_line(values: Mapping[str, Any]) -> bytes:
    """`values` as a line of a file that grows, with their checksum."""
    return (json.dumps(with_checksum(values)) + "\n").encode()


def is_damaged(values: Mapping[str, Any], beside: str = KEY) -> bool:
    """Whether `values` as read from JSON have a checksum that does not fit them.

    Args:
        values: the JSON object.
        beside: a key that was added to them after the checksum.
    """
    if KEY not in values:
        return False
    try:
        return bool(values[KEY] != _checksum({key: value for key, value in values.items() if key not in (KEY, beside)}))
    except RecursionError:
        return True


def file_checksum(path: Path) -> str:
    """The CRC-32 of a file's content. Raises OSError when it cannot be read."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found = zlib.crc32(block, found)
    return f"{found:08x}"


def _checksum(values: Mapping[str, Any]) -> str:
    # What is read is written again just so: the order of keys is kept, and floats have one shortest form.
    return f"{zlib.crc32(json.dumps(values).encode()):08x}"

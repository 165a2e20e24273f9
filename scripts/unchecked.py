"""What checksums cost: PNGs read as if nobody compared their CRCs, for the benches."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

from yoso_cli.panoptic import photos, png_chunks


@contextmanager
def without_checksums() -> Iterator[None]:
    """In the block no CRC of a PNG's chunks is computed, in this process and its forks."""
    # It is equal to every number.
    plain = SimpleNamespace(**{**vars(zlib), "crc32": lambda *_: mock.ANY})
    with mock.patch.object(png_chunks, "zlib", plain), mock.patch.object(photos, "require_checksums"):
        yield

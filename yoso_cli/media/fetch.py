"""A picture from a URL: bounded in size and time, and nothing is kept on disk."""

import time
from io import BytesIO
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.panoptic.photos import decode_image
from yoso_cli.panoptic.types import Rgb

_MOST_BYTES = 256 * 2**20
_CHUNK = 2**18
# Seconds: of silence, and in all. A server that sends a byte a second is never silent.
_SILENCE = 30.0
_IN_ALL = 300.0


def require_web_address(url: str) -> None:
    """Raises UsageError unless it starts with https:// or http:// and names a host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"{url}: is not a valid URL.", hint="It must start with https:// or http://.")


def fetch_image(url: str) -> Rgb:
    """The picture at an http or https address, uint8 (H, W, 3).

    Raises:
        UsageError: another kind of address.
        RunError: it cannot be reached, or takes more than five minutes.
        DataError: it is larger than 256 MiB, or no picture.
    """
    require_web_address(url)
    until = time.monotonic() + _IN_ALL
    content = bytearray()
    try:
        with urlopen(url, timeout=_SILENCE) as response:  # noqa: S310  the scheme is one of two
            while chunk := response.read1(_CHUNK):
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise DataError(f"{url}: is larger than the limit of {_MOST_BYTES // 2**20} MiB.")
                if time.monotonic() > until:
                    raise RunError(f"{url}: is not complete after {_IN_ALL:.0f} s.", hint="Download it by itself.")
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise RunError(f"{url}: cannot be read: {reason}.", hint="Check the URL and the network connection.") from error
    return decode_image(BytesIO(content), url)

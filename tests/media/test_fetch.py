"""A picture from a URL comes within limits of size and time, or is refused by name."""

import io

import numpy as np
import pytest
from PIL import Image
from releases.server import Behaviour, serving

from yoso_cli.errors import DataError, RunError
from yoso_cli.media import fetch


def picture() -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(content, format="PNG")
    return content.getvalue()


def test_a_picture_is_fetched() -> None:
    with serving(Behaviour(picture())) as address:
        assert fetch.fetch_image(f"{address}a.png").reshape(-1).tolist() == list(range(60))


def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_MOST_BYTES", 10_000)
    with serving(Behaviour(bytes(1_000_000), length=False)) as address, pytest.raises(DataError, match="larger than"):
        fetch.fetch_image(f"{address}a.png")


def test_a_slow_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_IN_ALL", -1.0)
    with serving(Behaviour(picture())) as address, pytest.raises(RunError, match="is not complete after"):
        fetch.fetch_image(f"{address}a.png")


def test_a_server_that_refuses_or_is_not_there_is_named() -> None:
    refusing = Behaviour(picture(), statuses=[404])
    with serving(refusing) as address, pytest.raises(RunError, match=r"a\.png: cannot be read: "):
        fetch.fetch_image(f"{address}a.png")
    with pytest.raises(RunError, match="cannot be read"):
        fetch.fetch_image(f"{address}a.png")


def test_what_is_no_picture_is_named_by_its_address() -> None:
    with serving(Behaviour(b"<html>")) as address, pytest.raises(DataError, match=r"^http.*a\.png: is not a picture"):
        fetch.fetch_image(f"{address}a.png")

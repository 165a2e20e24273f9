"""Sheets of pictures of any shape: bounded, and with something of each picture in them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.drawing.picture_file import write_picture
from yoso_cli.drawing.sheet import bounded, sheet
from yoso_cli.errors import DataError

EDGES = st.sampled_from([1, 2, 7, 300, 3000, 70_000])


@settings(max_examples=20)
@given(st.tuples(EDGES, EDGES).filter(lambda size: size[0] * size[1] <= 10**7))
def test_a_picture_of_any_shape_has_its_place(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), (200, 30, 40), np.uint8)
    page = sheet([[picture, picture]], ["a", "b"])
    assert page.nbytes < 100e6
    red = (page[..., 0] > 150) & (page[..., 1] < 90)
    middle = page.shape[1] // 2
    assert red[:, :middle].any()
    assert red[:, middle:].any()


def test_small_pictures_are_not_changed() -> None:
    picture = np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)
    assert bounded(picture) is picture


def test_a_large_picture_keeps_its_shape() -> None:
    assert bounded(np.zeros((3000, 6000, 3), np.uint8)).shape == (1024, 2048, 3)


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1)])
def test_a_jpeg_that_cannot_be_is_told(tmp_path: object, size: tuple[int, int]) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    picture = np.zeros((*size, 3), np.uint8)
    with pytest.raises(DataError, match=r"at most 65,500\. Use a name that ends in \.png"):
        write_picture(folder / "long.jpg", picture)
    assert not list(folder.iterdir())
    write_picture(folder / "long.png", picture)

"""Instance numbers with the class in them are read as is said, and asked about where nothing is said."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.conversion.number_encoding import EXAMPLES, NumberEncoding, require_plain
from yoso_cli.errors import DataError, UsageError

WHERE = Path("instance/a.png")
CLASSES = np.array([[7, 7, 26, 26, 26, 0]], np.int32)
NUMBERS = np.array([[0, 0, 0, 1, 2, 0]], np.int32)


def encoded(text: str) -> np.ndarray:
    """CLASSES and NUMBERS as the encoding has them."""
    if text == "class*1000+number":
        return np.where(NUMBERS > 0, CLASSES * 1000 + NUMBERS - 1, CLASSES)
    if text == "number*256+class":
        return NUMBERS * 256 + CLASSES
    return CLASSES * int(text.split("*")[1].split("+")[0]) + NUMBERS


@pytest.mark.parametrize("text", ["class*256+number", "class*1000+number", "number*256+class"])
def test_an_encoding_is_asked_about_and_undone(text: str) -> None:
    values = encoded(text)
    with pytest.raises(UsageError, match="its values look like") as caught:
        require_plain(values, CLASSES, WHERE)
    assert f"--instance-encoding '{text}'" in caught.value.hint
    assert NumberEncoding.of(text).decoded(values).tolist() == NUMBERS.tolist()


def test_any_factor_can_be_named() -> None:
    assert NumberEncoding.of("class*65536+number").decoded(encoded("class*65536+number")).tolist() == NUMBERS.tolist()
    assert str(NumberEncoding.of(" Class * 512 + number")) == "class*512+number"
    assert NumberEncoding.of("number").decoded(NUMBERS) is NUMBERS


@pytest.mark.parametrize("text", ["", "class", "class*0+number", "class*1+number", "26*256+n", "class*99999999+number"])
def test_what_is_no_encoding_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--instance-encoding") as caught:
        NumberEncoding.of(text)
    assert all(one in caught.value.hint for one in EXAMPLES)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2**24 - 1)), min_size=1, max_size=60))
def test_plain_numbers_are_not_asked_about_unless_all_have_their_class(pixels: list[tuple[int, int]]) -> None:
    classes, values = (np.array([column], np.int32) for column in zip(*pixels, strict=True))
    held = values > 0
    first = any(((values // n == classes) | (values == classes))[held].all() for n in (256, 1000))
    if first or (values % 256 == classes)[held].all():
        return
    require_plain(values, classes, WHERE)


def test_a_single_odd_pixel_makes_them_plain() -> None:
    values = np.tile(encoded("class*256+number"), (9, 9))
    classes = np.tile(CLASSES, (9, 9))
    values[3, 4] += 256
    require_plain(values, classes, WHERE)


@pytest.mark.parametrize("text", ["class*256+number", "class*1000+number", "number*256+class"])
def test_an_encoding_that_does_not_fit_is_refused(text: str) -> None:
    """Where a class is void its values mean nothing."""
    encoding, values = NumberEncoding.of(text), encoded(text)
    encoding.require_fit(values, CLASSES, {7, 26}, WHERE)
    encoding.require_fit(np.where(CLASSES == 7, 12_345, values), CLASSES, {26}, WHERE)
    with pytest.raises(DataError, match=r"is not .*: the value 3 is at pixels of the class 26 \(1 pixels"):
        encoding.require_fit(np.where(NUMBERS == 2, 3, values), CLASSES, {7, 26}, WHERE)
    NumberEncoding().require_fit(values, CLASSES, {7, 26}, WHERE)

"""The size of a photo from its header alone."""

import io

import numpy as np
import pytest
from PIL import Image

from yoso_cli.panoptic.files import photo_size


def content_of(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8))
EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010E] = 6, "long " * 5000


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "exif": EXIF}),
        ("JPEG", {"icc_profile": bytes(70_000)}),
        ("PNG", {}),
        ("WEBP", {}),
    ],
)
def test_it_is_what_is_stored_whatever_stands_before_it(kind, options):
    """A turn that EXIF asks for is not made: label maps are as wide as the photo is stored."""
    assert photo_size(io.BytesIO(content_of(PHOTO, kind, **options))) == (37, 53)


def test_grey_photos_have_a_size_too():
    assert photo_size(io.BytesIO(content_of(PHOTO.convert("L"), "JPEG"))) == (37, 53)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\xff\xd8", b"\xff\xd8\xff\xe0\xff\xff", b"\xff\xd8\x00\x00\x00\x08"]
)
def test_what_is_no_photo_is_an_error_of_the_files(content):
    with pytest.raises(OSError, match=r"cannot identify|Truncated"):
        photo_size(io.BytesIO(content))


def test_a_jpeg_whose_header_is_cut_short_is_an_error_or_has_its_size():
    whole = content_of(PHOTO, "JPEG")
    for length in range(2, 400, 7):
        try:
            assert photo_size(io.BytesIO(whole[:length])) == (37, 53)
        except (OSError, SyntaxError, ValueError):
            assert length < 300


def test_the_file_is_closed(tmp_path):
    path = tmp_path / "a.jpg"
    PHOTO.save(path)
    file = path.open("rb")
    photo_size(file)
    assert file.closed

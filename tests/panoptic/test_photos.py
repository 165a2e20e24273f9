"""Photos: of every kind that people have, as a viewer shows them; anything else is refused, and starts nothing."""

import io

import numpy as np
import pytest
from PIL import Image

from yoso_cli.errors import DataError
from yoso_cli.panoptic.photos import opened_photo, photo_size, read_image


def test_a_picture_is_read_as_rgb_whatever_its_mode(tmp_path):
    for mode in ("L", "P", "RGBA", "CMYK", "1", "LA", "I;16"):
        path = tmp_path / f"a.{'tif' if mode in ('CMYK', 'I;16') else 'png'}"
        Image.new(mode, (5, 4)).save(path)
        image = read_image(path)
        assert (image.dtype, image.shape) == (np.uint8, (4, 5, 3))


def test_16_bit_grey_is_scaled_not_cut_off(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 127, 255]


def test_a_palette_picture_with_transparency_is_read_without_a_warning(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [10, 20, 30]


def test_a_photo_is_turned_as_its_camera_was(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (8, 4, 3)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b"hello", "not a picture"), (b"", "not a picture")]
)
def test_an_unreadable_picture_is_named(tmp_path, content, words):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.jpg: .*{words}"):
        read_image(path)


def test_a_photo_cut_short_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DataError, match=r"a\.jpg: is truncated or damaged"):
        read_image(path)


def test_a_byte_changed_in_a_png_photo_is_noticed_wherever_it_is(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"a\.png: "):
            read_image(path)
    path.write_bytes(whole[:-12])
    with pytest.raises(DataError, match="the end chunk is missing"):
        read_image(path)


def test_what_a_camera_appends_to_a_png_photo_does_no_harm(tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes() + b"a video, say")
    assert read_image(tmp_path / "b.png").shape == (4, 5, 3)


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
    assert photo_size(io.BytesIO(content_of(PHOTO, kind, **options)), "it") == (37, 53)


def test_grey_photos_have_a_size_too():
    assert photo_size(io.BytesIO(content_of(PHOTO.convert("L"), "JPEG")), "it") == (37, 53)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\xff\xd8", b"\xff\xd8\xff\xe0\xff\xff", b"\xff\xd8\x00\x00\x00\x08"]
)
def test_what_is_no_photo_is_refused_by_name(content):
    with pytest.raises(DataError, match=r"^it: is (not a picture|truncated)"):
        photo_size(io.BytesIO(content), "it")


def test_a_jpeg_whose_header_is_cut_short_is_an_error_or_has_its_size():
    whole = content_of(PHOTO, "JPEG")
    for length in range(2, 400, 7):
        try:
            assert photo_size(io.BytesIO(whole[:length]), "it") == (37, 53)
        except DataError:
            assert length < 300


def test_the_file_is_closed(tmp_path):
    path = tmp_path / "a.jpg"
    PHOTO.save(path)
    file = path.open("rb")
    photo_size(file, "it")
    assert file.closed


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n{ } loop\n"


@pytest.mark.parametrize("name", ["a.jpg", "a.eps", "a.png"])
def test_postscript_is_no_photo_whatever_it_is_called(tmp_path, monkeypatch, name):
    """Pillow would hand it to Ghostscript, a program that runs what is in it."""

    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", started)
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.raises(DataError, match="is not a picture in a supported format"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "MPO", "JPEG2000"])
def test_the_kinds_that_people_have_are_read(tmp_path, kind):
    (tmp_path / "a").write_bytes(content_of(PHOTO, kind))
    assert read_image(tmp_path / "a").shape == (37, 53, 3)


def test_more_pixels_than_a_photo_has_are_refused_before_they_are_decoded(tmp_path):
    Image.new("1", (20_000, 10_000)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="178 million"):
        read_image(tmp_path / "a.png")


def test_a_picture_is_opened_without_its_pixels(tmp_path):
    PHOTO.save(tmp_path / "a.jpg")
    with opened_photo(tmp_path / "a.jpg", "a.jpg") as image:
        assert image.size == (53, 37)

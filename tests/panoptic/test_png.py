"""The PNG codec: the values as stored, whatever decodes and compresses them, and a name for whatever is wrong."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from yoso_cli.errors import DataError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.png import Kind

SIZES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
GREY8 = hnp.arrays(np.uint8, SIZES)
GREY16 = hnp.arrays(np.uint16, SIZES)
RGB = hnp.arrays(np.uint8, SIZES.map(lambda shape: (*shape, 3)))
PALETTE = [(i, 255 - i, i // 2) for i in range(256)]


@pytest.fixture(params=["fast", "pillow alone"])
def machine(request, monkeypatch):
    """A machine with the accelerators, and one without."""
    if request.param == "pillow alone":
        without_accelerators(monkeypatch)
    return request.param


def without_accelerators(monkeypatch):
    monkeypatch.setattr(png, "_kornia_io", lambda: None)
    monkeypatch.setattr(png, "_zlib_ng", lambda: None)


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def of_pillow(content):
    with Image.open(io.BytesIO(content)) as image:
        return image.mode, np.array(image)


def indexed(indices, colors=256):
    image = Image.fromarray(indices)
    image.putpalette([part for color in PALETTE[:colors] for part in color])
    return image


@given(st.one_of(GREY8, GREY16, RGB))
def test_what_is_encoded_is_decoded_by_pillow_and_here_by_either_way(pixels):
    mode = {(2, 1): "L", (2, 2): "I;16", (3, 1): "RGB"}[pixels.ndim, pixels.itemsize]
    for fast in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not fast:
                without_accelerators(patch)
            content = png.encode(pixels)
            found = png.decode(content, "a.png")
        assert (found.dtype, found.shape) == (pixels.dtype, pixels.shape)
        assert np.array_equal(found, pixels)
        pillow_mode, pillow = of_pillow(content)
        assert pillow_mode == mode
        assert np.array_equal(pillow, pixels)


@given(st.one_of(GREY8, GREY16, RGB))
def test_what_pillow_saves_is_decoded_by_either_way(pixels):
    content = saved(Image.fromarray(pixels))
    for fast in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not fast:
                without_accelerators(patch)
            assert np.array_equal(png.decode(content, "a.png"), pixels)


def test_a_palette_is_kept_as_indices(machine):
    indices = np.arange(60, dtype=np.uint8).reshape(6, 10)
    content = png.encode(indices, PALETTE)
    assert png.header(content, "a.png").kind is Kind.PALETTE
    assert np.array_equal(png.decode(content, "a.png", Kind.PALETTE), indices)
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((3, 2)) == PALETTE[23]
    assert np.array_equal(png.decode(saved(indexed(indices)), "a.png", Kind.PALETTE), indices)


@pytest.mark.parametrize("colors", [2, 4, 16])
def test_small_palettes_are_kept_as_indices_too(machine, colors):
    """Pillow packs a palette of 16 colours or fewer into less than a byte."""
    indices = (np.arange(35, dtype=np.uint8) % colors).reshape(5, 7)
    content = saved(indexed(indices, colors))
    assert png.header(content, "a.png").depth < 8
    assert np.array_equal(png.decode(content, "a.png"), indices)


def test_an_interlaced_png_is_read(machine):
    # Written by hand: neither Pillow nor the encoder interlaces. One pixel lies in the first of the seven passes.
    ihdr = b"\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x01"
    content = png.SIGNATURE + png._chunk(b"IHDR", ihdr) + png._chunk(b"IDAT", zlib.compress(b"\x00\x2a"))
    assert png.decode(content + png._chunk(b"IEND", b""), "a.png").tolist() == [[42]]


def test_decoded_pixels_may_be_worked_on_in_place(machine):
    for pixels in (np.ones((3, 4), np.uint8), np.ones((3, 4), np.uint16), np.ones((3, 4, 3), np.uint8)):
        found = png.decode(png.encode(pixels), "a.png")
        found += 1
        assert (found == 2).all()


def test_a_strided_map_is_encoded_as_it_looks():
    pixels = np.arange(48, dtype=np.uint16).reshape(6, 8) * 999
    assert np.array_equal(png.decode(png.encode(pixels[::2, ::-1]), "a.png"), pixels[::2, ::-1])


KINDS = {
    "an 8-bit grey": Image.new("L", (4, 4)),
    "a 16-bit grey": Image.fromarray(np.zeros((4, 4), np.uint16)),
    "an 8-bit palette": indexed(np.arange(100, dtype=np.uint8).reshape(10, 10)),
    "an 8-bit RGB": Image.new("RGB", (4, 4)),
    "a 1-bit grey": Image.new("1", (4, 4)),
    "an 8-bit RGB with alpha": Image.new("RGBA", (4, 4)),
    "an 8-bit grey with alpha": Image.new("LA", (4, 4)),
}


@pytest.mark.parametrize("expected", Kind)
@pytest.mark.parametrize("name", KINDS)
def test_another_kind_than_expected_is_named(tmp_path, name, expected):
    """Also a 16-bit map that became 8-bit, and a palette that was expanded: never read as something else."""
    path = tmp_path / "a.png"
    path.write_bytes(saved(KINDS[name]))
    if png.read_header(path).kind is expected:
        assert png.read(path, expected).ndim >= 2
        return
    for reader in (png.read, png.read_header):
        with pytest.raises(DataError, match=rf"a\.png: is {name} PNG where .* is expected") as caught:
            reader(path, expected)
        assert str(expected) in caught.value.message
        assert caught.value.hint


def test_one_of_several_kinds_will_do():
    content = png.encode(np.zeros((2, 2), np.uint8))
    assert png.decode(content, "a.png", Kind.PALETTE, Kind.GREY8).shape == (2, 2)
    with pytest.raises(DataError, match="where palette or 16-bit grey is expected"):
        png.decode(content, "a.png", Kind.PALETTE, Kind.GREY16)


@pytest.mark.parametrize("pixels", [np.full((40, 30), 7, np.uint8), np.full((40, 30, 3), 7, np.uint8)])
def test_a_png_cut_short_anywhere_is_named_or_still_whole(machine, pixels):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, pixels.shape, dtype=np.uint8)
    whole = png.encode(pixels)
    for length in [*range(60), *range(60, len(whole), 131), *range(len(whole) - 20, len(whole))]:
        with pytest.raises(DataError, match=r"^a\.png: "):
            png.decode(whole[:length], "a.png")


MAPS = {
    "grey": png.encode(np.arange(96, dtype=np.uint8).reshape(8, 12)),
    "16-bit": png.encode(np.arange(96, dtype=np.uint16).reshape(8, 12) * 97),
    "palette": png.encode(np.arange(96, dtype=np.uint8).reshape(8, 12), PALETTE),
    "RGB": png.encode(np.arange(288, dtype=np.uint8).reshape(8, 12, 3)),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_changed_byte_is_noticed_wherever_it_is(machine, capfd, name):
    whole, random = MAPS[name], np.random.default_rng(1)
    for place in range(len(whole)):
        for change in (1 << int(random.integers(8)), int(random.integers(1, 256))):
            damaged = bytearray(whole)
            damaged[place] ^= change
            with pytest.raises(DataError, match=r"^a\.png: is (truncated or damaged|not a PNG|an? .* PNG where)"):
                png.decode(bytes(damaged), "a.png")
    assert "panicked" not in capfd.readouterr().err


@given(st.sampled_from(sorted(MAPS)), st.data())
def test_what_is_cut_out_put_in_or_swapped_is_noticed(name, data):
    whole = MAPS[name]
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    between = data.draw(st.binary(max_size=40))
    damaged = whole[:first] + between + whole[last:]
    if damaged == whole:
        return
    for fast in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not fast:
                without_accelerators(patch)
            with pytest.raises(DataError, match=r"^a\.png: "):
                png.decode(damaged, "a.png")


def test_a_png_that_goes_on_after_its_end_is_refused(machine):
    with pytest.raises(DataError, match="12 bytes follow its end"):
        png.decode(MAPS["RGB"] + png._chunk(b"IEND", b""), "a.png")


def in_parts(content, count):
    """The same PNG with its pixels in so many chunks."""
    start = content.index(b"IDAT") - 4
    (size,) = struct.unpack(">I", content[start : start + 4])
    pixels = content[start + 8 : start + 8 + size]
    cuts = [round(size * part / count) for part in range(count + 1)]
    chunks = [png._chunk(b"IDAT", pixels[a:b]) for a, b in itertools.pairwise(cuts)]
    return content[:start], chunks, content[start + 12 + size :]


@pytest.mark.parametrize("name", MAPS)
def test_pixels_in_several_chunks_are_read_and_a_missing_or_swapped_one_is_noticed(machine, name):
    before, chunks, after = in_parts(MAPS[name], 5)
    told = png.decode(MAPS[name], "a.png")
    assert np.array_equal(png.decode(b"".join([before, *chunks, after]), "a.png"), told)
    for order in itertools.chain(itertools.combinations(range(5), 4), itertools.permutations(range(5))):
        if order != (0, 1, 2, 3, 4):
            with pytest.raises(DataError, match=r"a\.png: is truncated or damaged"):
                png.decode(b"".join([before, *(chunks[part] for part in order), after]), "a.png")
    with pytest.raises(DataError, match="pixels are missing"):
        png.decode(b"".join([before, *chunks[:2], png._chunk(b"tEXt", b"a\0b"), *chunks[2:], after]), "a.png")


@pytest.mark.parametrize("name", MAPS)
def test_the_checksum_of_the_pixels_is_compared_too(machine, name):
    """Where it is the only one that differs: in several chunks always, in a single one whose CRC is right if asked."""
    before, (pixels,), after = in_parts(MAPS[name], 1)
    wrong = png._chunk(b"IDAT", pixels[8:-5] + bytes([pixels[-5] ^ 1]))
    damaged = b"".join([before, wrong, after])
    with pytest.raises(DataError, match=r"a\.png: is truncated or damaged"):
        png.require_intact(damaged, "a.png")
    png.require_intact(MAPS[name], "a.png")
    before, chunks, after = in_parts(damaged, 2)
    with pytest.raises(DataError, match=r"a\.png: is truncated or damaged"):
        png.decode(b"".join([before, *chunks, after]), "a.png")


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (20_000, 1), (5, 4)])
def test_a_header_that_promises_more_than_the_file_holds_is_not_believed(machine, size):
    height, width = size
    content = bytearray(png.encode(np.zeros((4, 4), np.uint8)))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    with pytest.raises(DataError, match=r"a\.png: is truncated or damaged"):
        png.decode(bytes(content), "a.png")


def test_what_is_no_png_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        png.read(tmp_path / "gone.png")
    with pytest.raises(DataError, match="cannot be read"):
        png.read_header(tmp_path)
    for content in (b"", b"\x89PNG", saved(Image.new("L", (4, 4)))[1:]):
        with pytest.raises(DataError, match="is not a PNG"):
            png.decode(content, "a.png")


def test_label_maps_become_about_as_small_as_pillow_makes_them():
    random = np.random.default_rng(0)
    pixels = np.kron(random.integers(0, 256, (12, 16, 3)), np.ones((23, 31, 1))).astype(np.uint8)
    assert len(png.encode(pixels)) < 1.3 * len(saved(Image.fromarray(pixels)))


@given(RGB, st.sets(st.sampled_from(range(3))))
def test_rgb_by_planes_is_the_same_file_as_rgb_at_once(pixels, empty):
    for channel in empty:
        pixels[..., channel] = 0
    planes = [None if channel in empty else lambda channel=channel: pixels[..., channel] for channel in range(3)]
    assert png.encode_rgb(planes, *pixels.shape[:2]) == png.encode(pixels)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4), np.uint8), np.zeros((3, 4), np.uint16)],
    ids=lambda pixels: f"{pixels.ndim}-{pixels.dtype}",
)
def test_the_fast_decoder_is_used_where_it_is_installed(pixels: png.Pixels) -> None:
    """A release that is called otherwise would leave all of it to Pillow, unnoticed and several times slower."""
    pytest.importorskip("kornia_rs")
    content = png.encode(pixels)
    assert png._decode_kornia(content, png.header(content, "a.png")) is not None

"""Files of label maps: names as tools make them, and values exactly as they are stored or not at all."""

from pathlib import Path

import numpy as np
import pytest
from conversion import raw
from PIL import Image

from yoso_cli.conversion.label_files import find_maps, likely_endings, read_map
from yoso_cli.conversion.maps import MapFiles, MapsReader, open_maps, read_classes, read_numbers
from yoso_cli.errors import DataError, UsageError

GREY = np.array([[0, 7, 200], [3, 255, 9]], np.uint8)
DEEP = np.array([[0, 700, 20_000], [3, 65_535, 9]], np.uint16)


def save(path: Path, pixels: np.ndarray, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


@pytest.mark.parametrize("name", ["a.png", "A.PNG", "a.bmp", "a.tif", "a.TIFF"])
def test_lossless_files_give_their_values(tmp_path: Path, name: str) -> None:
    assert read_classes(save(tmp_path / name, GREY)).tolist() == GREY.tolist()
    assert read_numbers(tmp_path / name).tolist() == GREY.tolist()


def test_sixteen_bits_of_a_tiff_are_kept(tmp_path: Path) -> None:
    assert read_classes(save(tmp_path / "a.tif", DEEP)).tolist() == DEEP.tolist()
    assert read_classes(save(tmp_path / "b.tif", DEEP, compression="tiff_lzw")).tolist() == DEEP.tolist()
    assert read_numbers(save(tmp_path / "c.tif", DEEP.astype(np.int32))).tolist() == DEEP.tolist()


def test_a_palette_gives_its_indices(tmp_path: Path) -> None:
    image = Image.fromarray(GREY)
    image.putpalette([value for index in range(256) for value in (255 - index, 7, index)])
    for name in ("a.bmp", "a.tif", "a.png"):
        image.save(tmp_path / name)
        assert read_classes(tmp_path / name).tolist() == GREY.tolist()


def test_lossless_webp_is_read_and_lossy_webp_is_not(tmp_path: Path) -> None:
    rgb = np.repeat(GREY[..., None], 3, 2)
    assert read_classes(save(tmp_path / "a.webp", rgb, lossless=True)).tolist() == GREY.tolist()
    with pytest.raises(DataError, match=r"b\.webp: is a lossy WebP, which does not keep the values"):
        read_classes(save(tmp_path / "b.webp", rgb, quality=100))


@pytest.mark.parametrize(("name", "words"), [("a.jpg", "is a JPEG"), ("a.JPEG", "is a JPEG"), ("a.gif", "is a GIF")])
def test_a_lossy_map_is_refused_with_the_reason(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_map(save(tmp_path / name, GREY))


def test_a_jpeg_within_a_tiff_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a TIFF with jpeg compression"):
        read_classes(save(tmp_path / "a.tif", np.zeros((16, 16), np.uint8), compression="jpeg"))


def test_colours_and_fractions_are_no_ids(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is 8-bit RGB|is RGB where 8-bit grey"):
        read_classes(save(tmp_path / "a.bmp", np.dstack([GREY, GREY, GREY + 1])))
    with pytest.raises(DataError, match="is floating-point where"):
        read_classes(save(tmp_path / "a.tif", GREY.astype(np.float32)))


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.bmp", np.zeros((40, 40), np.uint8))
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(DataError, match="is truncated or damaged"):
        read_classes(path)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._a.png", "__MACOSX/a.png"])
def test_what_file_managers_leave_is_passed_over(tmp_path: Path, name: str) -> None:
    save(tmp_path / "a.png", GREY)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    found = find_maps(tmp_path, what="semantic maps")
    assert (found.by_stem, found.others) == ({"a": "a.png"}, ())


@pytest.mark.parametrize(
    ("photos", "maps", "endings"),
    [
        (["a", "b"], ["a_mask", "b_mask"], ("", "_mask")),
        (["a"], ["a.seg"], ("", ".seg")),
        (["1", "2", "12"], ["1mask", "2mask", "12mask"], ("", "mask")),
        (["city/a", "city/b"], ["city/a_labelIds", "city/b_labelIds"], ("", "_labelIds")),
        (["1_sat", "22_sat"], ["1_mask", "22_mask"], ("_sat", "_mask")),
        (["a_img", "b_img"], ["a", "b"], ("_img", "")),
        (["a", "b"], ["x", "y"], None),
        (["a"], [], None),
    ],
)
def test_endings_are_told_from_names(photos: list[str], maps: list[str], endings: tuple[str, str] | None) -> None:
    assert likely_endings(photos, maps) == endings


def opened(folder: Path, how: MapFiles | None = None) -> MapsReader:
    return open_maps(raw.TABLE, folder / "images", folder / "semantic", folder / "instances", how)


def write(folder: Path, photo: str, semantic: str, instances: str) -> Path:
    raw.write_photo(folder / "images" / photo)
    raw.write_map(folder / "semantic" / semantic, raw.SEMANTIC, np.uint8)
    raw.write_map(folder / "instances" / instances, raw.INSTANCES)
    return folder


@pytest.mark.parametrize(
    ("names", "hint", "how"),
    [
        (("a.JPG", "a_mask.png", "a_mask.png"), "--suffix _mask", MapFiles("", "_mask", "_mask")),
        (("a.JpEg", "a_s.PNG", "a_i.png"), "--suffix _s,_i", MapFiles("", "_s", "_i")),
        (("a.jpg", "a.png", "a_i.png"), "--suffix ,_i", MapFiles("", "", "_i")),
    ],
)
def test_an_unknown_ending_is_told_with_the_option(
    tmp_path: Path, names: tuple[str, str, str], hint: str, how: MapFiles
) -> None:
    write(tmp_path, *names)
    with pytest.raises(UsageError) as caught:
        opened(tmp_path)
    assert caught.value.hint == f"Add {hint}."
    found = opened(tmp_path, how)
    assert (found.problems, len(found.pictures)) == ((), 1)
    assert len(found.read(found.pictures[0])[0].segments) == 6


def test_photos_may_have_an_ending_too(tmp_path: Path) -> None:
    for name in ("1", "22"):
        write(tmp_path, f"{name}_sat.jpg", f"{name}_mask.png", f"{name}_mask.png")
    with pytest.raises(UsageError, match="--suffix _mask --image-suffix _sat"):
        opened(tmp_path)
    found = opened(tmp_path, MapFiles("_sat", "_mask", "_mask"))
    assert [picture.image_file for picture in found.pictures] == ["1_sat.jpg", "22_sat.jpg"]


def test_maps_may_lie_among_the_photos(tmp_path: Path) -> None:
    stuff = raw.CategoryTable.of([raw.TABLE.categories[0], raw.TABLE.categories[3]])
    raw.write_photo(tmp_path / "a.jpg")
    raw.write_map(tmp_path / "a.png", np.full((4, 6), raw.ROAD))
    found = open_maps(stuff, tmp_path, tmp_path, tmp_path)
    assert (found.problems, [one.image_file for one in found.pictures]) == ((), ["a.jpg"])
    (tmp_path / "a.png").rename(tmp_path / "a_mask.png")
    found = open_maps(stuff, tmp_path, tmp_path, tmp_path, MapFiles("", "_mask", "_mask"))
    assert (found.problems, [one.image_file for one in found.pictures]) == ((), ["a.jpg"])


def test_a_lossy_map_is_not_called_missing(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "a.png", "a.png")
    (tmp_path / "semantic" / "a.png").unlink()
    save(tmp_path / "semantic" / "a.jpg", np.array(raw.SEMANTIC, np.uint8))
    found = opened(tmp_path)
    assert found.problems == ()
    with pytest.raises(DataError, match="is a JPEG"):
        found.read(found.pictures[0])

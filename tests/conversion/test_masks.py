"""A file for each object, in the layouts that tools write."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conversion import raw
from conversion.drawn import read_all
from PIL import Image

from yoso_cli.conversion.convert import InformationLoss
from yoso_cli.conversion.masks import MasksReader, open_masks, read_mask_file
from yoso_cli.errors import DataError

HEIGHT, WIDTH = 6, 8


def mask(left: int, right: int) -> npt.NDArray[np.uint8]:
    found = np.zeros((HEIGHT, WIDTH), np.uint8)
    found[:, left:right] = 255
    return found


def write_masks(folder: Path, photo: str, masks: dict[str, npt.NDArray[np.uint8]]) -> Path:
    raw.write_photo(folder / photo, HEIGHT, WIDTH)
    for name, pixels in masks.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


def opened(folder: Path) -> MasksReader:
    found = open_masks(folder, None, None)
    assert not found.problems
    return found


def described(reader: MasksReader) -> list[list[tuple[str, int]]]:
    names = {category.id: category.name for category in reader.table.categories}
    return [[(names[one.category_id], one.area) for one in panoptic.segments] for panoptic, _ in read_all(reader)]


HASHES = ("0acd2c223d300ea55d0546797713851e818e5c697d073b7f4091b96ce0f3d2fe", "12", "b40af3ab49ea6a28f45a1a9a0bb5ce2b")


def test_the_data_science_bowl(tmp_path: Path) -> None:
    masks = {f"{HASHES[2]}/masks/{name}.png": mask(place, place + 1) for place, name in enumerate(HASHES)}
    write_masks(tmp_path, f"{HASHES[2]}/images/{HASHES[2]}.png", masks)
    raw.write_photo(tmp_path / "test/images/test.png")
    reader = opened(tmp_path)
    assert described(reader) == [[("object", 6)] * 3]
    assert any("1 photo without labels left out" in remark for remark in reader.remarks)


@pytest.mark.parametrize(
    "names",
    [
        ("masks/x/a/car_1.png", "masks/x/a/car_2.png", "masks/x/a/traffic light.png"),
        ("masks/x/a/001-car.png", "masks/x/a/002-car.png", "masks/x/a/003-traffic light.png"),
        ("masks/x/a_car_1.png", "masks/x/a_car_2.png", "masks/x/a_traffic light_1.png"),
        ("x/a_car_1.png", "x/a_car_2.png", "x/a_traffic light_1.png"),
    ],
)
def test_classes_in_the_names_of_files(tmp_path: Path, names: tuple[str, ...]) -> None:
    masks = {name: mask(2 * place, 2 * place + 1) for place, name in enumerate(names)}
    reader = opened(write_masks(tmp_path, "images/x/a.jpg", masks))
    assert described(reader) == [[("car", 6), ("car", 6), ("traffic light", 6)]]


def test_overlap_goes_to_the_smaller_one_and_strays_are_told(tmp_path: Path) -> None:
    masks = {"masks/a/car_1.png": mask(0, 6), "masks/a/car_2.png": mask(4, 8), "masks/b/car.png": mask(0, 1)}
    reader = opened(write_masks(tmp_path, "images/a.jpg", masks))
    ((panoptic, losses),) = read_all(reader)
    assert [one.area for one in panoptic.segments] == [24, 24]
    assert +losses == {InformationLoss.OVERLAP: 12}
    assert any("masks of no picture are left out: 1 (b/car.png)" in remark for remark in reader.remarks)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_a_mask_in_any_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "m.png"
    if mode == "I;16":
        Image.fromarray((mask(2, 5).astype(np.uint16)) * 257).save(path)
    else:
        Image.fromarray(mask(2, 5)).convert(mode).save(path)
    assert np.array_equal(read_mask_file(path), mask(2, 5) > 0)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.arange(48, dtype=np.uint8).reshape(6, 8), "has more than two values, 0 and another one"),
        (np.where(mask(2, 5), 3, 200).astype(np.uint8), "has more than two values"),
        (mask(2, 5)[:-1], "is 8x5 where other masks of its picture are 8x6"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, pixels: npt.NDArray[np.uint8], words: str) -> None:
    folder = write_masks(tmp_path, "images/a.jpg", {"masks/a/car_1.png": mask(0, 1), "masks/a/car_2.png": pixels})
    with pytest.raises(DataError, match=words):
        read_all(opened(folder))


def test_a_mask_of_another_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """A header alone, with its checksum right, may claim 81 million pixels."""
    path = tmp_path / "m.png"
    Image.fromarray(mask(2, 5)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 9_000, 9_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(DataError, match="is 9000x9000 where other masks of its picture are 8x6"):
        read_mask_file(path, (HEIGHT, WIDTH))


def test_a_listing_never_names_a_file_outside(tmp_path: Path) -> None:
    write_masks(tmp_path, "images/a.jpg", {})
    entry = {"file": "../x.png", "name": "car", "isthing": True, "category_id": 1, "id": 1, "area": 1, "bbox": [0] * 4}
    image = {"image_id": 1, "file_name": "a.jpg", "height": 6, "width": 8, "masks": [entry]}
    whole = {**image, "masks": []}
    raw.write_photo(tmp_path / "images/c.jpg")
    images = [image, {"file_name": "b.jpg"}, {**whole, "file_name": "c.jpg"}]
    (tmp_path / "masks.json").write_text(json.dumps({"images": images}))
    problems = open_masks(tmp_path, None, None).problems
    assert "images[0] has the file '../x.png', which does not stay inside its folder" in problems[0]
    assert "images[1] names the picture 'b.jpg', which is not in" in problems[1]


def test_no_masks_at_all(tmp_path: Path) -> None:
    raw.write_photo(tmp_path / "images/a.jpg")
    with pytest.raises(DataError, match="has no masks of its 1 pictures"):
        open_masks(tmp_path, None, None)

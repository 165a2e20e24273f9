"""Whatever stands in a label file, a reader reads it or refuses it in words, and opens nothing outside its folder."""

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion import raw, test_cvat, test_label_studio, test_labelme, test_masks, test_via, test_yolo_seg
from conversion.drawn import read_all

from yoso_cli.conversion.forms import SOURCES, Places
from yoso_cli.errors import DataError, YosoError

ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        3,
        1.5,
        1e308,
        2**63,
        -(2**40),
        "",
        "x",
        "0",
        "../../x",
        "/etc/passwd",
        "a\0b",
        "\u202e",
    ),
    *([], {}, [[]], [1], [[1, 2]], [None] * 3, {"x": 1}, {"": []}, "a" * 5000, [[1e9, 1e9]] * 3, "\ud800"),
]


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_in(inner, (*path, key))


def changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """`content` with another value at a place; with the place removed where that is ..."""
    if not path:
        return value if value is not ... else {}
    whole = copy.deepcopy(content)
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return whole


def write_labelme(folder: Path) -> Path:
    box = test_labelme.png(np.ones((3, 3), bool))
    shapes = [
        test_labelme.shape("car", test_labelme.SQUARE, group_id=1),
        test_labelme.shape("car", [[1, 1], [3, 3]], "mask", mask=box),
        test_labelme.shape("a", [[1, 1], [3, 3]], "circle"),
    ]
    test_labelme.write_labels(folder / "a.json", *shapes)
    return folder / "a.json"


def write_label_studio(folder: Path) -> Path:
    brush = test_label_studio.packed(np.ones((test_label_studio.HEIGHT, test_label_studio.WIDTH), bool), literal=False)
    regions = [
        test_label_studio.polygon("car"),
        test_label_studio.region("brushlabels", "b", format="rle", rle=brush),
        test_label_studio.region("ellipselabels", "b", x=5, y=5, radiusX=2, radiusY=2),
    ]
    return test_label_studio.write_export(
        folder, test_label_studio.task("a.png", test_label_studio.annotation(*regions))
    )


def write_via(folder: Path) -> Path:
    regions = [
        test_via.region("polygon", **test_via.POLYGON),
        test_via.region("ellipse", {"type": {"a": True}}, cx=5, cy=5, rx=2, ry=2, theta=1),
        test_via.region("rect", x=1, y=1, width=3, height=3),
    ]
    return test_via.write_project(folder, *regions)


def write_masks(folder: Path) -> Path:
    test_masks.write_masks(folder, "a.jpg", {"m/1.png": test_masks.mask(0, 3)})
    info = {
        "file": "m/1.png",
        "name": "car",
        "isthing": True,
        "category_id": 1,
        "id": 1,
        "area": 18,
        "bbox": [0, 0, 3, 6],
    }
    entry = {
        "image_id": 1,
        "file_name": "a.jpg",
        "height": 6,
        "width": 8,
        "masks": [{**info, "iscrowd": 0, "score": 0.5}],
    }
    (folder / "masks.json").write_text(json.dumps({"images": [entry]}))
    return folder / "masks.json"


JSON_FORMS: dict[str, Callable[[Path], Path]] = {
    "labelme": write_labelme,
    "label-studio": write_label_studio,
    "via": write_via,
    "masks": write_masks,
}


def read(form: str, source: Path) -> None:
    """Reads all, or is refused in words."""
    with suppress(YosoError), SOURCES[form](Places(source)) as reader:
        assert all((reader.image_dir / one.image_file).is_file() for one in reader.pictures)
        if not reader.problems:
            read_all(reader)


@pytest.mark.parametrize("form", JSON_FORMS)
def test_any_value_at_any_place_of_a_json(form: str, tmp_path: Path) -> None:
    path = JSON_FORMS[form](tmp_path)
    content = json.loads(path.read_text())
    chosen = random.Random(form)
    listed = [place for place in places_in(content) if not any(isinstance(key, int) and key > 8 for key in place)]
    source = path.parent if form == "masks" else path
    for place in listed:
        for value in [..., *chosen.sample(ODD, 5)]:
            path.write_text(json.dumps(changed(content, place, value)))
            read(form, source)


def test_any_value_of_any_attribute_of_an_xml(tmp_path: Path) -> None:
    ellipse = '<ellipse label="car" cx="5.0" cy="5.0" rx="2.0" ry="1.5" rotation="3.0" z_order="0"></ellipse>'
    mask = '<mask label="car" rle="0, 6" left="2" top="4" width="3" height="2" z_order="0" group_id="0"></mask>'
    path = test_cvat.write_xml(tmp_path, test_cvat.picture("a.png", test_cvat.CAR.format('z_order="1"'), ellipse, mask))
    text = path.read_text()
    parts = text.split('"')
    for place in range(1, len(parts), 2):
        for value in ("", "x", "-1", "1e400", "nan", "9" * 400, "1.5", "../a", "&lt;", "0,0;1", ";", "&#0;", "\u202e"):
            path.write_text('"'.join([*parts[:place], value, *parts[place + 1 :]]))
            read("cvat", path)
    for end in range(0, len(text), 37):
        path.write_text(text[:end])
        read("cvat", path)


def test_any_words_in_texts_of_yolo(tmp_path: Path) -> None:
    root = test_yolo_seg.write_yaml(tmp_path, train="images", path=".")
    test_yolo_seg.write_picture(root / "images/a.png", root / "labels/a.txt", f"0 {test_yolo_seg.SQUARE}")
    whole = (root / "data.yaml").read_text()
    words = [
        "",
        "nan",
        "inf",
        "1e999",
        "-0",
        "0x1",
        "１",
        "1_0",
        "\u202e",
        "\0",
        "9" * 400,
        "- a",
        "{",
        "&a *a",
        "!!python/x",
    ]
    for word in words:
        (root / "labels/a.txt").write_text(f"{word} {test_yolo_seg.SQUARE}\n0 {word} 0.1 0.2 0.3 0.4 0.5\n")
        read("yolo-seg", root)
    for word in words:
        for key in ("names", "train", "path", "kpt_shape"):
            (root / "data.yaml").write_text(f"{whole}\n{key}: {word}\n")
            read("yolo-seg", root)
            (root / "data.yaml").write_text(f"train: images\n{key}: {word}\n")
            read("yolo-seg", root)
    (root / "labels/a.txt").write_bytes(b"\xff\xfe\0")
    read("yolo-seg", root)


def test_a_photo_outside_is_never_named(tmp_path: Path) -> None:
    raw.write_photo(tmp_path / "secret.jpg", test_labelme.HEIGHT, test_labelme.WIDTH)
    for written in ("../secret.jpg", str(tmp_path / "secret.jpg"), "..\\secret.jpg", "x/../../secret.jpg"):
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        test_labelme.write_labels(
            tmp_path / "set/b.json", test_labelme.shape("car", test_labelme.SQUARE), photo=written
        )
        (tmp_path / "set/b.jpg").unlink()
        with pytest.raises(DataError, match="none of its pictures is in"), SOURCES["labelme"](Places(tmp_path / "set")):
            pass

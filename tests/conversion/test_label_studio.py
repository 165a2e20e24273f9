"""Label Studio's JSON, written here as it exports it; brushes packed by the published format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conversion import raw
from conversion.drawn import read_all
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from yoso_cli.conversion.convert import InformationLoss
from yoso_cli.conversion.label_studio import LabelStudioReader, decode_brush, open_label_studio
from yoso_cli.errors import DataError
from yoso_cli.panoptic.annotations import MalformedError

HEIGHT, WIDTH = 40, 50
SQUARE = [[20, 25], [40, 25], [40, 50], [20, 50]]


def region(kind: str, label: str, **value: Any) -> dict[str, Any]:
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": "x1", "type": kind, "from_name": "a", "to_name": "b", **size, "value": {**value, kind: [label]}}


def polygon(label: str, points: list[list[float]] = SQUARE) -> dict[str, Any]:
    return region("polygonlabels", label, points=points, closed=True)


def task(photo: str, *annotations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"text": "hello", "image": photo}, "annotations": list(annotations), **more}


def annotation(*regions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 1, "was_cancelled": False, "ground_truth": False, "result": list(regions), **more}


def write_export(folder: Path, *tasks: Any, names: tuple[str, ...] = ("a.png",)) -> Path:
    for name in names:
        raw.write_photo(folder / name, HEIGHT, WIDTH)
    path = folder / "project-1.json"
    path.write_text(json.dumps(tasks))
    return path


def opened(path: Path) -> LabelStudioReader:
    found = open_label_studio(path, None, None)
    assert not found.problems
    return found


def packed(mask: npt.NDArray[np.bool_], *, literal: bool) -> list[int]:
    """A mask in all four channels, in runs of one value or, with `literal`, of values that stand side by side."""
    values = np.repeat(mask.reshape(-1), 4).astype(int) * 255
    sizes = [3, 4, 8, 16]
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    place = 0
    while place < len(values):
        change = np.flatnonzero(values[place:] != values[place])
        length = min(8 if literal else 1 << 16, len(values) - place if literal or not len(change) else int(change[0]))
        which = next(index for index, size in enumerate(sizes) if length <= 1 << size)
        shown = values[place : place + length] if literal else values[place : place + 1]
        bits += f"{int(not literal)}{which:02b}{length - 1:0{sizes[which]}b}" + "".join(f"{one:08b}" for one in shown)
        place += length
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


@settings(max_examples=100)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30))), st.booleans())
def test_a_brush_is_unpacked(mask: npt.NDArray[np.bool_], literal: bool) -> None:
    assert np.array_equal(decode_brush(packed(mask, literal=literal), *mask.shape), mask)


def test_a_brush_as_label_studio_packed_it() -> None:
    """Of label_studio_converter 0.0.59, `brush.mask2rle`."""
    found = decode_brush([0, 0, 0, 48, 57, 27, 254, 19, 0, 159, 254, 48, 11, 255, 224], 3, 4)
    assert found.astype(int).tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]]


def test_a_brush_that_is_wrong_is_refused() -> None:
    good = packed(np.ones((3, 4), bool), literal=False)
    for bad in (good[:-2], [], [300], ["a"], [0, 0, 0, 44, *good[4:]], [255] * 40):
        with pytest.raises(MalformedError, match=r"brush|'rle'"):
            decode_brush(bad, 3, 4)


def test_polygons_brushes_and_ellipses_and_what_has_no_mask(tmp_path: Path) -> None:
    brush = np.zeros((HEIGHT, WIDTH), bool)
    brush[30:35, 2:9] = True
    path = write_export(
        tmp_path,
        task(
            "/data/upload/1/0a1b2c3d-a.png",
            annotation(
                polygon("car"),
                region("brushlabels", "tree", format="rle", rle=packed(brush, literal=False)),
                region("ellipselabels", "ball", x=80, y=25, radiusX=8, radiusY=10, rotation=0),
                region("rectanglelabels", "sign", x=1, y=1, width=5, height=5, rotation=0),
                region("keypointlabels", "tip", x=1, y=1, width=1),
                {**region("polygon", "none", points=SQUARE), "type": "polygon"},
                {"type": "choices", "value": {"choices": ["day"]}},
            ),
        ),
    )
    reader = opened(path)
    assert [category.name for category in reader.table.categories] == ["ball", "car", "tree"]
    ((panoptic, losses),) = read_all(reader)
    assert [(one.category_id, one.bbox) for one in panoptic.segments[:2]] == [(2, (10, 10, 10, 10)), (3, (2, 30, 7, 5))]
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert np.array_equal(panoptic.id_map == 3, (x - 40) ** 2 + (y - 10) ** 2 <= 16)
    assert +losses == {InformationLoss.BOXES: 1, InformationLoss.WITHOUT_AREA: 1}


def test_labels_that_stand_apart_from_their_shape(tmp_path: Path) -> None:
    entry = region("labels", "car", points=SQUARE)
    reader = opened(write_export(tmp_path, task("a.png", annotation(entry))))
    assert [one.area for one in read_all(reader)[0][0].segments] == [100]


def test_of_several_annotations_the_ground_truth_counts_else_the_first_that_was_not_skipped(tmp_path: Path) -> None:
    cancelled, truth = annotation(polygon("no"), was_cancelled=True), annotation(polygon("car"), ground_truth=True)
    path = write_export(
        tmp_path,
        task("a.png", cancelled, annotation(polygon("van")), truth),
        task("b.png", cancelled, annotation(polygon("bus"))),
        task("c.png", cancelled),
        task("d.png"),
        task("e.png", annotation()),
        names=("a.png", "b.png", "c.png", "d.png", "e.png"),
    )
    reader = opened(path)
    assert [category.name for category in reader.table.categories] == ["bus", "car"]
    assert [one.image_file for one in reader.pictures] == ["a.png", "b.png", "e.png"]
    assert len(read_all(reader)[2][0].segments) == 0
    told = " ".join(reader.remarks)
    for words in (
        "1 task with several annotations: all but one of each are left out",
        "1 task that were skipped left out",
        "1 task without an annotation left out",
        "1 picture without a region: all of them void",
    ):
        assert words in told


@pytest.mark.parametrize(
    "address",
    [
        "a b.png",
        "/data/local-files/?d=photos/a%20b.png",
        "s3://bucket/x/a%20b.png",
        "https://host/x/a%20b.png?sig=1",
        "\\\\server\\x\\a b.png",
        "/data/upload/3/12345678-a%20b.png",
    ],
)
def test_the_photo_of_an_address(tmp_path: Path, address: str) -> None:
    reader = opened(write_export(tmp_path, task(address, annotation(polygon("car"))), names=("photos/a b.png",)))
    assert [one.image_file for one in reader.pictures] == ["photos/a b.png"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({**polygon("car"), "original_width": 0}, "the region 'x1' of a.png has 'width' 0"),
        ({**polygon("car"), "image_rotation": 90}, "turned by 90 degrees"),
        (polygon("car", [[1, 1], [2, 2]]), "polygon that is not three"),
        (polygon("car", [[1, 1], [2, 2], [3, "x"]]), "has 'x' where a number"),
        ({**polygon("car"), "value": {"points": SQUARE, "polygonlabels": ["a", "b"]}}, "as its label, where one"),
        (region("brushlabels", "car", format="png", rle=[1]), "has a brush in the format 'png'"),
        (region("brushlabels", "car", format="rle", rle="x"), "has 'rle' of type str"),
    ],
)
def test_a_region_that_is_wrong_is_named(tmp_path: Path, entry: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_all(opened(write_export(tmp_path, task("a.png", annotation(entry)))))


def test_tasks_that_are_wrong_are_problems_of_the_set(tmp_path: Path) -> None:
    path = write_export(
        tmp_path,
        task("a.png", annotation(polygon("car"))),
        task("a.png", annotation(polygon("car"))),
        task("gone.png", annotation(polygon("car"))),
        {"id": 9, "image": "a.png", "label": []},
        {"id": 10, "data": {"text": "x"}, "annotations": [annotation(polygon("car"))]},
        5,
    )
    problems = "\n".join(open_label_studio(path, None, None).problems)
    for words in (
        "two tasks are of the picture 'a.png'",
        "task 7 names the picture 'gone.png', which is not in",
        "task 9 has no 'annotations': export JSON, not JSON-MIN",
        "task 10 has no picture in its 'data'",
        "task 5 is a int where an object is expected",
    ):
        assert words in problems
    path.write_text("{}")
    with pytest.raises(DataError, match="a JSON list is expected"):
        open_label_studio(path, None, None)

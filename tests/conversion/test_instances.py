"""COCO's instance annotations: overlaps by the stated rule, masks as pycocotools has them, every doubt named."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import oracle
from conversion import raw
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.conversion.convert import InformationLoss
from yoso_cli.conversion.instances import InstancesReader, open_instances, read_mask, to_run_lengths
from yoso_cli.errors import DataError
from yoso_cli.panoptic.annotations import MalformedError
from yoso_cli.panoptic.types import Panoptic

# Of pycocotools' own decoder, under the newest numpy.
QUIET = pytest.mark.filterwarnings("ignore:__array__ implementation")
THINGS = [{"id": raw.CAR, "name": "car"}, {"id": raw.PERSON, "name": "person"}]


def rectangle(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotation(number: int, segmentation: Any, category_id: int = raw.CAR, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 1, "category_id": category_id, "segmentation": segmentation, **more}


def opened(folder: Path, annotations: list[Any], *, stuff: Any = None, **more: Any) -> InstancesReader:
    raw.write_photo(folder / "images" / "a.jpg", 6, 8)
    if stuff is not None:
        raw.write_map(folder / "semantic" / "a.png", stuff)
    images = [{"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}]
    content = {"images": images, "annotations": annotations, "categories": THINGS, **more}
    (folder / "instances.json").write_text(json.dumps(content))
    return open_instances(folder, None, None, raw.TABLE)


def read(folder: Path, annotations: list[Any], **more: Any) -> tuple[Panoptic, Counter[InformationLoss]]:
    source = opened(folder, annotations, **more)
    assert source.problems == ()
    return source.read(source.pictures[0])


def areas(panoptic: Panoptic) -> dict[int, int]:
    """By segment id, which is the place of the annotation from 1."""
    return {segment.id: segment.area for segment in panoptic.segments}


def test_the_smallest_instance_has_the_pixel_whatever_the_order(tmp_path: Path) -> None:
    large, small = annotation(1, rectangle(0, 0, 8, 6)), annotation(2, rectangle(2, 2, 4, 4))
    for order in ([large, small], [small, large]):
        found, losses = read(tmp_path, order)
        assert sorted(areas(found).values()) == [4, 44]
        assert losses[InformationLoss.OVERLAP] == 4


def test_of_two_of_one_size_the_later_has_the_pixel(tmp_path: Path) -> None:
    found, _ = read(tmp_path, [annotation(1, rectangle(0, 0, 4, 4)), annotation(2, rectangle(2, 0, 6, 4))])
    assert areas(found) == {1: 8, 2: 16}


def test_crowds_lie_below_all(tmp_path: Path) -> None:
    crowd = to_run_lengths(np.pad(np.ones((2, 2), bool), ((0, 4), (0, 6))))
    found, losses = read(tmp_path, [annotation(1, crowd, iscrowd=1), annotation(2, rectangle(0, 0, 8, 6))])
    assert areas(found) == {2: 48}
    assert losses[InformationLoss.HIDDEN] == 1
    alone, _ = read(tmp_path, [annotation(1, crowd, iscrowd=1)])
    assert [(one.area, one.iscrowd) for one in alone.segments] == [(4, True)]


def test_a_hidden_and_an_empty_instance_are_counted_apart(tmp_path: Path) -> None:
    pieces = [rectangle(2, 2, 4, 3), rectangle(2, 3, 4, 4)]
    empty = to_run_lengths(np.zeros((6, 8), bool))
    halves = (annotation(2 + number, half) for number, half in enumerate(pieces))
    found, losses = read(tmp_path, [annotation(1, rectangle(2, 2, 4, 4)), *halves, annotation(9, empty)])
    assert areas(found) == {2: 2, 3: 2}
    assert (losses[InformationLoss.HIDDEN], losses[InformationLoss.EMPTY]) == (1, 1)


def test_stuff_fills_what_no_instance_covers(tmp_path: Path) -> None:
    stuff = np.full((6, 8), raw.ROAD)
    stuff[0] = raw.PERSON
    stuff[1] = 255
    found, losses = read(tmp_path, [annotation(1, rectangle(0, 0, 2, 6))], stuff=stuff)
    assert {one.category_id: one.area for one in found.segments} == {raw.CAR: 12, raw.ROAD: 24}
    assert losses[InformationLoss.UNCLAIMED] == 6
    assert (found.id_map == 0).sum() == 12


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (annotation(1, 5), "is neither polygons nor RLE"),
        (annotation(1, [[1, 2, 3]]), "a polygon that is not three or more points"),
        (annotation(1, [[1, 2, 3, 4, 5, "x"]]), "a polygon far outside"),
        (annotation(1, [[1, 2, 3, 4, 5, 1e9]]), "a polygon far outside the picture of 8x6"),
        (annotation(1, {"size": [8, 6], "counts": [48]}), "of size [8, 6] where the picture is [6, 8]"),
        (annotation(1, {"size": [6, 8], "counts": [10, 10]}), "of 20 pixels where the picture has 48"),
        (annotation(1, {"size": [6, 8], "counts": [58, -10]}), "counts are not a list"),
        (annotation(1, {"size": [6, 8], "counts": "~~"}), "damaged"),
        (annotation(1, {"size": [6, 8], "counts": "P"}), "is truncated"),
    ],
)
def test_a_mask_that_is_none_is_named_with_its_annotation(tmp_path: Path, bad: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, [bad])
    assert f"{tmp_path / 'instances.json'}: the annotation 1 of a.jpg has " in caught.value.message
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([annotation(1, []), annotation(1, [])], "annotations[1] repeats id 1"),
        ([annotation(1, [], 99)], "annotations[0] has category_id 99, which is not a thing class"),
        ([annotation(1, [], raw.ROAD)], "annotations[0] has category_id 7, which is not a thing class"),
        ([{**annotation(1, []), "image_id": 5}], "annotations[0] belongs to image 5, which 'images' does not list"),
        (["x"], "annotations[0] is a str where an object is expected"),
    ],
)
def test_what_is_wrong_with_the_json_is_a_problem(tmp_path: Path, entries: list[Any], words: str) -> None:
    assert opened(tmp_path, entries).problems == (f"{tmp_path / 'instances.json'}: {words}",)


def test_a_picture_whose_name_climbs_is_refused(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "../a.jpg", "height": 6, "width": 8}]
    assert "does not stay inside its folder" in opened(tmp_path, [], images=images).problems[0]


def test_a_class_of_another_meaning_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the class 3 'boat', which is not a thing of that id and name"):
        opened(tmp_path, [], categories=[{"id": 3, "name": "boat"}])


masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: st.lists(st.booleans(), min_size=size[0] * size[1], max_size=size[0] * size[1]).map(
        lambda cells: np.array(cells).reshape(size)
    )
)


@QUIET
@given(masks)
def test_run_lengths_are_those_of_pycocotools(mask: Any) -> None:
    official = oracle("pycocotools.mask")
    height, width = mask.shape
    compressed = to_run_lengths(mask)
    assert np.array_equal(official.decode(compressed), mask)
    assert np.array_equal(read_mask({"segmentation": compressed}, height, width), mask)
    columns = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(columns)) + 1
    counts = np.diff([0, *edges, columns.size]).tolist()
    plain = {"size": [height, width], "counts": [0, *counts] if columns[0] else counts}
    assert np.array_equal(read_mask({"segmentation": plain}, height, width), mask)


@QUIET
def test_long_run_lengths_are_those_of_pycocotools() -> None:
    official = oracle("pycocotools.mask")
    random = np.random.default_rng(0)
    mask = np.repeat(random.random(600) < 0.5, random.integers(1, 3000, 600))[: 600 * 700].reshape(600, 700, order="F")
    compressed = to_run_lengths(mask)
    assert np.array_equal(read_mask({"segmentation": compressed}, 600, 700), official.decode(compressed))


@QUIET
@given(st.lists(st.floats(-3, 12, width=32), min_size=6, max_size=12).filter(lambda one: len(one) % 2 == 0))
def test_polygons_become_the_pixels_of_pycocotools(polygon: list[float]) -> None:
    official = oracle("pycocotools.mask")
    expected = official.decode(official.merge(official.frPyObjects([polygon], 7, 9)))
    assert np.array_equal(read_mask({"segmentation": [polygon]}, 7, 9), expected)


def test_broken_run_lengths_never_reach_c_code() -> None:
    with pytest.raises(MalformedError):
        read_mask({"segmentation": {"size": [4, 4], "counts": "0" * 100}}, 4, 4)

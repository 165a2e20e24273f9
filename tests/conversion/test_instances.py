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
from yoso_cli.errors import DataError, UsageError
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
        (annotation(1, [[1, 2, 3, 4, 5, "x"]]), "a polygon far outside the picture of 8x6, or not of numbers"),
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
        ([annotation(1, [], 99)], "annotations[0] has category_id 99, which is not among the classes"),
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
    with pytest.raises(DataError, match="its class 3 is 'boat', in the table of classes it is 'car'"):
        opened(tmp_path, [], categories=[{"id": 3, "name": "boat"}])


def test_pixels_are_counted_once_however_many_claim_them(tmp_path: Path) -> None:
    boxes = [annotation(1, rectangle(0, 0, 2, 4)), annotation(2, rectangle(0, 0, 4, 2))]
    _, losses = read(tmp_path, [*boxes, annotation(3, rectangle(0, 0, 2, 2)), annotation(4, rectangle(0, 0, 1, 1))])
    assert losses[InformationLoss.OVERLAP] == 4


def test_annotations_of_stuff_are_one_segment_below_things(tmp_path: Path) -> None:
    parts = [annotation(1, rectangle(0, 0, 4, 6), raw.ROAD), annotation(2, rectangle(4, 0, 8, 6), raw.ROAD)]
    stuff = np.full((6, 8), raw.SKY)
    found, losses = read(tmp_path, [*parts[:1], annotation(3, rectangle(0, 0, 2, 2)), *parts[1:]], stuff=stuff)
    assert {one.category_id: one.area for one in found.segments} == {raw.ROAD: 44, raw.CAR: 4}
    assert not +losses


def test_stuff_of_the_map_joins_that_of_the_annotations(tmp_path: Path) -> None:
    found, _ = read(tmp_path, [annotation(1, rectangle(0, 0, 2, 6), raw.ROAD)], stuff=np.full((6, 8), raw.ROAD))
    assert [(one.category_id, one.area) for one in found.segments] == [(raw.ROAD, 48)]


def test_a_picture_without_its_map_is_named_when_it_is_read_as_well(tmp_path: Path) -> None:
    raw.write_photo(tmp_path / "images" / "b.jpg", 6, 8)
    images = [
        {"id": number, "file_name": f"{name}.jpg", "height": 6, "width": 8} for number, name in ((1, "a"), (2, "b"))
    ]
    source = opened(tmp_path, [], stuff=np.zeros((6, 8), np.uint8), images=images)
    assert any("has no semantic map for pictures: 1 (b)" in problem for problem in source.problems)
    with pytest.raises(DataError, match=r"the picture b\.jpg has no semantic map"):
        source.read(source.pictures[1])


def test_scores_are_read(tmp_path: Path) -> None:
    found, _ = read(tmp_path, [annotation(1, rectangle(0, 0, 2, 2), score=0.25), annotation(2, rectangle(4, 4, 6, 6))])
    assert [one.score for one in found.segments] == [0.25, None]


def test_the_json_says_itself_what_is_stuff(tmp_path: Path) -> None:
    raw.write_photo(tmp_path / "a.jpg", 6, 8)
    categories = [{"id": 1, "name": "car"}, {"id": 2, "name": "sky", "isthing": 0}]
    content = {"images": [{"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}], "annotations": []}
    (tmp_path / "x.json").write_text(json.dumps({**content, "categories": categories}))
    found = open_instances(tmp_path, None, None, None)
    assert [(one.id, one.isthing) for one in found.table.categories] == [(1, True), (2, False)]
    assert (found.image_dir, found.problems) == (tmp_path, ())


def test_classes_without_annotations_need_not_be_in_the_table(tmp_path: Path) -> None:
    """Roboflow lists one that stands for all."""
    categories = [*THINGS, {"id": 0, "name": "vehicles"}]
    assert opened(tmp_path, [annotation(1, [])], categories=categories).problems == ()
    (problem,) = opened(tmp_path, [annotation(1, [], 0)], categories=categories).problems
    assert problem.endswith("annotations[0] has category_id 0 ('vehicles'), which is not among the classes")


def test_a_folder_with_several_jsons_is_asked_about(tmp_path: Path) -> None:
    for name in ("instances_train.json", "instances_val.json"):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / name).write_text("{}")
    with pytest.raises(UsageError, match=r"has 2 JSON files\. Name one of them: instances_train\.json"):
        open_instances(tmp_path, None, None, None)


def test_pictures_that_are_nowhere_are_told_with_the_option(tmp_path: Path) -> None:
    opened(tmp_path, [])
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(
        DataError, match=r"lists 1 picture, of which none was found\. Name their folder with --images\."
    ):
        open_instances(tmp_path, None, None, None)


def test_another_json_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"images": [], "annotations": [{"segments_info": []}], "categories": []}))
    with pytest.raises(
        DataError, match=r"is a panoptic JSON, not COCO's instance annotations\. Convert it with --from"
    ):
        open_instances(path, None, None, None)


WRONG = [
    (annotation(1, [[1, 2, 3, 4]]), "dropped the annotation 1 of a.jpg: it has a polygon that is not three or more"),
    (annotation(1, [[1, 2]]), "dropped the annotation 1 of a.jpg: it has a polygon that is not three or more"),
    (annotation(1, [0, 0, 4, 0, 4, 4]), "repaired the annotation 1 of a.jpg: its points are not in a list"),
    (annotation(1, [*rectangle(0, 0, 4, 4), [1, 2]]), "1 of 2 polygons dropped"),
    (annotation(1, [[0, 0, 4, 0, 9e9, 4]]), "far outside the picture"),
    (annotation(1, {"size": [6, 8], "counts": [10]}), "has RLE of 10 pixels"),
    (annotation(1, None), "dropped annotations[0]: it has null for 'segmentation'"),
    (annotation(1, 7), "dropped the annotation 1 of a.jpg: it has a 'segmentation' that is neither"),
    (annotation(1, rectangle(0, 0, 4, 4), 99), "dropped annotations[0]: it has category_id 99"),
    (annotation(1, rectangle(0, 0, 4, 4), iscrowd=7), "dropped annotations[0]: it has 'iscrowd' 7"),
    ({**annotation(1, rectangle(0, 0, 4, 4)), "image_id": 9}, "dropped annotations[0]: it belongs to image 9"),
    ({"image_id": 1, "category_id": raw.CAR, "bbox": [0, 0, 2, 2], "id": 1}, "it has a box and no 'segmentation'"),
    ({"image_id": 1, "category_id": raw.CAR, "segmentation": rectangle(0, 0, 4, 4)}, "renumbered annotations[0]"),
    ("x", "dropped annotations[0]: it is a str"),
]


@pytest.mark.parametrize(("bad", "words"), WRONG)
def test_what_is_wrong_is_dropped_or_renumbered_and_listed(tmp_path: Path, bad: Any, words: str) -> None:
    opened(tmp_path, [bad, annotation(2, rectangle(4, 0, 8, 6), raw.PERSON)])
    found = open_instances(tmp_path, None, None, raw.TABLE, repair=True)
    assert found.problems == ()
    assert [words in one for one in found.repairs] == [True]
    panoptic, _ = found.read(found.pictures[0])
    assert raw.PERSON in {one.category_id for one in panoptic.segments}


def test_repeated_ids_are_renumbered(tmp_path: Path) -> None:
    opened(tmp_path, [annotation(1, rectangle(0, 0, 4, 4)), annotation(1, rectangle(4, 0, 8, 4))])
    found = open_instances(tmp_path, None, None, raw.TABLE, repair=True)
    assert found.repairs == ("renumbered annotations[1]: it repeats id 1",)
    assert len(found.read(found.pictures[0])[0].segments) == 2


def test_a_picture_listed_twice_is_one(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}
    boxes = [annotation(1, rectangle(0, 0, 4, 4)), {**annotation(2, rectangle(4, 0, 8, 4)), "image_id": 2}]
    twice = {**boxes[0], "image_id": 2, "id": 3}
    assert len(opened(tmp_path, [*boxes, twice], images=[image, {**image, "id": 2}]).problems) == 1
    found = open_instances(tmp_path, None, None, raw.TABLE, repair=True)
    assert (found.problems, len(found.pictures), len(found.repairs)) == ((), 1, 2)
    assert len(found.read(found.pictures[0])[0].segments) == 2
    opened(tmp_path, boxes[:1], images=[image, image])
    found = open_instances(tmp_path, None, None, raw.TABLE, repair=True)
    assert (found.problems, len(found.pictures), len(found.repairs)) == ((), 1, 1)


def test_what_can_only_be_guessed_is_not_repaired(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}
    opened(tmp_path, [], images=[image, {**image, "file_name": "b.jpg"}])
    found = open_instances(tmp_path, None, None, raw.TABLE, repair=True)
    assert [one.rpartition(": ")[2] for one in found.problems] == ["images[1] repeats id 1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"images": [{"id": 1, "file_name": "../a.jpg", "height": 6, "width": 8}]},
        {"images": [{"file_name": "a.jpg", "height": 6, "width": 8}]},
        {"categories": [{"id": raw.CAR}, THINGS[1]]},
        {"categories": [{"name": "car"}, THINGS[1]]},
    ],
)
def test_one_wrong_entry_is_told_once(tmp_path: Path, changes: dict[str, Any]) -> None:
    opened(tmp_path, [annotation(1, rectangle(0, 0, 4, 4)), annotation(2, rectangle(0, 0, 4, 4))], **changes)
    found = open_instances(tmp_path, tmp_path / "images", None, None)
    assert len(found.problems) == 1


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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", "1"),
        ("id", 1.0),
        ("image_id", "1"),
        ("category_id", "3"),
        ("category_id", 3.0),
        ("iscrowd", "0"),
        ("iscrowd", False),
        ("score", "0.5"),
        ("segmentation", [["0", "0", "4", 0, 4, "4.0", 0, "4"]]),
    ],
)
def test_what_says_a_value_exactly_is_taken_for_it(tmp_path: Path, key: str, value: Any) -> None:
    source = opened(tmp_path, [{**annotation(1, rectangle(0, 0, 4, 4)), key: value}])
    assert source.problems == ()
    assert areas(source.read(source.pictures[0])[0]) == {1: 16}
    assert len(source.remarks) == (key != "id" or value == 1.0)


def test_names_with_backslashes_are_those_of_the_photos(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "images\\a.jpg", "height": 6, "width": 8}]
    source = opened(tmp_path, [annotation(1, rectangle(0, 0, 4, 4))], images=images)
    assert (source.image_dir / source.pictures[0].image_file).is_file()
    assert source.read(source.pictures[0])[0].segments


def test_a_given_folder_without_the_photos_is_told(tmp_path: Path) -> None:
    opened(tmp_path, [])
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"Name their folder with --images\. Looked in .*other"):
        open_instances(tmp_path, tmp_path / "other", None, None)

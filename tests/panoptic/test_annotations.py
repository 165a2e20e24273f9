"""The COCO panoptic JSON: every doubt is named by entry and key."""

import copy
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.errors import DataError
from yoso_cli.panoptic import annotations
from yoso_cli.panoptic.types import PanopticSet

GOOD = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}],
    "annotations": [
        {
            "image_id": 1,
            "file_name": "a.png",
            "segments_info": [{"id": 5, "category_id": 2, "area": 24, "bbox": [0, 0, 6, 4], "iscrowd": 0}],
        }
    ],
    "categories": [{"id": 2, "name": "cat", "isthing": 1, "color": [9, 8, 7]}],
}


def changed(place, value):
    """GOOD with the entry at `place` set to `value`, or removed for `...`."""
    content = copy.deepcopy(GOOD)
    *path, last = place
    inner = content
    for key in path:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return content


def read(tmp_path, content, **kwargs):
    path = tmp_path / "panoptic.json"
    path.write_text(json.dumps(content))
    return annotations.read(path, **kwargs)


def refusal(tmp_path, content, **kwargs):
    with pytest.raises(DataError) as caught:
        read(tmp_path, content, **kwargs)
    assert str(tmp_path / "panoptic.json") in caught.value.message
    return caught.value.message


def test_a_good_listing_is_read_and_written_back(tmp_path):
    assert annotations.to_json(*read(tmp_path, GOOD)) == GOOD


@pytest.mark.parametrize("video_id", [7, "a"])
def test_the_video_of_a_frame_is_kept(tmp_path, video_id):
    content = changed(("images", 0, "video_id"), video_id)
    categories, records = read(tmp_path, content)
    assert records[0].video_id == video_id
    assert annotations.to_json(categories, records) == content
    assert "has 'video_id' [1]" in refusal(tmp_path, changed(("images", 0, "video_id"), [1]))


SEGMENT = ("annotations", 0, "segments_info", 0)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (("images",), "lacks 'images'"),
        (("annotations",), "lacks 'annotations'"),
        (("categories",), "lacks 'categories'"),
        (("images", 0, "id"), "images[0] lacks 'id'"),
        (("images", 0, "file_name"), "images[0] lacks 'file_name'"),
        (("images", 0, "height"), "images[0] lacks 'height'"),
        (("images", 0, "width"), "images[0] lacks 'width'"),
        (("annotations", 0), "1 of 1 images have no annotation, the first is 1"),
        (("annotations", 0, "image_id"), "annotations[0] lacks 'image_id'"),
        (("annotations", 0, "file_name"), "annotations[0] lacks 'file_name'"),
        (("annotations", 0, "segments_info"), "annotations[0] lacks 'segments_info'"),
        *(
            ((*SEGMENT, key), f"annotations[0] segments_info[0] lacks '{key}'")
            for key in GOOD["annotations"][0]["segments_info"][0]
        ),
        (("categories", 0), "'categories' is empty"),
        (("categories", 0, "id"), "categories[0] lacks 'id'"),
        (("categories", 0, "name"), "categories[0] lacks 'name'"),
        (("categories", 0, "isthing"), "categories[0] lacks 'isthing'"),
    ],
)
def test_what_is_lacking_is_named(tmp_path, place, words):
    assert words in refusal(tmp_path, changed(place, ...))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("images",), {}, "'images' of type dict where a list is expected"),
        (("images", 0), 3, "images[0] is a int where an object is expected"),
        (("images", 0, "id"), 1.5, "images[0] has 'id' 1.5"),
        (("images", 0, "id"), True, "images[0] has 'id' True"),
        (("images", 0, "height"), 0, "a whole number of at least 1"),
        (("images", 0, "width"), "six", "a whole number of at least 1"),
        (("images", 0, "width"), "06", "a whole number of at least 1"),
        (("images", 0, "width"), 6.5, "a whole number of at least 1"),
        (("images", 0, "width"), True, "a whole number of at least 1"),
        ((*SEGMENT, "iscrowd"), "true", "from 0 to 1"),
        (("categories", 0, "isthing"), None, "has null for 'isthing'"),
        (("annotations", 0, "image_id"), 2, "which 'images' does not list"),
        ((*SEGMENT, "id"), 0, "a whole number from 1 to 16777215"),
        ((*SEGMENT, "id"), 256**3, "a whole number from 1 to 16777215"),
        ((*SEGMENT, "category_id"), 3, "which is not among the categories"),
        ((*SEGMENT, "area"), -1, "at least 0"),
        ((*SEGMENT, "area"), None, "has null for 'area'"),
        ((*SEGMENT, "iscrowd"), 2, "from 0 to 1"),
        ((*SEGMENT, "bbox"), [1, 2, 3], "not 4 numbers"),
        ((*SEGMENT, "bbox"), [1, 2, 3, "x"], "not 4 numbers"),
        ((*SEGMENT, "score"), "high", "where a number is expected"),
        (("categories", 0, "color"), [1, 2, 300], "outside 0..255"),
        (("categories", 0, "name"), 4, "where a str is expected"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, place, value, words):
    assert words in refusal(tmp_path, changed(place, value))


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/passwd", "x/../../a.png", "..\\a.png", "C:\\a.png", "", ".", "a\0b"]
)
@pytest.mark.parametrize("place", [("images", 0, "file_name"), ("annotations", 0, "file_name")])
def test_a_file_name_that_leaves_its_folder_is_refused(tmp_path, place, name):
    assert "does not stay inside its folder" in refusal(tmp_path, changed(place, name))


def test_a_file_name_may_name_a_folder_below(tmp_path):
    _, records = read(tmp_path, changed(("images", 0, "file_name"), "city/a.jpg"))
    assert records[0].image_file == "city/a.jpg"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("images", "images[1] repeats id 1"),
        ("annotations", "annotations[1] is the second one for image 1"),
        ("categories", "categories[1] repeats id 2"),
    ],
)
def test_what_comes_twice_is_named(tmp_path, key, words):
    assert words in refusal(tmp_path, {**GOOD, key: GOOD[key] * 2})


def test_a_segment_that_comes_twice_is_named(tmp_path):
    segments = GOOD["annotations"][0]["segments_info"] * 2
    assert "segments_info[1] repeats id 5" in refusal(tmp_path, changed(SEGMENT[:-1], segments))


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ((*SEGMENT, "area"), 24.0, "'area' 24.0 as 24"),
        ((*SEGMENT, "area"), "24", "'area' \"24\" as 24"),
        ((*SEGMENT, "iscrowd"), False, "'iscrowd' false as 0"),
        ((*SEGMENT, "iscrowd"), "0", "'iscrowd' \"0\" as 0"),
        ((*SEGMENT, "category_id"), "2", "'category_id' \"2\" as 2"),
        ((*SEGMENT, "id"), 5.0, "'id' 5.0 as 5"),
        ((*SEGMENT, "bbox"), [0, "0", 6, 4], "'bbox' \"0\" as 0.0"),
        (("images", 0, "height"), "4", "'height' \"4\" as 4"),
        (("images", 0, "id"), 1.0, "'id' 1.0 as 1"),
        (("annotations", 0, "image_id"), "1", "'image_id' \"1\" as 1"),
        (("images", 0, "id"), "1", "'image_id' 1 as \"1\""),
        (("categories", 0, "id"), "2", "'id' \"2\" as 2"),
        (("categories", 0, "isthing"), True, "'isthing' true as 1"),
        (("categories", 0, "color"), ["9", 8.0, 7], "'color' \"9\" as 9.0"),
    ],
)
def test_what_says_a_value_exactly_is_taken_for_it_and_told(tmp_path, place, value, told):
    remarks = []
    found = read(tmp_path, changed(place, value), on_remark=remarks.append)
    assert len(remarks) == 1
    assert remarks[0].startswith(f"{tmp_path / 'panoptic.json'}: 1 value is of another type than expected")
    assert told in remarks[0]
    expected = read(tmp_path, GOOD)
    if place != ("images", 0, "id"):
        assert found == expected


def test_a_score_may_be_text_and_many_conversions_are_one_line(tmp_path):
    remarks = []
    _, records = read(tmp_path, changed((*SEGMENT, "score"), "0.25"), on_remark=remarks.append)
    assert records[0].segments[0].score == 0.25
    segments = [{**GOOD["annotations"][0]["segments_info"][0], "id": str(number)} for number in range(1, 2001)]
    read(tmp_path, changed(SEGMENT[:-1], segments), on_remark=remarks.append)
    assert "2,000 values are of another type than expected" in remarks[1]
    assert len(remarks[1]) < 300
    read(tmp_path, GOOD, on_remark=remarks.append)
    assert len(remarks) == 2


def test_instance_annotations_are_recognised(tmp_path):
    content = {**GOOD, "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "segmentation": []}]}
    assert "is COCO's instance annotations, not a panoptic JSON" in refusal(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not valid JSON"),
        (b'{"images": [', "is not valid JSON"),
        (b"\xff\xfe\xfa", "not UTF-8"),
        (b"[1]", "is a list"),
        (b"[" * 100_000, "panoptic.json"),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path, content, words):
    path = tmp_path / "panoptic.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"panoptic\.json") as caught:
        annotations.read(path)
    assert words in caught.value.message


def test_a_missing_file_and_a_folder_in_its_place_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        annotations.read(tmp_path / "gone.json")
    with pytest.raises(DataError, match="cannot be read"):
        annotations.read(tmp_path)


def test_predictions_may_leave_out_what_the_truth_knows(tmp_path):
    categories, records = read(tmp_path, GOOD)
    truth = PanopticSet("pets", "val", categories, records, tmp_path, tmp_path)
    bare = {"annotations": [{"image_id": 1, "file_name": "b.png", "segments_info": [{"id": 7, "category_id": 2}]}]}
    found_categories, found = read(tmp_path, bare, like=truth)
    assert found_categories == categories
    assert (found[0].image_file, found[0].height, found[0].width) == ("a.jpg", 4, 6)
    assert found[0].segments[0].id == 7
    assert read(tmp_path, {"annotations": []}, like=truth)[1] == ()


def test_what_is_predicted_for_other_pictures_is_left_out(tmp_path):
    """The truth may be a part of the set that a tool predicted; but an id that is only spelt otherwise is told."""
    categories, records = read(tmp_path, GOOD)
    truth = PanopticSet("pets", "val", categories, records, tmp_path, tmp_path)
    mine = {"image_id": 1, "file_name": "b.png", "segments_info": [{"id": 7, "category_id": 2}]}
    found = read(tmp_path, {"annotations": [mine, {**mine, "image_id": 5}, {**mine, "image_id": "b"}]}, like=truth)[1]
    assert [one.image_id for one in found] == [1]
    remarks = []
    found = read(tmp_path, {"annotations": [{**mine, "image_id": "1"}]}, like=truth, on_remark=remarks.append)[1]
    assert [one.image_id for one in found] == [1]
    assert "'image_id' \"1\" as 1" in remarks[0]


@pytest.mark.parametrize(
    ("place", "value", "hint"),
    [
        ((*SEGMENT, "category_id"), 3, "the dataset's category ids"),
        (("annotations", 0, "image_id"), 8, "must be identical"),
        (("annotations", 0, "file_name"), "../a.png", "inside the folder of the PNGs"),
        (("annotations", 0, "segments_info"), 3, "A COCO panoptic JSON is expected here"),
    ],
)
def test_a_mistake_says_what_to_do_about_it(tmp_path, place, value, hint):
    with pytest.raises(DataError) as caught:
        read(tmp_path, changed(place, value))
    assert hint in caught.value.hint


# Values that a key of a segment may have, among them those that are nearly right.
NUMBERS = [0, 1, 2, 5, -1, 1.0, 2.5, 2**24 - 1, 2**24, 2**31 - 1, 2**31, 2**32, 2**40, 2**40 + 1]
ODD = st.sampled_from([*NUMBERS, True, False, "3", None, []]) | st.just([0, 0, 6, 4])
EDGES = st.sampled_from([0, 6, -3, 1.5, 2**31 - 1, -(2**31) + 1, -(2**31), True, "1"])
BOXES = st.lists(EDGES, min_size=3, max_size=5)
KEYS = {
    "id": st.integers(1, 3) | ODD,
    "category_id": st.just(2) | ODD,
    "area": ODD,
    "bbox": BOXES | ODD,
    "iscrowd": ODD,
}
INFOS = st.lists(
    st.fixed_dictionaries(KEYS, optional={"score": st.none() | st.floats(0, 1)})
    | st.dictionaries(st.sampled_from(list(KEYS)), ODD),
    max_size=3,
)


def slowly(info):
    """What the packed way must agree with: a segment whose values are asked for one by one."""
    return annotations.segment_from_json(info, strict=True)


@given(INFOS | st.just({}) | st.none() | st.just("") | st.just(5))
def test_segments_are_read_as_one_by_one(infos):
    """With every mistake and its place, however they are packed."""
    content = changed((*SEGMENT[:2], "segments_info"), infos)
    mistakes, expected, seen = [], [], set()
    with tempfile.TemporaryDirectory() as folder:
        _, records = read(Path(folder), content, on_mistake=mistakes.append)
    kept = []
    for place, info in enumerate(infos if isinstance(infos, list) else []):
        try:
            segment = slowly(info)
        except annotations.MalformedError as error:
            expected.append(f"annotations[0] segments_info[{place}] {error}")
            continue
        if segment.id in seen:
            expected.append(f"annotations[0] segments_info[{place}] repeats id {segment.id}")
            continue
        seen.add(segment.id)
        kept.append(segment)
        if segment.category_id != 2:
            what = f"has category_id {segment.category_id}, which is not among the categories"
            expected.append(f"annotations[0] segments_info[{place}] {what}")
    if isinstance(infos, list):
        assert [one.text for one in mistakes] == expected
        assert list(records[0].segments) == kept
    else:
        assert "'segments_info'" in mistakes[0].text

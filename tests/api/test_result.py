"""What a result tells is one and the same in all its forms."""

import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from yoso_cli.api.result import Result
from yoso_cli.errors import UsageError
from yoso_cli.panoptic.types import Category, Panoptic, Segment, measured

CATEGORIES = (Category(3, "cat", True), Category(9, "dog", True), Category(200, "sky", False))


@st.composite
def results(draw: st.DrawFn) -> Result:
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    count = draw(st.integers(0, 4))
    ids = np.array(draw(st.lists(st.integers(0, count), min_size=height * width, max_size=height * width)), np.int32)
    id_map = ids.reshape(height, width)
    segments = [
        Segment(one, draw(st.sampled_from(CATEGORIES)).id, 0, score=draw(st.floats(0, 1, width=32)))
        for one in range(1, count + 1)
    ]
    image = np.full((height, width, 3), 90, np.uint8)
    return Result(image, Panoptic(id_map, measured(id_map, segments)), CATEGORIES, "a.jpg")


@given(results())
@settings(max_examples=60)
def test_masks_maps_and_boxes_agree(result: Result) -> None:
    semantic = result.semantic_map()
    left_over = result.id_map != 0
    for segment in result.segments:
        mask = result.mask(segment.id)
        assert mask.sum() == segment.area
        assert (semantic[mask] == segment.category_id).all()
        rows, columns = np.nonzero(mask)
        assert segment.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (segment.name, segment.isthing) == {one.id: (one.name, one.isthing) for one in CATEGORIES}[
            segment.category_id
        ]
        left_over &= ~mask
    assert not left_over.any()
    assert (semantic[result.id_map == 0] == -1).all()
    assert (result.semantic_map(void=255)[result.id_map == 0] == 255).all()


@given(results())
@settings(max_examples=60)
def test_instances_are_the_things_by_score(result: Result) -> None:
    things = result.instances()
    assert len(things) == sum(one.isthing for one in result.segments)
    assert list(things.scores) == sorted(things.scores, reverse=True)
    assert things.masks.shape == (len(things), *result.id_map.shape)
    assert things.masks.dtype == bool
    assert things.boxes.shape == (len(things), 4)
    assert [mask.sum() for mask in things.masks] == [
        one.area for one in sorted((s for s in result.segments if s.isthing), key=lambda s: -s.score)
    ]


@given(results())
@settings(max_examples=30)
def test_coco_lists_every_segment_as_pycocotools_and_panopticapi_expect(result: Result) -> None:
    entry = result.to_coco(image_id=7, file_name="a.png")
    assert (entry["image_id"], entry["file_name"]) == (7, "a.png")
    told = {one["id"]: one for one in entry["segments_info"]}
    assert told.keys() == set(np.unique(result.id_map)) - {0}
    for segment in result.segments:
        left, top, right, bottom = segment.box
        assert told[segment.id]["bbox"] == [left, top, right - left, bottom - top]
        assert told[segment.id]["area"] == segment.area
    with Image.open(io.BytesIO(result.to_png())) as image:
        assert np.array_equal(np.asarray(image, np.int32) @ [1, 256, 256**2], result.id_map)


@given(result=results())
@settings(max_examples=60)
def test_the_official_reader_finds_the_ids_of_the_png(result: Result) -> None:
    official = oracle("panopticapi.utils")
    with Image.open(io.BytesIO(result.to_png())) as image:
        assert np.array_equal(official.rgb2id(np.asarray(image)), result.id_map)


def one() -> Result:
    id_map = np.array([[1, 1, 0], [2, 2, 2]], np.int32)
    segments = measured(id_map, [Segment(1, 3, 0, score=0.5), Segment(2, 200, 0, score=0.9)])
    return Result(np.zeros((2, 3, 3), np.uint8), Panoptic(id_map, segments), CATEGORIES)


def test_a_segment_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"There is no segment 5\. Its ids are 1, 2\."):
        one().mask(5)


def test_a_drawing_is_a_picture_and_can_be_saved(tmp_path: Path) -> None:
    result = one()
    drawn = result.draw()
    assert isinstance(drawn, Image.Image)
    saved = result.save(tmp_path / "seen.png")
    assert np.array_equal(np.asarray(Image.open(saved)), np.asarray(drawn))
    assert result.draw(legend=False).width < drawn.width or result.draw(legend=False).height < drawn.height


def test_a_drawing_takes_a_style(tmp_path: Path) -> None:
    result = one()
    cut = result.draw(labels="name,score", color="instance", only=["cat"], background="transparent", scale=1)
    assert (cut.mode, cut.size) == ("RGBA", (3, 2))
    assert np.array_equal(np.asarray(cut)[..., 3] == 255, result.mask(1))
    saved = result.save(tmp_path / "cut.png", only="cat", background="transparent", labels="none", scale=1)
    with Image.open(saved) as picture:
        assert picture.mode == "RGBA"
    with pytest.raises(UsageError, match="a JPEG cannot be transparent"):
        result.save(tmp_path / "cut.jpg", background="transparent")
    with pytest.raises(UsageError, match=r"no class 'cta'\. Did you mean 'cat'"):
        result.draw(only="cta")
    with pytest.raises(UsageError, match="'nam' is none of name, id, score"):
        result.draw(labels="nam")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.png"]


def test_supervision_gets_every_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the constructor of `supervision.Detections`; where the package is missing, it is named."""
    stand_in: Any = ModuleType("supervision")
    stand_in.Detections = lambda **values: values
    monkeypatch.setitem(sys.modules, "supervision", stand_in)
    told = one().to_supervision()
    assert told["class_id"].tolist() == [3, 200]
    assert told["xyxy"].tolist() == [[0, 0, 2, 1], [0, 1, 3, 2]]
    assert told["mask"].sum((1, 2)).tolist() == [2, 3]
    assert told["data"]["class_name"].tolist() == ["cat", "sky"]
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UsageError, match="pip install supervision"):
        one().to_supervision()

"""Mask AP is pycocotools' to the last digit, from JSON made without this package."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from conftest import oracle
from evaluation.plain import CATEGORIES, Pairs, random_pairs
from evaluation.test_measures import found
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.panoptic.types import Category, Panoptic, Segment


def coco_eval(pairs: Pairs, categories: tuple[Category, ...] = CATEGORIES) -> Any:
    """pycocotools' COCOeval of the things of these pairs, evaluated and accumulated."""
    mask, coco, cocoeval = (oracle(f"pycocotools.{name}") for name in ("mask", "coco", "cocoeval"))
    things = {one.id for one in categories if one.isthing}
    truth, results = [], []
    for image, (true, prediction) in enumerate(pairs):
        for side, kept in ((true, truth), (prediction, results)):
            for one in side.segments:
                if one.category_id in things:
                    rle = mask.encode(np.asfortranarray(side.id_map == one.id).astype(np.uint8))
                    entry = {"id": len(kept) + 1, "image_id": image, "category_id": one.category_id}
                    kept.append(entry | {"segmentation": rle, "iscrowd": int(one.iscrowd), "score": one.score})
                    kept[-1]["area"] = one.area if side is true else int(mask.area(rle))
                    kept[-1]["bbox"] = mask.toBbox(rle).tolist()
    listed = [{"id": one.id, "name": one.name} for one in categories if one.isthing]
    shapes = [true.id_map.shape for true, _ in pairs]
    images = [{"id": image, "height": height, "width": width} for image, (height, width) in enumerate(shapes)]
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in (truth, results):
            side = coco.COCO()
            side.dataset = {"images": images, "annotations": annotations, "categories": listed, "info": {}}
            side.createIndex()
            sides.append(side)
        evaluator = cocoeval.COCOeval(*sides, "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


@settings(max_examples=120)
@given(st.integers(0, 2**32 - 1))
def test_every_digit_is_that_of_pycocotools(seed: int) -> None:
    pairs = random_pairs(seed)
    theirs = coco_eval(pairs)
    seen = found(pairs, metrics=["ap"]).instances
    assert seen is not None
    ours = [seen.ap, seen.ap50, seen.ap75, seen.small, seen.medium, seen.large]
    assert [-1 if one is None else one for one in ours] == theirs.stats[:6].tolist()
    for column, one in enumerate(sorted(seen.classes, key=lambda one: one.category.id)):
        precision = theirs.eval["precision"][:, :, column, 0, 2]
        there = precision[precision > -1]
        assert one.ap == (np.mean(there) if there.size else None)


def test_more_than_a_hundred_of_a_class_are_cut_off_at_the_lowest_scores() -> None:
    pixels = np.arange(1, 151, dtype=np.int32).reshape(10, 15)
    truth = Panoptic(pixels, tuple(Segment(one, 7, 1) for one in range(1, 151)))
    guess = Panoptic(pixels, tuple(Segment(one, 7, 1, score=one / 200) for one in range(1, 151)))
    seen = found([(truth, guess)], metrics=["ap"]).instances
    assert seen is not None
    assert seen.ap == coco_eval([(truth, guess)]).stats[0]
    assert seen.ap == pytest.approx(67 / 101), "a hundred of 150 reach a recall of two thirds"


@pytest.mark.parametrize("scores", [(0.9, 0.8), (0.8, 0.9), (0.5, 0.5)])
def test_two_halves_of_one_object_are_taken_as_pycocotools_takes_them(scores: tuple[float, float]) -> None:
    """An IoU of exactly 0.5 is a match for COCO, so two segments can want one object."""
    truth = Panoptic(np.array([[1, 1, 2, 3]], np.int32), (Segment(1, 7, 2), Segment(2, 7, 1), Segment(3, 7, 1)))
    halves = tuple(Segment(one, 7, 1, score=score) for one, score in zip((1, 2), scores, strict=True))
    guess = Panoptic(np.array([[1, 2, 3, 3]], np.int32), (*halves, Segment(3, 7, 2, score=0.7)))
    seen = found([(truth, guess)], metrics=["ap"]).instances
    assert seen is not None
    assert [seen.ap, seen.ap50, seen.ap75] == coco_eval([(truth, guess)]).stats[:3].tolist()

"""AP by Cityscapes' rules, and mIoU: what the official evaluators of Cityscapes find, on random pictures."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import oracle
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from numpy.random import Generator
from PIL import Image

from yoso_cli.datasets.spec import read_categories
from yoso_cli.evaluation import cityscapes
from yoso_cli.evaluation.cityscapes_ap import IOUS, CityscapesAP
from yoso_cli.evaluation.measures import Measures
from yoso_cli.evaluation.score import score
from yoso_cli.panoptic.types import Panoptic, Segment, measured

CATEGORIES = read_categories("cityscapes")
LABELS = {one.name: one.id for one in CATEGORIES}
ROAD, SKY, PERSON, CAR, BICYCLE = (LABELS[name] for name in ("road", "sky", "person", "car", "bicycle"))
THINGS = (PERSON, CAR, BICYCLE)
SIZE = (48, 64)

Pairs = Sequence[tuple[Panoptic, Panoptic]]
Box = tuple[int, int, int, int, int]


def random_box(rng: Generator) -> Box:
    """Top, left, height, width and class: some below 100 pixels, some far above."""
    height, width = (int(edge) for edge in rng.integers(4, 24, 2))
    top, left = int(rng.integers(0, SIZE[0] - 4)), int(rng.integers(0, SIZE[1] - 4))
    return top, left, height, width, int(rng.choice(THINGS))


def moved(box: Box, rng: Generator) -> Box:
    """By so little that IoUs of all thresholds occur; now and then of another class."""
    most = int(rng.integers(0, 4))
    top, left = (max(0, edge + int(rng.integers(-most, most + 1))) for edge in box[:2])
    grown = [max(2, edge + int(rng.integers(-most, most + 1))) for edge in box[2:4]]
    return top, left, grown[0], grown[1], box[4] if rng.random() < 0.85 else int(rng.choice(THINGS))


def painted(boxes: Sequence[Box], rng: Generator, *, predicted: bool) -> Panoptic:
    """Boxes over void, sky and road, later ones over earlier ones; true ones may be groups, predicted have scores."""
    id_map = np.zeros(SIZE, np.int32)
    id_map[:12], id_map[30:] = 1, 2
    segments = [Segment(1, SKY, 1), Segment(2, ROAD, 1)]
    for number, (top, left, height, width, category) in enumerate(boxes, 10):
        id_map[top : top + height, left : left + width] = number
        crowd, tenth = not predicted and rng.random() < 0.25, float(rng.integers(0, 11)) / 10
        segments.append(Segment(number, category, 1, iscrowd=bool(crowd), score=tenth if predicted else None))
    return Panoptic(id_map, measured(id_map, segments))


def random_pairs(seed: int) -> list[tuple[Panoptic, Panoptic]]:
    """One to four pictures, in which true things are found, moved, lost, and made up."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(int(rng.integers(1, 5))):
        true = [random_box(rng) for _ in range(int(rng.integers(0, 9)))]
        found = [moved(box, rng) for box in true if rng.random() < 0.8]
        found += [random_box(rng) for _ in range(int(rng.integers(0, 3)))]
        pairs.append((painted(true, rng, predicted=False), painted(found, rng, predicted=True)))
    return pairs


def official(pairs: Pairs) -> Any:
    """The averages of Cityscapes' evaluator of instances, on files as it wants them."""
    script = oracle("cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling")
    args = SimpleNamespace(**{**vars(script.args), "quiet": True, "JSONOutput": False})
    script.setInstanceLabels(args)
    matches: dict[str, Any] = {}
    with TemporaryDirectory() as folder, cityscapes._current_numpy(script):
        args.predictionPath = str(Path(folder).resolve())
        for number, (truth, prediction) in enumerate(pairs):
            true, found = Path(folder) / f"{number}.png", Path(folder) / f"{number}.txt"
            Image.fromarray(instance_ids(truth)).save(true)
            found.write_text("".join(masks(prediction, Path(folder), number)))
            matches |= script.matchGtWithPreds(
                [str(found)], [str(true)], script.instances2dict([str(true)], False), args
            )
        with warnings.catch_warnings():
            # numpy warns of the mean over no class at all.
            warnings.simplefilter("ignore", RuntimeWarning)
            return script.computeAverages(script.evaluateMatches(matches, args), args)


def instance_ids(truth: Panoptic) -> np.ndarray:
    """As Cityscapes publishes it: class * 1000 + n for an instance, the class alone for groups and stuff."""
    values = np.zeros(SIZE, np.uint16)
    for number, one in enumerate(truth.segments):
        alone = one.iscrowd or one.category_id not in THINGS
        values[truth.id_map == one.id] = one.category_id if alone else one.category_id * 1000 + number
    return values


def masks(prediction: Panoptic, folder: Path, number: int) -> list[str]:
    """Writes a mask for each predicted thing; returns the lines that list them."""
    lines = []
    for one in prediction.segments:
        if one.category_id in THINGS:
            name = f"{number}_{one.id}.png"
            Image.fromarray(np.where(prediction.id_map == one.id, 255, 0).astype(np.uint8)).save(folder / name)
            lines.append(f"{name} {one.category_id} {one.score}\n")
    return lines


def ours(pairs: Pairs) -> CityscapesAP:
    found = measured_by_us(pairs).cityscapes_ap
    assert found is not None
    return found


def measured_by_us(pairs: Pairs) -> Measures:
    return score(pairs, CATEGORIES, metrics=["pq", "ap-cityscapes", "miou"])


def figure(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def agree(pairs: Pairs) -> CityscapesAP:
    """Asserts that every figure is the official one, to the last digit; returns ours."""
    found, theirs = ours(pairs), official(pairs)
    assert [(one.ap, one.ap50) for one in found.classes] == [
        tuple(figure(theirs["classes"][one.category.name][key]) for key in ("ap", "ap50%")) for one in found.classes
    ]
    assert (found.ap, found.ap50) == (figure(theirs["allAp"]), figure(theirs["allAp50%"]))
    return found


@settings(max_examples=80)
@given(seed=st.integers(0, 2**32 - 1))
def test_ap_is_the_official_one_to_the_last_digit(seed: int) -> None:
    try:
        agree(random_pairs(seed))
    except IndexError:  # the official evaluator's own, see below
        reject()


def test_random_pictures_have_all_that_the_rules_are_about() -> None:
    """Otherwise the test above would be one of easy cases."""
    pairs = [pair for seed in range(20) for pair in random_pairs(seed)]
    true = [one for truth, _ in pairs for one in truth.segments if one.category_id in THINGS]
    assert {one.iscrowd for one in true} == {one.area < 100 for one in true} == {True, False}
    several = [[one.category_id for one in truth.segments if one.iscrowd] for truth, _ in pairs]
    assert any(len(set(groups)) < len(groups) for groups in several)
    found = agree(pairs)
    assert found.ap is not None
    assert 0.05 < found.ap < found.ap50 < 0.95  # type: ignore[operator]
    assert sum(one.ap is not None for one in found.classes) == len(THINGS)


def one_picture(true: Sequence[Segment], found: Sequence[Segment], areas: dict[int, int], void: int = 0) -> Pairs:
    """Rows of pixels: each id has so many of them, in the same place on both sides; void is true only."""
    ids = [one for one, area in areas.items() for _ in range(area)]
    id_map = np.zeros((1, len(ids)), np.int32)
    id_map[0] = ids
    sides = [np.where(np.isin(id_map, [one.id for one in side]), id_map, 0).astype(np.int32) for side in (true, found)]
    sides[0][0, :void] = 0
    return [(Panoptic(sides[0], measured(sides[0], true)), Panoptic(sides[1], measured(sides[1], found)))]


def test_where_the_official_evaluator_stops_the_ap_is_0() -> None:
    """A car is missed, and the only detection of a car lies in a group of cars."""
    true = (Segment(1, CAR, 1), Segment(2, CAR, 1, iscrowd=True))
    pairs = one_picture(true, (Segment(2, CAR, 1, score=0.5),), {1: 150, 2: 150})
    with pytest.raises(IndexError):
        official(reshaped(pairs))
    assert (ours(pairs).ap, ours(pairs).ap50) == (0, 0)


def reshaped(pairs: Pairs) -> Pairs:
    """In the size that the official evaluator's files have here; the rest is void on both sides."""

    def wide(one: Panoptic) -> Panoptic:
        id_map = np.zeros(SIZE, np.int32)
        id_map.reshape(-1)[: one.id_map.size] = one.id_map.reshape(-1)
        return replace(one, id_map=id_map)

    return [(wide(truth), wide(prediction)) for truth, prediction in pairs]


@pytest.mark.parametrize(("area", "ap"), [(100, 1.0), (99, None)])
def test_instances_below_100_pixels_do_not_count(area: int, ap: float | None) -> None:
    pairs = one_picture((Segment(1, CAR, 1),), (Segment(1, CAR, 1, score=0.5),), {1: area})
    assert agree(reshaped(pairs)).ap == ours(pairs).ap == ap


def test_an_iou_of_exactly_a_half_is_no_match() -> None:
    """100 of 200 pixels; in COCO's AP it is one."""
    true, found = (Segment(1, CAR, 1), Segment(2, CAR, 1)), (Segment(2, CAR, 1, score=0.9),)
    id_map = np.repeat(np.array([[1, 2]], np.int32), 100, axis=1)
    truth = Panoptic(np.full_like(id_map, 1), measured(np.full_like(id_map, 1), true))
    guess = np.where(id_map == 2, 2, 0).astype(np.int32)
    pairs = [(truth, Panoptic(guess, measured(guess, found)))]
    assert agree(reshaped(pairs)).ap50 == ours(pairs).ap50 == 0
    coco = score(pairs, CATEGORIES, metrics=["ap"]).instances
    assert coco is not None
    assert coco.ap50 == pytest.approx(1)


def test_the_thresholds_are_the_official_ones() -> None:
    script = oracle("cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling")
    assert IOUS.tolist() == script.args.overlaps.tolist()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_miou_is_the_official_one(seed: int) -> None:
    """Each class to the last digit; their mean is summed in another order."""
    pairs = random_pairs(seed)
    found = measured_by_us(pairs).semantic
    assert found is not None
    official = cityscapes._Official.imported()
    counts = cityscapes._Counts.none(official)
    with TemporaryDirectory() as folder, cityscapes._current_numpy(official.pixels):
        for number, both in enumerate(pairs):
            names = [str(Path(folder) / f"{number}_{side}_labelIds.png") for side in ("true", "found")]
            for name, one in zip(names, both, strict=True):
                Image.fromarray(label_ids(one)).save(name)
            Image.fromarray(instance_ids(both[0])).save(names[0].replace("labelIds", "instanceIds"))
            official.pixels.evaluatePair(
                names[1], names[0], counts.confusion, counts.instance_stats, {}, counts.pixel_args
            )
    theirs = counts.pixel_quality(CATEGORIES)
    assert [one.iou for one in found.classes] == [one.iou for one in theirs.classes]
    assert found.miou == pytest.approx(theirs.iou, abs=1e-12)


def label_ids(one: Panoptic) -> np.ndarray:
    values = np.zeros(SIZE, np.uint8)
    for segment in one.segments:
        values[one.id_map == segment.id] = segment.category_id
    return values

"""mIoU is what a plain confusion over all pixels gives, by the rule of Cityscapes' own script."""

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import oracle
from evaluation.plain import CATEGORIES, Pairs, random_pairs
from evaluation.test_measures import found
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.evaluation.matching import match, overlap
from yoso_cli.evaluation.semantic import confusion
from yoso_cli.panoptic.types import Category, Panoptic, Segment

K = len(CATEGORIES)


def class_map(panoptic: Panoptic, nothing: int) -> np.ndarray:
    """(H, W) the place of each pixel's category, `nothing` where it has none."""
    place = {one.id: index for index, one in enumerate(CATEGORIES)}
    found = np.full(panoptic.id_map.shape, nothing)
    for one in panoptic.segments:
        found[panoptic.id_map == one.id] = place[one.category_id]
    return found


def bincount_confusion(pairs: Pairs) -> np.ndarray:
    cells = np.zeros((K + 1) ** 2, np.int64)
    for truth, prediction in pairs:
        both = class_map(truth, K) * (K + 1) + class_map(prediction, K)
        cells += np.bincount(both.ravel(), minlength=len(cells))
    return cells.reshape(K + 1, K + 1)


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_each_cell_is_that_of_a_count_over_pixels(seed: int) -> None:
    pairs = random_pairs(seed)
    ours = confusion(match([overlap(truth, prediction) for truth, prediction in pairs], CATEGORIES))
    assert np.array_equal(ours, bincount_confusion(pairs)[:K])


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_the_figures_are_those_of_the_cityscapes_script(seed: int) -> None:
    script = oracle("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    labels = oracle("cityscapesscripts.helpers.labels").name2label
    names = ["person", "car", "sky", "road"]
    ids = [labels[name].id for name in names]
    whole = np.zeros((len(labels), len(labels)), np.int64)
    rows = [*ids, labels["unlabeled"].id]
    pairs = random_pairs(seed)
    whole[np.ix_(rows, rows)] = bincount_confusion(pairs)
    args = SimpleNamespace(evalLabels=rows)
    seen = found(pairs, metrics=["miou"]).semantic
    assert seen is not None
    theirs = [script.getIouScoreForLabel(label, whole, args) for label in ids]
    ours = [np.nan if one.iou is None else one.iou for one in seen.classes]
    assert np.array_equal(ours, theirs, equal_nan=True)
    average = script.getScoreAverage(dict(zip(names, theirs, strict=True)), args)
    assert np.array_equal([np.nan if seen.miou is None else seen.miou], [average], equal_nan=True)


def test_accuracies_weigh_pixels_and_classes() -> None:
    truth = Panoptic(np.array([[1, 1, 1, 2]], np.int32), (Segment(1, 90, 3), Segment(2, 4, 1)))
    guess = Panoptic(np.array([[1, 1, 0, 1]], np.int32), (Segment(1, 90, 3),))
    seen = found([(truth, guess)], metrics=["miou"]).semantic
    assert seen is not None
    assert seen.pixel_accuracy == 2 / 4
    assert seen.mean_accuracy == (2 / 3 + 0) / 2
    assert seen.miou == (2 / 4 + 0) / 2
    assert seen.weighted_iou == pytest.approx(3 / 4 * 2 / 4)
    assert [(one.pixels, one.accuracy) for one in seen.classes] == [(0, None), (0, None), (3, 2 / 3), (1, 0.0)]


def test_predictions_in_void_do_not_count() -> None:
    truth = Panoptic(np.array([[1, 1, 0, 9]], np.int32), (Segment(1, 90, 2),))
    guess = Panoptic(np.array([[1, 1, 1, 2]], np.int32), (Segment(1, 90, 3), Segment(2, 4, 1)))
    seen = found([(truth, guess)], [*CATEGORIES, Category(5, "mud", False)], metrics=["miou"]).semantic
    assert seen is not None
    assert (seen.miou, seen.n, seen.pixel_accuracy) == (1.0, 1, 1.0)

"""PQ from arrays and lists is PQ from files."""

from pathlib import Path
from typing import Any

import build
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import yoso_cli as yoso
from yoso_cli.api.metric import PanopticMetric, panoptic_quality
from yoso_cli.errors import DataError, UsageError
from yoso_cli.evaluation.score import score
from yoso_cli.panoptic.types import Category, Panoptic

CATEGORIES = (Category(3, "cat", True), Category(9, "dog", True), Category(200, "sky", False))
PLAIN = [{"id": one.id, "name": one.name, "isthing": one.isthing} for one in CATEGORIES]


def listed(panoptic: Panoptic, *, bare: bool) -> tuple[Any, list[dict[str, Any]]]:
    """As COCO has it; `bare` leaves out what can be left out."""
    kept = ("id", "category_id") if bare else ("id", "category_id", "area", "iscrowd")
    return panoptic.id_map, [{key: getattr(one, key) for key in kept} for one in panoptic.segments]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.booleans())
@settings(max_examples=40)
def test_arrays_and_lists_score_like_panoptics(seed: int, pictures: int, bare: bool) -> None:
    random = np.random.default_rng(seed)
    pairs = [
        (build.blocks(random, 9, 13, CATEGORIES), build.blocks(random, 9, 13, CATEGORIES)) for _ in range(pictures)
    ]
    wanted = score(pairs, CATEGORIES).quality
    truth, prediction = zip(*([listed(side, bare=bare) for side in pair] for pair in pairs), strict=True)
    assert panoptic_quality(list(truth), list(prediction), PLAIN).to_dict() == wanted.to_dict()
    metric = PanopticMetric(CATEGORIES)
    for true, predicted in pairs:
        metric.update(true, (torch.from_numpy(predicted.id_map), predicted.segments))
    assert metric.compute().to_dict() == wanted.to_dict()
    metric.reset()
    assert metric.compute().all.pq is None


def test_one_picture_needs_no_list() -> None:
    picture = (np.array([[1, 1], [0, 2]]), [{"id": 1, "category_id": 3}, {"id": 2, "category_id": 200}])
    assert panoptic_quality(picture, picture, PLAIN).all.pq == 1.0


def test_paths_are_read_from_disk(line: Path) -> None:
    truth = "datasets/shapes/val"
    assert panoptic_quality(truth, Path(truth)).all.pq == 1.0


@pytest.mark.parametrize(
    ("truth", "prediction", "said"),
    [
        ((np.zeros((2, 2)), []), (np.zeros((2, 2), int), []), r"An id map must be \(H, W\) of integers"),
        ((np.zeros((2, 2, 3), int), []), (np.zeros((2, 2), int), []), r"An id map must be \(H, W\) of integers"),
        ((np.zeros((2, 2), int), []), (np.zeros((2, 3), int), []), "predicted map is 3x2 pixels, the true one 2x2"),
        ((np.zeros((2, 2), int), []), (np.ones((2, 2), int), []), "holds segment 1, which"),
        ((np.zeros((2, 2), int), []), (np.ones((2, 2), int), [{"id": 1}]), "needs an id and a category_id"),
        ((np.zeros((2, 2), int), []), (np.ones((2, 2), int), [1]), "needs an id and a category_id, and this is 1"),
        ([7], [7], "is of type int"),
        ((np.ones((2, 2), int), [{"id": 1, "category_id": 4}]), (np.zeros((2, 2), int), []), "category"),
    ],
)
def test_what_contradicts_itself_is_named(truth: Any, prediction: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        panoptic_quality(truth, prediction, PLAIN)


def test_what_cannot_be_compared_is_refused() -> None:
    picture = (np.ones((1, 1), int), [{"id": 1, "category_id": 3}])
    with pytest.raises(UsageError, match="give `categories`"):
        panoptic_quality(picture, picture)
    with pytest.raises(UsageError, match="both be paths"):
        panoptic_quality("a.json", picture)
    with pytest.raises(DataError, match="1 true pictures and 2 predicted"):
        panoptic_quality([picture], [picture] * 2, PLAIN)
    for category in ({"id": 1}, "cat"):
        with pytest.raises(DataError, match="needs id, name and isthing"):
            PanopticMetric([category])


def test_a_result_is_scored_as_its_panoptic(line: Path) -> None:
    result = yoso.load("runs/tiny-001", device="cpu")(build.picture())
    found = panoptic_quality(result, result.panoptic, result.categories)
    assert result.segments
    assert found.all.pq == 1.0


def test_an_unknown_metric_is_refused(line: Path) -> None:
    with pytest.raises(UsageError, match=r"--metric qp: there is no such metric\. There are pq"):
        yoso.evaluate_predictions("datasets/shapes/val", "datasets/shapes/val", metrics=["qp"])

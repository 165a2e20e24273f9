"""A comparison is paired, says plainly what could be noise, and refuses what was measured on different things."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation.test_confidence import CATEGORIES, random_counts, tallies

from yoso_cli.errors import DataError
from yoso_cli.evaluation.comparison import compared, table
from yoso_cli.evaluation.per_image import FN, IOU, TP, ImageTallies, Measured, confidence
from yoso_cli.panoptic.types import Category

COUNTS = random_counts(np.random.default_rng(0), 80)


def side(counts: np.ndarray = COUNTS, name: str = "a") -> Measured:
    return Measured(name, "coco val", CATEGORIES, tallies(counts))


def worse(counts: np.ndarray, share: float) -> np.ndarray:
    """The same pictures with looser masks."""
    changed = counts.copy()
    changed[..., IOU] *= 1 - share
    return changed


def test_equal_results_on_every_image_are_reported() -> None:
    found = compared(side(), side())
    assert found.all.pq.value == 0
    assert found.all.pq.could_be_noise
    lines = table(found).splitlines()
    assert lines[-1] == "Both score the same on every image."
    assert not [line for line in lines if "classes" in line], "classes that are all the same tell nothing"


def test_classes_that_did_not_move_are_counted_and_not_listed() -> None:
    other = COUNTS.copy()
    other[:, 0, IOU] *= 0.9
    lines = table(compared(side(), side(other, "b"))).splitlines()
    listed = [line for line in lines if line.startswith(tuple(f"{one.name} " for one in CATEGORIES))]
    assert [line.split()[0] for line in listed] == [CATEGORIES[0].name]
    assert "The same in both: 2 of 3." in lines


def test_a_small_consistent_loss_is_significant_though_the_intervals_overlap() -> None:
    other = worse(COUNTS, 0.02)
    first, second = (confidence(tallies(one), CATEGORIES).all.pq for one in (COUNTS, other))
    assert first
    assert second
    assert second.high > first.low
    found = compared(side(), side(other, "b"))
    assert not found.all.pq.could_be_noise
    assert found.all.pq.interval
    assert found.all.pq.interval.high < 0
    assert "A is better by " in table(found)
    back = compared(side(other), side())
    assert "B is better by " in table(back)
    assert back.all.pq.value == pytest.approx(-(found.all.pq.value or 0))


def test_gains_here_and_losses_there_could_be_noise() -> None:
    other = COUNTS.copy()
    rows = np.random.default_rng(4).permutation(len(other))
    for row, factor in zip(rows, [0.8, 1.2] * 40, strict=True):
        other[row, :, IOU] *= factor
    found = compared(side(), side(other))
    assert found.all.pq.could_be_noise
    assert "The difference could be noise" in table(found)


def test_equal_models_rarely_differ_significantly() -> None:
    """Two predictions of the same pictures that differ by luck alone: about one pair in twenty looks different."""
    random = np.random.default_rng(7)
    apart = 0
    for _ in range(60):
        one = random_counts(random, 60)
        segments = one[..., TP] + one[..., FN]
        pair = []
        for _ in range(2):
            counts = one.copy()
            counts[..., TP] = random.binomial(segments.astype(int), 0.6)
            counts[..., FN] = segments - counts[..., TP]
            counts[..., IOU] = 0.8 * counts[..., TP]
            pair.append(side(counts))
        apart += not compared(*pair).all.pq.could_be_noise
    assert apart <= 9


def test_the_order_of_the_pictures_does_not_matter() -> None:
    other = worse(COUNTS, 0.1)
    rows = np.random.default_rng(1).permutation(len(COUNTS))
    plain = tallies(other)
    shuffled = ImageTallies(tuple(rows.tolist()), tuple(plain.files[row] for row in rows), other[rows])
    assert compared(side(), replace(side(), tallies=shuffled)) == compared(side(), side(other))


def test_other_pictures_are_refused() -> None:
    fewer = replace(side(), tallies=tallies(COUNTS[:-2]))
    with pytest.raises(DataError, match=r"A \(coco val\) has 2 images that B lacks, B \(coco val\) has 0 that A lacks"):
        compared(side(), fewer)


def test_other_classes_are_refused() -> None:
    cow = (*CATEGORIES[:2], Category(2, "cow", True))
    with pytest.raises(DataError, match="not shared: cow, dog"):
        compared(side(), replace(side(), categories=cow))
    with pytest.raises(DataError, match="another order"):
        compared(side(), replace(side(), categories=CATEGORIES[::-1]))


def test_another_truth_of_the_same_pictures_is_refused() -> None:
    other = COUNTS.copy()
    other[3, 0, FN] += 1
    with pytest.raises(DataError, match=r"the truth of 1 image is not the same: 3\.jpg"):
        compared(side(), side(other))


def test_one_picture_gives_no_interval() -> None:
    found = compared(side(COUNTS[:1]), side(worse(COUNTS[:1], 0.3)))
    assert found.all.pq.interval is None
    assert found.all.pq.could_be_noise
    assert table(found).endswith("There is not enough data to compare.")


@pytest.mark.parametrize("images", [3, 29, 30])
def test_a_difference_on_very_few_pictures_is_not_called_better(images: int) -> None:
    counts = COUNTS[:images]
    found = compared(side(counts), side(worse(counts, 0.3)))
    assert not found.all.pq.could_be_noise
    text = table(found)
    few = images < 30
    assert found.to_dict()["too_few"] is few
    assert ("better" in text) is not few
    assert ("changed significantly" in text) is not few
    assert (f"{images} images are too few" in text) is few
    assert max(map(len, text.splitlines())) <= 80


def test_a_class_that_one_side_lacks_has_no_difference() -> None:
    nothing = COUNTS.copy()
    nothing[:, 1, :] = 0
    nothing_false = nothing.copy()
    nothing_false[0, 1, 2] = 1
    found = compared(side(nothing), side(nothing_false))
    assert (found.classes[1].pq.a, found.classes[1].pq.b, found.classes[1].pq.value) == (None, 0.0, None)
    assert found.to_dict()["classes"][1]["difference"] is None


def test_the_table_fits_80_columns() -> None:
    found = compared(side(name="runs/shapes-001/report.json"), side(worse(COUNTS, 0.1), "runs/shapes-002/report.json"))
    text = table(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "PQ changed significantly in 3 of 3 classes:" in text


def test_the_json_is_in_percent() -> None:
    told = compared(side(), side(worse(COUNTS, 0.1))).to_dict()
    assert told["images"] == 80
    assert told["all"]["pq"]["difference"] == pytest.approx(told["all"]["pq"]["b"] - told["all"]["pq"]["a"])
    assert told["all"]["rq"]["difference"] == 0
    assert told["all"]["pq"]["could_be_noise"] is False

"""A model's predictions are counted while it goes on; what is under way at once does not grow with the set."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import build
import numpy as np
import pytest
from evaluation.plain import CATEGORIES

from yoso_cli.errors import DataError
from yoso_cli.evaluation.counting import complete, counts_from_stream, pass_first_of_two, saving
from yoso_cli.evaluation.measures import METRICS, Counts, count, measures, overlap_for
from yoso_cli.panoptic.files import SetWriter, read_panoptic, read_set
from yoso_cli.panoptic.types import ImageRecord, Panoptic, PanopticSet


def prepared(folder: Path, images: int) -> PanopticSet:
    rng = np.random.default_rng(images)
    pictures = [(np.zeros((20, 24, 3), np.uint8), build.blocks(rng, 20, 24, CATEGORIES)) for _ in range(images)]
    return build.write_set(folder / "val", CATEGORIES, pictures)


def predicted(truth: PanopticSet) -> Iterator[tuple[ImageRecord, Panoptic]]:
    """Each true map turned upside down, with scores."""
    for record in truth.records:
        found = read_panoptic(truth, record)
        scored = tuple(replace(one, score=0.5) for one in found.segments)
        yield record, Panoptic(np.ascontiguousarray(found.id_map[::-1]), scored)


def test_it_counts_what_a_plain_loop_counts(tmp_path: Path) -> None:
    truth = prepared(tmp_path, 9)
    pairs = ((read_panoptic(truth, record), prediction) for record, prediction in predicted(truth))
    plain = count([overlap_for("", *pair, METRICS) for pair in pairs], CATEGORIES, METRICS)
    streamed = counts_from_stream(predicted(truth), truth, METRICS)
    assert measures(streamed, CATEGORIES, METRICS) == measures([plain], CATEGORIES, METRICS)


def test_the_first_prediction_is_passed_on_and_both_are_counted(tmp_path: Path) -> None:
    truth = prepared(tmp_path, 5)
    whole = ((record, (prediction, read_panoptic(truth, record))) for record, prediction in predicted(truth))
    second: list[Counts] = []
    passed = list(pass_first_of_two(whole, truth, second))
    assert [record for record, _ in passed] == list(truth.records)
    assert all(
        np.array_equal(one.id_map, other.id_map) for (_, one), (_, other) in zip(passed, predicted(truth), strict=True)
    )
    assert measures(second, CATEGORIES).quality.all.pq == 1


def test_the_maps_in_memory_do_not_grow_with_the_set(tmp_path: Path) -> None:
    """However many pictures have gone by, only the few that are under way are held, while all of them are saved too."""

    def most_alive(images: int) -> int:
        truth = prepared(tmp_path / str(images), images)
        made: list[weakref.ref[Panoptic]] = []
        most = 0

        def watched() -> Iterator[tuple[ImageRecord, Panoptic]]:
            for record, prediction in predicted(truth):
                made.append(weakref.ref(prediction))
                yield record, prediction

        writer = SetWriter(tmp_path / f"kept-{images}", "x", "val", CATEGORIES)
        for _ in counts_from_stream(saving(watched(), writer), truth, METRICS):
            gc.collect()
            most = max(most, sum(one() is not None for one in made))
        complete(writer, [])
        return most

    # Four may be under way in each of the two stages, and one is on its way between them and out of them.
    assert most_alive(24) <= 2 * 4 + 2


def test_several_writers_of_one_folder_make_one_set(tmp_path: Path) -> None:
    truth = prepared(tmp_path, 5)
    writers = [SetWriter(tmp_path / "kept", "x", "val", CATEGORIES) for _ in range(2)]
    for writer, part in zip(writers, (truth.records[:2], truth.records[2:]), strict=True):
        list(saving(predicted(replace(truth, records=part)), writer))
    complete(writers[0], [writers[1].records])
    found = read_set(tmp_path / "kept")
    assert [record.image_id for record in found.records] == [record.image_id for record in truth.records]
    for record, (_, prediction) in zip(found.records, predicted(truth), strict=True):
        assert np.array_equal(read_panoptic(found, record).id_map, prediction.id_map)


def test_a_picture_that_contradicts_its_truth_is_named(tmp_path: Path) -> None:
    truth = prepared(tmp_path, 3)

    def wrong() -> Iterator[tuple[ImageRecord, Panoptic]]:
        for index, (record, prediction) in enumerate(predicted(truth)):
            yield record, replace(prediction, segments=prediction.segments[:-1]) if index == 1 else prediction

    found = counts_from_stream(wrong(), truth, ["pq"])
    next(found)
    with pytest.raises(DataError, match=r"1\.png: The predicted map holds segment"):
        next(found)

"""What pictures are filtered by agrees with looking at each one, and the lost PQ with the report's."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page import pages
from view import serving

from yoso_cli.errors import DataError
from yoso_cli.evaluation.causes import ERRORS, NAMES, errors
from yoso_cli.evaluation.matching import match, overlap
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.types import Category, ImageRecord, PanopticSet, Segment
from yoso_cli.view.facts import SIZES, Compared, Facts, PictureErrors

CATEGORIES = (Category(5, "cat", True), Category(2, "sky", False), Category(9, "dog", True))
SEGMENTS = st.lists(
    st.builds(
        Segment,
        st.just(1),
        st.sampled_from([one.id for one in CATEGORIES]),
        st.sampled_from([1, 1023, 1024, 9215, 9216, 20_000]),
        iscrowd=st.booleans(),
    ),
    max_size=5,
).map(tuple)


def size_of(area: int) -> int:
    return 0 if area < 32 * 32 else 1 if area < 96 * 96 else 2


@given(st.lists(SEGMENTS, max_size=5))
def test_the_truths_rows_are_those_of_each_picture(pictures: list[tuple[Segment, ...]]) -> None:
    records = tuple(ImageRecord(place, "a", "a", 9, 9, segments) for place, segments in enumerate(pictures))
    facts = Facts.of_truth(PanopticSet("s", "val", CATEGORIES, records, Path(), Path()))
    assert facts.segments.tolist() == [sum(not one.iscrowd for one in segments) for segments in pictures]
    expected = {}
    for place, segments in enumerate(pictures):
        for one in segments:
            key = place, [each.id for each in CATEGORIES].index(one.category_id)
            expected[key] = expected.get(key, 0) | (0 if one.iscrowd else 1 << size_of(one.area))
    rows = zip(facts.image.tolist(), facts.category.tolist(), strict=True)
    assert dict(zip(rows, facts.sizes.tolist(), strict=True)) == expected
    assert not facts.kinds.any()
    assert len(SIZES) == 3


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[PanopticSet, PanopticSet]:
    folder = tmp_path_factory.mktemp("facts")
    truth = pages.truth_in(folder, images=12)
    return truth, serving.predicted_set(folder / "predictions", truth)


def test_errors_are_those_of_each_pair(sets: tuple[PanopticSet, PanopticSet]) -> None:
    truth, predicted = sets
    facts = serving.content_of(truth, predicted).facts
    assert facts.names == tuple(NAMES[cause] for cause in ERRORS)
    found = {}
    for place, (true, other) in enumerate(zip(truth.records, predicted.records, strict=True)):
        wrong = errors(match([overlap(read_panoptic(truth, true), read_panoptic(predicted, other))], truth.categories))
        for category, kinds in enumerate((wrong.true + wrong.predicted).tolist()):
            if any(kinds):
                found[place, category] = sum(1 << place for place, times in enumerate(kinds) if times)
    rows = zip(facts.image.tolist(), facts.category.tolist(), facts.kinds.tolist(), strict=True)
    assert {(image, category): kinds for image, category, kinds in rows if kinds} == found
    assert facts.lowest is not None
    scores = [min(one.score or 0 for one in read_panoptic(predicted, each).segments) for each in predicted.records]
    assert facts.lowest.tolist() == scores


def test_the_lost_pq_is_the_reports(sets: tuple[PanopticSet, PanopticSet]) -> None:
    truth, predicted = sets
    facts = serving.content_of(truth, predicted).facts
    tallies = pages.report_of(truth, pages.predictions_of(truth)).measures.tallies
    assert facts.lost == pytest.approx(tallies.lost())
    assert facts.worst_first()[:12] == np.argsort(-tallies.lost(), kind="stable").tolist()


def test_a_report_gives_what_was_missed_and_what_is_false(sets: tuple[PanopticSet, PanopticSet]) -> None:
    truth, _ = sets
    tallies = pages.report_of(truth, pages.predictions_of(truth)).measures.tallies
    shuffled = tallies.in_order_of([one.image_id for one in reversed(truth.records)])
    facts = Facts.of_truth(truth).with_report(truth.records, shuffled)
    assert facts.names == ("missed", "false")
    assert facts.lost == pytest.approx(tallies.lost())
    bits = np.zeros((len(truth.records), len(truth.categories)), int)
    bits[facts.image, facts.category] = facts.kinds
    assert ((bits & 1) > 0).tolist() == (tallies.counts[..., 3] > 0).tolist()
    assert ((bits & 2) > 0).tolist() == (tallies.counts[..., 2] > 0).tolist()
    with pytest.raises(DataError, match="of other pictures"):
        Facts.of_truth(truth).with_report(truth.records[1:], tallies)


def test_what_cannot_be_compared_is_a_sentence(tmp_path: Path) -> None:
    truth = pages.truth_in(tmp_path, images=12)
    predicted = serving.predicted_set(tmp_path / "predictions", truth)
    compare = Compared(truth, predicted)
    assert compare((truth.records[0], None)) == f"{truth.records[0].image_file}: has no prediction."
    assert isinstance(compare((truth.records[0], predicted.records[0])), PictureErrors)
    truth.panoptic_path(truth.records[11]).write_bytes(b"no map")
    assert "11.png" in str(compare((truth.records[11], predicted.records[11])))
    lone = Facts.of_truth(truth).with_errors([None] * len(truth.records), len(truth.categories))
    assert lone.lost is not None
    assert not lone.lost.any()
    assert lone.lowest is None

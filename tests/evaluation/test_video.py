"""VPQ and STQ are what their papers define: cases worked out by hand, and the definitions written out plainly."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.errors import DataError, UsageError
from yoso_cli.evaluation.matching import overlap
from yoso_cli.evaluation.measures import overlap_for
from yoso_cli.evaluation.score import score
from yoso_cli.evaluation.sequences import videos_of
from yoso_cli.evaluation.video import VideoMeasures, checked_windows, count_video, video_measures
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, Segment, measured

CATEGORIES = (Category(7, "cat", True), Category(2, "dog", True), Category(90, "sky", False), Category(4, "sea", False))
CAT, DOG, SKY, SEA = (category.id for category in CATEGORIES)

Frame = tuple[Panoptic, Panoptic]
Videos = list[list[Frame]]


def measure(videos: Videos, windows: Sequence[int] = (1, 2)) -> VideoMeasures:
    counted = [
        count_video(f"video {place}", [overlap(*frame) for frame in frames], CATEGORIES, windows)
        for place, frames in enumerate(videos)
    ]
    return video_measures(counted, CATEGORIES)


def row(ids: Sequence[int], classes: dict[int, int], crowds: Sequence[int] = ()) -> Panoptic:
    """A frame of one row; `classes` gives the category of each id."""
    id_map = np.array([ids], np.int32)
    segments = [Segment(one, classes[one], 0, iscrowd=one in crowds) for one in sorted(set(ids) - {0})]
    return Panoptic(id_map, measured(id_map, segments))


def vpq(videos: Videos, windows: Sequence[int]) -> list[float | None]:
    found = measure(videos, windows).vpq
    assert found is not None
    return [one.quality.all.pq for one in found.windows]


def stq(videos: Videos) -> tuple[float | None, float | None, float | None]:
    found = measure(videos).stq
    assert found is not None
    return found.stq, found.aq, found.sq


# The truth of two frames: a cat of four pixels (id 1), then sky (id 9).
TRUE = {1: CAT, 2: CAT, 3: DOG, 9: SKY}
TWO = [row([1, 1, 1, 1, 9, 9], TRUE), row([1, 1, 1, 1, 9, 9], TRUE)]


def test_an_id_that_changes_costs_longer_windows_alone() -> None:
    """Frame by frame all is right: VPQ^1 = 1. In two frames the cat of 8 pixels meets two of 4 each: their IoU is
    4 / 8, which is no match: for cats TP 0, FP 2, FN 1: 0; for the sky 1: VPQ^2 = (0 + 1) / 2."""
    guess = [TWO[0], row([2, 2, 2, 2, 9, 9], TRUE)]
    videos = [list(zip(TWO, guess, strict=True))]
    assert vpq(videos, (1, 2)) == [1.0, 0.5]
    found = measure(videos, (1, 2)).vpq
    assert found is not None
    assert (found.all, found.things, found.stuff) == (0.75, 0.5, 1.0)


def test_tubes_match_by_their_iou_over_the_window() -> None:
    """The cat is 4 of 4 pixels in the first frame and 2 of 4 in the second, where the sky takes the rest: cats
    6 / 8, sky 4 / 6: VPQ^2 = (6/8 + 4/6) / 2. Frame by frame the second cat's 2 / 4 is no match, and the sky's 2 / 4
    neither: of cats TP 1 (IoU 1), FP 1, FN 1: 1 / 2, and so of the sky: VPQ^1 = 1 / 2."""
    guess = [TWO[0], row([1, 1, 9, 9, 9, 9], TRUE)]
    videos = [list(zip(TWO, guess, strict=True))]
    assert vpq(videos, (1, 2)) == pytest.approx([0.5, (6 / 8 + 4 / 6) / 2])


def test_each_frame_begins_a_window_and_short_videos_have_none() -> None:
    videos = [[(TWO[0], TWO[0])] * 5, [(TWO[0], TWO[0])] * 2]
    found = measure(videos, (1, 3, 6)).vpq
    assert found is not None
    assert [(one.frames, one.windows) for one in found.windows] == [(1, 7), (3, 3), (6, 0)]
    assert [one.quality.all.pq for one in found.windows] == [1.0, 1.0, None]
    assert found.all == 1.0, "a window that no video has is not in the mean"
    assert [one.quality.classes[0].tp for one in found.windows] == [7, 3, 0]


def test_void_and_crowds_excuse_tubes() -> None:
    """A predicted dog: 2 of its 5 pixels in two frames are void and 1 a crowd of dogs, 3 / 5 > 1/2: no false positive.
    By itself the second frame's dog has 1 / 3 there: one."""
    true = [row([0, 0, 9, 9, 9, 9], TRUE), row([3, 9, 9, 9, 9, 9], TRUE, crowds=[3])]
    guess = [row([3, 3, 9, 9, 9, 9], TRUE), row([3, 3, 3, 9, 9, 9], TRUE)]
    found = measure([list(zip(true, guess, strict=True))], (1, 2)).vpq
    assert found is not None
    assert [one.quality.classes[1].fp for one in found.windows] == [1, 0]


# The cases that the authors of STQ test their own evaluator with, one row each: a track of five pixels.
@pytest.mark.parametrize(
    ("true", "guess", "wanted"),
    [
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1], (1.0, 1.0)),
        # Two tubes of 2 and 3: (2 * 2/5 + 3 * 3/5) / 5.
        ([1, 1, 1, 1, 1], [1, 1, 2, 2, 2], (0.52, 1.0)),
        # 1 and 4: (1 * 1/5 + 4 * 4/5) / 5.
        ([1, 1, 1, 1, 1], [1, 2, 2, 2, 2], (0.68, 1.0)),
        # Sky for the first pixel: AQ = 4 * 4/5 / 5; the classes' IoU is 4/5 and 0.
        ([1, 1, 1, 1, 1], [9, 1, 1, 1, 1], (0.64, 0.4)),
        # The sky's pixel under a cat: the tube of 5 shares 4: AQ = 4 * 4/5 / 4; IoU 4/5 and 0.
        ([9, 1, 1, 1, 1], [1, 1, 1, 1, 1], (0.8, 0.4)),
        # Tubes of 3 and 2, of which the true one of 4 shares 2 and 2: (2 * 2/5 + 2 * 2/4) / 4.
        ([9, 1, 1, 1, 1], [2, 2, 2, 1, 1], (0.45, 0.4)),
        # Void is a miss: AQ = 4 * 4/5 / 5, and the only class has IoU 4/5.
        ([1, 1, 1, 1, 1], [0, 1, 1, 1, 1], (0.64, 0.8)),
        # Void of the truth counts for the predicted tube, 5 / (5 + 1 - ...): AQ = 4 * 4/5 / 4, but for no class.
        ([0, 1, 1, 1, 1], [1, 1, 1, 1, 1], (0.8, 1.0)),
    ],
)
def test_stq_of_single_tracks(true: list[int], guess: list[int], wanted: tuple[float, float]) -> None:
    found = stq([[(row(true, TRUE), row(guess, TRUE))]])
    assert found == pytest.approx((math.sqrt(wanted[0] * wanted[1]), *wanted))
    # A pixel is a pixel, in whichever frame of the video it is.
    apart = [(row([t], TRUE), row([p], TRUE)) for t, p in zip(true, guess, strict=True)]
    assert stq([apart]) == pytest.approx(found)


def test_crowds_count_for_no_tube_but_for_their_class() -> None:
    """Cats: a crowd (2) of one pixel and a track of five. The tube of 4 has one pixel in the crowd: 3 are left, and 2:
    (3 * 3/5 + 2 * 2/5) / 5 = 0.52; all pixels are cats: SQ = 1."""
    true, guess = row([2, 1, 1, 1, 1, 1], TRUE, crowds=[2]), row([5, 5, 5, 5, 6, 6], {5: CAT, 6: CAT})
    assert stq([[(true, guess)]]) == pytest.approx((math.sqrt(0.52), 0.52, 1.0))


def test_a_track_is_associated_whatever_its_class_and_ids_of_two_videos_differ() -> None:
    """A dog for a cat in every pixel: AQ = 1, SQ = 0. The same in two videos: two tracks of AQ 1, not one of 1/2."""
    video = [(row([1, 1], TRUE), row([3, 3], TRUE))]
    assert stq([video]) == (0.0, 1.0, 0.0)
    found = measure([video, [(row([1, 1], TRUE), row([2, 2], TRUE))]]).stq
    assert found is not None
    assert (found.aq, found.tracks, [one.video for one in found.videos]) == (1.0, 2, ["video 0", "video 1"])


def test_without_things_there_is_no_stq() -> None:
    assert stq([[(row([9], TRUE), row([9], TRUE))]]) == (None, None, 1.0)
    assert stq([]) == (None, None, None)
    assert vpq([], (1,)) == []


@st.composite
def videos(draw: st.DrawFn) -> Videos:
    """Short videos of blocks of the truth of which areas are right; predictions resemble it or do not."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    several = []
    for _ in range(draw(st.integers(1, 3))):
        shape, frames = random.integers(2, 9, 2), []
        true_class = {one: CATEGORIES[random.integers(4)].id for one in range(1, 7)}
        guess_class = {
            one: true_class.get(one, CAT) if random.random() < 0.7 else CATEGORIES[random.integers(4)].id
            for one in range(1, 9)
        }
        crowds = {one for one in true_class if random.random() < 0.2}
        for _ in range(draw(st.integers(1, 5))):
            true_map = random.integers(0, 7, (2, 2)).repeat(shape[0], 0).repeat(shape[1], 1).astype(np.int32)
            noise = random.integers(0, 9, true_map.shape).astype(np.int32)
            guess_map = np.where(random.random(true_map.shape) < random.choice([0, 0.2, 0.5]), noise, true_map)
            true = [Segment(one, category, 0, iscrowd=one in crowds) for one, category in true_class.items()]
            guess = [Segment(one, category, 0) for one, category in guess_class.items()]
            frames.append(
                (Panoptic(true_map, measured(true_map, true)), Panoptic(guess_map, measured(guess_map, guess)))
            )
        several.append(frames)
    return several


def stacked(frames: Sequence[Panoptic]) -> Panoptic:
    """Frames one below the other as one picture."""
    id_map = np.concatenate([one.id_map for one in frames])
    known: dict[int, Segment] = {}
    for one in frames:
        known.update({segment.id: segment for segment in one.segments})
    return Panoptic(id_map, measured(id_map, known.values()))


def official_order(panoptic: Panoptic, frames: Sequence[Panoptic]) -> Panoptic:
    """Its segments in the order in which frames list them first: which crowd is the last depends on it."""
    order = list(dict.fromkeys(segment.id for one in frames for segment in one.segments))
    return replace(panoptic, segments=tuple(sorted(panoptic.segments, key=lambda one: order.index(one.id))))


@settings(max_examples=60)
@given(videos(), st.integers(1, 4))
def test_vpq_is_pq_of_stacked_frames(several: Videos, length: int) -> None:
    """The definition, word for word: PQ of tubes is PQ of windows as pictures; with k = 1, PQ itself."""
    pairs = []
    for frames in several:
        for first in range(len(frames) - length + 1):
            window = frames[first : first + length]
            true, guess = [one for one, _ in window], [one for _, one in window]
            pairs.append((official_order(stacked(true), true), official_order(stacked(guess), guess)))
    found = measure(several, (length,)).vpq
    assert found is not None
    wanted = score(pairs, CATEGORIES).quality
    assert found.windows[0].windows == len(pairs)
    for one, other in zip(found.windows[0].quality.classes, wanted.classes, strict=True):
        assert (one.tp, one.fp, one.fn) == (other.tp, other.fp, other.fn)
        assert one.pq == (None if other.pq is None else pytest.approx(other.pq, abs=1e-12))
    assert found.all == (None if wanted.all.pq is None else pytest.approx(wanted.all.pq, abs=1e-12))


def plain_stq(several: Videos) -> tuple[float | None, float | None]:
    """AQ and SQ pixel by pixel."""
    things = {category.id for category in CATEGORIES if category.isthing}
    shares, tp, fp, fn = [], defaultdict(int), defaultdict(int), defaultdict(int)
    for frames in several:
        true_tubes, guess_tubes = defaultdict(set), defaultdict(set)
        for time, (true, guess) in enumerate(frames):
            of_true, of_guess = ({one.id: one for one in side.segments} for side in (true, guess))
            for place, (t, p) in enumerate(zip(true.id_map.flat, guess.id_map.flat, strict=True)):
                real, seen = of_true.get(int(t)), of_guess.get(int(p))
                if real is not None:
                    if seen is not None and seen.category_id == real.category_id:
                        tp[real.category_id] += 1
                    else:
                        fn[real.category_id] += 1
                        if seen is not None:
                            fp[seen.category_id] += 1
                if real is not None and real.iscrowd and real.category_id in things:
                    continue
                if real is not None and real.category_id in things:
                    true_tubes[real.id].add((time, place))
                if seen is not None and seen.category_id in things:
                    guess_tubes[seen.id].add((time, place))
        for g in true_tubes.values():
            shares.append(sum(len(g & p) * len(g & p) / len(g | p) for p in guess_tubes.values()) / len(g))
    classes = tp.keys() | fp.keys() | fn.keys()
    ious = [tp[one] / (tp[one] + fp[one] + fn[one]) for one in classes]
    return (sum(shares) / len(shares) if shares else None), (sum(ious) / len(ious) if ious else None)


@settings(max_examples=60)
@given(videos())
def test_stq_is_its_definition_pixel_by_pixel(several: Videos) -> None:
    found = stq(several)
    aq, sq = plain_stq(several)
    wanted = (math.sqrt(aq * sq) if aq is not None and sq is not None else None), aq, sq
    for one, other in zip(found, wanted, strict=True):
        assert one == (None if other is None else pytest.approx(other, abs=1e-12))


@settings(max_examples=40)
@given(videos())
def test_the_truth_itself_is_perfect(several: Videos) -> None:
    # Without crowds: as in PQ, of two crowds of a class only the last excuses predictions.
    plain = [
        [replace(true, segments=tuple(replace(one, iscrowd=False) for one in true.segments)) for true, _ in frames]
        for frames in several
    ]
    found = measure([[(true, true) for true in frames] for frames in plain], (1, 2, 3))
    assert found.vpq is not None
    assert found.stq is not None
    assert found.vpq.all in (None, 1.0)
    assert found.stq.stq is None or found.stq.stq == pytest.approx(1.0)


@settings(max_examples=40)
@given(videos(), st.integers(0, 99))
def test_names_of_tracks_do_not_matter(several: Videos, seed: int) -> None:
    """Other ids for the same tubes, in each video its own."""
    random = np.random.default_rng(seed)
    renamed = []
    for frames in several:
        table = np.append(0, random.permutation(np.arange(1, 9)) * 1000).astype(np.int32)
        renamed.append(
            [
                (
                    true,
                    Panoptic(table[guess.id_map], tuple(replace(one, id=int(table[one.id])) for one in guess.segments)),
                )
                for true, guess in frames
            ]
        )
    one, other = measure(several), measure(renamed)
    assert one.vpq is not None
    assert other.vpq is not None
    assert [each.quality.all.n for each in one.vpq.windows] == [each.quality.all.n for each in other.vpq.windows]
    assert one.vpq.all == (None if other.vpq.all is None else pytest.approx(other.vpq.all, abs=1e-12))
    for found, wanted in zip(stq(several), stq(renamed), strict=True):
        assert found == (None if wanted is None else pytest.approx(wanted, abs=1e-12))


def test_a_frame_that_contradicts_itself_is_named() -> None:
    good = overlap_for("a.png", TWO[0], TWO[0])
    bad = overlap_for("b.png", TWO[0], replace(TWO[0], segments=(*TWO[0].segments, Segment(77, CAT, 5))))
    with pytest.raises(DataError, match=r"b.png: The JSON lists predicted segment 77"):
        count_video("video", [good, bad], CATEGORIES)


def test_windows_are_lengths() -> None:
    assert checked_windows([5, 1, 5]) == (1, 5)
    for wrong in ([], [0, 1]):
        with pytest.raises(UsageError, match="must be lengths in frames"):
            checked_windows(wrong)


def record(name: str, video_id: int | str | None = None) -> ImageRecord:
    return ImageRecord(name, name, name, 4, 4, (), video_id)


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        ([record("b.png", 2), record("a.png", 1), record("c.png", 2)], {"2": ["b.png", "c.png"], "1": ["a.png"]}),
        ([record("x/10.png"), record("x/9.png"), record("y/1.png")], {"x": ["x/9.png", "x/10.png"], "y": ["y/1.png"]}),
        (
            [record("0005_0026_aachen_1.png"), record("0005_0025_aachen_9.png"), record("0010_0031_b.png")],
            {"0005": ["0005_0025_aachen_9.png", "0005_0026_aachen_1.png"], "0010": ["0010_0031_b.png"]},
        ),
    ],
)
def test_videos_are_found_by_id_by_folder_and_by_number(records: list[ImageRecord], wanted: dict[str, object]) -> None:
    found = {video.name: [one.image_file for one in video.records] for video in videos_of(records, "truth")}
    assert found == wanted
    assert list(found) == list(wanted), "in the order of their first pictures"


@pytest.mark.parametrize("records", [[record("a.png")], [record("a/1.png", 1), record("a/2.png")]])
def test_a_picture_without_a_video_is_named(records: list[ImageRecord]) -> None:
    with pytest.raises(DataError, match=r"truth: nothing says which video the picture"):
        videos_of(records, "truth")

"""Masks and classes to segments: the released implementation's rules, one query at a time, are the measure."""

import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model import reference
from torch import Tensor
from torch.nn import functional as F

from yoso_cli.errors import RunError
from yoso_cli.inference import postprocess
from yoso_cli.inference.postprocess import MERGES, Sizes, bands, to_panoptic, to_panoptics
from yoso_cli.panoptic.types import Category, IdMap, Panoptic

THINGS_AND_STUFF = (Category(11, "thing", True), Category(5, "stuff", False), Category(7, "other stuff", False))


@dataclass
class Told:
    """What the plain loop finds, with the figures on its way."""

    id_map: IdMap
    segments: list[tuple[int, int, float]] = field(default_factory=list)
    mask_area: list[int] = field(default_factory=list)
    original_area: list[int] = field(default_factory=list)
    final_area: list[int] = field(default_factory=list)


def query_by_query(
    mask_logits: Tensor,
    class_logits: Tensor,
    sizes: Sizes,
    categories: tuple[Category, ...],
    score_threshold: float,
    overlap_threshold: float,
) -> Told:
    """The rules as they are told: every query is resized, then each kept one is looked at in turn."""
    logits = F.interpolate(mask_logits[None], size=sizes.padded, mode="bilinear", align_corners=False)
    logits = logits[:, :, : sizes.resized[0], : sizes.resized[1]]
    probabilities = F.interpolate(logits, size=sizes.original, mode="bilinear", align_corners=False)[0].sigmoid()
    scores, labels = class_logits.softmax(-1).max(-1)
    kept = [
        query
        for query in range(len(labels))
        if int(labels[query]) != len(categories) and bool(scores[query] > score_threshold)
    ]
    told = Told(np.zeros(sizes.original, np.int32))
    if not kept:
        return told
    winner = (scores[kept, None, None] * probabilities[kept]).argmax(0).numpy()
    seen_stuff: dict[int, int] = {}
    for place, query in enumerate(kept):
        confident = (probabilities[query] >= 0.5).numpy()
        mask = (winner == place) & confident
        told.mask_area.append(int((winner == place).sum()))
        told.original_area.append(int(confident.sum()))
        told.final_area.append(int(mask.sum()))
        if not told.mask_area[-1] or not told.original_area[-1] or not told.final_area[-1]:
            continue
        if told.mask_area[-1] / told.original_area[-1] < overlap_threshold:
            continue
        category = categories[int(labels[query])]
        if category.id in seen_stuff:
            told.id_map[mask] = seen_stuff[category.id]
            continue
        told.segments.append((len(told.segments) + 1, category.id, float(scores[query])))
        told.id_map[mask] = len(told.segments)
        if not category.isthing:
            seen_stuff[category.id] = len(told.segments)
    return told


def assert_told(panoptic: Panoptic, told: Told) -> None:
    assert panoptic.id_map.dtype == np.int32
    assert np.array_equal(panoptic.id_map, told.id_map)
    assert [(one.id, one.category_id, one.score) for one in panoptic.segments] == told.segments
    for segment in panoptic.segments:
        rows, columns = np.nonzero(panoptic.id_map == segment.id)
        x, y = int(columns.min()), int(rows.min())
        assert segment.area == len(rows)
        assert segment.bbox == (x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1)
        assert not segment.iscrowd


@st.composite
def pictures(draw: st.DrawFn) -> dict[str, Any]:
    """Any sizes, and logits between all alike and all or nothing; whole numbers make ties.

    In double precision, where two orders of the same additions decide a pixel differently only if it is a tie. Ties
    come with sizes whose interpolation is exact: every weight is then a sum of powers of two.
    """
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**40)))
    queries, classes = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    rows, columns = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    resized = (32 * rows - draw(st.integers(0, 31)), 32 * columns - draw(st.integers(0, 31)))
    original = draw(st.tuples(st.integers(1, 70), st.integers(1, 70)))
    coarse = draw(st.sampled_from([8, 2, 1]))
    mask_logits = torch.randn(queries, 8 * rows // coarse, 8 * columns // coarse, generator=random).double()
    mask_logits = mask_logits.repeat_interleave(coarse, 1).repeat_interleave(coarse, 2)
    class_logits = torch.randn(queries, classes + 1, generator=random).double()
    mask_logits *= draw(st.sampled_from([0.0, 1.0, 5.0, 40.0]))
    class_logits *= draw(st.sampled_from([0.0, 1.0, 5.0, 200.0]))
    if draw(st.booleans()):
        mask_logits, class_logits = mask_logits.round(), class_logits.round()
        times = draw(st.sampled_from([1, 2, 4]))
        original = (resized[0] * times, resized[1] * times)
    if draw(st.booleans()):
        class_logits[:, -1] -= 5
    isthing = draw(st.lists(st.booleans(), min_size=classes, max_size=classes))
    return {
        "mask_logits": mask_logits,
        "class_logits": class_logits,
        "sizes": Sizes((32 * rows, 32 * columns), resized, original),
        "categories": tuple(Category(100 - place, str(place), thing) for place, thing in enumerate(isthing)),
        "score_threshold": draw(st.sampled_from([0.0, 0.3, 0.7, 0.99])),
        "overlap_threshold": draw(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0])),
    }


@settings(max_examples=400)
@given(pictures(), st.sampled_from([1, 1 << 12, 1 << 19]))
def test_segments_are_those_of_the_plain_loop(picture: dict[str, Any], values: int) -> None:
    """However many rows are decided together: one (though all its queries are more than is allowed), a few or all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postprocess, "BAND_ON_CPU", values)
        assert_told(to_panoptic(**picture), query_by_query(**picture))


@pytest.mark.parametrize("original", [(200, 267), (129, 171), (401, 533), (800, 533)])
def test_single_precision_decides_the_plain_loops_pixels(original: tuple[int, int]) -> None:
    """Sums in another order round otherwise; at most one pixel in 100,000 is so near the border of two segments."""
    random = torch.Generator().manual_seed(2)
    coarse = torch.randn(1, 20, 7, 9, generator=random)
    picture: dict[str, Any] = {
        "mask_logits": F.interpolate(coarse, size=(52, 68), mode="bicubic")[0] * 6 - 2,
        "class_logits": torch.randn(20, 4, generator=random) + 3 * torch.eye(4)[torch.arange(20) % 3],
        "sizes": Sizes((208, 272), (200, 267), original),
        "categories": THINGS_AND_STUFF,
        "score_threshold": 0.3,
        "overlap_threshold": 0.1,
    }
    found, told = to_panoptic(**picture), query_by_query(**picture)
    assert len(found.segments) == len(told.segments) > 5
    assert (found.id_map != told.id_map).mean() <= 1e-5


@settings(max_examples=30)
@given(st.lists(pictures(), min_size=1, max_size=3), st.sampled_from(sorted(MERGES)))
def test_a_batch_is_its_pictures_one_by_one(pictures: list[dict[str, Any]], merge: str) -> None:
    """Also where one of them keeps no query, and though their sizes differ."""
    first = pictures[0]
    count = len(pictures)
    alike = {"categories": first["categories"], "overlap_threshold": first["overlap_threshold"], "merge": merge}
    alike["score_threshold"] = first["score_threshold"]
    masks = torch.stack([first["mask_logits"].roll(turn, 0) for turn in range(count)])
    classes = torch.stack([first["class_logits"] * (turn % 2) for turn in range(count)])
    sizes = [replace(first["sizes"], original=picture["sizes"].original) for picture in pictures]
    together = to_panoptics(masks, classes, sizes, **alike)
    for index, found in enumerate(together):
        (alone,) = to_panoptics(masks[index, None], classes[index, None], [sizes[index]], **alike)
        assert np.array_equal(found.id_map, alone.id_map)
        assert found.segments == alone.segments


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["mask_logits", "class_logits"])
def test_logits_that_are_not_numbers_are_refused(bad: float, where: str) -> None:
    """Even in a query that no picture would show."""
    picture = flat([3.0, 3.0], [0, 3])
    picture[where][1].view(-1)[-1] = bad
    with pytest.raises(RunError, match="not finite"):
        to_panoptic(**picture)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_decided_in_single(dtype: torch.dtype) -> None:
    picture = flat([2.0, -3.0, 4.0], [0, 1, 2])
    halved = {name: picture[name].to(dtype) for name in ("mask_logits", "class_logits")}
    widened = {name: tensor.float() for name, tensor in halved.items()}
    assert np.array_equal(to_panoptic(**picture | halved).id_map, to_panoptic(**picture | widened).id_map)


def test_memory_grows_with_the_picture_and_not_with_the_queries() -> None:
    """Beside masks of 32 MiB: 30 queries' logits would take 240 MiB at 1024x2048 and 2.5 GiB at 22 megapixels.

    The id map takes 4 bytes a pixel, what it is painted from 3, and bands a few MiB at any size.
    """
    code = """
import resource, torch
from yoso_cli.inference.postprocess import Sizes, to_panoptic
from yoso_cli.panoptic.types import Category

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def segments(queries, padded, original):
    masks = torch.full((queries, padded[0] // 4, padded[1] // 4), -5.0)
    masks[:, 2:4] = 5.0
    found = to_panoptic(masks, torch.eye(2)[[0] * queries] * 9, Sizes(padded, padded, original),
                        (Category(1, "a", True),), score_threshold=0.5, overlap_threshold=0.0)
    assert found.id_map.shape == original
    assert len(found.segments) == 1

segments(1, (32, 32), (32, 32))
before = peak()
for padded, original in (((1024, 2048), (1024, 2048)), ((800, 1216), (3840, 5760))):
    segments(30, padded, original)
    print((peak() - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wide, huge = map(int, done.stdout.split())
    assert wide < 90
    assert huge < 200


@settings(max_examples=100)
@given(pictures())
def test_the_fast_merge_decides_like_the_exact_one_where_nothing_needs_a_border(picture: dict[str, Any]) -> None:
    """With each query the same all over the picture, the small map and the large one say the same."""
    picture["mask_logits"] = picture["mask_logits"][:, :1, :1].expand_as(picture["mask_logits"]).clone()
    names = ("mask_logits", "class_logits", "sizes")
    batch = [picture[name][None] for name in names[:2]] + [[picture["sizes"]]]
    rest = {name: value for name, value in picture.items() if name not in names}
    (exact,), (fast,) = (to_panoptics(*batch, **rest, merge=merge) for merge in ("exact", "fast"))
    assert np.array_equal(exact.id_map, fast.id_map)
    assert exact.segments == fast.segments


def flat(
    masks: list[float], labels: list[int], *, size: tuple[int, int] = (64, 64), overlap: float = 0.8
) -> dict[str, Any]:
    """Queries with the same logit all over the picture, each quite sure of its class (3: no object)."""
    return {
        "mask_logits": torch.tensor(masks).view(-1, 1, 1).expand(-1, 8, 8).clone(),
        "class_logits": 10 * F.one_hot(torch.tensor(labels), 4).float(),
        "sizes": Sizes((32, 32), (32, 32), size),
        "categories": THINGS_AND_STUFF,
        "score_threshold": 0.5,
        "overlap_threshold": overlap,
    }


@pytest.mark.parametrize("nothing", [{"score_threshold": 1.0}, {"class_logits": torch.eye(4)[[3, 3]]}])
def test_no_query_kept_is_all_void(nothing: dict[str, Any]) -> None:
    """None scores enough, or all say no object."""
    panoptic = to_panoptic(**flat([9.0, 9.0], [0, 1]) | nothing)
    assert panoptic.segments == ()
    assert panoptic.id_map.shape == (64, 64)
    assert panoptic.id_map.dtype == np.int32
    assert not panoptic.id_map.any()


def test_a_tie_goes_to_the_first_query() -> None:
    panoptic = to_panoptic(**flat([4.0, 4.0], [1, 0], overlap=0.0))
    assert [segment.category_id for segment in panoptic.segments] == [5]
    assert (panoptic.id_map == 1).all()


def test_a_mask_of_exactly_one_half_counts() -> None:
    assert to_panoptic(**flat([0.0], [0])).segments[0].area == 64 * 64
    assert not to_panoptic(**flat([-1e-6], [0])).segments


def test_one_pixel_is_a_picture() -> None:
    panoptic = to_panoptic(**flat([2.0, 3.0], [0, 1], size=(1, 1)))
    assert panoptic.id_map.tolist() == [[1]]
    assert [(segment.category_id, segment.area) for segment in panoptic.segments] == [(5, 1)]


def halves(left: float, right: float) -> Tensor:
    """One query's logits on the two halves of a picture."""
    return torch.tensor([left] * 4 + [right] * 4, dtype=torch.float32).expand(8, 8)


def test_things_of_a_class_stay_apart_and_stuff_becomes_one() -> None:
    masks = torch.stack([halves(50, -50), halves(-50, 50)])
    for label, ids in ((0, [1, 2]), (1, [1, 1])):
        panoptic = to_panoptic(**flat([0.0, 0.0], [label, label]) | {"mask_logits": masks})
        assert panoptic.id_map[0, [0, -1]].tolist() == ids
        assert len(panoptic.segments) == len(set(ids))
        assert sum(segment.area for segment in panoptic.segments) == 64 * 64


def test_unconfident_pixels_are_void_but_count_as_assigned() -> None:
    """A query below 0.5 everywhere but on the left still wins the right: kept share 2, id on the left alone."""
    masks = torch.stack([halves(50, -1)])
    panoptic = to_panoptic(**flat([0.0], [0], overlap=1.0) | {"mask_logits": masks})
    assert panoptic.id_map[0, [0, -1]].tolist() == [1, 0]


def test_a_query_that_loses_its_mask_is_dropped_and_leaves_void() -> None:
    masks = torch.stack([halves(3, 3), halves(50, -50)])
    both = flat([0.0, 0.0], [0, 1]) | {"mask_logits": masks, "overlap_threshold": 0.4}
    assert [segment.category_id for segment in to_panoptic(**both).segments] == [11, 5]
    dropped = to_panoptic(**both | {"overlap_threshold": 0.6})
    assert [(segment.id, segment.category_id) for segment in dropped.segments] == [(1, 5)]
    assert dropped.id_map[0, [0, -1]].tolist() == [1, 0]


def test_a_query_that_wins_only_where_it_is_unsure_is_dropped() -> None:
    """It keeps as many pixels as its mask has, but none of them is in its mask; it takes no number either."""
    masks = torch.stack([halves(-3, 3), halves(-50, 50)])
    panoptic = to_panoptic(**flat([0.0, 0.0], [0, 1]) | {"mask_logits": masks})
    assert [(segment.id, segment.category_id) for segment in panoptic.segments] == [(1, 5)]
    assert panoptic.id_map[0, [0, -1]].tolist() == [0, 1]


@settings(max_examples=50)
@given(st.integers(1, 64 * 64 - 1), st.sampled_from([-1e-9, 0.0, 1e-9]))
@example(3277, 0.0)
def test_the_kept_share_is_compared_in_double_precision(area: int, off: float) -> None:
    """A query of the whole picture keeps `area` pixels of it, and the threshold lies beside exactly that share."""
    sizes = Sizes((64, 64), (64, 64), (64, 64))
    first = torch.full((64 * 64,), 3.0)
    second = torch.full((64 * 64,), 50.0)
    second[:area] = -50.0
    picture = flat([0.0, 0.0], [0, 1]) | {"mask_logits": torch.stack([first, second]).view(2, 64, 64), "sizes": sizes}
    picture["overlap_threshold"] = min(1.0, max(0.0, area / 64**2 + off))
    panoptic = to_panoptic(**picture)
    assert_told(panoptic, query_by_query(**picture))
    assert len(panoptic.segments) == (1 if off > 0 else 2)


@pytest.mark.parametrize("run", ["batch", "single0", "single1"])
def test_every_figure_agrees_with_the_reference(shared: Path, run: str) -> None:
    """Scores, kept queries, upsampled masks, areas and the map, from the logits that the authors' code recorded."""
    found = reference.tiny(shared, run)
    for index, entry in enumerate(found.meta["runs"][run]["images"]):
        figures = {
            key.removeprefix(f"img{index}."): value
            for key, value in found.arrays.items()
            if key.startswith(f"img{index}.")
        }
        logits = torch.from_numpy(found.arrays["mask_logits_s2"][index])
        classes = torch.from_numpy(found.arrays["cls_logits"][index])
        picture: dict[str, Any] = {
            "mask_logits": logits,
            "class_logits": classes,
            "sizes": reference.tiny_sizes(found.meta, run, index, found.images),
            "categories": reference.categories(found.meta, 7),
            "score_threshold": found.meta["object_mask_threshold"],
            "overlap_threshold": found.meta["overlap_threshold"],
        }
        scores, labels = classes.softmax(-1).max(-1)
        np.testing.assert_allclose(scores, figures["pan.scores"], atol=1e-6)
        assert np.array_equal(labels, figures["pan.labels"])
        assert np.array_equal((labels != 7) & (scores > picture["score_threshold"]), figures["pan.keep"])
        sample = torch.cat([part for _, part in bands(logits, *picture["sizes"].axes())], 1)[:, ::8, ::8]
        np.testing.assert_allclose(sample, figures["up_mask_logits_sample[:,::8,::8]"], atol=1e-4)

        theirs = figures["panoptic_seg"]
        ambiguous = np.unpackbits(figures["pan.ambiguous"], axis=1)[:, : theirs.shape[1]].astype(bool)
        told = query_by_query(**picture)
        # Pixels that rounding may decide either way are flagged; on the machine of the recording none differs.
        for name in ("mask_area", "original_area", "final_area"):
            np.testing.assert_allclose(getattr(told, name), figures[f"pan.{name}"], rtol=0, atol=ambiguous.sum())
        panoptic = to_panoptic(**picture)
        assert_told(panoptic, told)
        assert not ((panoptic.id_map != theirs) & ~ambiguous).any()
        assert [(one.id, one.category_id) for one in panoptic.segments] == [
            (one["id"], one["category_id"]) for one in entry["segments_info"]
        ]


@given(
    seed=st.integers(0, 2**31),
    queries=st.integers(1, 9),
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    overlaps=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    merge=st.sampled_from(sorted(MERGES)),
)
@settings(max_examples=60, deadline=None)
def test_many_thresholds_at_once_are_each_alone(
    seed: int, queries: int, scores: list[float], overlaps: list[float], merge: str
) -> None:
    """Every pair has exactly one answer: that of the merge with it."""
    random = torch.Generator().manual_seed(seed)
    masks = 4 * torch.randn(queries, 5, 6, generator=random)
    classes = 2 * torch.randn(queries, 4, generator=random)
    sizes = Sizes((20, 24), (17, 24), (21, 30))
    pairs = [(score, overlap) for score in scores for overlap in overlaps]
    found: dict[int, Panoptic] = {}
    for answer, places in postprocess.at_thresholds(masks, classes, sizes, THINGS_AND_STUFF, pairs, merge=merge):
        assert not found.keys() & set(places)
        found |= dict.fromkeys(places, answer)
    for place, (score, overlap) in enumerate(pairs):
        (alone,) = to_panoptics(
            masks[None],
            classes[None],
            [sizes],
            THINGS_AND_STUFF,
            score_threshold=score,
            overlap_threshold=overlap,
            merge=merge,
        )
        assert np.array_equal(found[place].id_map, alone.id_map)
        assert found[place].segments == alone.segments

"""An entry of COCO's `segments_info`, read and written (https://cocodataset.org/#format-data)."""

from operator import itemgetter
from typing import Any

from yoso_cli.panoptic import entries
from yoso_cli.panoptic.entries import LARGEST_ID, MalformedError
from yoso_cli.panoptic.types import Segment

_USUAL = itemgetter("id", "category_id", "area", "iscrowd", "bbox")


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """A segment as COCO spells it."""
    info: dict[str, Any] = {
        "id": segment.id,
        "category_id": segment.category_id,
        "area": segment.area,
        "bbox": list(segment.bbox),
        "iscrowd": int(segment.iscrowd),
    }
    if segment.score is not None:
        info["score"] = segment.score
    return info


def segment_from_json(info: Any, *, strict: bool) -> Segment:
    """An entry of `segments_info`; where not `strict`, one of a prediction, it needs its ids only.

    Raises:
        MalformedError: it lacks a key or has a wrong value.
    """
    usual = _usual_segment(info)
    if usual is not None:
        return usual
    segment_id, category_id = entries.whole(info, "id", 1, LARGEST_ID), entries.whole(info, "category_id", 0)
    area = entries.whole(info, "area", 0) if strict or "area" in info else 0
    crowd = entries.whole(info, "iscrowd", 0, 1) if strict or "iscrowd" in info else 0
    bbox = entries.numbers(info, "bbox", 4) if strict or "bbox" in info else (0, 0, 0, 0)
    score = _number(info["score"]) if info.get("score") is not None else None
    return Segment(segment_id, category_id, area, (bbox[0], bbox[1], bbox[2], bbox[3]), bool(crowd), score)


def _usual_segment(info: Any) -> Segment | None:
    """A segment as nearly all are written, at a third of the cost of asking for each value; None for any other."""
    try:
        segment_id, category_id, area, crowd, (x, y, width, height) = _USUAL(info)
    except (KeyError, TypeError, ValueError):
        return None
    kinds = {type(value) for value in (segment_id, category_id, area, crowd, x, y, width, height)}
    if kinds != {int} or not 0 < segment_id <= LARGEST_ID or category_id < 0 or area < 0 or not 0 <= crowd <= 1:
        return None
    return None if "score" in info else Segment(segment_id, category_id, area, (x, y, width, height), bool(crowd))


def _number(value: Any) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    raise MalformedError(f"has 'score' {value!r} where a number is expected")

"""The reference evaluator on panoptic pairs: they are written as COCO's PNG + JSON and read by panopticapi itself."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from conftest import oracle
from PIL import Image

from yoso_cli.panoptic.types import Category, IdMap, Panoptic

GROUPS = {"all": None, "things": True, "stuff": False}


def official_stat(pairs: Iterable[tuple[Panoptic, Panoptic]], categories: Sequence[Category], folder: Path) -> Any:
    """panopticapi's PQStat of `pairs`, computed on one core."""
    reference = oracle("panopticapi.evaluation")
    annotations = []
    for index, (truth, prediction) in enumerate(pairs):
        annotations.append((_write(truth, folder, f"{index}t.png"), _write(prediction, folder, f"{index}p.png")))
    return reference.pq_compute_single_core(0, annotations, str(folder), str(folder), as_json(categories))


def official_groups(stat: Any, categories: Sequence[Category]) -> dict[str, dict[str, Any] | None]:
    """all, things and stuff as panopticapi averages them; None where it divides by zero."""
    found = {}
    for name, isthing in GROUPS.items():
        try:
            found[name] = stat.pq_average(as_json(categories), isthing)[0]
        except ZeroDivisionError:
            found[name] = None
    return found


def as_json(categories: Sequence[Category]) -> dict[int, dict[str, Any]]:
    return {one.id: {"id": one.id, "name": one.name, "isthing": int(one.isthing)} for one in categories}


def write_png(path: Path, id_map: IdMap) -> None:
    rgb = np.stack([id_map & 255, id_map >> 8 & 255, id_map >> 16], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(path, compress_level=0)


def segments_info(panoptic: Panoptic) -> list[dict[str, Any]]:
    return [
        {"id": one.id, "category_id": one.category_id, "area": one.area, "iscrowd": int(one.iscrowd)}
        for one in panoptic.segments
    ]


def _write(panoptic: Panoptic, folder: Path, name: str) -> dict[str, Any]:
    write_png(folder / name, panoptic.id_map)
    return {"image_id": name, "file_name": name, "segments_info": segments_info(panoptic)}

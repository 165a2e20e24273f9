"""The datasets that `yoso prepare` knows."""

from yoso_cli.datasets.ade20k import ADE20K
from yoso_cli.datasets.cityscapes import CITYSCAPES
from yoso_cli.datasets.coco import COCO
from yoso_cli.datasets.mapillary import MAPILLARY
from yoso_cli.datasets.shapes import SHAPES
from yoso_cli.datasets.spec import DatasetSpec

DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in (SHAPES, COCO, CITYSCAPES, ADE20K, MAPILLARY)}


def published(name: str) -> DatasetSpec | None:
    """The dataset that a folder of that name holds, maybe a version of it, as mapillary-v1.2; None if unknown."""
    return next((spec for spec in DATASETS.values() if name == spec.name or name.startswith(f"{spec.name}-v")), None)

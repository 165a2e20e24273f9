"""The datasets that `yoso prepare` knows."""

from yoso_cli.datasets.coco import COCO
from yoso_cli.datasets.shapes import SHAPES
from yoso_cli.datasets.spec import DatasetSpec

DATASETS: dict[str, DatasetSpec] = {"shapes": SHAPES, "coco": COCO}

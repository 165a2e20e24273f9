"""YOLO's segmentation labels: a text file for each picture, a polygon for each segment, and data.yaml with the names.

Source: https://docs.ultralytics.com/datasets/segment. A line is a class, from 0 in the order of the names, and x y of
each point as shares of the picture's width and height.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.contours import Outline, joined, outlines
from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.panoptic.types import Panoptic

# A point lies a quarter of a pixel beyond the pixel's corner: readers cut off or round, and both give the pixel.
_INSIDE = 0.25
_FEWEST_POINTS = 3


@dataclass(frozen=True)
class YoloWriter:
    """Writes `labels/NAME.txt` and data.yaml; pictures stay where they are.

    Attributes:
        table: the classes, stuff included.
        image_dir: the folder of the pictures, which data.yaml names.
    """

    table: CategoryTable
    image_dir: Path

    def write(self, folder: Path, picture: SourcePicture, panoptic: Panoptic) -> tuple[None, Counter[InformationLoss]]:
        """One text file; counts segments that one polygon cannot express exactly."""
        places = {category.id: place for place, category in enumerate(self.table.categories)}
        losses: Counter[InformationLoss] = Counter()
        lines = []
        for segment in panoptic.segments:
            x, y, width, height = segment.bbox
            parts = outlines(panoptic.id_map[y : y + height, x : x + width] == segment.id)
            losses[InformationLoss.PARTS] += len(parts) > 1
            losses[InformationLoss.SCORE] += segment.score is not None
            losses[InformationLoss.CROWD_FLAG] += segment.iscrowd
            lines.append(
                _line(places[segment.category_id], joined(parts) + np.array([x, y], np.int32), panoptic.id_map.shape)
            )
        path = folder / "labels" / f"{picture.stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="ascii")
        return None, losses

    def finish(self, folder: Path, entries: Sequence[None]) -> None:
        """The names."""
        names = {place: category.name for place, category in enumerate(self.table.categories)}
        content = yaml.safe_dump({"path": str(self.image_dir), "names": names}, sort_keys=False, allow_unicode=True)
        (folder / "data.yaml").write_text(content, encoding="utf-8")


def _line(place: int, outline: Outline, size: tuple[int, ...]) -> str:
    height, width = size
    points = [*outline.tolist(), *[outline[-1].tolist()] * max(0, _FEWEST_POINTS - len(outline))]
    shares = " ".join(f"{(x + _INSIDE) / width:.7g} {(y + _INSIDE) / height:.7g}" for x, y in points)
    return f"{place} {shares}\n"

"""LabelMe: a JSON for each picture, a mask for each segment (https://github.com/wkentaro/labelme).

A segment is a shape of the kind `mask`, which LabelMe has read since 5.3: exact, with holes and several parts.
"""

import base64
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.panoptic.types import IdMap, Panoptic, Segment

_VERSION = "5.5.0"
"""Of LabelMe, whose files these are like."""


@dataclass(frozen=True)
class LabelmeWriter:
    """Writes NAME.json for each picture, which names the picture by the way to it.

    Attributes:
        table: the classes.
        image_dir: the folder of the pictures.
        final: the folder that the files come to lie in, which the way to a picture starts from.
    """

    table: CategoryTable
    image_dir: Path
    final: Path

    def write(self, folder: Path, picture: SourcePicture, panoptic: Panoptic) -> tuple[None, Counter[InformationLoss]]:
        """One JSON. A thing's shape has its number among the picture's segments as `group_id`."""
        height, width = panoptic.id_map.shape
        known = {category.id: category for category in self.table.categories}
        file = f"{picture.stem}.json"
        place = os.path.relpath(self.image_dir / picture.image_file, (self.final / file).parent)
        content = {
            "version": _VERSION,
            "flags": {},
            "shapes": [
                _shape(one, known[one.category_id].name, known[one.category_id].isthing, panoptic.id_map)
                for one in panoptic.segments
            ],
            "imagePath": place,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        return None, Counter()

    def finish(self, folder: Path, entries: Sequence[None]) -> None:
        """The names of the classes, as LabelMe's `--labels` reads them."""
        names = [category.name for category in self.table.categories]
        (folder / "labels.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def _shape(segment: Segment, name: str, isthing: bool, id_map: IdMap) -> dict[str, Any]:
    x, y, width, height = segment.bbox
    mask = id_map[y : y + height, x : x + width] == segment.id
    buffer = BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).convert("1").save(buffer, format="PNG")
    score = "" if segment.score is None else f"score {segment.score:.4f}"
    return {
        "label": name,
        "points": [[x, y], [x + width - 1, y + height - 1]],
        "group_id": segment.id if isthing else None,
        "description": score,
        "shape_type": "mask",
        "flags": {"iscrowd": True} if segment.iscrowd else {},
        "mask": base64.b64encode(buffer.getvalue()).decode("ascii"),
    }

"""A PNG for each segment, 255 where it is, and a JSON that says what each one is."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yoso_cli.atomic import write_json
from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.panoptic import png
from yoso_cli.panoptic.annotations import segment_to_json
from yoso_cli.panoptic.types import Panoptic

MASKS_JSON = "masks.json"


@dataclass(frozen=True)
class MasksWriter:
    """Writes NAME/001-person.png, ..., and masks.json."""

    table: CategoryTable

    def write(
        self, folder: Path, picture: SourcePicture, panoptic: Panoptic
    ) -> tuple[dict[str, Any], Counter[InformationLoss]]:
        """The PNGs of one picture, and its entry: each file with the class, score and box of its segment."""
        known = {category.id: category for category in self.table.categories}
        masks = []
        for number, segment in enumerate(panoptic.segments, start=1):
            category = known[segment.category_id]
            word = re.sub(r"[^\w]+", "-", category.name).strip("-")
            file = f"{picture.stem}/{number:03d}-{word or category.id}.png"
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png.encode((panoptic.id_map == segment.id).astype(np.uint8) * 255))
            named = {"name": category.name, "isthing": category.isthing}
            masks.append({"file": file, **named, **segment_to_json(segment)})
        height, width = panoptic.id_map.shape
        entry = {"image_id": picture.image_id, "file_name": picture.image_file, "height": height, "width": width}
        return {**entry, "masks": masks}, Counter()

    def finish(self, folder: Path, entries: Sequence[dict[str, Any]]) -> None:
        """The JSON."""
        write_json(folder / MASKS_JSON, {"images": list(entries)})

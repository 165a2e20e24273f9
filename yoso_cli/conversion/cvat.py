"""CVAT for images 1.1: one XML of all pictures, a mask for each segment (https://docs.cvat.ai, its formats' pages)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.drawing.colors import colors
from yoso_cli.panoptic.types import Panoptic

ANNOTATIONS_XML = "annotations.xml"


@dataclass(frozen=True)
class CvatWriter:
    """Writes annotations.xml."""

    table: CategoryTable

    def write(
        self, folder: Path, picture: SourcePicture, panoptic: Panoptic
    ) -> tuple[dict[str, Any], Counter[InformationLoss]]:
        """The picture's entry: its masks as the lengths of runs, along the rows of the segment's box."""
        del folder
        names = {category.id: category.name for category in self.table.categories}
        height, width = panoptic.id_map.shape
        masks = []
        for segment in panoptic.segments:
            x, y, wide, high = segment.bbox
            rle = _run_lengths(panoptic.id_map[y : y + high, x : x + wide] == segment.id)
            box = {"left": x, "top": y, "width": wide, "height": high}
            masks.append({"label": names[segment.category_id], "rle": rle, **box})
        losses = Counter(
            {
                InformationLoss.SCORE: sum(one.score is not None for one in panoptic.segments),
                InformationLoss.CROWD_FLAG: sum(one.iscrowd for one in panoptic.segments),
            }
        )
        return {"name": picture.image_file, "width": width, "height": height, "masks": masks}, losses

    def finish(self, folder: Path, entries: Sequence[dict[str, Any]]) -> None:
        """The XML, written picture by picture."""
        with (folder / ANNOTATIONS_XML).open("w", encoding="utf-8") as file:
            file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
            file.write(f"  <meta><task><size>{len(entries)}</size><labels>\n{self._labels()}")
            file.write("  </labels></task></meta>\n")
            for number, entry in enumerate(entries):
                file.write(_image(number, entry))
            file.write("</annotations>\n")

    def _labels(self) -> str:
        tints = ("#{:02x}{:02x}{:02x}".format(*color) for color in colors(self.table.categories))
        return "".join(
            f"    <label><name>{_text(category.name)}</name><color>{tint}</color><type>mask</type></label>\n"
            for category, tint in zip(self.table.categories, tints, strict=True)
        )


def _image(number: int, entry: dict[str, Any]) -> str:
    head = (
        f'  <image id="{number}" name={_quoted(entry["name"])} width="{entry["width"]}" height="{entry["height"]}">\n'
    )
    return head + "".join(map(_mask, entry["masks"])) + "  </image>\n"


def _mask(mask: dict[str, Any]) -> str:
    box = " ".join(f'{side}="{mask[side]}"' for side in ("left", "top", "width", "height"))
    return (
        f'    <mask label={_quoted(mask["label"])} source="auto" occluded="0" rle="{mask["rle"]}" {box} z_order="0">'
        "</mask>\n"
    )


def _run_lengths(mask: Any) -> str:
    """Of a mask (H, W): how many zeros, ones, zeros, ... follow each other, row by row."""
    flat = np.concatenate([[False], mask.reshape(-1)])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.append(changes, mask.size)
    return ", ".join(map(str, np.diff(ends, prepend=0).tolist()))


def _text(words: str) -> str:
    return escape(_without_controls(words))


def _quoted(words: str) -> str:
    return quoteattr(_without_controls(words))


def _without_controls(words: str) -> str:
    """XML 1.0 has no way to write most control characters, nor lone surrogates."""
    return "".join(one if one.isprintable() or one in "\t\n" else "\N{REPLACEMENT CHARACTER}" for one in words)

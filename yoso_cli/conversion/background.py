"""Unlabelled pixels as a class: where only instances are labelled, what lies between them is then no void any more.

A prediction in void is no error (https://arxiv.org/abs/1801.00868, Sec. 4.1). Where all but a few instances is void,
false detections cost nothing, and a model is never told that it was wrong.
"""

# H, W height and width of the picture in pixels

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from yoso_cli.conversion.convert import InformationLoss, LabelReader, SourcePicture
from yoso_cli.panoptic.types import VOID, Category, Panoptic, Segment, measured


@dataclass(frozen=True)
class BackgroundReader(LabelReader):
    """Labels of another reader, whose void is a class.

    A picture with a wrong shape is left out as a whole by --repair: its pixels would be background.

    Attributes:
        source: the other reader.
        background: the class.
    """

    source: LabelReader
    background: Category

    def read(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss]]:
        """The labels, with one more segment, or with the one of that class grown. Raises as the other reader."""
        found, losses = self.source.read(picture)
        void = found.id_map == VOID
        if not void.any():
            return found, losses
        own = next((one for one in found.segments if one.category_id == self.background.id), None)
        taken = {one.id for one in found.segments}
        number = own.id if own else next(one for one in range(1, len(taken) + 2) if one not in taken)
        segments = found.segments if own else (*found.segments, Segment(number, self.background.id, 0))
        id_map = np.where(void, np.int32(number), found.id_map)
        return Panoptic(id_map, measured(id_map, segments)), losses


def with_background(source: LabelReader, name: str) -> tuple[LabelReader, Category]:
    """`source` with its unlabelled pixels in the stuff class `name`, and that class.

    Semantic maps have a value for them, and may have another one for pixels to be ignored, which stay void.

    Raises:
        UsageError: `name` is a thing class.
    """
    table, category = source.table.with_background(name)
    if source.has_void_values:
        return replace(source, table=table), category
    places = (source.image_dir, source.pictures, source.problems, source.remarks)
    return BackgroundReader(table, *places, source, category, repairs=source.repairs), category

"""The type of both truth and prediction: an id map and its segments.

Names follow the COCO panoptic format (https://cocodataset.org/#format-data): `category_id` is the published id,
`train_id` (0..K-1) is a category's place in the list.
"""

# H, W height and width of the picture in pixels

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yoso_cli.panoptic.regions import regions_of, runs_of

IdMap = npt.NDArray[np.int32]
Rgb = npt.NDArray[np.uint8]

VOID = 0
LARGEST_ID = 256**3 - 1
"""Of a segment: its PNG stores three bytes."""
MOST_PIXELS = 178_956_970
"""Of a picture that is read: twice what Pillow warns of. The largest published label maps have 22 million."""


@dataclass(frozen=True)
class Category:
    """One class: its published id, its name, whether it is countable (a thing), and its colour in pictures."""

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int] = (128, 128, 128)


@dataclass(frozen=True)
class Segment:
    """One region of a panoptic picture.

    Attributes:
        id: its value in the id map, 1..2^24-1.
        category_id: the published id of its category.
        area: pixels. The format stores it, and evaluation uses the stored figure.
        bbox: x, y, width, height in pixels.
        iscrowd: a group of things without separate instances; never a target, never an error.
        score: the model's confidence, 0..1; None for ground truth.
    """

    id: int
    category_id: int
    area: int
    bbox: tuple[int, int, int, int] = (0, 0, 0, 0)
    iscrowd: bool = False
    score: float | None = None


@dataclass(frozen=True)
class Panoptic:
    """A picture's segments: `id_map` is int32 (H, W), 0 = void; each other value names one of `segments`."""

    id_map: IdMap
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class ImageRecord:
    """One picture of a set, as its JSON lists it.

    Attributes:
        image_id: COCO's are integers, Cityscapes' and Mapillary's are strings.
        image_file: the picture, relative to the set's `image_dir`.
        panoptic_file: the PNG, relative to the set's `panoptic_dir`.
        height: pixels.
        width: pixels.
        segments: as annotated; in a video, a segment's id persists from frame to frame. Those of a file are made anew
            at each access (`packed_segments`).
        video_id: the video that the picture is a frame of, where the JSON says so.
    """

    image_id: int | str
    image_file: str
    panoptic_file: str
    height: int
    width: int
    segments: Sequence[Segment]
    video_id: int | str | None = None


@dataclass(frozen=True)
class PanopticSet:
    """A split of a dataset: records, categories and folders. `categories` in list order define `train_id`.

    `remarks` are sentences on what is odd about its files, without full stops.
    """

    name: str
    split: str
    categories: tuple[Category, ...]
    records: tuple[ImageRecord, ...]
    image_dir: Path
    panoptic_dir: Path
    remarks: tuple[str, ...] = field(default=(), compare=False)

    def image_path(self, record: ImageRecord) -> Path:
        """The picture of `record`."""
        return self.image_dir / record.image_file

    def panoptic_path(self, record: ImageRecord) -> Path:
        """The PNG of `record`."""
        return self.panoptic_dir / record.panoptic_file


def measured(id_map: IdMap, segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """`segments` with area and bbox measured on `id_map` (H, W); those without a pixel are left out."""
    regions = regions_of(runs_of(id_map))
    found = {
        value: (area, (x, y, width, height))
        for value, area, (x, y, width, height) in zip(
            regions.values.tolist(), regions.areas.tolist(), regions.boxes.tolist(), strict=True
        )
    }
    return tuple(
        replace(segment, area=found[segment.id][0], bbox=found[segment.id][1])
        for segment in segments
        if segment.id in found
    )


def present_ids(id_map: IdMap) -> list[int]:
    """The values that occur in `id_map` (H, W), ascending, 0 (void) included where it occurs."""
    # Segments are large: a few thousand run starts are sorted instead of all the pixels.
    return [int(value) for value in np.unique(runs_of(id_map).values)]

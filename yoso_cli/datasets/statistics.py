"""What a split holds, counted from its listing: pixels, segments and pictures of each class, void and crowd."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from yoso_cli.atomic import write_json
from yoso_cli.panoptic.types import PanopticSet

STATISTICS = "statistics.json"


@dataclass(frozen=True)
class ClassStatistics:
    """How much there is of one class.

    Attributes:
        id: the published category id.
        name: of the class.
        isthing: whether it is countable.
        images: pictures that show it.
        segments: crowds not counted.
        crowds: segments that are crowds.
        pixels: of segments and crowds.
    """

    id: int
    name: str
    isthing: bool
    images: int
    segments: int
    crowds: int
    pixels: int


@dataclass(frozen=True)
class SplitStatistics:
    """How much there is in a split.

    Attributes:
        images: pictures.
        pixels: of all of them.
        void_share: the part of the pixels that belongs to no segment, 0..1.
        crowd_share: the part that belongs to crowds, 0..1.
        segments: crowds not counted.
        segments_per_image: median over the pictures, crowds not counted.
        most_segments: of one picture.
        classes: in the order of the categories.
    """

    images: int
    pixels: int
    void_share: float
    crowd_share: float
    segments: int
    segments_per_image: float
    most_segments: int
    classes: tuple[ClassStatistics, ...]


def statistics_of(panoptic_set: PanopticSet) -> SplitStatistics:
    """Counted from the listing alone: no picture is opened."""
    images: Counter[int] = Counter()
    segments: Counter[int] = Counter()
    crowds: Counter[int] = Counter()
    pixels: Counter[int] = Counter()
    crowd_pixels, counts = 0, []
    for record in panoptic_set.records:
        images.update({segment.category_id for segment in record.segments})
        for segment in record.segments:
            pixels[segment.category_id] += segment.area
            (crowds if segment.iscrowd else segments)[segment.category_id] += 1
            crowd_pixels += segment.area if segment.iscrowd else 0
        counts.append(sum(not segment.iscrowd for segment in record.segments))
    every = sum(record.height * record.width for record in panoptic_set.records)
    return SplitStatistics(
        images=len(panoptic_set.records),
        pixels=every,
        void_share=1 - pixels.total() / every if every else 0.0,
        crowd_share=crowd_pixels / every if every else 0.0,
        segments=sum(counts),
        segments_per_image=float(median(counts)) if counts else 0.0,
        most_segments=max(counts, default=0),
        classes=tuple(
            ClassStatistics(
                one.id, one.name, one.isthing, images[one.id], segments[one.id], crowds[one.id], pixels[one.id]
            )
            for one in panoptic_set.categories
        ),
    )


def write_statistics(folder: Path, panoptic_set: PanopticSet) -> None:
    """Writes `statistics.json` into a split's folder. Raises RunError when it cannot be written."""
    write_json(folder / STATISTICS, asdict(statistics_of(panoptic_set)), indent=2)

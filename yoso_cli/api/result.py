"""The result of a prediction: segments, masks, maps, and formats of other libraries."""

# H, W height and width of the picture in pixels; N things; S segments

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from yoso_cli.drawing.overlay import overlay
from yoso_cli.drawing.picture_file import require_format, write_picture
from yoso_cli.drawing.style import Style, StyleOptions
from yoso_cli.errors import UsageError
from yoso_cli.panoptic.annotations import segment_to_json
from yoso_cli.panoptic.files import encode_id_map
from yoso_cli.panoptic.types import Category, IdMap, Panoptic, Rgb, Segment

if TYPE_CHECKING:
    from typing_extensions import Unpack

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class NamedSegment:
    """One segment of a picture.

    Attributes:
        id: its value in the id map, 1..2^24-1.
        category_id: the published id of its class.
        name: of its class.
        isthing: whether its class is a thing class.
        score: the model's confidence, 0..1.
        area: pixels.
        box: left, top, right and bottom in pixels; right and bottom are exclusive.
    """

    id: int
    category_id: int
    name: str
    isthing: bool
    score: float
    area: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Instances:
    """The N things of a picture as instance arrays, sorted by score.

    Attributes:
        masks: bool (N, H, W).
        boxes: float32 (N, 4): left, top, right, bottom in pixels.
        scores: float32 (N,), 0..1.
        category_ids: int64 (N,).
        names: of the classes.
    """

    masks: Mask
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    category_ids: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


class Result:
    """The segments of one picture.

    Args:
        image: uint8 (H, W, 3), RGB.
        panoptic: its segments.
        categories: the model's classes.
        source: the path or address of the picture; empty for arrays.
    """

    def __init__(self, image: Rgb, panoptic: Panoptic, categories: tuple[Category, ...], source: str = "") -> None:
        self.image = image
        self.panoptic = panoptic
        self.categories = categories
        self.source = source

    def __repr__(self) -> str:
        height, width = self.id_map.shape
        return f"<Result {self.source or 'picture'} {width}x{height}: {len(self.segments)} segments>"

    @property
    def id_map(self) -> IdMap:
        """int32 (H, W): each pixel's segment id, 0 where there is none."""
        return self.panoptic.id_map

    @cached_property
    def segments(self) -> tuple[NamedSegment, ...]:
        """The segments, in the order of their ids."""
        return tuple(self._named(segment) for segment in self.panoptic.segments)

    def mask(self, segment_id: int) -> Mask:
        """Bool (H, W): the pixels of a segment. Raises UsageError if there is no such segment."""
        if all(segment.id != segment_id for segment in self.panoptic.segments):
            known = ", ".join(str(segment.id) for segment in self.panoptic.segments)
            raise UsageError(
                f"There is no segment {segment_id}.", hint=f"Its ids are {known}." if known else "There is none at all."
            )
        found: Mask = self.id_map == segment_id
        return found

    def semantic_map(self, *, void: int = -1) -> npt.NDArray[np.int32]:
        """int32 (H, W): each pixel's category id, `void` where there is no segment."""
        classes = np.full(1 + max((one.id for one in self.panoptic.segments), default=0), void, np.int32)
        for segment in self.panoptic.segments:
            classes[segment.id] = segment.category_id
        found: npt.NDArray[np.int32] = classes[self.id_map]
        return found

    def instances(self) -> Instances:
        """The things, sorted by score."""
        things = sorted((one for one in self.segments if one.isthing), key=lambda one: -one.score)
        return Instances(
            np.stack([self.id_map == one.id for one in things]) if things else np.zeros((0, *self.id_map.shape), bool),
            np.array([one.box for one in things], np.float32).reshape(-1, 4),
            np.array([one.score for one in things], np.float32),
            np.array([one.category_id for one in things], np.int64),
            tuple(one.name for one in things),
        )

    def draw(self, **style: "Unpack[StyleOptions]") -> Image.Image:
        """The picture with its segments in colour, their outlines and labels, and a legend.

        Args:
            style: the attributes of `drawing.style.Style`; lists may be text with commas. `labels="name,id,score"` or
                `"none"`, `color="instance"` or `"class"`, `alpha` 0..1, `legend`, `side_by_side`,
                `only=["person"]`, `background="blur"`, `"white"` or `"transparent"`, `scale`.

        Returns:
            RGB; RGBA with a transparent background.

        Raises:
            UsageError: a value that is not allowed, or a class that the model does not know.
        """
        return Image.fromarray(self.drawn(Style.of(**style)))

    def drawn(self, style: Style) -> Rgb:
        """The picture of `draw` as uint8 (H', W', 3), or (H', W', 4) with a transparent background."""
        return overlay(self.image, self.panoptic, self.categories, style)

    def save(self, path: str | Path, **style: "Unpack[StyleOptions]") -> Path:
        """Writes the picture of `draw` as PNG or JPEG.

        Raises:
            UsageError: as `draw`; or a transparent picture is to be a JPEG.
            RunError: it cannot be written.
        """
        chosen = Style.of(**style)
        require_format(Path(path), transparent=chosen.is_transparent)
        write_picture(Path(path), self.drawn(chosen))
        return Path(path)

    def to_coco(self, *, image_id: int | str = 0, file_name: str = "") -> dict[str, Any]:
        """The picture's entry among the `annotations` of a COCO panoptic JSON; its PNG encodes `id_map`.

        Args:
            image_id: as the JSON's `images` list it.
            file_name: of the PNG.
        """
        return {
            "image_id": image_id,
            "file_name": file_name,
            "segments_info": [segment_to_json(segment) for segment in self.panoptic.segments],
        }

    def to_json(self, *, masks: bool = False) -> list[dict[str, Any]]:
        """Each segment as a JSON object: the entry of a COCO panoptic JSON, with the name of its class.

        Args:
            masks: whether each has its mask as well, `segmentation`: COCO's compressed run lengths.
        """
        if masks:
            from yoso_cli.conversion.instances import to_run_lengths
        names = {category.id: category for category in self.categories}
        found = []
        for one in self.panoptic.segments:
            named = {"name": names[one.category_id].name, "isthing": names[one.category_id].isthing}
            mask = {"segmentation": to_run_lengths(self.id_map == one.id)} if masks else {}
            found.append({**segment_to_json(one), **named, **mask})
        return found

    def to_png(self) -> bytes:
        """The id map as the PNG that belongs to `to_coco`: a segment's id is R + 256 G + 65536 B."""
        return encode_id_map(self.id_map)

    def to_supervision(self) -> Any:
        """`supervision.Detections` of all segments, things and stuff; `class_id` is the category id.

        Raises:
            UsageError: the package `supervision` is not installed.
        """
        try:
            import supervision
        except ImportError:
            hint = "Install it with `pip install supervision`."
            raise UsageError("The package supervision is not installed.", hint=hint) from None
        found = self.segments
        shape = (0, *self.id_map.shape)
        return supervision.Detections(
            xyxy=np.array([one.box for one in found], np.float32).reshape(-1, 4),
            mask=np.stack([self.id_map == one.id for one in found]) if found else np.zeros(shape, bool),
            confidence=np.array([one.score for one in found], np.float32),
            class_id=np.array([one.category_id for one in found], int),
            data={"class_name": np.array([one.name for one in found])},
        )

    def _named(self, segment: Segment) -> NamedSegment:
        category = next(one for one in self.categories if one.id == segment.category_id)
        left, top, width, height = segment.bbox
        box = (left, top, left + width, top + height)
        score = 1.0 if segment.score is None else segment.score
        return NamedSegment(segment.id, category.id, category.name, category.isthing, score, segment.area, box)

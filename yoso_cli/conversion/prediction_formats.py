"""The formats of predictions, by name."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoso_cli.atomic import write_json
from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, LabelWriter, SourcePicture
from yoso_cli.conversion.cvat import CvatWriter
from yoso_cli.conversion.instances import InstancesWriter
from yoso_cli.conversion.labelme import LabelmeWriter
from yoso_cli.conversion.maps import SemanticMapsWriter
from yoso_cli.conversion.masks import MasksWriter
from yoso_cli.conversion.yolo_seg import YoloWriter
from yoso_cli.errors import UsageError, did_you_mean
from yoso_cli.panoptic.annotations import listing_to_json, record_to_json
from yoso_cli.panoptic.files import LISTING, encode_id_map, manifest_of, write_manifest
from yoso_cli.panoptic.types import ImageRecord, Panoptic

PANOPTIC = "panoptic"


@dataclass(frozen=True)
class PanopticSetWriter:
    """COCO panoptic JSON and PNGs as a prepared split, so that `yoso convert` and `yoso eval` read them.

    Attributes:
        table: the classes.
        image_dir: the folder of the pictures.
        name: of the set.
    """

    table: CategoryTable
    image_dir: Path
    name: str

    def write(
        self, folder: Path, picture: SourcePicture, panoptic: Panoptic
    ) -> tuple[dict[str, Any], Counter[InformationLoss]]:
        """The PNG of one picture, and its two entries of the JSON."""
        height, width = panoptic.id_map.shape
        file = f"{picture.stem}.png"
        record = ImageRecord(picture.image_id, picture.image_file, file, height, width, panoptic.segments)
        path = folder / PANOPTIC / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_id_map(panoptic.id_map))
        image, annotation = record_to_json(record)
        return {"image": image, "annotation": annotation}, Counter()

    def finish(self, folder: Path, entries: Sequence[dict[str, Any]]) -> None:
        """The JSON, then the manifest."""
        pairs = ((entry["image"], entry["annotation"]) for entry in entries)
        write_json(folder / LISTING, listing_to_json(self.table.categories, pairs))
        manifest = manifest_of(self.name, "predicted", image_dir=str(self.image_dir), panoptic_dir=PANOPTIC)
        write_manifest(folder, {**manifest, "images": len(entries)})


@dataclass(frozen=True)
class Place:
    """What a writer may need to know.

    Attributes:
        table: the classes.
        image_dir: the folder of the pictures, absolute.
        folder: where the files of its format come to lie.
    """

    table: CategoryTable
    image_dir: Path
    folder: Path


FORMATS: dict[str, Callable[[Place], LabelWriter[Any]]] = {
    PANOPTIC: lambda place: PanopticSetWriter(place.table, place.image_dir, place.folder.name),
    "coco-instances": lambda place: InstancesWriter(place.table),
    "semantic": lambda place: SemanticMapsWriter(place.table),
    "masks": lambda place: MasksWriter(place.table),
    "labelme": lambda place: LabelmeWriter(place.table, place.image_dir, place.folder),
    "yolo-seg": lambda place: YoloWriter(place.table),
    "cvat": lambda place: CvatWriter(place.table),
}
"""The formats of predictions by name."""


def require_formats(names: Sequence[str]) -> None:
    """Raises UsageError for the first that is no format, or if there is none."""
    if not names:
        raise UsageError("No format is named.", hint=f"There are {', '.join(FORMATS)}.")
    for name in names:
        if name not in FORMATS:
            hint = did_you_mean(name, FORMATS, f"There are {', '.join(FORMATS)}.")
            raise UsageError(f"--format {name}: there is no such format.", hint=hint)

"""The label formats of `yoso convert`, by name."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from yoso_cli.atomic import replacing_folder
from yoso_cli.conversion.bdd100k import open_bdd100k
from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.cityscapes import CityscapesWriter, open_cityscapes
from yoso_cli.conversion.convert import LabelReader, LabelWriter
from yoso_cli.conversion.cvat import open_cvat
from yoso_cli.conversion.instances import InstancesWriter, open_instances
from yoso_cli.conversion.kitti import open_kitti, open_kitti_step
from yoso_cli.conversion.label_studio import open_label_studio
from yoso_cli.conversion.labelme import open_labelme
from yoso_cli.conversion.maps import IMAGES, INSTANCES, SEMANTIC, MapsWriter, open_maps
from yoso_cli.conversion.masks import open_masks
from yoso_cli.conversion.panoptic_set import PanopticWriter, PreparedWriter, open_panoptic
from yoso_cli.conversion.prediction_formats import FORMATS, Place
from yoso_cli.conversion.rgb_maps import open_rgb
from yoso_cli.conversion.split_choice import ANY_SPLIT, SplitChoice
from yoso_cli.conversion.submission import ResultsWriter, SemanticWriter, replacing_zip, require_published, unpacked
from yoso_cli.conversion.via import open_via
from yoso_cli.conversion.voc import VocWriter, open_voc
from yoso_cli.conversion.yolo_seg import open_yolo
from yoso_cli.errors import UsageError
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.runtime.progress import SILENT, Progress


@dataclass(frozen=True)
class Places:
    """Paths of a source; None is the format's usual place.

    Attributes:
        source: as typed.
        table: the classes, if given.
        images: pictures.
        semantic: semantic maps.
        instances: instance maps.
        truth: ground truth, for predictions.
        split: which of several splits.
        class_attribute: which attribute of a region is its class, in VIA.
        progress: shows how many label files are read before the first picture is converted.
    """

    source: Path
    table: CategoryTable | None = None
    images: Path | None = None
    semantic: Path | None = None
    instances: Path | None = None
    truth: PanopticSet | None = None
    split: SplitChoice = ANY_SPLIT
    class_attribute: str | None = None
    progress: Progress = SILENT

    def required_table(self, form: str) -> CategoryTable:
        """Raises UsageError when there is none."""
        if self.table is None:
            raise UsageError(
                f"--from {form}: the classes are missing.",
                hint="Name the classes with --categories classes.yaml.",
            )
        return self.table


def _open_maps(places: Places) -> LabelReader:
    folder = places.source
    return open_maps(
        places.required_table("maps"),
        places.images or folder / IMAGES,
        places.semantic or folder / SEMANTIC,
        places.instances or folder / INSTANCES,
    )


@contextmanager
def _open_submission(places: Places) -> Iterator[LabelReader]:
    if places.truth is None:
        raise UsageError(
            "--from submission: predictions include neither picture sizes nor classes.",
            hint="Name their ground truth with --truth.",
        )
    with unpacked(places.source) as listing:
        found = open_panoptic(listing, places.images, places.truth)
        yield replace(found, remarks=(*found.remarks, *_unpredicted(found, places.truth)))


def _unpredicted(found: LabelReader, truth: PanopticSet) -> tuple[str, ...]:
    count = len(truth.records) - len(found.pictures)
    return (f"{count} of {len(truth.records)} pictures of the truth have no prediction",) if count else ()


SOURCES: dict[str, Callable[[Places], AbstractContextManager[LabelReader]]] = {
    "maps": lambda places: nullcontext(_open_maps(places)),
    "coco-instances": lambda places: nullcontext(
        open_instances(places.source, places.images, places.semantic, places.table)
    ),
    "coco-panoptic": lambda places: nullcontext(open_panoptic(places.source, places.images)),
    "cityscapes": lambda places: nullcontext(
        open_cityscapes(places.required_table("cityscapes"), places.source, places.images)
    ),
    "prepared": lambda places: nullcontext(open_panoptic(places.source, places.images)),
    "submission": _open_submission,
    "labelme": lambda places: nullcontext(open_labelme(places.source, places.images, places.table, places.progress)),
    "cvat": lambda places: nullcontext(open_cvat(places.source, places.split, places.images, places.table)),
    "label-studio": lambda places: nullcontext(open_label_studio(places.source, places.images, places.table)),
    "via": lambda places: nullcontext(open_via(places.source, places.images, places.table, places.class_attribute)),
    "yolo-seg": lambda places: nullcontext(open_yolo(places.source, places.split, places.images, places.table)),
    "voc": lambda places: nullcontext(open_voc(places.source, places.split, places.images, places.table)),
    "rgb": lambda places: nullcontext(
        open_rgb(places.source, places.images, places.semantic, places.instances, places.table)
    ),
    "masks": lambda places: nullcontext(open_masks(places.source, places.images, places.table)),
    "kitti": lambda places: nullcontext(open_kitti(places.source, places.images, places.table)),
    "kitti-step": lambda places: nullcontext(open_kitti_step(places.source, places.split, places.images, places.table)),
    "bdd100k": lambda places: nullcontext(open_bdd100k(places.source, places.split, places.images, places.table)),
}
"""Source formats by name."""


@dataclass(frozen=True)
class Destination:
    """What writes, and where.

    Attributes:
        writer: of each picture.
        placing: the folder to write into, in its place only when all went well.
    """

    writer: LabelWriter[Any]
    placing: AbstractContextManager[Path]


def _prepared(source: LabelReader, destination: Path) -> Destination:
    whole = destination.resolve()
    writer = PreparedWriter(source.table, whole.parent.name, whole.name, source.image_dir.resolve())
    return Destination(writer, replacing_folder(destination))


def _submission(
    writer: Callable[[LabelReader, Path], LabelWriter[Any]], *datasets: str
) -> Callable[[LabelReader, Path], Destination]:
    """Writes a zip for the evaluation server of one of the published `datasets`."""

    def opened(source: LabelReader, destination: Path) -> Destination:
        require_published(source.table, *datasets)
        return Destination(writer(source, destination), replacing_zip(destination))

    return opened


def _results(source: LabelReader, destination: Path) -> ResultsWriter:
    return ResultsWriter(source.table, destination.stem)


def _as_predictions(form: str) -> Callable[[LabelReader, Path], Destination]:
    """One of the formats that predictions have too, written by the same writer."""

    def opened(source: LabelReader, destination: Path) -> Destination:
        place = Place(source.table, source.image_dir.resolve(), destination.resolve())
        return Destination(FORMATS[form](place), replacing_folder(destination))

    return opened


TARGETS: dict[str, Callable[[LabelReader, Path], Destination]] = {
    "prepared": _prepared,
    "maps": lambda source, folder: Destination(MapsWriter(source.table), replacing_folder(folder)),
    "coco-instances": lambda source, folder: Destination(InstancesWriter(source.table), replacing_folder(folder)),
    "coco-panoptic": lambda source, folder: Destination(PanopticWriter(source.table), replacing_folder(folder)),
    "cityscapes": lambda source, folder: Destination(CityscapesWriter(source.table), replacing_folder(folder)),
    **{form: _as_predictions(form) for form in ("labelme", "yolo-seg", "cvat", "masks")},
    "voc": lambda source, folder: Destination(VocWriter(source.table, folder.name), replacing_folder(folder)),
    "coco-submission": _submission(_results, "coco"),
    "cityscapes-submission": _submission(_results, "cityscapes"),
    "ade20k-submission": _submission(lambda source, _: SemanticWriter(source.table), "ade20k"),
    "mapillary-submission": _submission(_results, "mapillary-v1.2", "mapillary-v2.0"),
}
"""Target formats by name; those that end in `-submission` are zips, all others folders."""

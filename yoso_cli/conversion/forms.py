"""The label formats of `yoso convert`, by name."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from yoso_cli.atomic import replacing_folder
from yoso_cli.conversion.background import with_background
from yoso_cli.conversion.bdd100k import open_bdd100k
from yoso_cli.conversion.category_file import CategoryTable, read_table, require_distinct_names
from yoso_cli.conversion.cityscapes import CityscapesWriter, open_cityscapes
from yoso_cli.conversion.convert import InformationLoss, LabelReader, LabelWriter, only
from yoso_cli.conversion.cvat import open_cvat
from yoso_cli.conversion.instances import InstancesWriter, open_instances
from yoso_cli.conversion.kitti import open_kitti, open_kitti_step
from yoso_cli.conversion.label_studio import open_label_studio
from yoso_cli.conversion.labelme import open_labelme
from yoso_cli.conversion.maps import CATEGORIES_YAML, IMAGES, INSTANCES, SEMANTIC, MapFiles, MapsWriter, open_maps
from yoso_cli.conversion.masks import open_masks
from yoso_cli.conversion.panoptic_set import PanopticWriter, PreparedWriter, open_panoptic
from yoso_cli.conversion.prediction_formats import FORMATS, Place
from yoso_cli.conversion.rgb_maps import open_rgb
from yoso_cli.conversion.split_choice import ANY_SPLIT, SplitChoice
from yoso_cli.conversion.submission import ResultsWriter, SemanticWriter, replacing_zip, require_published
from yoso_cli.conversion.via import open_via
from yoso_cli.conversion.voc import VocWriter, open_voc
from yoso_cli.conversion.yolo_seg import open_yolo
from yoso_cli.errors import UsageError
from yoso_cli.panoptic.set_archive import unpacked
from yoso_cli.panoptic.types import Category, PanopticSet
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
        maps: which files are maps, and of which pictures.
        class_attribute: which attribute of a region is its class, in VIA.
        background: the name of a stuff class for unlabelled pixels.
        progress: shows how many label files are read before the first picture is converted.
    """

    source: Path
    table: CategoryTable | None = None
    images: Path | None = None
    semantic: Path | None = None
    instances: Path | None = None
    truth: PanopticSet | None = None
    split: SplitChoice = ANY_SPLIT
    maps: MapFiles = field(default_factory=MapFiles)
    class_attribute: str | None = None
    background: str | None = None
    progress: Progress = SILENT

    def required_table(self, form: str) -> CategoryTable:
        """As given, or of categories.yaml in the source. Raises UsageError when there is none."""
        yaml = self.source / CATEGORIES_YAML
        if self.table is None and yaml.is_file():
            return read_table(str(yaml))
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
        places.maps,
    )


@contextmanager
def _open_submission(places: Places) -> Iterator[LabelReader]:
    if places.truth is None:
        raise UsageError(
            "--from submission: predictions include neither picture sizes nor classes.",
            hint="Name their ground truth with --truth.",
        )
    with unpacked(places.source) as listing:
        found = open_panoptic(listing, places.images, places.truth, repair=places.maps.repair)
        yield replace(found, remarks=(*found.remarks, *_unpredicted(found, places.truth)))


def _unpredicted(found: LabelReader, truth: PanopticSet) -> tuple[str, ...]:
    count = len(truth.records) - len(found.pictures)
    return (f"{count} of {len(truth.records)} pictures of the truth have no prediction",) if count else ()


SOURCES: dict[str, Callable[[Places], AbstractContextManager[LabelReader]]] = {
    "maps": lambda places: nullcontext(_open_maps(places)),
    "coco-instances": lambda places: nullcontext(
        open_instances(places.source, places.images, places.semantic, places.table, repair=places.maps.repair)
    ),
    "coco-panoptic": lambda places: nullcontext(open_panoptic(places.source, places.images, repair=places.maps.repair)),
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
    "voc": lambda places: nullcontext(open_voc(places.source, places.split, places.images, places.table, places.maps)),
    "rgb": lambda places: nullcontext(
        open_rgb(places.source, places.images, places.semantic, places.instances, places.table, places.maps)
    ),
    "masks": lambda places: nullcontext(open_masks(places.source, places.images, places.table)),
    "kitti": lambda places: nullcontext(open_kitti(places.source, places.images, places.table)),
    "kitti-step": lambda places: nullcontext(open_kitti_step(places.source, places.split, places.images, places.table)),
    "bdd100k": lambda places: nullcontext(open_bdd100k(places.source, places.split, places.images, places.table)),
}
"""Source formats by name."""


@contextmanager
def opened(form: str, places: Places) -> Iterator[tuple[LabelReader, Category | None]]:
    """A source with those of its pictures that are asked for, and the class of its unlabelled pixels, if they get one.

    Raises:
        UsageError: a path or the table of classes is missing, the background is a thing class, or names of maps are
            given for another form.
        DataError: the labels are missing or malformed as a whole.
    """
    _require_maps(form, places.maps)
    with SOURCES[form](places) as found:
        names = None if form in _OF_MAPS else places.maps.names
        reader = found if names is None else only(found, names)
        if places.maps.repair and form in _DRAWN:
            left = tuple(f"left out: {problem}" for problem in reader.problems)
            reader = replace(reader, problems=(), repairs=(*reader.repairs, *left))
        yield (reader, None) if places.background is None else with_background(reader, places.background)


# Two maps for each picture, whose names may end in anything.
_OF_MAPS = ("maps", "rgb", "voc")
# Their readers leave out the pictures that they have problems with.
_DRAWN = ("labelme", "cvat", "label-studio", "via", "yolo-seg", "masks", "kitti", "kitti-step", "bdd100k")


def _require_maps(form: str, how: MapFiles) -> None:
    """Raises UsageError where options of maps are given for another form."""
    if form not in _OF_MAPS and replace(how, names=None, repair=False, encoding=None) != MapFiles():
        told = f"--suffix and --image-suffix are for --from {', '.join(_OF_MAPS)}"
    elif form != "maps" and how.encoding is not None:
        told = "--instance-encoding is for --from maps"
    else:
        return
    raise UsageError(f"{told}, and these labels are {form}.", hint="Leave it out.")


@dataclass(frozen=True)
class Destination:
    """What writes, and where.

    Attributes:
        writer: of each picture.
        placing: the folder to write into, in its place only when all went well.
        unsaid: of the ids of segments, of pictures and of videos, those that the form has no place for.
    """

    writer: LabelWriter[Any]
    placing: AbstractContextManager[Path]
    unsaid: frozenset[InformationLoss] = frozenset()


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
        return Destination(writer(source, destination), replacing_zip(destination), _VIDEOS)

    return opened


_VIDEOS = frozenset({InformationLoss.VIDEOS})
_SEGMENT_IDS = frozenset({InformationLoss.IDS})
_NAMES_ONLY = frozenset({InformationLoss.IDS, InformationLoss.IMAGE_IDS, InformationLoss.VIDEOS})


def _with_table(
    writer: Callable[[CategoryTable], LabelWriter[Any]], unsaid: frozenset[InformationLoss]
) -> Callable[[LabelReader, Path], Destination]:
    """Writes a folder with a YAML of the classes."""

    def opened(source: LabelReader, destination: Path) -> Destination:
        require_distinct_names(source.table)
        return Destination(writer(source.table), replacing_folder(destination), unsaid)

    return opened


def _results(source: LabelReader, destination: Path) -> ResultsWriter:
    return ResultsWriter(source.table, destination.stem)


def _as_predictions(form: str) -> Callable[[LabelReader, Path], Destination]:
    """One of the formats that predictions have too, written by the same writer."""

    def opened(source: LabelReader, destination: Path) -> Destination:
        require_distinct_names(source.table)
        place = Place(source.table, source.image_dir.resolve(), destination.resolve())
        return Destination(FORMATS[form](place), replacing_folder(destination), _NAMES_ONLY)

    return opened


TARGETS: dict[str, Callable[[LabelReader, Path], Destination]] = {
    "prepared": _prepared,
    "maps": _with_table(MapsWriter, _NAMES_ONLY),
    "coco-instances": _with_table(InstancesWriter, _SEGMENT_IDS),
    "coco-panoptic": lambda source, folder: Destination(PanopticWriter(source.table), replacing_folder(folder)),
    "cityscapes": _with_table(CityscapesWriter, _NAMES_ONLY),
    **{form: _as_predictions(form) for form in ("labelme", "yolo-seg", "cvat", "masks")},
    "voc": lambda source, folder: _with_table(lambda table: VocWriter(table, folder.name), _NAMES_ONLY)(source, folder),
    "coco-submission": _submission(_results, "coco"),
    "cityscapes-submission": _submission(_results, "cityscapes"),
    "ade20k-submission": _submission(lambda source, _: SemanticWriter(source.table), "ade20k"),
    "mapillary-submission": _submission(_results, "mapillary-v1.2", "mapillary-v2.0"),
}
"""Target formats by name; those that end in `-submission` are zips, all others folders."""

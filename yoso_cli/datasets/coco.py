"""COCO panoptic as published (https://cocodataset.org/#download): found, checked and listed; nothing is copied.

DIR/annotations/panoptic_val2017.json
DIR/annotations/panoptic_val2017/*.png    or DIR/panoptic_val2017/*.png
DIR/val2017/*.jpg                         or DIR/images/val2017/*.jpg
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoso_cli.atomic import replacing_folder
from yoso_cli.datasets.spec import Archive, DatasetSpec, Prepared, Progress, is_prepared, read_categories, silent
from yoso_cli.errors import DataError
from yoso_cli.panoptic.files import SetWriter, check_id_map, read_coco, read_set
from yoso_cli.panoptic.types import PanopticSet

COCO = DatasetSpec(
    name="coco",
    title="COCO panoptic 2017",
    splits=("train2017", "val2017"),
    home="https://cocodataset.org/#download",
    archives=(
        Archive(
            "panoptic_annotations_trainval2017.zip",
            "821 MB",
            "gives annotations/, where panoptic_train2017.zip and panoptic_val2017.zip want unpacking too",
        ),
        Archive("train2017.zip", "18 GB", "gives train2017/"),
        Archive("val2017.zip", "1 GB", "gives val2017/"),
    ),
)

_NAMED = 5


@dataclass(frozen=True)
class Raw:
    """Where the three parts of a split lie in a download."""

    split: str
    listing: Path
    panoptic_dir: Path
    image_dir: Path


@dataclass(frozen=True)
class Skipped:
    """A split that the annotations list but that is not all there, and why."""

    split: str
    reason: str


def find(root: Path, splits: Sequence[str] = ()) -> tuple[list[Raw], list[Skipped]]:
    """The splits in a download; without `splits`, all those that are whole, and those that are not with the reason.

    Raises:
        DataError: no such folder, a split asked for is not whole, or none is; says which file comes from where.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder.", hint=_where_from())
    listed = sorted(path.stem.removeprefix("panoptic_") for path in (root / "annotations").glob("panoptic_*.json"))
    found, skipped = [], []
    for split in splits or listed:
        raw = _locate(root, split)
        lacking = _lacking(root, raw)
        if lacking:
            skipped.append(Skipped(split, ", ".join(lacking)))
        else:
            found.append(raw)
    if not listed and not splits:
        raise DataError(f"{root}: holds no annotations/panoptic_*.json.", hint=_where_from())
    if skipped and (splits or not found):
        reasons = "; ".join(f"{one.split} lacks {one.reason}" for one in skipped)
        raise DataError(f"{root}: is no whole download: {reasons}.", hint=_where_from())
    return found, skipped


def prepare(
    raws: Sequence[Raw], output_root: Path, *, force: bool = False, progress: Progress = silent
) -> list[Prepared]:
    """Checks each split and lists it in `<output_root>/coco/<split>`; the pictures stay where they are.

    Args:
        raws: as `find` gives them.
        output_root: the folder of all datasets.
        force: redo what is done.
        progress: shows how far the checking is.

    Raises:
        DataError: files are missing or damaged; all are counted, the first five are named.
        UsageError: something else is at the place already.
        RunError: the disk is full or the place cannot be written.
    """
    done = {raw: is_prepared(output_root / COCO.name / raw.split, _parameters(raw), force=force) for raw in raws}
    prepared = []
    for raw, is_done in done.items():
        folder = output_root / COCO.name / raw.split
        prepared.append(Prepared(folder, read_set(folder) if is_done else _list(raw, folder, progress), not is_done))
    return prepared


def _list(raw: Raw, folder: Path, progress: Progress) -> PanopticSet:
    checked = _checked(raw, progress)
    with replacing_folder(folder) as temporary:
        writer = SetWriter(
            temporary,
            COCO.name,
            raw.split,
            checked.categories,
            image_dir=str(raw.image_dir.resolve()),
            panoptic_dir=str(raw.panoptic_dir.resolve()),
            notes=_parameters(raw),
        )
        for record in checked.records:
            writer.add(record)
        writer.finish()
    return read_set(folder)


def _parameters(raw: Raw) -> dict[str, Any]:
    """A listing of another size is another listing."""
    return {"source": str(raw.listing.resolve()), "source_bytes": raw.listing.stat().st_size}


def _checked(raw: Raw, progress: Progress) -> PanopticSet:
    """The split with COCO's 133 categories, every file of it looked at."""
    found = read_coco(raw.listing, raw.panoptic_dir, raw.image_dir, name=COCO.name, split=raw.split)
    published = read_categories(COCO.name)
    known = {(category.id, category.name, category.isthing) for category in published}
    foreign = [one.name for one in found.categories if (one.id, one.name, one.isthing) not in known]
    if foreign:
        raise DataError(f"{raw.listing}: has categories that COCO has not ({len(foreign)}): {_some(foreign)}.")
    problems = _problems(found, progress)
    if problems:
        raise DataError(
            f"{raw.listing}: {len(problems)} of its files are missing or damaged: {_some(problems)}.",
            hint=f"Unpack the archives again. {_where_from()}",
        )
    return PanopticSet(found.name, found.split, published, found.records, found.image_dir, found.panoptic_dir)


def _problems(found: PanopticSet, progress: Progress) -> list[str]:
    # One look into a folder is far faster than asking for each of 118,287 files.
    pictures = {path.name for path in found.image_dir.iterdir()}
    problems = []
    for record in progress(found.records, len(found.records), f"checking {found.name}/{found.split}"):
        image_path = found.image_path(record)
        if record.image_file not in pictures and not image_path.is_file():
            problems.append(f"{image_path} (no such file)")
        try:
            check_id_map(found.panoptic_path(record), record.height, record.width)
        except DataError as error:
            problems.append(error.message.replace(": ", " (", 1).removesuffix(".") + ")")
    return problems


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _locate(root: Path, split: str) -> Raw:
    annotations = root / "annotations"
    listing = annotations / f"panoptic_{split}.json"
    # The second is detectron2's layout; the third comes of unpacking a zip into a folder of its own name.
    pngs = (annotations / listing.stem, root / listing.stem, annotations / listing.stem / listing.stem)
    pictures = (root / split, root / "images" / split)
    return Raw(split, listing, _with_files(pngs, "*.png"), _with_files(pictures, "*.jpg"))


def _with_files(folders: Sequence[Path], pattern: str) -> Path:
    """The first that has such files, or else the first."""
    return next((folder for folder in folders if next(folder.glob(pattern), None)), folders[0])


def _lacking(root: Path, raw: Raw) -> list[str]:
    """What of `raw` is not there, as a person would say it."""
    lacking = []
    if not raw.listing.is_file():
        lacking.append(str(raw.listing.relative_to(root)))
    if not next(raw.panoptic_dir.glob("*.png"), None):
        zipped = raw.panoptic_dir.with_suffix(".zip")
        unpack = f" (unpack {zipped.relative_to(root)})" if zipped.is_file() else ""
        lacking.append(f"{raw.panoptic_dir.relative_to(root)}/*.png{unpack}")
    if not next(raw.image_dir.glob("*.jpg"), None):
        lacking.append(f"{raw.image_dir.relative_to(root)}/*.jpg")
    return lacking


def _where_from() -> str:
    files = "; ".join(f"{archive.file} ({archive.size}) {archive.unpack}" for archive in COCO.archives)
    return f"From {COCO.home}: {files}."

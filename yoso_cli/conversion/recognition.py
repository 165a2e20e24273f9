"""Which label format lies somewhere, told from what is there.

Only names of files and the beginnings of some are looked at: no label is read, and nothing outside of the source.
"""

import mmap
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from yoso_cli.conversion.picture_files import LEFT_BY_SYSTEMS
from yoso_cli.errors import UsageError
from yoso_cli.panoptic.layout import find_listing
from yoso_cli.panoptic.set_archive import BROKEN_ZIP
from yoso_cli.runtime.words import shortened

# Of a folder: label files of one kind lie there in thousands, and the first ones tell.
_LOOKED_AT = 50
_LISTED = 500
_DEEPEST = 5
_PHOTOS = ("images", "image", "imgs", "photos", "jpegimages", "img")
# Enough of an XML or YAML to see what it is.
_BEGINNING = 1 << 16


@dataclass(frozen=True)
class Recognised:
    """What lies somewhere.

    Attributes:
        form: its name.
        source: the folder or file to convert.
        why: what shows it.
    """

    form: str
    source: Path
    why: str


def recognised(source: Path) -> Recognised:
    """The format of `source`, a folder or file.

    Raises:
        UsageError: nothing shows it, or several things do.
    """
    found = list(_in_folder(source, _listing(source)) if source.is_dir() else _evidence_of_file(source))
    if not found and source.is_dir():
        # The PNGs of a panoptic JSON that lies beside them.
        found = [one for one in _evidence_of_file(find_listing(source)) if one.form == "coco-panoptic"]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"{source}: no label format is recognised there.", hint=_hint(source))
    told = shortened([f"{one.form} ({one.source})" for one in found])
    raise UsageError(f"{source}: may be converted as {told}.", hint="Name the right one as SRC, or with --from.")


def _hint(source: Path) -> str:
    """What to do with a source that is not recognised."""
    if source.suffix.lower() == ".zip":
        return "Unpack it, and name the folder. Of zips only a submission's is read: --from submission."
    folders = sorted(path.name for path in source.iterdir() if path.is_dir()) if source.is_dir() else []
    photos = next((name for name in folders if name.lower() in _PHOTOS), None)
    others = [name for name in folders if name != photos and next((source / name).glob("*.png"), None)]
    if photos and others:
        return (
            f"If {others[0]}/ has a map of classes for each picture: --from maps --images {source / photos} "
            f"--semantic {source / others[0]}; --from rgb if it has colours."
        )
    return "Name it with --from (`yoso convert --help` lists them), or the folder or file that has the labels."


def _evidence_of_file(path: Path) -> Iterator[Recognised]:
    if form := _of_file(path):
        yield Recognised(form, path, f"by the content of {path.name}")


def _in_folder(folder: Path, files: list[str]) -> Iterator[Recognised]:
    """What the folder shows; of what includes another, the first alone."""
    for form, *names in _LAYOUTS:
        shown = [next((file for file in files if fnmatch(file.lower(), name.lower())), "") for name in names]
        if all(shown):
            found = "rgb" if form == "maps" and _is_colored(folder / shown[-1]) else form
            yield Recognised(found, folder, f"by {' and '.join(shown)}")
            return
    of_many: dict[str, list[str]] = {}
    level = len(files)
    for name in (file for file in files if PurePosixPath(file).suffix.lower() in _READING and file[-4:] != ".zip"):
        if name.count("/") > level or sum(map(len, of_many.values())) == _LOOKED_AT:
            break
        if form := _of_file(folder / name):
            level = name.count("/")
            if form in _OF_MANY_FILES:
                of_many.setdefault(form, []).append(name)
            else:
                yield Recognised(form, folder / name, f"by the content of {name}")
    for form, names in of_many.items():
        more = " and others" if len(names) > 1 else ""
        yield Recognised(form, folder, f"by the content of {names[0]}{more}")


def _is_colored(path: Path) -> bool:
    """Whether a PNG holds colours, not values."""
    with path.open("rb") as file:
        # Behind its signature and size stand the bits of a sample and the type of colour: RGB, or with alpha.
        head = file.read(26)
    return head[25:] in (b"\x02", b"\x06")


def _listing(folder: Path) -> list[str]:
    """The files below `folder`, relative to it: all of its own, and of a folder below it the first ones."""
    found = []
    for place, folders, names in os.walk(folder):
        beside = Path(place).relative_to(folder)
        # The shallow ones first: what says most lies on top.
        folders[:] = sorted(folders)[:_LOOKED_AT] if len(beside.parts) < _DEEPEST else []
        chosen = sorted(names) if beside == Path() else sorted(names)[:_LISTED]
        visible = (name for name in chosen if not name.startswith(".") and name not in LEFT_BY_SYSTEMS)
        found += [(beside / name).as_posix() for name in visible]
    return sorted(found, key=lambda file: (file.count("/"), file))


# The first that is there counts: `*` may hold slashes.
_LAYOUTS: tuple[tuple[str, ...], ...] = (
    ("prepared", "manifest.json", "panoptic.json"),
    ("coco-panoptic", "panoptic.json", "panoptic/*.png"),
    ("coco-instances", "instances.json"),
    ("maps", "images/*", "semantic/*.*"),
    ("maps", "categories.yaml", "semantic/*.*"),
    ("cityscapes", "*_gt*_instanceIds.png"),
    ("voc", "*SegmentationClass*.png"),
    ("kitti-step", "panoptic_maps/*.png"),
    ("kitti", "*instance/*.png", "*image_2/*.png"),
    ("bdd100k", "*bitmasks/*.png"),
    ("yolo-seg", "classes.txt", "labels/*.txt"),
    ("masks", "masks.json"),
    ("masks", "*/masks/*.png", "*/images/*"),
    ("masks", "masks/*[_/]*.png", "images/*"),
)


_OF_MANY_FILES = ("labelme",)


def _of_file(path: Path) -> str:
    """The format of one file; "" for none."""
    suffix = path.suffix.lower()
    try:
        return _READING[suffix](path) if suffix in _READING else ""
    except (OSError, ValueError):  # unreadable, or empty
        return ""


def _of_json(path: Path) -> str:
    """By its keys, wherever they stand: a JSON of COCO's has them behind megabytes."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for form, keys in _KEYS.items():
            if all(content.find(b'"%s"' % key) >= 0 for key in keys):
                return form
    return ""


_KEYS: dict[str, tuple[bytes, ...]] = {
    "labelme": (b"shapes", b"imagePath"),
    "via": (b"shape_attributes", b"filename"),
    "label-studio": (b"annotations", b"result", b"original_width"),
    "coco-panoptic": (b"segments_info", b"categories"),
    "coco-instances": (b"annotations", b"images", b"categories"),
}


def _of_yaml(path: Path) -> str:
    with path.open("rb") as file:
        lines = file.read(_BEGINNING).splitlines()
    return "yolo-seg" if any(line.startswith(b"names:") for line in lines) else ""


def _of_xml(path: Path) -> str:
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    return "cvat" if b"<annotations>" in beginning and b"<version>" in beginning else ""


def _of_zip(path: Path) -> str:
    """A submission has PNGs with one JSON; exports of labelling tools are zips as well."""
    try:
        with zipfile.ZipFile(path) as archive:
            kinds = Counter(PurePosixPath(name).suffix.lower() for name in archive.namelist())
    except BROKEN_ZIP:
        return ""
    return "submission" if kinds[".json"] == 1 and kinds[".png"] else ""


_READING = {".zip": _of_zip, ".xml": _of_xml, ".yaml": _of_yaml, ".yml": _of_yaml, ".json": _of_json}

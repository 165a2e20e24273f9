"""BDD100K's bitmasks (https://doc.bdd100k.com/format.html), for panoptic and for instance segmentation.

    images/10k/train/NAME.jpg
    labels/pan_seg/bitmasks/train/NAME.png     40 classes, stuff too
    labels/ins_seg/bitmasks/train/NAME.png     8 classes, all things; other pixels are unlabelled

A PNG is RGB with alpha: R is the class, 0 for none; bits of G say of an instance that it is truncated (8), occluded
(4), a crowd (2) or to be ignored (1), which makes it void here; B * 256 + A is the instance.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yoso_cli.conversion.category_file import CategoryTable, read_table
from yoso_cli.conversion.coded_maps import CodedMapsReader, paired
from yoso_cli.conversion.kitti import require_splits
from yoso_cli.conversion.source_files import first_folder, require_folder
from yoso_cli.conversion.split_choice import SplitChoice
from yoso_cli.errors import DataError
from yoso_cli.panoptic.photos import opened_photo, require_checksums
from yoso_cli.panoptic.types import MOST_PIXELS, IdMap

BITMASKS = "bitmasks"
_TABLES = {"pan_seg": "bdd100k", "ins_seg": "bdd100k-instances"}
_CROWD, _IGNORED = 2, 1


def open_bdd100k(
    source: Path, split: SplitChoice, image_dir: Path | None, table: CategoryTable | None
) -> CodedMapsReader:
    """The pictures of a split with their bitmasks: the panoptic ones, where both are there.

    Args:
        source: the folder that has `labels/`, `pan_seg/` or `bitmasks/`, or that folder.
        split: which one.
        image_dir: of the split; by default `images/10k/SPLIT` beside `labels/`.
        table: by default BDD100K's classes.

    Raises:
        UsageError: a folder is missing, or there are several splits and none is named.
    """
    places = [source, *(source / above / kind / BITMASKS for above in ("labels", "") for kind in _TABLES)]
    places.append(source / BITMASKS)
    maps = next((folder for folder in places if folder.name == BITMASKS and folder.is_dir()), None)
    maps = require_folder(maps, source, "BDD100K: labels/pan_seg/bitmasks/train and the like")
    splits = sorted(folder.name for folder in maps.iterdir() if folder.is_dir())
    chosen, remark = split.of(require_splits(splits, maps), source)
    root = maps.resolve().parent
    above = (folder / "images" / size for folder in list(root.parents)[:3] for size in ("10k", "100k", ""))
    pairs = paired(image_dir or first_folder(*(folder / chosen for folder in above)), maps / chosen, "bitmasks")
    table = table or read_table(_TABLES.get(root.name, "bdd100k"))
    remarks = tuple(filter(None, (remark, f"{maps}: {len(table.categories)} classes of BDD100K", *pairs.remarks)))
    found = (table, pairs.image_dir, pairs.pictures, pairs.problems, remarks, pairs.maps)
    return CodedMapsReader(*found, _decode)


def _decode(table: CategoryTable, paths: Sequence[Path]) -> tuple[IdMap, IdMap]:
    path = paths[0]
    with opened_photo(path, str(path)) as image:
        if image.format != "PNG" or image.mode != "RGBA" or image.width * image.height > MOST_PIXELS:
            hint = "In BDD100K's bitmasks R is the class and B * 256 + A the instance."
            raise DataError(f"{path}: is no RGB PNG with alpha.", hint=hint)
        require_checksums(image)
        pixels = np.asarray(image).astype(np.int32)
    flags, numbers = pixels[..., 1], pixels[..., 2] * 256 + pixels[..., 3]
    classes = np.where(flags & _IGNORED, np.int32(table.void_value()), pixels[..., 0])
    return classes, np.where(flags & _CROWD, np.int32(0), numbers)

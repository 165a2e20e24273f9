"""KITTI's two segmentation benchmarks.

KITTI (http://www.cvlibs.net/datasets/kitti/eval_instance_seg.php), with Cityscapes' labels:

    training/image_2/000000_10.png
    training/instance/000000_10.png     16 bits: label * 256 + n, the n-th instance from 1; n = 0 has none

KITTI-STEP (https://arxiv.org/abs/2102.11859), videos with Cityscapes' 19 classes, of which persons and cars are things:

    training/image_02/0000/000000.png
    panoptic_maps/train/0000/000000.png RGB: R is the class, 255 void; G * 256 + B the instance, 0 for none
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yoso_cli.conversion.category_file import CategoryTable, read_table
from yoso_cli.conversion.coded_maps import CodedMapsReader, paired
from yoso_cli.conversion.source_files import first_folder, require_folder
from yoso_cli.conversion.split_choice import SplitChoice
from yoso_cli.panoptic import png
from yoso_cli.panoptic.types import IdMap

INSTANCE, PANOPTIC_MAPS = "instance", "panoptic_maps"
_FACTOR = 256
# The license plate, label -1, ends as this in eight bits.
_NONE = 255


def open_kitti(source: Path, image_dir: Path | None, table: CategoryTable | None) -> CodedMapsReader:
    """The pictures of `training/` with their instance maps; maps of classes alone, or of colours, say nothing more.

    Args:
        source: `training/`, or the folder that has it.
        image_dir: by default `image_2/`.
        table: by default Cityscapes' classes.

    Raises:
        UsageError: a folder is missing.
    """
    root = next((folder for folder in (source, source / "training") if (folder / INSTANCE).is_dir()), None)
    root = require_folder(root, source, "KITTI: training/image_2 and training/instance")
    pairs = paired(image_dir or root / "image_2", root / INSTANCE, "instance maps")
    table = table or _with_void(read_table("cityscapes"))
    return CodedMapsReader(table, pairs.image_dir, pairs.pictures, pairs.problems, pairs.remarks, pairs.maps, _kitti)


def _with_void(table: CategoryTable) -> CategoryTable:
    return CategoryTable.of(table.categories, {*table.void, _NONE})


def _kitti(_: CategoryTable, paths: Sequence[Path]) -> tuple[IdMap, IdMap]:
    values = png.read(paths[0], png.Kind.GREY16).astype(np.int32)
    return values // _FACTOR, values % _FACTOR


def open_kitti_step(
    source: Path, split: SplitChoice, image_dir: Path | None, table: CategoryTable | None
) -> CodedMapsReader:
    """The frames of a split with their panoptic maps. In a video, ids of segments persist from frame to frame.

    Args:
        source: the folder that has `panoptic_maps/`.
        split: which one.
        image_dir: the folder of the videos; by default `training/image_02/`, or `image_02/`.
        table: by default KITTI-STEP's classes.

    Raises:
        UsageError: a folder is missing, or there are several splits and none is named.
    """
    maps = next((one for one in (source / PANOPTIC_MAPS, source) if one.name == PANOPTIC_MAPS and one.is_dir()), None)
    maps = require_folder(maps, source, "KITTI-STEP: panoptic_maps/train and the like")
    splits = sorted(folder.name for folder in maps.iterdir() if folder.is_dir())
    chosen, remark = split.of(require_splits(splits, maps), source)
    root = maps.parent
    folder = image_dir or first_folder(
        *(root / place / "image_02" for place in ("training", "", chosen)), root / chosen
    )
    pairs = paired(folder, maps / chosen, "panoptic maps")
    table = table or read_table("kitti-step")
    # Frames of the other splits lie among these.
    remarks = (remark,) if remark else ()
    found = (table, pairs.image_dir, pairs.frames, pairs.problems, remarks, pairs.maps)
    return CodedMapsReader(*found, _kitti_step, stride=_FACTOR**2)


def require_splits(splits: Sequence[str], folder: Path) -> Sequence[str]:
    """`splits`. Raises UsageError where there are none."""
    require_folder(folder if splits else None, folder, "any split")
    return splits


def _kitti_step(_: CategoryTable, paths: Sequence[Path]) -> tuple[IdMap, IdMap]:
    pixels = png.read(paths[0], png.Kind.RGB).astype(np.int32)
    return pixels[..., 0], pixels[..., 1] * _FACTOR + pixels[..., 2]

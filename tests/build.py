"""The whole line in miniature: drawn scenes, a recipe of seconds, and a run of a few steps, made by the commands."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training import tiny

from yoso_cli.cli import run
from yoso_cli.panoptic.files import SetWriter
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Rgb, Segment, measured
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder

RECIPE = "tiny.yaml"
STEPS = 3


def forget_checksums(split: Path) -> None:
    """Makes a prepared split one that may be edited, as earlier versions wrote it: without checksums."""
    manifest = split / "manifest.json"
    kept = {key: value for key, value in json.loads(manifest.read_text()).items() if not key.endswith("crc32")}
    manifest.write_text(json.dumps(kept))


def write_recipe(path: Path) -> None:
    """A recipe of seconds on the scenes below `datasets/`.

    Its flat scores and low rate leave the masks nearly random: that shows segments where a little training sees none.
    """
    plain = Recipe(name="tiny", model=replace(tiny.MODEL, temperature=1.0)).to_dict()
    plain["data"] = {"name": "shapes", "root": "datasets", "train_split": "train", "val_split": "val"}
    plain["augment"] |= {"crop_height": 64, "crop_width": 64, "scale_min": 0.8, "scale_max": 1.2}
    plain["loss"] |= {"num_points": 128, "no_object_weight": 0.0}
    plain["train"] |= {"iterations": STEPS, "batch": 2, "lr": 1e-4, "workers": 0, "log_every": 1}
    plain["inference"] |= {"short_edge": 64, "long_edge": 96, "score_threshold": 0.0, "overlap_threshold": 0.0}
    path.write_text(recipe_file.to_yaml(recipe_file.from_dict(plain)))


def trained_line(folder: Path) -> None:
    """Fills `folder` with `datasets/`, a recipe and `runs/tiny-001`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_recipe(Path(RECIPE))
        assert run(["prepare", "shapes", "--train", "6", "--val", "3", "--size", "64"]) == 0
        assert run(["train", RECIPE, "--device", "cpu"]) == 0


def newest_weights() -> Path:
    """Of the newest run under the folder that the test stands in."""
    return RunFolder.newest(Path("runs")).weights()


def picture(index: int = 0) -> Path:
    """A scene that the run never saw."""
    return sorted(Path("datasets/shapes/val/images").iterdir())[index]


def listing(folder: Path = Path()) -> dict[str, str]:
    """Every file below `folder` with a digest of its content: equal listings mean that nothing was touched."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def write_set(
    folder: Path, categories: Sequence[Category], pictures: Sequence[tuple[Rgb, Panoptic]], *, suffix: str = "png"
) -> PanopticSet:
    """A prepared split of these pictures."""
    writer = SetWriter(folder, folder.parent.name, folder.name, categories)
    for index, (image, panoptic) in enumerate(pictures):
        height, width = panoptic.id_map.shape
        record = ImageRecord(index, f"{index}.{suffix}", f"{index}.png", height, width, panoptic.segments)
        writer.add(record, panoptic, image)
    return writer.finish()


def blocks(random: np.random.Generator, height: int, width: int, categories: Sequence[Category]) -> Panoptic:
    """Rectangles of random classes on void, some of them hidden by others."""
    id_map = np.zeros((height, width), np.int32)
    segments = []
    for segment_id in range(1, 6):
        top, left = random.integers(0, height), random.integers(0, width)
        id_map[top : top + height // 2 + 1, left : left + width // 2 + 1] = segment_id
        category = categories[random.integers(len(categories))]
        segments.append(Segment(segment_id, category.id, 0))
    return Panoptic(id_map, measured(id_map, segments))

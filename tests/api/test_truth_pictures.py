"""The labels of a dataset, to be drawn."""

import shutil
from pathlib import Path

import build
import numpy as np
import pytest

from yoso_cli.api.truth_pictures import truth_pictures
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.files import read_panoptic, read_set
from yoso_cli.panoptic.types import Category, Panoptic, Segment, measured

CATEGORIES = (Category(1, "person", True), Category(2, "car", True), Category(3, "sky-other-merged", False))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight pictures of sky, the odd ones with a car too; nobody is in any."""
    pictures = []
    for place in range(8):
        id_map = np.full((6, 9 + place), 5, np.int32)
        id_map[:3, :3] = 8 if place % 2 else 5
        segments = measured(id_map, [Segment(5, 3, 0), Segment(8, 2, 0)])
        pictures.append((np.full((*id_map.shape, 3), 40 + place, np.uint8), Panoptic(id_map, segments)))
    build.write_set(tmp_path / "mine" / "val", CATEGORIES, pictures)
    return tmp_path


def files(results: object) -> list[str]:
    return [Path(one.source).name for one in results]  # type: ignore[attr-defined]


def test_the_first_pictures_come_with_their_labels(root: Path) -> None:
    found = list(truth_pictures("mine", root=root, count=3))
    truth = read_set(root / "mine" / "val")
    assert files(found) == ["0.png", "1.png", "2.png"]
    for result, record in zip(found, truth.records, strict=False):
        assert np.array_equal(result.id_map, read_panoptic(truth, record).id_map)
        assert result.panoptic.segments == record.segments
        assert result.image.shape == (*result.id_map.shape, 3)
    assert [one.name for one in found[1].segments] == ["sky-other-merged", "car"]
    assert found[1].draw(scale=1).size[0] >= 10


def test_a_seed_chooses_others_the_same_each_time(root: Path) -> None:
    chosen = [files(truth_pictures("mine", root=root, count=4, seed=seed)) for seed in (1, 1, 2, 3)]
    assert chosen[0] == chosen[1]
    assert len({tuple(one) for one in chosen}) > 1
    assert all(len(set(one)) == 4 for one in chosen)
    assert len(files(truth_pictures("mine", root=root, seed=1))) == 8


@pytest.mark.parametrize("seed", [None, 4])
def test_only_pictures_with_one_of_the_classes_come(root: Path, seed: int | None) -> None:
    found = files(truth_pictures("mine", root=root, classes=["Car", "person"], seed=seed))
    assert sorted(found) == ["1.png", "3.png", "5.png", "7.png"]
    assert len(files(truth_pictures("mine", root=root, classes=["sky"]))) == 8


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"dataset": "mien"}, UsageError, r"mien: is neither .* Did you mean 'mine'"),
        ({"split": "vla"}, UsageError, r"mine: has no split vla\. Did you mean 'val'"),
        ({"classes": ["cra"]}, UsageError, r"no class 'cra'\. Did you mean 'car'"),
        ({"classes": ["person"]}, DataError, r"mine/val: no picture has a segment of person\. .*yoso stats"),
    ],
)
def test_mistakes_are_told_before_the_first_picture(root: Path, arguments, error, told) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=told):
        truth_pictures(**{"dataset": "mine", "root": root, **arguments})


def test_of_several_splits_that_for_validation_is_taken(root: Path) -> None:
    shutil.copytree(root / "mine" / "val", root / "mine" / "train")
    assert "/val/" in next(truth_pictures("mine", root=root)).source
    assert "/train/" in next(truth_pictures("mine", split="train", root=root)).source
    shutil.copytree(root / "mine" / "val", root / "mine" / "val2")
    with pytest.raises(UsageError, match=r"several splits\. .*--split.* train, val, val2"):
        truth_pictures("mine", root=root)


def test_a_photo_of_another_size_is_named(root: Path) -> None:
    images = root / "mine" / "val" / "images"
    shutil.copy(images / "3.png", images / "0.png")
    with pytest.raises(DataError, match=r"0\.png: is 12x6 where its labels are 9x6"):
        next(truth_pictures("mine", root=root))


def test_cocos_own_layout_is_read(coco_sample: Path) -> None:
    found = list(truth_pictures(coco_sample, classes=["horse"]))
    assert files(found) == ["000000439180.jpg"]
    assert len(found[0].segments) > 20

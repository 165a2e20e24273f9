"""KITTI, KITTI-STEP and BDD100K: files packed here as their formats say, against the arrays they were packed from."""

from pathlib import Path

import numpy as np
import pytest
from conftest import oracle
from conversion import raw
from conversion.drawn import read_all
from PIL import Image

from yoso_cli.conversion.bdd100k import open_bdd100k
from yoso_cli.conversion.category_file import read_table
from yoso_cli.conversion.kitti import open_kitti, open_kitti_step
from yoso_cli.conversion.split_choice import ANY_SPLIT, SplitChoice
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import VOID

CLASS = np.array([[7, 7, 26, 26], [7, 3, 26, 24], [23, 0, 24, 24]])
NUMBER = np.array([[0, 0, 1, 1], [0, 0, 2, 0], [0, 0, 3, 3]])


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_kitti_has_cityscapes_labels_times_256_plus_the_instance(tmp_path: Path) -> None:
    labels = {label.id: label for label in oracle("cityscapesscripts.helpers.labels").labels}
    for name in ("000000_10", "000001_10"):
        raw.write_photo(tmp_path / f"training/image_2/{name}.png", *CLASS.shape)
        save(tmp_path / f"training/instance/{name}.png", (CLASS * 256 + NUMBER).astype(np.uint16))
        save(tmp_path / f"training/semantic/{name}.png", CLASS.astype(np.uint8))
    for source in (tmp_path, tmp_path / "training"):
        reader = open_kitti(source, None, None)
        assert not reader.problems
        (panoptic, _), _ = read_all(reader)
        known = {category.id: category for category in reader.table.categories}
        for one in panoptic.segments:
            pixels = panoptic.id_map == one.id
            label = labels[one.category_id]
            assert (CLASS[pixels] == label.id).all()
            assert known[label.id].name == label.name
            assert known[label.id].isthing == label.hasInstances
            numbers = set(NUMBER[pixels].tolist())
            assert len(numbers) == 1
            assert one.iscrowd == (label.hasInstances and numbers == {0})
        void = np.vectorize(lambda value: labels[value].ignoreInEval)(CLASS)
        assert np.array_equal(panoptic.id_map == VOID, void)
    with pytest.raises(UsageError, match="lacks the folders of KITTI"):
        open_kitti(tmp_path / "training/image_2", None, None)


def test_kitti_step_tells_instances_apart_in_all_frames_of_a_video(tmp_path: Path) -> None:
    classes = np.array([[0, 0, 13, 13], [255, 11, 11, 13]])
    numbers = np.array([[0, 0, 300, 300], [0, 5, 5, 0]])
    for frame, shift in (("000000", 0), ("000001", 1)):
        moved, of = np.roll(classes, shift, axis=1), np.roll(numbers, shift, axis=1)
        save(tmp_path / f"panoptic_maps/val/0002/{frame}.png", np.dstack([moved, of // 256, of % 256]).astype(np.uint8))
        raw.write_photo(tmp_path / f"training/image_02/0002/{frame}.png", *classes.shape)
    raw.write_photo(tmp_path / "training/image_02/0001/000000.png", *classes.shape)
    save(tmp_path / "panoptic_maps/train/0001/000000.png", np.zeros((2, 4, 3), np.uint8))
    with pytest.raises(UsageError, match="has several splits: train, val"):
        open_kitti_step(tmp_path, ANY_SPLIT, None, None)
    reader = open_kitti_step(tmp_path, SplitChoice(likely="val"), None, None)
    assert not reader.problems
    assert [picture.image_file for picture in reader.pictures] == ["0002/000000.png", "0002/000001.png"]
    assert {picture.video_id for picture in reader.pictures} == {"0002"}
    (first, _), (second, _) = read_all(reader)
    assert np.array_equal(np.roll(first.id_map, 1, axis=1), second.id_map), "the same ids"
    assert np.array_equal(first.id_map == VOID, classes == 255)
    names = {category.id: (category.name, category.isthing) for category in reader.table.categories}
    found = {names[one.category_id]: (one.area, one.iscrowd) for one in first.segments if not one.iscrowd}
    assert found == {("road", False): (2, False), ("person", True): (2, False), ("car", True): (2, False)}
    assert [names[one.category_id][0] for one in first.segments if one.iscrowd] == ["car"]
    assert len({one.id for one in first.segments}) == len(first.segments) == 4


def packed(classes: np.ndarray, flags: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return np.dstack([classes, flags, numbers // 256, numbers % 256]).astype(np.uint8)


CATEGORY = np.array([[7, 7, 35, 35], [0, 31, 31, 35], [30, 30, 31, 35]])
INSTANCE = np.array([[1, 1, 700, 700], [0, 3, 3, 4], [5, 5, 6, 7]])
FLAGS = np.array([[0, 0, 12, 12], [0, 2, 2, 0], [0, 0, 0, 1]])


def test_bdd100ks_panoptic_bitmasks(tmp_path: Path) -> None:
    for split in ("train", "val"):
        raw.write_photo(tmp_path / f"bdd100k/images/10k/{split}/a-{split}.jpg", *CATEGORY.shape)
        save(tmp_path / f"bdd100k/labels/pan_seg/bitmasks/{split}/a-{split}.png", packed(CATEGORY, FLAGS, INSTANCE))
    for source in ("bdd100k", "bdd100k/labels", "bdd100k/labels/pan_seg", "bdd100k/labels/pan_seg/bitmasks"):
        reader = open_bdd100k(tmp_path / source, SplitChoice(likely="val"), None, None)
        assert not reader.problems
        assert [picture.stem for picture in reader.pictures] == ["a-val"]
    ((panoptic, _),) = read_all(reader)
    names = {category.id: category.name for category in reader.table.categories}
    found = sorted((names[one.category_id], one.area, one.iscrowd) for one in panoptic.segments)
    assert found == [
        ("car", 1, False),
        ("car", 2, False),
        ("person", 1, False),
        ("person", 2, True),
        ("road", 2, False),
        ("sky", 2, False),
    ]
    assert np.array_equal(panoptic.id_map == VOID, (CATEGORY == 0) | (FLAGS & 1 == 1))


def test_bdd100ks_instance_bitmasks_have_other_classes(tmp_path: Path) -> None:
    raw.write_photo(tmp_path / "images/10k/train/a.jpg", *CATEGORY.shape)
    classes = np.where(CATEGORY == 35, 3, 0)
    save(tmp_path / "labels/ins_seg/bitmasks/train/a.png", packed(classes, 0 * FLAGS, INSTANCE))
    reader = open_bdd100k(tmp_path, ANY_SPLIT, None, None)
    ((panoptic, _),) = read_all(reader)
    names = {category.id: category.name for category in reader.table.categories}
    assert [(names[one.category_id], one.area) for one in panoptic.segments] == [("car", 1), ("car", 1), ("car", 2)]
    save(tmp_path / "labels/ins_seg/bitmasks/train/a.png", classes.astype(np.uint8))
    with pytest.raises(DataError, match=r"a\.png: is no RGB PNG with alpha"):
        read_all(reader)
    with pytest.raises(UsageError, match="lacks the folders of BDD100K"):
        open_bdd100k(tmp_path / "images", ANY_SPLIT, None, None)


def test_the_tables_of_classes_are_there_by_name() -> None:
    assert [len(read_table(name).categories) for name in ("voc", "kitti-step", "bdd100k", "bdd100k-instances")] == [
        21,
        19,
        40,
        8,
    ]
    assert read_table("voc").void == {255}

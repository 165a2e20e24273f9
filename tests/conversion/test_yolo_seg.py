"""YOLO's folders as Ultralytics, Roboflow and CVAT lay them, read by pycocotools' rule and by supervision."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import oracle
from conversion import raw
from conversion.drawn import read_all
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss
from yoso_cli.conversion.split_choice import ANY_SPLIT, SplitChoice
from yoso_cli.conversion.yolo_seg import YoloReader, open_yolo
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import Category

HEIGHT, WIDTH = 30, 40
SQUARE = "0.25 0.2 0.5 0.2 0.5 0.6 0.25 0.6"
TRAIN = SplitChoice(likely="train")


def write_picture(photo: Path, labels: Path | None, *lines: str) -> None:
    raw.write_photo(photo, HEIGHT, WIDTH)
    if labels:
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("".join(f"{line}\n" for line in lines))


def write_yaml(folder: Path, **content: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.yaml").write_text(yaml.safe_dump({"names": ["car", "person"], **content}))
    return folder


def opened(source: Path, split: SplitChoice = ANY_SPLIT, images: Path | None = None) -> YoloReader:
    return open_yolo(source, split, images, None)


def test_ultralytics_layout(tmp_path: Path) -> None:
    root = write_yaml(tmp_path / "coco8", path="../datasets/coco8", train="images/train", val="images/val", nc=2)
    write_picture(root / "images/train/a.jpg", root / "labels/train/a.txt", f"1 {SQUARE}", f"0 {SQUARE[:-9]}")
    write_picture(root / "images/train/b.jpg", root / "labels/train/b.txt")
    write_picture(root / "images/train/c.jpg", None)
    write_picture(root / "images/val/d.jpg", root / "labels/val/d.txt", f"1 {SQUARE}")
    reader = opened(root, TRAIN)
    assert reader.table.categories == (Category(0, "car", True), Category(1, "person", True))
    assert reader.image_dir == root / "images/train"
    assert [picture.image_file for picture in reader.pictures] == ["a.jpg", "b.jpg"]
    assert any("1 picture without a text file left out: images/train/c.jpg" in told for told in reader.remarks)
    assert any("the split train is converted; there are also val" in told for told in reader.remarks)
    (found, losses), (empty, _) = read_all(reader)
    assert found.id_map[8, 18] == 2, "the triangle is smaller"
    assert found.segments[0].bbox == (10, 6, 10, 12)
    assert losses[InformationLoss.OVERLAP] == found.segments[1].area
    assert not empty.segments
    assert not empty.id_map.any()


def test_roboflow_layout_with_paths_that_climb(tmp_path: Path) -> None:
    root = write_yaml(tmp_path, train="../train/images", val="../valid/images", roboflow={"version": 1}, nc=2)
    write_picture(root / "train/images/a_jpg.rf.12.jpg", root / "train/labels/a_jpg.rf.12.txt", f"0 {SQUARE}")
    write_picture(root / "valid/images/b.jpg", root / "valid/labels/b.txt", f"0 {SQUARE}")
    reader = opened(root / "data.yaml", SplitChoice(asked="valid"))
    assert [picture.image_file for picture in reader.pictures] == ["b.jpg"]
    assert [one.stem for one in opened(root, TRAIN).pictures] == ["a_jpg.rf.12"]


def test_lists_of_pictures_and_names_by_number(tmp_path: Path) -> None:
    """As CVAT exports it: a list per split, with paths from data.yaml's folder or of another computer."""
    root = write_yaml(tmp_path, train="train.txt", names={0: "car", 1: 8})
    for name in ("a", "b"):
        write_picture(root / f"images/train/{name}.jpg", root / f"labels/train/{name}.txt", f"1 {SQUARE}")
    (root / "train.txt").write_text("data/images/train/b.jpg\n./images/train/a.jpg\n\n")
    reader = opened(root)
    assert [category.name for category in reader.table.categories] == ["car", "8"]
    assert [picture.image_file for picture in reader.pictures] == ["a.jpg", "b.jpg"]
    (root / "train.txt").write_text("images/train/gone.jpg\n")
    with pytest.raises(DataError, match=r"train.txt: names the picture 'images/train/gone.jpg', which is not in"):
        opened(root)


def test_several_folders_and_labels_beside_the_pictures(tmp_path: Path) -> None:
    root = write_yaml(tmp_path, train=["one", "two"])
    write_picture(root / "one/a.jpg", root / "one/a.txt", f"0 {SQUARE}")
    write_picture(root / "two/b.jpg", root / "two/b.txt", f"0 {SQUARE}")
    reader = opened(root)
    assert [picture.image_file for picture in reader.pictures] == ["one/a.jpg", "two/b.jpg"]


def test_pictures_elsewhere(tmp_path: Path) -> None:
    root = write_yaml(tmp_path / "labelled")
    write_picture(tmp_path / "photos/x/a.jpg", root / "labels/x/a.txt", f"0 {SQUARE}")
    assert [one.stem for one in opened(root, images=tmp_path / "photos").pictures] == ["a"]


def test_classes_in_a_text_file_as_label_studio_exports_them(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("car\nroad sign\n")
    write_picture(tmp_path / "images/a.jpg", tmp_path / "labels/a.txt", f"1 {SQUARE}")
    reader = opened(tmp_path)
    assert [category.name for category in reader.table.categories] == ["car", "road sign"]
    assert [one.category_id for one in read_all(reader)[0][0].segments] == [1]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8))
def test_a_polygon_is_what_pycocotools_makes_of_it(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[float, float]]
) -> None:
    root = write_yaml(tmp_path_factory.mktemp("a"), train="images")
    line = " ".join(f"{x:.6f} {y:.6f}" for x, y in points)
    write_picture(root / "images/a.png", root / "labels/a.txt", f"0 {line}")
    ((found, _),) = read_all(opened(root))
    polygon = [float(share) * (WIDTH, HEIGHT)[axis % 2] for axis, share in enumerate(line.split())]
    encoded = coco_mask.merge(coco_mask.frPyObjects([polygon], HEIGHT, WIDTH))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pycocotools with NumPy 2.4
        assert np.array_equal(found.id_map, coco_mask.decode(encoded))


def test_supervision_reads_the_same_classes_and_boxes(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="OpenCV")
        supervision = oracle("supervision")
    root = write_yaml(tmp_path, train="images")
    tree = "1 0.6 0.1 0.9 0.2 0.95 0.8 0.7 0.9 0.55 0.5"
    write_picture(root / "images/a.png", root / "labels/a.txt", f"0 {SQUARE}", tree)
    theirs = supervision.DetectionDataset.from_yolo(str(root / "images"), str(root / "labels"), str(root / "data.yaml"))
    ((_, _, found),) = list(theirs)
    reader = opened(root)
    ((panoptic, _),) = read_all(reader)
    assert theirs.classes == [category.name for category in reader.table.categories]
    assert [one.category_id for one in panoptic.segments] == found.class_id.tolist()
    for one, (left, top, right, bottom) in zip(panoptic.segments, found.xyxy.tolist(), strict=True):
        x, y, width, height = one.bbox
        assert np.abs(np.array([x, y, x + width, y + height]) - [left, top, right, bottom]).max() <= 1


def test_boxes_and_confidences_are_counted(tmp_path: Path) -> None:
    root = write_yaml(tmp_path, train="images")
    lines = ("0 0.5 0.5 0.2 0.2", "0 0.5 0.5 0.2 0.2 0.9", f"0.0 {SQUARE} 0.87")
    write_picture(root / "images/a.png", root / "labels/a.txt", *lines)
    ((panoptic, losses),) = read_all(opened(root))
    assert len(panoptic.segments) == 1
    assert +losses == {InformationLoss.BOXES: 2, InformationLoss.SCORE: 1}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.1 0.2 0.3", "a.txt:2: has 3 figures after its class"),
        ("2 0.1 0.2 0.3 0.4 0.5 0.6", "has the class 2; `names` has 0 to 1"),
        ("0.5 0.1 0.2 0.3 0.4 0.5 0.6", "has the class 0.5"),
        ("-1 0.1 0.2 0.3 0.4 0.5 0.6", "has the class -1"),
        ("car 0.1 0.2 0.3 0.4 0.5 0.6", "is not `class x y x y x y ...`"),
        ("0 10 20 30 20 10 30", "has 10, but coordinates are shares from 0 to 1"),
        ("0 nan 0.2 0.3 0.4 0.5 0.6", "has nan, but coordinates"),
        ("nan 0.1 0.2 0.3 0.4 0.5 0.6", "has the class nan"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, line: str, words: str) -> None:
    root = write_yaml(tmp_path, train="images")
    write_picture(root / "images/a.png", root / "labels/a.txt", f"0 {SQUARE}", line)
    with pytest.raises(DataError, match=words.replace("?", r"\?")):
        read_all(opened(root))


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ({"names": []}, DataError, "lacks `names`"),
        ({"names": {0: "a", 2: "b"}}, DataError, "lacks `names`"),
        ({"names": {"x": "a"}}, DataError, "lacks `names`"),
        ({"names": ["a", "a"]}, DataError, "names has 'a' twice"),
        ({"names": ["a", None]}, DataError, "names has no label, the name of a class"),
        ({"kpt_shape": [17, 3]}, DataError, "is of YOLO's key points"),
        ({"train": "elsewhere"}, DataError, "elsewhere: is not in the folder of data.yaml"),
        ({"train": "/etc"}, DataError, "/etc: is not in the folder of data.yaml"),
        ({"train": 5}, DataError, "train: is no folder"),
        ({"train": "images", "val": "images"}, UsageError, "has several splits: train, val. Name one with --split"),
        ({"train": "empty"}, DataError, "none of its 0 pictures has a text file"),
    ],
)
def test_a_data_yaml_that_is_wrong_is_explained(
    tmp_path: Path, content: dict[str, object], error: type[Exception], words: str
) -> None:
    root = write_yaml(tmp_path / "set", **content)
    (root / "empty").mkdir()
    write_picture(root / "images/a.png", root / "labels/a.txt", f"0 {SQUARE}")
    with pytest.raises(error, match=words):
        opened(root)


def test_a_split_that_is_not_there_is_told(tmp_path: Path) -> None:
    root = write_yaml(tmp_path, train="images", val="images")
    with pytest.raises(UsageError, match="has no split 'tset', but train, val"):
        opened(root, SplitChoice(asked="tset"))
    with pytest.raises(UsageError, match=r"has neither data\.yaml nor classes\.txt"):
        opened(root / "images" if (root / "images").mkdir() is None else root)


def test_a_table_must_know_the_names(tmp_path: Path) -> None:
    root = write_yaml(tmp_path, train="images")
    write_picture(root / "images/a.png", root / "labels/a.txt", f"1 {SQUARE}")
    table = CategoryTable.of([Category(5, "person", True), Category(4, "car", False)])
    ((panoptic, _),) = read_all(open_yolo(root, ANY_SPLIT, None, table))
    assert [one.category_id for one in panoptic.segments] == [5]
    with pytest.raises(DataError, match="labels that the classes do not list: 'car'"):
        open_yolo(root, ANY_SPLIT, None, CategoryTable.of([Category(5, "person", True)]))

"""Every format of predictions, read by other readers: the same masks, names and scores."""

import base64
import io
import json
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.conversion.prediction_folder import PredictionFolder
from yoso_cli.conversion.prediction_formats import FORMATS, require_formats
from yoso_cli.errors import UsageError
from yoso_cli.panoptic.files import read_panoptic, read_set
from yoso_cli.panoptic.types import Category, IdMap, Panoptic, Segment, measured

CATEGORIES = (
    Category(0, "sky", False),
    Category(7, 'car <"&', True, (0, 0, 142)),
    Category(8, "personne à vélo", True),
)


@st.composite
def predictions(draw: st.DrawFn, least: int = 4) -> Panoptic:
    """Blobs of random classes with scores; some of several parts and with holes."""
    height, width = draw(st.integers(least, 24)), draw(st.integers(least, 24))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    coarse = random.integers(0, 5, (4, 4))
    id_map = np.ascontiguousarray(np.kron(coarse, np.ones((6, 6), int))[:height, :width], np.int32)
    classes = random.choice([0, 7, 8], 5)
    segments = (Segment(value, int(classes[value]), 0, score=float(random.random())) for value in range(1, 5))
    return Panoptic(id_map, measured(id_map, segments))


def written(folder: Path, panoptic: Panoptic, *formats: str, file: str = "street/a.jpg") -> Path:
    """Predictions of one photo in `photos/`."""
    photos = folder / "photos"
    (photos / file).parent.mkdir(parents=True, exist_ok=True)
    height, width = panoptic.id_map.shape
    Image.new("RGB", (width, height)).save(photos / file)
    with PredictionFolder(folder / "preds", {}, formats, CATEGORIES, photos) as out:
        out.append(out.write(SourcePicture("a", file), panoptic, "1"))
        assert out.finish()
    return folder / "preds"


def masks_of(panoptic: Panoptic, *, things_only: bool = False) -> list[tuple[int, IdMap]]:
    kept = [one for one in panoptic.segments if not things_only or one.category_id]
    return [(one.category_id, panoptic.id_map == one.id) for one in kept]


def same(found: list[tuple[int, Any]], wanted: list[tuple[int, Any]]) -> bool:
    """The same classes with the same masks, in any order."""
    plain = [
        sorted((category, np.packbits(np.asarray(mask) != 0).tobytes()) for category, mask in masks)
        for masks in (found, wanted)
    ]
    return plain[0] == plain[1]


@settings(max_examples=25)
@given(panoptic=predictions())
def test_panoptic_is_a_prepared_split(panoptic: Panoptic, tmp_path_factory: pytest.TempPathFactory) -> None:
    preds = written(tmp_path_factory.mktemp("a"), panoptic, "panoptic")
    found = read_set(preds)
    assert found.categories == CATEGORIES
    (record,) = found.records
    assert found.image_path(record).is_file()
    back = read_panoptic(found, record)
    assert np.array_equal(back.id_map, panoptic.id_map)
    assert back.segments == panoptic.segments


@pytest.mark.filterwarnings("ignore:__array__")  # pycocotools with NumPy 2.4
@settings(max_examples=25)
@given(panoptic=predictions())
def test_pycocotools_reads_the_instances(panoptic: Panoptic, tmp_path_factory: pytest.TempPathFactory) -> None:
    preds = written(tmp_path_factory.mktemp("a"), panoptic, "coco-instances")
    coco = COCO(str(preds / "coco-instances/instances.json"))
    assert {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())} == {7: 'car <"&', 8: "personne à vélo"}
    found = [(one["category_id"], coco.annToMask(one)) for one in coco.loadAnns(coco.getAnnIds())]
    assert same(found, masks_of(panoptic, things_only=True))
    scores = [one.score for one in panoptic.segments if one.category_id]
    assert [one["score"] for one in coco.loadAnns(coco.getAnnIds())] == scores


def test_supervision_reads_the_instances_and_the_polygons(tmp_path: Path) -> None:
    """It fills polygons as cv2.fillPoly does, or with a copy of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="OpenCV")
        supervision = oracle("supervision")
    random = np.random.default_rng(0)
    id_map = np.zeros((60, 80), np.int32)
    id_map[30:], id_map[5:25, 10:30], id_map[8:20, 40:41], id_map[10:15, 12:16] = 1, 2, 3, 0
    wanted = (Segment(1, 0, 0, score=0.5), Segment(2, 7, 0, score=0.25), Segment(3, 8, 0, score=float(random.random())))
    panoptic = Panoptic(id_map, measured(id_map, wanted))
    preds = written(tmp_path, panoptic, "coco-instances", "yolo-seg", file="a.png")
    photos = str(tmp_path / "photos")
    listing = str(preds / "coco-instances/instances.json")
    coco = supervision.DetectionDataset.from_coco(photos, listing, force_masks=True)
    ((_, _, found),) = list(coco)
    ids = {one.name: one.id for one in CATEGORIES}
    named = [ids[coco.classes[place]] for place in found.class_id]
    assert same(list(zip(named, found.mask, strict=True)), masks_of(panoptic, things_only=True))
    from supervision.detection.utils.converters import polygon_to_mask

    found_masks = []
    for line in (preds / "yolo-seg/labels/a.txt").read_text().splitlines():
        place, *shares = map(float, line.split())
        # Ultralytics cuts coordinates down to whole numbers before cv2.fillPoly.
        points = (np.reshape(shares, (-1, 2)) * [80, 60]).astype(np.int32)
        found_masks.append((CATEGORIES[int(place)].id, polygon_to_mask(polygon=points, resolution_wh=(80, 60))))
    assert same(found_masks, masks_of(panoptic))
    assert yaml.safe_load((preds / "yolo-seg/data.yaml").read_text())["names"][1] == 'car <"&'


def test_yolo_says_how_many_segments_one_polygon_cannot_express(tmp_path: Path) -> None:
    id_map = np.array([[1, 1, 0, 1, 1]] * 3, np.int32)
    panoptic = Panoptic(id_map, measured(id_map, [Segment(1, 7, 0, score=0.5)]))
    preds = written(tmp_path, panoptic, "yolo-seg")
    losses = json.loads((preds / "predictions.json").read_text())["losses"]
    assert losses == {InformationLoss.PARTS.value: 1, InformationLoss.SCORE.value: 1}


@settings(max_examples=25)
@given(panoptic=predictions())
def test_labelme_has_a_mask_in_a_box_for_each_segment(
    panoptic: Panoptic, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As LabelMe 5.3 and newer put a shape of the kind mask into the picture: the box's ends are inclusive."""
    preds = written(tmp_path_factory.mktemp("a"), panoptic, "labelme")
    path = preds / "labelme/street/a.json"
    content = json.loads(path.read_text())
    assert (path.parent / content["imagePath"]).is_file()
    names = {one.name: one.id for one in CATEGORIES}
    found = []
    for shape in content["shapes"]:
        assert shape["shape_type"] == "mask"
        (x1, y1), (x2, y2) = shape["points"]
        whole = np.zeros((content["imageHeight"], content["imageWidth"]), bool)
        whole[y1 : y2 + 1, x1 : x2 + 1] = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))).astype(bool)
        found.append((names[shape["label"]], whole))
    assert same(found, masks_of(panoptic))


@settings(max_examples=25)
@given(panoptic=predictions())
def test_cvat_has_the_runs_of_each_mask_in_its_box(
    panoptic: Panoptic, tmp_path_factory: pytest.TempPathFactory
) -> None:
    preds = written(tmp_path_factory.mktemp("a"), panoptic, "cvat")
    root = ElementTree.parse(preds / "cvat/annotations.xml").getroot()
    names = {one.name: one.id for one in CATEGORIES}
    assert [one.text for one in root.iter("name")] == list(names)
    (image,) = root.iter("image")
    assert image.get("name") == "street/a.jpg"
    found = []
    for mask in image.iter("mask"):
        left, top, width, height = (int(mask.attrib[side]) for side in ("left", "top", "width", "height"))
        values: list[int] = []
        for place, length in enumerate(mask.attrib["rle"].split(", ")):
            values += [place % 2] * int(length)
        whole = np.zeros(panoptic.id_map.shape, bool)
        whole[top : top + height, left : left + width] = np.reshape(values, (height, width))
        found.append((names[mask.attrib["label"]], whole))
    assert same(found, masks_of(panoptic))


@settings(max_examples=25)
@given(panoptic=predictions())
def test_masks_and_semantic_maps_are_plain_pngs(panoptic: Panoptic, tmp_path_factory: pytest.TempPathFactory) -> None:
    preds = written(tmp_path_factory.mktemp("a"), panoptic, "masks", "semantic")
    (entry,) = json.loads((preds / "masks/masks.json").read_text())["images"]
    found = [(one["category_id"], np.array(Image.open(preds / "masks" / one["file"])) == 255) for one in entry["masks"]]
    assert same(found, masks_of(panoptic))
    assert [one["score"] for one in entry["masks"]] == [one.score for one in panoptic.segments]
    values = np.array(Image.open(preds / "semantic/semantic/street/a.png"))
    table = yaml.safe_load((preds / "semantic/categories.yaml").read_text())
    assert [one["name"] for one in table["categories"]] == [one.name for one in CATEGORIES]
    for category in (0, 7, 8):
        wanted = np.isin(panoptic.id_map, [one.id for one in panoptic.segments if one.category_id == category])
        assert np.array_equal(values == category, wanted)


def test_a_name_never_leaves_the_folder_or_the_xml(tmp_path: Path) -> None:
    evil = (Category(1, "../../etc/\x00\x1b[31m</name>\ud800", True),)
    id_map = np.ones((4, 4), np.int32)
    panoptic = Panoptic(id_map, measured(id_map, [Segment(1, 1, 0, score=1.0)]))
    with PredictionFolder(tmp_path / "preds", {}, ["masks", "cvat"], evil, tmp_path) as out:
        out.append(out.write(SourcePicture("a", "a.jpg"), panoptic, "1"))
        out.finish()
    (mask,) = (tmp_path / "preds/masks/a").iterdir()
    assert mask.name == "001-etc-31m-name.png"
    ElementTree.parse(tmp_path / "preds/cvat/annotations.xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["preds"]


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(UsageError, match=r"--format labelm: there is no such format\. Did you mean 'labelme'"):
        require_formats(["labelm"])
    with pytest.raises(UsageError, match="No format"):
        require_formats([])
    require_formats(list(FORMATS))

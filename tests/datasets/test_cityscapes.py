"""Cityscapes: equal to what the official scripts make, whether it is packed or not."""

import re

import numpy as np
import pytest
import raw_layouts
from conftest import oracle
from PIL import Image

from yoso_cli.datasets import cityscapes
from yoso_cli.datasets.split import make
from yoso_cli.errors import DataError, ProblemsError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import read_id_map, read_panoptic, read_set
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import measured


def prepare(root, output, splits=(), *, semantic=False, **options):
    return [make(plan, output, **options) for plan in cityscapes.plans(root, splits, semantic=semantic)[0]]


def test_pngs_and_json_are_those_of_the_official_converter(tmp_path, capsys):
    """Pixel for pixel and byte for byte, with groups, void, ignored classes and instance 0."""
    official = oracle("cityscapesscripts.preparation.createPanopticImgs")
    root = raw_layouts.cityscapes(tmp_path / "raw", count=6)
    (tmp_path / "official").mkdir()
    official.convert2panoptic(str(root / "gtFine"), str(tmp_path / "official"), False, ["train", "val"])
    for prepared in prepare(root, tmp_path / "out"):
        name = f"cityscapes_panoptic_{prepared.panoptic_set.split}"
        expected = tmp_path / "official" / f"{name}.json"
        assert (prepared.folder / f"{name}.json").read_bytes() == expected.read_bytes()
        pngs = sorted((tmp_path / "official" / name).iterdir())
        assert [path.name for path in sorted((prepared.folder / name).iterdir())] == [path.name for path in pngs]
        for path in pngs:
            with Image.open(path) as one, Image.open(prepared.folder / name / path.name) as ours:
                assert ours.mode == one.mode == "RGB"
                assert np.array_equal(np.array(ours), np.array(one))
    assert '"iscrowd": 1' in expected.read_text()


def test_semantic_maps_are_the_official_label_train_ids(tmp_path):
    """Drawn from the same polygons by the official scripts, once with instances and once with train ids."""
    annotation = oracle("cityscapesscripts.helpers.annotation")
    instances = oracle("cityscapesscripts.preparation.json2instanceImg")
    labels = oracle("cityscapesscripts.preparation.json2labelImg")
    root = raw_layouts.cityscapes(tmp_path / "raw", splits=("val",), count=1)
    (path,) = root.rglob("*_instanceIds.png")
    random = np.random.default_rng(3)
    drawn = annotation.Annotation()
    drawn.imgWidth, drawn.imgHeight = 40, 24
    for label in (
        "road",
        "car",
        "cargroup",
        "person",
        "caravan",
        "sky",
        "car",
        "license plate",
        "bicyclegroup",
        "pole",
    ):
        one = annotation.CsPoly()
        one.label, one.polygon = label, [annotation.Point(*map(int, at)) for at in random.integers(0, 40, (4, 2))]
        drawn.objects.append(one)
    raw_layouts.save(path, np.array(instances.createInstanceImage(drawn, "ids")).astype(np.uint16))
    expected = np.array(labels.createLabelImage(drawn, "trainIds"))
    (prepared,) = prepare(root, tmp_path / "out", semantic=True)
    (made,) = (prepared.folder / "semantic").iterdir()
    assert made.name == path.name.replace("instanceIds", "labelTrainIds")
    assert np.array_equal(png.read(made, png.Kind.GREY8), expected)
    assert {0, 10, 11, 13, 255} <= set(np.unique(expected).tolist())


def test_loaders_find_the_photos_and_evaluation_the_segments(tmp_path):
    root = raw_layouts.cityscapes(tmp_path / "raw")
    for prepared in prepare(root, tmp_path / "out"):
        found = read_set(prepared.folder)
        assert [len(found.records), len(found.categories)] == [3, 19]
        for record in found.records:
            panoptic = read_panoptic(found, record)
            assert measured(panoptic.id_map, record.segments) == record.segments
            assert read_image(found.image_path(record)).shape == (24, 40, 3)
            assert found.image_path(record).is_relative_to(root)


def test_packed_and_unpacked_downloads_give_the_same_set(tmp_path):
    plain = prepare(raw_layouts.cityscapes(tmp_path / "plain"), tmp_path / "a")
    root = raw_layouts.cityscapes(tmp_path / "packed")
    raw_layouts.zipped(root, "gtFine_trainvaltest.zip", "gtFine")
    raw_layouts.zipped(root, "leftImg8bit_trainvaltest.zip", "leftImg8bit", below="some/folder")
    for one, other in zip(plain, prepare(root, tmp_path / "b"), strict=True):
        assert one.panoptic_set.records == other.panoptic_set.records
        for record in one.panoptic_set.records:
            ids = [read_id_map(each.panoptic_set.panoptic_path(record)) for each in (one, other)]
            assert np.array_equal(*ids)
            photos = [read_image(each.panoptic_set.image_path(record)) for each in (one, other)]
            assert np.array_equal(*photos)
        assert other.panoptic_set.image_path(record).is_relative_to(other.folder)


def test_missing_files_are_reported_with_their_source(tmp_path):
    raw_layouts.cityscapes(tmp_path, splits=("val",))
    raw_layouts.remove(tmp_path, "leftImg8bit")
    with pytest.raises(DataError) as caught:
        cityscapes.plans(tmp_path)
    assert "val lacks leftImg8bit/val/*/*_leftImg8bit.png" in caught.value.message
    for words in ("cityscapes-dataset.com", "leftImg8bit_trainvaltest.zip (11 GB)", "241 MB", "register", "license"):
        assert words in caught.value.hint


def test_missing_splits_are_left_out_and_test_is_made_only_on_request(tmp_path):
    root = raw_layouts.cityscapes(tmp_path, splits=("val", "test"))
    found, skipped = cityscapes.plans(root)
    assert ([plan.split for plan in found], [one.split for one in skipped]) == (["val"], ["train"])
    assert [plan.split for plan in cityscapes.plans(root, ["test"])[0]] == ["test"]
    with pytest.raises(DataError, match="train lacks gtFine/train"):
        cityscapes.plans(root, ["train", "val"])


@pytest.mark.parametrize("folder", ["gtFine", "leftImg8bit"])
def test_each_photo_without_labels_and_the_reverse_is_named(tmp_path, folder):
    root = raw_layouts.cityscapes(tmp_path / "raw", splits=("val",), count=4)
    gone = sorted((root / folder).rglob("*.png"))[1:3]
    for path in gone:
        path.unlink()
    with pytest.raises(ProblemsError) as caught:
        prepare(root, tmp_path / "out")
    assert len(caught.value.problems) == 2
    assert all(("photo" if folder == "leftImg8bit" else "label map") in problem for problem in caught.value.problems)
    assert not (tmp_path / "out" / "cityscapes" / "val").exists()


@pytest.mark.parametrize("value", [34, 255, 999, 34000, 65535])
def test_a_value_that_cityscapes_does_not_use_is_named(tmp_path, value):
    root = raw_layouts.cityscapes(tmp_path / "raw", splits=("val",), count=1)
    (path,) = root.rglob("*_instanceIds.png")
    ids = png.read(path)
    ids[3, 4] = value
    raw_layouts.write_png(path, ids)
    with pytest.raises(ProblemsError, match=rf"{re.escape(path.name)}: has values .* does not use: {value}"):
        prepare(root, tmp_path / "out")

"""COCO panoptic as downloaded: found where it lies, checked, listed; what is missing is named."""

import json
import shutil

import numpy as np
import pytest
import raw_layouts
from PIL import Image

from yoso_cli.datasets import coco
from yoso_cli.datasets.catalog import DATASETS
from yoso_cli.datasets.spec import Skipped, read_categories
from yoso_cli.datasets.split import make
from yoso_cli.errors import DataError, ProblemsError, UsageError
from yoso_cli.panoptic import annotations, png
from yoso_cli.panoptic.files import id_to_rgb, read_id_map, read_manifest, read_panoptic, read_set
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import Category


def prepare(root, output, splits=(), *, semantic=False, **options):
    return [make(plan, output, **options) for plan in coco.plans(root, splits, semantic=semantic)[0]]


def test_the_real_sample_is_prepared_without_copying_a_picture(coco_sample, tmp_path):
    (prepared,) = prepare(coco_sample, tmp_path)
    assert prepared.folder == tmp_path / "coco" / "val2017"
    names = sorted(path.name for path in prepared.folder.iterdir())
    assert names == ["manifest.json", "panoptic.json", "statistics.json"]
    found = read_set(prepared.folder)
    published = json.loads((coco_sample / "annotations" / "panoptic_val2017.json").read_text())
    areas = {
        (entry["image_id"], info["id"]): info["area"]
        for entry in published["annotations"]
        for info in entry["segments_info"]
    }
    assert len(found.records) == 3
    for record in found.records:
        panoptic = read_panoptic(found, record)
        for segment in panoptic.segments:
            assert (panoptic.id_map == segment.id).sum() == segment.area == areas[record.image_id, segment.id]
        assert read_image(found.image_path(record)).shape[:2] == panoptic.id_map.shape


def test_the_real_sample_becomes_semantic_as_segment_by_segment_painting_makes_it(coco_sample, tmp_path):
    (prepared,) = prepare(coco_sample, tmp_path, semantic=True)
    train_ids = {category.id: train_id for train_id, category in enumerate(read_categories("coco"))}
    for record in prepared.panoptic_set.records:
        id_map = read_id_map(prepared.panoptic_set.panoptic_path(record))
        expected = np.full(id_map.shape, 255, np.uint8)
        for segment in record.segments:
            expected[id_map == segment.id] = train_ids[segment.category_id]
        made = png.read(prepared.folder / "semantic" / record.panoptic_file, png.Kind.GREY8)
        assert np.array_equal(made, expected)
        assert len(np.unique(made)) > 3


def test_the_category_table_is_that_of_the_published_listing(coco_sample):
    published = json.loads((coco_sample / "annotations" / "panoptic_val2017.json").read_text())["categories"]
    assert read_categories("coco") == annotations.categories_from_json(published)


def test_all_complete_splits_are_found(tmp_path):
    for split in ("train2017", "val2017"):
        raw_layouts.coco(tmp_path / "raw", split)
    prepared = prepare(tmp_path / "raw", tmp_path / "out")
    assert [one.panoptic_set.split for one in prepared] == ["train2017", "val2017"]


@pytest.mark.parametrize(
    "layout",
    [
        {"pictures": "images/{}"},
        {"pngs": "panoptic_{}"},
        {"pngs": "annotations/panoptic_{0}/panoptic_{0}"},
    ],
)
def test_other_usual_layouts_are_understood(tmp_path, layout):
    (prepared,) = prepare(raw_layouts.coco(tmp_path / "raw", **layout), tmp_path / "out")
    found = prepared.panoptic_set
    assert len([read_panoptic(found, record) for record in found.records]) == 3
    assert found.image_path(found.records[0]).is_file()


def pack_as_published(root):
    """The zips that COCO's page offers; the PNGs are in a zip in a zip."""
    png_zip = raw_layouts.zipped(root, "annotations/panoptic_val2017.zip", "annotations/panoptic_val2017", below=".")
    with_right_names(png_zip)
    raw_layouts.zipped(root, "panoptic_annotations_trainval2017.zip", "annotations")
    raw_layouts.zipped(root, "val2017.zip", "val2017")


def with_right_names(path):
    """In the inner zip, the folder of PNGs is at the top."""
    import zipfile

    with zipfile.ZipFile(path) as file:
        members = {name.removeprefix("annotations/"): file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


def test_packed_as_published_it_is_unpacked_into_the_prepared_folder(tmp_path):
    (plain,) = prepare(raw_layouts.coco(tmp_path / "plain"), tmp_path / "a", semantic=True)
    root = raw_layouts.coco(tmp_path / "packed")
    pack_as_published(root)
    (packed,) = prepare(root, tmp_path / "b", semantic=True)
    assert plain.panoptic_set.records == packed.panoptic_set.records
    for record in plain.panoptic_set.records:
        sets = (plain.panoptic_set, packed.panoptic_set)
        for paths in ([one.panoptic_path(record) for one in sets], [one.image_path(record) for one in sets]):
            assert paths[0].read_bytes() == paths[1].read_bytes()
        assert paths[1].is_relative_to(packed.folder)
        maps = [one.folder / "semantic" / record.panoptic_file for one in (plain, packed)]
        assert maps[0].read_bytes() == maps[1].read_bytes()


def test_the_inner_zip_alone_may_be_left_packed(tmp_path):
    root = raw_layouts.coco(tmp_path / "raw")
    with_right_names(
        raw_layouts.zipped(root, "annotations/panoptic_val2017.zip", "annotations/panoptic_val2017", below=".")
    )
    (prepared,) = prepare(root, tmp_path / "out")
    found = prepared.panoptic_set
    assert found.panoptic_path(found.records[0]).is_relative_to(prepared.folder)
    assert found.image_path(found.records[0]).is_relative_to(root)


def test_a_split_that_is_not_whole_is_left_out_with_its_reason(tmp_path):
    root = raw_layouts.coco(raw_layouts.coco(tmp_path, "train2017"), "val2017")
    shutil.rmtree(root / "train2017")
    found, skipped = coco.plans(root)
    assert [plan.split for plan in found] == ["val2017"]
    assert skipped == [Skipped("train2017", "train2017/*.jpg")]


def test_a_split_asked_for_must_be_whole(tmp_path):
    root = raw_layouts.coco(tmp_path, "val2017")
    with pytest.raises(DataError) as caught:
        coco.plans(root, ["val2017", "train2017"])
    for words in ("annotations/panoptic_train2017.json", "annotations/panoptic_train2017/*.png", "train2017/*.jpg"):
        assert words in caught.value.message
    assert "val2017 lacks" not in caught.value.message
    for words in ("cocodataset.org", "panoptic_annotations_trainval2017.zip", "821 MB", "train2017.zip", "18 GB"):
        assert words in caught.value.hint


def test_a_folder_without_annotations_says_what_belongs_there(tmp_path):
    with pytest.raises(DataError, match=r"val2017 lacks annotations/panoptic_val2017\.json"):
        coco.plans(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        coco.plans(tmp_path / "nowhere")


def test_all_missing_files_are_named_at_once(tmp_path):
    root = raw_layouts.coco(tmp_path / "raw", count=9)
    for n in (1, 2, 3, 4):
        (root / "val2017" / f"{n:012d}.jpg").unlink()
    for n in (4, 5, 6):
        (root / "annotations" / "panoptic_val2017" / f"{n:012d}.png").unlink()
    with pytest.raises(ProblemsError) as caught:
        prepare(root, tmp_path / "out")
    assert len(caught.value.problems) == 7
    assert sum("no such file" in problem for problem in caught.value.problems) == 7
    assert not (tmp_path / "out").exists()


def test_a_png_of_the_wrong_size_or_kind_and_a_broken_photo_are_named(tmp_path):
    root = raw_layouts.coco(tmp_path / "raw", count=4)
    folder = root / "annotations" / "panoptic_val2017"
    Image.new("RGB", (5, 5)).save(folder / f"{1:012d}.png")
    Image.new("L", (8, 6)).save(folder / f"{2:012d}.png")
    (root / "val2017" / f"{3:012d}.jpg").write_bytes(b"no picture")
    with pytest.raises(ProblemsError) as caught:
        prepare(root, tmp_path / "out", keep_going=True)
    words = ["is 5x5 where the JSON says 8x6", "8-bit grey PNG", "is not a picture"]
    assert len(caught.value.problems) == 3
    assert all(word in problem for word, problem in zip(words, caught.value.problems, strict=True))


def test_unlisted_ids_are_named_when_pixels_are_read(tmp_path):
    root = raw_layouts.coco(tmp_path / "raw", count=1)
    (path,) = (root / "annotations" / "panoptic_val2017").iterdir()
    raw_layouts.save(path, id_to_rgb(np.arange(48, dtype=np.int32).reshape(6, 8)))
    with pytest.raises(
        ProblemsError, match=r"46 segment ids are in the PNG but not in the JSON: 1, 2, 3, 4, 5, \.\.\."
    ):
        prepare(root, tmp_path / "out", semantic=True)


@pytest.mark.parametrize("name", ["../../val2017/x.jpg", "/etc/passwd", "a\\..\\..\\x.jpg"])
def test_a_name_that_is_a_path_out_of_the_folder_is_refused(tmp_path, name):
    root = raw_layouts.coco(tmp_path / "raw")
    path = root / "annotations" / "panoptic_val2017.json"
    content = json.loads(path.read_text())
    content["images"][1]["file_name"] = name
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"images\[1\] has file_name .* does not stay inside its folder"):
        prepare(root, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": 1 << 24}, "whole number from 1 to 16777215"),
        ({"id": 9}, "repeats id 9"),
        ({"category_id": 12}, "has category_id 12, which is not among the categories"),
    ],
)
def test_a_segment_that_cannot_be_is_named(tmp_path, change, words):
    """An id above 2^24, an id that comes twice, a category outside the table."""
    root = raw_layouts.coco(tmp_path / "raw")
    path = root / "annotations" / "panoptic_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][2]["segments_info"][1] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"panoptic_val2017\.json: annotations\[2\] segments_info\[1\] .*{words}"):
        prepare(root, tmp_path / "out")


def test_a_listing_of_other_categories_is_refused(tmp_path):
    root = raw_layouts.coco(tmp_path / "raw")
    path = root / "annotations" / "panoptic_val2017.json"
    content = json.loads(path.read_text())
    content["categories"].append(annotations.category_to_json(Category(999, "unicorn", True)))
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"categories that are not in COCO \(1\): unicorn"):
        prepare(root, tmp_path / "out")


def test_a_subset_of_pictures_and_categories_keeps_all_133(tmp_path):
    root = raw_layouts.coco(tmp_path / "raw", count=1)
    path = root / "annotations" / "panoptic_val2017.json"
    content = json.loads(path.read_text())
    content["categories"] = [one for one in content["categories"] if one["id"] in (1, 187)]
    path.write_text(json.dumps(content))
    (prepared,) = prepare(root, tmp_path / "out")
    assert prepared.panoptic_set.categories == read_categories("coco")


def test_a_cut_short_listing_is_named(tmp_path):
    root = raw_layouts.coco(tmp_path / "raw")
    path = root / "annotations" / "panoptic_val2017.json"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"panoptic_val2017\.json: is not valid JSON"):
        prepare(root, tmp_path / "out")


def test_finished_work_is_recognised_until_its_source_changes(tmp_path):
    root, output = raw_layouts.coco(tmp_path / "raw"), tmp_path / "out"
    assert prepare(root, output)[0].fresh
    assert not prepare(root, output)[0].fresh
    assert prepare(root, output, force=True)[0].fresh
    raw_layouts.coco(root, count=4)
    with pytest.raises(UsageError, match="source_bytes"):
        prepare(root, output)
    assert len(prepare(root, output, force=True)[0].panoptic_set.records) == 4


def test_a_download_that_lies_where_the_result_would_go_is_never_replaced(tmp_path):
    root = raw_layouts.coco(tmp_path / "datasets" / "coco")
    for force in (False, True):
        with pytest.raises(UsageError, match="not replaced"):
            prepare(root, tmp_path / "datasets", force=force)
    assert len(list((root / "val2017").glob("*.jpg"))) == 3


def test_the_prepared_folder_works_from_any_directory(tmp_path, monkeypatch):
    raw_layouts.coco(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    (prepared,) = prepare((tmp_path / "raw").relative_to(tmp_path), tmp_path / "out")
    manifest = read_manifest(prepared.folder)
    assert manifest is not None
    assert manifest["image_dir"] == str(tmp_path / "raw" / "val2017")


def test_the_catalog_goes_by_the_names_of_the_datasets():
    assert all(name == spec.name for name, spec in DATASETS.items())
    assert {"shapes", "coco", "cityscapes", "ade20k", "mapillary"} == set(DATASETS)

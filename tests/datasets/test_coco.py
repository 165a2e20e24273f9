"""COCO panoptic as downloaded: found where it lies, checked, listed; what is missing is named."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from yoso_cli.datasets import coco
from yoso_cli.datasets.catalog import DATASETS
from yoso_cli.datasets.spec import read_categories
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic import annotations
from yoso_cli.panoptic.files import id_to_rgb, read_image, read_manifest, read_panoptic, read_set
from yoso_cli.panoptic.types import Category, ImageRecord, Segment


def download(root, split="val2017", count=3, *, pngs="annotations/panoptic_{}", pictures="{}"):
    """COCO's raw layout in miniature: pictures of one person each."""
    png_dir, picture_dir = root / pngs.format(split), root / pictures.format(split)
    for folder in (root / "annotations", png_dir, picture_dir):
        folder.mkdir(parents=True, exist_ok=True)
    segment = Segment(9, 1, 48, (0, 0, 8, 6))
    records = [ImageRecord(n, f"{n:012d}.jpg", f"{n:012d}.png", 6, 8, (segment,)) for n in range(1, count + 1)]
    for record in records:
        Image.fromarray(id_to_rgb(np.full((6, 8), 9, np.int32))).save(png_dir / record.panoptic_file)
        Image.new("RGB", (8, 6)).save(picture_dir / record.image_file)
    listing = annotations.to_json(read_categories("coco"), records)
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(listing))
    return root


def prepare(root, output, splits=(), **kwargs):
    return coco.prepare(coco.find(root, splits)[0], output, **kwargs)


def test_the_real_sample_is_prepared_without_copying_a_picture(coco_sample, tmp_path):
    (prepared,) = prepare(coco_sample, tmp_path)
    assert prepared.folder == tmp_path / "coco" / "val2017"
    assert sorted(path.name for path in prepared.folder.iterdir()) == ["manifest.json", "panoptic.json"]
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


def test_the_category_table_is_that_of_the_published_listing(coco_sample):
    published = json.loads((coco_sample / "annotations" / "panoptic_val2017.json").read_text())["categories"]
    assert read_categories("coco") == annotations.categories_from_json(published)
    assert len(published) == 133
    assert sum(category.isthing for category in read_categories("coco")) == 80


def test_all_whole_splits_are_found(tmp_path):
    for split in ("train2017", "val2017"):
        download(tmp_path / "raw", split)
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
    (prepared,) = prepare(download(tmp_path / "raw", **layout), tmp_path / "out")
    found = prepared.panoptic_set
    assert len([read_panoptic(found, record) for record in found.records]) == 3
    assert found.image_path(found.records[0]).is_file()


def test_a_split_that_is_not_whole_is_left_out_with_its_reason(tmp_path):
    root = download(download(tmp_path, "train2017"), "val2017")
    shutil.rmtree(root / "train2017")
    found, skipped = coco.find(root)
    assert [raw.split for raw in found] == ["val2017"]
    assert skipped == [coco.Skipped("train2017", "train2017/*.jpg")]


def test_a_split_asked_for_must_be_whole(tmp_path):
    root = download(tmp_path, "val2017")
    with pytest.raises(DataError) as caught:
        coco.find(root, ["val2017", "train2017"])
    for words in ("annotations/panoptic_train2017.json", "annotations/panoptic_train2017/*.png", "train2017/*.jpg"):
        assert words in caught.value.message
    assert "val2017 lacks" not in caught.value.message
    for words in ("cocodataset.org", "panoptic_annotations_trainval2017.zip", "821 MB", "train2017.zip", "18 GB"):
        assert words in caught.value.hint


def test_a_zip_that_was_not_unpacked_is_pointed_at(tmp_path):
    root = download(tmp_path)
    shutil.rmtree(root / "annotations" / "panoptic_val2017")
    (root / "annotations" / "panoptic_val2017.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"unpack annotations/panoptic_val2017\.zip"):
        coco.find(root)


def test_a_folder_without_annotations_says_what_belongs_there(tmp_path):
    with pytest.raises(DataError, match=r"holds no annotations/panoptic_\*\.json"):
        coco.find(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        coco.find(tmp_path / "nowhere")


def test_all_missing_files_are_counted_and_five_are_named(tmp_path):
    root = download(tmp_path / "raw", count=9)
    for n in (1, 2, 3, 4):
        (root / "val2017" / f"{n:012d}.jpg").unlink()
    for n in (4, 5, 6):
        (root / "annotations" / "panoptic_val2017" / f"{n:012d}.png").unlink()
    with pytest.raises(DataError) as caught:
        prepare(root, tmp_path / "out")
    message = caught.value.message
    assert "7 of its files are missing or damaged" in message
    assert message.count("no such file") == 5
    assert "and 2 more" in message
    assert not (tmp_path / "out").exists()


def test_a_png_of_the_wrong_size_or_kind_is_named(tmp_path):
    root = download(tmp_path / "raw")
    folder = root / "annotations" / "panoptic_val2017"
    Image.new("RGB", (5, 5)).save(folder / f"{1:012d}.png")
    Image.new("L", (8, 6)).save(folder / f"{2:012d}.png")
    with pytest.raises(DataError) as caught:
        prepare(root, tmp_path / "out")
    assert "is 5x5 where the JSON says 8x6" in caught.value.message
    assert "8-bit grey PNG" in caught.value.message


def test_a_listing_of_other_categories_is_refused(tmp_path):
    root = download(tmp_path / "raw")
    path = root / "annotations" / "panoptic_val2017.json"
    content = json.loads(path.read_text())
    content["categories"].append(annotations.category_to_json(Category(999, "unicorn", True)))
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"categories that COCO has not \(1\): unicorn"):
        prepare(root, tmp_path / "out")


def test_a_subset_of_pictures_and_categories_keeps_all_133(tmp_path):
    root = download(tmp_path / "raw", count=1)
    path = root / "annotations" / "panoptic_val2017.json"
    content = json.loads(path.read_text())
    content["categories"] = content["categories"][:2]
    path.write_text(json.dumps(content))
    (prepared,) = prepare(root, tmp_path / "out")
    assert prepared.panoptic_set.categories == read_categories("coco")


def test_a_cut_short_listing_is_named(tmp_path):
    root = download(tmp_path / "raw")
    path = root / "annotations" / "panoptic_val2017.json"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"panoptic_val2017\.json: is not valid JSON"):
        prepare(root, tmp_path / "out")


def test_finished_work_is_recognised_until_its_source_changes(tmp_path):
    root, output = download(tmp_path / "raw"), tmp_path / "out"
    assert prepare(root, output)[0].fresh
    assert not prepare(root, output)[0].fresh
    assert prepare(root, output, force=True)[0].fresh
    download(root, count=4)
    with pytest.raises(UsageError, match="source_bytes"):
        prepare(root, output)
    assert len(prepare(root, output, force=True)[0].panoptic_set.records) == 4


def test_a_download_that_lies_where_the_result_would_go_is_never_replaced(tmp_path):
    root = download(tmp_path / "datasets" / "coco")
    for force in (False, True):
        with pytest.raises(UsageError, match="left alone"):
            prepare(root, tmp_path / "datasets", force=force)
    assert len(list((root / "val2017").glob("*.jpg"))) == 3


def test_the_prepared_folder_works_from_any_directory(tmp_path, monkeypatch):
    download(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    (prepared,) = prepare((tmp_path / "raw").relative_to(tmp_path), tmp_path / "out")
    manifest = read_manifest(prepared.folder)
    assert manifest is not None
    assert manifest["image_dir"] == str(tmp_path / "raw" / "val2017")


def test_the_catalog_goes_by_the_names_of_the_datasets():
    assert all(name == spec.name for name, spec in DATASETS.items())
    assert {"shapes", "coco"} <= set(DATASETS)

"""Predictions as the evaluation servers take them, and back."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conversion import raw
from conversion.test_round_trips import converted

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.forms import Places
from yoso_cli.datasets.spec import read_categories
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import SetWriter, read_panoptic, read_set
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet


def predictions(folder: Path, categories: tuple[Category, ...]) -> PanopticSet:
    """Two pictures with a segment of the first class and two of the last thing."""
    thing = [category.id for category in categories if category.isthing][-1]
    writer = SetWriter(folder, "mine", "val", categories)
    for name in ("x/a", "x/b"):
        panoptic = raw.panoptic_of(
            np.array([[0, 5, 5], [70000, 70000, 6]], np.int32),
            {5: (thing, False), 6: (thing, False), 70000: (categories[0].id, False)},
        )
        segments = tuple(replace(one, score=0.5) for one in panoptic.segments)
        raw.write_photo(folder / "images" / f"{name}.jpg", 2, 3)
        writer.add(ImageRecord(name, f"{name}.jpg", f"{name}.png", 2, 3, ()), Panoptic(panoptic.id_map, segments))
    return writer.finish()


@pytest.mark.parametrize(
    ("dataset", "form"),
    [("coco", "coco"), ("cityscapes", "cityscapes"), ("mapillary-v1.2", "mapillary"), ("mapillary-v2.0", "mapillary")],
)
def test_a_submission_is_a_json_and_its_folder_and_reads_back(tmp_path: Path, dataset: str, form: str) -> None:
    before = predictions(tmp_path / "p" / "val", read_categories(dataset))
    zipped = tmp_path / "panoptic_test_mine_results.zip"
    done = converted("prepared", Places(tmp_path / "p" / "val"), f"{form}-submission", zipped)
    assert {loss.name: count for loss, count in done.losses.items()} == {"SCORE": 6}
    with zipfile.ZipFile(zipped) as archive:
        stem = zipped.stem
        assert sorted(archive.namelist()) == [f"{stem}.json", f"{stem}/", f"{stem}/a.png", f"{stem}/b.png"]
        listing = json.loads(archive.read(f"{stem}.json"))
    assert listing["annotations"][0]["image_id"] == "x/a"
    assert all(set(one) == {"id", "category_id"} for one in listing["annotations"][0]["segments_info"])
    converted("submission", Places(zipped, truth=before), "prepared", tmp_path / "back" / "val")
    after = read_set(tmp_path / "back" / "val")
    for old, new in zip(before.records, after.records, strict=True):
        assert (new.image_id, new.image_file) == (old.image_id, old.image_file)
        assert raw.described(read_panoptic(after, new)) == raw.described(read_panoptic(before, old))


def test_ade20k_takes_the_places_of_classes_from_1(tmp_path: Path) -> None:
    categories = read_categories("ade20k")
    predictions(tmp_path / "p" / "val", categories)
    zipped = tmp_path / "ade.zip"
    done = converted("prepared", Places(tmp_path / "p" / "val"), "ade20k-submission", zipped)
    assert {loss.name: count for loss, count in done.losses.items()} == {"INSTANCES": 4, "SCORE": 6}
    place = max(index for index, category in enumerate(categories, start=1) if category.isthing)
    with zipfile.ZipFile(zipped) as archive:
        pixels = png.decode(archive.read("a.png"), "a.png", png.Kind.GREY8)
    assert pixels.tolist() == [[0, place, place], [1, 1, place]]


def test_classes_that_the_server_does_not_know_are_refused(tmp_path: Path) -> None:
    predictions(tmp_path / "p" / "val", raw.TABLE.categories)
    zipped = tmp_path / "out.zip"
    with pytest.raises(DataError, match="do not have the classes of coco"):
        converted("prepared", Places(tmp_path / "p" / "val"), "coco-submission", zipped)
    assert not zipped.exists()


@pytest.mark.parametrize("member", ["../evil.png", "/evil.png", "a/../../evil.png", "C:\\evil.png"])
def test_a_member_that_climbs_is_refused(tmp_path: Path, member: str) -> None:
    truth = predictions(tmp_path / "p" / "val", raw.TABLE.categories)
    zipped = tmp_path / "evil.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("r.json", "{}")
        archive.writestr(member, b"x")
    with pytest.raises(DataError, match=r"evil\.zip: its member .* does not stay inside"):
        converted("submission", Places(zipped, truth=truth), "prepared", tmp_path / "back" / "val")
    assert not list(tmp_path.rglob("evil.png"))


def test_a_damaged_zip_is_named(tmp_path: Path) -> None:
    truth = predictions(tmp_path / "p" / "val", raw.TABLE.categories)
    zipped = tmp_path / "cut.zip"
    zipped.write_bytes(b"PK\x03\x04 nothing more")
    with pytest.raises(DataError, match=r"cut\.zip: is not a complete zip"):
        converted("submission", Places(zipped, truth=truth), "prepared", tmp_path / "back" / "val")


def test_predictions_need_their_truth(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--truth"):
        converted("submission", Places(tmp_path / "a.zip"), "prepared", tmp_path / "back" / "val")


def test_the_table_of_a_set_without_void_is_its_own() -> None:
    assert CategoryTable.of([Category(0, "a", False), Category(255, "b", True)]).void == frozenset()

"""Photos and PNGs of a JSON are found where people and tools put them."""

from pathlib import Path

import pytest

from yoso_cli.panoptic.layout import find_photos, find_pngs

FILES = [f"{number}.jpg" for number in range(40)]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("listing", "folder"),
    [
        ("instances.json", "images"),
        ("_annotations.coco.json", "."),
        ("train/_annotations.coco.json", "train"),
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/panoptic_val2017.json", "val2017"),
        ("annotations/person_keypoints_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("annotations/train.json", "train"),
        ("annotations/train.json", "images/train"),
        ("annotations/instances_default.json", "images"),
        ("train.json", "train"),
    ],
)
def test_photos_are_found_in_the_usual_layouts(tmp_path: Path, listing: str, folder: str) -> None:
    touch(*(tmp_path / folder / file for file in FILES[:30]))
    found = find_photos(tmp_path / listing, FILES)
    assert (found.folder.resolve(), found.looked) == ((tmp_path / folder).resolve(), ())


def test_names_may_have_the_folder_in_them(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "a.jpg", tmp_path / "val2017" / "a.jpg")
    assert find_photos(tmp_path / "result.json", ["images/a.jpg"]).folder == tmp_path
    assert find_photos(tmp_path / "annotations/x.json", ["val2017/a.jpg"]).folder == tmp_path


def test_the_folder_with_the_most_of_them_is_taken(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "1.jpg", *(tmp_path / "val" / file for file in FILES))
    assert find_photos(tmp_path / "annotations" / "val.json", FILES).folder == tmp_path / "val"


def test_where_none_is_found_all_places_are_named(tmp_path: Path) -> None:
    found = find_photos(tmp_path / "annotations" / "instances_val2017.json", FILES)
    assert found.hint().startswith("Name their folder with --images. Looked in ")
    assert {tmp_path / "val2017", tmp_path / "annotations/images", tmp_path / "annotations"} <= set(found.looked)


def test_a_given_folder_is_the_only_one(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "1.jpg")
    found = find_photos(tmp_path / "x.json", ["1.jpg"], tmp_path / "other")
    assert (found.folder, found.looked) == (tmp_path / "other", (tmp_path / "other",))


@pytest.mark.parametrize("given", [None, "leftImg8bit/val"])
def test_photos_that_cityscapes_own_json_misnames_are_found(tmp_path: Path, given: str | None) -> None:
    photo = "frankfurt/frankfurt_000000_000294_leftImg8bit.png"
    touch(tmp_path / "leftImg8bit" / "val" / photo)
    listed = "frankfurt_000000_000294_gtFine_leftImg8bit.png"
    found = find_photos(
        tmp_path / "gtFine" / "cityscapes_panoptic_val.json", [listed], tmp_path / given if given else None
    )
    assert (found.folder, found.named(listed), found.looked) == (tmp_path / "leftImg8bit" / "val", photo, ())


@pytest.mark.parametrize(
    ("listing", "folder"),
    [
        ("results.json", "results"),
        ("sent/panoptic.json", "sent/panoptic"),
        ("annotations/panoptic_val2017.json", "annotations/panoptic_val2017/panoptic_val2017"),
        ("annotations/panoptic_val2017.json", "panoptic_val2017"),
        ("flat/results.json", "flat"),
    ],
)
def test_pngs_are_found(tmp_path: Path, listing: str, folder: str) -> None:
    assert find_pngs(tmp_path / listing, FILES) == (tmp_path / listing).with_suffix("")
    touch(*(tmp_path / folder / file for file in FILES))
    assert find_pngs(tmp_path / listing, FILES) == tmp_path / folder


def test_backslashes_of_windows_are_understood(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "a.jpg")
    found = find_photos(tmp_path / "result.json", ["images\\a.jpg"])
    assert (found.folder, found.named("images\\a.jpg")) == (tmp_path, "images/a.jpg")


def test_a_listing_of_the_current_folder_has_a_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "annotations").mkdir()
    touch(tmp_path / "val2017" / "1.jpg", tmp_path / "panoptic_val2017" / "1.png")
    monkeypatch.chdir(tmp_path / "annotations")
    assert find_photos(Path("instances_val2017.json"), ["1.jpg"]).folder == Path("../val2017")
    assert find_pngs(Path("panoptic_val2017.json"), ["1.png"]) == Path("../panoptic_val2017")
    monkeypatch.chdir(tmp_path / "val2017")
    assert find_photos(Path("../annotations/instances_val2017.json"), ["1.jpg"]).folder.resolve() == Path().absolute()

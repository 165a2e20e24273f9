"""A set damaged in one way is found to be damaged in exactly that way; a whole one is not complained of."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import build
import numpy as np
import pytest
from conversion import raw
from PIL import Image

from yoso_cli.cli import run
from yoso_cli.datasets.spec import read_categories
from yoso_cli.inspection.check import CheckedDataset, check_splits
from yoso_cli.inspection.rules import RULES, Layer, Severity
from yoso_cli.inspection.split import find_splits
from yoso_cli.panoptic.annotations import category_to_json
from yoso_cli.panoptic.files import read_id_map, write_id_map, write_manifest

TRAIN, VAL = Path("datasets/mine/train"), Path("datasets/mine/val")
PHOTO, PNG = Path("raw/train/images/b.jpg"), TRAIN / "panoptic" / "b.png"


@pytest.fixture(scope="module")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for split, names in (("train", "abc"), ("val", "xy")):
            raw.write_maps(Path("raw") / split, list(names))
            words = ["convert", f"raw/{split}", f"datasets/mine/{split}", "--from", "maps"]
            assert run([*words, "--categories", f"raw/{split}/mine.yaml"]) == 0
            build.forget_checksums(Path(f"datasets/mine/{split}"))
            # Relative, so that the copy is whole in itself.
            manifest = Path(f"datasets/mine/{split}/manifest.json")
            content = json.loads(manifest.read_text()) | {"image_dir": f"../../../raw/{split}/images"}
            manifest.write_text(json.dumps(content))
    return folder


@pytest.fixture
def mine(_whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the test stands in: `datasets/mine/{train,val}`, whole, with pictures below `raw/`."""
    folder = tmp_path / "mine"
    shutil.copytree(_whole, folder)
    monkeypatch.chdir(folder)
    return folder


def checked(named: str = "mine") -> CheckedDataset:
    return check_splits(find_splits(named, Path("datasets")))


def edit(change: Callable[[Any], object], path: Path = TRAIN / "panoptic.json") -> Callable[[], object]:
    """A damage: the JSON at `path` after `change`."""

    def damage() -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def segment(content: Any, place: int = 0) -> Any:
    return content["annotations"][1]["segments_info"][place]


def repaint(old: int, new: int) -> None:
    id_map = read_id_map(PNG)
    id_map[id_map == old] = new
    write_id_map(PNG, id_map)


def photo(*, size: tuple[int, int] = (6, 4), mode: str = "RGB", orientation: int = 0, path: Path = PHOTO) -> None:
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new(mode, size).save(path, exif=exif, format="PNG" if mode == "RGBA" else "JPEG")


def make_void(rest: int) -> None:
    """All of b is void but `rest` pixels of its first segment, and the JSON says so."""
    id_map = np.zeros((4, 6), np.int32)
    id_map.ravel()[:rest] = 1
    write_id_map(PNG, id_map)

    def change(content: Any) -> None:
        infos = content["annotations"][1]["segments_info"]
        infos[:] = [{**infos[0], "area": rest, "bbox": [0, 0, rest, 1]}] if rest else []

    edit(change)()


def many() -> None:
    """b is 101 segments of road on a picture of 101x1."""
    write_id_map(PNG, np.arange(1, 102, dtype=np.int32)[None])
    photo(size=(101, 1))

    def change(content: Any) -> None:
        content["images"][1] |= {"width": 101, "height": 1}
        content["annotations"][1]["segments_info"] = [
            {"id": 1 + x, "category_id": raw.ROAD, "area": 1, "bbox": [x, 0, 1, 1], "iscrowd": 0} for x in range(101)
        ]

    edit(change)()


def reclass(old: int, new: int, split: Path = TRAIN) -> Callable[[], object]:
    """Every segment of the class `old` becomes one of `new`."""

    def change(content: Any) -> None:
        for annotation in content["annotations"]:
            for info in annotation["segments_info"]:
                info["category_id"] = new if info["category_id"] == old else info["category_id"]

    return edit(change, split / "panoptic.json")


def both(*damages: Callable[[], object]) -> Callable[[], object]:
    return lambda: [damage() for damage in damages]


def cut_photo() -> None:
    """Its last pixels are missing, as after a download that broke off."""
    Image.effect_noise((6, 4), 80).convert("RGB").save(PHOTO, quality=95)
    PHOTO.write_bytes(PHOTO.read_bytes()[:-16])


def change_listing() -> None:
    """A prepared split of today, and its JSON changed in what nothing else shows."""
    write_manifest(TRAIN, json.loads((TRAIN / "manifest.json").read_text()))
    edit(lambda content: content.update(info="edited"))()


def exchange_channels() -> None:
    with Image.open(PNG) as image:
        Image.merge("RGB", image.split()[::-1]).save(PNG)


def without_manifest() -> None:
    (TRAIN / "manifest.json").unlink()
    shutil.copytree("raw/train/images", TRAIN / "images")


DAMAGE: dict[str, Callable[[], object]] = {
    "listing-unreadable": lambda: (TRAIN / "panoptic.json").write_text("{"),
    "listing-changed": change_listing,
    "manifest-count": edit(lambda content: content.update(images=9), TRAIN / "manifest.json"),
    "malformed-entry": edit(lambda content: segment(content).pop("area")),
    "path-outside": edit(lambda content: content["annotations"][1].update(file_name="../b.png")),
    "duplicate-id": edit(lambda content: segment(content, 1).update(id=1)),
    "duplicate-file": edit(lambda content: content["images"][1].update(file_name="a.jpg")),
    "unknown-category": edit(lambda content: segment(content).update(category_id=99)),
    "annotation-without-image": edit(
        lambda content: content["annotations"].append({**content["annotations"][1], "image_id": "zebra"})
    ),
    "image-without-annotation": edit(lambda content: content["annotations"].pop(1)),
    "image-missing": PHOTO.unlink,
    "image-unreadable": cut_photo,
    "image-size": lambda: photo(size=(7, 4)),
    "png-missing": PNG.unlink,
    "png-unreadable": lambda: PNG.write_bytes(PNG.read_bytes()[1:]),
    "png-damaged": lambda: PNG.write_bytes(PNG.read_bytes()[:60]),
    "png-size": lambda: write_id_map(PNG, np.ones((3, 3), np.int32)),
    "id-not-in-json": edit(lambda content: content["annotations"][1]["segments_info"].pop(0)),
    "id-not-in-png": edit(
        lambda content: content["annotations"][1]["segments_info"].append({**segment(content), "id": 77})
    ),
    "exchanged-channels": exchange_channels,
    "unlisted-png": lambda: shutil.copy(PNG, TRAIN / "panoptic" / "stray.png"),
    "unlisted-image": lambda: raw.write_photo(Path("raw/train/images/stray.jpg")),
    "wrong-area": edit(lambda content: segment(content).update(area=6)),
    "wrong-bbox": edit(lambda content: segment(content).update(bbox=[0, 0, 6, 4])),
    "zero-area": edit(
        lambda content: content["annotations"][1]["segments_info"].append({**segment(content), "id": 77, "area": 0})
    ),
    "exif-orientation": lambda: photo(orientation=6),
    "exif-ambiguous": lambda: photo(orientation=3),
    "no-segments": lambda: make_void(0),
    "mostly-void": lambda: make_void(1),
    "thing-without-instances": both(reclass(raw.PERSON, raw.CAR), reclass(raw.PERSON, raw.CAR, VAL)),
    "stuff-without-segments": both(reclass(raw.SKY, raw.ROAD), reclass(raw.SKY, raw.ROAD, VAL)),
    "leak": lambda: shutil.copy("raw/train/images/b.jpg", "raw/val/images/x.jpg"),
    "duplicate-image": lambda: shutil.copy("raw/train/images/a.jpg", PHOTO),
    "categories-differ": edit(lambda content: content["categories"].reverse(), VAL / "panoptic.json"),
    "no-manifest": without_manifest,
    "converted-values": edit(lambda content: segment(content).update(area=str(segment(content)["area"]))),
    "image-mode": lambda: photo(mode="CMYK"),
    "many-segments": many,
    "stuff-crowd": edit(lambda content: segment(content).update(iscrowd=1)),
}


# These need another name or two damages, and have tests of their own.
OTHERWISE = {"other-version", "class-not-in-train", "image-count", "things-only"}
OF_INSTANCES = {"overlapping-instances", "hidden-instances", "not-panoptic"}


@pytest.mark.parametrize("code", [code for code in RULES if code not in OTHERWISE | OF_INSTANCES])
def test_a_damage_is_found_and_nothing_else(mine: Path, code: str) -> None:
    assert checked().groups == ()
    DAMAGE[code]()
    assert {group.code for group in checked().groups} == {code}


def test_every_rule_has_its_damage() -> None:
    assert set(DAMAGE) | OTHERWISE | OF_INSTANCES == set(RULES)


def test_the_affected_picture_is_named(mine: Path) -> None:
    DAMAGE["wrong-area"]()
    (group,) = checked().groups
    assert [(one.split, one.image, one.detail) for one in group.findings] == [("train", "b.jpg", "1: 6 for 5")]


@pytest.mark.parametrize("key", ["image_dir", "panoptic_dir"])
def test_a_manifest_with_a_folder_that_cannot_be_is_told(mine: Path, key: str) -> None:
    edit(lambda content: content.update({key: "a\0b"}), TRAIN / "manifest.json")()
    told = [one.detail for group in checked().groups for one in group.findings]
    assert any("names a folder that cannot be" in one for one in told)


def test_a_class_that_is_only_evaluated_is_found(mine: Path) -> None:
    reclass(raw.PERSON, raw.CAR)()
    assert {group.code for group in checked().groups} == {"thing-without-instances", "class-not-in-train"}


def test_several_damages_are_all_found(mine: Path) -> None:
    for code in ("wrong-area", "leak", "unlisted-png"):
        DAMAGE[code]()
    assert {group.code for group in checked().groups} == {"wrong-area", "leak", "unlisted-png"}


def test_findings_come_in_the_order_of_the_layers(mine: Path) -> None:
    for code in ("image-mode", "leak", "zero-area", "png-missing"):
        DAMAGE[code]()
    layers = [list(Layer).index(group.rule.layer) for group in checked().groups]
    assert layers == sorted(layers)


@pytest.mark.parametrize(
    ("name", "count", "words"),
    [
        ("coco", 80, "it looks like COCO's things alone"),
        ("cityscapes", 34, "it looks like Cityscapes with all of its labels"),
        ("ade20k", 151, "it looks like ADE20K with its 'other' class"),
        ("mapillary", 66, "it looks like Mapillary Vistas v1.2 with its unlabelled class"),
        ("mapillary-v1.2", 124, "it looks like Mapillary Vistas v2.0"),
    ],
)
def test_classes_of_another_version_are_told(mine: Path, name: str, count: int, words: str) -> None:
    Path("datasets/mine").rename(f"datasets/{name}")
    table = [{"id": 100 + n, "name": f"class {n}", "isthing": 1} for n in range(count)]
    for split in ("train", "val"):
        edit(lambda content: content.update(categories=table), Path(f"datasets/{name}/{split}/panoptic.json"))()
    (told,) = {one.detail for group in checked(name).groups if group.code == "other-version" for one in group.findings}
    assert words in told


def test_a_split_that_is_not_whole_is_told(mine: Path) -> None:
    Path("datasets/mine/val").rename("datasets/mine/val2017")
    Path("datasets/mine").rename("datasets/coco")
    told = [group.findings for group in checked("coco").groups if group.code == "image-count"]
    assert [(one.split, one.detail) for (one,) in told] == [("val2017", "2 of 5000")]


def test_a_published_class_of_another_kind_is_told(mine: Path) -> None:
    Path("datasets/mine").rename("datasets/coco")
    table = [category_to_json(category) for category in read_categories("coco")]
    table[3]["isthing"] = 0
    for split in ("train", "val"):
        edit(lambda content: content.update(categories=table), Path(f"datasets/coco/{split}/panoptic.json"))()
    told = {one.detail for group in checked("coco").groups if group.code == "other-version" for one in group.findings}
    assert any("1 have another name, kind or place, the first is 'motorcycle'" in one for one in told)


def test_the_real_coco_sample_passes_and_its_png_and_json_agree(coco_sample: Path) -> None:
    found = checked(str(coco_sample))
    assert found.images == {"val2017": 3}
    assert {group.code for group in found.groups} == {
        "image-count",
        "thing-without-instances",
        "stuff-without-segments",
    }
    assert {group.rule.severity for group in found.groups} == {Severity.WARNING}


@pytest.mark.parametrize("named", ["mine", "datasets/mine", "datasets/mine/train", "datasets/mine/train/"])
def test_a_dataset_a_folder_of_splits_and_a_split_can_be_named(mine: Path, named: str) -> None:
    assert checked(named).groups == ()


def test_a_set_of_things_alone_is_told_with_what_is_void(mine: Path) -> None:
    def drop_stuff(content: Any) -> None:
        content["categories"] = [one for one in content["categories"] if one["isthing"]]
        things = {one["id"] for one in content["categories"]}
        for annotation in content["annotations"]:
            infos = annotation["segments_info"]
            path = split / "panoptic" / annotation["file_name"]
            id_map = read_id_map(path)
            id_map[~np.isin(id_map, [one["id"] for one in infos if one["category_id"] in things])] = 0
            write_id_map(path, id_map)
            infos[:] = [one for one in infos if one["category_id"] in things]

    for split in (TRAIN, VAL):
        edit(drop_stuff, split / "panoptic.json")()
    groups = checked().groups
    assert {group.code for group in groups} == {"things-only"}
    assert "58.3% of all pixels are void; `yoso convert --background NAME`" in groups[0].findings[0].detail


def test_proposals_are_those_that_are_asked_for(mine: Path) -> None:
    def of(proposals: int) -> set[str]:
        found = check_splits(find_splits("mine", Path("datasets")), proposals=proposals)
        return {one.detail for group in found.groups for one in group.findings}

    assert of(5) == set(), "a crowd is no target"
    assert of(4) == {"5 segments, 4 proposals"}


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (edit(lambda content: content["annotations"][1].pop("image_id")), "malformed-entry"),
        (edit(lambda content: content["annotations"].__setitem__(1, 5)), "malformed-entry"),
        (edit(lambda content: content["images"][1].pop("id")), "malformed-entry"),
        (edit(lambda content: content["images"][1].pop("height")), "malformed-entry"),
        (edit(lambda content: content["categories"][1].pop("id")), "malformed-entry"),
        (edit(lambda content: content["categories"][1].pop("name")), "malformed-entry"),
        (edit(lambda content: content["images"][1].update(file_name="/etc/passwd")), "path-outside"),
    ],
)
def test_one_wrong_entry_is_one_finding(mine: Path, damage: Callable[[], object], code: str) -> None:
    damage()
    # Of the other split, whose classes are whole.
    groups = checked("datasets/mine/train").groups
    assert [(group.code, len(group.findings)) for group in groups] == [(code, 1)]


def test_photos_that_cityscapes_own_json_misnames_are_found(mine: Path) -> None:
    folder = Path("cs/gtFine")
    shutil.copytree(TRAIN / "panoptic", folder / "cityscapes_panoptic_train")
    content = json.loads((TRAIN / "panoptic.json").read_text())
    for image in content["images"]:
        name = image["file_name"].removesuffix(".jpg")
        image["file_name"] = f"aachen_{name}_gtFine_leftImg8bit.png"
        raw.write_photo(Path(f"cs/leftImg8bit/train/aachen/aachen_{name}_leftImg8bit.png"))
    (folder / "cityscapes_panoptic_train.json").write_text(json.dumps(content))
    for named in ("cs/gtFine/cityscapes_panoptic_train.json", "cs/gtFine/cityscapes_panoptic_train"):
        assert checked(named).groups == ()

"""`yoso dataset` from the outside: what is made passes `yoso check`, and what goes wrong leaves nothing behind."""

import json
import os
from collections import Counter
from pathlib import Path

import build
import numpy as np
import pytest
from commands.conftest import Printed, Refused

from yoso_cli.panoptic.files import SetWriter, read_panoptic, read_set
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Segment, measured

CATEGORIES = (Category(1, "cat", True), Category(2, "dog", True), Category(7, "sky", False), Category(8, "sea", False))
SET = "datasets/mine/all"


def write(folder: str, categories: tuple[Category, ...], images: int = 12, seed: int = 0) -> PanopticSet:
    """A prepared split of rectangles in two folders of pictures, each of them different."""
    random = np.random.default_rng(seed)
    path = Path(folder)
    writer = SetWriter(path, path.parent.name, path.name, categories)
    for index in range(images):
        panoptic = build.blocks(random, 20 + index, 30, categories)
        image = random.integers(0, 255, (20 + index, 30, 3)).astype(np.uint8)
        name = f"scene{index // 3}/{index}"
        record = ImageRecord(index, f"{name}.png", f"{name}.png", 20 + index, 30, panoptic.segments)
        writer.add(record, panoptic, image)
    return writer.finish()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the test stands in, with one dataset."""
    monkeypatch.chdir(tmp_path)
    write(SET, CATEGORIES)
    return tmp_path


def pixels_of(*found: PanopticSet) -> Counter[str]:
    """Pixels of each class over all label maps."""
    counts: Counter[str] = Counter()
    for one in found:
        names = {category.id: category.name for category in one.categories}
        for record in one.records:
            panoptic = read_panoptic(one, record)
            assert measured(panoptic.id_map, panoptic.segments) == panoptic.segments
            for segment in panoptic.segments:
                counts[names[segment.category_id]] += segment.area
    return counts


def passes(printed: Printed, *sets: str) -> None:
    """`yoso check` finds nothing at all in the sets."""
    for one in sets:
        value, _ = printed("check", one, "--json")
        findings = {found["code"] for found in value["findings"]} - {
            "thing-without-instances",
            "stuff-without-segments",
        }
        assert findings <= {"mostly-void", "no-segments"}, value


def test_a_split_has_every_picture_once_and_refers_to_the_photos(here: Path, printed: Printed) -> None:
    before = build.listing(Path(SET))
    out, err = printed("dataset", "split", SET, "--into", "train=0.75,val=0.25")
    assert out.startswith("datasets/mine-split/train: 9 images, ")
    assert out.endswith(f"pictures: {here / SET}/images\n")
    assert "Next: yoso recipe new mine --for datasets/mine-split/train --val datasets/mine-split/val" in err
    source = read_set(Path(SET))
    train, val = (read_set(Path("datasets/mine-split", name)) for name in ("train", "val"))
    assert (len(train.records), len(val.records)) == (9, 3)
    listed = sorted((*train.records, *val.records), key=lambda one: int(one.image_id))
    assert listed == list(source.records)
    for one in (train, val):
        for record in one.records:
            assert one.image_path(record).samefile(source.image_path(record))
            assert one.panoptic_path(record).samefile(source.panoptic_path(record)), "a second name, and no room"
    assert pixels_of(train, val) == pixels_of(source)
    assert build.listing(Path(SET)) == before
    assert not list(Path("datasets/mine-split").rglob(".*")), "no leftovers"
    passes(printed, "mine-split", "datasets/mine-split/train", "datasets/mine-split/val")


def test_the_folder_of_all_datasets_can_be_moved(here: Path, printed: Printed) -> None:
    printed("dataset", "split", SET, "--into", "train=0.75,val=0.25")
    (here / "datasets").rename(here / "elsewhere")
    passes(printed, "elsewhere/mine-split")


def test_scenes_stay_together(here: Path, printed: Printed) -> None:
    for how in ("folder", r"scene\d"):
        printed("dataset", "split", SET, "out", "--into", "a=50%,b=rest", "--group", how, "--seed", "5", "--force")
        first, second = (
            {Path(record.image_file).parent for record in read_set(Path("out", name)).records} for name in ("a", "b")
        )
        assert not first & second
        assert len(first) == len(second) == 2


def test_a_seed_repeats_itself_and_another_does_not(here: Path, printed: Printed) -> None:
    def drawn(seed: str) -> list[int | str]:
        printed("dataset", "split", SET, "out", "--into", "a=6,b=rest", "--seed", seed, "--stratify", "--force")
        return [record.image_id for record in read_set(Path("out/a")).records]

    assert drawn("1") == drawn("1")
    assert drawn("1") != drawn("2")
    assert len(drawn("1")) == 6


def test_a_class_that_a_part_lacks_is_told(here: Path, printed: Printed) -> None:
    write("datasets/rare/all", CATEGORIES, images=2, seed=1)
    _, err = printed("dataset", "split", "rare", "--into", "a=1,b=1")
    parts = [read_set(Path("datasets/rare-split", name)) for name in ("a", "b")]
    shown = [set(pixels_of(one)) for one in parts]
    for path, own in zip(("a", "b"), shown, strict=True):
        lost = sorted(set().union(*shown) - own)
        assert (f"datasets/rare-split/{path}: has no segment of" in err) == bool(lost)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--into", "train=0.8"), "the parts take 9.6 of 12 pictures"),
        (("--into", "train=0.8,val"), "'val' is no NAME=SHARE"),
        (("--into", "train=0.8,train=0.2"), "'train=0.2' is there twice".replace("'train=0.2' ", "")),
        (("--into", "train=1.5,val=rest"), "'train=1.5' is no NAME=SHARE"),
        (("--into", "train=0,val=rest"), "nothing is left for train"),
        (("--into", "a/b=0.8,val=0.2"), "'a/b' cannot be the name of a split"),
        (("--into", "..=0.8,val=0.2"), "'..' cannot be the name of a split"),
        (("--into", "a=0.5,b=0.5", "--group", "("), "is no regular expression"),
    ],
)
def test_a_mistake_in_the_parts_is_told(here: Path, refused: Refused, args: tuple[str, ...], words: str) -> None:
    assert words in refused("dataset", "split", SET, *args, code=2)


def test_what_is_read_is_never_replaced(here: Path, refused: Refused) -> None:
    split = ("dataset", "split", SET)
    assert "holds mine/all, which is read" in refused(*split, "datasets/mine", "--into", "all=0.5,b=0.5", code=2)
    assert "which is read" in refused("dataset", "subset", SET, "datasets/mine/all/images", "--force", code=2)
    assert "which is read" in refused("dataset", "subset", SET, "datasets", "--force", code=2)
    Path("other/train").mkdir(parents=True)
    Path("other/train/notes.txt").write_text("mine")
    parts = ("--into", "train=0.5,val=0.5", "--force")
    assert "is not a prepared dataset, so it is not replaced" in refused(*split, "other", *parts, code=2)


def test_a_set_that_is_there_is_replaced_if_asked_for(here: Path, printed: Printed, refused: Refused) -> None:
    printed("dataset", "subset", SET, "datasets/small/train", "--count", "3")
    line = ("dataset", "subset", SET, "datasets/small/train", "--count", "5")
    assert "is prepared already. Replace it with --force" in refused(*line, code=2)
    printed(*line, "--force")
    assert len(read_set(Path("datasets/small/train")).records) == 5
    assert len(read_set(Path(SET)).records) == 12
    passes(printed, SET)


def test_a_dataset_of_several_splits_must_be_named_by_one(here: Path, refused: Refused) -> None:
    write("datasets/mine/more", CATEGORIES, seed=1)
    told = refused("dataset", "split", "mine", "--into", "a=0.5,b=0.5", code=2)
    assert "mine: has 2 splits. Name one of them: datasets/mine/all, datasets/mine/more." in told


def test_a_subset_fits_and_keeps_all_labels(here: Path, printed: Printed) -> None:
    value, _ = printed(
        "dataset", "subset", SET, "datasets/cats/train", "--classes", "cat", "--max-size", "30", "--json"
    )
    source, found = read_set(Path(SET)), read_set(Path("datasets/cats/train"))
    expected = [
        one for one in source.records if one.height <= 30 and any(each.category_id == 1 for each in one.segments)
    ]
    assert list(found.records) == expected
    assert found.categories == source.categories
    assert value["sets"][0]["images"] == len(expected)
    passes(printed, "datasets/cats/train")
    Path("names.txt").write_text("3\nscene0/1.png\n\n")
    printed("dataset", "subset", SET, "datasets/named/train", "--names", "names.txt")
    assert [one.image_id for one in read_set(Path("datasets/named/train")).records] == [1, 3]


def test_a_subset_that_cannot_be_is_refused(here: Path, refused: Refused) -> None:
    line = ("dataset", "subset", SET, "datasets/x/train")
    assert "only 12 pictures fit" in refused(*line, "--count", "13", code=1)
    assert "No picture fits" in refused(*line, "--min-size", "500", code=1)
    assert "There is no class 'cta'. Did you mean 'cat'?" in refused(*line, "--classes", "cta", code=2)
    assert "exclude one another" in refused(*line, "--count", "1", "--fraction", "0.5", code=2)
    Path("names.txt").write_text("nothing\n")
    assert "1 of the names are of no picture: nothing" in refused(*line, "--names", "names.txt", code=1)
    Path("names.txt").write_bytes(b"\xff\xfe")
    assert "names.txt: is not UTF-8 text" in refused(*line, "--names", "names.txt", code=2)


def test_classes_are_renamed_joined_dropped_and_made_stuff(here: Path, printed: Printed) -> None:
    Path("map.yaml").write_text("classes:\n  cat: {name: pet, isthing: false}\n  dog: pet\n  sea: null\n")
    printed("dataset", "remap", SET, "datasets/pets/all", "--mapping", "map.yaml")
    source, found = read_set(Path(SET)), read_set(Path("datasets/pets/all"))
    assert found.categories == (Category(1, "pet", False), Category(7, "sky", False))
    before, after = pixels_of(source), pixels_of(found)
    assert after == Counter({"pet": before["cat"] + before["dog"], "sky": before["sky"]})
    for old, new in zip(source.records, found.records, strict=True):
        assert sum(one.category_id == 1 for one in new.segments) <= 1
        changed = any(one.category_id == 8 for one in old.segments) or (
            sum(one.category_id in (1, 2) for one in old.segments) > 1
        )
        assert found.panoptic_path(new).samefile(source.panoptic_path(old)) == (not changed)
    passes(printed, "datasets/pets/all")


def test_stuff_that_becomes_things_is_a_crowd(here: Path, printed: Printed) -> None:
    Path("map.yaml").write_text("classes: {sky: {name: balloon, isthing: true}}\nrest: void\n")
    printed("dataset", "remap", SET, "datasets/air/all", "--mapping", "map.yaml")
    found = read_set(Path("datasets/air/all"))
    assert found.categories == (Category(7, "balloon", True),)
    segments = [one for record in found.records for one in record.segments]
    assert segments
    assert all(one.iscrowd for one in segments)
    assert pixels_of(found)["balloon"] == pixels_of(read_set(Path(SET)))["sky"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("classes: {cow: null}", "cow: no class of the set has this name"),
        ("classes: {cat: sky}", "sky: it is to be made of things and stuff (cat, sky)"),
        ("classes: {cat: 3}", "map.yaml:1: cat: 3 where a class or null is expected; use quotes"),
        ("classes: {cat: {name: x, kind: 2}}", "cat: unknown key 'kind'"),
        ("classes: {cat: {isthing: maybe}}", "cat: isthing: 'maybe' where true or false is expected"),
        ("classes: {cat: {id: -1}}", "cat: id: -1 where a whole number is expected"),
        ("classes: {cat: {color: [1, 2]}}", "cat: color: [1, 2] where [R, G, B] is expected"),
        ("rest: none", "rest: 'none' is neither keep nor void"),
        ("klasses: {}", "klasses: unknown key"),
        ("classes: {}", "says nothing of any class"),
        ("", "is empty"),
        ("classes: [cat]", "says nothing of any class"),
        ("classes: {cat: !!python/none x}", "tags"),
        ("rest: void", "no class is left"),
    ],
)
def test_a_mistake_in_a_mapping_is_told(here: Path, refused: Refused, text: str, words: str) -> None:
    Path("map.yaml").write_text(text)
    assert words in refused("dataset", "remap", SET, "datasets/x/all", "--mapping", "map.yaml", code=2)


def test_sets_are_merged_by_the_names_of_their_classes(here: Path, printed: Printed) -> None:
    others = (Category(2, "cat", True), Category(1, "tree", False))
    write("elsewhere/photos/part", others, seed=3)
    out, err = printed("dataset", "merge", SET, "elsewhere/photos/part", "datasets/both/train", "--workers", "1")
    assert "24 images" in out
    assert "tree of photos/part gets the id 9: 1 is taken." in err
    assert "all pictures are numbered anew" in err
    assert "Videos" not in err
    sources = [read_set(Path(SET)), read_set(Path("elsewhere/photos/part"))]
    found = read_set(Path("datasets/both/train"))
    assert found.categories == (*CATEGORIES, Category(9, "tree", False))
    assert pixels_of(found) == pixels_of(*sources)
    paths = [one.image_path(record) for one in sources for record in one.records]
    assert all(found.image_path(new).samefile(old) for new, old in zip(found.records, paths, strict=True))
    assert len({record.image_id for record in found.records}) == 24
    passes(printed, "datasets/both/train")


def test_a_class_of_two_kinds_is_told_with_the_remedy(here: Path, printed: Printed, refused: Refused) -> None:
    write("datasets/b/train", (Category(1, "cat", False), Category(2, "sky", False)), seed=4)
    line = ("dataset", "merge", SET, "datasets/b/train", "datasets/both/train")
    assert "cat: is things in mine/all and stuff in b/train. Say which with --mapping" in refused(*line, code=2)
    Path("map.yaml").write_text("classes: {cat: {name: cat, isthing: true}}")
    printed(*line, "--mapping", "map.yaml")
    assert pixels_of(read_set(Path("datasets/both/train")))["cat"] > 0
    passes(printed, "datasets/both/train")


def test_videos_of_two_sets_stay_apart(here: Path, printed: Printed) -> None:
    for number, name in enumerate(("datasets/a/train", "datasets/b/train")):
        write(name, CATEGORIES, images=4, seed=10 + number)
        build.forget_checksums(Path(name))
        content = json.loads(Path(name, "panoptic.json").read_text())
        for place, image in enumerate(content["images"]):
            image["video_id"] = 1 + place // 2
        Path(name, "panoptic.json").write_text(json.dumps(content))
    _, err = printed("dataset", "merge", "datasets/a/train", "datasets/b/train", "datasets/both/train")
    assert "Videos of one id in several sets" in err
    videos = [record.video_id for record in read_set(Path("datasets/both/train")).records]
    assert videos == [f"{name}/train/{video}" for name in "ab" for video in (1, 1, 2, 2)]
    _, err = printed("dataset", "split", "both", "--into", "a=0.5,b=0.5")
    parts = [read_set(Path("datasets/both-split", name)).records for name in "ab"]
    first, second = ({record.video_id for record in part} for part in parts)
    assert not first & second, "frames of a video stay together"


def test_a_photo_of_two_sets_is_refused(here: Path, printed: Printed, refused: Refused) -> None:
    printed("dataset", "subset", SET, "datasets/part/train", "--count", "2")
    told = refused("dataset", "merge", SET, "datasets/part/train", "datasets/both/train", code=1)
    assert "2 photos are there more than once: " in told
    assert "Two sets or more" in refused("dataset", "merge", SET, "datasets/both/train", code=2)


def test_a_missing_or_contradicting_label_map_leaves_nothing(here: Path, printed: Printed, refused: Refused) -> None:
    write("datasets/b/train", CATEGORIES, seed=4)
    found = read_set(Path(SET))
    path = found.panoptic_path(found.records[5])
    path.unlink()
    assert "scene1/5.png: no such file" in refused("dataset", "split", SET, "--into", "a=0.5,b=0.5", code=1)
    assert not Path("datasets/mine-split").exists() or not list(Path("datasets/mine-split").iterdir())
    os.link(found.panoptic_path(found.records[4]), path)
    Path("map.yaml").write_text("classes: {cat: null}")
    told = refused("dataset", "remap", SET, "datasets/x/all", "--mapping", "map.yaml", "--workers", "1", code=1)
    assert "scene1/5.png" in told


def test_a_linked_label_map_is_copied(here: Path, printed: Printed) -> None:
    """A link to a link would lead nowhere from its new place."""
    found = read_set(Path(SET))
    path = found.panoptic_path(found.records[0])
    path.rename(path.with_name("target.png"))
    path.symlink_to("target.png")
    printed("dataset", "subset", SET, "datasets/small/train", "--names", "/dev/stdin") if False else printed(
        "dataset", "subset", SET, "datasets/small/train", "--fraction", "1"
    )
    small = read_set(Path("datasets/small/train"))
    assert not small.panoptic_path(small.records[0]).is_symlink()
    assert read_panoptic(small, small.records[0]).segments == found.records[0].segments


def test_workers_make_the_same_files(here: Path, printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoso_cli.runtime.workers._TOO_FEW", 0)
    Path("map.yaml").write_text("classes: {cat: dog, sea: null}")
    line = ("dataset", "remap", SET, "datasets/x/all", "--mapping", "map.yaml", "--force")
    printed(*line, "--workers", "1")
    alone = build.listing(Path("datasets/x"))
    printed(*line, "--workers", "2")
    assert build.listing(Path("datasets/x")) == alone


def test_the_size_of_a_dataset_is_told_with_suggestions(here: Path, printed: Printed) -> None:
    value, _ = printed("dataset", "size", "mine", "--json")
    (split,) = value["splits"]
    counts = [sum(not each.iscrowd for each in one.segments) for one in read_set(Path(SET)).records]
    assert split["segments_per_image"]["max"] == max(counts)
    assert split["short_edge"] == {"min": 20, "median": 25, "max": 30}
    assert split["long_edge"] == {"min": 30, "median": 30, "max": 31}
    assert {one["key"] for one in value["suggestions"]} >= {"model.num_proposals", "train.iterations"}
    assert all("reason" in one for one in value["suggestions"])
    out, err = printed("dataset", "size", "mine")
    assert "Segments  per image: median" in out
    assert max(map(len, out.splitlines())) <= 80
    assert err.endswith("Next: yoso recipe new mine --for mine")


def test_the_listing_is_written_as_json_writes_it(here: Path) -> None:
    """The JSON of a set goes to the disk in parts, and is the same to the byte."""
    content = Path(SET, "panoptic.json").read_text()
    assert content == json.dumps(json.loads(content), ensure_ascii=False) + "\n"


def test_segments_without_a_pixel_do_not_stop_a_set(here: Path, printed: Printed, refused: Refused) -> None:
    """They are a finding of `yoso check`, and a subset is as its source."""
    build.forget_checksums(Path(SET))
    listing = Path(SET, "panoptic.json")
    content = json.loads(listing.read_text())
    content["annotations"][0]["segments_info"].append(
        {"id": 999, "category_id": 1, "area": 0, "bbox": [0, 0, 0, 0], "iscrowd": 0}
    )
    listing.write_text(json.dumps(content))
    printed("dataset", "subset", SET, "datasets/small/all", "--fraction", "1")
    assert read_set(Path("datasets/small/all")).records[0].segments[-1] == Segment(999, 1, 0)


def test_panoptic_is_imported() -> None:
    assert Panoptic

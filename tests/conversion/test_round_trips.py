"""From a prepared split into a form and back: whatever is another one then was counted as lost, nothing else was."""

import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from conversion import raw
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.atomic import replacing_folder
from yoso_cli.conversion.category_file import CategoryTable, read_table
from yoso_cli.conversion.convert import Converted, InformationLoss, LabelReader, convert_pictures
from yoso_cli.conversion.forms import SOURCES, TARGETS, Places
from yoso_cli.datasets.spec import read_categories
from yoso_cli.panoptic.files import SetWriter, read_panoptic, read_set
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Segment, measured

Loss = InformationLoss

# A class of things has ids up to 64 in Cityscapes' form, and none is 0.
_SMALL = 64
_NAMES = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=6)


def write_set(folder: Path, panoptics: list[Panoptic], image_ids: list[int | str]) -> PanopticSet:
    writer = SetWriter(folder, "mine", "train", raw.TABLE.categories)
    for index, (image_id, panoptic) in enumerate(zip(image_ids, panoptics, strict=True)):
        height, width = panoptic.id_map.shape
        raw.write_photo(folder / "images" / "city" / f"{index}.png", height, width)
        record = ImageRecord(image_id, f"city/{index}.png", f"city/{index}.png", height, width, ())
        writer.add(record, panoptic)
    return writer.finish()


def converted(source_form: str, places: Places, target_form: str, folder: Path) -> Converted:
    with ExitStack() as stack:
        source: LabelReader = stack.enter_context(SOURCES[source_form](places))
        target = TARGETS[target_form](source, folder)
        return convert_pictures(source, target.writer, target.placing, unsaid=target.unsaid)


@st.composite
def tables(draw: st.DrawFn, largest: int) -> list[Category]:
    """One to four classes of any names, colours and order; stuff may have the id 0."""
    names = draw(st.lists(_NAMES, min_size=1, max_size=4, unique=True))
    things = draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    ids = draw(st.lists(st.integers(1, largest), min_size=len(names), max_size=len(names), unique=True))
    if not all(things) and draw(st.booleans()):
        ids[things.index(False)] = 0
    colors = st.tuples(*[st.integers(0, 255)] * 3)
    return [Category(*one, draw(colors)) for one in zip(ids, names, things, strict=True)]


@st.composite
def labelled(draw: st.DrawFn, categories: list[Category]) -> Panoptic:
    """Any picture of these classes: one segment of a stuff class, but for crowds; any ids, scores, crowds and void."""
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    kinds = [(one.id, crowd) for one in categories for crowd in (False, True)]
    kinds += [(one.id, crowd) for one in categories if one.isthing for crowd in (False, True)]
    chosen = draw(st.lists(st.sampled_from(range(len(kinds))), unique=True))
    numbers = st.integers(1, 2**24 - 1) if draw(st.booleans()) else st.integers(1, len(chosen) or 1)
    ids = draw(st.lists(numbers, min_size=len(chosen), max_size=len(chosen), unique=True))
    scores = draw(st.lists(st.none() | st.floats(0, 1), min_size=len(chosen), max_size=len(chosen)))
    cells = draw(st.lists(st.sampled_from([0, *ids]), min_size=height * width, max_size=height * width))
    id_map = np.array(cells, np.int32).reshape(height, width)
    segments = [
        Segment(number, kinds[place][0], 0, iscrowd=kinds[place][1], score=score)
        for number, place, score in zip(ids, chosen, scores, strict=True)
    ]
    return Panoptic(id_map, measured(id_map, segments))


@st.composite
def sets(draw: st.DrawFn, categories: st.SearchStrategy[list[Category]]) -> tuple[list[Category], list[Panoptic], list]:
    """Classes, pictures, and the id of each and of its video."""
    found = draw(categories)
    pictures = draw(st.lists(labelled(found), min_size=1, max_size=3))
    names = st.integers(0, 2**40) | st.text("abc", min_size=1)
    videos = st.none() | st.sampled_from([1, "v"])
    ids = draw(st.lists(st.tuples(names, videos), min_size=3, max_size=3, unique_by=lambda one: str(one[0])))
    return found, pictures, ids


def write_any(folder: Path, categories: list[Category], pictures: list[Panoptic], ids: list) -> PanopticSet:
    writer = SetWriter(folder, folder.parent.name, folder.name, categories)
    for place, (panoptic, (image_id, video_id)) in enumerate(zip(pictures, ids, strict=False)):
        height, width = panoptic.id_map.shape
        raw.write_photo(folder / "images" / "d" / f"{place}.png", height, width)
        record = ImageRecord(image_id, f"d/{place}.png", f"d/{place}.png", height, width, (), video_id)
        writer.add(record, panoptic)
    return writer.finish()


def class_map(panoptic: Panoptic) -> list[list[int]]:
    """The category of each pixel, -1 for void."""
    of = {segment.id: segment.category_id for segment in panoptic.segments} | {0: -1}
    return [[of[number] for number in row] for row in panoptic.id_map.tolist()]


def pixels_of(panoptic: Panoptic) -> dict[bytes, Segment]:
    return {np.packbits(panoptic.id_map == one.id).tobytes(): one for one in panoptic.segments}


def differences(old: Panoptic, new: Panoptic) -> Counter[str]:
    """How many segments came back in another way, by what is other about them."""
    before, after = pixels_of(old), pixels_of(new)
    pairs = [(one, after[pixels]) for pixels, one in before.items() if pixels in after]
    return Counter(
        score=sum(one.score is not None and other.score != one.score for one, other in pairs),
        crowd=sum(one.iscrowd != other.iscrowd for one, other in pairs),
        gone=len(before) - len(pairs),
        id=sum(one.id != other.id for one, other in pairs),
    )


FORMS = ["prepared", "coco-panoptic", "coco-instances", "maps", "cityscapes", "submission"]
_CROWDS = (Loss.CROWDS, Loss.STUFF_CROWD, Loss.CROWD_FLAG)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15)
@given(data=st.data())
def test_what_comes_back_is_what_went_in_but_for_what_is_told(form: str, data: st.DataObject) -> None:
    largest = _SMALL if form == "cityscapes" else 60_000
    published = st.just(list(read_categories("cityscapes")))
    categories, pictures, ids = data.draw(sets(published if form == "submission" else tables(largest)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = write_any(folder / "mine" / "train", categories, pictures, ids)
        losses, after = there_and_back(form, folder, before)
    assert after.categories == before.categories
    found: Counter[str] = Counter()
    for record, (new, again), old in zip(before.records, after.pictures, pictures, strict=True):
        assert again.id_map.shape == old.id_map.shape
        assert class_map(again) == class_map(old), "void and classes survive in every form"
        found += differences(old, again)
        found += Counter(image_id=int(new.image_id != record.image_id), video=int(new.video_id != record.video_id))
        assert Path(after.image_dir / new.image_file).resolve() == before.image_path(record).resolve()
    assert found["score"] + found["gone"] >= losses[Loss.SCORE] >= found["score"]
    assert (found["crowd"] + found["gone"] == 0) or any(losses[loss] for loss in _CROWDS)
    if form in ("coco-instances", "maps", "cityscapes"):
        numbers = [[one.id for one in old.segments] for old in pictures]
        assert losses[Loss.IDS] == sum(len(ids) for ids in numbers if set(ids) != set(range(1, len(ids) + 1)))
    else:
        assert found["id"] == losses[Loss.IDS] == 0
    assert found["image_id"] == losses[Loss.IMAGE_IDS]
    assert found["video"] == (0 if form == "submission" else losses[Loss.VIDEOS])


class Back:
    """What was read back."""

    def __init__(self, found: PanopticSet) -> None:
        self.categories, self.image_dir = found.categories, found.image_dir
        self.pictures = [(record, read_panoptic(found, record)) for record in found.records]


def there_and_back(form: str, folder: Path, before: PanopticSet) -> tuple[Counter[InformationLoss], Back]:
    """What was lost on the way into `form`, and the set that is read from it."""
    out = folder / ("out.zip" if form == "submission" else "mine2/val")
    target = "cityscapes-submission" if form == "submission" else form
    first = converted("prepared", Places(folder / "mine" / "train"), target, out)
    table = read_table(str(out / "categories.yaml")) if form in ("maps", "cityscapes") else None
    places = Places(out, table, before.image_dir, truth=before if form == "submission" else None)
    second = converted(form, places, "prepared", folder / "back" / "train")
    assert not +second.losses, "reading what was written loses nothing more"
    return first.losses, Back(read_set(folder / "back" / "train"))


def test_coco_panoptic_keeps_the_ids_of_segments(tmp_path: Path) -> None:
    panoptic = raw.panoptic_of(raw.np.array([[5, 900]], raw.np.int32), {5: (raw.CAR, False), 900: (raw.SKY, False)})
    before = write_set(tmp_path / "mine" / "train", [panoptic], ["a"])
    converted("prepared", Places(tmp_path / "mine" / "train"), "coco-panoptic", tmp_path / "out")
    converted("coco-panoptic", Places(tmp_path / "out", None, before.image_dir), "prepared", tmp_path / "b" / "c")
    assert read_set(tmp_path / "b" / "c").records == before.records


def test_what_maps_cannot_say_is_counted(tmp_path: Path) -> None:
    ids = raw.np.array([[1, 2, 3, 4]], raw.np.int32)
    crowds = raw.panoptic_of(ids, {1: (raw.CAR, True), 2: (raw.CAR, True), 3: (raw.SKY, True), 4: (raw.CAR, False)})
    write_set(tmp_path / "mine" / "train", [crowds], ["city/0"])
    done = converted("prepared", Places(tmp_path / "mine" / "train"), "maps", tmp_path / "out")
    assert {loss.name: count for loss, count in (+done.losses).items()} == {"CROWDS": 1, "STUFF_CROWD": 1}


def test_stuff_with_the_id_0_is_read_from_the_table_beside_the_instances(tmp_path: Path) -> None:
    table = [Category(0, "ground", False), Category(1, "box", True)]
    id_map = np.array([[5, 5, 9]], np.int32)
    panoptic = Panoptic(id_map, measured(id_map, [Segment(5, 0, 0), Segment(9, 1, 0)]))
    before = write_any(tmp_path / "mine" / "train", table, [panoptic], [("a", None)])
    converted("prepared", Places(tmp_path / "mine" / "train"), "coco-instances", tmp_path / "out")
    done = converted("coco-instances", Places(tmp_path / "out", None, before.image_dir), "prepared", tmp_path / "b/c")
    assert done.areas == {0: 2, 1: 1}
    (tmp_path / "out" / "categories.yaml").unlink()
    with pytest.raises(Exception, match="has semantic maps, and no class is stuff"):
        converted("coco-instances", Places(tmp_path / "out", None, before.image_dir), "prepared", tmp_path / "b/d")


def test_the_real_coco_sample_survives_every_form(coco_sample: Path, tmp_path: Path) -> None:
    listing = coco_sample / "annotations" / "panoptic_val2017.json"
    images = coco_sample / "val2017"
    converted("coco-panoptic", Places(listing), "prepared", tmp_path / "coco" / "val")
    before = read_set(tmp_path / "coco" / "val")
    assert before.image_dir == images, "found where COCO unpacks them"
    for form in ("maps", "coco-instances"):
        with replacing_folder(tmp_path / form):
            pass
        done = converted("prepared", Places(tmp_path / "coco" / "val"), form, tmp_path / form)
        table = CategoryTable.of(before.categories)
        converted(form, Places(tmp_path / form, table, images), "prepared", tmp_path / "back" / form)
        after = read_set(tmp_path / "back" / form)
        assert set(+done.losses) <= {Loss.IDS, Loss.IMAGE_IDS}
        same = {record.image_file: record for record in after.records}
        for record in before.records:
            again = read_panoptic(after, same[record.image_file])
            assert raw.described(again) == raw.described(read_panoptic(before, record))

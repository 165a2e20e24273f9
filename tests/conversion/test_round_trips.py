"""From a prepared split into a form and back: the same pictures with the same segments, to the pixel."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from conversion import raw
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.atomic import replacing_folder
from yoso_cli.conversion.convert import Converted, LabelReader, convert_pictures
from yoso_cli.conversion.forms import SOURCES, TARGETS, Places
from yoso_cli.panoptic.files import SetWriter, read_panoptic, read_set
from yoso_cli.panoptic.types import ImageRecord, Panoptic, PanopticSet


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
        return convert_pictures(source, target.writer, target.placing)


@pytest.mark.parametrize("form", ["maps", "coco-instances", "coco-panoptic", "cityscapes"])
@settings(max_examples=15, deadline=None)
@given(pictures=st.lists(raw.panoptics(), min_size=1, max_size=3))
def test_a_form_gives_back_what_it_took(form: str, pictures: list[Panoptic]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image_ids: list[int | str] = [100 - index for index in range(len(pictures))]
        before = write_set(folder / "mine" / "train", pictures, image_ids)
        first = converted("prepared", Places(folder / "mine" / "train"), form, folder / "out")
        assert not +first.losses
        assert not list((folder / "out").rglob("*.jpg"))
        places = Places(folder / "out", raw.TABLE, before.image_dir)
        converted(form, places, "prepared", folder / "back" / "train")
        after = read_set(folder / "back" / "train")
        assert after.categories == before.categories
        for old, new in zip(before.records, after.records, strict=True):
            assert after.image_path(new) == before.image_path(old).resolve()
            assert raw.described(read_panoptic(after, new)) == raw.described(read_panoptic(before, old))
            keeps_ids = form.startswith("coco")
            assert (new.image_id == old.image_id) == keeps_ids, "the other forms have names only"


def test_coco_panoptic_keeps_the_ids_of_segments(tmp_path: Path) -> None:
    panoptic = raw.panoptic_of(raw.np.array([[5, 900]], raw.np.int32), {5: (raw.CAR, False), 900: (raw.SKY, False)})
    before = write_set(tmp_path / "mine" / "train", [panoptic], ["a"])
    converted("prepared", Places(tmp_path / "mine" / "train"), "coco-panoptic", tmp_path / "out")
    converted("coco-panoptic", Places(tmp_path / "out", None, before.image_dir), "prepared", tmp_path / "b" / "c")
    assert read_set(tmp_path / "b" / "c").records == before.records


def test_what_maps_cannot_say_is_counted(tmp_path: Path) -> None:
    ids = raw.np.array([[1, 2, 3, 4]], raw.np.int32)
    crowds = raw.panoptic_of(ids, {1: (raw.CAR, True), 2: (raw.CAR, True), 3: (raw.SKY, True), 4: (raw.CAR, False)})
    write_set(tmp_path / "mine" / "train", [crowds], ["a"])
    done = converted("prepared", Places(tmp_path / "mine" / "train"), "maps", tmp_path / "out")
    assert {loss.name: count for loss, count in (+done.losses).items()} == {"CROWDS": 1, "STUFF_CROWD": 1}


def test_the_real_coco_sample_survives_every_form(coco_sample: Path, tmp_path: Path) -> None:
    listing = coco_sample / "annotations" / "panoptic_val2017.json"
    images = coco_sample / "val2017"
    converted("coco-panoptic", Places(listing, None, images), "prepared", tmp_path / "coco" / "val")
    before = read_set(tmp_path / "coco" / "val")
    for form in ("maps", "coco-instances"):
        with replacing_folder(tmp_path / form):
            pass
        done = converted("prepared", Places(tmp_path / "coco" / "val"), form, tmp_path / form)
        table = raw.CategoryTable.of(before.categories)
        converted(form, Places(tmp_path / form, table, images), "prepared", tmp_path / "back" / form)
        after = read_set(tmp_path / "back" / form)
        assert not +done.losses
        same = {record.image_file: record for record in after.records}
        for record in before.records:
            again = read_panoptic(after, same[record.image_file])
            assert raw.described(again) == raw.described(read_panoptic(before, record))

"""From a prepared split into a form that tools draw in, and back: the same pictures with the same segments."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from conversion import raw
from conversion.test_round_trips import converted, write_set
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.conversion.convert import InformationLoss
from yoso_cli.conversion.forms import TARGETS, Places
from yoso_cli.conversion.recognition import recognised
from yoso_cli.panoptic.files import read_panoptic, read_set
from yoso_cli.panoptic.types import Panoptic

# What a form cannot say of a segment, and says so.
LOST = {
    "labelme": {InformationLoss.IDS},
    "masks": {InformationLoss.IDS},
    "voc": {InformationLoss.IDS},
    "cvat": {InformationLoss.IDS, InformationLoss.CROWD_FLAG},
    "yolo-seg": {InformationLoss.IDS, InformationLoss.CROWD_FLAG, InformationLoss.PARTS},
}


def without_crowds(panoptic: Panoptic) -> Panoptic:
    return replace(panoptic, segments=tuple(replace(one, iscrowd=False) for one in panoptic.segments))


@pytest.mark.parametrize("form", LOST)
@settings(max_examples=12)
@given(pictures=st.lists(raw.panoptics(), min_size=1, max_size=3))
def test_a_form_gives_back_what_it_took(form: str, pictures: list[Panoptic]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = write_set(folder / "mine" / "train", pictures, [f"city/{index}" for index in range(len(pictures))])
        first = converted("prepared", Places(folder / "mine" / "train"), form, folder / "out")
        assert set(+first.losses) <= LOST[form]
        converted(form, Places(folder / "out", images=before.image_dir), "prepared", folder / "back" / "train")
        after = read_set(folder / "back" / "train")
        assert after.categories == before.categories, "categories.yaml lies beside"
        assert len(after.records) == len(before.records)
        for old, new in zip(before.records, after.records, strict=True):
            assert after.image_path(new) == before.image_path(old).resolve()
            wanted = read_panoptic(before, old)
            if InformationLoss.CROWD_FLAG in LOST[form]:
                wanted = without_crowds(wanted)
            assert raw.described(read_panoptic(after, new)) == raw.described(wanted)


@pytest.mark.parametrize("form", LOST)
def test_the_real_coco_sample_survives_every_form(form: str, coco_sample: Path, tmp_path: Path) -> None:
    """Real outlines, crowds and 133 classes with gaps in their ids."""
    listing, images = coco_sample / "annotations" / "panoptic_val2017.json", coco_sample / "val2017"
    converted("coco-panoptic", Places(listing, None, images), "prepared", tmp_path / "coco" / "val")
    converted("prepared", Places(tmp_path / "coco" / "val"), form, tmp_path / "out")
    converted(form, Places(tmp_path / "out", images=images), "prepared", tmp_path / "back" / "val")
    before, after = read_set(tmp_path / "coco" / "val"), read_set(tmp_path / "back" / "val")
    assert after.categories == before.categories
    again = {record.image_file: record for record in after.records}
    for record in before.records:
        wanted = read_panoptic(before, record)
        if InformationLoss.CROWD_FLAG in LOST[form]:
            wanted = without_crowds(wanted)
        assert raw.described(read_panoptic(after, again[record.image_file])) == raw.described(wanted)


@pytest.mark.parametrize("form", ["labelme", "masks"])
def test_scores_are_kept_to_the_last_digit(form: str, tmp_path: Path) -> None:
    found = raw.panoptic_of(raw.np.array([[1, 2]], raw.np.int32), {1: (raw.CAR, False), 2: (raw.CAR, False)})
    scored = replace(found, segments=tuple(replace(one, score=1 / (one.id + 2)) for one in found.segments))
    before = write_set(tmp_path / "mine" / "train", [scored], ["a"])
    converted("prepared", Places(tmp_path / "mine" / "train"), form, tmp_path / "out")
    converted(form, Places(tmp_path / "out", images=before.image_dir), "prepared", tmp_path / "back" / "train")
    assert [one.score for one in read_set(tmp_path / "back" / "train").records[0].segments] == [1 / 3, 1 / 4]


@pytest.mark.parametrize("form", [form for form in TARGETS if not form.endswith("-submission")])
def test_what_is_written_is_recognised_and_needs_no_table(form: str, tmp_path: Path) -> None:
    found = raw.panoptic_of(raw.np.array([[1, 2]], raw.np.int32), {1: (raw.CAR, False), 2: (raw.SKY, False)})
    before = write_set(tmp_path / "mine" / "train", [found], ["city/0"])
    converted("prepared", Places(tmp_path / "mine" / "train"), form, tmp_path / "out")
    again = recognised(tmp_path / "out")
    assert again.form == form
    images = None if form == "prepared" else before.image_dir
    converted(form, Places(again.source, images=images), "prepared", tmp_path / "back" / "train")
    (record,) = (after := read_set(tmp_path / "back" / "train")).records
    assert after.categories == before.categories
    assert raw.described(read_panoptic(after, record)) == raw.described(found)

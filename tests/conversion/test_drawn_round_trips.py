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
from yoso_cli.conversion.forms import Places
from yoso_cli.panoptic.files import read_panoptic, read_set
from yoso_cli.panoptic.types import Panoptic

# What a form cannot say of a segment, and says so.
LOST = {
    "labelme": set(),
    "cvat": {InformationLoss.CROWD_FLAG},
    "yolo-seg": {InformationLoss.CROWD_FLAG, InformationLoss.PARTS},
}


def without_crowds(panoptic: Panoptic) -> Panoptic:
    return replace(panoptic, segments=tuple(replace(one, iscrowd=False) for one in panoptic.segments))


@pytest.mark.parametrize("form", LOST)
@settings(max_examples=20, deadline=None)
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

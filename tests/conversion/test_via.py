"""VIA 2's JSON, written here as it saves a project and exports annotations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion import raw
from conversion.drawn import read_all

from yoso_cli.conversion.convert import InformationLoss
from yoso_cli.conversion.via import ViaReader, open_via
from yoso_cli.errors import DataError, UsageError

HEIGHT, WIDTH = 40, 50


def region(name: str, attributes: dict[str, Any] | None = None, **figures: Any) -> dict[str, Any]:
    attributes = {"type": "car"} if attributes is None else attributes
    return {"shape_attributes": {"name": name, **figures}, "region_attributes": attributes}


POLYGON = {"all_points_x": [10, 20, 20, 10], "all_points_y": [10, 10, 20, 20]}


def write_project(folder: Path, *regions: dict[str, Any], whole: bool = True, numbered: bool = False) -> Path:
    raw.write_photo(folder / "a.jpg", HEIGHT, WIDTH)
    listed: Any = {str(place): one for place, one in enumerate(regions)} if numbered else list(regions)
    entries = {"a.jpg1234": {"filename": "a.jpg", "size": 1234, "regions": listed, "file_attributes": {}}}
    content = {"_via_settings": {}, "_via_img_metadata": entries, "_via_attributes": {}} if whole else entries
    path = folder / "via.json"
    path.write_text(json.dumps(content))
    return path


def opened(path: Path, attribute: str | None = None) -> ViaReader:
    found = open_via(path, None, None, attribute)
    assert not found.problems
    return found


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("numbered", [True, False])
def test_every_shape_that_has_an_area(tmp_path: Path, whole: bool, numbered: bool) -> None:
    path = write_project(
        tmp_path,
        region("polygon", **POLYGON),
        region("rect", {"type": "sign"}, x=30, y=2, width=4, height=3),
        region("circle", cx=40.5, cy=20.5, r=4.5),
        region("ellipse", {"type": "sign"}, cx=15, cy=32, rx=8, ry=3, theta=np.pi / 6),
        region("polyline", {"type": "lane"}, all_points_x=[1, 2], all_points_y=[1, 2]),
        region("point", {"type": "tip"}, cx=1, cy=1),
        whole=whole,
        numbered=numbered,
    )
    reader = opened(path)
    assert [category.name for category in reader.table.categories] == ["car", "sign"]
    ((panoptic, losses),) = read_all(reader)
    assert [one.category_id for one in panoptic.segments] == [1, 2, 1, 2]
    assert [one.bbox for one in panoptic.segments[:2]] == [(10, 10, 10, 10), (30, 2, 4, 3)]
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert np.array_equal(panoptic.id_map == 3, np.hypot(x - 40.5, y - 20.5) <= 4.5)
    along = (x - 15) * np.cos(np.pi / 6) + (y - 32) * np.sin(np.pi / 6)
    over = (y - 32) * np.cos(np.pi / 6) - (x - 15) * np.sin(np.pi / 6)
    assert np.array_equal(panoptic.id_map == 4, (along / 8) ** 2 + (over / 3) ** 2 <= 1)
    assert +losses == {InformationLoss.WITHOUT_AREA: 2}


def test_the_only_json_of_a_folder_is_meant(tmp_path: Path) -> None:
    write_project(tmp_path, region("polygon", **POLYGON))
    assert len(opened(tmp_path).pictures) == 1
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(UsageError, match=r"has several files \*\.json: b\.json, via\.json; VIA's JSON is expected"):
        opened(tmp_path)


def test_regions_without_attributes_are_of_one_class(tmp_path: Path) -> None:
    reader = opened(write_project(tmp_path, region("polygon", {}, **POLYGON)))
    assert [category.name for category in reader.table.categories] == ["object"]
    assert len(read_all(reader)[0][0].segments) == 1


def test_of_several_attributes_the_class_is_asked_for(tmp_path: Path) -> None:
    path = write_project(tmp_path, region("polygon", {"kind": {"bus": True, "car": False}, "state": "new"}, **POLYGON))
    with pytest.raises(UsageError, match=r"several attributes: kind, state\. Name the one .* --class-attribute"):
        opened(path)
    assert [category.name for category in opened(path, "kind").table.categories] == ["bus"]
    with pytest.raises(UsageError, match=r"no region has the attribute 'knid', but kind, state\. Did you mean 'kind'"):
        opened(path, "knid")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (region("polygon", all_points_x=[1, 2], all_points_y=[1]), "region 0 of a.jpg has 2 x and 1 y"),
        (region("polygon", all_points_x=[1, 2], all_points_y=[1, 2]), "polygon that is not three"),
        (region("polygon", all_points_x=[1, 2, None], all_points_y=[1, 2, 3]), "has None where a number"),
        (region("rect", x=1, y=1, width=1), "lacks 'height'"),
        (region("star"), "has the shape 'star', which is none of VIA's"),
    ],
)
def test_a_region_that_is_wrong_is_named(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_all(opened(write_project(tmp_path, wrong)))


def test_what_is_wrong_with_the_set_is_collected(tmp_path: Path) -> None:
    path = write_project(tmp_path, region("polygon", **POLYGON), region("polygon", {"type": ""}, **POLYGON))
    content = json.loads(path.read_text())
    content["_via_img_metadata"] |= {
        "b": {"filename": "gone.jpg", "regions": []},
        "c": {"filename": "a.jpg", "regions": []},
        "d": {"filename": "a.jpg"},
    }
    path.write_text(json.dumps(content))
    problems = "\n".join(open_via(path, None, None, None).problems)
    for words in ("'b' names the picture 'gone.jpg'", "two pictures are 'a.jpg'", "'d' lacks 'regions'"):
        assert words in problems
    path.write_text("{}")
    with pytest.raises(DataError, match="lists no picture of VIA 2"):
        opened(path)


def test_a_region_without_its_class_is_named(tmp_path: Path) -> None:
    path = write_project(tmp_path, region("polygon", **POLYGON), region("polygon", {"type": ""}, **POLYGON))
    with pytest.raises(DataError, match=r"region 1 of a\.jpg has no single value of 'type'"):
        read_all(opened(path))

"""CVAT's XML, written here as CVAT writes it: what is read of it against plain masks, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from conversion import raw
from conversion.drawn import read_all

from yoso_cli.conversion.convert import InformationLoss
from yoso_cli.conversion.cvat import CvatReader, open_cvat
from yoso_cli.conversion.split_choice import ANY_SPLIT, SplitChoice
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import Category

HEIGHT, WIDTH = 20, 30
LABELS = """<label><name>car</name><color>#ff8000</color><type>any</type><attributes></attributes></label>
<label><name>person</name><color>#0000ff</color><type>polygon</type></label>
<label><name>lane</name><color>#00ff00</color><type>polyline</type></label>
<label><name>head</name><type>points</type><parent>skeleton</parent></label>"""
CAR = (
    '<polygon label="car" source="manual" occluded="0" points="2.00,2.00;10.00,2.00;10.00,8.00;2.00,8.00" {}></polygon>'
)


def picture(name: str, *shapes: str, more: str = "") -> str:
    whole = "\n".join(shapes)
    return f'<image id="0" name="{name}" {more} width="{WIDTH}" height="{HEIGHT}">{whole}</image>'


def write_xml(folder: Path, *pictures: str, names: tuple[str, ...] = ("a.png",), labels: str = LABELS) -> Path:
    for name in names:
        raw.write_photo(folder / "images" / name, HEIGHT, WIDTH)
    path = folder / "annotations.xml"
    meta = f"<meta><task><id>1</id><name>x</name><labels>{labels}</labels></task><dumped>2024</dumped></meta>"
    whole = "".join(pictures)
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}{whole}</annotations>'
    )
    return path


def opened(source: Path, split: SplitChoice = ANY_SPLIT) -> CvatReader:
    found = open_cvat(source, split, None, None)
    assert not found.problems
    return found


def test_polygons_masks_ellipses_groups_and_what_lies_above(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 1], [1, 0, 1]], bool)
    write_xml(
        tmp_path,
        picture(
            "a.png",
            CAR.format('z_order="1" group_id="3"').replace("</polygon>", '<attribute name="x">1</attribute></polygon>'),
            '<mask label="person" source="manual" occluded="0" rle="1, 3, 1, 1" left="20" top="4" width="3" height="2" '
            'z_order="0"></mask>',
            '<ellipse label="person" occluded="0" cx="5.00" cy="5.00" rx="2.00" ry="1.50" z_order="0"></ellipse>',
            '<polygon label="car" occluded="0" points="12,12;14,12;14,14;12,14" z_order="1" group_id="3"></polygon>',
            '<box label="car" occluded="0" xtl="1" ytl="1" xbr="3" ybr="3" z_order="0"></box>',
            '<polyline label="lane" occluded="0" points="1,1;2,2" z_order="0"></polyline>',
            '<tag label="car" source="manual"></tag>',
        ),
    )
    reader = opened(tmp_path)
    assert reader.table.categories == (
        Category(1, "car", True, (255, 128, 0)),
        Category(2, "person", True, (0, 0, 255)),
    )
    ((panoptic, losses),) = read_all(reader)
    assert [(one.category_id, one.area) for one in panoptic.segments] == [(1, 52), (2, 4)], "the ellipse is hidden"
    assert np.array_equal(panoptic.id_map[4:6, 20:23] == 2, mask)
    assert losses[InformationLoss.BOXES] == losses[InformationLoss.WITHOUT_AREA] == losses[InformationLoss.HIDDEN] == 1


def test_a_project_has_its_labels_elsewhere_and_subsets(tmp_path: Path) -> None:
    pictures = [
        picture(f"{name}.png", CAR.format(""), more=f'subset="{subset}"')
        for name, subset in (("a", "Train"), ("b", "Val"))
    ]
    path = write_xml(tmp_path, *pictures, names=("Train/a.png", "Val/b.png"))
    path.write_text(path.read_text().replace("<task>", "<project>").replace("</task>", "</project>"))
    with pytest.raises(UsageError, match="has several splits: Train, Val"):
        opened(tmp_path)
    reader = opened(path, SplitChoice(likely="val"))
    assert [one.image_file for one in reader.pictures] == ["Val/b.png"]


def test_a_picture_without_shapes_is_told(tmp_path: Path) -> None:
    write_xml(tmp_path, picture("a.png"), picture("b.png", CAR.format("")), names=("a.png", "b.png", "c.png"))
    reader = opened(tmp_path)
    assert [len(panoptic.segments) for panoptic, _ in read_all(reader)] == [0, 1]
    assert any("1 picture without a shape: all of them void" in remark for remark in reader.remarks)
    assert any("1 photo without labels left out: c.png" in remark for remark in reader.remarks)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ('<polygon label="car" points="1,1;2"></polygon>', r"shape 1 \(a polygon\) of a.png has a polygon that is not"),
        ('<polygon label="car" points="1,1;x,2"></polygon>', "which are not `x,y;x,y;...`"),
        ('<polygon label="car" points="1,1;nan,2;3,3"></polygon>', "has nan where a number is expected"),
        ('<polygon label="car" points="1,1;1e300,2;3,3"></polygon>', "far outside the picture"),
        ('<polygon points="1,1;2,2;3,3"></polygon>', r"shape 1 \(a polygon\) of a.png has no label"),
        ('<polygon label="car" z_order="x" points="1,1;2,2;3,3"></polygon>', "has 'z_order' 'x' where a number"),
        ('<polygon label="bus" points="1,1;2,2;3,3"></polygon>', "labels that the classes do not list: 'bus'"),
        (
            '<mask label="car" rle="1,2" left="0" top="0" width="2" height="2"/>',
            "run lengths of 3 pixels where its mask",
        ),
        ('<mask label="car" rle="1,-2,5" left="0" top="0" width="2" height="2"/>', "has run lengths"),
        ('<mask label="car" rle="0,4" left="29" top="0" width="2" height="2"/>', "leaves the picture of 30x20"),
        ('<mask label="car" rle="0,4" left="0.5" top="0" width="2" height="2"/>', "where a whole number is expected"),
        ('<mask label="car" rle="0,4" left="0" top="0" width="99999999999" height="1"/>', "has run lengths"),
        ('<mask label="car" rle="a" left="0" top="0" width="2" height="2"/>', "'rle' that is not whole numbers"),
        ('<ellipse label="car" cx="1" cy="1" rx="1"/>', "lacks 'ry'"),
    ],
)
def test_a_shape_that_is_wrong_is_named(tmp_path: Path, shape: str, words: str) -> None:
    write_xml(tmp_path, picture("a.png", shape))
    with pytest.raises(DataError, match=words):
        read_all(opened(tmp_path))


BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotations>&c;</annotations>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotations>&b;</annotations>'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "has a document type"),
        (OUTSIDE, "has a document type"),
        ("<annotations><image>", "is not valid XML"),
        ("", "is not valid XML"),
        ("<annotations><track id='0'></track></annotations>", "is CVAT for video: export `CVAT for images 1.1`"),
        ("<annotation></annotation>", "is an XML of 'annotation', not CVAT's"),
        ("<annotations>" * 30 + "</annotations>" * 30, "is nested too deeply"),
        (
            "<annotations><meta><labels><label><name> </name></label></labels></meta></annotations>",
            "its list of labels",
        ),
    ],
)
def test_an_xml_that_is_wrong_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(DataError, match=words):
        open_cvat(tmp_path, ANY_SPLIT, None, None)


def test_pictures_that_are_not_there_are_problems(tmp_path: Path) -> None:
    write_xml(tmp_path, picture("../../etc/passwd.png", CAR.format("")), picture("a.png"), picture("x/a.png"))
    problems = open_cvat(tmp_path, ANY_SPLIT, None, None).problems
    assert "names the picture '../../etc/passwd.png', which is not in" in problems[0]
    assert "two pictures are 'a.png'" in problems[1]

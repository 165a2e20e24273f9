"""Maps of colours against their arrays, and tables of colours in the forms that tools write."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conversion import raw
from conversion.drawn import read_all
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.color_table import read_color_table
from yoso_cli.conversion.maps import MapFiles
from yoso_cli.conversion.rgb_maps import color_classes, open_rgb
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import Category

TABLE = CategoryTable.of(
    [
        Category(3, "road", False, (128, 64, 128)),
        Category(7, "car", True, (0, 0, 142)),
        Category(9, "sky", False, (1, 0, 0)),
    ]
)
R, C, S, V = (128, 64, 128), (0, 0, 142), (1, 0, 0), (0, 0, 0)
SEMANTIC = np.array([[R, R, C, C, V], [S, S, C, C, C]], np.uint8)
INSTANCES = np.array([[V, V, (9, 0, 0), (9, 0, 0), V], [V, V, (0, 0, 200), V, (0, 0, 200)]], np.uint8)


def write_rgb(folder: Path, semantic: npt.NDArray[np.uint8] = SEMANTIC, name: str = "a.png") -> Path:
    raw.write_photo(folder / "images/a.jpg", *semantic.shape[:2])
    for kind, pixels in (("semantic", semantic), ("instances", INSTANCES)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / kind / (name if kind == "semantic" else "a.png"))
    return folder


def test_classes_and_instances_by_their_colours(tmp_path: Path) -> None:
    reader = open_rgb(write_rgb(tmp_path), None, None, None, TABLE)
    ((panoptic, _),) = read_all(reader)
    found = {
        (one.category_id, one.iscrowd): (panoptic.id_map == one.id).astype(int).tolist() for one in panoptic.segments
    }
    assert len(panoptic.segments) == 5
    assert found[3, False] == [[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert found[7, True] == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 0]], "a thing without an instance"
    assert sorted(one.area for one in panoptic.segments if one.category_id == 7) == [1, 2, 2]
    assert panoptic.id_map[0, 4] == 0, "black is void, as 0 is among the values of void"


@settings(max_examples=50)
@given(
    arrays.arrays(np.uint8, (5, 6), elements=st.integers(0, 3)),
    st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=4, max_size=4, unique=True),
)
def test_any_colours_are_any_classes(values: npt.NDArray[np.uint8], colors: list[tuple[int, int, int]]) -> None:
    pixels = np.array(colors, np.uint8)[values]
    found = color_classes(pixels, {color: place for place, color in enumerate(colors)}, Path("a.png"))
    assert np.array_equal(found, values)


def test_a_palette_of_colours_and_opaque_alpha_are_read(tmp_path: Path) -> None:
    wanted = read_all(open_rgb(write_rgb(tmp_path), None, None, None, TABLE))[0][0].id_map
    for mode in ("P", "RGBA"):
        image = Image.fromarray(SEMANTIC)
        saved = image.quantize(5) if mode == "P" else image.convert(mode)
        assert saved.mode == mode
        saved.save(tmp_path / "semantic/a.png")
        assert np.array_equal(read_all(open_rgb(tmp_path, None, None, None, TABLE))[0][0].id_map, wanted)


def test_unknown_colours_are_counted_and_the_most_frequent_named(tmp_path: Path) -> None:
    smoothed = SEMANTIC.copy()
    smoothed[0, :2] = (127, 64, 127)
    smoothed[1, 0] = (64, 64, 64)
    write_rgb(tmp_path, smoothed)
    with pytest.raises(
        DataError, match=r"has 2 colours that no class has: \(127, 64, 127\) \(2 pixels\), \(64, 64, 64\) \(1"
    ):
        read_all(open_rgb(tmp_path, None, None, None, TABLE))


def test_what_changes_colours_or_says_too_little_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the colours of the classes are missing"):
        open_rgb(write_rgb(tmp_path), None, None, None, None)
    grey = CategoryTable.of([Category(1, "a", False), Category(2, "b", False)])
    with pytest.raises(DataError, match="'a' and 'b' have the same colour"):
        open_rgb(tmp_path, None, None, None, grey)
    transparent = np.dstack([SEMANTIC, np.full(SEMANTIC.shape[:2], 200, np.uint8)])
    Image.fromarray(transparent).save(tmp_path / "semantic/a.png")
    with pytest.raises(DataError, match="is transparent somewhere"):
        read_all(open_rgb(tmp_path, None, None, None, TABLE))
    Image.fromarray(SEMANTIC).save(tmp_path / "semantic/a.png", "JPEG")
    with pytest.raises(DataError, match="is not a PNG"):
        read_all(open_rgb(tmp_path, None, None, None, TABLE))


FORMS = [
    ("labelmap.txt", "# label:color_rgb:parts:actions\ntraffic light:250,170,30::\nbg:0,0,0:a,b:c\n"),
    ("class_dict.csv", "name,r,g,b\ntraffic light,250,170,30\nbg,0,0,0\n"),
    ("a.csv", 'r,g,b,name\n250,170,30,"traffic light"\n0,0,0,bg\n'),
    ("label_colors.txt", "250 170 30\t\ttraffic light\n0 0 0\tbg\n"),
    ("b.txt", "0 traffic light 250 170 30\n1 bg 0 0 0\n\n"),
    ("c.csv", "traffic light, 250, 170, 30, 255\nbg, 0, 0, 0, 255\n"),
]


@pytest.mark.parametrize(("name", "text"), FORMS)
def test_tables_of_colours(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    table = read_color_table(tmp_path / name)
    assert [(one.id, one.name, one.color, one.isthing) for one in table.categories] == [
        (1, "traffic light", (250, 170, 30), False),
        (2, "bg", (0, 0, 0), False),
    ]


def test_a_grey_called_void_is_void(tmp_path: Path) -> None:
    path = tmp_path / "camvid.txt"
    path.write_text("10 20 30 road\n7 7 7 Void\n0 0 1 unlabeled\n")
    table = read_color_table(path, things=True)
    assert [one.name for one in table.categories] == ["road", "unlabeled"]
    assert table.void == {0, 255, 7}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a 1 2 3\nb 1 2\n", ":2: is no name with the three numbers"),
        ("a 1 2 3\nb 1 2 300\n", ":2: is no name with"),
        ("a 1 2 3\na 1 2 4\n", ":2: repeats the name or the colour"),
        ("a 1 2 3\nb 1 2 3\n", ":2: repeats the name or the colour"),
        ("a 1 2 3\n4 5 6\n", ":2: is no name with"),
        ("", "has no colour"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_the_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "colors.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_color_table(path)


def test_a_table_beside_the_maps_is_found(tmp_path: Path) -> None:
    write_rgb(tmp_path)
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nroad,128,64,128\ncar,0,0,142\nbackground,1,0,0\n")
    reader = open_rgb(tmp_path, None, None, None, None)
    assert [(one.name, one.isthing) for one in reader.table.categories] == [
        ("road", True),
        ("car", True),
        ("background", False),
    ]
    assert len(read_all(reader)) == 1


def test_names_that_end_in_something_are_asked_about_and_then_read(tmp_path: Path) -> None:
    """As CamVid's: a.png and a_L.png."""
    write_rgb(tmp_path, name="a_L.png")
    Path(tmp_path / "instances/a.png").rename(tmp_path / "instances/a_L.png")
    with pytest.raises(UsageError, match=r"Add --suffix _L\."):
        open_rgb(tmp_path, None, None, None, TABLE)
    how = MapFiles(semantic_ending="_L", instance_ending="_L")
    reader = open_rgb(tmp_path, None, None, None, TABLE, how)
    assert not reader.problems
    assert len(read_all(reader)[0][0].segments) == 5

"""A YAML of categories: read as written, and every mistake told with its line."""

from pathlib import Path

import pytest
from conversion import raw
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.conversion.category_file import CategoryTable, read_table, require_distinct_names, write_table
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import Category

GOOD = """
categories:
  - {id: 7, name: road, isthing: false}
  - id: 3
    name: car
    isthing: true
    color: [0, 0, 142]
void: [0, 254]
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("mine.yaml")


def test_a_table_is_read_in_its_order(mine: Path) -> None:
    mine.write_text(GOOD)
    table = read_table("mine.yaml")
    assert table.categories == (Category(7, "road", False), Category(3, "car", True, (0, 0, 142)))
    assert table.void == {0, 254}


def test_without_a_word_0_and_255_are_void_unless_they_are_classes(mine: Path) -> None:
    mine.write_text("categories:\n  - {id: 0, name: road, isthing: false}\n")
    assert read_table("mine.yaml").void == {255}


names = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12)


@given(st.dictionaries(names, st.tuples(st.booleans(), st.tuples(*[st.integers(0, 255)] * 3)), min_size=1, max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, classes: dict) -> None:
    table = CategoryTable.of(
        Category(10 * place, name, isthing, color) for place, (name, (isthing, color)) in enumerate(classes.items())
    )
    path = tmp_path_factory.mktemp("table") / "mine.yaml"
    path.write_text(write_table(table), encoding="utf-8")
    assert read_table(str(path)) == table


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "mine.yaml: is empty; its `categories:` are lines like"),
        ("void: [0]", "mine.yaml: lacks a list of `categories:`"),
        ("categories: 5", "mine.yaml: lacks a list of `categories:`"),
        ("categories:\n  - car", "number 1 is no `{id: ..., name: ..., isthing: ...}`"),
        ("categories:\n  - {id: 1, name: car}", "mine.yaml:2: lacks 'isthing'"),
        ("categories:\n  - {id: 1, name: car, isthing: maybe}", "mine.yaml:2: isthing: 'maybe' where true or false"),
        ("categories:\n  - {id: -1, name: car, isthing: true}", "mine.yaml:2: id: -1 where a whole number"),
        ("categories:\n  - {id: 2147483648, name: car, isthing: true}", "mine.yaml:2: id: 2147483648 where a whole"),
        ("categories:\n  - {id: 1, name: 5, isthing: true}", "mine.yaml:2: name: 5 where a name is expected"),
        ("categories:\n  - {id: 1, name: a, isthing: true, color: [1, 2]}", "mine.yaml:2: color: [1, 2] where"),
        ("categories:\n  - {id: 1, name: a, isthing: true, colour: red}", "mine.yaml:2: unknown key 'colour'"),
        ("categories:\n  - {id: 1, id: 2, name: a, isthing: true}", "mine.yaml:2: id: is on line 2 already"),
        (
            "categories:\n  - {id: 1, name: a, isthing: true}\n  - {id: 1, name: b, isthing: true}",
            "mine.yaml:3: id 1 or name 'b' stands there already",
        ),
        (
            "categories:\n  - {id: 1, name: a, isthing: true}\n  - {id: 2, name: a, isthing: true}",
            "mine.yaml:3: id 2 or name 'a' stands there already",
        ),
        ("categories:\n  - {id: 1, name: a, isthing: true}\nvoid: [1]", "mine.yaml:3: void: 1 is no free value"),
        ("categories:\n  - {id: 1, name: a, isthing: true}\nclasses: 1", "mine.yaml:3: classes: unknown key"),
        ("categories: &x\n  - *x", "aliases"),
    ],
)
def test_a_mistake_is_told_with_its_line(mine: Path, text: str, words: str) -> None:
    mine.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_table("mine.yaml")
    assert words in str(caught.value)


def test_all_mistakes_are_told_at_once(mine: Path) -> None:
    mine.write_text("categories:\n  - {id: x, name: a, isthing: true}\n  - {id: 2, name: b}\n")
    with pytest.raises(UsageError, match=r"mine\.yaml:2: .*mine\.yaml:3: "):
        read_table("mine.yaml")


def test_a_published_dataset_can_be_named() -> None:
    assert len(read_table("coco").categories) == 133
    assert 5 in read_table("cityscapes").void, "labels that are not evaluated are void"


def test_a_name_that_is_neither_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"cocoa: is not a published dataset\. .*ade20k, .*cityscapes, coco"):
        read_table("cocoa")


def test_void_has_a_value_beside_the_classes() -> None:
    full = [Category(number, str(number), False) for number in range(1 << 16)]
    assert raw.TABLE.void_value() == 0
    assert CategoryTable.of(full[:256]).void_value() == 256
    with pytest.raises(DataError, match="none is left for void"):
        CategoryTable.of(full).void_value()


def test_classes_of_one_name_are_refused_where_a_yaml_is_written() -> None:
    table = CategoryTable.of([Category(3, "other", True), Category(9, "other", False)])
    with pytest.raises(DataError, match=r"2 classes are called 'other' \(3, 9\)"):
        require_distinct_names(table)


def test_the_lowest_void_value_becomes_the_background() -> None:
    table, category = CategoryTable.of([Category(3, "car", True)]).with_background("ground")
    assert (category.id, category.name, category.isthing) == (4, "ground", False)
    assert (table.void, table.unlabelled) == ({255}, {0: 4})
    again, same = table.with_background("ground")
    assert (same, again.categories) == (category, table.categories)


@pytest.mark.parametrize("name", ["car", " "])
def test_a_background_is_no_thing_and_has_a_name(name: str) -> None:
    with pytest.raises(UsageError, match="--background"):
        CategoryTable.of([Category(3, "car", True)]).with_background(name)


@pytest.mark.parametrize("line", ["{id: '3', name: car, isthing: true}", "{id: 3.0, name: car, isthing: '1'}"])
def test_what_says_a_value_exactly_is_taken_for_it_and_told(mine: Path, line: str) -> None:
    mine.write_text(f"categories:\n  - {line}\nvoid: ['0']\n")
    table = read_table("mine.yaml")
    assert (table.categories, table.void) == ((Category(3, "car", True),), {0})
    assert table.remarks[0].startswith("mine.yaml: ")
    assert "of another type than expected; read 'id' " in table.remarks[0]


def test_a_json_lists_classes_too(mine: Path) -> None:
    path = mine.with_suffix(".json")
    path.write_text('{"categories": [{"id": "3", "name": "car", "isthing": 1, "color": [0, 0, 142]}], "images": []}')
    table = read_table(str(path))
    assert (table.categories, len(table.remarks)) == ((Category(3, "car", True, (0, 0, 142)),), 1)
    for content in ("{}", '{"categories": [{"id": 3}]}', "["):
        path.write_text(content)
        with pytest.raises(UsageError, match=r"mine\.json: lists no classes: "):
            read_table(str(path))

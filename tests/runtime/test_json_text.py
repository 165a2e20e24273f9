"""The reader of JSON refuses what nothing behind it could bear, says so in a sentence, and changes nothing else."""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.errors import DataError
from yoso_cli.runtime import json_text
from yoso_cli.runtime.json_text import parse_json, read_json

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64) + 1, 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), PLAIN), st.booleans())
def test_what_is_within_the_limits_is_read_as_json_reads_it(content: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(content, ensure_ascii=ascii_only)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        found = parse_json(text.encode(encoding), "x")
        assert found == content
        assert json.dumps(found) == json.dumps(content)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("9" * 4400, "integer of thousands of digits"),
        (str(2**64), "integer of more than 64 bits"),
        (str(-(2**64)), "integer of more than 64 bits"),
        ("1e999", "too large"),
        ("-1E+400", "too large"),
        ("9" * 400 + ".0", "too large"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        (r'"\ud800"', "surrogate"),
        (r'"\uDBFF!"', "surrogate"),
        (r'{"\udfff": 1}', "surrogate"),
        ("[" * 70 + "]" * 70, "nested too deeply"),
        ('{"a": [' * 40 + "]}" * 40, "nested too deeply"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_is_beyond_the_limits_is_refused(value: str, words: str, encoding: str) -> None:
    with pytest.raises(DataError, match=words) as refused:
        parse_json(f'{{"a": [1, {{"b": {value}}}]}}'.encode(encoding), "file.json")
    assert refused.value.message.startswith("file.json: ")


def test_a_name_of_bytes_that_are_no_text_is_read() -> None:
    """Such files exist, and predictions of them are resumed by their names."""
    assert parse_json(json.dumps({"name": "a\udcff"}).encode(), "x") == {"name": "a\udcff"}


def test_brackets_in_names_are_no_nesting() -> None:
    content = {"name": "[" * 500, "inner": [{"name": "{" * 500}]}
    assert parse_json(json.dumps(content).encode(), "x") == content


def test_the_largest_numbers_are_read() -> None:
    assert parse_json(b'{"a": 18446744073709551615, "b": 1.7976931348623157e308}', "x") == {
        "a": 2**64 - 1,
        "b": math.nextafter(math.inf, 0),
    }


@pytest.mark.parametrize("name", ["a\0b.json", "\ud800.json", "nothing.json", "."])
def test_a_file_that_cannot_be_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"no such file|no file can|cannot be read"):
        read_json(tmp_path / name)


def replaced(item: Any) -> Any:
    return ["seen", item]


def told(read: Any) -> Any:
    """What is read, or what is raised."""
    try:
        return read()
    except DataError as error:
        return str(error)


def in_pieces(text: bytes, size: int) -> Any:
    """What a file of `text` is as read `size` bytes at a time, where the items of the list `items` are replaced."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "_PIECE", size)
        patch.chdir(folder)
        Path("x").write_bytes(text)
        return told(lambda: read_json(Path("x"), {"items": replaced}))


def as_a_whole(text: bytes) -> Any:
    found = told(lambda: parse_json(text, "x"))
    if isinstance(found, dict) and isinstance(found.get("items"), list):
        found["items"] = [replaced(one) for one in found["items"]]
    return found


@given(
    st.dictionaries(st.text(), PLAIN, max_size=3),
    st.none() | st.lists(PLAIN, max_size=6),
    st.booleans(),
    st.none() | st.integers(0, 9),
    st.integers(1, 30),
)
def test_a_file_read_in_pieces_is_the_same(
    content: dict[str, Any], items: list[Any] | None, ascii_only: bool, indent: int | None, size: int
) -> None:
    whole = content if items is None else {**content, "items": items, "after": 1.5e300}
    text = json.dumps(whole, ensure_ascii=ascii_only, indent=indent).encode()
    assert in_pieces(text, size) == as_a_whole(text)


@given(st.lists(PLAIN, max_size=4), st.data(), st.integers(1, 30))
def test_a_mistake_in_a_file_read_in_pieces_is_told_as_of_the_whole(
    items: list[Any], data: st.DataObject, size: int
) -> None:
    text = json.dumps({"a": 1, "items": items, "b": {}}, ensure_ascii=False).encode()
    place = data.draw(st.integers(0, len(text)))
    other = data.draw(st.sampled_from([b"", b"]", b"}", b",", b'"', b"\xff", b"NaN", b"1", b"{", b'"a":', b" ", b"-"]))
    cut = data.draw(st.integers(0, 2))
    mistaken = text[:place] + other + text[place + cut :]
    assert in_pieces(mistaken, size) == as_a_whole(mistaken)


@pytest.mark.parametrize("size", [5, 100, 1 << 20])
@pytest.mark.parametrize(
    "value",
    [
        *("9" * 4400, str(2**64), "1e999", "9" * 400 + ".0", "NaN", r'"\ud800"', "[" * 70 + "]" * 70),
        *('{"a": [' * 40 + "]}" * 40, "[" * 100_000 + "]" * 100_000, '"]" , [' * 80 + "1" + "]" * 80),
    ],
)
def test_the_limits_hold_in_pieces(value: str, size: int) -> None:
    for text in (f'{{"items": [1, {{"b": [{value}]}}, 2]}}', f'{{"b": [{value}], "items": []}}'):
        assert isinstance(in_pieces(text.encode(), size), str)
        assert in_pieces(text.encode(), size) == as_a_whole(text.encode())


@pytest.mark.parametrize("kind", ["[]", '{"a":'])
def test_a_piece_is_as_deep_as_it_is_in_the_whole(kind: str) -> None:
    opened, closed = (kind[0], kind[1]) if kind == "[]" else ('{"a": ', "}")
    for depth in range(55, 70):
        value = opened * depth + "1" + closed * depth
        mixed = '[{"a": ' * (depth // 2) + "1" + "}]" * (depth // 2)
        for inner in (value, mixed):
            for text in (f'{{"items": [{inner}]}}', f'{{"b": {inner}}}'):
                assert in_pieces(text.encode(), 1 << 20) == as_a_whole(text.encode())


def test_items_go_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a piece is read before the first item is replaced."""
    monkeypatch.setattr(json_text, "_PIECE", 1000)
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"items": list(range(10_000)), "b": 1}))
    reached = []

    def replace(item: int) -> int:
        if item in (0, 9_999):
            reached.append(sum(len(one._text) for one in pieces))
        return -item

    pieces: list[Any] = []
    kind = json_text._Pieces
    monkeypatch.setattr(json_text, "_Pieces", lambda file: pieces.append(kind(file)) or pieces[-1])
    assert read_json(path, {"items": replace}) == {"items": [-one for one in range(10_000)], "b": 1}
    assert max(reached) < 3000

"""The reader of JSON refuses what nothing behind it could bear, says so in a sentence, and changes nothing else."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.errors import DataError
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

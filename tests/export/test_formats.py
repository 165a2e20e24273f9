"""The table of formats: what each can do, and the refusal of the rest before anything heavy is imported."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.errors import UsageError
from yoso_cli.export import formats
from yoso_cli.export.formats import FORMATS, MERGES, PRECISIONS, STRIDE, Format, read_size, requested

EVERYTHING = list(itertools.product(FORMATS.values(), PRECISIONS, MERGES, ("dynamic", "64,96"), (False, True)))


@pytest.fixture(autouse=True)
def _all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: object())


@pytest.mark.parametrize(("kind", "precision", "merge", "size", "compiled"), EVERYTHING)
def test_what_a_format_has_is_taken_and_the_rest_is_refused_with_its_reason(
    kind: Format, precision: str, merge: str, size: str, compiled: bool
) -> None:
    has = precision in kind.precisions and merge in kind.merges
    possible = has and (not compiled or (kind.compiles and merge == "none"))
    how = {"size": size, "merge": merge, "precision": precision, "compiled": compiled}
    if possible:
        found = requested(kind.name, **how)  # type: ignore[arg-type]
        assert (found.format, found.precision, found.merge, found.compiled) == (kind, precision, merge, compiled)
        assert found.size == (None if size == "dynamic" else (64, 96))
        return
    with pytest.raises(UsageError) as refused:
        requested(kind.name, **how)  # type: ignore[arg-type]
    assert refused.value.hint


@pytest.mark.parametrize("kind", FORMATS.values())
def test_every_value_is_either_had_or_lacks_with_a_sentence(kind: Format) -> None:
    for known, had in ((PRECISIONS, kind.precisions), (MERGES, kind.merges)):
        assert set(had) <= set(known)
        assert {one for one in known if one in kind.lacks} == set(known) - set(had)
    assert all(sentence.endswith((".", "`.")) for sentence in kind.lacks.values())


def test_refusals_import_nothing_heavy() -> None:
    code = """
import itertools, sys
from yoso_cli.errors import UsageError
from yoso_cli.export.formats import FORMATS, MERGES, PRECISIONS, requested
for name, precision, merge in itertools.product(FORMATS, PRECISIONS, MERGES):
    try:
        requested(name, precision=precision, merge=merge, size="100,100")
    except UsageError:
        pass
print({"torch", "numpy", "onnx", "onnxruntime", "openvino", "nncf"} & set(sys.modules))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(("kind", "missing"), [(kind, one) for kind in FORMATS.values() for one in kind.writes])
def test_a_missing_package_is_answered_with_the_line_that_brings_it(
    kind: Format, missing: formats.Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == missing.module else object())
    with pytest.raises(UsageError, match=missing.name) as refused:
        requested(kind.name)
    assert f"pip install 'yoso-cli[{kind.extra}]'" in refused.value.hint


def test_int8_needs_nncf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "nncf" else object())
    assert requested("openvino").precision == "float32"
    with pytest.raises(UsageError, match="NNCF"):
        requested("openvino", precision="int8")


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_a_size_is_taken_or_answered_with_one_that_is(height: int, width: int) -> None:
    text = f"{height},{width}"
    if height % STRIDE == 0 and width % STRIDE == 0:
        assert read_size(text) == (height, width)
        return
    with pytest.raises(UsageError) as refused:
        read_size(text)
    near = read_size(refused.value.hint.removeprefix("Try --size ").removesuffix("."))
    assert near is not None
    assert all(
        abs(found - typed) <= max(STRIDE // 2, STRIDE - typed)
        for found, typed in zip(near, (height, width), strict=True)
    )


@pytest.mark.parametrize("text", ["", "512", "512,", "-32,64", "512,800,3", "a,b", "32.0,64", "999999,999968", "0,0"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_size(text)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="onyx") as refused:
        requested("onyx")
    assert "onnx" in refused.value.hint

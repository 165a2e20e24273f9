"""A model that Python calls sees what the command line sees, whatever the picture comes as."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import build
import numpy as np
import pytest
import torch
from PIL import Image
from releases.server import Behaviour, serving

import yoso_cli as yoso
from yoso_cli.api.predict import Model, read_picture
from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.panoptic.photos import read_image


@pytest.fixture
def model(line: Path) -> Model:
    return yoso.load("runs/tiny-001", device="cpu")


def test_a_picture_may_come_as_anything(model: Model) -> None:
    path = build.picture()
    wanted = model(path)
    pixels = read_image(path)
    assert wanted.source == str(path)
    assert np.array_equal(wanted.image, pixels)
    with serving(Behaviour(path.read_bytes())) as address:
        for given in (str(path), pixels, Image.open(path), f"{address}a.jpg"):
            found = model(given)
            assert np.array_equal(found.id_map, wanted.id_map)
            assert found.segments == wanted.segments


@pytest.mark.parametrize("batch", [1, 2])
def test_many_pictures_come_back_in_order_and_lazily(model: Model, batch: int) -> None:
    paths = [build.picture(0), build.picture(1), build.picture(2)] * 4
    wanted = [model(path).id_map for path in paths[:3]] * 4
    for given in (paths, iter(paths)):
        found = [one.id_map for one in model(given, batch=batch)]
        assert len(found) == len(paths)
        assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))

    drawn: list[Path] = []

    def endless() -> Iterator[Path]:
        while True:
            drawn.append(paths[0])
            yield paths[0]

    stream = model(endless(), batch=batch)
    assert isinstance(stream, Iterator)
    assert np.array_equal(next(stream).id_map, wanted[0])
    assert len(drawn) < 40, "read only a little ahead"


def test_an_empty_list_gives_nothing(model: Model) -> None:
    assert list(model([])) == []


def test_recipe_values_can_be_overridden(line: Path) -> None:
    model = yoso.load("runs/tiny-001", device="cpu", short_edge=32, score_threshold=1.0)
    assert (model.predictor.short_edge, model.predictor.long_edge) == (32, 96)
    assert model(build.picture()).segments == ()
    with pytest.raises(UsageError, match=r"yoso.load: score_threshold: must be at most 1, not 2.0."):
        yoso.load("runs/tiny-001", score_threshold=2.0)
    with pytest.raises(UsageError, match="precision is set twice"):
        yoso.load("runs/tiny-001", precision="bfloat16", options=yoso.EngineOptions())
    with pytest.raises(UsageError, match="no such run folder"):
        yoso.load("runs/gone")


def test_the_newest_run_is_taken_and_says_what_it_is(line: Path) -> None:
    model = yoso.load(device="cpu")
    assert model.path == build.newest_weights()
    assert repr(model).endswith("9 classes, on cpu>")
    assert "48 segments" not in repr(model(build.picture()))
    assert [one.name for one in model.categories][-1] == "brick"
    assert model.recipe.name == "tiny"


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("gone.jpg", DataError, "gone.jpg: no such file"),
        (np.zeros((4, 4), np.uint8), DataError, r"uint8 \(H, W, 3\); this array is uint8 \(4, 4\)"),
        (np.zeros((4, 4, 3)), DataError, "float64"),
        (np.zeros((0, 4, 3), np.uint8), DataError, r"this array is uint8 \(0, 4, 3\)"),
        (7, DataError, "is of type int"),
        ("ftp://host/a.jpg", UsageError, "is not a valid URL"),
        ("http://127.0.0.1:9/a.jpg", RunError, "cannot be read"),
    ],
)
def test_what_is_no_picture_is_named(given: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        read_picture(given)


@pytest.mark.parametrize("given", [None, 7, b"jpeg", torch.zeros(3, 4, 4)])
def test_what_holds_no_pictures_is_refused_at_the_call(model: Model, given: Any) -> None:
    with pytest.raises(DataError, match=f"this is of type {type(given).__name__}"):
        model(given)


def test_a_batch_has_a_picture(model: Model) -> None:
    with pytest.raises(UsageError, match="at least one picture"):
        model([], batch=0)


def test_an_unknown_precision_is_refused(line: Path) -> None:
    with pytest.raises(UsageError, match="'float8' is no precision"):
        yoso.load("runs/tiny-001", precision="float8")


def test_an_address_that_holds_no_picture_is_named_by_its_address() -> None:
    with serving(Behaviour(b"not a picture")) as address, pytest.raises(DataError) as caught:
        read_picture(f"{address}a.jpg")
    assert caught.value.message == f"{address}a.jpg: is not a picture in a supported format."


def test_transparent_and_grey_pictures_are_read_as_rgb() -> None:
    held = io.BytesIO()
    Image.new("LA", (3, 2), (90, 255)).save(held, "PNG")
    assert read_picture(Image.open(held)).shape == (2, 3, 3)

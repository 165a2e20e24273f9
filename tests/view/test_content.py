"""What the page gets of each picture: runs that are the label map, causes, and sentences for what is missing."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page import pages
from PIL import Image
from view import serving

from yoso_cli.evaluation.matching import match, overlap
from yoso_cli.page.gallery import error_kinds
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.view.content import EDGES, LARGE, Content, compact_json, encoded_runs


def decoded(side: dict) -> np.ndarray:
    """As the page does it."""
    pairs = np.frombuffer(base64.b64decode(side["runs"]), "<u2").reshape(-1, 2)
    return np.repeat(pairs[:, 0], pairs[:, 1]).reshape(side["size"])


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4), st.randoms())
def test_runs_are_the_map(height: int, width: int, kinds: int, random) -> None:
    values = np.array([[random.randrange(kinds) for _ in range(width)] for _ in range(height)])
    assert decoded({"runs": encoded_runs(values), "size": [height, width]}).tolist() == values.tolist()


def test_long_runs_are_several() -> None:
    values = np.full((300, 1000), 7)
    values[299, 999] = 65535
    assert (decoded({"runs": encoded_runs(values), "size": [300, 1000]}) == values).all()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    folder = tmp_path_factory.mktemp("content")
    truth = pages.truth_in(folder)
    return serving.content_of(truth, serving.predicted_set(folder / "predictions", truth))


def test_maps_and_kinds_are_those_of_the_files(content: Content) -> None:
    assert content.predict
    for place, record in enumerate(content.truth.records):
        maps = content.maps(place, LARGE)
        true, predicted = read_panoptic(content.truth, record), content.predict(record)
        for name, panoptic in (("truth", true), ("prediction", predicted)):
            ids = np.array([0, *(one.id for one in panoptic.segments)])
            assert (ids[decoded(maps[name])] == panoptic.id_map).all()
            assert [segment[1] for segment in maps[name]["segments"]] == [one.area for one in panoptic.segments]
            assert [segment[3] for segment in maps[name]["segments"]] == [one.score for one in panoptic.segments]
        kinds = np.array(maps["kinds"]).reshape(2, *maps["shape"])
        t, p = (decoded(maps[name]).astype(int) - 1 for name in ("truth", "prediction"))
        matching = match([overlap(true, predicted)], content.truth.categories)
        assert (kinds[:, t, p] == error_kinds(true.id_map, predicted.id_map, matching)).all()
        assert json.loads(compact_json(maps)) == maps


def test_a_smaller_edge_takes_every_so_many_pixels(content: Content) -> None:
    whole, small = (decoded(content.maps(1, edge)["truth"]) for edge in (LARGE, 20))
    assert small.shape == (12, 16)
    assert (small == whole[::4, ::4]).all()


def test_photos_are_reduced_and_a_missing_one_is_grey(content: Content) -> None:
    assert content.maps(0, EDGES[0])["photo"] == "The photo is missing."
    assert content.maps(1, EDGES[0])["photo"] == ""
    for place, expected in ((0, (64, 48)), (1, (64, 48))):
        with Image.open(io.BytesIO(content.photo(place, 320))) as picture:
            assert picture.size == expected
    with Image.open(io.BytesIO(content.photo(0, 32))) as picture:
        assert picture.size == (32, 24)
        assert len(set(np.asarray(picture.convert("L")).ravel().tolist())) == 1


def test_what_is_damaged_is_told(tmp_path: Path) -> None:
    truth = pages.truth_in(tmp_path)
    content = serving.content_of(truth)
    Image.new("RGB", (7, 5)).save(truth.image_path(truth.records[1]))
    assert content.maps(1, 320)["photo"] == "The photo is 7x5, its labels are 64x48."
    truth.image_path(truth.records[2]).write_bytes(b"no picture")
    assert content.maps(2, 320)["photo"] == "The photo cannot be read."
    assert content.photo(2, 320)
    truth.panoptic_path(truth.records[3]).write_bytes(b"no map")
    maps = content.maps(3, 320)
    assert "truth" not in maps
    assert "3.png" in maps["problem"]


def test_the_index_has_a_column_for_everything(content: Content) -> None:
    index = json.loads(compact_json(content.index()))
    columns = ("places", "files", "widths", "heights", "segments", "classes", "lost", "lowest")
    assert {len(index[name]) for name in columns} == {len(content)}
    assert index["views"] == ["photo", "truth", "prediction", "errors"]
    assert [one["name"] for one in index["categories"]][1] == pages.HOSTILE
    part = content.index([3, 1])
    assert part["places"] == [3, 1]
    for name in columns[1:]:
        assert part[name] == [content.index()[name][place] for place in (3, 1)]


def test_a_dataset_alone_has_no_errors(tmp_path: Path) -> None:
    truth: PanopticSet = pages.truth_in(tmp_path)
    index = serving.content_of(truth).index()
    assert index["views"] == ["photo", "truth"]
    assert (index["kinds"], index["lost"], index["lowest"]) == ([], None, None)
    assert "prediction" not in serving.content_of(truth).maps(1, 320)

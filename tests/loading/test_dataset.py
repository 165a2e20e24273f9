"""Prepared pictures as samples: what is a target, and what is said of a file that cannot be used."""

from pathlib import Path

import build
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from yoso_cli.errors import DataError
from yoso_cli.loading.augmentation import Augmentation, AugmentedPicture, ScaleJitter
from yoso_cli.loading.dataset import PanopticDataset
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.types import Category, Panoptic, PanopticSet, Segment, measured

# Neither ascending nor dense: a train id is the place in this list.
CATEGORIES = (Category(200, "ground", False), Category(3, "disc", True), Category(7, "square", True))


def window(rows: slice = slice(None), columns: slice = slice(None)) -> Augmentation:
    """A step that shows some rows and columns of the picture."""

    def step(view: AugmentedPicture, _: np.random.Generator) -> AugmentedPicture:
        ids = view.panoptic.id_map[rows, columns]
        return AugmentedPicture.of(view.image[rows, columns], Panoptic(ids, view.panoptic.segments))

    return step


def one_picture(folder: Path) -> PanopticSet:
    """A disc, a crowd of squares, ground, and void in the last column."""
    ids = np.array([[1, 1, 2, 0], [1, 9, 9, 0], [4, 4, 4, 0]], np.int32)
    segments = [Segment(4, 200, 0), Segment(1, 3, 0), Segment(9, 7, 0, iscrowd=True), Segment(2, 7, 0)]
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return build.write_set(folder / "val", CATEGORIES, [(image, Panoptic(ids, measured(ids, segments)))])


def test_a_sample_has_train_ids_and_masks_in_the_order_of_the_json(tmp_path: Path) -> None:
    panoptic_set = one_picture(tmp_path)
    sample = PanopticDataset(panoptic_set, window())[0, 0]
    picture = np.asarray(Image.open(panoptic_set.image_path(panoptic_set.records[0])))
    assert np.array_equal(sample.image.numpy(), picture.transpose(2, 0, 1))
    assert sample.image_id == 0
    assert sample.target.labels.tolist() == [0, 1, 2]
    ids = np.array([[1, 1, 2, 0], [1, 9, 9, 0], [4, 4, 4, 0]])
    assert np.array_equal(sample.target.masks.numpy(), np.stack([ids == 4, ids == 1, ids == 2]))


def test_what_is_out_of_view_is_no_target(tmp_path: Path) -> None:
    dataset = PanopticDataset(one_picture(tmp_path), window(slice(1)))
    target = dataset[0, 0].target
    assert target.labels.tolist() == [1, 2]
    assert target.masks.shape == (2, 1, 4)


def test_a_view_of_void_and_crowd_alone_has_no_target(tmp_path: Path) -> None:
    dataset = PanopticDataset(one_picture(tmp_path), window(slice(1, 2), slice(1, None)))
    target = dataset[0, 0].target
    assert target.labels.shape == (0,)
    assert target.masks.shape == (0, 1, 3)


@pytest.fixture(scope="module")
def random_set(tmp_path_factory: pytest.TempPathFactory) -> PanopticSet:
    random = np.random.default_rng(1)
    pictures = []
    for height, width in ((40, 50), (64, 20), (9, 9)):
        panoptic = build.blocks(random, height, width, CATEGORIES)
        pictures.append((np.repeat(panoptic.id_map.astype(np.uint8)[..., None] * 50, 3, 2), panoptic))
    return build.write_set(tmp_path_factory.mktemp("random") / "train", CATEGORIES, pictures)


JITTER = ScaleJitter((32, 64), 0.3, 2.0, 0.5)


@settings(max_examples=60)
@given(place=st.integers(0, 2), seed=st.integers(0, 2**50))
def test_a_sample_is_its_picture_as_the_seed_moves_it(random_set: PanopticSet, place: int, seed: int) -> None:
    sample = PanopticDataset(random_set, JITTER)[place, seed]
    record = random_set.records[place]
    image = np.asarray(Image.open(random_set.image_path(record)))
    view = JITTER(AugmentedPicture.of(image, read_panoptic(random_set, record)), np.random.default_rng(seed))
    ids = view.panoptic.id_map
    assert np.array_equal(sample.image.numpy(), view.image.transpose(2, 0, 1))
    assert sample.target.extent == (view.extent[1] / 64, view.extent[0] / 32)
    labels, masks = sample.target.labels.tolist(), sample.target.masks.numpy()
    assert masks.shape == (len(labels), 32, 64)
    assert masks.any((1, 2)).all()
    assert np.array_equal(masks.sum(0), ids != 0), "each pixel but void is in one mask"
    classes = {segment.id: segment.category_id for segment in record.segments}
    for label, mask in zip(labels, masks, strict=True):
        (segment_id,) = set(ids[mask].tolist())
        assert CATEGORIES[label].id == classes[segment_id]


def test_a_picture_of_another_size_than_its_segments_is_named(tmp_path: Path) -> None:
    """Squeezing one onto the other would train on wrong masks without a word."""
    panoptic_set = one_picture(tmp_path)
    path = panoptic_set.image_path(panoptic_set.records[0])
    Image.new("RGB", (8, 3)).save(path)
    with pytest.raises(DataError, match=r"0\.png.*8x3.*4x3"):
        PanopticDataset(panoptic_set, ScaleJitter((32, 32), 1, 1, 0))[0, 0]


@pytest.mark.parametrize("content", [None, b"", b"no picture", "torn"])
@pytest.mark.parametrize("which", ["images", "panoptic"])
def test_an_unreadable_file_is_named(tmp_path: Path, which: str, content: bytes | str | None) -> None:
    panoptic_set = one_picture(tmp_path)
    path = tmp_path / "val" / which / "0.png"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50] if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        PanopticDataset(panoptic_set, window())[0, 0]
    assert str(path) in str(caught.value)
    assert "Traceback" not in str(caught.value)

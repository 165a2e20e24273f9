"""From a picture to segments at its own size, as the authors' implementation does it."""

import inspect
import itertools
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import build
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model import reference
from training import tiny

from yoso_cli.errors import DataError
from yoso_cli.inference.postprocess import Sizes
from yoso_cli.inference.predict import InputTransfer, Predictor, predict_set, predict_stream, predict_two_ways, resized
from yoso_cli.inference.views import View, views
from yoso_cli.loading.transforms import fitted, resize_image
from yoso_cli.model.backbone import PIXEL_MEAN
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import PanopticSet, Rgb
from yoso_cli.recipe.schema import InferenceRecipe, ModelRecipe

CPU = torch.device("cpu")
MEAN = torch.tensor(PIXEL_MEAN).view(3, 1, 1)


def predictor(**changes: Any) -> Predictor:
    chosen = {"short_edge": 48, "long_edge": 80, "score_threshold": 0.0, "overlap_threshold": 0.0, "device": CPU}
    return Predictor(changes.pop("model", None) or tiny.model(), tiny.CATEGORIES, **chosen | changes)


@pytest.fixture(scope="module")
def seeing() -> Predictor:
    return predictor()


def noise(height: int, width: int, seed: int = 0) -> Rgb:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("index", [0, 1])
def test_a_single_picture_is_preprocessed_as_in_the_reference(shared: Path, index: int) -> None:
    """From the original picture: resized bit for bit, padded with zeros after normalisation, and the same map."""
    found = reference.tiny(shared, f"single{index}")
    pictures = np.load(shared / "reference/tiny/input.npz")
    ours = Predictor(
        found.model,
        reference.categories(found.meta, 7),
        short_edge=128,
        long_edge=180,
        score_threshold=found.meta["object_mask_threshold"],
        overlap_threshold=found.meta["overlap_threshold"],
        device=CPU,
    )
    images, sizes = ours.prepare(pictures[f"image{index}_rgb_u8"])
    wanted = pictures[f"resized{index}_rgb_u8"]
    assert sizes == reference.tiny_sizes(found.meta, f"single{index}", 0, found.images)
    assert images.dtype == torch.float32
    assert np.array_equal(
        images[0, :, : sizes.resized[0], : sizes.resized[1]].numpy(), wanted.transpose(2, 0, 1).astype(np.float32)
    )
    assert images.equal(found.images)

    panoptic = ours(pictures[f"image{index}_rgb_u8"])
    theirs = found.arrays["img0.panoptic_seg"]
    ambiguous = np.unpackbits(found.arrays["img0.pan.ambiguous"], axis=1)[:, : theirs.shape[1]].astype(bool)
    assert not ((panoptic.id_map != theirs) & ~ambiguous).any()
    entry = found.meta["runs"][f"single{index}"]["images"][0]
    assert [(one.id, one.category_id) for one in panoptic.segments] == [
        (one["id"], one["category_id"]) for one in entry["segments_info"]
    ]


def test_padding_is_zero_to_the_network(seeing: Predictor) -> None:
    images, sizes = seeing.prepare(noise(30, 47))
    assert sizes == Sizes((64, 96), (48, 75), (30, 47))
    assert images.shape == (1, 3, 64, 96)
    beyond = torch.ones(64, 96, dtype=torch.bool)
    beyond[:48, :75] = False
    normalised = (images - seeing.model.pixel_mean) / seeing.model.pixel_std
    assert (normalised[0, :, beyond] == 0).all()
    assert (images[0, :, beyond] == MEAN[:, 0]).all()


edges = st.integers(1, 90)


@settings(max_examples=20)
@given(edges, edges, st.integers(0, 2**31))
def test_any_picture_gets_a_map_of_its_own_size(seeing: Predictor, height: int, width: int, seed: int) -> None:
    image = noise(height, width, seed)
    panoptic = seeing(image)
    assert panoptic.id_map.shape == (height, width)
    present = set(np.unique(panoptic.id_map).tolist()) - {0}
    assert present == {segment.id for segment in panoptic.segments}
    assert {segment.category_id for segment in panoptic.segments} <= {category.id for category in tiny.CATEGORIES}
    backwards = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    assert np.array_equal(seeing(backwards).id_map, panoptic.id_map), "the order in memory is no matter"


@pytest.mark.parametrize("size", [(1, 2000), (2000, 1), (1, 1)])
def test_extreme_shapes_are_predicted(seeing: Predictor, size: tuple[int, int]) -> None:
    assert seeing(noise(*size)).id_map.shape == size


def test_a_threshold_of_one_gives_no_segments() -> None:
    assert not predictor(score_threshold=1.0)(noise(40, 40)).segments


def test_a_model_in_training_is_put_to_evaluation() -> None:
    model = tiny.model().train()
    chosen: dict[str, Any] = {"short_edge": 32, "long_edge": 64, "score_threshold": 0.0, "overlap_threshold": 0.0}
    ours = Predictor(model, tiny.CATEGORIES, **chosen, device=CPU)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = ours(noise(40, 40)), ours(noise(40, 40))
    assert np.array_equal(first.id_map, second.id_map)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_a_set_is_seen_picture_by_picture_in_its_order(tmp_path: Path, seeing: Predictor) -> None:
    random = np.random.default_rng(2)
    pictures = [
        (noise(height, width, height), build.blocks(random, height, width, tiny.CATEGORIES))
        for height, width in ((30, 40), (40, 30), (20, 20))
    ]
    panoptic_set = build.write_set(tmp_path / "val", tiny.CATEGORIES, pictures)
    found = list(predict_set(seeing, panoptic_set))
    assert [record for record, _ in found] == list(panoptic_set.records)
    for (_, panoptic), (image, _) in zip(found, pictures, strict=True):
        assert np.array_equal(panoptic.id_map, seeing(image).id_map)

    panoptic_set.image_path(panoptic_set.records[1]).write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1\.png"):
        list(predict_set(seeing, panoptic_set))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> PanopticSet:
    """Eleven pictures; those of 48x60 and 48x58 are padded to one size."""
    random = np.random.default_rng(3)
    wide, narrow, tall, long = (48, 60), (48, 58), (75, 48), (48, 75)
    sizes = [wide, tall, narrow, wide, long, narrow, wide, tall, long, wide, narrow]
    pictures = [(noise(*size, place), build.blocks(random, *size, tiny.CATEGORIES)) for place, size in enumerate(sizes)]
    return build.write_set(tmp_path_factory.mktemp("mixed") / "val", tiny.CATEGORIES, pictures)


@pytest.mark.parametrize("seen", [views(False, ()), views(True, (1.5,))], ids=["plain", "augmented"])
@pytest.mark.parametrize("batch", [2, 3, 16])
def test_batched_predictions_equal_single_ones(mixed: PanopticSet, seen: tuple[View, ...], batch: int) -> None:
    """Only pictures of one padded size come together, so none sees the padding of another; the order stays."""
    ours = predictor(views=seen)
    alone = list(predict_set(ours, mixed))
    shapes = []
    ours.engine.network.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    together = list(predict_set(ours, mixed, batch=batch))
    assert [record for record, _ in together] == list(mixed.records)
    for (_, one), (_, other) in zip(alone, together, strict=True):
        assert np.array_equal(one.id_map, other.id_map)
        # Matrix products of other shapes round otherwise, and the temperature makes twenty times of it.
        assert [replace(each, score=None) for each in one.segments] == [
            replace(each, score=None) for each in other.segments
        ]
        assert [each.score for each in one.segments] == pytest.approx([each.score for each in other.segments], abs=1e-5)
    assert max(shape[0] for shape in shapes) == min(batch, 7), "pictures did share a batch"
    assert sum(shape[0] for shape in shapes) == len(seen) * len(mixed.records)


def test_both_merges_use_the_same_network_output(mixed: PanopticSet) -> None:
    ours = predictor()
    looked = []
    ours.engine.network.register_forward_pre_hook(lambda *_: looked.append(1))
    ours.merge_rule = "fast"
    both = list(predict_two_ways(ours, mixed, "exact"))
    assert len(looked) == len(mixed.records)
    for rule, place in (("fast", 0), ("exact", 1)):
        ours.merge_rule = rule
        for (record, found), (same, alone) in zip(both, predict_set(ours, mixed), strict=True):
            assert record == same
            assert np.array_equal(found[place].id_map, alone.id_map)


@pytest.mark.parametrize(("threads", "cores", "apart"), [(1, 2, True), (2, 2, False), (3, 4, False), (2, 4, True)])
def test_stages_have_threads_of_their_own_where_they_take_no_core_from_the_network(
    mixed: PanopticSet, monkeypatch: pytest.MonkeyPatch, threads: int, cores: int, apart: bool
) -> None:
    """Wherever it happens, the segments are the same."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("yoso_cli.inference.predict.usable_cores", lambda: cores)
    ours = predictor()
    expected = [ours(read_image(mixed.image_path(record))).id_map for record in mixed.records]
    places = []
    for name in ("resized", "merge"):
        work = getattr(ours, name)
        noted = partial(lambda work, *args: places.append(threading.current_thread()) or work(*args), work)
        monkeypatch.setattr(ours, name, noted)
    found = [panoptic.id_map for _, panoptic in predict_set(ours, mixed)]
    assert all(map(np.array_equal, found, expected))
    assert {place is not threading.main_thread() for place in places} == {apart}


def test_a_model_and_its_classes_are_enough() -> None:
    """Sizes and thresholds are the recipe's defaults, and the network runs where the model is."""
    ours = Predictor(tiny.model(), tiny.CATEGORIES)
    wanted = asdict(InferenceRecipe())
    assert {name: getattr(ours, name) for name in wanted} == wanted
    assert ours.device == CPU
    assert ours.views == views(False, ())


def test_the_network_has_the_defaults_of_a_recipe() -> None:
    parameters = inspect.signature(YOSO.__init__).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not one.empty}
    assert defaults == ModelRecipe().arguments()


@pytest.mark.parametrize("batch", [1, 3])
def test_a_stream_of_anything_gives_its_items_in_order(mixed: PanopticSet, batch: int) -> None:
    """Here of paths; it is the set's own answer, with the pictures only where they are asked for."""
    ours, paths = predictor(), [mixed.image_path(record) for record in mixed.records]
    found = list(predict_stream(ours, iter(paths), read_image, batch=batch, keep_pictures=True))
    assert [path for path, _, _ in found] == paths
    for (path, image, panoptic), (_, wanted) in zip(found, predict_set(ours, mixed, batch=batch), strict=True):
        assert np.array_equal(image, read_image(path))
        assert np.array_equal(panoptic.id_map, wanted.id_map)
    assert all(image is None for _, image, _ in predict_stream(ours, paths, read_image, batch=batch))


@pytest.mark.parametrize("readers", [0, 4])
def test_an_endless_stream_is_consumed_lazily(seeing: Predictor, readers: int) -> None:
    drawn = []

    def images() -> Iterator[Rgb]:
        for seed in itertools.count():
            drawn.append(seed)
            yield noise(40, 40, seed)

    found = predict_stream(seeing, images(), lambda image: image, readers=readers)
    for image, _, panoptic in itertools.islice(found, 3):
        assert np.array_equal(panoptic.id_map, seeing(image).id_map)
    assert len(drawn) < 20


def test_what_reading_raises_ends_the_stream(seeing: Predictor) -> None:
    def read(seed: int) -> Rgb:
        if seed == 2:
            raise DataError("no picture")
        return noise(40, 40, seed)

    found = []
    with pytest.raises(DataError, match="no picture"):
        found.extend(seed for seed, _, _ in predict_stream(seeing, range(5), read))
    assert found == [0, 1][: len(found)]


@settings(max_examples=30)
@given(st.lists(edges, min_size=1, max_size=3), st.integers(0, 2**31))
def test_pictures_are_transferred_exactly_and_padded_with_the_mean(widths: list[int], seed: int) -> None:
    """Several of one padded size, each alone in its frame."""
    images = [noise(60, 60 + width % 30, seed) for width in widths]
    pictures = [resized(image, short_edge=40, long_edge=64) for image in images]
    transfer = InputTransfer(CPU, PIXEL_MEAN)
    found = transfer.to_device([transfer.pinned(picture) for picture in pictures])
    assert found.dtype == torch.float32
    for one, image, picture in zip(found, images, pictures, strict=True):
        height, width = fitted(image.shape[:2], short_edge=40, long_edge=64)
        assert picture.pixels.dtype == torch.uint8, "a byte for each value"
        assert np.array_equal(one[:, :height, :width].permute(1, 2, 0), resize_image(image, (height, width)))
        assert one[:, height:].eq(MEAN).all()
        assert one[:, :, width:].eq(MEAN).all()


def test_pictures_of_other_padded_sizes_are_never_joined() -> None:
    pictures = [resized(noise(*size), short_edge=40, long_edge=90) for size in ((40, 40), (40, 80))]
    with pytest.raises(ValueError, match="too many values"):
        InputTransfer(CPU, PIXEL_MEAN).to_device(pictures)


def test_on_a_cpu_nothing_is_copied_to_page_locked_memory() -> None:
    picture = resized(noise(40, 40), short_edge=40, long_edge=90)
    with mock.patch.object(torch.Tensor, "pin_memory", side_effect=AssertionError):
        assert InputTransfer(CPU, PIXEL_MEAN).pinned(picture) is picture


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_asynchronous_transfer_to_a_gpu_keeps_the_bytes() -> None:
    pictures = [resized(noise(50, 70, seed), short_edge=48, long_edge=90) for seed in range(20)]
    device = torch.device("cuda")
    transfer = InputTransfer(device, PIXEL_MEAN)
    busy = torch.rand(2048, 2048, device=device)
    found = []
    for picture in pictures:
        locked = transfer.pinned(picture)
        assert locked.pixels.is_pinned()
        busy = (busy @ busy).clamp(0, 1)
        found.append(transfer.to_device([locked]))
    for one, picture in zip(found, pictures, strict=True):
        assert torch.equal(one.cpu(), InputTransfer(CPU, PIXEL_MEAN).to_device([picture]))

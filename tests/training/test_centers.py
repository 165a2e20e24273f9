"""Center codes: what they are, what their loss wants, and what the network does with them from its first step."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from training import tiny

from yoso_cli.api import training_parts
from yoso_cli.errors import UsageError
from yoso_cli.loading.dataset import Target
from yoso_cli.model.yoso import YOSO
from yoso_cli.recipe.schema import AugmentRecipe, LossRecipe, Recipe
from yoso_cli.training.centers import CenterCode, CenterLoss, WithCenters, start_at_centers
from yoso_cli.training.losses import SetLoss

SIZE = 128
CODE = CenterCode(SIZE, SIZE)
CELLS = SIZE // 4
places = st.floats(0, 1)
# Of the classes of `tiny`: the last is stuff.
THINGS = (True, True, False)
RECIPE = replace(
    tiny.RECIPE,
    model=replace(tiny.MODEL, hidden_dim=48, num_proposals=20),
    augment=AugmentRecipe(crop_height=SIZE, crop_width=SIZE),
    loss=LossRecipe(num_points=64, center_weight=3.0),
    train=replace(tiny.RECIPE.train, start="centers"),
)


def network(recipe: Recipe = RECIPE) -> YOSO:
    return training_parts.build_network(recipe, len(tiny.CATEGORIES))


def squares(*corners: tuple[int, int], edge: int = 16) -> Target:
    """Things at these corners (top, left), and the ground around them."""
    masks = torch.zeros(len(corners) + 1, SIZE, SIZE, dtype=torch.bool)
    for mask, (top, left) in zip(masks, corners, strict=False):
        mask[top : top + edge, left : left + edge] = True
    masks[-1] = ~masks[:-1].any(0)
    return Target(torch.tensor([0] * len(corners) + [2]), masks)


FOUR = ((8, 8), (8, 32), (80, 40), (64, 100))


def ideal(target: Target, dimensions: int) -> Tensor:
    """(1, D, h, w): features as the loss wants them, from the definition. Channel C + 1 is 1, the others are 0."""
    features = torch.zeros(1, dimensions, CELLS, CELLS)
    features[0, CODE.channels + 1] = 1
    for row in range(CELLS):
        for column in range(CELLS):
            inside = target.masks[:-1, 4 * row + 1, 4 * column + 1].nonzero().flatten().tolist()
            place = torch.tensor([(column + 0.5) / CELLS, (row + 0.5) / CELLS])
            if inside:
                rows, columns = target.masks[inside[0]].nonzero().float().add(0.5).mean(0)
                place = torch.stack([columns, rows]) / SIZE
            features[0, : CODE.channels, row, column] = CODE(place)
            features[0, CODE.channels, row, column] = 1 if inside else -1
    return features


@given(places, places, places, places)
def test_codes_compare_places_by_their_distance(x: float, y: float, other_x: float, other_y: float) -> None:
    one, other = torch.tensor([x, y]).double(), torch.tensor([other_x, other_y]).double()
    product = float(CODE(one) @ CODE(other))
    assert product == pytest.approx(float(CODE((one - other).abs()) @ CODE(torch.zeros(2).double())), abs=1e-9)
    assert product <= CODE.largest + 1e-9
    if float((one - other).abs().max()) > 0.05 and float((one - other).abs().max()) < 0.95:
        assert product < CODE.largest - 0.05


@pytest.mark.parametrize(("size", "periods"), [((128, 96), (32, 64, 128)), ((224, 224), (32, 64, 128, 256))])
def test_periods_reach_from_the_deepest_stride_over_the_picture(size: tuple[int, int], periods: tuple[int]) -> None:
    assert CenterCode(*size).periods == periods


def test_the_loss_is_zero_for_the_codes_of_centers_alone() -> None:
    target = squares(*FOUR)
    loss, perfect = CenterLoss(THINGS), ideal(target, 48)
    assert float(loss(perfect, [target])) == pytest.approx(0, abs=1e-6)
    other = perfect.clone()
    other[:, CODE.channels + 1 :] = 9  # channels that are free
    assert float(loss(other, [target])) == float(loss(perfect, [target]))
    moved = perfect.clone()
    moved[0, :, 2:6, 2:6] = perfect[0, :, 2:6, 8:12]  # the first thing has the code of the second
    assert float(loss(moved, [target])) > 0.04
    for things in ((False, False, True), (False, False, False)):
        assert float(CenterLoss(things)(perfect, [target])) > 0.05


def test_small_things_count_as_much_as_large_ones_in_all() -> None:
    """What is lost where things are does not depend on how much of the picture they are."""
    losses = []
    for edge in (8, 32):
        target = squares((32, 32), edge=edge)
        wrong = ideal(target, 48)
        wrong[:, CODE.channels] = -1  # no thing at all
        losses.append(float(CenterLoss(THINGS)(wrong, [target])))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] > 0.5


def test_padding_has_no_loss() -> None:
    target = replace(squares((8, 8)), extent=(0.5, 1.0))
    target.masks[:, :, SIZE // 2 :] = False
    features = torch.randn(1, 48, CELLS, CELLS)
    before = float(CenterLoss(THINGS)(features, [target]))
    features[..., CELLS // 2 :] += 5
    assert float(CenterLoss(THINGS)(features, [target])) == before
    features[..., : CELLS // 2] += 5
    assert float(CenterLoss(THINGS)(features, [target])) > before


def test_the_estimate_of_memory_is_what_autograd_keeps() -> None:
    """Apart from the features, which the decoder keeps anyway."""
    target = squares(*FOUR)
    features = torch.randn(1, 48, CELLS, CELLS, requires_grad=True)
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        CenterLoss(THINGS)(features, [target])
    del kept[features.untyped_storage().data_ptr()]
    estimate = training_parts.footprint(network(), RECIPE).per_picture
    estimate -= training_parts.footprint(network(), replace(RECIPE, loss=LossRecipe())).per_picture
    assert estimate == pytest.approx(sum(one.untyped_storage().nbytes() for one in kept.values()), rel=0.2)


@pytest.mark.parametrize(
    "targets", [squares(), Target(torch.tensor([], dtype=torch.int64), torch.zeros(0, 128, 128) > 0)]
)
def test_pictures_without_things_or_without_anything_are_fine(targets: Target) -> None:
    features = torch.randn(1, 48, CELLS, CELLS, requires_grad=True)
    loss = CenterLoss(THINGS)(features, [targets])
    loss.backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert features.grad.isfinite().all()


def found(mask_logits: Tensor, target: Target) -> int:
    """How many of the things have a mask with an IoU above 0.5."""
    masks = torch.nn.functional.interpolate(mask_logits, scale_factor=4, mode="bilinear")[0].flatten(1) > 0
    things = target.masks[:-1].flatten(1)
    both = (things[:, None] & masks).sum(2)
    return int((both / (things[:, None] | masks).sum(2)).amax(1).gt(0.5).sum())


def test_the_first_decoder_finds_things_in_features_of_centers() -> None:
    """On features as the loss wants them the initial stages draw most things; random initial weights draw none."""
    target = squares(*FOUR)
    plain = replace(RECIPE, train=replace(RECIPE.train, start="random"))
    counts = []
    for recipe in (RECIPE, plain):
        decoder = network(recipe).eval().decoder
        with torch.no_grad():
            outputs = decoder(ideal(target, 48))
        counts.append(found(outputs[-1][0], target))
    assert counts[0] >= 3
    assert counts[1] == 0


def trained(recipe: Recipe, steps: int = 3, **changes: Any) -> dict[str, Tensor]:
    model = network(recipe)
    step = tiny.step(model, training_parts.criterion(recipe, tiny.CATEGORIES), **changes)
    model.train()
    for iteration, batch in enumerate(tiny.batches(stop=steps, size=SIZE)):
        step(batch, iteration, 1e-3)
    return model.state_dict()


def test_a_weight_of_zero_changes_nothing() -> None:
    off = replace(RECIPE, loss=replace(RECIPE.loss, center_weight=0.0))
    assert isinstance(training_parts.criterion(off, tiny.CATEGORIES), SetLoss)
    without = trained(off)
    model = network(RECIPE)
    step = tiny.step(model, WithCenters(SetLoss(num_points=64), 0.0, CenterLoss(THINGS)))
    model.train()
    for iteration, batch in enumerate(tiny.batches(stop=3, size=SIZE)):
        figures = step(batch, iteration, 1e-3)
        assert figures["s0.center"] == 0
    assert all(torch.equal(tensor, without[key]) for key, tensor in model.state_dict().items())
    weighed = trained(RECIPE)
    assert not all(torch.equal(tensor, without[key]) for key, tensor in weighed.items())


def test_a_random_start_is_the_start_of_before() -> None:
    torch.manual_seed(RECIPE.train.seed)
    before = YOSO(len(tiny.CATEGORIES), **RECIPE.model.arguments()).state_dict()
    plain = network(replace(RECIPE, train=tiny.RECIPE.train)).state_dict()
    assert all(torch.equal(tensor, before[key]) for key, tensor in plain.items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_dim": 16}, "hidden_dim of 26 or more, not 16"),
        ({"num_mask_layers": 2}, "num_mask_layers: 1, not 2"),
    ],
)
def test_a_network_that_codes_do_not_fit_is_refused(changes: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        network(replace(RECIPE, model=replace(RECIPE.model, **changes)))


def test_starting_changes_only_what_it_says() -> None:
    plain = network(replace(RECIPE, train=tiny.RECIPE.train))
    before = {key: tensor.clone() for key, tensor in plain.state_dict().items()}
    start_at_centers(plain, CODE)
    changed = {key for key, tensor in plain.state_dict().items() if not torch.equal(tensor, before[key])}
    touched = (
        "aggregator.location.",
        "decoder.proposals.",
        ".attention.norm.weight",
        ".mask_layers.0.",
        ".mask_kernels.",
    )
    assert changed
    assert all(any(part in key for part in touched) for key in changed)

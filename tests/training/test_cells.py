"""The set loss at every cell: the definition, written out, and what must be true of any set loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from torch import Tensor
from torch.nn import functional as F
from training import tiny

from yoso_cli.api import training_parts
from yoso_cli.loading.dataset import Target
from yoso_cli.model.yoso import Output
from yoso_cli.training.cells import CellLoss, boxes, covered_cells
from yoso_cli.training.losses import SetLoss
from yoso_cli.training.memory import _KEPT_AT_PLACES

HEIGHT, WIDTH = 6, 8


def never(*_: int) -> Tensor:
    raise AssertionError("nothing is random at all cells")


def terms_of(loss: CellLoss, output: Output, target: Target) -> dict[str, float]:
    return {name: float(term.detach()) for name, term in loss([output], [target], never).items()}


def case(
    seed: int, queries: int = 5, count: int = 3, extent: tuple[float, float] = (1.0, 1.0)
) -> tuple[Output, Target]:
    """An image's random output of a stage, and targets that part the picture, of 4 pixels a cell."""
    draw = torch.Generator().manual_seed(seed)
    owner = torch.randint(0, max(count, 1), (HEIGHT * 4, WIDTH * 4), generator=draw)
    masks = torch.stack([owner == place for place in range(count)]) if count else torch.zeros(0, 24, 32) > 0
    masks[:, round(extent[1] * HEIGHT * 4) :] = False
    masks[:, :, round(extent[0] * WIDTH * 4) :] = False
    logits = torch.randn(1, queries, HEIGHT, WIDTH, generator=draw).requires_grad_()
    classes = torch.randn(1, queries, 4, generator=draw).requires_grad_()
    return Output(logits, classes), Target(torch.arange(count) % 3, masks, extent)


@settings(max_examples=25)
@given(
    st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([(1.0, 1.0), (0.5, 1.0), (1.0, 2 / 3)])
)
def test_terms_are_those_of_the_definition(seed: int, box_share: float, extent: tuple[float, float]) -> None:
    """One proposal and one target: they are a pair, and each sum over its cells can be written out."""
    output, target = case(seed, queries=1, count=1, extent=extent)
    target.masks[0, 2:, :20] = False  # so that the box is not the picture
    terms = terms_of(CellLoss(box_share=box_share), output, target)

    logits, shares = output.mask_logits[0, 0].detach().double(), torch.zeros(HEIGHT, WIDTH).double()
    for row, column in np.ndindex(HEIGHT, WIDTH):
        shares[row, column] = target.masks[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].double().mean()
    rows, columns = shares.sum(1).nonzero().flatten(), shares.sum(0).nonzero().flatten()
    visible, near = torch.zeros_like(shares), torch.zeros_like(shares)
    for row, column in np.ndindex(HEIGHT, WIDTH):
        visible[row, column] = (column + 0.5) / WIDTH < extent[0] and (row + 0.5) / HEIGHT < extent[1]
        near[row, column] = visible[row, column] and all(
            low - 1 - (high - low + 1) / 2 <= place <= high + 1 + (high - low + 1) / 2
            for place, low, high in ((row, rows[0], rows[-1]), (column, columns[0], columns[-1]))
        )
    bce = -(shares * logits.sigmoid().log() + (1 - shares) * (1 - logits.sigmoid()).log())
    expected = (1 - box_share) * bce[visible > 0].mean() + box_share * bce[near > 0].mean()
    assert terms["s0.mask"] == pytest.approx(5 * float(expected), rel=1e-4)
    soft, true = logits.sigmoid() * visible, shares * visible
    dice = 1 - (2 * (soft * true).sum() + 1) / (soft.sum() + true.sum() + 1)
    assert terms["s0.dice"] == pytest.approx(5 * float(dice), rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([1, 4, 7]))
def test_points_in_the_box_are_those_of_the_definition(seed: int, box_share: float, count: int) -> None:
    """Logits are interpolated as inference does it, by SciPy; a pixel of the target has its value at its center."""
    output, target = case(seed, queries=1, count=1)
    target.masks[0] = False
    target.masks[0, 9:15, 6:16] = True
    terms = terms_of(CellLoss(box_share=box_share, box_points=count), output, target)

    # The target covers rows 2 to 3 and columns 1 to 3; with half of its extent and one cell more on each side, clipped:
    top, bottom, left, right = 0, 6, 0, 6
    ys, xs = (low + (np.arange(count) + 0.5) / count * (high - low) for low, high in ((top, bottom), (left, right)))
    logits = output.mask_logits[0, 0].detach().numpy().astype(np.float64)
    grid = np.stack(np.meshgrid(ys, xs, indexing="ij"))
    drawn = map_coordinates(logits, grid - 0.5, order=1, mode="nearest")
    true = map_coordinates(target.masks[0].numpy().astype(np.float64), 4 * grid - 0.5, order=1, mode="grid-constant")
    cells = target.masks[0].view(HEIGHT, 4, WIDTH, 4).double().mean((1, 3)).numpy()

    def bce(logit: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return np.logaddexp(0, logit) - wanted * logit

    mask = (1 - box_share) * bce(logits, cells).mean() + box_share * bce(drawn, true).mean()
    assert terms["s0.mask"] == pytest.approx(5 * mask, rel=1e-4)
    soft, outside = 1 / (1 + np.exp(-drawn)), 1 / (1 + np.exp(-logits[:, right:]))
    area = (bottom - top) * (right - left)
    overlap = 2 * area * (soft * true).mean() + 1
    dice = 1 - overlap / (area * (soft.mean() + true.mean()) + outside.sum() + 1)
    assert terms["s0.dice"] == pytest.approx(5 * dice, rel=1e-4)


def test_a_point_in_the_middle_of_each_cell_says_what_the_cell_does() -> None:
    """Where the box is the picture, and the target covers whole cells."""
    output, _ = case(4, queries=1)
    masks = torch.zeros(1, HEIGHT * 4, HEIGHT * 4, dtype=torch.bool)
    masks[0, 4:20, 4:20] = True
    square, target = Output(output.mask_logits[..., :HEIGHT], None), Target(torch.tensor([0]), masks)
    cells, points = (terms_of(CellLoss(box_points=count), square, target) for count in (0, HEIGHT))
    assert points == pytest.approx(cells, rel=1e-4)


def test_the_pairs_are_the_best_by_the_terms_themselves() -> None:
    """Any other pairs have a larger sum of mask and dice terms, where no box is weighed."""
    output, target = case(3, queries=4, count=3)
    loss = CellLoss(class_weight=0.0, box_share=0.0)
    best = sum(terms_of(loss, output, target).values())
    for shift in range(1, 4):
        queries = torch.tensor([(place + shift) % 4 for place in range(3)])
        alone = [
            terms_of(
                loss,
                Output(output.mask_logits[:, [query]], None),
                Target(target.labels[[place]], target.masks[[place]]),
            )
            for place, query in enumerate(queries.tolist())
        ]
        assert best <= sum(sum(terms.values()) for terms in alone) / 3 + 1e-5


@pytest.mark.parametrize("box_points", [0, 3])
@pytest.mark.parametrize(("queries", "count"), [(5, 0), (2, 4), (4, 4)])
def test_any_number_of_targets_gives_finite_losses_and_gradients(queries: int, count: int, box_points: int) -> None:
    output, target = case(1, queries, count)
    terms = CellLoss(box_points=box_points)([output], [target], never)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert list(terms) == ["s0.class", "s0.mask", "s0.dice"]
    assert all(term.isfinite() for term in terms.values())
    assert output.mask_logits.grad is not None
    assert output.mask_logits.grad.isfinite().all()


def test_masks_of_whole_cells_cost_nothing_where_they_are_drawn() -> None:
    masks = torch.zeros(2, HEIGHT * 4, WIDTH * 4, dtype=torch.bool)
    masks[0, 4:12, 8:20] = True
    masks[1] = ~masks[0]
    logits = 40 * (F.avg_pool2d(masks[None].float(), 4) - 0.5)
    terms = terms_of(CellLoss(), Output(logits.flip(1), None), Target(torch.tensor([0, 1]), masks))
    assert terms["s0.mask"] < 1e-6
    assert terms["s0.dice"] < 1e-6


def test_padding_counts_for_nothing() -> None:
    output, target = case(5, extent=(0.5, 1.0))
    before = terms_of(CellLoss(), output, target)
    with torch.no_grad():
        output.mask_logits[..., WIDTH // 2 :] = 7
    assert terms_of(CellLoss(), output, target) == before


def test_points_at_the_edge_of_padding_see_half_a_cell_of_it() -> None:
    """Interpolation reads the cell beyond; further padding counts for nothing."""
    output, target = case(5, extent=(0.5, 1.0))
    loss = CellLoss(box_points=4)
    before = terms_of(loss, output, target)
    with torch.no_grad():
        output.mask_logits[..., WIDTH // 2 + 1 :] = 7
    assert terms_of(loss, output, target) == before


def test_what_is_not_finite_makes_a_loss_that_is_not() -> None:
    output, target = case(2)
    with torch.no_grad():
        output.mask_logits[0, 1, 2, 3] = torch.nan
    assert not np.isfinite(sum(terms_of(CellLoss(), output, target).values()))


def test_a_box_has_its_margins_and_ends_at_the_picture() -> None:
    mask = torch.zeros(1, 10, 12)
    mask[0, 0:2, 5:9] = 0.1
    box = torch.zeros(1, 10, 12)
    box[0, 0:4, 2:12] = 1  # half of 2 and one more below, half of 4 and one more on both sides
    assert torch.equal(boxes(mask), box)
    assert not boxes(torch.zeros(1, 4, 4)).any()
    assert covered_cells(torch.ones(2, 8, 8, dtype=torch.bool), 2, 2).eq(1).all()


def test_the_recipe_chooses_where_masks_are_compared() -> None:
    for place, kind in (("points", SetLoss), ("cells", CellLoss)):
        loss = replace(tiny.RECIPE.loss, compare_at=place, dice_weight=3.0)
        made = training_parts.criterion(replace(tiny.RECIPE, loss=loss), tiny.CATEGORIES)
        assert isinstance(made, kind)
        assert made.dice_weight == 3.0


@pytest.mark.parametrize("box_points", [0, 6])
def test_the_estimate_of_memory_is_what_autograd_keeps(box_points: int) -> None:
    """For as many targets as proposals; the network's own values are counted apart."""
    output, target = case(0, queries=12, count=12)
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        alive.append(tensor)
        return tensor

    alive: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        terms = CellLoss(box_points=box_points)([Output(output.mask_logits, None)], [target], never)
    assert len(terms) == 2
    assert 0.5 < sum(sizes.values()) / (4 * _KEPT_AT_PLACES * 12 * (HEIGHT * WIDTH + box_points**2)) < 1.5

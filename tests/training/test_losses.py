"""Matching and losses, held against the reference's numbers and against what must be true of any."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training.tiny import Reference, replay, target

from yoso_cli.loading.dataset import Target
from yoso_cli.model.yoso import Output
from yoso_cli.training.losses import SetLoss
from yoso_cli.training.matcher import match
from yoso_cli.training.points import seeded_rand

CASES = ["two", "one_empty", "all_empty", "zero_area_mask", "more_targets_than_queries"]
STAGES = range(3)
RECORDED = ["match_points0", "match_points1", "loss_points_over", "loss_points_rand"]
NAMES = {"class": "loss_ce", "mask": "loss_mask", "dice": "loss_dice"}
WEIGHTS = {"class_weight": 2.0, "mask_weight": 5.0, "dice_weight": 5.0}
# Both sides compute in float32 and sum 256 points and 40 queries in different orders: a few units of rounding.
TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def reference(shared: Path) -> Reference:
    return Reference(shared, "loss")


def stage_outputs(reference: Reference) -> list[Output]:
    masks = [reference[f"pred_masks_s{stage}"].requires_grad_() for stage in STAGES]
    logits = [reference[f"pred_logits_s{stage}"].requires_grad_() if stage else None for stage in STAGES]
    return [Output(*pair) for pair in zip(masks, logits, strict=True)]


def case_targets(reference: Reference, case: str) -> list[Target]:
    return [
        target(reference[f"{case}.target{image}.labels"], reference[f"{case}.target{image}.masks_packed"])
        for image in range(2)
    ]


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_the_references(reference: Reference, case: str) -> None:
    outputs = stage_outputs(reference)
    recorded = [reference[f"{case}.s{stage}.{name}"] for stage in STAGES for name in RECORDED]
    terms = SetLoss(num_points=256)(outputs, case_targets(reference, case), replay(recorded))
    torch.stack(list(terms.values())).sum().backward()

    assert list(terms) == ["s0.mask", "s0.dice", "s1.class", "s1.mask", "s1.dice", "s2.class", "s2.mask", "s2.dice"]
    for name, term in terms.items():
        stage, kind = name.split(".")
        expected = reference.meta["loss"][f"{case}.{stage}"][NAMES[kind]]
        assert float(term.detach()) == pytest.approx(expected, rel=1e-6, abs=1e-6), name
    for stage, output in enumerate(outputs):
        facts = reference.meta["loss"][f"{case}.s{stage}"]
        for kind, tensor in (("masks", output.mask_logits), ("logits", output.class_logits)):
            if tensor is None:
                continue
            assert tensor.grad is not None
            assert float(tensor.grad.norm()) == pytest.approx(facts[f"grad_{kind}_norm"], rel=1e-5, abs=1e-7)
            if f"{case}.s{stage}.grad_{kind}" in reference:
                expected = reference[f"{case}.s{stage}.grad_{kind}"]
                torch.testing.assert_close(tensor.grad, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stage", STAGES)
def test_matches_are_the_references(reference: Reference, case: str, stage: int) -> None:
    points = torch.cat([reference[f"{case}.s{stage}.match_points{image}"] for image in range(2)])
    (matches,) = match([stage_outputs(reference)[stage]], case_targets(reference, case), [points], **WEIGHTS)
    for image, pairs in enumerate(matches):
        assert torch.equal(torch.stack([pairs.queries, pairs.targets]), reference[f"{case}.s{stage}.match{image}"])


def masks_of(count: int, seed: int = 0, size: int = 32) -> torch.Tensor:
    """Masks that part the picture, as panoptic ones do."""
    owner = torch.randint(0, max(count, 1), (size, size), generator=torch.Generator().manual_seed(seed))
    return torch.stack([owner == place for place in range(count)]) if count else torch.zeros(0, size, size).bool()


def outputs_of(queries: int, classes: int, seed: int = 0, images: int = 1) -> Output:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randn(images, queries, 8, 8, generator=generator).requires_grad_()
    return Output(masks, torch.randn(images, queries, classes + 1, generator=generator).requires_grad_())


@pytest.mark.parametrize(("queries", "count"), [(4, 3), (3, 4), (4, 0), (1, 5)])
def test_a_match_pairs_each_once_and_no_other_costs_less(queries: int, count: int) -> None:
    output, labels = outputs_of(queries, 5), torch.arange(count) % 5
    points = seeded_rand(0, 0, torch.device("cpu"))(1, 64, 2)
    ((found,),) = match([output], [Target(labels, masks_of(count))], [points], **WEIGHTS)
    pairs = min(queries, count)
    assert len(found.queries) == len(found.targets) == pairs
    assert len(set(found.queries.tolist())) == len(set(found.targets.tolist())) == pairs

    # With masks out of the cost, what the best set of pairs costs can be told by trying them all.
    weights = {"class_weight": 1.0, "mask_weight": 0.0, "dice_weight": 0.0}
    ((found,),) = match([output], [Target(labels, masks_of(count))], [points], **weights)
    assert output.class_logits is not None
    gain = output.class_logits[0].softmax(-1)[:, labels].detach()
    best = max(
        sum(float(gain[query, place]) for query, place in zip(rows, columns, strict=True))
        for rows in itertools.combinations(range(queries), pairs)
        for columns in itertools.permutations(range(count), pairs)
    )
    assert float(gain[found.queries, found.targets].sum()) == pytest.approx(best, rel=1e-6)


def test_targets_in_another_order_cost_the_same() -> None:
    output = outputs_of(6, 5)
    labels, masks = torch.arange(4), masks_of(4)
    order = torch.tensor([2, 0, 3, 1])
    losses = [
        SetLoss(num_points=2048)([output], [Target(*pair)], seeded_rand(0, 0, torch.device("cpu")))
        for pair in ((labels, masks), (labels[order], masks[order]))
    ]
    # The points of a pair go with its query, and queries rise in a match, so they are the same points.
    for name in losses[0]:
        torch.testing.assert_close(losses[0][name], losses[1][name])


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (2, 0), (9, 1)])
def test_any_number_of_targets_gives_finite_gradients(counts: tuple[int, int]) -> None:
    outputs = [outputs_of(4, 5, seed, images=2) for seed in (0, 1)]
    outputs[0] = Output(outputs[0].mask_logits, None)
    targets = [Target(torch.arange(count) % 5, masks_of(count)) for count in counts]
    terms = SetLoss(num_points=64)(outputs, targets, seeded_rand(0, 0, torch.device("cpu")))
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(term) for term in terms.values())
    for tensor in (outputs[0].mask_logits, outputs[1].mask_logits, outputs[1].class_logits):
        assert tensor is not None
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


def test_without_targets_every_proposal_is_trained_as_no_object() -> None:
    output = outputs_of(4, 5)
    terms = SetLoss(num_points=64)(
        [output], [Target(torch.arange(0), masks_of(0))], seeded_rand(0, 0, torch.device("cpu"))
    )
    torch.stack(list(terms.values())).sum().backward()
    assert output.class_logits is not None
    assert output.class_logits.grad is not None
    assert (output.class_logits.grad[..., -1] < 0).all()
    assert output.mask_logits.grad is not None
    assert not output.mask_logits.grad.any()


def test_outputs_that_are_not_finite_make_a_loss_that_is_not() -> None:
    output = outputs_of(4, 5, images=2)
    with torch.no_grad():
        output.mask_logits[1, 2, 3, 3] = torch.nan
    targets = [Target(torch.arange(2), masks_of(2)) for _ in range(2)]
    terms = SetLoss(num_points=256)([output], targets, seeded_rand(0, 0, torch.device("cpu")))
    assert not all(torch.isfinite(term) for term in terms.values())


def test_padding_does_not_affect_the_loss() -> None:
    """Whatever the network says of padding, and whatever lies there, costs and gains nothing."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 5, 16, 16, generator=generator)
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, :10, :20], masks[1, 20:30] = True, True
    labels = torch.tensor([0, 2])
    spoiled, extended = logits.clone(), masks.clone()
    spoiled[..., 9:, :] = 50.0
    spoiled[..., 13:] = -50.0
    extended[1, 34:] = True

    def terms(logits: Tensor, masks: Tensor, extent: tuple[float, float]) -> list[float]:
        rand = seeded_rand(0, 0, torch.device("cpu"))
        output = Output(logits, torch.zeros(1, 5, 4))
        found = SetLoss(num_points=256)([output], [Target(labels, masks, extent)], rand)
        return [float(term) for term in found.values()]

    extent = (48 / 64, 32 / 64)
    assert terms(logits, masks, extent) == terms(spoiled, extended, extent)
    assert terms(logits, masks, (1.0, 1.0)) != terms(spoiled, extended, (1.0, 1.0))

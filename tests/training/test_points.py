"""Sampling at points."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.training.points import sample_logits, sample_masks, seeded_rand, uncertain_points

CPU = torch.device("cpu")


@given(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 99))
@settings(max_examples=60)
def test_boolean_masks_are_sampled_as_float_ones(count: int, height: int, width: int, shared: bool, seed: int) -> None:
    """Float32 coordinates of at most 9 pixels differ by 1e-6 between the two formulas, and a mask's slope is 1."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, height, width, generator=generator) > 0.5
    points = torch.rand(1 if shared else count, 20, 2, generator=generator)
    sampled = sample_masks(masks, points)
    assert sampled.shape == (count, 20)
    if count:
        torch.testing.assert_close(sampled, sample_logits(masks.float(), points), rtol=0, atol=5e-6)


def test_pixel_centres_are_read_exactly() -> None:
    logits = torch.arange(6.0).view(1, 2, 3)
    centres = torch.tensor([[[0.5 / 3, 0.25], [2.5 / 3, 0.25], [1.5 / 3, 0.75]]])
    torch.testing.assert_close(sample_logits(logits, centres), torch.tensor([[0.0, 2.0, 4.0]]))


def test_points_of_one_set_serve_all_masks() -> None:
    logits = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    points = torch.rand(1, 11, 2, generator=torch.Generator().manual_seed(1))
    each = sample_logits(logits, points.expand(3, -1, -1))
    torch.testing.assert_close(sample_logits(logits, points), each)


def test_uncertain_points_lie_at_the_edge_of_the_mask() -> None:
    """Logits rise from left to right through zero in the middle: the chosen three quarters gather there."""
    logits = torch.linspace(-8, 8, 64).expand(2, 64, 64)
    rand = seeded_rand(0, 0, CPU)
    points = uncertain_points(logits, rand(2, 1200, 2), rand(2, 100, 2), num_points=400)
    assert points.shape == (2, 400, 2)
    distance = (points[..., 0] - 0.5).abs()
    assert float(distance[:, :300].max()) < 0.2
    assert float(distance[:, 300:].max()) > 0.4


def test_random_numbers_depend_on_seed_and_iteration_alone() -> None:
    again = [seeded_rand(3, 7, CPU)(2, 5) for _ in range(2)]
    assert torch.equal(*again)
    assert not torch.equal(again[0], seeded_rand(3, 8, CPU)(2, 5))
    assert not torch.equal(again[0], seeded_rand(4, 7, CPU)(2, 5))

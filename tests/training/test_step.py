"""One whole step of training, from picture to moved parameters, against the authors' code."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training.tiny import Reference, replay, target

from yoso_cli.model.authors import authors_key, load_authors_state
from yoso_cli.model.backbone import PIXEL_MEAN
from yoso_cli.model.yoso import YOSO
from yoso_cli.training.losses import SetLoss
from yoso_cli.training.optim import adamw, set_rate

NAMES = {"class": "loss_ce", "mask": "loss_mask", "dice": "loss_dice"}


class Step:
    """The step, taken once; tests look at what it left."""

    def __init__(self, shared: Path) -> None:
        self.reference = Reference(shared, "train_step")
        self.facts = self.reference.meta["train_step"]
        model = _reference_model(self.reference.folder / "checkpoint_fp16.pth").train()
        self.parameters = {authors_key(name): parameter for name, parameter in model.named_parameters()}
        before = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

        images, targets = _reference_batch(Reference(shared, "input"))
        optimizer = adamw(model, weight_decay=0.05, backbone_lr=0.1)
        set_rate(optimizer, 1e-4)
        rand = replay([self.reference[f"rand{place}"] for place in range(12)])
        self.terms = SetLoss(num_points=256)(model(images), targets, rand)
        torch.stack(list(self.terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.gradient_norms = {name: float(_gradient(p).norm()) for name, p in self.parameters.items()}
        self.norm = float(nn.utils.clip_grad_norm_(model.parameters(), 0.01))
        self.clipped = {name: _gradient(parameter).clone() for name, parameter in self.parameters.items()}
        optimizer.step()
        self.moved = {name: float((p.detach() - before[name]).norm()) for name, p in self.parameters.items()}
        self.state = {authors_key(name): tensor for name, tensor in model.state_dict().items()}


def _reference_model(path: Path) -> YOSO:
    model = YOSO(
        7,
        stem_channels=8,
        base_channels=4,
        width_per_group=128,
        hidden_dim=64,
        num_proposals=20,
        num_class_layers=3,
        num_mask_layers=3,
    )
    load_authors_state(model, torch.load(path, weights_only=True)["model"])
    return model


def _reference_batch(recorded: Reference) -> tuple[Tensor, list[object]]:
    # The reference pads with zeros after normalisation, which is the mean before it.
    images = torch.tensor(PIXEL_MEAN)[None, :, None, None].repeat(2, 1, 128, 192)
    targets = []
    for place in range(2):
        picture = recorded[f"resized{place}_rgb_u8"].permute(2, 0, 1)
        images[place, :, : picture.shape[1], : picture.shape[2]] = picture
        targets.append(target(recorded[f"target{place}_labels"], recorded[f"target{place}_masks_packed"]))
    return images, targets


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


@pytest.fixture(scope="module")
def step(shared: Path) -> Step:
    return Step(shared)


def test_losses_equal_the_references(step: Step) -> None:
    for name, term in step.terms.items():
        stage, kind = name.split(".")
        assert float(term.detach()) == pytest.approx(
            step.facts["losses"][f"{stage}_{NAMES[kind]}"], rel=5e-6, abs=1e-6
        ), name


def test_every_gradient_agrees(step: Step) -> None:
    """Rounding grows through 60 layers of float32: a few 1e-6 were measured, and 1e-4 is far from a bug."""
    expected = step.facts["grad_norms_after_backward"]
    assert step.gradient_norms.keys() == expected.keys()
    assert step.gradient_norms == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert step.norm == pytest.approx(step.facts["grad_norm_before_clip"], rel=1e-5)


def test_clipped_gradients_agree(step: Step) -> None:
    names = [key.split(".", 1)[1] for key in step.reference.arrays.files if key.startswith("grad_after_clip.")]
    assert len(names) == 7
    for name in names:
        expected = step.reference[f"grad_after_clip.{name}"]
        torch.testing.assert_close(step.clipped[name], expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_the_parameters_move_alike(step: Step) -> None:
    """AdamW first moves by lr * sign(gradient): where a gradient is all rounding the two may part, by up to 2 lr."""
    assert step.moved == pytest.approx(step.facts["param_delta_norms"], rel=1e-3)
    for key in step.reference.arrays.files:
        if key.startswith("param_after_step."):
            name = key.split(".", 1)[1]
            difference = (step.parameters[name].detach() - step.reference[key]).abs()
            assert float(difference.max()) <= 2e-4, name
            assert float((difference > 1e-6).float().mean()) < 1e-3, name


def test_statistics_of_the_norms_agree(step: Step) -> None:
    keys = [key for key in step.reference.arrays.files if key.startswith("bn.")]
    assert len(keys) == 12
    for key in keys:
        torch.testing.assert_close(step.state[key[3:]], step.reference[key], rtol=1e-5, atol=1e-6)

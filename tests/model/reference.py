"""Models with the weights of the reference outputs, and what the authors' implementation says they answer."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from yoso_cli.inference.postprocess import Sizes
from yoso_cli.model.authors import load_authors_state
from yoso_cli.model.backbone import PIXEL_MEAN
from yoso_cli.model.reparam import widened
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category

TINY_MODEL: dict[str, Any] = {
    # A bottleneck of 8 channels that ends in 16: torchvision says it with planes of 4 and double width.
    "stem_channels": 8,
    "base_channels": 4,
    "width_per_group": 128,
    "hidden_dim": 64,
    "num_proposals": 20,
    "num_class_layers": 3,
    "num_mask_layers": 3,
}


@dataclass(frozen=True)
class Reference:
    """One recorded run: the model, its input, what was recorded, and how far single precision is from double."""

    model: YOSO
    images: Tensor
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    noise: dict[str, float]


def categories(meta: dict[str, Any], count: int) -> tuple[Category, ...]:
    things = set(meta["thing_ids"])
    return tuple(Category(index, str(index), index in things) for index in range(count))


def padded_batch(pictures: list[np.ndarray], height: int, width: int) -> Tensor:
    images = torch.tensor(PIXEL_MEAN).view(3, 1, 1).repeat(len(pictures), 1, height, width)
    for image, picture in zip(images, pictures, strict=True):
        image[:, : picture.shape[0], : picture.shape[1]] = torch.from_numpy(picture.copy()).permute(2, 0, 1)
    return images


def tiny_model(shared: Path) -> YOSO:
    state = torch.load(shared / "reference/tiny/checkpoint_fp16.pth", weights_only=True)["model"]
    model = YOSO(7, **TINY_MODEL)
    load_authors_state(model, state)
    return model.eval()


def tiny_meta(shared: Path) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads((shared / "reference/tiny/meta.json").read_text())
    return meta


def tiny(shared: Path, run: str) -> Reference:
    """`batch`, `single0` or `single1`."""
    meta = tiny_meta(shared)
    inputs = np.load(shared / "reference/tiny/input.npz")
    chosen = [0, 1] if run == "batch" else [int(run[-1])]
    pictures = [inputs[f"resized{index}_rgb_u8"] for index in chosen]
    height = -(-max(picture.shape[0] for picture in pictures) // 32) * 32
    width = -(-max(picture.shape[1] for picture in pictures) // 32) * 32
    with np.load(shared / f"reference/tiny/reference_{run}.npz") as opened:
        arrays = {key: opened[key] for key in opened.files}
    noise = {
        key: value["max_abs_diff"] for key, value in meta["runs"][run]["fp64_noise"].items() if "max_abs_diff" in value
    }
    return Reference(tiny_model(shared), padded_batch(pictures, height, width), arrays, meta, noise)


def full_state(shared: Path) -> dict[str, Tensor]:
    """A released file's state dict for YOSO-R50 on COCO, which a rule generates."""
    folder = shared / "reference/full"
    spec = importlib.util.spec_from_file_location("make_checkpoint", folder / "make_checkpoint.py")
    assert spec is not None
    assert spec.loader is not None
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    state: dict[str, Tensor] = rule.build(json.loads((folder / "coco/spec.json").read_text()))
    return state


def full_model(shared: Path) -> YOSO:
    """YOSO-R50 on COCO with those weights."""
    model = YOSO(133)
    load_authors_state(model, full_state(shared))
    return model.eval()


def recorded(model: YOSO, images: Tensor) -> dict[str, Tensor]:
    """What every point of the reference's list holds when `model` looks at `images`."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out.detach().clone()))
        for name, module in _points(model).items()
    ]
    hooks.append(model.backbone.register_forward_pre_hook(lambda _, args: seen.__setitem__("net_input", args[0])))
    with torch.inference_mode():
        outputs = model(images)
    for hook in hooks:
        hook.remove()
    # A folded model never makes the features; what it has instead becomes them by the same linear map.
    with torch.inference_mode():
        seen["neck_out"] = widened(model, seen["neck_out"])
    for stage, output in enumerate(outputs):
        seen[f"mask_logits_s{stage}"] = output.mask_logits
    assert outputs[-1].class_logits is not None
    seen["cls_logits"] = outputs[-1].class_logits
    return seen


def _points(model: YOSO) -> dict[str, nn.Module]:
    backbone, neck = model.backbone, model.aggregator
    points = {f"res{index + 1}": getattr(backbone, f"layer{index}") for index in (1, 2, 3, 4)}
    for index, level in ((1, 2), (2, 1), (3, 0)):
        step = neck.pyramid.upsamples[level]
        points |= {f"dcn{index}_offset_raw": step.offset, f"dcn{index}_out": step.deform, f"deform{index}_out": step}
    # The authors' CFA module ends in the 3x3 convolution.
    points |= {"cfa_out": neck.output, "neck_out": neck}
    return points | {f"kernels_s{index + 1}": stage.post for index, stage in enumerate(model.decoder.stages)}


def tiny_sizes(meta: dict[str, Any], run: str, index: int, images: Tensor) -> Sizes:
    entry = meta["runs"][run]["images"][index]
    return Sizes(tuple(images.shape[-2:]), tuple(entry["resized_hw"]), tuple(entry["orig_hw"]))

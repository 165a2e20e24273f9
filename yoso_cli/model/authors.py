"""The released implementation's weights (https://github.com/hujiecpp/YOSO) and ours, in both directions.

Every key is mapped once and every shape checked; nothing is loaded in part. Norms may be frozen or trained (the latter
count their batches), or folded into the convolution before them.
"""

import copy
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from yoso_cli import atomic
from yoso_cli.errors import DataError, UsageError
from yoso_cli.model.attention import SeparableDynamicConvAttention
from yoso_cli.model.backbone import ResNet
from yoso_cli.model.decoder import DecoderStage
from yoso_cli.model.reparam import ifa_to_cfa
from yoso_cli.model.yoso import YOSO

# Ours -> theirs, applied in order to the start of a key.
RENAMES = [
    (r"^backbone\.conv1\.", "backbone.stem.conv1."),
    (r"^backbone\.bn1\.", "backbone.stem.conv1.norm."),
    (r"^backbone\.layer1\.", "backbone.res2."),
    (r"^backbone\.layer2\.", "backbone.res3."),
    (r"^backbone\.layer3\.", "backbone.res4."),
    (r"^backbone\.layer4\.", "backbone.res5."),
    (r"^(backbone\.res\d\.\d+)\.bn(\d)\.", r"\1.conv\2.norm."),
    (r"^(backbone\.res\d\.\d+)\.downsample\.0\.", r"\1.shortcut."),
    (r"^(backbone\.res\d\.\d+)\.downsample\.1\.", r"\1.shortcut.norm."),
    (r"^aggregator\.location\.", "yoso_neck.loc_conv."),
    (r"^aggregator\.output\.", "yoso_neck.deconv.output_conv."),
    (r"^aggregator\.aggregate\.bias$", "yoso_neck.deconv.bias"),
    (r"^decoder\.proposals\.", "yoso_head.kernels."),
    (r"^decoder\.stages\.", "yoso_head.mask_heads."),
    (r"^(yoso_head\.mask_heads\.\d)\.blocks\.0\.", r"\1.f_atten."),
    (r"^(yoso_head\.mask_heads\.\d)\.blocks\.1\.", r"\1.k_atten."),
    (r"^(yoso_head\.mask_heads\.\d\.[fk]_atten)\.norm\.", r"\1_norm."),
    (r"^(yoso_head\.mask_heads\.\d\.[fk]_atten)\.attention\.weights\.", r"\1.weight_linear."),
    (r"^(yoso_head\.mask_heads\.\d\.[fk]_atten)\.attention\.norm\.", r"\1.norm."),
    (r"^(yoso_head\.mask_heads\.\d)\.post\.attention\.", r"\1.s_atten."),
    (r"^(yoso_head\.mask_heads\.\d)\.post\.attention_norm\.", r"\1.s_atten_norm."),
    (r"^(yoso_head\.mask_heads\.\d)\.post\.feedforward\.0\.", r"\1.ffn.layers.0.0."),
    (r"^(yoso_head\.mask_heads\.\d)\.post\.feedforward\.2\.", r"\1.ffn.layers.1."),
    (r"^(yoso_head\.mask_heads\.\d)\.post\.feedforward_norm\.", r"\1.ffn_norm."),
    (r"^(yoso_head\.mask_heads\.\d)\.class_layers\.", r"\1.cls_fcs."),
    (r"^(yoso_head\.mask_heads\.\d)\.class_logits\.", r"\1.fc_cls."),
    (r"^(yoso_head\.mask_heads\.\d)\.mask_layers\.", r"\1.mask_fcs."),
    (r"^(yoso_head\.mask_heads\.\d)\.mask_kernels\.", r"\1.fc_mask."),
]
DEFORM_PARTS = {
    "offset": "dcn_offset",
    "deform": "dcn",
    "deform_norm": "dcn_bn",
    "upsample": "up_sample",
    "upsample_norm": "up_bn",
}
EMPTY_WEIGHT = "yoso_head.criterion.empty_weight"
"""(K + 1,): class weights of the loss, which the network does not use."""
UNUSED = {EMPTY_WEIGHT}
COUNTER = "num_batches_tracked"
# (blocks of layer3, whether they are bottlenecks) -> torchvision's name.
_DEPTHS = {(2, False): "resnet18", (6, False): "resnet34", (6, True): "resnet50", (23, True): "resnet101"}
# Our names of norms and of the convolutions before them.
_FOLDED_INTO = [
    (r"\.bn(\d)$", r".conv\1"),
    (r"\.downsample\.1$", ".downsample.0"),
    (r"\.(deform|upsample)_norm$", r".\1"),
]
# Of every norm that may be folded.
EPSILON = 1e-5
CFA_BIAS = "aggregator.aggregate.bias"


def authors_key(key: str) -> str:
    """The released implementation's name for our tensor `key` (of a CFA model with two blocks per stage)."""
    if match := re.fullmatch(r"aggregator\.pyramid\.laterals\.(\d)\.(\w+)", key):
        return f"yoso_neck.deconv.lateral_conv{3 - int(match[1])}.{match[2]}"
    if match := re.fullmatch(r"aggregator\.pyramid\.upsamples\.(\d)\.(\w+)\.(\w+)", key):
        return f"yoso_neck.deconv.deform_conv{3 - int(match[1])}.{DEFORM_PARTS[match[2]]}.{match[3]}"
    if match := re.fullmatch(r"aggregator\.aggregate\.convs\.(\d)\.weight", key):
        return f"yoso_neck.deconv.conv_a{2 + int(match[1])}.weight"
    for pattern, name in RENAMES:
        key = re.sub(pattern, name, key)
    return key


def is_released_layout(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the keys of a complete YOSO of the released implementation."""
    return "yoso_head.kernels.weight" in state


def class_count(state: Mapping[str, Tensor]) -> int:
    """The number of classes of the last stage, without "no object". Raises DataError for another layout."""
    stages = _indices(state, r"yoso_head\.mask_heads\.(\d+)\.")
    return _shape(state, f"yoso_head.mask_heads.{max(stages, default=0)}.fc_cls.weight")[0] - 1


def network(state: Mapping[str, Tensor]) -> dict[str, str | int]:
    """The values of a ModelRecipe that follow from the shapes of a released state dict.

    Not among them: the temperature, the heads of self-attention, and how the backbone's norms are trained.

    Raises:
        DataError: a tensor that every released model has is missing.
    """
    block = "backbone.res2.0"
    bottleneck = f"{block}.conv3.weight" in state
    width = _shape(state, f"{block}.conv1.weight")[0]
    planes = _shape(state, f"{block}.conv3.weight")[0] // 4 if bottleneck else width
    depth = len(_indices(state, r"backbone\.res4\.(\d+)\."))
    if (depth, bottleneck) not in _DEPTHS or not planes:
        raise DataError(f"its backbone is none of {', '.join(_DEPTHS.values())}.")
    proposals, hidden_dim = _shape(state, "yoso_head.kernels.weight")[:2]
    head = "yoso_head.mask_heads.0"
    return {
        "backbone": _DEPTHS[depth, bottleneck],
        "stem_channels": _shape(state, "backbone.stem.conv1.weight")[0],
        "base_channels": planes,
        "width_per_group": width * 64 // planes if bottleneck else 64,
        "pyramid_min": 0,
        "aggregator": "cfa",
        "aggregation_dim": _shape(state, "yoso_neck.deconv.conv_a5.weight")[0],
        "hidden_dim": hidden_dim,
        "attention": "sdca",
        "num_blocks": 2,
        "kernel_size": _shape(state, f"{head}.f_atten.weight_linear.weight")[0] - proposals,
        "num_stages": len(_indices(state, r"yoso_head\.mask_heads\.(\d+)\.")),
        "num_proposals": proposals,
        "feedforward_dim": _shape(state, f"{head}.ffn.layers.0.0.weight")[0],
        "num_class_layers": _linear_layers(state, f"{head}.cls_fcs"),
        "num_mask_layers": _linear_layers(state, f"{head}.mask_fcs"),
    }


def load_authors_state(model: YOSO, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Fills `model` (CFA, SDCA, two blocks) from the released implementation's state dict.

    Returns:
        What was done beside copying, a sentence each: keys left out, norms that were folded, numbers converted.

    Raises:
        DataError: a key is missing, unknown or of another shape; all of them are named.
    """
    own = model.state_dict()
    names = {authors_key(key): key for key in [*own, *_folded_biases(own)]}
    ours = {names[name]: tensor for name, tensor in state.items() if name in names}
    counters = {name for name in state.keys() - names.keys() if _counts_for(name, names)}
    unknown = sorted(state.keys() - names.keys() - counters - UNUSED)
    notes = [f"{name} was left out: only the loss has a use for it" for name in sorted(UNUSED & state.keys())]
    why = "frozen norms do not count; backbone_norm: batch trains them"
    notes += [f"{len(counters)} {COUNTER} were left out: {why}"] if counters else []
    notes += _filled(ours, own)
    problems = [f"{authors_key(key)} is missing" for key in own if key not in ours]
    problems += [f"{name} is unknown" for name in unknown]
    problems += [f"{authors_key(key)} is unknown" for key in ours if key not in own]
    problems += [
        f"{authors_key(key)} is {tuple(tensor.shape)}, not {tuple(own[key].shape)}"
        for key, tensor in ours.items()
        if key in own and tensor.shape != own[key].shape
    ]
    if problems:
        raise DataError(
            f"the released weights do not fit this model: {'; '.join(problems)}.",
            hint="Check the class count, the proposals and the class and mask layers of the recipe.",
        )
    converted = [tensor.dtype for key, tensor in ours.items() if tensor.dtype != own[key].dtype]
    notes += [f"{converted.count(kind)} tensors were {kind} and became {own[CFA_BIAS].dtype}" for kind in {*converted}]
    model.load_state_dict({key: tensor.to(own[key].dtype) for key, tensor in ours.items()})
    return tuple(note.replace("torch.", "") for note in notes)


def authors_state(model: YOSO, plain: YOSO, *, no_object_weight: float) -> dict[str, Tensor]:
    """`model`'s weights under the released implementation's names, complete for its strict loading.

    An IFA model becomes its CFA form, and folded norms become norms that change nothing.

    Args:
        model: SDCA with two blocks; it is not changed.
        plain: a CFA model of the same recipe as it is before any fold; its values do not matter.
        no_object_weight: of the loss, for the one key that belongs to it.

    Raises:
        UsageError: the released implementation has no such network.
    """
    if not isinstance(model.backbone, ResNet):
        raise UsageError(
            f"the released implementation has no backbone {model.backbone.name}, only ResNets.",
            hint="Use the weights as they are, with yoso.",
        )
    changed = copy.deepcopy(model).cpu().eval()
    ifa_to_cfa(changed)
    state, own = changed.state_dict(), plain.state_dict()
    _filled(state, own)
    expressible = all(_is_released_kind(stage) for stage in plain.decoder.stages) and state.keys() == own.keys()
    if not expressible:
        raise UsageError(
            "the released implementation does not support this network: it has separable dynamic convolution attention "
            "(sdca) in two blocks, with only batch norms folded.",
            hint="Export the trained weights.",
        )
    exported = {authors_key(key): tensor.detach().clone() for key, tensor in state.items()}
    exported[EMPTY_WEIGHT] = torch.tensor([1.0] * class_count(exported) + [no_object_weight])
    return exported


def save_authors_state(path: Path, model: YOSO, plain: YOSO, *, no_object_weight: float) -> int:
    """Writes `authors_state` to `path` in one step, as `{'model': state_dict}`; returns how many tensors that are.

    Raises:
        UsageError: the released implementation has no such network.
        RunError: it cannot be written.
    """
    state = authors_state(model, plain, no_object_weight=no_object_weight)
    with atomic.replacing(path) as temporary:
        try:
            torch.save({"model": state}, temporary)
        except RuntimeError as error:
            # torch's own error for a full disk is no OSError, which `replacing` would have reported.
            raise OSError(str(error).splitlines()[0]) from error
    return len(state)


def _is_released_kind(stage: nn.Module) -> bool:
    assert isinstance(stage, DecoderStage)
    kinds = [type(block.attention) for block in stage.blocks]
    return kinds == [SeparableDynamicConvAttention] * 2


def _folded_biases(own: Mapping[str, Tensor]) -> list[str]:
    """For each norm, the bias of the convolution that it is folded into."""
    return [f"{_convolution(norm)}.bias" for norm in _norms(own)]


def _filled(ours: dict[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Adds to `ours`, in place, the values of `own` that a folded or frozen norm does not have; returns notes.

    A norm that is folded becomes one that only adds the bias: scale 1, mean 0, and the variance that is 1 with epsilon.
    """
    folded = [norm for norm in _norms(own) if f"{norm}.weight" not in ours and f"{_convolution(norm)}.bias" in ours]
    for norm in folded:
        bias = ours.pop(f"{_convolution(norm)}.bias")
        ours[f"{norm}.weight"], ours[f"{norm}.bias"] = torch.ones_like(bias), bias
        ours[f"{norm}.running_mean"] = torch.zeros_like(bias)
        ours[f"{norm}.running_var"] = torch.full_like(bias, 1 - EPSILON)
    uncounted = [norm for norm in _norms(own) if f"{norm}.{COUNTER}" in own and f"{norm}.{COUNTER}" not in ours]
    ours |= {f"{norm}.{COUNTER}": torch.tensor(0) for norm in uncounted}
    notes = [f"{len(folded)} norms were folded; they became norms that change nothing"] if folded else []
    return notes + ([f"{len(uncounted)} {COUNTER} were missing and start at 0"] if uncounted else [])


def _norms(own: Mapping[str, Tensor]) -> list[str]:
    return [key.removesuffix(".running_mean") for key in own if key.endswith(".running_mean")]


def _convolution(norm: str) -> str:
    for pattern, name in _FOLDED_INTO:
        norm = re.sub(pattern, name, norm)
    return norm


def _counts_for(name: str, names: Mapping[str, str]) -> bool:
    """Whether `name` is the counter of a norm that is there but does not count."""
    return name.endswith(f".{COUNTER}") and f"{name.removesuffix(COUNTER)}running_mean" in names


def _indices(state: Mapping[str, Tensor], pattern: str) -> set[int]:
    return {int(match[1]) for name in state if (match := re.match(pattern, name))}


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in state or state[name].dim() < 2:
        raise DataError(f"{name} is missing or has another shape than in a released model.")
    return tuple(state[name].shape)


def _linear_layers(state: Mapping[str, Tensor], prefix: str) -> int:
    """Linear, LayerNorm and ReLU repeat; only the weight of a linear layer has two dimensions."""
    return sum(name.startswith(f"{prefix}.") and tensor.dim() == 2 for name, tensor in state.items())

"""The released implementation's weights (https://github.com/hujiecpp/YOSO): their key names against ours.

Every key is mapped once and every shape checked; nothing is loaded in part.
"""

import re

from torch import Tensor

from yoso_cli.errors import DataError
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
# The loss keeps its class weights there; a network has no use for them.
UNUSED = {"yoso_head.criterion.empty_weight"}


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


def load_authors_state(model: YOSO, state: dict[str, Tensor]) -> None:
    """Fills `model` (CFA, SDCA, two blocks) from the released implementation's state dict.

    Raises:
        DataError: a key is missing, unknown or of another shape; all of them are named.
    """
    own = model.state_dict()
    names = {key: authors_key(key) for key in own}
    problems = [f"{name} is missing" for name in names.values() if name not in state]
    problems += [f"{name} is unknown" for name in sorted(state.keys() - set(names.values()) - UNUSED)]
    problems += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(own[key].shape)}"
        for key, name in names.items()
        if name in state and state[name].shape != own[key].shape
    ]
    if problems:
        raise DataError(
            f"the released weights do not fit this model: {'; '.join(problems)}.",
            hint="Check the class count, the proposals and the class and mask layers of the recipe.",
        )
    model.load_state_dict({key: state[name].to(own[key].dtype) for key, name in names.items()})

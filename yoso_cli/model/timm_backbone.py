"""Any model of timm whose features have strides of 4, 8, 16 and 32, as the trunk (https://github.com/huggingface/pytorch-image-models).

timm is an extra, imported when such a backbone is made. What is needed of a model is found once, on torch's meta
device, where a network takes neither memory nor time: which of its maps have these strides, which norms directly
follow which convolutions, and which convolution sees the picture.
"""

# B images, H W input size, C channels

import functools
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from yoso_cli.errors import DataError, RunError, UsageError, did_you_mean
from yoso_cli.model.backbone import STRIDES, Backbone

PREFIX = "timm:"

INSTALL = "Type `pip install 'yoso-cli[timm]'`."

# Divisible by the strides and by usual windows, and not square, so that axes that are exchanged are seen.
_PROBE = (128, 192)
# Transformers of one size can take others when told so; convolutional networks do not know these words.
_OPTIONS: tuple[dict[str, Any], ...] = ({}, {"strict_img_size": False}, {"dynamic_img_size": True})


@dataclass(frozen=True)
class Layout:
    """What is needed of a model of timm.

    Attributes:
        options: for its construction, beside `features_only`.
        places: of its outputs with strides 4, 8, 16, 32.
        channels: of these.
        channels_last: whether its maps are (B, H, W, C).
        conv_norms: paths of convolutions and of the batch norms that directly follow them.
        stem: path of the only convolution that sees the picture; empty if there is none of a known kind.
        mean: of the pixels it was trained on, RGB 0..255.
        std: their standard deviation.
    """

    options: dict[str, Any]
    places: tuple[int, ...]
    channels: tuple[int, ...]
    channels_last: bool
    conv_norms: tuple[tuple[str, str], ...]
    stem: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


class TimmBackbone(Backbone):
    """A model of timm without its classifier; its tensors keep timm's names, under `body`.

    Args:
        name: timm's name, with or without a tag of weights: `convnext_tiny`, `convnext_tiny.fb_in22k`.
        norm: `frozen` keeps statistics and scale of batch norms fixed, and the scales of other norms; `batch` trains
            all of them.

    Raises:
        UsageError: timm is missing, or has no such model, or the model has no features at these strides.
    """

    def __init__(self, name: str, *, norm: str = "frozen") -> None:
        super().__init__()
        self._layout = layout_of(name)
        self.name = PREFIX + name
        self.channels = self._layout.channels
        self.pixel_mean, self.pixel_std = self._layout.mean, self._layout.std
        self.body = _body(name, self._layout.options)
        if norm == "frozen":
            self.body = _frozen(self.body)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, 3, H, W) normalised pictures to C2..C5, each (B, channels[i], H / 2^(i+2), W / 2^(i+2))."""
        maps = self.body(images)
        c2, c3, c4, c5 = (maps[place] for place in self._layout.places)
        if self._layout.channels_last:
            c2, c3, c4, c5 = (one.permute(0, 3, 1, 2) for one in (c2, c3, c4, c5))
        return c2, c3, c4, c5

    @property
    def stem(self) -> nn.Conv2d | None:
        """The only convolution that sees the picture."""
        return cast("nn.Conv2d", self.body.get_submodule(self._layout.stem)) if self._layout.stem else None

    def conv_norms(self) -> Iterator[tuple[nn.Module, str, nn.Module, str]]:
        """Each convolution that a batch norm directly follows, and the norm: parent and name of both."""
        for conv, norm in self._layout.conv_norms:
            yield (*_parent(self.body, conv), *_parent(self.body, norm))


def load_pretrained(backbone: TimmBackbone, state: Mapping[str, Tensor] | None = None, source: str = "") -> None:
    """Fills `backbone` with pretrained weights.

    Args:
        backbone: to fill.
        state: a state dict of this model with its classifier, as timm or its authors publish it; None: timm's own
            loader gets the weights, which downloads them once into the cache of the Hugging Face hub.
        source: what the state was read from, for messages.

    Raises:
        DataError: the state is not of this model.
        RunError: the weights cannot be downloaded, or there are none.
    """
    name, layout = backbone.name.removeprefix(PREFIX), backbone._layout
    body = _downloaded(name, layout) if state is None else _filled(name, layout, state, source)
    frozen = not any(key.endswith("num_batches_tracked") for key in backbone.body.state_dict())
    backbone.body.load_state_dict((_frozen(body) if frozen else body).state_dict())


@functools.cache
def layout_of(name: str) -> Layout:
    """What is needed of the model of this name, found once.

    Raises:
        UsageError: timm is missing, or has no such model, or the model has no features at strides 4, 8, 16 and 32.
    """
    timm = _timm(name)
    models = timm.list_pretrained() if "." in name else timm.list_models()
    if name not in models:
        raise UsageError(
            f"timm {timm.__version__} has no model {name!r}.",
            hint=did_you_mean(name, models, "`python -c 'import timm; print(timm.list_models())'` lists all of them."),
        )
    reasons: list[str] = []
    for options in _OPTIONS:
        try:
            with torch.device("meta"):
                return _probed(_body(name, options).eval(), name, options)
        except _StridesError as error:
            reasons.insert(0, str(error))
        except Exception as error:  # each model has its own way to refuse a size, or a word
            reasons.append(_in_short(error))
    raise UsageError(
        f"timm's {name} cannot be the backbone, which needs maps at strides 4, 8, 16 and 32 of pictures of any size: "
        f"{reasons[0]}.",
        hint="Choose a network of stages, such as convnext_tiny, resnet50, regnety_016 or tf_efficientnet_lite0.",
    )


class _StridesError(Exception):
    """A model has no maps at some stride; used only in this module."""


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def _timm(name: str) -> ModuleType:
    if importlib.util.find_spec("timm") is None:
        raise UsageError(f"The backbone timm:{name} needs the package timm, which is not installed.", hint=INSTALL)
    import timm

    return timm


def _body(name: str, options: Mapping[str, Any], **pretrained: Any) -> nn.Module:
    import timm

    log = logging.getLogger("timm")
    before = log.level
    # It warns of a classifier that it does not need.
    log.setLevel(logging.ERROR)
    try:
        body: nn.Module = timm.create_model(name, features_only=True, **options, **pretrained)
    finally:
        log.setLevel(before)
    return body


def _probed(body: nn.Module, name: str, options: dict[str, Any]) -> Layout:
    """The layout of a model on the meta device. Raises _StridesError, or an error of the model, if it has none."""
    import timm

    height, width = _PROBE
    last = "NHWC" in str(getattr(body, "output_fmt", ""))
    with _Watch(body) as watch:
        maps = [one.permute(0, 3, 1, 2) if last else one for one in body(torch.zeros(1, 3, height, width))]
    sizes = [tuple(one.shape[-2:]) if one.dim() == 4 else () for one in maps]
    wanted = [(height // stride, width // stride) for stride in STRIDES]
    if not set(wanted) <= set(sizes):
        strides = ", ".join(f"{height / size[0]:g}" for size in sizes if size)
        raise _StridesError(f"its maps have strides {strides or 'of other kinds'}")
    # Of several maps of a size, the last one is the deepest.
    places = tuple(len(sizes) - 1 - sizes[::-1].index(size) for size in wanted)
    cfg = timm.get_pretrained_cfg(name)
    assert cfg is not None, "of a name that timm lists"
    return Layout(
        options=options,
        places=places,
        channels=tuple(maps[place].shape[1] for place in places),
        channels_last=last,
        conv_norms=tuple(watch.conv_norms()),
        stem=watch.stem(),
        mean=tuple(255 * value for value in cfg.mean),
        std=tuple(255 * value for value in cfg.std),
    )


class _Watch:
    """While the block runs, what the convolutions of a model see and what norms see of them."""

    def __init__(self, body: nn.Module) -> None:
        from timm.layers.conv2d_same import Conv2dSame
        from timm.layers.norm_act import BatchNormAct2d

        # Exactly these: others change their weights before they use them, or have more than statistics.
        self._convs, self._norms = (nn.Conv2d, Conv2dSame), (nn.BatchNorm2d, BatchNormAct2d)
        self._body = body
        self._made: dict[int, str] = {}
        self._calls: list[str] = []
        self._pairs: list[tuple[str, str]] = []
        self._first: list[str] = []
        self._kept: list[Tensor] = []  # or an address could be used again

    def __enter__(self) -> "_Watch":
        self._hooks = [
            module.register_forward_hook(functools.partial(self._saw, path))
            for path, module in self._body.named_modules()
            if type(module) in self._convs + self._norms
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _saw(self, path: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._calls.append(path)
        self._kept += [inputs[0], output]
        if type(module) in self._convs:
            self._made[id(output)] = path
            if inputs[0].shape[1:] == (3, *_PROBE):
                self._first.append(path)
        elif id(inputs[0]) in self._made:
            self._pairs.append((self._made[id(inputs[0])], path))

    def conv_norms(self) -> list[tuple[str, str]]:
        """Of convolutions and norms that are used once."""
        return [pair for pair in self._pairs if all(self._calls.count(path) == 1 for path in pair)]

    def stem(self) -> str:
        """The only convolution that sees the picture."""
        return self._first[0] if len(self._first) == 1 else ""


def _parent(body: nn.Module, path: str) -> tuple[nn.Module, str]:
    parent, _, name = path.rpartition(".")
    return body.get_submodule(parent), name


def _frozen(body: nn.Module) -> nn.Module:
    """`body` with batch norms whose statistics and scales are fixed, and other norms whose scales are."""
    from timm.layers.norm_act import freeze_batch_norm_2d

    body = freeze_batch_norm_2d(body)
    for module in body.modules():
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            module.requires_grad_(False)
    return body


def _downloaded(name: str, layout: Layout) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]):
            return _body(name, layout.options, pretrained=True)
    except Exception as error:  # of requests, of the hub, of timm: all of them say that there are no weights
        raise RunError(
            f"Pretrained weights of timm:{name} cannot be had: {_in_short(error)}.",
            hint="Check the network connection; or read them from a file with --set "
            "model.backbone_weights=file:PATH, or start from random weights with --set model.backbone_weights=none.",
        ) from error


def _filled(name: str, layout: Layout, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """A model with the weights of `state`, all of them.

    timm adapts files of many kinds to its models, and of what a file lacks it leaves the random values. So the same is
    done with another file, whose values are all larger by one: a tensor that comes out the same was in neither.
    """
    bodies = []
    for shift in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            given = {key: one + shift if one.is_floating_point() else one.clone() for key, one in state.items()}
            try:
                bodies.append(
                    _body(name, layout.options, pretrained=True, pretrained_cfg_overlay={"state_dict": given})
                )
            except Exception as error:  # load_state_dict and timm's filters raise whatever a foreign file leads to
                raise DataError(
                    f"{source}: its weights are not those of timm:{name}: {_in_short(error)}.",
                    hint="The file must be of the same model, with the names of timm or of its authors.",
                ) from error
    body, other = (one.state_dict() for one in bodies)
    missing = [key for key, one in body.items() if one.is_floating_point() and torch.equal(one, other[key])]
    if missing:
        raise DataError(
            f"{source}: its weights are not those of timm:{name}: it lacks {len(missing)} of {len(body)} tensors, "
            f"the first is {missing[0]}.",
            hint="The file must be of the same model, with the names of timm or of its authors.",
        )
    return bodies[0]

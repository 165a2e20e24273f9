"""The schema of a recipe: frozen dataclasses with defaults of YOSO-R50 on COCO, as the authors released it.

A recipe states its differences from these defaults. Each value has its meaning (with the paper's symbol where there is
one) and its valid range. `recipe/file.py` reads YAML into these types and reports every mistake with its line.
"""

import re
from dataclasses import asdict, dataclass, field
from typing import Any


def value(
    default: Any,
    meaning: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    choices: tuple[str, ...] = (),
    forms: tuple[str, ...] = (),
) -> Any:
    """A recipe value: default, meaning and valid range (bounds apply to each item of a list).

    With `choices` it is one of them, or of `forms`, such as `file:PATH`, with something after the colon.
    """
    metadata = {
        "meaning": meaning,
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "choices": choices,
        "forms": forms,
    }
    return field(default=default, metadata=metadata)


LITE = "timm:tf_efficientnet_lite0"
"""The backbone whose ImageNet weights come with the extra `lite`."""


@dataclass(frozen=True)
class Conflict:
    """An invalid value.

    Attributes:
        key: key of the value.
        sentence: what is wrong with it.
        other: key of the other value, if two contradict each other.
    """

    key: str
    sentence: str
    other: str = ""


@dataclass(frozen=True)
class DataRecipe:
    """The dataset."""

    name: str = value("coco", "name of the prepared dataset")
    root: str = value("datasets", "folder of all datasets, with <name>/<split>/")
    train_split: str = value("train2017", "training split")
    val_split: str = value("val2017", "validation split")


@dataclass(frozen=True)
class ModelRecipe:
    """The network (paper Sec. 3). The class count comes from the dataset."""

    backbone: str = value(
        "resnet50",
        "torchvision's ResNet, or a network of timm",
        choices=("resnet18", "resnet34", "resnet50", "resnet101"),
        forms=("timm:NAME",),
    )
    backbone_weights: str = value(
        "imagenet",
        "initial weights of the backbone: `imagenet` are downloaded, `lite` come with yoso-cli[lite], `none` is random",
        choices=("imagenet", "lite", "none"),
        forms=("file:PATH",),
    )
    backbone_norm: str = value("frozen", "norms of the backbone: frozen or trained", choices=("frozen", "batch"))
    stem_channels: int = value(64, "channels after the backbone's first convolution", at_least=1, at_most=4096)
    base_channels: int = value(
        64, "planes of the backbone's first stage; each later stage doubles them", at_least=1, at_most=4096
    )
    width_per_group: int = value(64, "width of a bottleneck's 3x3 convolution per 64 planes", at_least=1, at_most=4096)
    pyramid_min: int = value(
        0,
        "channels of the narrowest pyramid level, which have half of the backbone's; 0: any, but 64 over one of timm",
        at_least=0,
        at_most=4096,
    )
    aggregator: str = value(
        "cfa", "Table 5: interpolation first (ifa) or convolution first (cfa)", choices=("ifa", "cfa")
    )
    aggregation_dim: int = value(128, "channels of the aggregated features", at_least=1, at_most=16384)
    hidden_dim: int = value(256, "d: channels of features and kernels", at_least=1, at_most=16384)
    attention: str = value(
        "sdca", "Table 6: cross-attention between kernels and features", choices=("mhca", "dca", "sdca", "pdca", "ddca")
    )
    num_blocks: int = value(2, "N, Table 7: attention blocks per stage", at_least=1, at_most=100)
    kernel_size: int = value(3, "t, Table 8: size of the dynamic convolution; odd", at_least=1, at_most=99)
    num_stages: int = value(2, "T, Table 9: decoder stages", at_least=1, at_most=100)
    num_proposals: int = value(100, "n, Table 10: proposal kernels", at_least=1, at_most=10000)
    num_heads: int = value(8, "heads of self-attention (and of mhca)", at_least=1, at_most=1024)
    feedforward_dim: int = value(2048, "hidden width of the feed-forward network", at_least=1, at_most=65536)
    num_class_layers: int = value(1, "linear layers before the class scores", at_least=0, at_most=100)
    num_mask_layers: int = value(1, "linear layers before the mask kernels", at_least=0, at_most=100)
    temperature: float = value(0.05, "divisor of the class logits", above=0)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the network: all but `backbone_weights`."""
        return {name: item for name, item in asdict(self).items() if name != "backbone_weights"}

    def conflicts(self) -> list[Conflict]:
        """Values that are invalid or contradict each other."""
        found = []
        if self.kernel_size % 2 == 0:
            found.append(Conflict("model.kernel_size", f"must be odd, not {self.kernel_size}"))
        if self.hidden_dim % self.num_heads:
            sentence = f"{self.num_heads} heads do not divide hidden_dim {self.hidden_dim}"
            found.append(Conflict("model.num_heads", sentence, "model.hidden_dim"))
        if self.backbone.startswith("timm:"):
            for name in ("stem_channels", "base_channels", "width_per_group"):
                if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                    sentence = f"is of torchvision's ResNets, and {self.backbone} has widths of its own"
                    found.append(Conflict(f"model.{name}", sentence, "model.backbone"))
        if self.backbone_weights == "lite" and self.backbone != LITE:
            sentence = f"lite are weights of {LITE}, not of {self.backbone}"
            found.append(Conflict("model.backbone_weights", sentence, "model.backbone"))
        return found


@dataclass(frozen=True)
class AugmentRecipe:
    """Augmentation of training pictures (paper Sec. 4.2)."""

    resize: str = value(
        "jitter",
        "large-scale jitter (COCO), or a random short edge (the other datasets)",
        choices=("jitter", "short_edge"),
    )
    crop_height: int = value(1024, "pixels; smaller pictures are padded to it", at_least=32)
    crop_width: int = value(1024, "pixels; smaller pictures are padded to it", at_least=32)
    scale_min: float = value(0.1, "jitter: smallest scale, relative to fitting the crop", above=0)
    scale_max: float = value(2.0, "jitter: largest scale, relative to fitting the crop", above=0)
    short_edges: tuple[int, ...] = value((), "short_edge: lengths to choose from, in pixels", at_least=1)
    long_edge: int = value(4096, "short_edge: upper limit of the long edge, in pixels", at_least=32)
    crop_place: str = value(
        "free",
        "jitter: independent row and column of the crop, or one random number for both (released)",
        choices=("free", "diagonal"),
    )
    category_share: float = value(1.0, "short_edge: largest share of one category in a crop", above=0, at_most=1)
    flip: float = value(0.5, "probability of a horizontal flip", at_least=0, at_most=1)
    turns: bool = value(
        False, "turn pictures by 0, 90, 180 or 270 degrees, where up means nothing: microscopes, photos from the air"
    )
    color: str = value("none", "colour jitter: none, or that of SSD", choices=("none", "ssd"))
    copy_paste: float = value(0.0, "probability of copy-paste augmentation", at_least=0, at_most=1)
    padding: str = value(
        "excluded",
        "padding is ignored by the loss, or counts as background (released)",
        choices=("excluded", "negative"),
    )


@dataclass(frozen=True)
class LossRecipe:
    """The set-prediction loss."""

    class_weight: float = value(2.0, "weight of the class loss", at_least=0)
    mask_weight: float = value(5.0, "weight of the mask (binary cross-entropy) loss", at_least=0)
    dice_weight: float = value(5.0, "weight of the dice loss", at_least=0)
    no_object_weight: float = value(0.1, "weight of the no-object class", at_least=0)
    compare_at: str = value(
        "points",
        "masks are compared at sampled points, or at every cell of the mask logits",
        choices=("points", "cells"),
    )
    box_share: float = value(
        0.5, "cells: share of a mask's cross-entropy that comes from the box around it", at_least=0, at_most=1
    )
    box_points: int = value(
        0, "cells: points along each edge of a mask's box, at which its part is compared; 0: its cells", at_least=0
    )
    num_points: int = value(12544, "points: how many per mask", at_least=1)
    oversample_ratio: float = value(
        3.0, "points: candidates for each, of which the most uncertain are kept", at_least=1
    )
    importance_ratio: float = value(0.75, "points: share chosen by uncertainty", at_least=0, at_most=1)
    center_weight: float = value(
        0.0, "weight of the loss that teaches features the center of each thing; 0: none", at_least=0
    )


@dataclass(frozen=True)
class TrainRecipe:
    """Optimisation and schedule (paper Sec. 4.2)."""

    iterations: int = value(368750, "optimizer steps", at_least=1)
    batch: int = value(16, "pictures per optimizer step, over all GPUs", at_least=1)
    micro_batch: int = value(
        0, "pictures per GPU and forward pass (gradient accumulation); 0: as many as fit", at_least=0
    )
    optimizer: str = value(
        "adamw", "AdamW for all weights, or Muon for the convolutions of backbone and neck", choices=("adamw", "muon")
    )
    lr: float = value(1e-4, "peak learning rate", above=0)
    weight_decay: float = value(0.05, "weight decay of all but norms", at_least=0)
    backbone_lr: float = value(0.1, "factor on the learning rate for the backbone", at_least=0)
    schedule: str = value("step", "learning rate schedule", choices=("step", "poly"))
    milestones: tuple[int, ...] = value((327778, 355092), "step: iterations at which the rate drops", at_least=1)
    gamma: float = value(0.1, "step: factor of each drop", above=0, at_most=1)
    power: float = value(0.9, "poly: exponent", above=0)
    warmup: int = value(0, "iterations of linear warm-up", at_least=0)
    clip: float = value(0.01, "gradient clipping: largest norm over the whole model", above=0)
    precision: str = value(
        "float32", "precision of backbone and neck; the rest is float32", choices=("float32", "bfloat16", "float16")
    )
    channels_last: bool = value(False, "channels-last memory format, faster with tensor cores")
    compile: bool = value(False, "torch.compile; the first step takes minutes")
    ema: float = value(
        0.0, "decay of the moving average of the weights, such as 0.9998; 0: none", at_least=0, at_most=1
    )
    batch_norms_until: float = value(
        1.0, "share of the steps after which batch norms keep their statistics", at_least=0, at_most=1
    )
    freeze: tuple[str, ...] = value((), "frozen parts", choices=("backbone", "aggregator", "decoder"))
    start: str = value(
        "random",
        "initial weights of the decoder: random (released), or such that it compares centers of things",
        choices=("random", "centers"),
    )
    seed: int = value(0, "random seed of initial weights, data order and sampled points", at_least=0)
    workers: int = value(4, "data loader processes; 0 loads in the training process", at_least=0)
    log_every: int = value(20, "iterations between lines of metrics.jsonl", at_least=1)
    checkpoint_every: int = value(5000, "iterations between checkpoints", at_least=1)
    keep: int = value(2, "newest checkpoints to keep; the best one is kept as well", at_least=1)
    bad_steps: int = value(3, "consecutive steps without a finite loss that stop the run", at_least=1)
    unreadable: float = value(0.01, "share of unreadable pictures that stops the run", at_least=0, at_most=1)
    evaluate_every: int = value(0, "iterations between evaluations; 0: only at the end", at_least=0)


@dataclass(frozen=True)
class InferenceRecipe:
    """Inference: sizes and thresholds."""

    short_edge: int = value(800, "short edge after resizing, in pixels", at_least=32)
    long_edge: int = value(1333, "upper limit of the long edge, in pixels", at_least=32)
    score_threshold: float = value(0.7, "queries with a lower class score are dropped", at_least=0, at_most=1)
    overlap_threshold: float = value(
        0.8, "masks that keep a smaller share of their pixels are dropped", at_least=0, at_most=1
    )


@dataclass(frozen=True)
class PaperRecipe:
    """The paper's results for this recipe; None where it gives none."""

    table: str = value("", "table and row")
    pq: float | None = value(None, "PQ, percent", at_least=0, at_most=100)
    pq_things: float | None = value(None, "PQ of things, percent", at_least=0, at_most=100)
    pq_stuff: float | None = value(None, "PQ of stuff, percent", at_least=0, at_most=100)
    fps: float | None = value(None, "frames per second", above=0)
    gpu: str = value("", "GPU of the FPS")
    says: tuple[str, ...] = value((), "values that differ in the paper's text, as `train.iterations: 370k`")

    def said(self) -> dict[str, str]:
        """What the paper's text says, by key."""
        return {key: text for key, _, text in (note.partition(": ") for note in self.says)}


@dataclass(frozen=True)
class Recipe:
    """A whole experiment."""

    name: str = value("yoso", "name of the run folder: runs/<name>-NNN")
    description: str = value("", "one line for `yoso recipe list`")
    data: DataRecipe = field(default_factory=DataRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    train: TrainRecipe = field(default_factory=TrainRecipe)
    inference: InferenceRecipe = field(default_factory=InferenceRecipe)
    paper: PaperRecipe = field(default_factory=PaperRecipe)

    def conflicts(self) -> list[Conflict]:
        """Values that are invalid or contradict each other."""
        model, augment, train = self.model, self.augment, self.train
        found = model.conflicts()
        for key, name in (("name", self.name), ("data.name", self.data.name)):
            # They become folder names, and a recipe may be untrusted.
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                sentence = f"{name!r} is not a valid folder name: use letters, digits, dots, dashes and underscores"
                found.append(Conflict(key, sentence))
        if augment.resize == "short_edge" and not augment.short_edges:
            found.append(
                Conflict("augment.short_edges", "must not be empty when resize is short_edge", "augment.resize")
            )
        if augment.scale_min > augment.scale_max:
            sentence = f"{augment.scale_min} is above scale_max {augment.scale_max}"
            found.append(Conflict("augment.scale_min", sentence, "augment.scale_max"))
        for key, pixels in (("crop_height", augment.crop_height), ("crop_width", augment.crop_width)):
            if pixels % 32:
                found.append(Conflict(f"augment.{key}", f"must be a multiple of 32, not {pixels}"))
        if self.inference.short_edge > self.inference.long_edge:
            found.append(Conflict("inference.short_edge", "is above long_edge", "inference.long_edge"))
        if list(train.milestones) != sorted(set(train.milestones)):
            found.append(Conflict("train.milestones", "must be in ascending order"))
        plain = self.to_dict()
        for key in self.paper.said():
            section, _, name = key.partition(".")
            if name not in plain.get(section, {}):
                found.append(Conflict("paper.says", f"{key!r} is not a key of a recipe"))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for YAML or JSON."""
        return {
            name: {key: list(item) if isinstance(item, tuple) else item for key, item in section.items()}
            if isinstance(section, dict)
            else section
            for name, section in asdict(self).items()
        }

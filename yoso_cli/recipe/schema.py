"""The schema of a recipe: frozen dataclasses with defaults of YOSO-R50 on COCO, as the authors released it.

A recipe states its difference from these defaults. Each value carries its meaning (with the paper's letter where it
has one) and its permitted range; `recipe_file.py` reads YAML into these types and reports every mistake with its place.
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
) -> Any:
    """A recipe value: its default, what it means, and what it may be (bounds hold for each item of a list)."""
    metadata = {"meaning": meaning, "at_least": at_least, "above": above, "at_most": at_most, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataRecipe:
    """Which prepared panoptic set is trained on and which is evaluated."""

    name: str = value("coco", "the dataset, as `yoso prepare NAME` wrote it")
    root: str = value("datasets", "folder that holds <name>/<split>/")
    train_split: str = value("train2017", "split to train on")
    val_split: str = value("val2017", "split to evaluate on")


@dataclass(frozen=True)
class ModelRecipe:
    """The network (paper Sec. 3). The class count comes from the dataset."""

    backbone: str = value("resnet50", "torchvision's ResNet", choices=("resnet18", "resnet34", "resnet50", "resnet101"))
    backbone_weights: str = value(
        "imagenet", "what the backbone starts from; `none` is random", choices=("imagenet", "none")
    )
    backbone_norm: str = value(
        "frozen", "batch norm of the backbone: fixed statistics, or trained", choices=("frozen", "batch")
    )
    stem_channels: int = value(64, "channels after the backbone's first convolution", at_least=1)
    base_channels: int = value(64, "planes of the backbone's first block; each later one doubles them", at_least=1)
    width_per_group: int = value(64, "width of a bottleneck's 3x3 convolution per 64 planes", at_least=1)
    aggregator: str = value(
        "cfa", "Table 5: interpolation first (ifa) or convolution first (cfa)", choices=("ifa", "cfa")
    )
    aggregation_dim: int = value(128, "channels of the aggregated features", at_least=1)
    hidden_dim: int = value(256, "d: channels of features and kernels", at_least=1)
    attention: str = value(
        "sdca", "Table 6: cross-attention of kernels and features", choices=("mhca", "dca", "sdca", "pdca", "ddca")
    )
    num_blocks: int = value(2, "N, Table 7: attention blocks per stage", at_least=1)
    kernel_size: int = value(3, "t, Table 8: size of the dynamic convolution; odd", at_least=1)
    num_stages: int = value(2, "T, Table 9: times the kernels are refined", at_least=1)
    num_proposals: int = value(100, "n, Table 10: proposal kernels", at_least=1)
    num_heads: int = value(8, "heads of self-attention (and of mhca)", at_least=1)
    feedforward_dim: int = value(2048, "hidden width of the feed-forward network", at_least=1)
    num_class_layers: int = value(1, "linear layers before the class scores", at_least=0)
    num_mask_layers: int = value(1, "linear layers before the mask kernels", at_least=0)
    temperature: float = value(0.05, "class logits are divided by it", above=0)

    def arguments(self) -> dict[str, Any]:
        """What the network takes as keywords: all but how its backbone starts."""
        return {name: item for name, item in asdict(self).items() if name != "backbone_weights"}


@dataclass(frozen=True)
class AugmentRecipe:
    """What a training picture goes through up to its crop (paper Sec. 4.2)."""

    resize: str = value(
        "jitter",
        "large-scale jitter (COCO), or a short edge drawn from a list (the other three)",
        choices=("jitter", "short_edge"),
    )
    crop_height: int = value(1024, "pixels; smaller pictures are padded to it", at_least=32)
    crop_width: int = value(1024, "pixels; smaller pictures are padded to it", at_least=32)
    scale_min: float = value(0.1, "jitter: smallest scale, relative to fitting the crop", above=0)
    scale_max: float = value(2.0, "jitter: largest scale, relative to fitting the crop", above=0)
    short_edges: tuple[int, ...] = value((), "short_edge: the lengths it may take, in pixels", at_least=1)
    long_edge: int = value(4096, "short_edge: pixels the long edge may not exceed", at_least=32)
    crop_place: str = value(
        "free", "jitter: rows and columns drawn apart, or by one number (released)", choices=("free", "diagonal")
    )
    category_share: float = value(
        1.0, "short_edge: a crop that one category fills beyond it is drawn again", above=0, at_most=1
    )
    flip: float = value(0.5, "probability of a horizontal flip", at_least=0, at_most=1)
    color: str = value("none", "colour jitter: none, or that of SSD", choices=("none", "ssd"))
    copy_paste: float = value(0.0, "probability that things of another picture are laid over", at_least=0, at_most=1)
    padding: str = value(
        "excluded", "no loss in padding, or padding counts as background (released)", choices=("excluded", "negative")
    )


@dataclass(frozen=True)
class LossRecipe:
    """The set-prediction loss on sampled points."""

    class_weight: float = value(2.0, "weight of the class loss", at_least=0)
    mask_weight: float = value(5.0, "weight of the mask (binary cross-entropy) loss", at_least=0)
    dice_weight: float = value(5.0, "weight of the dice loss", at_least=0)
    no_object_weight: float = value(0.1, "weight of the no-object class", at_least=0)
    num_points: int = value(12544, "points per mask", at_least=1)
    oversample_ratio: float = value(3.0, "candidates per point, of which the uncertain are kept", at_least=1)
    importance_ratio: float = value(0.75, "share of points chosen by uncertainty", at_least=0, at_most=1)


@dataclass(frozen=True)
class TrainRecipe:
    """Optimisation and schedule (paper Sec. 4.2)."""

    iterations: int = value(368750, "optimizer steps", at_least=1)
    batch: int = value(16, "pictures per optimizer step, of all GPUs together", at_least=1)
    micro_batch: int = value(0, "pictures per pass of one GPU, as batch norms see them; 0: what fits", at_least=0)
    lr: float = value(1e-4, "peak learning rate of AdamW", above=0)
    weight_decay: float = value(0.05, "decay of all but norms", at_least=0)
    backbone_lr: float = value(0.1, "factor on the learning rate for the backbone", at_least=0)
    schedule: str = value("step", "how the rate falls", choices=("step", "poly"))
    milestones: tuple[int, ...] = value((327778, 355092), "iterations at which a step schedule drops", at_least=1)
    gamma: float = value(0.1, "factor of each drop", above=0, at_most=1)
    power: float = value(0.9, "exponent of a poly schedule", above=0)
    warmup: int = value(0, "iterations over which the rate rises linearly", at_least=0)
    clip: float = value(0.01, "largest gradient norm over the whole model", above=0)
    precision: str = value(
        "float32", "of backbone and neck; the rest is float32", choices=("float32", "bfloat16", "float16")
    )
    channels_last: bool = value(False, "memory layout that GPUs with tensor cores like")
    compile: bool = value(False, "torch.compile; the first step takes minutes, later ones less")
    ema: float = value(
        0.0, "decay of a moving average of the weights, such as 0.9998; 0 is none", at_least=0, at_most=1
    )
    freeze: tuple[str, ...] = value((), "parts that do not learn", choices=("backbone", "aggregator", "decoder"))
    seed: int = value(0, "of the initial weights, the data order and the sampled points", at_least=0)
    workers: int = value(4, "processes that load pictures; 0 loads in the training process", at_least=0)
    log_every: int = value(20, "iterations between lines of metrics.jsonl", at_least=1)
    checkpoint_every: int = value(5000, "iterations between checkpoints", at_least=1)
    keep: int = value(2, "newest checkpoints that stay; the best one stays as well", at_least=1)
    bad_steps: int = value(3, "steps in a row without a finite loss after which the run stops", at_least=1)
    unreadable: float = value(0.01, "share of unreadable pictures at which the run stops", at_least=0, at_most=1)
    evaluate_every: int = value(0, "iterations between evaluations; 0 evaluates at the end only", at_least=0)


@dataclass(frozen=True)
class InferenceRecipe:
    """From a picture to segments."""

    short_edge: int = value(800, "pixels the short edge is scaled to", at_least=32)
    long_edge: int = value(1333, "pixels the long edge may not exceed", at_least=32)
    score_threshold: float = value(0.7, "a query below this class score is dropped", at_least=0, at_most=1)
    overlap_threshold: float = value(
        0.8, "a mask that keeps less than this share of its pixels is dropped", at_least=0, at_most=1
    )


@dataclass(frozen=True)
class PaperRecipe:
    """The paper's row that a recipe aims at; None where the paper gives no figure."""

    table: str = value("", "where the figures stand")
    pq: float | None = value(None, "PQ, percent", at_least=0, at_most=100)
    pq_things: float | None = value(None, "PQ of things, percent", at_least=0, at_most=100)
    pq_stuff: float | None = value(None, "PQ of stuff, percent", at_least=0, at_most=100)
    fps: float | None = value(None, "frames per second", above=0)
    gpu: str = value("", "on which the FPS was measured")
    says: tuple[str, ...] = value((), "values that its text has otherwise, as `train.iterations: 370k`")

    def said(self) -> dict[str, str]:
        """What the paper says by the key of the value that it says it of."""
        return {key: text for key, _, text in (note.partition(": ") for note in self.says)}


@dataclass(frozen=True)
class Conflict:
    """A value that cannot stand as it is.

    Attributes:
        key: of the value.
        sentence: what is wrong with it.
        other: the key of the value that it cannot stand beside, if there is one.
    """

    key: str
    sentence: str
    other: str = ""


@dataclass(frozen=True)
class Recipe:
    """A whole experiment."""

    name: str = value("yoso", "names the run folder: runs/<name>-NNN")
    description: str = value("", "one line for `yoso recipe list`")
    data: DataRecipe = field(default_factory=DataRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    train: TrainRecipe = field(default_factory=TrainRecipe)
    inference: InferenceRecipe = field(default_factory=InferenceRecipe)
    paper: PaperRecipe = field(default_factory=PaperRecipe)

    def conflicts(self) -> list["Conflict"]:
        """Values that cannot stand alone or together."""
        model, augment, train = self.model, self.augment, self.train
        found = []
        for key, name in (("name", self.name), ("data.name", self.data.name)):
            # They become folders, and a recipe may come from a stranger.
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                sentence = f"{name!r} is no folder name: letters, digits, dots, dashes and underscores"
                found.append(Conflict(key, sentence))
        if model.kernel_size % 2 == 0:
            found.append(Conflict("model.kernel_size", f"must be odd, not {model.kernel_size}"))
        if model.hidden_dim % model.num_heads:
            sentence = f"{model.num_heads} heads do not divide hidden_dim {model.hidden_dim}"
            found.append(Conflict("model.num_heads", sentence, "model.hidden_dim"))
        if augment.resize == "short_edge" and not augment.short_edges:
            found.append(Conflict("augment.short_edges", "is empty, and resize is short_edge", "augment.resize"))
        if augment.scale_min > augment.scale_max:
            sentence = f"{augment.scale_min} is above scale_max {augment.scale_max}"
            found.append(Conflict("augment.scale_min", sentence, "augment.scale_max"))
        for key, pixels in (("crop_height", augment.crop_height), ("crop_width", augment.crop_width)):
            if pixels % 32:
                found.append(Conflict(f"augment.{key}", f"must be a multiple of 32, not {pixels}"))
        if self.inference.short_edge > self.inference.long_edge:
            found.append(Conflict("inference.short_edge", "is above long_edge", "inference.long_edge"))
        if list(train.milestones) != sorted(set(train.milestones)):
            found.append(Conflict("train.milestones", "must rise"))
        plain = self.to_dict()
        for key in self.paper.said():
            section, _, name = key.partition(".")
            if name not in plain.get(section, {}):
                found.append(Conflict("paper.says", f"{key!r} is no key of a recipe"))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for YAML or JSON."""
        return {
            name: {key: list(item) if isinstance(item, tuple) else item for key, item in section.items()}
            if isinstance(section, dict)
            else section
            for name, section in asdict(self).items()
        }

"""The parts of a training made from a recipe: network, initial weights, optimizer step, learning rate, dataset."""

from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.api.dataset import prepared_set
from yoso_cli.api.weights import read_weights
from yoso_cli.drawing.overlay import overlay
from yoso_cli.drawing.sheet import bounded, sheet
from yoso_cli.drawing.style import Style
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import Category, Panoptic, PanopticSet, Rgb, measured
from yoso_cli.recipe.schema import Recipe
from yoso_cli.runtime.distributed import ProcessGroup
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    import torch

    from yoso_cli.loading.augmentation import Augmentation
    from yoso_cli.loading.dataset import PanopticDataset
    from yoso_cli.model.yoso import YOSO
    from yoso_cli.training.centers import CenterCode
    from yoso_cli.training.memory import Footprint
    from yoso_cli.training.step import Criterion, Step


def build_network(recipe: Recipe, num_classes: int) -> "YOSO":
    """The recipe's network, initialised on the CPU, where a seed gives the same weights on every machine."""
    import torch

    from yoso_cli.model.yoso import YOSO
    from yoso_cli.training.centers import start_at_centers

    torch.manual_seed(recipe.train.seed)
    model = YOSO(num_classes, **recipe.model.arguments())
    if recipe.train.start == "centers":
        start_at_centers(model, _center_code(recipe))
    return model


def _center_code(recipe: Recipe) -> "CenterCode":
    """The code of places in the recipe's crops.

    Raises:
        UsageError: the network has too few channels for it, or too many layers.
    """
    from yoso_cli.training.centers import CenterCode

    model, augment = recipe.model, recipe.augment
    code = CenterCode(augment.crop_height, augment.crop_width)
    if 2 * code.channels + 2 > model.hidden_dim:
        raise UsageError(
            f"{recipe.name}: center codes of {augment.crop_height}x{augment.crop_width} crops need "
            f"model.hidden_dim of {2 * code.channels + 2} or more, not {model.hidden_dim}.",
            hint="Choose smaller crops, a wider network, or train.start: random and loss.center_weight: 0.",
        )
    if recipe.train.start == "centers" and model.num_mask_layers != 1:
        raise UsageError(
            f"{recipe.name}: train.start: centers needs model.num_mask_layers: 1, not {model.num_mask_layers}.",
            hint="Choose train.start: random.",
        )
    return code


def require_backbone(recipe: Recipe) -> None:
    """Raises UsageError for a backbone of timm that is not there, or weights in a package or file that is not."""
    from yoso_cli.model.lite_weights import lite_file
    from yoso_cli.model.timm_backbone import PREFIX, layout_of

    name, (kind, _, named) = recipe.model.backbone, recipe.model.backbone_weights.partition(":")
    if name.startswith(PREFIX):
        layout_of(name.removeprefix(PREFIX))
    if kind == "lite":
        lite_file()
    if kind == "file" and not Path(named).is_file():
        raise UsageError(
            f"model.backbone_weights: there is no file {named}.",
            hint="Name a file of the backbone's weights, or start from random ones: model.backbone_weights=none.",
        )


def load_backbone(model: "YOSO", recipe: Recipe) -> None:
    """Loads the initial weights that the recipe names into the backbone; over one of timm, laterals begin alike.

    Raises:
        UsageError: a package is missing, or the backbone has other widths than the weights.
        DataError: a file is missing, damaged or of another network.
        RunError: they cannot be downloaded.
    """
    from yoso_cli.model.backbone import ResNet, load_imagenet, load_published
    from yoso_cli.model.lite_weights import lite_state
    from yoso_cli.model.pickled import read_state
    from yoso_cli.model.timm_backbone import TimmBackbone, load_pretrained
    from yoso_cli.training.laterals import even_laterals

    backbone, (kind, _, named) = model.backbone, recipe.model.backbone_weights.partition(":")
    if kind == "none":
        return
    state = read_state(Path(named)) if kind == "file" else lite_state() if kind == "lite" else None
    if isinstance(backbone, TimmBackbone):
        load_pretrained(backbone, state, named or kind)
        even_laterals(model)
    elif isinstance(backbone, ResNet):
        load_imagenet(backbone) if state is None else load_published(backbone, state)


def load_initial_weights(
    model: "YOSO", path: Path, categories: tuple[Category, ...], progress: Progress = SILENT
) -> None:
    """Loads a weights file, also of other classes, and reports which classes it knows.

    Raises:
        DataError: it does not fit the recipe's network, or is re-parameterised.
    """
    from yoso_cli.model.weights import load_state
    from yoso_cli.training.transfer import transfer_classes

    weights = read_weights(path, progress)
    if weights.steps:
        raise DataError(
            f"{path}: re-parameterised weights cannot be trained further.",
            hint="Name the weights.safetensors of the checkpoint they were made from.",
        )
    transferred = transfer_classes(weights, model, categories)
    load_state(model, transferred.weights)
    if transferred.new:
        progress.message(
            f"{path}: has {len(transferred.known)} of this dataset's {counted(len(categories), 'class')} by name, "
            f"among its {len(weights.categories)}; new classes: {_some(transferred.new)}. "
            "All layers but the class layers are loaded unchanged."
        )


def require_shared_equally(batch: int, processes: int) -> None:
    """Raises UsageError if the processes would have different numbers of pictures."""
    if batch % processes:
        raise UsageError(
            f"train.batch of {batch} cannot be divided among {processes} processes.",
            hint="Choose a multiple, or another number of GPUs.",
        )


def optimizer_step(
    model: "YOSO",
    recipe: Recipe,
    categories: tuple[Category, ...],
    device: "torch.device",
    group: ProcessGroup,
    progress: Progress = SILENT,
) -> "Step":
    """The optimizer step of the recipe; moves `model` to `device`.

    Raises:
        UsageError: the batch cannot be divided equally, everything is frozen, or an aid does not fit the network.
    """
    import torch

    from yoso_cli.training import distributed
    from yoso_cli.training.ema import MovingAverage
    from yoso_cli.training.freezing import freeze
    from yoso_cli.training.muon import muon
    from yoso_cli.training.optim import adamw
    from yoso_cli.training.step import Step, StepConfig

    plan = recipe.train
    require_shared_equally(plan.batch, group.size)
    freeze(model, plan.freeze)
    model.to(device)
    if group.size > 1:
        distributed.convert_batch_norms(model)
    forward = distributed.wrap_ddp(model, device) if group.size > 1 else model
    return Step(
        model,
        {"adamw": adamw, "muon": muon}[plan.optimizer](
            model, weight_decay=plan.weight_decay, backbone_lr=plan.backbone_lr
        ),
        criterion(recipe, categories),
        StepConfig(
            clip=plan.clip,
            seed=plan.seed,
            precision=plan.precision,
            micro_batch=_micro_batch(model, recipe, device, group, progress),
            channels_last=plan.channels_last,
            norms_fixed_at=norms_fixed_at(recipe),
        ),
        device,
        forward=torch.compile(forward) if plan.compile else forward,
        average=MovingAverage(model, plan.ema) if plan.ema else None,
        group=group,
    )


def norms_fixed_at(recipe: Recipe) -> int:
    """The iteration from which batch norms keep their statistics; that after the last if they never do."""
    return round(recipe.train.batch_norms_until * recipe.train.iterations)


def criterion(recipe: Recipe, categories: tuple[Category, ...]) -> "Criterion":
    """The terms of the recipe's loss for these classes. Raises UsageError if an aid does not fit the network."""
    from yoso_cli.training.cells import CellLoss
    from yoso_cli.training.centers import CenterLoss, WithCenters
    from yoso_cli.training.losses import SetLoss

    chosen = CellLoss if recipe.loss.compare_at == "cells" else SetLoss
    own = {one.name for one in fields(chosen)}
    terms = chosen(**{name: value for name, value in asdict(recipe.loss).items() if name in own})
    if not recipe.loss.center_weight:
        return terms
    _center_code(recipe)
    things = tuple(category.isthing for category in categories)
    return WithCenters(terms, recipe.loss.center_weight, CenterLoss(things))


def rate_schedule(recipe: Recipe) -> Callable[[int], float]:
    """The recipe's learning rate as a function of the iteration."""
    from yoso_cli.training.optim import learning_rate

    plan = recipe.train
    return partial(
        learning_rate,
        lr=plan.lr,
        schedule=plan.schedule,
        milestones=plan.milestones,
        gamma=plan.gamma,
        power=plan.power,
        iterations=plan.iterations,
        warmup=plan.warmup,
    )


def footprint(model: "YOSO", recipe: Recipe) -> "Footprint":
    """Estimated GPU memory of training."""
    from yoso_cli.training.memory import footprint as counted
    from yoso_cli.training.muon import convolutions

    augment, plan = recipe.augment, recipe.train
    by_muon = convolutions(model) if plan.optimizer == "muon" else ()
    return counted(
        model,
        height=augment.crop_height,
        width=augment.crop_width,
        precision=plan.precision,
        average=bool(plan.ema),
        one_moment=sum(one.numel() for one in by_muon if one.requires_grad),
        places=places_per_mask(recipe) if recipe.loss.compare_at == "cells" else 0,
        codes=_center_code(recipe).channels + 1 if recipe.loss.center_weight else 0,
    )


def places_per_mask(recipe: Recipe) -> int:
    """How many places of a mask the loss compares."""
    loss, augment = recipe.loss, recipe.augment
    if loss.compare_at == "points":
        return loss.num_points
    return (augment.crop_height // 4) * (augment.crop_width // 4) + loss.box_points**2


def _micro_batch(model: "YOSO", recipe: Recipe, device: "torch.device", group: ProcessGroup, progress: Progress) -> int:
    """Micro-batch: the recipe's, or as many pictures as fit into the smallest GPU."""
    from yoso_cli.training.memory import capacity

    share = recipe.train.batch // group.size
    room = capacity(device)
    if recipe.train.micro_batch or room is None:
        return recipe.train.micro_batch or share
    fitting: int = min(group.all_gather(footprint(model, recipe).fitting(room, share)))
    if fitting < share:
        progress.message(f"Micro-batch: {fitting} of {share} pictures fit into GPU memory (train.micro_batch=0).")
    return fitting


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def augmentation(recipe: Recipe) -> "Augmentation":
    """The augmentation of the recipe's `augment` section."""
    from yoso_cli.loading.augmentation import (
        Compose,
        ScaleJitter,
        ShortEdgeCrop,
        padding_as_picture,
        quarter_turned,
    )
    from yoso_cli.loading.color import ColorJitter

    chosen = recipe.augment
    crop = (chosen.crop_height, chosen.crop_width)
    steps: list[Augmentation] = [quarter_turned] if chosen.turns else []
    if chosen.resize == "jitter":
        steps.append(ScaleJitter(crop, chosen.scale_min, chosen.scale_max, chosen.flip, chosen.crop_place))
    else:
        steps.append(ShortEdgeCrop(crop, chosen.short_edges, chosen.long_edge, chosen.category_share, chosen.flip))
    if chosen.color == "ssd":
        steps.append(ColorJitter())
    if chosen.padding == "negative":
        steps.append(padding_as_picture)
    return Compose(tuple(steps))


def training_dataset(recipe: Recipe, panoptic_set: PanopticSet) -> "PanopticDataset":
    """The set as a dataset of augmented samples."""
    from yoso_cli.loading.dataset import PanopticDataset

    return PanopticDataset(panoptic_set, augmentation(recipe), copy_paste=recipe.augment.copy_paste)


def contact_sheet(recipe: Recipe, *, rows: int, columns: int, progress: Progress = SILENT) -> Rgb:
    """The first pictures of the recipe's training split, augmented; a row for each picture.

    Raises:
        DataError: the dataset is not prepared, or one of these pictures cannot be read.
    """
    pictures = training_dataset(recipe, prepared_set(recipe, recipe.data.train_split))
    places = range(min(rows, len(pictures)))
    # Each cell has a seed of its own, or else all pictures of a column would be cropped and flipped alike.
    cells = [[_seen(pictures, place, place * columns + column) for column in range(columns)] for place in places]
    titles = [f"view {column + 1}" for column in range(columns)]
    return sheet(list(tracked(cells, len(cells), "draw", progress)), titles)


def _seen(pictures: "PanopticDataset", place: int, seed: int) -> Rgb:
    view = pictures.picture((place, seed))
    ids = view.panoptic.id_map
    panoptic = Panoptic(ids, measured(ids, view.panoptic.segments))
    return bounded(overlay(view.image, panoptic, pictures.panoptic_set.categories, Style(alpha=0.35, legend=False)))

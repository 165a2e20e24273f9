"""Transfer learning: initial weights from a model of other classes; classes are matched by name."""

from dataclasses import dataclass, replace

from torch import Tensor

from yoso_cli.model.weights import Weights
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category

# The layer of each stage that has a row for every class and one for "no object".
_CLASS_LAYERS = (".class_logits.weight", ".class_logits.bias")


@dataclass(frozen=True)
class Transferred:
    """Weights adapted to another class table, with the names of the classes that were known and new."""

    weights: Weights
    known: tuple[str, ...]
    new: tuple[str, ...]


def transfer_classes(weights: Weights, model: YOSO, categories: tuple[Category, ...]) -> Transferred:
    """`weights` with class layers for `categories`: known names keep their rows, new ones get those of `model`.

    Args:
        weights: of any class table; only class layers are changed.
        model: has randomly initialised class layers.
        categories: in the order of the model's classes.
    """
    before = {category.name: row for row, category in enumerate(weights.categories)}
    rows = [before.get(category.name) for category in categories]
    if rows == list(range(len(weights.categories))):
        return Transferred(weights, tuple(before), ())
    fresh = model.state_dict()
    state = {
        key: _moved(tensor, fresh[key], rows) if key.endswith(_CLASS_LAYERS) and key in fresh else tensor
        for key, tensor in weights.state.items()
    }
    known = tuple(category.name for category, row in zip(categories, rows, strict=True) if row is not None)
    new = tuple(category.name for category, row in zip(categories, rows, strict=True) if row is None)
    return Transferred(replace(weights, state=state, categories=categories), known, new)


def _moved(old: Tensor, fresh: Tensor, rows: list[int | None]) -> Tensor:
    """The rows of `old` in their new order, "no object" last. If the shapes differ, `old`: loading then reports it."""
    if old.shape[1:] != fresh.shape[1:]:
        return old
    moved = fresh.detach().cpu().clone().to(old.dtype)
    for place, row in enumerate([*rows, len(old) - 1]):
        if row is not None:
            moved[place] = old[row]
    return moved

"""Weights of other classes as a start: what is known of a class by its name is kept, the rest is learnt anew."""

from dataclasses import dataclass, replace

from torch import Tensor

from yoso_cli.model.weights import Weights
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category

# The layer of each stage that has a row for every class and one for "no object".
_CLASS_LAYERS = (".class_logits.weight", ".class_logits.bias")


@dataclass(frozen=True)
class Carried:
    """Weights that fit another table of classes, and the names of classes that they know from before."""

    weights: Weights
    known: tuple[str, ...]
    new: tuple[str, ...]


def carried_over(weights: Weights, model: YOSO, categories: tuple[Category, ...]) -> Carried:
    """`weights` with class layers for `categories`: rows of known names are moved, others are those of `model`.

    Args:
        weights: of any table of classes; what does not belong to classes is left as it is.
        model: whose class layers stand as they were drawn at random.
        categories: in the order of the model's classes.
    """
    before = {category.name: row for row, category in enumerate(weights.categories)}
    rows = [before.get(category.name) for category in categories]
    if rows == list(range(len(weights.categories))):
        return Carried(weights, tuple(before), ())
    fresh = model.state_dict()
    state = {
        key: _moved(tensor, fresh[key], rows) if key.endswith(_CLASS_LAYERS) and key in fresh else tensor
        for key, tensor in weights.state.items()
    }
    known = tuple(category.name for category, row in zip(categories, rows, strict=True) if row is not None)
    new = tuple(category.name for category, row in zip(categories, rows, strict=True) if row is None)
    return Carried(replace(weights, state=state, categories=categories), known, new)


def _moved(old: Tensor, fresh: Tensor, rows: list[int | None]) -> Tensor:
    """The rows of `old` in their new order; "no object" stays last. Of another network's, `old`: loading refuses it."""
    if old.shape[1:] != fresh.shape[1:]:
        return old
    moved = fresh.detach().cpu().clone().to(old.dtype)
    for place, row in enumerate([*rows, len(old) - 1]):
        if row is not None:
            moved[place] = old[row]
    return moved

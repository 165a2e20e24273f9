"""Dividing pictures into parts, such as train and val: groups stay together, classes are spread evenly if asked for.

The order is drawn by SHA-256, so that a seed gives the same parts on every machine and with every version of NumPy.
With classes, groups that have a rare one are placed first, as in iterative stratification (Sechidis et al. 2011).
"""

# G groups, K classes, P parts

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import UsageError
from yoso_cli.runtime.words import counted

Counts = npt.NDArray[np.int64]
Targets = npt.NDArray[np.float64]

REST = "rest"
# What the shares may differ from 1 together: three times 0.333 is meant to be all.
_ROUNDING = 0.005


@dataclass(frozen=True)
class Part:
    """One part to make.

    Attributes:
        name: of the split.
        share: of the pictures, 0..1; None where `count` says it.
        count: of pictures; None with neither is the rest.
    """

    name: str
    share: float | None = None
    count: int | None = None


def sizes_of(parts: Sequence[Part], images: int) -> Targets:
    """(P,) how many pictures each part should have, a fraction where shares do not come out even.

    Raises:
        UsageError: the parts are more or less than all pictures.
    """
    shares = sum(part.share or 0.0 for part in parts)
    counts = sum(part.count or 0 for part in parts)
    rests = [part for part in parts if part.share is None and part.count is None]
    named = shares * images + counts
    if len(rests) > 1:
        raise UsageError(f"--into: {' and '.join(part.name for part in rests)} are both the rest.")
    if named > images * (1 + _ROUNDING):
        raise UsageError(f"--into: the parts take {named:g} of {counted(images, 'picture')}.")
    if not rests and named < images * (1 - _ROUNDING):
        raise UsageError(
            f"--into: the parts take {named:g} of {counted(images, 'picture')}.",
            hint=f"Let one part take what is left, as in --into train={REST},val=0.2.",
        )
    left = max(0.0, images - named)
    wanted = [left if part in rests else part.count or (part.share or 0.0) * images for part in parts]
    if not all(wanted):
        names = [part.name for part, size in zip(parts, wanted, strict=True) if not size]
        raise UsageError(f"--into: nothing is left for {' and '.join(names)}.")
    return np.array(wanted, np.float64)


def drawn_order(names: Iterable[str], seed: int) -> list[str]:
    """The `names` in the order that `seed` draws."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogateescape")).digest())


def divided(
    groups: Sequence[str], wanted: Targets, *, seed: int, classes: npt.NDArray[np.bool_] | None = None
) -> list[int]:
    """The part of each picture, its place in `wanted`.

    Args:
        groups: of each picture; those of one group come into one part.
        wanted: (P,) pictures of each part, from `sizes_of`.
        seed: of the draw.
        classes: (pictures, K) which classes each picture has, to be spread evenly; None to ignore them.

    Raises:
        UsageError: there are fewer groups than parts.
    """
    order = drawn_order(set(groups), seed)
    place = {name: index for index, name in enumerate(order)}
    if len(order) < len(wanted):
        raise UsageError(
            f"There are {counted(len(order), 'group')} of pictures for {counted(len(wanted), 'part')}.",
            hint="Group by something finer, or make fewer parts.",
        )
    of_group = np.array([place[name] for name in groups], np.int64)
    kinds = np.ones((len(groups), 1), np.int64) if classes is None else np.column_stack([np.ones(len(groups)), classes])
    held = np.zeros((len(order), kinds.shape[1]), np.int64)
    np.add.at(held, of_group, kinds.astype(np.int64))
    found: list[int] = _placed(held, wanted)[of_group].tolist()
    return found


def _placed(held: Counts, wanted: Targets) -> Counts:
    """(G,) the part of each group.

    Groups with rare classes are placed first, else in the order of the draw; each where the sum over parts and columns
    of (taken - aim)^2 / aim grows least.

    Args:
        held: (G, 1 + K) pictures of each group, and those with each class, in the order of the draw.
        wanted: (P,) pictures of each part.
    """
    rarest = np.where(held > 0, np.count_nonzero(held, axis=0), len(held) + 1).min(axis=1)
    aims = np.outer(wanted / wanted.sum(), held.sum(axis=0)).tolist()
    taken = np.zeros((len(wanted), held.shape[1])).tolist()
    empty = set(range(len(wanted)))
    parts = np.zeros(len(held), np.int64)
    for done, group in enumerate(np.argsort(rarest, kind="stable").tolist()):
        columns = np.flatnonzero(held[group]).tolist()
        more = held[group, columns].tolist()
        # No part stays empty: the last groups are for those that are.
        places = sorted(empty) if len(held) - done <= len(empty) else range(len(wanted))
        part = min(places, key=lambda one: _growth(taken[one], aims[one], columns, more))
        for column, count in zip(columns, more, strict=True):
            taken[part][column] += count
        parts[group] = part
        empty.discard(part)
    return parts


def _growth(taken: Sequence[float], aims: Sequence[float], columns: Sequence[int], more: Sequence[int]) -> float:
    """By how much the sum of (taken - aim)^2 / aim over the columns grows."""
    return sum(
        count * (2 * (taken[column] - aims[column]) + count) / aims[column]
        for column, count in zip(columns, more, strict=True)
    )

"""Colours of classes, of instances and of void, kept apart in OKLab.

OKLab (Ottosson 2020, https://bottosson.github.io/posts/oklab) is a space in which equal distances look equally large;
about 0.02 can just be seen.
"""

# N colours

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from yoso_cli.panoptic.types import Category, Segment

Color = tuple[int, int, int]
"""sRGB, 0..255."""

# The colour of void where no class is near it; else another grey, else whatever is furthest from all classes.
_VOID_GREYS: tuple[Color, ...] = ((60, 60, 64), (28, 28, 30), (110, 110, 114), (170, 170, 174), (225, 225, 228))
_FAR = 0.1
# Instances: neither pale nor dark, so that they differ from paper, ink and most greys; and not the glaring corners of
# sRGB, without which 40 colours are nearly as far apart.
_LIGHTNESS, _CHROMA = (0.5, 0.9), (0.09, 0.22)
# In a video a colour comes from a number alone; later numbers take these colours again.
_TRACKED = 64
# Places between the first colours of two classes: classes that are numbered from 1 each start far apart.
_APART = 23


@functools.lru_cache(maxsize=16)
def category_colors(count: int) -> tuple[Color, ...]:
    """`count` colours that differ from their neighbours, always the same ones."""
    golden = 0.618034
    return tuple(
        _hsv(0.03 + index * golden, (0.75, 0.5, 0.9)[index % 3], (0.92, 0.72, 0.98, 0.55)[index % 4])
        for index in range(count)
    )


def colors(categories: Sequence[Category]) -> tuple[Color, ...]:
    """The colour of each category: its own, or one by its place where its set names none."""
    fallback = category_colors(len(categories))
    return tuple(
        fallback[place] if category.color == Category.color else category.color
        for place, category in enumerate(categories)
    )


def void_color(categories: Sequence[Category]) -> Color:
    """The colour of unlabelled pixels: the same for all pictures of a set, and none of its classes'."""
    return _away_from(colors(categories))


@functools.lru_cache(maxsize=16)
def _away_from(found: tuple[Color, ...]) -> Color:
    taken = oklab(found)
    if not len(taken):
        return _VOID_GREYS[0]
    for grey in _VOID_GREYS:
        if _distances(oklab([grey]), taken).min() >= _FAR:
            return grey
    # More points than classes: one is always free.
    lattice = _lattice(4 + round(len(taken) ** (1 / 3)))
    return _color(lattice[_distances(oklab(lattice), taken).min(axis=1).argmax()])


def segment_colors(
    segments: Sequence[Segment],
    categories: Sequence[Category],
    *,
    by_instance: bool,
    numbers: Mapping[int, int] | None = None,
) -> dict[int, Color]:
    """Segment id -> colour.

    Args:
        segments: of the picture, crowds included.
        categories: of the set.
        by_instance: whether each thing has a colour of its own; stuff and crowds have that of their class.
        numbers: segment id -> number, where a thing keeps its number from frame to frame: its colour then depends on
            its class and number alone. Without them, things get colours that differ from one another and from the
            stuff of the picture.
    """
    places = {category.id: place for place, category in enumerate(categories)}
    of_class = colors(categories)
    found = {one.id: of_class[places[one.category_id]] for one in segments}
    if not by_instance:
        return found
    things = [one for one in segments if categories[places[one.category_id]].isthing and not one.iscrowd]
    void = void_color(categories)
    if numbers is not None:
        palette = instance_colors(_TRACKED, (void,))
        order = {one.id: numbers.get(one.id, one.id) - 1 + _APART * places[one.category_id] for one in things}
        return found | {one.id: palette[order[one.id] % _TRACKED] for one in things}
    stuff = {found[one.id] for one in segments} - {found[one.id] for one in things}
    largest_first = sorted(things, key=lambda one: (-one.area, one.id))
    palette = instance_colors(len(things), (void, *sorted(stuff)))
    return found | {one.id: color for one, color in zip(largest_first, palette, strict=True)}


@functools.lru_cache(maxsize=64)
def instance_colors(count: int, avoid: tuple[Color, ...] = ()) -> tuple[Color, ...]:
    """`count` colours, each as far as possible from those before it and from `avoid`.

    40 of them are at least 0.07 apart in OKLab. From a thousand on they repeat.
    """
    candidates = _lattice(15)
    points = oklab(candidates)
    chroma = np.hypot(points[:, 1], points[:, 2])
    fit = _within(points[:, 0], _LIGHTNESS) & _within(chroma, _CHROMA)
    candidates, points = candidates[fit], points[fit]
    nearest = _distances(points, oklab([*avoid, (255, 255, 255)])).min(axis=1)
    found: list[Color] = []
    while len(found) < min(count, len(points)):
        best = int(nearest.argmax())
        found.append(_color(candidates[best]))
        nearest = np.minimum(nearest, _distances(points, points[best : best + 1])[:, 0])
    return tuple(found[place % len(found)] for place in range(count))


def oklab(found: Iterable[Sequence[int]] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """sRGB, (N, 3) in 0..255, to OKLab, (N, 3): lightness 0..1, green to red, blue to yellow."""
    srgb = np.array(list(found), np.float64).reshape(-1, 3) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_cones = (
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    )
    to_lab = (
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    )
    lab: npt.NDArray[np.float64] = np.cbrt(linear @ np.array(to_cones).T) @ np.array(to_lab).T
    return lab


def ink_on(color: Color) -> Color:
    """Black or white, whichever has more contrast with `color`: at least 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    srgb = np.array(color) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return (0, 0, 0) if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else (255, 255, 255)


def _within(values: npt.NDArray[np.float64], limits: tuple[float, float]) -> npt.NDArray[np.bool_]:
    return (values >= limits[0]) & (values <= limits[1])


def _hsv(hue: float, saturation: float, value: float) -> Color:
    ramp = np.abs(np.mod(hue * 6 + np.array([0.0, 4.0, 2.0]), 6) - 3) - 1
    return _color(255 * value * (1 - saturation * (1 - ramp.clip(0, 1))))


def _color(rgb: npt.NDArray[np.number]) -> Color:
    red, green, blue = (int(part) for part in rgb)
    return red, green, blue


def _lattice(steps: int) -> npt.NDArray[np.int64]:
    """Evenly spaced colours (steps^3, 3)."""
    axis = np.linspace(0, 255, steps).round().astype(np.int64)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def _distances(points: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Euclidean distances (N, M) between (N, 3) and (M, 3)."""
    distances: npt.NDArray[np.float64] = np.linalg.norm(points[:, None] - others[None], axis=-1)
    return distances

"""Outlines and textures of `shapes`: an outline defines a class of things, a texture a class of stuff."""

# H, W height and width of the picture in pixels; lengths in `unit`s, 1/128 of the picture's shorter side

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Plane = npt.NDArray[np.float32]
Colors = npt.NDArray[np.float32]
RegionMap = npt.NDArray[np.int64]

# An outline is a signed distance (negative inside) over coordinates in which the shape's radius is 1.
Outline = Callable[[Plane, Plane], Plane]


def ball(u: Plane, v: Plane) -> Plane:
    """A disc."""
    distance: Plane = np.hypot(u, v) - np.float32(1)
    return distance


def box(u: Plane, v: Plane) -> Plane:
    """A square that fits into the circle of radius 1, a little wider than high."""
    distance: Plane = np.maximum(np.abs(u) - np.float32(0.86), np.abs(v) - np.float32(0.66))
    return distance


def triangle(u: Plane, v: Plane) -> Plane:
    """An equilateral triangle with its corners on the circle of radius 1."""
    slope = np.float32(np.sqrt(0.75))
    distance: Plane = np.maximum(np.abs(u) * slope - v * np.float32(0.5), v) - np.float32(0.5)
    return distance


def ring(u: Plane, v: Plane) -> Plane:
    """A ring: the background is visible through its hole."""
    distance: Plane = np.abs(np.hypot(u, v) - np.float32(0.76)) - np.float32(0.24)
    return distance


def cross(u: Plane, v: Plane) -> Plane:
    """Two bars at a right angle."""
    long, short, half = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v)), np.float32(0.3)
    distance: Plane = np.maximum(long - np.float32(0.95), short - half)
    return distance


OUTLINES: dict[str, Outline] = {
    "ball": ball,
    "box": box,
    "triangle": triangle,
    "ring": ring,
    "cross": cross,
}

# Where a thing is darker: positive over the same coordinates as its outline.
PATTERNS: dict[str, Outline] = {
    "ball": lambda u, v: np.sin(np.float32(11) * np.hypot(u, v)),
    "box": lambda u, v: np.sin(np.float32(12) * u),
    "triangle": lambda u, v: -np.ones_like(u),
    "ring": lambda u, v: np.sin(np.float32(9) * np.arctan2(v, u)),
    "cross": lambda u, v: np.sin(np.float32(11) * u) * np.sin(np.float32(11) * v),
}


@dataclass(frozen=True)
class Ground:
    """The canvas of a texture: pixel coordinates `x`, `y`, each (H, W), pixels per `unit`, and a random generator."""

    x: Plane
    y: Plane
    unit: float
    random: np.random.Generator

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.x.shape
        return height, width

    def noise(self, down: float, across: float) -> Plane:
        """Soft noise in about -1..1, (H, W), whose grain is `down` units high and `across` units wide."""
        height, width = self.shape
        rows = max(2, round(height / (down * self.unit)))
        columns = max(2, round(width / (across * self.unit)))
        grains = self.random.uniform(-1, 1, (rows, columns)).astype(np.float32)
        return np.asarray(Image.fromarray(grains).resize((width, height), Image.Resampling.BICUBIC))

    def turned(self, degrees: float) -> tuple[Plane, Plane]:
        """Coordinates in units, rotated by up to `degrees` in either direction and shifted randomly."""
        angle = np.radians(self.random.uniform(-degrees, degrees))
        cos, sin = np.float32(np.cos(angle) / self.unit), np.float32(np.sin(angle) / self.unit)
        shift_x, shift_y = self.random.uniform(0, 64, 2).astype(np.float32)
        return self.x * cos + self.y * sin + shift_x, self.y * cos - self.x * sin + shift_y


# A texture is a plane of about -1..1: how each pixel is interpolated between the ground's two colours.
Texture = Callable[[Ground], Plane]


def clouds(ground: Ground) -> Plane:
    """Sky: nothing but large soft shapes."""
    lean: Plane = ground.noise(34, 46) * np.float32(0.75)
    return lean


def blades(ground: Ground) -> Plane:
    """Grass: thin upright streaks."""
    lean: Plane = ground.noise(9, 1.7) * np.float32(1.3)
    return lean


def waves(ground: Ground) -> Plane:
    """Water: wavy stripes that lie about level."""
    u, v = ground.turned(15)
    period, length = ground.random.uniform(6.5, 9), ground.random.uniform(22, 34)
    bend = np.sin(u * np.float32(2 * np.pi / length)) * np.float32(1.6)
    lean: Plane = np.sin((v + bend) * np.float32(2 * np.pi / period))
    return lean


def bricks(ground: Ground) -> Plane:
    """Brick: rows of blocks, each of its own shade, with mortar between."""
    u, v = ground.turned(12)
    height = ground.random.uniform(7, 9)
    row = np.floor(v / np.float32(height)).astype(np.int32)
    along = u / np.float32(2.1 * height) + (row & 1) * np.float32(0.5)
    column = np.floor(along).astype(np.int32)
    shades = ground.random.uniform(-1, 0.1, 256).astype(np.float32)
    shade = shades[(row * 37 + column * 101) & 255]
    mortar = (np.mod(v, height) < 1.5) | ((along - column) * np.float32(2.1 * height) < 1.5)
    lean: Plane = np.where(mortar, np.float32(1.2), shade)
    return lean


TEXTURES: dict[str, Texture] = {"sky": clouds, "grass": blades, "water": waves, "brick": bricks}
# The usual hue (0..1) of a class. Each is shared by stuff and things, so that colour alone does not determine the
# class.
HUES = {
    "ball": 0.85,
    "box": 0.06,
    "triangle": 0.3,
    "ring": 0.58,
    "cross": 0.85,
    "sky": 0.58,
    "grass": 0.3,
    "water": 0.85,
    "brick": 0.06,
}


def strata(ground: Ground, count: int) -> RegionMap:
    """Region numbers 0..count-1, (H, W), in wavy bands one above another."""
    random, (height, _) = ground.random, ground.shape
    x, y = ground.x / np.float32(ground.unit), ground.y / np.float32(ground.unit)
    bend = np.zeros_like(x)
    for length, depth in ((random.uniform(90, 160), random.uniform(4, 12)), (random.uniform(35, 60), 3.0)):
        bend += np.float32(depth) * np.sin(x * np.float32(2 * np.pi / length) + np.float32(random.uniform(0, 6.3)))
    tilted = y + bend + (x - np.float32(64)) * np.float32(random.uniform(-0.35, 0.35))
    steps = (np.arange(1, count) + random.uniform(-0.25, 0.25, count - 1)) / count * height / ground.unit
    regions: RegionMap = np.searchsorted(steps.astype(np.float32), tilted)
    return regions


def cells(ground: Ground, count: int) -> RegionMap:
    """Region numbers 0..count-1, (H, W): the nearest of `count` points around the middle, on bent coordinates."""
    random, (height, width) = ground.random, ground.shape
    reach = np.float32(7 * ground.unit)
    x = ground.x + ground.noise(30, 30) * reach
    y = ground.y + ground.noise(30, 30) * reach
    turn = random.uniform(0, 2 * np.pi)
    angles = turn + 2 * np.pi * (np.arange(count) + random.uniform(-0.2, 0.2, count)) / count
    centres_x = width / 2 + np.cos(angles) * width * random.uniform(0.2, 0.4, count)
    centres_y = height / 2 + np.sin(angles) * height * random.uniform(0.2, 0.4, count)
    centres = zip(centres_x.astype(np.float32), centres_y.astype(np.float32), strict=True)
    regions: RegionMap = np.argmin([(x - cx) ** 2 + (y - cy) ** 2 for cx, cy in centres], axis=0)
    return regions


def hsv(hue: float, saturation: float, value: float) -> npt.NDArray[np.float32]:
    """A colour (3,) in 0..255 from hue, saturation and value in 0..1."""
    ramp = np.abs(np.mod(hue * 6 + np.array([0.0, 4.0, 2.0]), 6) - 3) - 1
    color: npt.NDArray[np.float64] = 255 * value * (1 - saturation * (1 - ramp.clip(0, 1)))
    return color.astype(np.float32)

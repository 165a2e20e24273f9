"""`shapes`: synthetic panoptic scenes, so that the whole pipeline runs without a download.

The class of a thing is given by its outline, mostly with a matching pattern, that of stuff by its texture. Each hue is
shared by stuff and things, so that colour alone does not determine the class; light and size are independent of it.
Things occlude each other, some regions are void and some are crowds, as in the published datasets. Scene i of a split
depends only on the seed, the split and i.
"""

# H, W height and width of the picture in pixels; lengths in `unit`s, 1/128 of the picture's shorter side

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yoso_cli.atomic import make_inside, replacing_folder
from yoso_cli.datasets.spec import DatasetSpec, Prepared, is_prepared
from yoso_cli.datasets.textures import HUES, OUTLINES, PATTERNS, TEXTURES, Colors, Ground, Plane, cells, hsv, strata
from yoso_cli.panoptic.files import SetWriter, read_set
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, Rgb, Segment, measured
from yoso_cli.runtime.progress import SILENT, Progress, tracked

NAME = "shapes"
SHAPES = DatasetSpec(name=NAME, title="drawn shapes", splits=("train", "val"))
# Increased when the same seed gives other pictures, so that outdated sets are recognised.
DRAWING = 1

_COLORS = {
    "ball": (214, 60, 72),
    "box": (240, 148, 32),
    "triangle": (246, 214, 60),
    "ring": (178, 76, 214),
    "cross": (84, 70, 210),
    "sky": (122, 190, 240),
    "grass": (96, 176, 72),
    "water": (36, 120, 176),
    "brick": (158, 88, 64),
}
CATEGORIES = tuple(
    Category(index, name, name in OUTLINES, color) for index, (name, color) in enumerate(_COLORS.items(), start=1)
)
_BY_NAME = {category.name: category for category in CATEGORIES}

# Slivers are void: fewer pixels than this, or a smaller share of the thing than this.
_SMALLEST_AREA = 12
_SMALLEST_SHARE = 0.08


def prepare(
    output_root: Path,
    *,
    splits: Mapping[str, int],
    size: int = 128,
    seed: int = 0,
    force: bool = False,
    progress: Progress = SILENT,
) -> list[Prepared]:
    """Draws `<output_root>/shapes/<split>` for each split that is not there yet.

    Args:
        output_root: the folder of all datasets.
        splits: how many scenes for each split.
        size: edge of the square pictures in pixels, 32 or more.
        seed: of the random scenes.
        force: redo what is done, and replace scenes of other parameters.
        progress: shows how far the drawing is.

    Raises:
        UsageError: something else is at the place already.
        RunError: the disk is full or the place cannot be written.
    """
    done = {
        split: is_prepared(output_root / NAME / split, _parameters(count, size, seed), force=force)
        for split, count in splits.items()
    }
    prepared = []
    for split, is_done in done.items():
        folder = output_root / NAME / split
        if not is_done:
            make_inside(output_root, folder.parent)
            _draw_split(folder, split, splits[split], size, seed, progress)
        prepared.append(Prepared(folder, read_set(folder), not is_done))
    return prepared


def _parameters(count: int, size: int, seed: int) -> dict[str, int]:
    return {"images": count, "size": size, "seed": seed, "drawing": DRAWING}


def _draw_split(folder: Path, split: str, count: int, size: int, seed: int, progress: Progress) -> None:
    with replacing_folder(folder) as temporary:
        writer = SetWriter(temporary, NAME, split, CATEGORIES, notes=_parameters(count, size, seed))
        for index in tracked(range(count), count, f"drawing {NAME}/{split}", progress):
            image, panoptic = draw_scene(index, seed, size, size, split=split)
            stem = f"{index:06d}"
            writer.add(ImageRecord(index, f"{stem}.jpg", f"{stem}.png", size, size, ()), panoptic, image)
        writer.finish()


def draw_scene(index: int, seed: int, height: int, width: int, *, split: str = "train") -> tuple[Rgb, Panoptic]:
    """One scene: its picture, uint8 (H, W, 3), and its truth.

    Args:
        index: which scene of the split.
        seed: of the dataset.
        height: pixels, 32 or more.
        width: pixels, 32 or more.
        split: scenes of different splits have nothing in common.
    """
    random = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
    scene = _Scene.blank(random, height, width)
    _lay_grounds(scene)
    if random.random() < 0.25:
        _leave_void(scene)
    if random.random() < 0.15:
        _scatter_crowd(scene)
    _place_things(scene)
    return _lit(scene), _truth(scene)


@dataclass
class _Scene:
    """A picture in the making: `pixels` (H, W, 3) in 0..255; `labels` (H, W), 0 void, n the n-th of `segments`."""

    ground: Ground
    pixels: Colors
    labels: npt.NDArray[np.int16]
    random: np.random.Generator
    segments: list[tuple[Category, bool]] = field(default_factory=list)
    full_areas: list[int] = field(default_factory=list)

    @classmethod
    def blank(cls, random: np.random.Generator, height: int, width: int) -> "_Scene":
        """An empty scene: all void."""
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        ground = Ground(x, y, min(height, width) / 128, random)
        pixels = np.zeros((height, width, 3), np.float32)
        return cls(ground, pixels, np.zeros((height, width), np.int16), random)

    def enter(self, name: str, area: int, *, iscrowd: bool = False) -> int:
        """The label of a new segment of the category `name`, of which `area` pixels are drawn."""
        self.segments.append((_BY_NAME[name], iscrowd))
        self.full_areas.append(area)
        return len(self.segments)


def _lay_grounds(scene: _Scene) -> None:
    """Covers the picture with two or three stuffs that meet in curves."""
    random = scene.random
    names = [str(name) for name in random.permutation(list(TEXTURES))[: random.integers(2, 4)]]
    regions = (strata if random.random() < 0.5 else cells)(scene.ground, len(names))
    for region, name in enumerate(names):
        inside = regions == region
        label = scene.enter(name, int(inside.sum()))
        scene.labels[inside] = label
        scene.pixels[inside] = _textured(scene, name)[inside]


def _textured(scene: _Scene, name: str) -> Colors:
    """The whole picture, (H, W, 3), covered with the texture of the stuff `name` in two random colours."""
    random = scene.random
    hue = _hue(scene, name)
    saturation, value = random.uniform(0.35, 0.75), random.uniform(0.5, 0.85)
    first = hsv(hue, saturation, value)
    contrast = random.uniform(0.35, 0.55) * (1 if value < 0.65 else -1)
    second = hsv(hue + random.uniform(-0.05, 0.05), saturation * random.uniform(0.5, 1.1), value * (1 + contrast))
    lean = TEXTURES[name](scene.ground) * np.float32(0.5) + np.float32(0.5)
    covered: Colors = first + lean[..., None] * (second - first)
    return covered


def _hue(scene: _Scene, name: str) -> float:
    """A hue, 0..1: mostly the class's (which it shares with another class), else a random one."""
    random = scene.random
    return HUES[name] + float(random.normal(0, 0.03)) if random.random() < 0.9 else float(random.random())


def _leave_void(scene: _Scene) -> None:
    """Paints an unlabelled plain patch: a blob, or a strip along one edge."""
    random, unit, (height, width) = scene.random, scene.ground.unit, scene.ground.shape
    wobble = scene.ground.noise(9, 9) * np.float32(5)
    if random.random() < 0.6:
        cx, cy = random.uniform(0, width), random.uniform(0, height)
        inside = np.hypot(scene.ground.x - cx, scene.ground.y - cy) < (random.uniform(6, 15) + wobble) * unit
    else:
        edges = (scene.ground.x, scene.ground.y, width - 1 - scene.ground.x, height - 1 - scene.ground.y)
        inside = edges[random.integers(4)] < (random.uniform(3, 8) + wobble * np.float32(0.4)) * unit
    scene.labels[inside] = 0
    scene.pixels[inside] = hsv(random.random(), random.uniform(0, 0.3), random.uniform(0.15, 0.7))


def _scatter_crowd(scene: _Scene) -> None:
    """A heap of many small things of one class: one crowd segment."""
    random, unit, (height, width) = scene.random, scene.ground.unit, scene.ground.shape
    name = str(random.choice(list(OUTLINES)))
    cx, cy = random.uniform(0.2, 0.8) * width, random.uniform(0.2, 0.8) * height
    before = len(scene.segments)
    spread = random.uniform(9, 13) * unit
    for _ in range(int(random.integers(12, 20))):
        dx, dy = random.normal(0, 1, 2) * (1.3 * spread, 0.7 * spread)
        _draw_thing(scene, name, cx + dx, cy + dy, random.uniform(3.5, 5) * unit)
    singles = len(scene.segments) - before
    inside = scene.labels > before
    del scene.segments[before:], scene.full_areas[before:]
    if singles:
        scene.labels[inside] = scene.enter(name, int(inside.sum()), iscrowd=True)


def _place_things(scene: _Scene) -> None:
    """Two to five things of very different sizes, the larger ones mostly behind, many of them touching."""
    random, unit, (height, width) = scene.random, scene.ground.unit, scene.ground.shape
    count = int(random.integers(2, 6))
    radii = np.exp(random.uniform(np.log(9), np.log(36), count)) * unit
    order = np.argsort(-radii * random.uniform(0.7, 1.4, count))
    placed: list[tuple[float, float, float]] = []
    for radius in radii[order]:
        x, y = random.uniform(0.06, 0.94) * width, random.uniform(0.06, 0.94) * height
        if placed and random.random() < 0.45:
            near_x, near_y, near_radius = placed[random.integers(len(placed))]
            angle, distance = random.uniform(0, 2 * np.pi), random.uniform(0.6, 1) * (near_radius + radius)
            x = float(np.clip(near_x + np.cos(angle) * distance, 0.04 * width, 0.96 * width))
            y = float(np.clip(near_y + np.sin(angle) * distance, 0.04 * height, 0.96 * height))
        _draw_thing(scene, str(random.choice(list(OUTLINES))), x, y, float(radius))
        placed.append((x, y, float(radius)))


def _draw_thing(scene: _Scene, name: str, cx: float, cy: float, radius: float) -> None:
    """Draws one thing over what is there: a soft shadow, then its lit and sometimes patterned body."""
    random, unit, (height, width) = scene.random, scene.ground.unit, scene.ground.shape
    angle = random.uniform(0, 2 * np.pi)
    reach = radius + 3 * unit + 1
    top, bottom = max(0, int(cy - reach)), min(height, int(cy + reach) + 1)
    left, right = max(0, int(cx - reach)), min(width, int(cx + reach) + 1)
    window = (slice(top, bottom), slice(left, right))
    dx, dy = (scene.ground.x[window] - cx) / np.float32(radius), (scene.ground.y[window] - cy) / np.float32(radius)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = dx * cos + dy * sin, dy * cos - dx * sin
    distance = OUTLINES[name](u, v) * np.float32(radius)
    cover = (np.float32(0.5) - distance).clip(0, 1)
    inside = cover > 0.5
    if not inside.any():
        return
    halo = (np.float32(1) - distance / np.float32(3 * unit)).clip(0, 1) * np.float32(0.35)
    behind = scene.pixels[window] * (1 - halo)[..., None]
    body = _body(scene, name, u, v, distance)
    scene.pixels[window] = behind + cover[..., None] * (body - behind)
    scene.labels[window][inside] = scene.enter(name, int(inside.sum()))


def _body(scene: _Scene, name: str, u: Plane, v: Plane, distance: Plane) -> Colors:
    """The pixels, (h, w, 3), of a thing over its own coordinates, in which its radius is 1: lit, mostly patterned."""
    random, unit = scene.random, scene.ground.unit
    color = hsv(_hue(scene, name), random.uniform(0.4, 0.95), random.uniform(0.45, 1))
    light = random.uniform(0, 2 * np.pi)
    shade = 1 + np.float32(0.22 * np.cos(light)) * u + np.float32(0.22 * np.sin(light)) * v
    if random.random() < 0.8:
        shade = shade * (1 - np.float32(random.uniform(0.25, 0.45)) * (PATTERNS[name](u, v) > 0))
    rim = np.where(distance > -1.1 * unit, np.float32(random.uniform(0.55, 1)), np.float32(1))
    body: Colors = (shade * rim)[..., None] * color
    return body


def _lit(scene: _Scene) -> Rgb:
    """Simulates a photo: directional light, a colour cast, and noise."""
    random, (height, width) = scene.random, scene.ground.shape
    angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0, 0.3)
    across = (scene.ground.x / width - np.float32(0.5)) * np.float32(np.cos(angle) * strength * 2)
    down = (scene.ground.y / height - np.float32(0.5)) * np.float32(np.sin(angle) * strength * 2)
    tint = random.uniform(0.9, 1.1, 3).astype(np.float32)
    grain = random.standard_normal((height, width, 3), dtype=np.float32) * np.float32(random.uniform(1.5, 7))
    lit: Colors = scene.pixels * (1 + across + down)[..., None] * tint + grain
    return lit.clip(0, 255).astype(np.uint8)


def _truth(scene: _Scene) -> Panoptic:
    """The visible segments, without slivers, which become void; ids are made of the category's colour and a count."""
    areas = np.bincount(scene.labels.ravel(), minlength=len(scene.segments) + 1)
    ids = np.zeros(len(scene.segments) + 1, np.int32)
    segments = []
    for label, (category, iscrowd) in enumerate(scene.segments, start=1):
        if areas[label] < max(_SMALLEST_AREA, _SMALLEST_SHARE * scene.full_areas[label - 1]):
            continue
        red, green, blue = category.color
        ids[label] = red + 256 * green + 65536 * blue + label
        segments.append(Segment(int(ids[label]), category.id, int(areas[label]), iscrowd=iscrowd))
    id_map = ids[scene.labels]
    return Panoptic(id_map, measured(id_map, segments))

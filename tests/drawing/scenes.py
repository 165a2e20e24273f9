"""Pictures with segments for the tests of drawing."""

import numpy as np
from hypothesis import strategies as st

from yoso_cli.panoptic.types import Category, Panoptic, Rgb, Segment, measured

CATEGORIES = (
    Category(1, "person", True, (220, 20, 60)),
    Category(2, "car", True, (0, 0, 142)),
    Category(3, "sky-other-merged", False, (70, 130, 180)),
    Category(4, "road, route", False, (128, 64, 128)),
)


def scene(*rows: str, size: int = 1, crowds: str = "") -> tuple[Rgb, Panoptic]:
    """A picture from rows of characters, each `size` pixels: p q r persons, c d cars, s sky, o road, . void."""
    classes = {"p": 1, "q": 1, "r": 1, "c": 2, "d": 2, "s": 3, "o": 4}
    ids = np.array([[0 if one == "." else ord(one) for one in row] for row in rows], np.int32)
    id_map = ids.repeat(size, 0).repeat(size, 1)
    found = [Segment(ord(one), kind, 0, iscrowd=one in crowds, score=0.5) for one, kind in classes.items()]
    image = np.random.default_rng(0).integers(0, 256, (*id_map.shape, 3), dtype=np.uint8)
    return image, Panoptic(id_map, measured(id_map, found))


@st.composite
def scenes(draw: st.DrawFn, *, most: int = 160, segments: int = 24) -> tuple[Rgb, Panoptic]:
    """Pictures of any shape, with rectangles on one another: large ones, slivers, single pixels, crowds, void."""
    height, width = draw(st.integers(1, most)), draw(st.integers(1, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    id_map = np.zeros((height, width), np.int32)
    found = []
    for _ in range(draw(st.integers(0, segments))):
        one = int(random.integers(1, 2**24))
        top, left = int(random.integers(height)), int(random.integers(width))
        high, wide = random.choice([1, 2, 9, most], 2)
        id_map[top : top + high, left : left + wide] = one
        found.append(Segment(one, int(random.integers(1, 5)), 0, iscrowd=random.random() < 0.1, score=random.random()))
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    unique = {one.id: one for one in found}
    return image, Panoptic(id_map, measured(id_map, unique.values()))

"""Labels of one's own in miniature: maps, pictures and a YAML of categories, and panoptic pictures to convert."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from PIL import Image

from yoso_cli.conversion.category_file import CategoryTable, write_table
from yoso_cli.panoptic.types import Category, Panoptic, Segment, measured

TABLE = CategoryTable.of(
    [
        Category(7, "road", False, (10, 20, 30)),
        Category(3, "car", True, (40, 50, 60)),
        Category(12, "person", True),
        Category(9, "sky", False),
    ]
)
ROAD, CAR, PERSON, SKY = 7, 3, 12, 9

SEMANTIC = [[0, 7, 7, 3, 3, 3], [0, 7, 7, 3, 3, 12], [255, 7, 9, 9, 12, 12], [255, 9, 9, 9, 12, 12]]
INSTANCES = [[0, 0, 5, 300, 300, 0], [0, 0, 0, 300, 2, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]


def write_map(path: Path, values: Sequence[Sequence[int]] | npt.NDArray[np.generic], dtype: type = np.uint16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype)).save(path)


def write_photo(path: Path, height: int = 4, width: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_maps(folder: Path, names: Sequence[str] = ("a", "b", "c")) -> Path:
    """`raw/` with pictures, maps and mine.yaml; returns it."""
    for name in names:
        write_photo(folder / "images" / f"{name}.jpg")
        write_map(folder / "semantic" / f"{name}.png", SEMANTIC, np.uint8)
        write_map(folder / "instances" / f"{name}.png", INSTANCES)
    (folder / "mine.yaml").write_text(write_table(TABLE))
    return folder


def described(panoptic: Panoptic) -> set[tuple[int, bool, bytes]]:
    """The segments by what they mean: class, crowd and pixels, whatever their ids are."""
    return {
        (one.category_id, one.iscrowd, np.packbits(panoptic.id_map == one.id).tobytes()) for one in panoptic.segments
    }


def panoptic_of(id_map: npt.NDArray[np.int32], classes: Mapping[int, tuple[int, bool]]) -> Panoptic:
    segments = [Segment(number, category, 0, iscrowd=crowd) for number, (category, crowd) in classes.items()]
    return Panoptic(id_map, measured(id_map, segments))


@st.composite
def panoptics(draw: st.DrawFn) -> Panoptic:
    """Any panoptic picture of TABLE as every form can say it: one segment and no crowd for a stuff class, at most one
    crowd for a thing class, any ids, any void."""
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    kinds = [(ROAD, False), (SKY, False), (CAR, True), (PERSON, True), *[(CAR, False), (PERSON, False)] * 3]
    chosen = draw(st.lists(st.sampled_from(range(len(kinds))), unique=True))
    ids = draw(st.lists(st.integers(1, 2**24 - 1), min_size=len(chosen), max_size=len(chosen), unique=True))
    cells = draw(st.lists(st.sampled_from([0, *ids]), min_size=height * width, max_size=height * width))
    id_map = np.array(cells, np.int32).reshape(height, width)
    return panoptic_of(id_map, {number: kinds[place] for number, place in zip(ids, chosen, strict=True)})

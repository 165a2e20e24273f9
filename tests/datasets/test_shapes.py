"""The drawn dataset: reproducible, as rich as promised, and never half there."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from yoso_cli.datasets import shapes, textures
from yoso_cli.errors import RunError, UsageError
from yoso_cli.panoptic.files import read_panoptic, read_set
from yoso_cli.panoptic.types import measured, present_ids

CATEGORY = {category.id: category for category in shapes.CATEGORIES}


@pytest.fixture(scope="module")
def scenes():
    return [shapes.draw_scene(index, 0, 128, 128) for index in range(120)]


@settings(max_examples=30)
@given(
    index=st.integers(0, 10**6),
    seed=st.integers(0, 10**6),
    height=st.integers(32, 160),
    width=st.integers(32, 160),
)
def test_a_scene_is_consistent_whatever_its_size(index, seed, height, width):
    image, panoptic = shapes.draw_scene(index, seed, height, width)
    assert (image.dtype, image.shape) == (np.uint8, (height, width, 3))
    assert (panoptic.id_map.dtype, panoptic.id_map.shape) == (np.int32, (height, width))
    assert {segment.id for segment in panoptic.segments} == set(present_ids(panoptic.id_map)) - {0}
    assert measured(panoptic.id_map, panoptic.segments) == panoptic.segments
    assert all(segment.area >= 12 for segment in panoptic.segments)


def test_a_scene_depends_on_seed_split_and_index_alone():
    image, panoptic = shapes.draw_scene(7, 3, 64, 64)
    again, truth = shapes.draw_scene(7, 3, 64, 64)
    assert np.array_equal(image, again)
    assert np.array_equal(panoptic.id_map, truth.id_map)
    assert panoptic.segments == truth.segments
    for other in ((8, 3, "train"), (7, 4, "train"), (7, 3, "val")):
        assert not np.array_equal(image, shapes.draw_scene(other[0], other[1], 64, 64, split=other[2])[0])


def test_there_are_at_least_five_things_and_four_stuffs(scenes):
    shown = Counter(segment.category_id for _, panoptic in scenes for segment in panoptic.segments)
    assert set(shown) == set(CATEGORY)
    assert sum(category.isthing for category in CATEGORY.values()) >= 5
    assert sum(not category.isthing for category in CATEGORY.values()) >= 4
    assert min(shown.values()) > 0.3 * max(shown.values())


def test_void_and_crowds_occur_but_do_not_dominate(scenes):
    with_void = np.mean([(panoptic.id_map == 0).mean() > 0.005 for _, panoptic in scenes])
    with_crowd = np.mean([any(segment.iscrowd for segment in panoptic.segments) for _, panoptic in scenes])
    assert 0.15 < with_void < 0.5
    assert 0.1 < with_crowd < 0.4
    assert np.mean([(panoptic.id_map == 0).mean() for _, panoptic in scenes]) < 0.05


def things(panoptic):
    return [one for one in panoptic.segments if CATEGORY[one.category_id].isthing and not one.iscrowd]


def test_things_come_in_number_and_in_very_different_sizes(scenes):
    counts = [len(things(panoptic)) for _, panoptic in scenes]
    assert 3 <= np.mean(counts) <= 6
    edges = [max(one.bbox[2:]) for _, panoptic in scenes for one in things(panoptic)]
    small, large = np.percentile(edges, [5, 95])
    assert large > 3 * small
    several = [
        Counter(one.category_id for one in things(panoptic)).most_common(1)[0][1]
        for _, panoptic in scenes
        if things(panoptic)
    ]
    assert np.mean(np.array(several) >= 2) > 0.4


def test_many_things_hide_a_part_of_another(scenes):
    """Two boxes that overlap are two things of which one may be in front."""
    overlapping = 0
    for _, panoptic in scenes:
        boxes = [one.bbox for one in things(panoptic)]
        overlapping += any(
            a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
            for place, a in enumerate(boxes)
            for b in boxes[:place]
        )
    assert overlapping > 0.5 * len(scenes)


def test_colour_alone_does_not_determine_the_class(scenes):
    """A hue is shared by a stuff and by things: the mean colour would name over a third of the segments wrong."""
    colors = {category_id: [] for category_id in CATEGORY}
    for image, panoptic in scenes:
        for segment in panoptic.segments:
            colors[segment.category_id].append(image[panoptic.id_map == segment.id].mean(axis=0))
    centres = {key: np.mean(found, axis=0) for key, found in colors.items()}
    right = total = 0
    for key, found in colors.items():
        for color in found:
            total += 1
            right += min(centres, key=lambda other: np.linalg.norm(centres[other] - color)) == key
    assert right / total < 0.62


@pytest.mark.parametrize("name", textures.OUTLINES)
def test_an_outline_fits_into_the_circle_of_radius_one(name):
    y, x = np.mgrid[-1.5:1.5:151j, -1.5:1.5:151j].astype(np.float32)
    inside = textures.OUTLINES[name](x, y) < 0
    assert inside.any()
    assert np.hypot(x, y)[inside].max() <= 1.1
    assert np.hypot(x, y)[inside].max() > 0.9


def test_hsv_gives_the_primary_colours():
    assert textures.hsv(0, 1, 1).tolist() == [255, 0, 0]
    assert textures.hsv(1 / 3, 1, 1).round().tolist() == [0, 255, 0]
    assert textures.hsv(2 / 3, 1, 1).round().tolist() == [0, 0, 255]
    assert textures.hsv(0.4, 0, 0.5).tolist() == [127.5] * 3


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        shapes.prepare(tmp_path / name, splits={"train": 3, "val": 2}, size=48, seed=5)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(contents(tmp_path / "a")) == 2 * 5 + 2 * 2


def test_more_scenes_do_not_change_the_first_ones(tmp_path):
    shapes.prepare(tmp_path / "few", splits={"train": 2}, size=48)
    shapes.prepare(tmp_path / "many", splits={"train": 4}, size=48)
    few, many = (contents(tmp_path / name / "shapes/train/images") for name in ("few", "many"))
    assert few.items() < many.items()


def test_a_prepared_split_reads_like_any_dataset(tmp_path):
    (prepared,) = shapes.prepare(tmp_path, splits={"val": 4}, size=64)
    found = read_set(tmp_path / "shapes" / "val")
    assert prepared.panoptic_set == found
    assert (found.name, found.split, found.categories) == ("shapes", "val", shapes.CATEGORIES)
    for index, record in enumerate(found.records):
        _, panoptic = shapes.draw_scene(index, 0, 64, 64, split="val")
        read = read_panoptic(found, record)
        assert np.array_equal(read.id_map, panoptic.id_map)
        assert read.segments == panoptic.segments
        with Image.open(found.image_path(record)) as image:
            assert image.size == (64, 64)


def test_finished_work_is_recognised_and_other_work_is_not_replaced(tmp_path):
    def prepare(**changes):
        return shapes.prepare(tmp_path, **{"splits": {"val": 2}, "size": 48, "seed": 0, **changes})

    assert [one.fresh for one in prepare()] == [True]
    before = contents(tmp_path)
    assert [one.fresh for one in prepare()] == [False]
    for changes in ({"size": 32}, {"seed": 1}, {"splits": {"val": 3}}):
        with pytest.raises(UsageError, match="is prepared already, with") as caught:
            prepare(**changes)
        assert "--force" in caught.value.hint
    assert contents(tmp_path) == before
    assert [one.fresh for one in prepare(size=32, force=True)] == [True]
    assert read_set(tmp_path / "shapes/val").records[0].width == 32


def test_a_folder_of_something_else_is_left_alone_even_with_force(tmp_path):
    folder = tmp_path / "shapes" / "val"
    folder.mkdir(parents=True)
    (folder / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a prepared dataset"):
        shapes.prepare(tmp_path, splits={"val": 2}, size=32, force=True)
    assert contents(tmp_path) == {"shapes/val/precious.txt": b"mine"}


def test_a_full_disk_leaves_nothing_or_what_was_there(tmp_path, monkeypatch):
    shapes.prepare(tmp_path, splits={"val": 2}, size=32)
    before = contents(tmp_path)
    saved = []
    save = Image.Image.save

    def fill_up(image, *args, **kwargs):
        saved.append(image)
        if len(saved) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(image, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", fill_up)
    with pytest.raises(RunError, match="No space left"):
        shapes.prepare(tmp_path, splits={"val": 9}, size=32, force=True)
    with pytest.raises(RunError, match="No space left"):
        shapes.prepare(tmp_path, splits={"train": 9}, size=32)
    assert contents(tmp_path) == before


def test_a_kill_leaves_no_split_that_looks_whole_and_keeps_the_old_one(tmp_path):
    shapes.prepare(tmp_path, splits={"val": 2}, size=32)
    before = contents(tmp_path / "shapes" / "val")
    program = (
        "import sys; from pathlib import Path; from yoso_cli.datasets import shapes;"
        "shapes.prepare(Path(sys.argv[1]), splits={'val': 100000}, size=32, force=True)"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    deadline = time.monotonic() + 20
    while not list((tmp_path / "shapes").glob(".val.*.partial/panoptic/000003.png")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert contents(tmp_path / "shapes" / "val") == before

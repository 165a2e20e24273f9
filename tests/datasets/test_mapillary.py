"""Mapillary Vistas: both versions, wherever their maps lie."""

import numpy as np
import pytest
import raw_layouts
from PIL import Image

from yoso_cli.datasets import mapillary
from yoso_cli.datasets.spec import read_categories
from yoso_cli.datasets.split import make
from yoso_cli.errors import DataError, ProblemsError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import read_id_map, read_panoptic
from yoso_cli.panoptic.types import measured

LAYOUTS = [("v1.2", True), ("v1.2", False), ("v2.0", False)]


def prepare(root, output, *, version="", semantic=False, **options):
    return [make(plan, output, **options) for plan in mapillary.plans(root, version=version, semantic=semantic)[0]]


@pytest.mark.parametrize(("version", "flat"), LAYOUTS)
def test_each_instance_is_a_segment_and_each_stuff_one(tmp_path, version, flat):
    """Categories are labels plus one; labels that are not evaluated are void; label 0, number 0 is a bird."""
    root = raw_layouts.mapillary(tmp_path / "raw", version, flat=flat, count=4)
    prepared = prepare(root, tmp_path / "out", semantic=True)[0]
    assert prepared.folder == tmp_path / "out" / f"mapillary-{version}" / "train"
    categories = {category.id: category for category in read_categories(f"mapillary-{version}")}
    train_ids = {category_id: train_id for train_id, category_id in enumerate(categories)}
    seen = set()
    for record in prepared.panoptic_set.records:
        panoptic = read_panoptic(prepared.panoptic_set, record)
        assert measured(panoptic.id_map, record.segments) == record.segments
        folder = root / "training" if flat else root / "training" / version
        raw = png.read(folder / "instances" / record.panoptic_file).astype(int)
        by_id = {segment.id: segment.category_id for segment in record.segments}
        semantic = png.read(prepared.folder / "semantic" / record.panoptic_file)
        for value in np.unique(raw):
            ids = np.unique(panoptic.id_map[raw == value])
            assert len(ids) == 1
            category = categories.get(value // 256 + 1)
            assert (semantic[raw == value] == train_ids.get(value // 256 + 1, 255)).all()
            if category is None:
                assert ids[0] == 0
                continue
            assert by_id[int(ids[0])] == category.id
            same = np.unique(raw[panoptic.id_map == ids[0]])
            assert len(same) == 1 if category.isthing else set(same // 256) == {value // 256}
            seen.add(category.isthing)
        assert isinstance(record.image_id, str)
    assert seen == {True, False}


def test_label_maps_with_a_palette_say_the_same_as_the_instance_maps(tmp_path):
    root = raw_layouts.mapillary(tmp_path / "raw", "v1.2")
    prepared = prepare(root, tmp_path / "out", semantic=True)[0]
    for record in prepared.panoptic_set.records:
        labels = png.read(root / "training" / "labels" / record.panoptic_file, png.Kind.PALETTE)
        semantic = png.read(prepared.folder / "semantic" / record.panoptic_file)
        assert np.array_equal(np.where(labels == 65, 255, labels), semantic)


def test_of_two_versions_the_one_of_the_published_results_is_taken_unless_asked(tmp_path):
    raw_layouts.mapillary(tmp_path, "v2.0", flat=False)
    assert mapillary.plans(tmp_path)[0][0].name == "mapillary-v2.0"
    raw_layouts.mapillary(tmp_path, "v1.2", flat=False)
    assert mapillary.plans(tmp_path)[0][0].name == "mapillary-v1.2"
    assert mapillary.plans(tmp_path, version="v2.0")[0][0].name == "mapillary-v2.0"


@pytest.mark.parametrize(("version", "flat"), LAYOUTS)
def test_packed_and_unpacked_downloads_give_the_same_set(tmp_path, version, flat):
    plain = prepare(raw_layouts.mapillary(tmp_path / "plain", version, flat=flat), tmp_path / "a")
    root = raw_layouts.mapillary(tmp_path / "packed", version, flat=flat)
    raw_layouts.zipped(root, "vistas.zip", "training", "validation", below="mapillary-vistas")
    for one, other in zip(plain, prepare(root, tmp_path / "b"), strict=True):
        assert one.panoptic_set.records == other.panoptic_set.records
        for record in one.panoptic_set.records:
            pixels = [read_id_map(each.panoptic_set.panoptic_path(record)) for each in (one, other)]
            assert np.array_equal(*pixels)


def test_the_other_versions_maps_do_not_pass_for_this_ones(tmp_path):
    root = raw_layouts.mapillary(tmp_path / "raw", "v2.0", flat=False, count=8)
    for split in ("training", "validation"):
        (root / split / "v2.0").rename(root / split / "v1.2")
    with pytest.raises(ProblemsError, match=r"Mapillary Vistas v1\.2 does not use"):
        prepare(root, tmp_path / "out", version="v1.2")


def test_a_version_that_is_not_there_is_named(tmp_path):
    raw_layouts.mapillary(tmp_path, "v1.2")
    with pytest.raises(DataError) as caught:
        mapillary.plans(tmp_path, version="v2.0")
    assert "training/v2.0/instances/*.png" in caught.value.message
    assert "mapillary.com/dataset/vistas" in caught.value.hint


def test_an_instance_map_that_lost_its_16_bits_is_named(tmp_path):
    root = raw_layouts.mapillary(tmp_path / "raw", splits=("training",))
    paths = sorted((root / "training" / "instances").iterdir())
    raw_layouts.write_png(paths[0], (png.read(paths[0]) >> 8).astype(np.uint8))
    raw_layouts.as_palette(paths[1])
    with pytest.raises(ProblemsError) as caught:
        prepare(root, tmp_path / "out", keep_going=True)
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [
        "is an 8-bit grey PNG where 16-bit grey is expected.",
        "is an 8-bit palette PNG where 16-bit grey is expected.",
    ]


def test_a_photo_of_another_size_is_named(tmp_path):
    root = raw_layouts.mapillary(tmp_path / "raw", splits=("training",), count=1)
    (path,) = (root / "training" / "images").iterdir()
    Image.new("RGB", (7, 5)).save(path)
    with pytest.raises(ProblemsError, match=rf"{path.name}: is 7x5 where its labels are 30x18"):
        prepare(root, tmp_path / "out")

"""ADE20K: stuff from the semantic maps, things from the instance maps; or just as Mask2Former's converter has it."""

import shutil
import zlib

import numpy as np
import pytest
import raw_layouts
from conftest import oracle
from PIL import Image

from yoso_cli.datasets import ade20k, mask2former
from yoso_cli.datasets.spec import read_categories
from yoso_cli.datasets.split import make
from yoso_cli.errors import DataError, ProblemsError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import read_id_map, read_panoptic
from yoso_cli.panoptic.types import measured


def prepare(root, output, *, splits=(), semantic=False, read=None, **options):
    return [make(plan, output, **options) for plan in ade20k.plans(root, splits, semantic=semantic, read=read)[0]]


def maps_of(root, record, split="training"):
    semantic = png.read(root / "ADEChallengeData2016" / "annotations" / split / record.panoptic_file)
    instances = png.read(root / "annotations_instance" / split / record.panoptic_file)
    return semantic, instances


def test_every_pixel_is_the_instance_on_top_or_the_stuff_below_or_void(tmp_path):
    root = raw_layouts.ade20k(tmp_path / "raw", count=5)
    prepared = prepare(root, tmp_path / "out")[0].panoptic_set
    categories = read_categories("ade20k")
    things = [category.id for category in categories if category.isthing]
    seen = set()
    for record in prepared.records:
        panoptic = read_panoptic(prepared, record)
        assert measured(panoptic.id_map, record.segments) == record.segments
        by_id = {segment.id: segment.category_id for segment in record.segments}
        semantic, instances = maps_of(root, record)
        for (y, x), segment_id in np.ndenumerate(panoptic.id_map):
            thing, number, _ = map(int, instances[y, x])
            if number:
                assert by_id[segment_id] == things[thing - 1]
                assert segment_id == (things[thing - 1] + 1) * 256 + number
            elif semantic[y, x] and not categories[semantic[y, x] - 1].isthing:
                assert by_id[segment_id] == semantic[y, x] - 1
            else:
                assert segment_id == 0
            seen.add((bool(number), int(segment_id)))
    assert len(seen) > 8
    assert {(False, 0)} < seen


def official(root, split, categories, generator_of):
    """The converter as its users know it, segment by segment over whole masks: the parity's other side."""
    base = root / "ADEChallengeData2016"
    things = [category.id for category in categories if category.isthing]
    for path in sorted((base / "images" / split).glob("*.jpg")):
        with (
            Image.open(base / "annotations" / split / f"{path.stem}.png") as one,
            Image.open(root / "annotations_instance" / split / f"{path.stem}.png") as two,
        ):
            semantic, instances = np.array(one), np.array(two)
        painted = np.zeros((*semantic.shape, 3), np.uint8)
        infos = []
        generator = generator_of(path.stem)
        pairs = [
            (semantic == value, int(value) - 1)
            for value in np.unique(semantic)
            if value and not categories[value - 1].isthing
        ]
        for number in np.unique(instances[..., 1]):
            if number:
                mask = instances[..., 1] == number
                (thing,) = np.unique(instances[..., 0][mask])
                pairs.append((mask, things[thing - 1]))
        for mask, category_id in pairs:
            segment_id, color = generator.get_id_and_color(category_id)
            painted[mask] = color
            rows, columns = np.nonzero(mask)
            box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
            infos.append((segment_id, category_id, int(mask.sum()), tuple(map(int, box))))
        yield painted, infos


def test_compat_mask2former_gives_that_converters_set(tmp_path):
    """Areas before the instances are laid over, ids of panopticapi's generator in the state that the name gives."""
    utils = oracle("panopticapi.utils")
    root = raw_layouts.ade20k(tmp_path / "raw", count=6)
    categories = read_categories("ade20k")
    table = {one.id: {"isthing": int(one.isthing), "color": list(one.color)} for one in categories}
    for category in table.values():
        category["color"] = tuple(category["color"])

    def generator_of(stem):
        np.random.seed(zlib.crc32(stem.encode()))
        return utils.IdGenerator(table)

    (plan, _), _ = ade20k.plans(root, read=mask2former.read_labels, notes={"compat": "mask2former"})
    made = make(plan, tmp_path / "out").panoptic_set
    hidden = 0
    for record, (painted, infos) in zip(
        made.records, official(root, "training", categories, generator_of), strict=True
    ):
        assert np.array_equal(png.read(made.panoptic_path(record)), painted)
        assert [(one.id, one.category_id, one.area, one.bbox) for one in record.segments] == infos
        hidden += measured(read_id_map(made.panoptic_path(record)), record.segments) != record.segments
    assert hidden, "some stuff is covered in part, which is what the two ways differ in"


def test_one_number_in_two_classes_is_two_instances_but_not_for_mask2former(tmp_path):
    root = raw_layouts.ade20k(tmp_path / "raw", splits=("training",), count=1)
    (path,) = (root / "annotations_instance").rglob("*.png")
    colors = np.zeros_like(png.read(path))
    colors[:5] = (1, 7, 0)
    colors[9:12] = (4, 7, 0)
    raw_layouts.write_png(path, colors)
    (prepared,) = prepare(root, tmp_path / "out")
    things = [one.id for one in prepared.panoptic_set.records[0].segments if one.id > 256]
    assert things == [8 * 256 + 7, 13 * 256 + 7]
    with pytest.raises(ProblemsError, match="instance 7 in more than one class"):
        prepare(root, tmp_path / "compat", read=mask2former.read_labels)


def test_semantic_maps_count_from_0(tmp_path):
    root = raw_layouts.ade20k(tmp_path / "raw")
    prepared = prepare(root, tmp_path / "out", semantic=True)[0]
    for record in prepared.panoptic_set.records:
        semantic = png.read(prepared.folder / "semantic" / record.panoptic_file, png.Kind.GREY8)
        expected = maps_of(root, record)[0].astype(int) - 1
        assert np.array_equal(semantic, np.where(expected < 0, 255, expected))


def test_packed_and_unpacked_downloads_give_the_same_set(tmp_path):
    plain = prepare(raw_layouts.ade20k(tmp_path / "plain"), tmp_path / "a")
    root = raw_layouts.ade20k(tmp_path / "packed")
    raw_layouts.zipped(root, "ADEChallengeData2016.zip", "ADEChallengeData2016")
    raw_layouts.tarred(root, "annotations_instance.tar", "annotations_instance")
    packed = prepare(root, tmp_path / "b")
    assert [one.panoptic_set.split for one in packed] == ["train", "val"]
    for one, other in zip(plain, packed, strict=True):
        assert one.panoptic_set.records == other.panoptic_set.records
        for record in one.panoptic_set.records:
            pixels = [read_id_map(each.panoptic_set.panoptic_path(record)) for each in (one, other)]
            assert np.array_equal(*pixels)
            assert other.panoptic_set.image_path(record).is_file()


def test_the_instances_of_2017_are_asked_for_by_name(tmp_path):
    root = raw_layouts.ade20k(tmp_path)
    raw_layouts.remove(tmp_path, "annotations_instance")
    with pytest.raises(DataError) as caught:
        ade20k.plans(root)
    assert "annotations_instance/training/*.png" in caught.value.message
    assert "annotations_instance.tar (0.1 GB)" in caught.value.hint


@pytest.mark.parametrize(
    ("folder", "change", "words"),
    [
        ("annotations_instance", lambda pixels: pixels + np.array([0, 0, 0], np.uint8), None),
        ("annotations_instance", lambda pixels: np.full_like(pixels, 101), "has values that ADE20K does not use"),
        ("annotations_instance", lambda pixels: pixels[:-1], "is 31x19 where the semantic map is 31x20"),
        ("annotations_instance", lambda pixels: pixels[..., 1], "8-bit grey PNG where 8-bit RGB"),
        ("ADEChallengeData2016/annotations", lambda pixels: np.full_like(pixels, 151), "the class 151"),
        (
            "ADEChallengeData2016/annotations",
            lambda pixels: pixels.astype(np.uint16),
            "16-bit grey PNG where 8-bit grey",
        ),
    ],
)
def test_wrong_maps_are_named(tmp_path, folder, change, words):
    root = raw_layouts.ade20k(tmp_path / "raw", splits=("training",), count=1)
    (path,) = (root / folder).rglob("*.png")
    raw_layouts.write_png(path, change(png.read(path)))
    if words is None:
        assert prepare(root, tmp_path / "out")
        return
    with pytest.raises(ProblemsError, match=rf"{path.name}: .*{words}"):
        prepare(root, tmp_path / "out")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("top", ["ADE20K_2021_17_01/images/ADE", "images/ADE", "ADE20K_2016_07_26/images"])
def test_the_full_release_is_recognised_and_what_is_needed_is_named(tmp_path, top, packed):
    folder = tmp_path / "raw" / top / "training" / "urban" / "street"
    folder.mkdir(parents=True)
    for name in ("ADE_train_00000001.jpg", "ADE_train_00000001_seg.png", "ADE_train_00000001_parts_1.png"):
        (folder / name).touch()
    root = tmp_path / "raw"
    if packed:
        (tmp_path / "packed").mkdir()
        shutil.make_archive(str(tmp_path / "packed" / "full"), "zip", root)
        root = tmp_path / "packed"
    with pytest.raises(DataError, match="is the full ADE20K, with thousands of classes") as caught:
        ade20k.plans(root)
    assert "ADEChallengeData2016.zip" in caught.value.hint
    assert "annotations_instance.tar" in caught.value.hint

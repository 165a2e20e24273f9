"""The PNG and the prepared folder: what is written is read back, and what is broken is named."""

import contextlib
import errno
import json
import os
import zlib
from dataclasses import replace
from pathlib import Path

import build
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.panoptic import files
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, Segment, measured

CATEGORIES = (Category(3, "dog", True, (1, 2, 3)), Category(9, "lawn", False, (4, 5, 6)))
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
ID_MAPS = hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 256**3 - 1))
MANY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def panoptic_of(id_map, iscrowd=False):
    ids = [int(value) for value in np.unique(id_map) if value]
    segments = [Segment(value, CATEGORIES[place % 2].id, 0, iscrowd=iscrowd) for place, value in enumerate(ids)]
    return Panoptic(id_map, measured(id_map, segments))


def record_of(panoptic, image_id=1):
    height, width = panoptic.id_map.shape
    return ImageRecord(image_id, f"{image_id}.jpg", f"{image_id}.png", height, width, panoptic.segments)


def written(folder, *id_maps):
    writer = files.SetWriter(folder, "pets", "val", CATEGORIES, notes={"seed": 4})
    for image_id, id_map in enumerate(id_maps):
        panoptic = panoptic_of(np.asarray(id_map, np.int32))
        image = np.full((*panoptic.id_map.shape, 3), 90, np.uint8)
        writer.add(record_of(panoptic, image_id), panoptic, image)
    return writer.finish()


@given(ID_MAPS)
def test_ids_survive_as_colours(id_map):
    rgb = files.id_to_rgb(id_map)
    assert rgb.dtype == np.uint8
    assert rgb.shape == (*id_map.shape, 3)
    assert np.array_equal(files.rgb_to_id(rgb), id_map)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda shape: (*shape, 3))))
def test_colours_survive_as_ids(rgb):
    id_map = files.rgb_to_id(rgb)
    assert id_map.dtype == np.int32
    assert np.array_equal(files.id_to_rgb(id_map), rgb)


def test_the_id_is_red_plus_256_green_plus_65536_blue():
    assert files.rgb_to_id(np.array([[[1, 2, 3]]], np.uint8)).tolist() == [[1 + 256 * 2 + 65536 * 3]]


def test_a_strided_map_converts_like_a_plain_one():
    id_map = np.arange(48, dtype=np.int32).reshape(6, 8) * 70_000
    assert np.array_equal(files.id_to_rgb(id_map[::2, ::-1]), files.id_to_rgb(id_map[::2, ::-1].copy()))


@MANY
@given(id_map=ID_MAPS)
def test_a_written_png_is_read_back(tmp_path, id_map):
    files.write_id_map(tmp_path / "deep" / "a.png", id_map)
    found = files.read_id_map(tmp_path / "deep" / "a.png")
    assert found.dtype == np.int32
    assert np.array_equal(found, id_map)
    found += 0  # readers may work in place


@MANY
@given(id_map=ID_MAPS, iscrowd=st.booleans(), image_id=st.one_of(st.integers(0, 2**40), st.text("abc_", min_size=1)))
def test_a_written_set_is_read_back(tmp_path_factory, id_map, iscrowd, image_id):
    folder = tmp_path_factory.mktemp("root") / "pets" / "val"
    panoptic = panoptic_of(id_map, iscrowd)
    record = record_of(panoptic, image_id)
    writer = files.SetWriter(folder, "pets", "val", CATEGORIES)
    writer.add(replace(record, segments=()), panoptic, np.zeros((*id_map.shape, 3), np.uint8))
    made = writer.finish()
    found = files.read_set(folder)
    assert found == made
    assert found.records == (record,)
    assert found.categories == CATEGORIES
    read = files.read_panoptic(found, record)
    assert np.array_equal(read.id_map, id_map)
    assert read.segments == panoptic.segments


def test_scores_are_kept(tmp_path):
    id_map = np.full((2, 2), 5, np.int32)
    panoptic = Panoptic(id_map, (Segment(5, 3, 4, (0, 0, 2, 2), score=0.25),))
    writer = files.SetWriter(tmp_path / "a", "pets", "val", CATEGORIES)
    writer.add(record_of(panoptic), panoptic)
    assert writer.finish().records[0].segments[0].score == 0.25


def test_the_manifest_tells_what_the_writer_was_told(tmp_path):
    written(tmp_path / "pets" / "val", [[1, 0]])
    manifest = files.read_manifest(tmp_path / "pets" / "val")
    assert manifest is not None
    assert manifest["format"] == "yoso-panoptic"
    assert (manifest["version"], manifest["images"], manifest["seed"]) == (1, 1, 4)


def test_pictures_may_lie_elsewhere(tmp_path):
    raw = tmp_path / "raw"
    files.write_id_map(raw / "png" / "1.png", np.full((2, 3), 8, np.int32))
    record = record_of(panoptic_of(np.full((2, 3), 8, np.int32)))
    writer = files.SetWriter(
        tmp_path / "out", "pets", "val", CATEGORIES, image_dir=str(raw / "jpg"), panoptic_dir=str(raw / "png")
    )
    writer.add(record)
    made = writer.finish()
    assert made.image_path(record) == raw / "jpg" / "1.jpg"
    assert files.read_panoptic(made, record).id_map.tolist() == [[8] * 3] * 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.json", "panoptic.json"]


def test_a_finished_set_is_not_written_over(tmp_path):
    written(tmp_path / "a", [[1]])
    with pytest.raises(UsageError, match="complete set"):
        files.SetWriter(tmp_path / "a", "pets", "val", CATEGORIES)


def test_an_unfinished_set_is_not_taken_for_whole(tmp_path):
    folder = tmp_path / "pets" / "val"
    panoptic = panoptic_of(np.ones((2, 2), np.int32))
    files.SetWriter(folder, "pets", "val", CATEGORIES).add(record_of(panoptic), panoptic)
    with pytest.raises(DataError, match="no manifest") as caught:
        files.read_set(folder)
    assert "yoso convert" in caught.value.hint


def test_a_folder_that_was_never_prepared_says_what_to_type(tmp_path):
    with pytest.raises(DataError, match="no such folder") as caught:
        files.read_set(tmp_path / "shapes" / "train")
    assert str(tmp_path / "shapes" / "train") in caught.value.message
    assert "yoso prepare" in caught.value.hint


@pytest.mark.parametrize("key", ["name", "split", "image_dir", "panoptic_dir", "images"])
def test_a_manifest_that_lacks_a_key_names_it(tmp_path, key):
    written(tmp_path / "a", [[1]])
    path = tmp_path / "a" / "manifest.json"
    build.forget_checksums(tmp_path / "a")
    manifest = json.loads(path.read_text())
    del manifest[key]
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=f"lacks '{key}'"):
        files.read_set(tmp_path / "a")


@pytest.mark.parametrize("text", ["{}", '{"format": "yoso-panoptic", "version": 2}', "[]", "{", "\ud83d"])
def test_a_foreign_manifest_is_refused(tmp_path, text):
    written(tmp_path / "a", [[1]])
    (tmp_path / "a" / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"manifest\.json"):
        files.read_set(tmp_path / "a")


def test_a_manifest_and_a_listing_that_disagree_are_refused(tmp_path):
    written(tmp_path / "a", [[1]], [[2]])
    build.forget_checksums(tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    path.write_text(path.read_text().replace('"images": 2', '"images": 3'))
    with pytest.raises(DataError, match=r"lists 2 pictures where manifest\.json says 3"):
        files.read_set(tmp_path / "a")


@pytest.mark.parametrize("name", ["panoptic.json", "manifest.json"])
def test_a_changed_digit_in_a_prepared_split_is_noticed(tmp_path, name):
    written(tmp_path / "a", [[1, 1]], [[2, 1]])
    path = tmp_path / "a" / name
    whole = path.read_text()
    # Where it is the name of the checksum that is damaged, the values are whole.
    values = whole.replace('"crc32"', '"crc__"')
    for place in [place for place, letter in enumerate(values) if letter.isdecimal()]:
        path.write_text(whole[:place] + str((int(whole[place]) + 1) % 10) + whole[place + 1 :])
        with pytest.raises(DataError, match=rf"{name}: .*(checksum differs|not of the format)"):
            files.read_set(tmp_path / "a")
    path.write_text(whole)
    assert len(files.read_set(tmp_path / "a").records) == 2


def test_a_split_without_checksums_is_read_as_earlier_versions_wrote_it(tmp_path):
    written(tmp_path / "a", [[1]])
    build.forget_checksums(tmp_path / "a")
    assert "crc32" not in (tmp_path / "a" / "manifest.json").read_text()
    assert len(files.read_set(tmp_path / "a").records) == 1


def test_a_missing_folder_of_pngs_is_named(tmp_path):
    made = written(tmp_path / "a", [[1]])
    made.panoptic_path(made.records[0]).unlink()
    made.panoptic_dir.rmdir()
    with pytest.raises(DataError, match="panoptic: no such folder"):
        files.read_set(tmp_path / "a")


def test_a_missing_png_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        files.read_id_map(tmp_path / "gone.png")


def test_a_folder_in_place_of_a_png_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        files.read_id_map(tmp_path)


def test_a_png_cut_short_anywhere_is_named_or_still_whole(tmp_path):
    id_map = np.random.default_rng(0).integers(0, 256**3, (40, 30), dtype=np.int32)
    path = tmp_path / "a.png"
    files.write_id_map(path, id_map)
    whole = path.read_bytes()
    refusals = []
    for length in [*range(60), *range(60, len(whole), 97), len(whole) - 13, len(whole) - 1]:
        path.write_bytes(whole[:length])
        try:
            found = files.read_id_map(path)
        except DataError as error:
            refusals.append(error.message)
        else:
            # Only the end marker was cut off.
            assert length > len(whole) - 20
            assert np.array_equal(found, id_map)
    assert len(refusals) > 60
    assert all("a.png" in message for message in refusals)


def test_a_png_with_flipped_bits_never_raises_anything_else(tmp_path):
    path = tmp_path / "a.png"
    files.write_id_map(path, np.arange(600, dtype=np.int32).reshape(20, 30) * 997)
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    for place in random.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        with contextlib.suppress(DataError):
            files.read_id_map(path)


WRONG_MODES = {
    "grey": lambda: Image.new("L", (4, 4), 3),
    "palette": lambda: Image.new("P", (4, 4), 3),
    "16-bit grey": lambda: Image.fromarray(np.full((4, 4), 3000, np.uint16)),
    "1-bit grey": lambda: Image.new("1", (4, 4), 1),
    "RGB with alpha": lambda: Image.new("RGBA", (4, 4), (1, 2, 3, 4)),
    "grey with alpha": lambda: Image.new("LA", (4, 4), (1, 2)),
}


@pytest.mark.parametrize("kind", WRONG_MODES)
def test_a_png_of_another_kind_says_which(tmp_path, kind):
    WRONG_MODES[kind]().save(tmp_path / "a.png")
    with pytest.raises(DataError, match=f"{kind} PNG where 8-bit RGB is expected"):
        files.read_id_map(tmp_path / "a.png")


def test_a_16_bit_rgb_png_is_refused_although_pillow_calls_it_rgb(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (1, 1)).save(path)
    content = bytearray(path.read_bytes())
    content[24] = 16
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(DataError, match="16-bit RGB"):
        files.read_id_map(path)


def test_a_jpeg_by_the_name_of_png_is_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", format="JPEG")
    with pytest.raises(DataError, match="is not a PNG"):
        files.read_id_map(tmp_path / "a.png")


def test_a_png_of_another_size_than_listed_is_refused(tmp_path):
    made = written(tmp_path / "a", [[1, 1, 2]])
    files.write_id_map(made.panoptic_path(made.records[0]), np.ones((2, 2), np.int32))
    with pytest.raises(DataError, match=r"0\.png: is 2x2 where the JSON says 3x1"):
        files.read_panoptic(made, made.records[0])


@pytest.mark.parametrize(("id_map", "words"), [([[1, 7]], "in the PNG but not in the JSON: 7"), ([[1, 1]], "2$")])
def test_ids_that_only_one_side_knows_are_named(tmp_path, id_map, words):
    made = written(tmp_path / "a", [[1, 2]])
    files.write_id_map(made.panoptic_path(made.records[0]), np.array(id_map, np.int32))
    with pytest.raises(DataError, match=r"0\.png: 1 segment ids are in") as caught:
        files.read_panoptic(made, made.records[0])
    assert words.removesuffix("$") in caught.value.message


def _full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_png(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    files.write_id_map(path, np.ones((2, 2), np.int32))
    monkeypatch.setattr(os, "fsync", _full_disk)
    with pytest.raises(RunError, match=r"a\.png: cannot be written: No space left"):
        files.write_id_map(path, np.zeros((2, 2), np.int32))
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert files.read_id_map(path).all()


def test_a_disk_that_fills_up_with_pngs_leaves_no_half_of_one(tmp_path, monkeypatch):
    panoptic = panoptic_of(np.ones((2, 2), np.int32))
    writer = files.SetWriter(tmp_path / "a", "pets", "val", CATEGORIES)
    monkeypatch.setattr(Path, "write_bytes", _full_disk)
    with pytest.raises(RunError, match="No space left"):
        writer.add(record_of(panoptic), panoptic)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_disk_that_fills_up_at_the_end_leaves_no_set_that_looks_whole(tmp_path, monkeypatch):
    panoptic = panoptic_of(np.ones((2, 2), np.int32))
    writer = files.SetWriter(tmp_path / "a", "pets", "val", CATEGORIES)
    writer.add(record_of(panoptic), panoptic)
    monkeypatch.setattr(os, "fsync", _full_disk)
    with pytest.raises(RunError, match="No space left"):
        writer.finish()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["1.png"]


def test_the_real_sample_is_consistent_with_its_listing(coco_sample: Path):
    annotations = coco_sample / "annotations"
    found = files.read_coco(
        annotations / "panoptic_val2017.json",
        annotations / "panoptic_val2017",
        coco_sample / "val2017",
        name="coco",
        split="val2017",
    )
    assert len(found.records) == 3
    assert len(found.categories) == 133
    for record in found.records:
        panoptic = files.read_panoptic(found, record)
        assert measured(panoptic.id_map, record.segments) == record.segments
        assert read_image(found.image_path(record)).shape == (record.height, record.width, 3)

"""The official Cityscapes evaluators, run on sets as they lie on disk, beside this program's own figures."""

import json
from dataclasses import replace
from pathlib import Path

import build
import numpy as np
import pytest
from conftest import oracle
from numpy.random import Generator

from yoso_cli.cli import run
from yoso_cli.datasets.spec import read_categories
from yoso_cli.errors import DataError, RunError
from yoso_cli.evaluation import cityscapes
from yoso_cli.evaluation.cityscapes import cityscapes_quality
from yoso_cli.evaluation.score import read_any, score_files
from yoso_cli.panoptic.files import SetWriter, read_panoptic
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Segment, measured

CATEGORIES = read_categories("cityscapes")
ROAD, SKY, PERSON, CAR = 7, 23, 24, 26
SIZE = (60, 90)


@pytest.fixture(autouse=True)
def _official() -> None:
    oracle("cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling")


def write(folder: Path, pictures: list[Panoptic], categories: tuple[Category, ...] = CATEGORIES) -> PanopticSet:
    writer = SetWriter(folder, "cityscapes", folder.name, categories)
    for number, one in enumerate(pictures):
        name = f"city_{number:06d}_000019"
        segments = measured(one.id_map, one.segments)
        writer.add(
            ImageRecord(name, f"{name}.png", f"{name}.png", *one.id_map.shape, segments),
            replace(one, segments=segments),
        )
    writer.finish()
    return read_any(folder)


def scene(rng: Generator, *, found: bool) -> Panoptic:
    """Road below sky with void between, five things of four classes, and in the truth a group of cars."""
    id_map = np.zeros(SIZE, np.int32)
    id_map[:25], id_map[30:] = 1, 2
    segments = [Segment(1, SKY, 1), Segment(2, ROAD, 1)]
    for place, category_id in enumerate((PERSON, CAR, CAR, 33, CAR)):
        # A moved, a lost and a mistaken one are what an evaluation is for.
        shift = int(rng.integers(0, 5)) if found else 0
        if found and rng.random() < 0.2:
            continue
        left, top = 2 + 17 * place + shift, 8 + 6 * place
        id_map[top : top + 18, left : left + 13] = 10 + place
        guess = int(rng.choice((PERSON, CAR, 33))) if found and rng.random() < 0.3 else category_id
        crowd = not found and place == 4
        segments.append(
            Segment(10 + place, guess, 1, iscrowd=crowd, score=round(float(rng.random()), 3) if found else None)
        )
    present = set(np.unique(id_map).tolist())
    return Panoptic(id_map, tuple(one for one in segments if one.id in present))


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions and truth of six pictures."""
    rng = np.random.default_rng(5)
    write(tmp_path / "val", [scene(rng, found=False) for _ in range(6)])
    write(tmp_path / "found", [scene(rng, found=True) for _ in range(6)])
    return tmp_path / "found", tmp_path / "val"


def test_iou_and_pq_are_this_programs_to_the_last_digit(sets: tuple[Path, Path]) -> None:
    predictions, truth = sets
    true_set = read_any(truth)
    ours = score_files(true_set, read_any(predictions, like=true_set), ["pq", "miou"])
    # Its evaluator of PQ divides by zero where a group has no class; here each has one.
    theirs = cityscapes_quality(predictions, truth)
    assert ours.semantic is not None
    assert theirs.pixels.iou == pytest.approx(ours.semantic.miou, abs=1e-12)
    assert [one.iou for one in theirs.pixels.classes] == [one.iou for one in ours.semantic.classes]
    assert theirs.quality == ours.quality
    assert 0 < ours.quality.all.pq < 1  # type: ignore[operator]


def test_instances_alike_weigh_alike_in_iiou(sets: tuple[Path, Path]) -> None:
    """Things have an iIoU, stuff has none; by hand for one class."""
    predictions, truth = sets
    pixels = cityscapes_quality(predictions, truth).pixels
    kinds = {one.category.id: one.iiou for one in pixels.classes}
    assert kinds[ROAD] is None
    assert kinds[CAR] is not None
    assert {one.name for one in pixels.categories} == {
        *("flat", "construction", "object", "nature", "sky", "human", "vehicle")
    }


def test_a_perfect_prediction_has_all_there_is(tmp_path: Path) -> None:
    pictures = [scene(np.random.default_rng(0), found=False)]
    write(tmp_path / "val", pictures)
    scored = [
        replace(one, segments=tuple(replace(each, score=0.9, iscrowd=False) for each in one.segments))
        for one in pictures
    ]
    write(tmp_path / "found", scored)
    found = cityscapes_quality(tmp_path / "found", tmp_path / "val")
    assert found.pixels.iou == 1
    assert found.instances is not None
    assert (found.instances.ap, found.instances.ap50) == (1, 1)
    assert found.quality.all.pq == 1
    true_set = read_any(tmp_path / "val")
    ours = score_files(true_set, read_any(tmp_path / "found", like=true_set), ["ap"]).instances
    assert ours is not None
    assert ours.ap == pytest.approx(1)


def test_half_of_the_cars_found_is_half_of_the_ap(tmp_path: Path) -> None:
    """Of two cars the first is found whole, and nothing else: precision is 1 up to a recall of a half."""
    id_map = np.full(SIZE, 1, np.int32)
    id_map[5:25, 5:25], id_map[5:25, 40:60] = 2, 3
    cars = (Segment(1, ROAD, 1), Segment(2, CAR, 1), Segment(3, CAR, 1))
    write(tmp_path / "val", [Panoptic(id_map, cars)])
    guess = np.where(id_map == 3, 1, id_map).astype(np.int32)
    write(tmp_path / "found", [Panoptic(guess, (cars[0], replace(cars[1], score=0.8)))])
    found = cityscapes_quality(tmp_path / "found", tmp_path / "val").instances
    assert found is not None
    (car,) = (one for one in found.classes if one.category.id == CAR)
    assert (car.ap, car.ap50) == (0.5, 0.5)
    # COCO's evaluator reads precision at 101 recalls, of which 0, 0.01, ... 0.5 are reached.
    true_set = read_any(tmp_path / "val")
    ours = score_files(true_set, read_any(tmp_path / "found", like=true_set), ["ap"]).instances
    assert ours is not None
    assert ours.ap == pytest.approx(51 / 101)
    assert [one.ap for one in found.classes if one.category.id == PERSON] == [None]


def test_without_scores_ap_is_left_out_and_the_rest_is_there(
    sets: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    listing = sets[0] / "panoptic.json"
    build.forget_checksums(sets[0])
    content = json.loads(listing.read_text())
    for entry in content["annotations"]:
        for info in entry["segments_info"]:
            info.pop("score", None)
    listing.write_text(json.dumps(content))
    assert run(["eval", "--engine", "cityscapesscripts", *paths(sets), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["instances"] is None
    assert "AP is left out." in err


def paths(sets: tuple[Path, Path]) -> list[str]:
    return ["--predictions", str(sets[0]), "--truth", str(sets[1])]


def test_the_command_prints_a_table_that_fits_and_one_json(
    sets: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert run(["eval", "--engine", "cityscapesscripts", *paths(sets)]) == 0
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert out.splitlines()[1].split() == ["Class", "IoU", "iIoU", "AP", "AP50", "PQ"]
    assert err.splitlines()[-1].startswith("Next: yoso eval --predictions ")
    assert run(["eval", "--engine", "cityscapesscripts", *paths(sets), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"schema", "engine", "pixels", "instances", "quality", "versions"}
    assert told["engine"] == "cityscapesscripts"
    assert 0 < told["instances"]["ap"] < 100
    # The evaluators would leave a matches.json and a folder of results behind.
    assert sorted(tmp_path.rglob("*")) == before


def test_other_classes_are_refused_by_name(tmp_path: Path) -> None:
    cat = Category(1, "cat", True)
    picture = Panoptic(np.ones(SIZE, np.int32), (Segment(1, 1, 1),))
    write(tmp_path / "val", [picture], (cat,))
    with pytest.raises(DataError, match=r"has the thing class 1 'cat', which is none of Cityscapes' labels"):
        cityscapes_quality(tmp_path / "val", tmp_path / "val")


def test_a_missing_package_is_told_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> None:
        raise ImportError("No module named 'cityscapesscripts'")

    monkeypatch.setattr(cityscapes, "import_module", absent)
    with pytest.raises(RunError, match=r"cannot be imported.*Type `pip install cityscapesscripts`"):
        cityscapes_quality(tmp_path, tmp_path)


def test_what_an_evaluator_stops_on_is_one_paragraph(sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    script = oracle("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    monkeypatch.setattr(script, "evaluatePair", lambda *_: script.printError("Image widths are not equal."))
    with pytest.raises(DataError, match=r"cityscapesscripts stops on this set: Image widths are not equal\. "):
        cityscapes_quality(*sets)


def test_the_picture_is_written_as_cityscapes_publishes_it(sets: tuple[Path, Path], tmp_path: Path) -> None:
    """An instance map made here is read back by Cityscapes' own reader as the segments of the truth."""
    reader = oracle("cityscapesscripts.evaluation.instances2dict")
    true_set = read_any(sets[1])
    record = true_set.records[0]
    panoptic = read_panoptic(true_set, record)
    folder = tmp_path / "files"
    folder.mkdir()
    files = cityscapes._write(folder, 0, (record, record), true_set, true_set)
    (instances,) = reader.instances2dict(str(files.true_instances)).values()
    listed = sorted(
        (each["labelID"], each["instID"] < 1000, each["pixelCount"])
        for name, several in instances.items()
        for each in several
        if name != "unlabeled"
    )
    things = {one.id for one in CATEGORIES if one.isthing}
    expected = [(one.category_id, one.iscrowd or one.category_id not in things, one.area) for one in panoptic.segments]
    assert listed == sorted(expected)

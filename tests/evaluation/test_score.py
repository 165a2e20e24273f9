"""Sets on disk become one score, the reference's to the last digit, and say which picture is at fault."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import oracle
from evaluation.official import GROUPS, write_png

from yoso_cli.errors import DataError
from yoso_cli.evaluation import score
from yoso_cli.panoptic.files import SetWriter, read_panoptic
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Segment, measured

CATEGORIES = (Category(1, "cat", True), Category(2, "sky", False))


def disturbed(truth: Panoptic, categories: tuple[Category, ...], rng: np.random.Generator) -> Panoptic:
    """The truth shifted by some pixels, with new ids, some segments merged into void and some classes wrong."""
    shifted = np.roll(truth.id_map, tuple(rng.integers(-9, 10, 2)), (0, 1))
    kept = [one for one in truth.segments if rng.random() < 0.85]
    id_map = np.zeros_like(shifted)
    segments = []
    for new, one in enumerate(kept, 1):
        id_map[shifted == one.id] = new * 1000
        category = one.category_id if rng.random() < 0.85 else categories[rng.integers(len(categories))].id
        segments.append(Segment(new * 1000, category, 1))
    return Panoptic(id_map, measured(id_map, segments))


def predict(truth: PanopticSet, rng: np.random.Generator) -> Iterator[tuple[ImageRecord, Panoptic]]:
    for record in truth.records:
        yield record, disturbed(read_panoptic(truth, record), truth.categories, rng)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_real_coco_pictures_score_what_the_reference_says(coco_sample: Path, tmp_path: Path, seed: int) -> None:
    listing = coco_sample / "annotations" / "panoptic_val2017.json"
    truth = score.read_any(listing)
    predicted = list(predict(truth, np.random.default_rng(seed)))
    writer = SetWriter(tmp_path / "made", "made", "val", truth.categories)
    for record, prediction in predicted:
        writer.add(record, prediction)
    writer.finish()
    from_memory = score.score_predicted(truth, predicted)
    from_files = score.score_files(truth, score.read_any(tmp_path / "made"))
    assert from_memory == from_files
    assert 0 < (from_files.quality.all.pq or 0) < 1

    content, made = json.loads(listing.read_text()), json.loads((tmp_path / "made" / "panoptic.json").read_text())
    categories = {one["id"]: one for one in content["categories"]}
    predictions = {one["image_id"]: one for one in made["annotations"]}
    annotations = [(one, predictions[one["image_id"]]) for one in content["annotations"]]
    folders = str(listing.with_suffix("")), str(tmp_path / "made" / "panoptic")
    stat = oracle("panopticapi.evaluation").pq_compute_single_core(0, annotations, *folders, categories)
    for name, isthing in GROUPS.items():
        group = getattr(from_files.quality, name)
        assert stat.pq_average(categories, isthing)[0] == {"pq": group.pq, "sq": group.sq, "rq": group.rq, "n": group.n}
    _, by_class = stat.pq_average(categories, None)
    for one in from_files.quality.classes:
        figures = by_class[one.category.id]
        assert one.pq is None or figures == {"pq": one.pq, "sq": one.sq, "rq": one.rq}


def test_the_truth_against_itself_is_100(coco_sample: Path) -> None:
    truth = score.read_any(coco_sample / "annotations" / "panoptic_val2017.json")
    found = score.score_files(truth, truth).quality
    assert (found.all.pq, found.things.pq, found.stuff.pq) == (1.0, 1.0, 1.0)


def write_coco(folder: Path, images: int = 1, **changes: Any) -> Path:
    """`images` pictures of a cat below a sky, in COCO's layout, `folder/truth.json` and `folder/truth/`."""
    (folder / "truth").mkdir(parents=True)
    segments = [{"id": 5, "category_id": 1, "area": 4}, {"id": 6, "category_id": 2, "area": 4}]
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    for index in range(images):
        write_png(folder / "truth" / f"{index}.png", np.repeat(np.array([[6], [5]], np.int32), 4, 1))
        content["images"].append({"id": index, "file_name": f"{index}.jpg", "height": 2, "width": 4})
        infos = [{**one, "iscrowd": 0, "bbox": [0, 0, 4, 1]} for one in segments]
        content["annotations"].append({"image_id": index, "file_name": f"{index}.png", "segments_info": infos})
    for category in CATEGORIES:
        content["categories"].append({"id": category.id, "name": category.name, "isthing": int(category.isthing)})
    (folder / "truth.json").write_text(json.dumps(content | changes))
    return folder / "truth.json"


def test_a_bare_result_json_is_completed_from_the_truth(tmp_path: Path) -> None:
    truth = score.read_any(write_coco(tmp_path))
    infos = [{"id": 5, "category_id": 1}, {"id": 6, "category_id": 2}]
    bare = {"annotations": [{"image_id": 0, "file_name": "0.png", "segments_info": infos}]}
    (tmp_path / "truth").rename(tmp_path / "results")
    (tmp_path / "results.json").write_text(json.dumps(bare))
    predictions = score.read_any(tmp_path / "results.json", like=truth)
    same = replace(truth, panoptic_dir=tmp_path / "results")
    assert score.score_files(same, predictions).quality.all.pq == 1.0


def test_images_without_prediction_are_named_before_any_work(tmp_path: Path) -> None:
    truth = score.read_any(write_coco(tmp_path, images=9))
    some = replace(truth, records=truth.records[:2])
    with pytest.raises(DataError, match=r"7 of 9 images have no prediction: 2, 3, 4, 5, 6 and 2 more\."):
        score.score_files(truth, some)


def test_predictions_of_other_images_are_ignored(tmp_path: Path) -> None:
    truth = score.read_any(write_coco(tmp_path, images=3))
    some = replace(truth, records=truth.records[1:])
    assert score.score_files(some, truth).quality.classes[0].tp == 2


def test_a_contradiction_names_its_picture() -> None:
    good = Panoptic(np.ones((2, 2), np.int32), (Segment(1, 1, 4),))
    small = Panoptic(np.ones((1, 2), np.int32), (Segment(1, 1, 2),))
    with pytest.raises(DataError, match="Picture 2: The predicted map is 2x1 pixels, the true one 2x2"):
        score.score([(good, good), (good, small)], CATEGORIES)
    with pytest.raises(DataError, match=r"second\.png: The predicted map"):
        score.score([(good, good), (good, small)], CATEGORIES, names=["first.png", "second.png"])


def test_a_path_that_is_no_set_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"panoptic\.json: no such file. A COCO panoptic JSON is expected"):
        score.read_any(tmp_path)
    with pytest.raises(DataError, match=r"absent\.json: no such file"):
        score.read_any(tmp_path / "absent.json")
    (tmp_path / "results.json").touch()
    with pytest.raises(DataError, match=r"These JSONs lie there: results\.json"):
        score.read_any(tmp_path)


def test_photos_are_looked_for_where_coco_unpacks_them_and_beside(tmp_path: Path) -> None:
    folder = tmp_path / "annotations"
    write_coco(folder, images=1).rename(folder / "panoptic_val2017.json")
    (folder / "truth").rename(folder / "panoptic_val2017")
    assert score.read_any(folder / "panoptic_val2017.json").image_dir == folder / "images"
    (tmp_path / "val2017").mkdir()
    assert score.read_any(folder / "panoptic_val2017.json").image_dir == tmp_path / "val2017"

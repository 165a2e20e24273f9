"""Predictions on disk: any number of processes, a cache or none, our engine or the reference, and the same digits."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import oracle
from evaluation.test_quality import random_pair
from PIL import Image

from yoso_cli.errors import DataError, RunError
from yoso_cli.evaluation import counting, reference
from yoso_cli.evaluation.counting import counts_from_files, counts_from_stream
from yoso_cli.evaluation.measures import ALL, DETAILS, Measures, chosen
from yoso_cli.evaluation.reference import reference_quality
from yoso_cli.evaluation.run_cache import RunCache
from yoso_cli.evaluation.score import read_any, score_files, score_predicted
from yoso_cli.panoptic import annotations
from yoso_cli.panoptic.files import read_id_map, write_id_map
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Segment, measured
from yoso_cli.runtime import workers

CATEGORIES = (Category(7, "cat", True), Category(2, "dog", True), Category(90, "sky", False), Category(4, "sea", False))


def write_sets(folder: Path, pairs: list[tuple[Panoptic, Panoptic]], image_id: type = int) -> tuple[Path, Path]:
    """Truth and predictions in COCO's layout, `truth.json` and `prediction.json`."""
    for side, name in enumerate(("truth", "prediction")):
        records = []
        for number, both in enumerate(pairs):
            height, width = both[side].id_map.shape
            png = f"{number}.png"
            write_id_map(folder / name / png, both[side].id_map)
            records.append(ImageRecord(image_id(number), "", png, height, width, both[side].segments))
        (folder / f"{name}.json").write_text(
            json.dumps(annotations.to_json(CATEGORIES, records)).replace('""', '"a.jpg"')
        )
    return folder / "truth.json", folder / "prediction.json"


def whole_pair(rng: np.random.Generator) -> tuple[Panoptic, Panoptic]:
    """A pair whose truth states what its map has: others are refused."""
    truth, prediction = odd_pair(rng)
    return Panoptic(truth.id_map, measured(truth.id_map, truth.segments)), prediction


def odd_pair(rng: np.random.Generator) -> tuple[Panoptic, Panoptic]:
    """A pair whose truth lists all ids of its map, with wrong areas and segments without a pixel."""
    truth, prediction = random_pair(rng, CATEGORIES)
    listed = np.isin(truth.id_map, [segment.id for segment in truth.segments])
    return Panoptic(np.where(listed, truth.id_map, 0), truth.segments), prediction


def random_sets(
    folder: Path, images: int, seed: int = 0, pair: Callable[..., tuple[Panoptic, Panoptic]] = whole_pair
) -> tuple[PanopticSet, PanopticSet]:
    rng = np.random.default_rng(seed)
    truth, prediction = write_sets(folder, [pair(rng) for _ in range(images)])
    true_set = read_any(truth)
    return true_set, read_any(prediction, like=true_set)


@pytest.fixture
def in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pictures are worth several processes here."""
    monkeypatch.setattr(workers, "_TOO_FEW", 2)


def test_the_figures_do_not_depend_on_the_number_of_processes(tmp_path: Path, in_processes: None) -> None:
    """Nor on a cache being filled or read meanwhile; every metric that needs no score is asked for."""
    truth, prediction = random_sets(tmp_path, 30)
    metrics = chosen([ALL], scored=False)
    alone = score_files(truth, prediction, metrics)
    assert score_files(truth, prediction, metrics, workers=2, cache=tmp_path / "cache") == alone
    assert score_files(truth, prediction, metrics, workers=3, cache=tmp_path / "cache") == alone
    assert 0 < (alone.quality.all.pq or 0) < 1


def test_the_reference_itself_says_the_same(tmp_path: Path) -> None:
    """Of a truth that contradicts itself as well, where it is trusted."""
    oracle("panopticapi.evaluation")
    for pair in (whole_pair, odd_pair, random_pair_of_categories):
        truth, prediction = random_sets(tmp_path / pair.__name__, 40, pair=pair)
        paths = (tmp_path / pair.__name__ / f"{name}.json" for name in ("prediction", "truth"))
        expected = reference_quality(*paths)
        assert score_files(truth, prediction, trust_json=True).quality == expected
        if pair is whole_pair:
            assert score_files(truth, prediction).quality == expected


def random_pair_of_categories(rng: np.random.Generator) -> tuple[Panoptic, Panoptic]:
    """The map may hold ids that the JSON does not list, too."""
    return random_pair(rng, CATEGORIES)


def test_a_filled_cache_gives_the_same_figures_and_reads_no_true_png(tmp_path: Path) -> None:
    truth, prediction = random_sets(tmp_path, 12)
    cache = tmp_path / "cache"
    metrics = (*chosen([ALL], scored=False), DETAILS)
    fresh = score_files(truth, prediction, metrics).to_dict()
    assert score_files(truth, prediction, metrics, cache=cache).to_dict() == fresh
    predicted = [
        (true, Panoptic(read_id_map(prediction.panoptic_path(one)), one.segments))
        for true, one in zip(truth.records, prediction.records, strict=True)
    ]
    assert score_predicted(truth, predicted, metrics).to_dict() == fresh
    for record in truth.records:
        spoil(truth.panoptic_path(record))
    assert score_files(truth, prediction, metrics, cache=cache).to_dict() == fresh
    assert score_predicted(truth, predicted, metrics, cache=cache).to_dict() == fresh


def spoil(path: Path) -> None:
    """Destroys the content behind the stamp."""
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_cache_follows_the_truth(tmp_path: Path) -> None:
    truth, prediction = random_sets(tmp_path, 6)
    cache = tmp_path / "cache"
    score_files(truth, prediction, cache=cache, trust_json=True)
    changed = truth.panoptic_path(truth.records[2])
    write_id_map(changed, np.zeros((truth.records[2].height, truth.records[2].width), np.int32))
    expected = score_files(truth, prediction, trust_json=True)
    assert score_files(truth, prediction, cache=cache, trust_json=True) == expected
    spoil(changed)
    assert score_files(truth, prediction, cache=cache, trust_json=True) == expected
    assert len(RunCache(cache)) == 6
    fewer = replace(truth, records=truth.records[:2])
    before = cache.read_bytes()
    score_files(fewer, prediction, cache=cache, trust_json=True)
    assert cache.read_bytes() == before


def test_an_interrupted_evaluation_leaves_no_cache(tmp_path: Path) -> None:
    truth, prediction = random_sets(tmp_path, 4)
    prediction.panoptic_path(prediction.records[3]).write_bytes(b"no PNG")
    with pytest.raises(DataError, match="is not a PNG"):
        score_files(truth, prediction, cache=tmp_path / "cache")
    assert not [path for path in tmp_path.iterdir() if "cache" in path.name]


def test_an_error_in_another_process_is_reported_like_one_here(tmp_path: Path, in_processes: None) -> None:
    truth, prediction = random_sets(tmp_path, 9)
    path = prediction.panoptic_path(prediction.records[5])
    write_id_map(path, np.ones((99, 98), np.int32))
    told = []
    for processes in (1, 2):
        with pytest.raises(DataError, match=rf"{path} against .*5\.png: The predicted map is 98x99 pixels") as raised:
            score_files(truth, prediction, workers=processes)
        told.append((raised.value.message, raised.value.hint))
    assert told[0] == told[1]


GOOD = Panoptic(np.array([[1, 1, 2, 0]], np.int32), (Segment(1, 7, 2), Segment(2, 2, 1)))


def scored(folder: Path, truth: Panoptic, prediction: Panoptic, *, trust_json: bool = False) -> Measures:
    true_path, path = write_sets(folder, [(truth, prediction)])
    true_set = read_any(true_path)
    return score_files(true_set, read_any(path, like=true_set), trust_json=trust_json)


def test_a_trusted_segment_without_a_pixel_counts_as_the_reference_counts_it(tmp_path: Path) -> None:
    oracle("panopticapi.evaluation")
    truth = Panoptic(np.array([[1, 1, 0, 0]], np.int32), (Segment(1, 7, 2), Segment(5, 90, 3)))
    found = scored(tmp_path, truth, GOOD, trust_json=True).quality
    assert [(one.tp, one.fp, one.fn) for one in found.classes] == [(1, 0, 0), (0, 0, 0), (0, 0, 1), (0, 0, 0)]
    assert reference_quality(tmp_path / "prediction.json", tmp_path / "truth.json") == found


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ((Segment(1, 7, 2), Segment(2, 2, 1), Segment(5, 90, 3)), "has no pixel of segment 5, which the JSON of the"),
        ((Segment(1, 7, 2), Segment(2, 2, 1), Segment(5, 90, 0)), "has no pixel of segment 5, which the JSON of the"),
        ((Segment(1, 7, 9), Segment(2, 2, 1)), "segment 1 has 2 pixels where the JSON says 9"),
        ((Segment(1, 7, 9), Segment(2, 2, 8)), "segment 1 has 2 pixels where the JSON says 9, and 1 more"),
        ((Segment(1, 7, 2),), "has segment 2, which the JSON of the truth does not list"),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_a_truth_that_contradicts_itself_is_refused(
    tmp_path: Path, segments: tuple[Segment, ...], words: str, cached: bool
) -> None:
    truth, path = write_sets(tmp_path, [(GOOD, GOOD), (replace(GOOD, segments=segments), GOOD)])
    true_set = read_any(truth)
    predicted = read_any(path, like=true_set)
    cache = tmp_path / "cache" if cached else None
    if cached:
        score_files(true_set, predicted, cache=cache, trust_json=True)
    with pytest.raises(DataError) as caught:
        score_files(true_set, predicted, cache=cache)
    assert caught.value.message.startswith(f"{tmp_path}/truth/1.png: ")
    assert words in caught.value.message
    pictures = [(record, GOOD) for record in true_set.records]
    with pytest.raises(DataError):
        score_predicted(true_set, pictures)
    with pytest.raises(DataError):
        list(counts_from_stream(pictures, true_set, threads=0))


def test_exchanged_channels_are_told_on_both_sides(tmp_path: Path) -> None:
    truth = Panoptic(np.array([[70_001, 70_001, 5, 0]], np.int32), (Segment(70_001, 7, 2), Segment(5, 2, 1)))
    true_path, path = write_sets(tmp_path, [(truth, truth)])
    for side in ("truth", "prediction"):
        before = (tmp_path / side / "0.png").read_bytes()
        with Image.open(tmp_path / side / "0.png") as image:
            Image.merge("RGB", image.split()[::-1]).save(tmp_path / side / "0.png")
        with pytest.raises(DataError, match="With red and blue exchanged all ids match"):
            score_files(read_any(true_path), read_any(path))
        (tmp_path / side / "0.png").write_bytes(before)
    write_id_map(tmp_path / "truth" / "0.png", np.array([[9, 9, 5, 0]], np.int32))
    with pytest.raises(DataError, match="do not belong together"):
        score_files(read_any(true_path), read_any(path))


@pytest.mark.parametrize("cached", [False, True])
def test_a_true_id_that_the_json_does_not_list_is_refused(tmp_path: Path, cached: bool) -> None:
    """Also from the cache, which is as old as the PNG, whatever the JSON says now."""
    truth = Panoptic(np.array([[1, 1, 9, 0]], np.int32), (Segment(1, 7, 2), Segment(9, 90, 1)))
    true_path, path = write_sets(tmp_path, [(truth, GOOD)])
    cache = tmp_path / "cache" if cached else None
    score_files(read_any(true_path), read_any(path), cache=cache)
    content = json.loads(true_path.read_text())
    del content["annotations"][0]["segments_info"][1]
    true_path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"truth/0\.png: has segment 9, which the JSON of the truth does not list"):
        score_files(read_any(true_path), read_any(path), cache=cache)


def test_a_set_without_stuff_has_an_answer_where_the_reference_divides_by_zero(tmp_path: Path) -> None:
    oracle("panopticapi.evaluation")
    found = scored(tmp_path, GOOD, GOOD).quality
    assert (found.all.pq, found.things.n, found.stuff.n, found.stuff.pq) == (1.0, 2, 0, None)
    with pytest.raises(DataError, match=r"panopticapi divides by zero on this set.*--engine yoso handles this case"):
        reference_quality(tmp_path / "prediction.json", tmp_path / "truth.json")


def test_where_the_reference_stops_the_error_has_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle("panopticapi.evaluation")
    write_sets(tmp_path, [(GOOD, replace(GOOD, segments=GOOD.segments[:1]))])
    with pytest.raises(DataError, match=r"panopticapi stops on this set with KeyError: .*presented in PNG and not"):
        reference_quality(tmp_path / "prediction.json", tmp_path / "truth.json")
    assert capsys.readouterr() == ("", "")


def test_without_panopticapi_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(reference, "import_module", absent)
    with pytest.raises(RunError, match=r"panopticapi is not installed. Type `pip install --no-deps panopticapi-lite`"):
        reference_quality(tmp_path, tmp_path)


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_a_png_that_is_not_rgb_is_refused_with_its_kind(tmp_path: Path, mode: str) -> None:
    """A grey or palette PNG crashes the reference, or is taken for three numbers."""
    truth, path = write_sets(tmp_path, [(GOOD, GOOD)])
    Image.fromarray(np.ones((1, 4), np.uint16 if mode == "I;16" else np.uint8)).convert(mode).save(
        tmp_path / "prediction" / "0.png"
    )
    kind = {"L": "8-bit grey", "P": "palette", "I;16": "16-bit grey"}[mode]
    true_set = read_any(truth)
    with pytest.raises(DataError, match=f"prediction/0.png: is an? .*{kind} PNG where 8-bit RGB is expected"):
        score_files(true_set, read_any(path, like=true_set))


def test_image_ids_may_be_names(tmp_path: Path) -> None:
    truth, path = write_sets(tmp_path, [(GOOD, GOOD)] * 2, image_id=str)
    true_set = read_any(truth)
    assert score_files(true_set, read_any(path, like=true_set)).quality.all.pq == 1.0


def test_numbers_and_names_of_images_are_not_mixed_up(tmp_path: Path) -> None:
    numbers, names = (
        write_sets(tmp_path / "a", [(GOOD, GOOD)]),
        write_sets(tmp_path / "b", [(GOOD, GOOD)], image_id=str),
    )
    with pytest.raises(DataError, match="Image ids are numbers in the truth and names in quotes in the predictions"):
        counts_from_files(read_any(numbers[0]), read_any(names[1]))


def test_a_truth_without_areas_is_refused_with_its_place(tmp_path: Path) -> None:
    """The reference crashes where a segment is met, and not at all where none is."""
    truth, _ = write_sets(tmp_path, [(GOOD, GOOD)])
    truth.write_text(truth.read_text().replace('"area"', '"size"'))
    with pytest.raises(DataError, match=r"truth\.json: annotations\[0\] segments_info\[0\] lacks 'area'"):
        read_any(truth)


def test_ids_listed_twice_are_refused_with_their_place(tmp_path: Path) -> None:
    """The reference takes the last one."""
    truth, _ = write_sets(tmp_path, [(replace(GOOD, segments=GOOD.segments * 2), GOOD)])
    with pytest.raises(DataError, match=r"annotations\[0\] segments_info\[2\] repeats id 1"):
        read_any(truth)


def sized(pictures: int, height: int, width: int) -> list[ImageRecord]:
    return [ImageRecord(number, "", "", height, width, ()) for number in range(pictures)]


@pytest.mark.parametrize(
    ("cores", "records", "expected"),
    [
        (2, sized(1, 480, 640), 1),
        (2, sized(100, 480, 640), 1),
        (2, sized(600, 480, 640), 2),
        (2, sized(100, 1024, 2048), 2),
        (64, sized(600, 480, 640), 9),
        (4, [], 1),
    ],
)
def test_the_number_of_processes_depends_on_the_work(
    monkeypatch: pytest.MonkeyPatch, cores: int, records: list[ImageRecord], expected: int
) -> None:
    monkeypatch.setattr(counting, "usable_cores", lambda: cores)
    monkeypatch.setattr(workers, "can_fork", lambda: True)
    assert counting.paying(records) == expected


def test_fewer_processes_are_used_where_they_cannot_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "usable_cores", lambda: 64)
    monkeypatch.setattr(workers, "can_fork", lambda: False)
    assert counting.paying(sized(600, 480, 640)) == 1
    assert counting.paying(sized(5000, 480, 640)) == 3

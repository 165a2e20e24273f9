"""`yoso convert` from the outside: what a person gets, and that nothing is left behind when something is wrong."""

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands.conftest import Printed, Refused
from conversion import raw
from PIL import Image

from yoso_cli.cli import run
from yoso_cli.commands import convert
from yoso_cli.conversion.forms import SOURCES, TARGETS
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import read_set

CONVERT = ("convert", "raw", "datasets/mine/train", "--from", "maps", "--categories", "raw/mine.yaml")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the test stands in, with maps in `raw/`."""
    monkeypatch.chdir(tmp_path)
    raw.write_maps(Path("raw"))
    return tmp_path


def test_the_help_names_every_form() -> None:
    assert tuple(SOURCES) == convert.SOURCES
    assert tuple(TARGETS) == convert.TARGETS


def test_maps_become_a_prepared_split(here: Path, printed: Printed) -> None:
    value, err = printed(*CONVERT, "--json")
    assert value["images"] == 3
    assert (value["segments"], value["crowds"]) == (15, 3), "a crowd is no segment, as in yoso stats"
    assert [(one["what"], one["count"], one["images"]) for one in value["lost"]] == [("stuff_numbers", 3, 3)]
    assert "Next:" not in err
    found = read_set(Path("datasets/mine/train"))
    assert (found.name, found.split) == ("mine", "train")
    assert found.categories == raw.TABLE.categories
    assert [found.image_path(record) for record in found.records] == [
        here / "raw" / "images" / f"{name}.jpg" for name in "abc"
    ]


def test_a_person_reads_what_was_made_and_what_to_type_next(here: Path, printed: Printed) -> None:
    out, err = printed(*CONVERT)
    assert out.startswith("datasets/mine/train: 3 images, 15 segments, 3 crowds, 4 classes\npictures: raw/images\n")
    assert max(map(len, out.splitlines())) < 80
    assert err.endswith("Next: yoso check datasets/mine/train")


@pytest.mark.parametrize("form", [one for one in TARGETS if not one.endswith("-submission")])
def test_the_next_line_reads_what_was_written(
    here: Path, form: str, printed: Printed, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(*CONVERT)
    assert run(["convert", "datasets/mine/train", "out", "--from", "prepared", "--to", form, "--force"]) == 0
    line = capsys.readouterr().err.splitlines()[-1].removeprefix("Next: yoso ")
    assert run(shlex.split(line)) == 0


def test_workers_make_the_same_files(here: Path, printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoso_cli.runtime.workers._TOO_FEW", 2)
    printed(*CONVERT, "--workers", "1")
    alone = {path.name: path.read_bytes() for path in Path("datasets").rglob("*.*") if path.is_file()}
    printed(*CONVERT, "--workers", "2", "--force")
    assert {path.name: path.read_bytes() for path in Path("datasets").rglob("*.*") if path.is_file()} == alone


def test_files_that_are_no_pictures_are_told(here: Path, printed: Printed) -> None:
    Path("raw/images/notes.txt").write_text("x")
    Path("raw/images/.DS_Store").write_text("x")
    _, err = printed(*CONVERT)
    assert "raw/images: files that are no pictures: 1 (notes.txt)." in err


def rewrite(path: str, pixels: np.ndarray) -> Callable[[], object]:
    return lambda: Image.fromarray(pixels).save(path)


def cut(path: str) -> Callable[[], object]:
    return lambda: Path(path).write_bytes(Path(path).read_bytes()[:-30])


def turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save("raw/images/b.jpg", exif=exif)


DAMAGE = [
    (lambda: Path("raw/semantic/b.png").unlink(), "raw/semantic: has no semantic map for pictures: 1 (b)"),
    (lambda: Path("raw/instances/b.png").unlink(), "raw/instances: has no instance map for pictures: 1 (b)"),
    (lambda: Path("raw/images/b.jpg").unlink(), "raw/images: has no picture for semantic maps: 1 (b)"),
    (cut("raw/semantic/b.png"), "raw/semantic/b.png: is truncated or damaged"),
    (lambda: Path("raw/images/b.jpg").write_bytes(b"no"), "raw/images/b.jpg: is not a picture"),
    (rewrite("raw/semantic/b.png", np.full((4, 6), 99, np.uint8)), "raw/semantic/b.png: has category ids that"),
    (rewrite("raw/semantic/b.png", np.zeros((4, 6, 3), np.uint8)), "raw/semantic/b.png: is an 8-bit RGB PNG where a"),
    (rewrite("raw/semantic/b.png", np.zeros((4, 5), np.uint8)), "raw/semantic/b.png: is 5x4 where its instance map is"),
    (rewrite("raw/images/b.jpg", np.zeros((6, 4, 3), np.uint8)), "raw/images/b.jpg: is 4x6 where its labels are 6x4"),
    (turned, "raw/images/b.jpg: its EXIF orientation makes it 4x6, but its labels are 6x4"),
    (rewrite("raw/images/b.png", np.zeros((4, 6, 3), np.uint8)), "b.jpg beside it has the same name"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE)
def test_a_damaged_set_is_refused_with_the_file(
    here: Path, refused: Refused, damage: Callable[[], object], words: str
) -> None:
    damage()
    assert words in refused(*CONVERT, code=1)


def test_a_damaged_picture_ends_every_worker_before_their_folder_goes(here: Path, refused: Refused) -> None:
    raw.write_maps(Path("raw"), [f"{number:03}" for number in range(120)])
    cut("raw/semantic/050.png")()
    assert "raw/semantic/050.png: is truncated" in refused(*CONVERT, "--workers", "2", code=1)
    assert list(Path("datasets/mine").iterdir()) == []


def test_keep_going_reports_every_problem_at_once(here: Path, refused: Refused) -> None:
    cut("raw/semantic/a.png")()
    rewrite("raw/images/b.jpg", np.zeros((6, 4, 3), np.uint8))()
    Path("raw/instances/c.png").unlink()
    words = refused(*CONVERT, "--keep-going", code=1)
    assert words.startswith("raw/images: 3 problems: raw/instances: has no instance map for pictures: 1 (c). ")
    assert "raw/semantic/a.png: is truncated" in words
    assert "raw/images/b.jpg: is 4x6 where its labels are 6x4." in words
    assert words.endswith("repair the files and convert again, or add --repair to leave out what is wrong.")


def test_what_stands_there_is_left_alone(here: Path, refused: Refused, printed: Printed) -> None:
    printed(*CONVERT)
    assert "datasets/mine/train: exists already. Add --force" in refused(*CONVERT, code=2)
    shutil.copytree("raw/images", "photos")
    words = refused("convert", "raw", "photos", *CONVERT[3:], "--force", code=2)
    assert "photos: exists already and was not made by yoso" in words


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--categories", "nothing.yaml"), "nothing.yaml: cannot be read: No such file"),
        (("--images", "nowhere"), "nowhere: there is no such file or folder"),
        (("--images", "raw/images/a.jpg"), "no such folder; pictures are expected there. Name the folder"),
        (("--to", "coco-submission"), "datasets/mine/train: a submission must be a zip"),
    ],
)
def test_wrong_use_is_told(here: Path, refused: Refused, more: tuple[str, ...], words: str) -> None:
    assert words in refused(*CONVERT, *more, code=2)


def test_maps_without_a_table_are_refused(here: Path, refused: Refused) -> None:
    assert "Name the classes with --categories" in refused(*CONVERT[:5], code=2)


def test_a_full_disk_leaves_nothing(here: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(png, "encode", full)
    assert "datasets/mine/train: cannot be written: No space left on device" in refused(*CONVERT, code=1)


def test_a_kill_leaves_nothing_that_counts(here: Path) -> None:
    for name in range(150):
        for kind, suffix in (("images", "jpg"), ("semantic", "png"), ("instances", "png")):
            shutil.copy(f"raw/{kind}/a.{suffix}", f"raw/{kind}/x{name}.{suffix}")
    environment = os.environ | {"PYTHONPATH": str(Path(convert.__file__).parents[2])}
    command = [sys.executable, "-m", "yoso_cli", *CONVERT, "--workers", "1"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while not list(Path().glob("datasets/mine/.train*/panoptic/a.png")) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not Path("datasets/mine/train").exists()
    assert run(list(CONVERT)) == 0
    assert len(read_set(Path("datasets/mine/train")).records) == 153


def test_where_only_things_are_labelled_that_is_told_with_the_remedy(here: Path, printed: Printed) -> None:
    words = things_only()
    out, _ = printed(*words, "things")
    assert "Only things are labelled: 50.0% of all pixels are void" in " ".join(out.split())
    value, _ = printed(*words, "things2", "--json")
    assert (value["void_share"], value["background"]) == (0.5, None)
    out, _ = printed(*words, "ground", "--background", "ground")
    assert "unlabelled pixels are now the stuff class 2 'ground': 50.0%" in out
    assert "Only things" not in out
    found = read_set(Path("ground"))
    assert [(one.id, one.name, one.isthing) for one in found.categories] == [(1, "box", True), (2, "ground", False)]
    assert [(one.category_id, one.area) for one in found.records[0].segments] == [(1, 12), (2, 12)]


def things_only() -> tuple[str, ...]:
    """An instances JSON of a box on half of a picture; a command without its DST."""
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}],
        "categories": [{"id": 1, "name": "box"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 3, 0, 3, 4, 0, 4]]}],
    }
    raw.write_photo(Path("boxes/images/a.jpg"))
    Path("boxes/instances.json").write_text(json.dumps(content))
    return ("convert", "--from", "coco-instances", "boxes/instances.json")


def test_of_two_void_values_the_lowest_is_background(here: Path, printed: Printed) -> None:
    value, _ = printed(*CONVERT, "--background", "ground", "--json")
    assert value["background"] == {"id": 13, "name": "ground", "pixels": 6}
    assert round(value["void_share"] * 72) == 6, "255 means to ignore it"


def test_a_background_can_be_a_class_of_the_table(here: Path, printed: Printed, refused: Refused) -> None:
    value, _ = printed(*CONVERT, "--background", "sky", "--json")
    assert (value["background"]["id"], value["classes"]) == (raw.SKY, 4)
    assert "--background car: is a thing class" in refused(*CONVERT, "--force", "--background", "car", code=2)


def test_repairs_are_listed_up_to_a_bound(here: Path, printed: Printed, refused: Refused) -> None:
    words = things_only()
    content = json.loads(Path("boxes/instances.json").read_text())
    (good,) = content["annotations"]
    content["annotations"] += [{**good, "id": number, "segmentation": [[1, 2]]} for number in range(2, 30)]
    Path("boxes/instances.json").write_text(json.dumps(content))
    assert "Add --repair to leave out what is wrong" in refused(*words, "out", code=1)
    out, _ = printed(*words, "out", "--repair")
    assert "28 repairs:" in out
    assert out.count("dropped the annotation") == 10
    assert "and 18 more; --json has all" in out
    value, _ = printed(*words, "out", "--repair", "--force", "--json")
    assert len(value["repairs"]) == 28


def test_with_repair_a_damaged_picture_is_left_out(here: Path, printed: Printed) -> None:
    cut("raw/semantic/b.png")()
    Path("raw/images/c.jpg").write_bytes(b"no")
    value, _ = printed(*CONVERT, "--repair", "--json")
    assert value["images"] == 1
    assert [one.startswith("left out: raw/") for one in value["repairs"]] == [True, True]


def test_lists_and_names_are_options(here: Path, printed: Printed, refused: Refused) -> None:
    Path("val.txt").write_text("a\nc 1\n")
    value, _ = printed(*CONVERT, "--list", "val.txt", "--json")
    assert value["images"] == 2
    other = ("convert", "datasets/mine/train", "again", "--from", "prepared")
    value, _ = printed(*other, "--list", "val.txt", "--json")
    assert value["images"] == 2
    assert "are for --from maps, rgb, voc, and these labels are prepared" in refused(
        *other, "--suffix", "_m", "--force", code=2
    )
    assert "is more than two endings" in refused(*CONVERT, "--suffix", "a,b,c", "--force", code=2)
    Path("val.txt").write_text("b\n")
    assert "pictures of the list have no labels: 1 (b)" in refused(*other, "--list", "val.txt", "--force", code=1)


def test_wrong_entries_of_a_panoptic_json_are_left_out_with_repair(
    here: Path, printed: Printed, refused: Refused
) -> None:
    printed(*CONVERT)
    printed("convert", "datasets/mine/train", "flat", "--from", "prepared", "--to", "coco-panoptic")
    content = json.loads(Path("flat/panoptic.json").read_text())
    content["annotations"][1]["segments_info"][0]["category_id"] = "seven"
    Path("flat/panoptic.json").write_text(json.dumps(content))
    words = ("convert", "flat", "datasets/mine/again", "--from", "coco-panoptic", "--images", "raw/images")
    assert "add --repair to leave out what is wrong" in refused(*words, code=1)
    value, _ = printed(*words, "--repair", "--json")
    assert value["images"] == 2
    assert [one.startswith("left out: ") for one in value["repairs"]] == [True, True]


def test_the_same_mistake_in_every_entry_fills_no_screen(here: Path, refused: Refused) -> None:
    words = things_only()
    content = json.loads(Path("boxes/instances.json").read_text())
    boxes = [{"id": number, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]} for number in range(500)]
    Path("boxes/instances.json").write_text(json.dumps({**content, "annotations": boxes}))
    told = refused(*words, "out", code=1)
    assert told.count("has a box and no 'segmentation'") == 10
    assert "And 490 more; --keep-going lists all." in told
    assert refused(*words, "out", "--keep-going", code=1).count("has a box and no") == 500

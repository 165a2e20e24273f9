"""The README's shell lines, run in their order as a reader would, in miniature."""

import re
import shutil
from pathlib import Path
from typing import Any

import build
import numpy as np
import pytest
from media import clips
from PIL import Image
from training import tiny

from yoso_cli.model.weights import save_weights
from yoso_cli.recipe import file as recipe_file

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SMALL = ("--set=train.iterations=2", "--set=train.batch=2", "--set=train.workers=0", "--device=cpu")


def written(heading: str, kind: str) -> list[str]:
    """The code blocks of a kind below a heading, up to the next one of its level."""
    part = re.split(r"^#+ ", README[README.index(f"# {heading}\n") :], maxsplit=2, flags=re.MULTILINE)[1]
    return re.findall(rf"```{kind}\n(.*?)```", part, re.DOTALL)


def draw(count: int) -> None:
    """Photos of noise with two bright cars on a road, and their maps."""
    for kind in ("images", "semantic", "instances"):
        Path("raw", kind).mkdir(parents=True)
    for number in range(1, count + 1):
        random = np.random.default_rng((count, number))
        image = random.integers(80, 150, (64, 96, 3)).astype(np.uint8)
        semantic, instances = np.ones((64, 96), np.uint8), np.zeros((64, 96), np.uint8)
        for car, left in enumerate(random.integers((0, 48), (20, 68)), 1):
            place = (slice(20, 44), slice(int(left), int(left) + 26))
            semantic[place], instances[place], image[place] = 2, car, 220
        semantic[:4] = 0
        for kind, pixels in (("semantic", semantic), ("instances", instances)):
            Image.fromarray(pixels).save(f"raw/{kind}/{number:04d}.png")
        Image.fromarray(image).save(f"raw/images/{number:04d}.jpg")


# What needs a download, several GPUs or files of the reader's: no stand-in would say anything about the line.
ELSEWHERE = re.compile(r"weights get|~/|--gpus|(train|--resume) \S*coco\b|runs/coco|results\.json")


def shell_lines() -> list[str]:
    """Every `yoso` line of the README's shell blocks, in their order, comments taken off."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("yoso ")]


def stand_ins(folder: Path) -> None:
    """Photos, maps and the README's YAML files; networks of seconds stand for YOSO-R50 and for the released weights."""
    draw(5)
    Image.open("raw/images/0001.jpg").save("photo.jpg")
    shutil.copytree("raw/images", "photos")
    clips.clip(Path("clip.mp4"), 3)
    build.write_recipe(Path("base.yaml"))
    (classes,) = written("Train on your own data", "yaml")
    (fine,) = written("Fine-tune", "yaml")
    Path("classes.yaml").write_text(classes)
    Path("fine.yaml").write_text(fine.replace("extends: coco", "extends: base.yaml"))
    trained = recipe_file.load("base.yaml")
    start = tiny.YOSO(len(tiny.CATEGORIES), **trained.model.arguments())
    save_weights(Path("coco.safetensors"), start, recipe=trained.to_dict(), categories=tiny.CATEGORIES, provenance={})


def demo_in_seconds(printed: Any) -> None:
    """What `yoso demo` leaves: a dataset, a run called shapes-001, and its re-parameterised weights."""
    printed("prepare", "shapes", "--train", "6", "--val", "3", "--size", "64")
    named = ("--set=name=shapes", "--set=data.name=shapes")
    printed("train", "base.yaml", *named, *SMALL)
    printed("reparam")


@pytest.mark.timeout(600)
def test_the_readmes_lines_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Any) -> None:
    """In one folder, as a reader types them; training is shortened, and a file stands for the released weights."""
    monkeypatch.chdir(tmp_path)
    stand_ins(tmp_path)
    small = ("--set=augment.crop_height=64", "--set=augment.crop_width=64", *SMALL)
    offline = ("--set=model.backbone_weights=none", "--set=inference.short_edge=64", *small)
    done = []
    for line in shell_lines():
        if ELSEWHERE.search(line):
            continue
        words = line.replace("--weights coco", "--weights coco.safetensors").split()[1:]
        if words[0] == "demo":
            demo_in_seconds(printed)
        else:
            quick = {"train": offline if "mine.yaml" in words else small, "bench": ("--repeats", "2", "--warmup", "0")}
            printed(*words, *quick.get(words[0], ()))
        done.append(words[0])
    assert len(done) >= 18
    assert {
        "demo",
        "viz",
        "predict",
        "eval",
        "reparam",
        "compare",
        "bench",
        "convert",
        "check",
        "stats",
        "train",
    } <= set(done)
    assert {path.name for path in Path("runs").iterdir()} == {"shapes-001", "mine-001", "fine-001"}


def test_fine_tuning_says_which_classes_it_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Any) -> None:
    monkeypatch.chdir(tmp_path)
    stand_ins(tmp_path)
    printed("convert", "raw", "all", "--categories", "classes.yaml")
    printed("dataset", "split", "all", "datasets/mine", "--into", "train=0.8,val=0.2")
    small = ("--set=augment.crop_height=64", "--set=augment.crop_width=64", *SMALL)
    _, said = printed("train", "fine.yaml", "--weights", "coco.safetensors", *small)
    assert "has 0 of this dataset's 2 classes by name, among its 3; new classes: road, car." in said

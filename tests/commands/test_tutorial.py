"""The README's way from photos and maps of one's own to a fine-tuned network, walked as it is written, in miniature."""

import re
from pathlib import Path
from typing import Any

import build
import numpy as np
import pytest
from PIL import Image
from training import tiny

from yoso_cli.model.weights import save_weights
from yoso_cli.recipe import file as recipe_file
from yoso_cli.run_folder import RunFolder

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SMALL = ("--set=train.iterations=2", "--set=train.batch=2", "--set=train.workers=0", "--device=cpu")


def written(heading: str, kind: str) -> list[str]:
    """The code blocks of a kind below a heading, up to the next one of its level."""
    part = re.split(r"^#+ ", README[README.index(f"# {heading}\n") :], maxsplit=2, flags=re.MULTILINE)[1]
    return re.findall(rf"```{kind}\n(.*?)```", part, re.DOTALL)


def draw(split: str, count: int) -> None:
    """Photos of noise with two bright cars on a road, and their maps."""
    for kind in ("images", "semantic", "instances"):
        Path("raw", split, kind).mkdir(parents=True)
    for number in range(1, count + 1):
        random = np.random.default_rng((count, number))
        image = random.integers(80, 150, (64, 96, 3)).astype(np.uint8)
        semantic, instances = np.ones((64, 96), np.uint8), np.zeros((64, 96), np.uint8)
        for car, left in enumerate(random.integers((0, 48), (20, 68)), 1):
            place = (slice(20, 44), slice(int(left), int(left) + 26))
            semantic[place], instances[place], image[place] = 2, car, 220
        semantic[:4] = 0
        for kind, pixels in (("semantic", semantic), ("instances", instances)):
            Image.fromarray(pixels).save(f"raw/{split}/{kind}/{number:04d}.png")
        Image.fromarray(image).save(f"raw/{split}/images/{number:04d}.jpg")


def test_the_tutorial_leads_from_maps_to_a_fine_tuned_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    draw("train", 3)
    draw("val", 2)
    classes, mine = written("Train on your own data", "yaml")
    (fine,) = written("Fine-tune", "yaml")
    Path("classes.yaml").write_text(classes)
    # A network of seconds stands for COCO's, and for the weights that its authors trained.
    build.write_recipe(Path("base.yaml"))
    Path("mine.yaml").write_text(mine.replace("extends: coco", "extends: base.yaml"))
    Path("fine.yaml").write_text(fine.replace("extends: coco", "extends: base.yaml"))
    trained = recipe_file.load("base.yaml")
    start = tiny.YOSO(len(tiny.CATEGORIES), **trained.model.arguments())
    save_weights(Path("coco.safetensors"), start, recipe=trained.to_dict(), categories=tiny.CATEGORIES, provenance={})

    lines = [line.split("#")[0].split()[1:] for line in written("Train on your own data", "sh")[0].splitlines()]
    assert [words[0] for words in lines] == ["convert", "convert", "check", "stats", "train", "eval", "viz"]
    for words in lines:
        printed(*words, *(SMALL if words[0] == "train" else ()))
    assert RunFolder.newest(Path("runs")).path.name == "mine-001"

    sheet, train, viz = [line.split("#")[0].split()[1:] for line in written("Fine-tune", "sh")[0].splitlines()]
    small = ("--set=augment.crop_height=64", "--set=augment.crop_width=64", *SMALL)
    printed(*sheet[:-1], "fine.yaml")
    assert train == ["train", "mine.yaml", "--weights", "coco"]
    _, said = printed("train", "fine.yaml", "--weights", "coco.safetensors", *small)
    assert "knows 0 of this dataset's 2 classes by name, of its own 3; to be learnt anew: road, car." in said
    assert viz == ["viz", "photo.jpg"]
    printed("viz", "raw/val/images/0002.jpg")
    assert {"mine-001", "mine-002"} == {path.name for path in Path("runs").iterdir()}

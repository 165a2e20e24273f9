"""The whole line as a newcomer walks it: each command's last words are the next command."""

import shlex
import shutil
from pathlib import Path
from typing import Any

import build
import numpy as np
import pytest
from PIL import Image

from yoso_cli.cli import run

GROUP = {"pq", "sq", "rq", "n"}


def next_words(told: str) -> list[str]:
    """The command after `Next: `."""
    words = shlex.split(told.rpartition("Next: ")[2])
    assert words[0] == "yoso"
    return words[1:]


def test_the_line_from_scenes_to_a_picture_by_the_words_of_each_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    build.write_recipe(Path("tiny.yaml"))
    value, _ = printed("prepare", "shapes", "--train", "6", "--val", "3", "--size", "64", "--json")
    assert [(split["split"], split["images"]) for split in value["splits"]] == [("train", 6), ("val", 3)]
    value, told = printed("train", "tiny.yaml", "--json", "--device", "cpu")
    assert value["iteration"] == value["iterations"] == build.STEPS
    assert value["report"]["images"] == 3

    words = next_words(told)
    assert words[0] == "reparam"
    value, told = printed(*words, "--json")
    assert value["weights"] == "runs/tiny-001/reparam.safetensors"

    words = next_words(told)
    assert words[0] == "eval"
    value, told = printed(*words, "--json", "--device", "cpu")
    assert set(value["quality"]["all"]) >= GROUP

    words = next_words(told)
    assert words[:3] == ["viz", str(build.picture()), "--weights"]
    value, told = printed(*words, "--json", "--device", "cpu")
    assert value["weights"] == "runs/tiny-001/reparam.safetensors"
    assert Path(value["pictures"][0]["output"]).is_file()

    words = next_words(told)
    assert words[0] == "bench"
    value, told = printed(*words, "--json", "--repeats", "2", "--warmup", "0", "--device", "cpu")
    assert value["forward"]["pictures"] == 2
    assert next_words(told)[:2] == ["viz", str(build.picture(1))], "the first is drawn already"


def test_re_parameterised_weights_see_what_the_trained_ones_see(line: Path, printed: Any) -> None:
    trained, _ = printed("eval", "--json", "--device", "cpu", "--save-predictions", "before")
    printed("reparam")
    folded, _ = printed("eval", "runs/tiny-001/reparam.safetensors", "--json", "--save-predictions", "after")
    assert folded["weights"]["path"] == "runs/tiny-001/reparam.safetensors"
    for group in ("all", "things", "stuff"):
        assert folded["quality"][group] == pytest.approx(trained["quality"][group], abs=1e-3)
    # The PQ of a hardly trained net says little; that the maps are the same says all.
    between, _ = printed("eval", "--predictions", "after", "--truth", "before", "--json")
    assert between["quality"]["all"]["n"] > 0
    assert between["quality"]["all"]["pq"] > 0.95


def test_evaluating_twice_gives_the_same_figures(line: Path, printed: Any) -> None:
    first, _ = printed("eval", "--json", "--device", "cpu")
    second, _ = printed("eval", "--json", "--device", "cpu")
    assert first == second


@pytest.mark.parametrize("command", ["reparam", "bench", "viz", "eval"])
class TestWeightsThatCannotBeUsed:
    """What every command that works with weights answers, by its SOURCE and by the newest run."""

    def words(self, command: str, source: str | None) -> list[str]:
        if command == "viz":
            return ["viz", str(build.picture()), *(["--weights", source] if source else [])]
        return [command, *([source] if source else [])]

    def test_there_is_no_run_yet(self, line: Path, command: str, refused: Any) -> None:
        shutil.rmtree("runs")
        assert "there is no run, and" in refused(*self.words(command, None), code=1)

    def test_the_run_has_saved_nothing_yet(self, line: Path, command: str, refused: Any) -> None:
        shutil.rmtree("runs/tiny-001/checkpoints")
        for source in (None, "runs/tiny-001"):
            assert "has no checkpoint yet" in refused(*self.words(command, source), code=1)

    def test_the_source_is_missing(self, line: Path, command: str, refused: Any) -> None:
        assert "runs/gone-001" in refused(*self.words(command, "runs/gone-001"), code=2)
        assert "no such weights file" in refused(*self.words(command, "gone.safetensors"), code=2)
        assert "is not a run folder" in refused(*self.words(command, "datasets"), code=1)

    def test_the_file_is_torn(self, line: Path, command: str, refused: Any) -> None:
        content = build.newest_weights().read_bytes()
        for length in (0, 5, 200, len(content) // 2, len(content) - 1):
            Path("torn.safetensors").write_bytes(content[:length])
            assert "torn.safetensors" in refused(*self.words(command, "torn.safetensors"), code=1)

    def test_the_file_is_another_thing(self, line: Path, command: str, refused: Any) -> None:
        picture = str(build.picture())
        assert f"{picture}: is not a readable weights file" in refused(*self.words(command, picture), code=1)

    def test_a_newest_run_that_is_torn_is_named(self, line: Path, command: str, refused: Any) -> None:
        weights = build.newest_weights()
        weights.write_bytes(weights.read_bytes()[:1000])
        assert str(weights) in refused(*self.words(command, None), code=1)

    def test_set_cannot_change_the_network(self, line: Path, command: str, refused: Any) -> None:
        words = [*self.words(command, None), "--set", "model.num_stages=1"]
        assert "cannot be changed for trained weights" in refused(*words, code=2)
        words = [*self.words(command, None), "--set", "inference.shortedge=1"]
        assert "did you mean 'short_edge'?" in refused(*words, code=2)


@pytest.mark.parametrize("command", [["train", "tiny.yaml"], ["eval"], ["bench"], ["viz", "image.jpg"]])
def test_a_device_that_is_not_there(line: Path, command: list[str], refused: Any) -> None:
    Image.open(build.picture()).save("image.jpg")
    assert "Try --device cpu" in refused(*command, "--device", "cuda:99", code=1)
    for odd in ("gpu", "", "meta", "cuda:-1", "cuda:x"):
        assert "auto, cpu, cuda or cuda:N" in refused(*command, "--device", odd, code=2)


def test_a_machine_without_a_gpu_says_so(line: Path, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    for command in (["train", "tiny.yaml"], ["eval"], ["bench"]):
        said = refused(*command, "--device", "cuda", code=1)
        assert "--device cuda: torch finds no CUDA GPU here. Try --device cpu." in said
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert "only 1 CUDA GPU here" in refused("bench", "--device", "cuda:1", code=1)


@pytest.mark.parametrize("command", [["train", "tiny.yaml"], ["eval"], ["bench"], ["reparam"]])
def test_scenes_that_were_not_prepared(line: Path, command: list[str], refused: Any) -> None:
    shutil.rmtree("datasets")
    assert "`yoso prepare shapes`" in refused(*command, code=1)


@pytest.mark.parametrize("command", [["eval"], ["bench", "--repeats", "1"], ["reparam"]])
def test_a_picture_that_cannot_be_read_is_named(line: Path, command: list[str], refused: Any) -> None:
    broken = build.picture(1)
    broken.write_bytes(broken.read_bytes()[:100])
    assert str(broken) in refused(*command, code=1)


def test_a_picture_of_another_size_than_its_truth_is_named(line: Path, refused: Any) -> None:
    path = build.picture(1)
    Image.new("RGB", (32, 80)).save(path)
    assert path.stem in refused("eval", code=1)
    path = sorted(Path("datasets/shapes/train/images").iterdir())[0]
    Image.new("RGB", (32, 80)).save(path)
    before = set(build.listing())
    assert run(["train", "tiny.yaml"]) == 1
    left = set(build.listing()) - before
    files = ("recipe.yaml", "metrics.jsonl", "training.json", "training.lock")
    assert left <= {f"runs/tiny-002/{name}" for name in files}, "it can be resumed"


def test_recipes_that_cannot_be_read(line: Path, refused: Any) -> None:
    assert "gone.yaml" in refused("train", "gone.yaml", code=2)
    Path("torn.yaml").write_text("name: [torn\n")
    assert "torn.yaml" in refused("train", "torn.yaml", code=2)
    Path("odd.yaml").write_text("name: odd\nmodel: {num_stagse: 3}\n")
    assert "did you mean 'num_stages'?" in refused("train", "odd.yaml", code=2)
    Path("binary.yaml").write_bytes(bytes(np.arange(256, dtype=np.uint8)))
    assert "binary.yaml" in refused("train", "binary.yaml", code=2)
    assert "datasets" in refused("train", "datasets", code=2)

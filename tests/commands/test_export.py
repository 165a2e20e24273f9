"""`yoso export`: what it writes, tells and refuses; and exported files wherever SOURCE is taken."""

import json
import os
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import build
import numpy as np
import pytest
import torch

import yoso_cli
from yoso_cli.api import export as use_case
from yoso_cli.api.weights import read_model
from yoso_cli.commands import export as command
from yoso_cli.export import onnx_file, openvino_file
from yoso_cli.panoptic.files import read_set

pytestmark = pytest.mark.timeout(1200)

FOLDED = "runs/tiny-001/reparam.safetensors"
KINDS = {"tiny.onnx": "onnx", "tiny-merged.onnx": "onnx", "tiny.xml": "openvino", "tiny.pt2": "torch"}


@pytest.fixture
def ready(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports come ready made: tracing takes minutes on a busy machine, and another test does it."""
    monkeypatch.setattr("yoso_cli.export.program.exported", lambda graph, size: graph)

    def onnx(graph: Any, metadata: Any, path: Path) -> None:
        shutil.copy("tiny-merged.onnx" if metadata.merge == "inside" else "tiny.onnx", path)

    class Conversion:
        def __init__(self, *_: Any) -> None:
            pass

        def write(self, metadata: Any, path: Path, calibration: Any = ()) -> None:
            shutil.copy("tiny.xml", path)
            shutil.copy("tiny.bin", path.with_suffix(".bin"))

    monkeypatch.setattr(onnx_file, "write", onnx)
    monkeypatch.setattr(openvino_file, "Conversion", Conversion)


def test_a_file_of_one_size_is_traced_proved_and_written(files: Path, printed: Any) -> None:
    value, told = printed("export", "--size", "64,96", "--output", "new/small.onnx", "--json")
    assert (value["file"], value["format"], value["size"]) == ("new/small.onnx", "onnx", [64, 96])
    assert value["bytes"] == Path("new/small.onnx").stat().st_size
    assert (value["pictures"], value["sizes"], value["pq"]) == (2, [[64, 96]], None)
    distances = {one["name"]: one for one in value["distances"]}
    assert set(distances) == {"mask logits", "class logits", "mask signs", "classes"}
    assert all(0 <= one["file"] <= 1e-3 for one in distances.values())
    assert told.endswith(f"Next: yoso bench --compare {FOLDED} new/small.onnx")
    assert [one.name for one in Path("new").iterdir()] == ["small.onnx"]
    # Pictures of any shape are fitted into it.
    model = yoso_cli.load("new/small.onnx")
    assert model(np.zeros((50, 20, 3), np.uint8)).id_map.shape == (50, 20)
    with pytest.raises(yoso_cli.UsageError, match="cannot be changed"):
        yoso_cli.load("new/small.onnx", short_edge=32)


def test_the_table_and_the_file_are_told(ready: None, printed: Any) -> None:
    text, _ = printed("export", "--output", "told.onnx")
    lines = text.splitlines()
    assert lines[0].split("  ")[0] == "distance from double precision"
    assert [line.split("  ")[0] for line in lines[1:5]] == ["mask logits", "class logits", "mask signs", "classes"]
    assert "On 2 pictures, as inputs of 64x64" in text
    assert lines[-1].startswith("File: told.onnx (")


def test_help_repeats_the_defaults_of_the_use_case() -> None:
    for name in ("TOLERANCE", "MOST_LOSS", "CALIBRATION", "PICTURES"):
        assert getattr(command, name) == getattr(use_case, name)


def test_names_tell_what_is_within(ready: None, printed: Any) -> None:
    for words, name in (
        (("--merge", "inside", "--size", "64,64"), "tiny-64x64-merged.onnx"),
        (("--format", "tensorrt"), "tiny-tensorrt.onnx"),
        (("--format", "openvino", "--force"), "tiny.xml"),
    ):
        value, _ = printed("export", *words, "--json")
        assert value["file"] == name


def test_tensorrt_gets_its_line_and_a_json_and_nothing_is_claimed_to_have_run(ready: None, printed: Any) -> None:
    text, _ = printed("export", "--format", "tensorrt", "--output", "t.onnx")
    assert "Not run here, as it needs a GPU:\n  trtexec --onnx=t.onnx --saveEngine=t.plan --stronglyTyped" in text
    beside = json.loads(Path("t.json").read_text())
    assert beside["trtexec"] in text
    assert "--minShapes=images:1x3x64x64" in beside["trtexec"]
    assert [one["name"] for one in beside["categories"]] == [
        one.name for one in read_model(Path(FOLDED)).weights.categories
    ]


def test_a_file_that_answers_otherwise_is_not_written(ready: None, refused: Any) -> None:
    """The network has changed since tiny.onnx was written: its classes, its masks, its first layer."""
    for part in (
        "decoder.stages.1.class_logits.weight",
        "decoder.stages.1.mask_kernels.weight",
        "backbone.conv1.weight",
    ):
        weights = read_model(Path(FOLDED)).weights
        state = {key: value * 1.5 if key == part else value for key, value in weights.state.items()}
        _write("changed.safetensors", weights, state)
        said = refused("export", "changed.safetensors", "--output", "new.onnx", code=1)
        assert "differ from double precision by" in said
        assert "Nothing was written" in said


def _write(path: str, weights: Any, state: Any) -> None:
    from dataclasses import replace

    from yoso_cli.model.weights import write_weights

    write_weights(Path(path), replace(weights, state=state))


def test_a_merged_file_is_judged_by_its_maps(ready: None, printed: Any, refused: Any) -> None:
    words = ("export", "--merge", "inside", "--size", "64,64", "--output")
    value, _ = printed(*words, "m.onnx", "--json")
    assert [one["name"] for one in value["distances"]] == ["map"]
    assert "the file's map" in refused(*words, "n.onnx", "--set", "inference.score_threshold=0.9", code=1)


def test_fewer_bits_are_judged_by_pq(ready: None, printed: Any, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is the one in float32, so it loses nothing; then PQ is made to fall by two."""
    words = ("export", "--format", "openvino", "--precision", "int8")
    value, _ = printed(*words, "--output", "a.xml", "--json")
    assert value["pq"]["images"] == 3
    assert value["pq"]["lost"] == pytest.approx(0)
    # Both sets of convolutions are tried.
    monkeypatch.setattr(openvino_file, "QUANTISED", {"convolutions": None, "backbone": None})
    turns = iter((0.5, 0.48, 0.48, 0.5, 0.48))
    monkeypatch.setattr(use_case, "evaluate_predictor", lambda *_, **__: _scored(next(turns)))
    said = refused(*words, "--output", "b.xml", code=1)
    assert "it has PQ 48.00 where the network has 50.00, and may lose 1. Nothing was written" in said
    printed(*words, "--output", "b.xml", "--most-loss", "2.5")


def _scored(pq: float) -> Any:
    return SimpleNamespace(quality=SimpleNamespace(all=SimpleNamespace(pq=pq)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", "64,100"), "multiples of 32"),
        (("--precision", "bfloat16"), "--format openvino"),
        (("--format", "openvino", "--merge", "inside"), "--format onnx"),
        (("--compile",), "--format torch"),
        (("--output", "x.pt"), "end in .onnx"),
        (("--output", "tiny.onnx"), "exists already"),
        (("--format", "openvino", "--output", "datasets/../tiny.xml"), "exists already"),
        (("tiny.onnx",), "is an exported file"),
        (("runs/tiny-001/checkpoints/iteration-0000003/weights.safetensors",), "yoso reparam runs/tiny-001"),
        (("--image", "gone.jpg"), "gone.jpg"),
        (("--set", "model.num_blocks=1"), "cannot be changed"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_traced(
    files: Path, refused: Any, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoso_cli.export.program.exported", None)
    assert said in refused("export", *words, code=2)


def test_weights_that_lack_a_fold_are_named_with_the_line_that_folds_them(
    files: Path, refused: Any, printed: Any
) -> None:
    printed("reparam", "--without", "fold_location", "--output", "partly.safetensors", "--images", "1")
    assert "lacks the fold fold_location" in refused("export", "partly.safetensors", code=2)


def test_two_outputs_stand_or_fall_together(ready: None, refused: Any) -> None:
    Path("y.bin").write_bytes(b"precious")
    assert "y.bin: exists already" in refused("export", "--format", "openvino", "--output", "y.xml", code=2)
    Path("z.bin").symlink_to("y.bin")
    assert "is a link" in refused("export", "--format", "openvino", "--output", "z.xml", "--force", code=1)


def test_pictures_of_ones_own_prove_it_where_no_dataset_is_prepared(ready: None, printed: Any, refused: Any) -> None:
    picture = str(build.picture())
    shutil.copy(picture, "mine.jpg")
    shutil.rmtree("datasets")
    assert "--image" in refused("export", "--output", "new.onnx", code=1)
    value, _ = printed("export", "--output", "new.onnx", "--image", "mine.jpg", "--json")
    assert value["pictures"] == 1


@pytest.mark.parametrize("name", KINDS)
def test_a_file_scores_what_its_network_scores_and_tells_what_it_is(files: Path, printed: Any, name: str) -> None:
    wanted, _ = printed("eval", FOLDED, "--json")
    found, _ = printed("eval", name, "--json")
    assert found["quality"]["all"] == wanted["quality"]["all"]
    assert found["weights"]["path"] == name
    assert "float32" in found["settings"]["switches"]
    shown, _ = printed("weights", "show", name, "--json")
    assert (shown["file"], shown["format"]) == (name, KINDS[name])


@pytest.mark.parametrize("name", KINDS)
def test_every_command_takes_an_exported_file(files: Path, printed: Any, name: str) -> None:
    picture = str(build.picture())
    value, told = printed("viz", picture, "--weights", name, "--output", "seen.png", "--json")
    assert value["weights"] == name
    assert "exported in float32" in told
    printed("predict", picture, "--weights", name, "--output", "preds")
    assert len(read_set(Path("preds")).records) == 1
    bench, _ = printed("bench", name, "--repeats", "1", "--warmup", "0", "--image", picture, "--json")
    assert bench["switches"]["precision"] == "float32"
    assert sum(bench["flops"].values()) > 0


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny-merged.onnx"])
def test_a_file_is_timed_beside_its_network(files: Path, printed: Any, name: str) -> None:
    line = ("bench", "--compare", FOLDED, name, "--repeats", "1", "--warmup", "0")
    text, _ = printed(*line, "--image", str(build.picture()))
    assert "A took" in text


@pytest.mark.parametrize("name", KINDS)
def test_from_python_too(files: Path, name: str) -> None:
    ours, file = yoso_cli.load(FOLDED), yoso_cli.load(name)
    pixels = np.array(ours(build.picture()).image)
    # A file of one size pads a narrow picture further.
    shown = [pixels, pixels[::-1] if "merged" in name else pixels[:, :40]]
    for one, other in zip(ours(shown), file(shown, batch=2), strict=True):
        assert (one.id_map != other.id_map).mean() < 0.01
    assert file.settings["weights"] == ours.settings["weights"]
    assert file.settings["engine"] != ours.settings["engine"]


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("reparam", "tiny.onnx"), "is an exported file", 2),
        (("train", "tiny.yaml", "--weights", "tiny.xml"), "is an exported file", 2),
        (("weights", "export", "tiny.pt2"), "is an exported file", 2),
        (("weights", "import", "tiny.onnx"), "is an exported file", 2),
        (("bench", "--compare", "tiny.onnx,trained", "float32", "--repeats", "1"), "is an exported file", 2),
        (("eval", "tiny.onnx", "--precision", "bfloat16"), "was exported in float32", 2),
        (("eval", "tiny.onnx", "--winograd"), "--winograd: is a switch of torch", 2),
        (("eval", "tiny.onnx", "--compile"), "--compile: is a switch of torch", 2),
        (("eval", "tiny-merged.onnx", "--tta", "flip"), "merge inside", 2),
        (("eval", "tiny-merged.onnx", "--fast-merge"), "merge inside", 2),
        (("eval", "tiny-merged.onnx", "--set", "inference.score_threshold=0.5"), "cannot be changed", 2),
        (("eval", "tiny.onnx", "--set", "model.num_blocks=1"), "cannot be changed", 2),
        (("eval", "gone.onnx"), "there is no such", 2),
        (("eval", "tiny-merged.onnx", "--sweep", "score=0.1,0.5"), "tiny-merged.onnx: has the merge", 2),
        (("eval", "tiny.xml", "--sweep", "score=0.1,0.5", "--save"), "is an exported file", 2),
        (("eval", "tiny.bin"), "Name tiny.xml instead", 2),
        (("compare", "tiny.xml", "runs/tiny-001"), "tiny.xml: is a model, and reports are compared", 2),
    ],
)
def test_what_an_exported_file_is_not_for_is_said(
    files: Path, refused: Any, words: tuple[str, ...], said: str, code: int
) -> None:
    assert said in refused(*words, code=code)


def _damage(name: str) -> str:
    """Writes a file that is not what its suffix says; returns its name."""
    graph, weights, archive = (Path(f"tiny.{suffix}").read_bytes() for suffix in ("xml", "bin", "pt2"))
    kind, path = name.partition(".")[0], Path(name)
    content = {
        "cut": path.with_stem("tiny").read_bytes()[:5000],
        "empty": b"",
        "onnx": Path("tiny.onnx").read_bytes(),
        "archive": archive,
        "page": b"<html><body>Not found</body></html>",
        "shortweights": graph,
        "lacksweights": graph,
    }
    if kind == "anotherzip":
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("anotherzip/notes.txt", "nothing")
    elif kind == "anothertool":
        with zipfile.ZipFile("tiny.pt2") as own, zipfile.ZipFile(path, "w") as made:
            for one in own.namelist():
                if not one.endswith("yoso.json"):
                    made.writestr(one, own.read(one))
    elif kind == "repacked":
        with zipfile.ZipFile("tiny.pt2") as own, zipfile.ZipFile(path, "w") as made:
            for one in own.namelist():
                made.writestr(one, own.read(one))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(content[kind])
    if path.suffix == ".xml" and kind != "lacksweights":
        path.with_suffix(".bin").write_bytes(weights[: 1000 if kind == "shortweights" else None])
    return name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cut.xml", "is no readable XML"),
        ("empty.xml", "is no XML, or empty"),
        ("onnx.xml", "is no XML, or empty"),
        ("page.xml", "yoso did not write this file"),
        ("shortweights.xml", "does not match its own checksum"),
        ("lacksweights.xml", "It belongs to lacksweights.xml: copy both"),
        ("pipe.xml", "is a pipe or device, and no OpenVINO file"),
        ("folder.xml", "is a folder, and no OpenVINO file"),
        ("cut.pt2", "is no archive of torch"),
        ("empty.pt2", "is no archive of torch"),
        ("onnx.pt2", "is no archive of torch"),
        ("anotherzip.pt2", "yoso did not write this file"),
        ("anothertool.pt2", "yoso did not write this file"),
        ("repacked.pt2", "is not a file that yoso wrote on this machine"),
        ("pipe.pt2", "is a pipe or device, and no archive"),
        ("folder.pt2", "is a folder, and no archive"),
        ("cut.onnx", "cannot be read or run as ONNX"),
        ("archive.onnx", "cannot be read or run as ONNX"),
        ("pipe.onnx", "is a pipe or device, and no ONNX file"),
    ],
)
def test_what_is_damaged_or_of_another_kind_is_said_by_every_command(
    files: Path, refused: Any, name: str, said: str
) -> None:
    _damage(name)
    picture = str(build.picture())
    for words in (
        ("viz", picture, "--weights", name, "--output", "seen.png"),
        ("predict", picture, "--weights", name, "--output", "preds"),
        ("eval", name, "--html", "report.html"),
        ("bench", name, "--repeats", "1"),
    ):
        assert said in refused(*words, code=1)


def test_thresholds_of_an_unmerged_file_are_free_and_it_takes_augmentation(files: Path, printed: Any) -> None:
    _, told = printed("eval", "tiny.onnx", "--set", "inference.score_threshold=0.5", "--tta", "flip", "--json")
    assert "score_threshold 0.5 instead of 0" in told


def test_a_missing_runtime_is_answered_with_the_line_that_brings_it(
    files: Path, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoso_cli.export.formats.find_spec", lambda name: None)
    assert "pip install 'yoso-cli[export]'" in refused("eval", "tiny.onnx", code=2)
    assert "pip install 'yoso-cli[openvino]'" in refused("eval", "tiny.xml", code=2)
    assert "pip install 'yoso-cli[export]'" in refused("export", code=2)


def test_gradients_and_modes_of_the_caller_do_not_matter(files: Path) -> None:
    with torch.inference_mode(False), torch.enable_grad():
        assert yoso_cli.load("tiny.onnx")(build.picture()).id_map.any()

"""Exported files: they answer as the network, say what they are, and are refused when they are damaged or foreign."""

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import oracle

from yoso_cli.api.weights import read_model
from yoso_cli.errors import DataError, UsageError
from yoso_cli.export.metadata import Metadata, seal
from yoso_cli.export.runtimes import opened, read_metadata
from yoso_cli.inference.predict import resized_into
from yoso_cli.model.yoso import Output

pytestmark = pytest.mark.timeout(1200)  # a busy machine traces for minutes

UNMERGED = ("tiny.onnx", "tiny.xml", "tiny.pt2")
FOLDED = Path("runs/tiny-001/reparam.safetensors")


def session(name: str) -> Any:
    return opened(Path(name), read_metadata(Path(name)), 1)


def pictures() -> list[Any]:
    """Of sizes that differ in both edges."""
    generator = np.random.default_rng(0)
    shapes = ((64, 64), (50, 97), (120, 80))
    return [generator.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]


def test_each_file_answers_as_the_network_at_every_size(files: Path) -> None:
    predictor = read_model(FOLDED).predictor("cpu")
    exact = read_model(FOLDED).network().double()
    for name in UNMERGED:
        runs = session(name)
        for picture in pictures():
            images = predictor.prepare(picture).images
            with torch.no_grad():
                wanted = exact(images.double())[-1][:2]
            for found, other in zip(runs.run([images.numpy()]), wanted, strict=True):
                assert found.shape == other.shape
                assert np.abs(found - other.numpy()).max() < 1e-3 * other.abs().max(), name


def test_the_merged_file_has_the_map_of_our_merge_pixel_by_pixel(files: Path) -> None:
    """From the logits of the same network in the same runtime."""
    predictor = read_model(FOLDED).predictor("cpu")
    logits, merged = session("tiny.onnx"), session("tiny-merged.onnx")
    segments = 0
    for picture in pictures():
        shown = resized_into(picture, (64, 64))
        masks, classes = map(torch.from_numpy, logits.run([predictor.images([shown]).numpy()]))
        (wanted,) = predictor.merge(Output(masks, classes), (shown.sizes,))
        image = np.full((*shown.sizes.padded, 3), 77, np.uint8)  # what lies beyond the picture has no effect
        image[: shown.sizes.resized[0], : shown.sizes.resized[1]] = shown.pixels
        used, size = np.array(shown.sizes.resized), np.array(shown.sizes.original)
        id_map, ids, category_ids, areas, scores = merged.run([image, used, size])
        assert np.array_equal(id_map, wanted.id_map)
        assert ids.tolist() == [one.id for one in wanted.segments]
        assert category_ids.tolist() == [one.category_id for one in wanted.segments]
        assert areas.tolist() == [one.area for one in wanted.segments]
        assert scores.tolist() == pytest.approx([one.score for one in wanted.segments], abs=1e-6)
        segments += len(ids)
    assert segments, "nothing was compared"


def test_a_strip_of_one_cell_is_taken_by_runtimes_and_refused_by_archives(files: Path) -> None:
    """torch.export takes an edge of 32 pixels, one cell of the deepest map, for another case than all others."""
    images = np.full((1, 3, 96, 32), 100, np.float32)
    for name in ("tiny.onnx", "tiny.xml"):
        assert session(name).run([images])[0].shape == (1, 6, 24, 8)
    with pytest.raises(DataError, match="64 pixels and more"):
        session("tiny.pt2").run([images])


@pytest.mark.parametrize("name", [*UNMERGED, "tiny-merged.onnx"])
def test_a_file_says_what_surrounds_the_network(files: Path, name: str) -> None:
    told, weights = read_metadata(Path(name)), read_model(FOLDED).weights
    assert told.categories == weights.categories
    assert told.recipe["inference"] == weights.recipe["inference"]
    assert told.steps == weights.steps
    assert told.weights["sha256"] == read_model(FOLDED).digest
    assert told.merge == ("inside" if "merged" in name else "none")
    plain = told.to_dict()
    assert plain["picture"]["mean"] == (123.675, 116.28, 103.53)
    assert plain["picture"]["stride"] == 32
    assert Metadata.of_json(told.to_json().encode(), "it") == told


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny-merged.onnx", "tiny.xml", "tiny.bin", "tiny.pt2"])
def test_damage_is_noticed(files: Path, name: str) -> None:
    """Flipped bits, cuts and gaps: whatever is not refused is the same file."""
    whole = Path(name).read_bytes()
    named = "tiny.xml" if name == "tiny.bin" else name
    chance = random.Random(0)
    for turn in range(12):
        place = chance.randrange(len(whole))
        flipped = bytes([whole[place] ^ (1 << chance.randrange(8))])
        damaged = (
            whole[:place] + flipped + whole[place + 1 :],
            whole[:place],
            whole[:place] + whole[place + 100 :],
            whole + b"more",
        )[turn % 4]
        Path(name).write_bytes(damaged)
        with pytest.raises((DataError, UsageError)):
            session(named)


def test_pairs_of_different_exports_are_noticed(files: Path) -> None:
    shutil.copy("tiny.bin", "other.bin")
    text = Path("tiny.xml").read_bytes()
    Path("other.xml").write_bytes(text)
    session("other.xml")
    Path("other.bin").write_bytes(Path("tiny.bin").read_bytes()[::-1])
    with pytest.raises(DataError, match="different exports"):
        session("other.xml")
    Path("other.bin").unlink()
    with pytest.raises(DataError, match="other"):
        session("other.xml")


def rewritten(change: Any) -> None:
    """tiny.onnx with `change` applied to its model, and sealed again, as whoever forges it would."""
    onnx = oracle("onnx")
    model = onnx.load("tiny.onnx")
    change(model)
    content = model.SerializeToString()
    Path("tiny.onnx").write_bytes(re.sub(rb"yoso-seal-[0-9a-f]{64}", b"yoso-seal-" + b"0" * 64, content))
    seal(Path("tiny.onnx"))


def _external(model: Any) -> None:
    tensor = next(one for one in model.graph.initializer if len(one.raw_data) > 100)
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in (("location", "../../../etc/passwd"), ("offset", "0"), ("length", "100")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _custom(model: Any) -> None:
    model.graph.node[0].domain = "com.example"


def _function(model: Any) -> None:
    function = model.functions.add()
    function.name, function.domain = "f", "com.example"


def _huge(model: Any) -> None:
    tensor = next(one for one in model.graph.initializer if len(one.dims) == 4)
    tensor.dims[:] = [1 << 20, 1 << 12]


def _negative(model: Any) -> None:
    next(one for one in model.graph.initializer if len(one.dims) == 4).dims[0] *= -1


def _old(model: Any) -> None:
    model.opset_import[0].version = 18


def _subgraph(model: Any) -> None:
    attribute = model.graph.node[0].attribute.add()
    attribute.name, attribute.type = "body", 5
    attribute.g.name = "inner"


def _inputs(model: Any) -> None:
    model.graph.input[0].name = "pixels"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_external, "in another file (../../../etc/passwd), which is not opened"),
        (_custom, "custom operators (com.example)"),
        (_function, "custom operators"),
        (_huge, "claims 4,294,967,296 values"),
        (_negative, "claims"),
        (_old, "opset 18"),
        (_subgraph, "a graph of its own"),
        (_inputs, "inputs and outputs"),
    ],
)
def test_a_forged_onnx_is_refused_before_a_runtime_sees_it(
    files: Path, change: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle("onnxruntime"), "InferenceSession", None)
    rewritten(change)
    with pytest.raises(DataError) as refused:
        session("tiny.onnx")
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"<layers>", b'<!DOCTYPE net [<!ENTITY a "aaaa">]><layers>', "declarations"),
        (b'version="opset1"', b'version="extension"', "only OpenVINO's own"),
        (b'offset="0"', b'offset="4294967296"', "claims weights up to byte 4,294"),
        (b'offset="0"', b'offset="' + b"9" * 4400 + b'"', "claims weights up to byte"),
        (b"<net ", b"<nut ", "XML"),
        (b'type="MatMul"', b'type="Nonsense"', "rejects"),
    ],
)
def test_a_forged_openvino_file_is_refused(files: Path, old: bytes, new: bytes, said: str) -> None:
    text = Path("tiny.xml").read_bytes()
    assert old in text
    text = re.sub(rb"yoso-seal-[0-9a-f]{64}", b"yoso-seal-" + b"0" * 64, text.replace(old, new, 1))
    Path("tiny.xml").write_bytes(text)
    seal(Path("tiny.xml"), [Path("tiny.bin")])
    with pytest.raises(DataError) as refused:
        session("tiny.xml")
    assert said in refused.value.message


def test_files_of_other_tools_are_refused(files: Path) -> None:
    onnx = oracle("onnx")
    value = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "ab"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["a"], ["b"])], "g", value[:1], value[1:])
    onnx.save(onnx.helper.make_model(graph), "foreign.onnx")
    Path("foreign.xml").write_text("<net><layers/></net>")
    Path("foreign.bin").write_bytes(b"")
    torch.save({"a": torch.zeros(1)}, "foreign.pt2")
    Path("empty.onnx").write_bytes(b"")
    for name in ("foreign.onnx", "foreign.xml", "foreign.pt2", "empty.onnx"):
        with pytest.raises(DataError) as refused:
            session(name)
        assert name in refused.value.message


def test_openvino_reports_nothing(files: Path) -> None:
    """It would tell Intel of every import and conversion."""
    code = """
import sys
from pathlib import Path
from yoso_cli.export.runtimes import opened, read_metadata
opened(Path("tiny.xml"), read_metadata(Path("tiny.xml")), 1)
print([name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module])
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_onnxruntime_reports_nothing(files: Path, tmp_path: Path) -> None:
    """It would tell Microsoft of every session, from files that it leaves in the home and in the temporary folder."""
    code = """
from pathlib import Path
from yoso_cli.export.runtimes import opened, read_metadata
opened(Path("tiny.onnx"), read_metadata(Path("tiny.onnx")), 1)
"""
    (home := tmp_path / "home").mkdir()
    places = {"HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    environment = os.environ | places | {"PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_an_archive_of_torch_runs_only_where_it_was_written(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To load one is to run what is in it. What it says of itself is read from any."""
    session("tiny.pt2")
    loaded = []
    monkeypatch.setattr(torch.export, "load", lambda *_: loaded.append(1))
    monkeypatch.setenv("YOSO_HOME", str(files / "elsewhere"))
    with pytest.raises(DataError, match="run what is in it"):
        session("tiny.pt2")
    assert not loaded
    assert read_metadata(Path("tiny.pt2")).format == "torch"

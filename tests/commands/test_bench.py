"""`yoso bench`: two latencies that are never mixed, and what they were measured on."""

import shutil
from pathlib import Path
from typing import Any

import build
import pytest

QUICK = ["--repeats", "3", "--warmup", "1", "--device", "cpu"]
LATENCY = {"median_ms", "p90_ms", "fps", "pictures"}


def test_the_newest_run_is_timed_on_pictures_of_its_validation_split(line: Path, printed: Any) -> None:
    value, told = printed("bench", "--json", *QUICK)
    assert set(value) == {
        *("schema", "weights", "steps", "device", "threads", "batch", "short_edge", "long_edge", "warmup", "files"),
        *("forward", "end_to_end", "versions", "machine"),
    }
    assert value["weights"] == str(build.newest_weights())
    assert value["steps"] == []
    assert (value["device"], value["batch"], value["warmup"]) == ("cpu", 1, 1)
    assert (value["short_edge"], value["long_edge"]) == (64, 96)
    assert value["files"] == [str(build.picture(index)) for index in range(3)]
    for name in ("forward", "end_to_end"):
        assert set(value[name]) == LATENCY
        assert value[name]["pictures"] == 3
        assert 0 < value[name]["median_ms"] <= value[name]["p90_ms"]
        assert value[name]["fps"] == pytest.approx(1000 / value[name]["median_ms"])
    assert value["threads"] >= 1
    assert value["machine"]["cpu"]
    assert value["versions"]["torch"]
    assert "1 pictures to warm up, 3 timed" in told
    assert told.endswith(f"Next: yoso viz image.jpg --weights {value['weights']}")


def test_the_text_keeps_the_two_apart(line: Path, printed: Any) -> None:
    text, _ = printed("bench", *QUICK)
    assert "network alone" in text
    assert "file to segments" in text
    assert "median ms  p90 ms" in text
    assert "Batch 1, short edge 64, 3 pictures" in text


def test_re_parameterised_weights_are_timed_where_there_are_any(line: Path, printed: Any) -> None:
    printed("reparam")
    for source in ([], ["runs/tiny-001"]):
        value, _ = printed("bench", *source, "--json", *QUICK)
        assert value["weights"] == "runs/tiny-001/reparam.safetensors"
        assert value["steps"]
    value, _ = printed("bench", str(build.newest_weights()), "--json", *QUICK)
    assert value["steps"] == []


def test_named_pictures_need_no_dataset(line: Path, printed: Any) -> None:
    shutil.copy(build.picture(), "mine.png")
    shutil.rmtree("datasets")
    value, _ = printed("bench", "--image", "mine.png", "--json", "--set", "inference.short_edge=32", *QUICK)
    assert value["files"] == ["mine.png"]
    assert value["short_edge"] == 32


def test_pictures_that_cannot_be_read_are_named(line: Path, refused: Any) -> None:
    assert "gone.jpg" in refused("bench", "--image", "gone.jpg", *QUICK, code=1)
    Path("odd.jpg").write_bytes(b"no picture")
    assert "odd.jpg" in refused("bench", "--image", "odd.jpg", *QUICK, code=1)


@pytest.mark.parametrize("options", [["--repeats", "0"], ["--warmup", "-1"], ["--repeats", "many"]])
def test_counts_out_of_range_are_wrong_use(line: Path, refused: Any, options: list[str]) -> None:
    refused("bench", *options, code=2)

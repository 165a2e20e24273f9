"""`yoso bench`: two latencies that are never mixed, and what they were measured on."""

import shutil
from pathlib import Path
from typing import Any

import build
import pytest

QUICK = ["--repeats", "3", "--warmup", "1", "--device", "cpu"]
LATENCY = {"p99_ms", "batch", "median_ms", "p90_ms", "fps", "pictures"}


def test_the_newest_run_is_timed_on_pictures_of_its_validation_split(line: Path, printed: Any) -> None:
    value, told = printed("bench", "--json", *QUICK)
    assert set(value) == {
        *("schema", "weights", "steps", "device", "threads", "batch", "short_edge", "long_edge", "warmup", "files"),
        *("forward", "end_to_end", "versions", "machine", "switches", "clock", "forward_batches", "parts_ms", "flops"),
        *("parameters", "peak_memory_bytes", "over_compared", "pq"),
    }
    assert value["switches"] == {
        "precision": "single",
        "channels_last": True,
        "compiled": False,
        "graphs": False,
        "merge": "exact",
    }
    parts = dict(value["parts_ms"])
    assert parts.pop("sum") == pytest.approx(sum(parts.values()))
    assert sum(value["flops"].values()) > 0 < sum(value["parameters"].values())
    assert value["peak_memory_bytes"] > 1e7
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
    assert "median ms  p90 ms  p99 ms" in text
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


def test_switches_are_used_and_shown(line: Path, printed: Any) -> None:
    value, told = printed("bench", "--json", "--precision", "bfloat16", "--channels-first", "--batch", "2", *QUICK)
    assert value["switches"]["precision"] == "bfloat16"
    assert not value["switches"]["channels_last"]
    assert [one["batch"] for one in value["forward_batches"]] == [2]
    assert "(bfloat16)" in told
    _, told = printed("bench", "--json", *QUICK)
    assert "(single, channels_last)" in told


def test_two_files_are_compared_in_turn(line: Path, printed: Any) -> None:
    printed("reparam")
    trained = str(build.newest_weights())
    value, _ = printed("bench", "--json", "--compare", trained, *QUICK)
    assert value["steps"]
    for name in ("forward", "end_to_end"):
        ratio = value["over_compared"][name]
        assert 0 < ratio["p10"] <= ratio["ratio"] <= ratio["p90"]
    text, _ = printed("bench", "--compare", trained, *QUICK)
    assert "times the compared one's" in text


def test_the_fast_merge_tells_what_it_does_to_pq(line: Path, printed: Any, refused: Any) -> None:
    value, _ = printed("bench", "--json", "--fast-merge", *QUICK)
    assert value["switches"]["merge"] == "fast"
    assert set(value["pq"]) == {"exact", "fast"}
    assert "has no truth" in refused("bench", "--fast-merge", "--image", str(build.picture()), *QUICK, code=2)


def test_graphs_need_a_gpu(line: Path, refused: Any) -> None:
    assert "need a GPU" in refused("bench", "--graphs", "--device", "cpu", *QUICK, code=1)


def test_the_papers_suite_stands_beside_the_paper(
    printed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two of its rows: all of them take minutes."""
    from yoso_cli.inference import paper

    rows = [paper.Row("5", "IFA", "GMAC", 32.2, 16.6), paper.Row("6", "SDCA", "us", 100.0, 2183.0)]
    monkeypatch.setattr(paper, "measure", lambda device, repeats, tell: rows)
    value, _ = printed("bench", "--suite", "paper", "--output", str(tmp_path / "suite"), "--json")
    assert [row["paper"] for row in value["rows"]] == [16.6, 2183.0]
    assert all(Path(path).is_file() for path in value["contours"])
    text, _ = printed("bench", "--suite", "paper")
    assert "cannot be had on another machine" in text

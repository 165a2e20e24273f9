"""`yoso bench`: two latencies that are never mixed, and what they were measured on."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import build
import pytest
import torch

from yoso_cli.inference import onednn
from yoso_cli.inference.engine import Switches, default_for

ON_CPU = default_for(torch.device("cpu"))
QUICK = ["--repeats", "3", "--warmup", "1", "--device", "cpu"]
LATENCY = {"p99_ms", "batch", "median_ms", "p90_ms", "fps", "pictures"}


def test_the_newest_run_is_timed_on_pictures_of_its_validation_split(line: Path, printed: Any) -> None:
    value, told = printed("bench", "--json", *QUICK)
    assert set(value) == {
        *("schema", "weights", "steps", "device", "threads", "batch", "short_edge", "long_edge", "warmup", "files"),
        *("forward", "end_to_end", "versions", "machine", "switches", "clock", "forward_batches", "parts_ms", "flops"),
        *("parameters", "peak_memory_bytes", "pq", "reason"),
    }
    assert value["switches"] == {**asdict(ON_CPU.switches), "merge": "exact"}
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
    assert "1 picture to warm up, 3 timed" in told
    assert told.endswith(f"Next: yoso viz {build.picture()} --weights {value['weights']}")


def test_the_text_keeps_the_two_apart(line: Path, printed: Any) -> None:
    text, _ = printed("bench", *QUICK)
    assert "network alone" in text
    assert "file to segments" in text
    assert "median ms  p90 ms  p99 ms" in text
    assert "Batch 1, short edge 64, 3 pictures" in text
    assert "\n  backbone " in text
    assert "\n  sum " in text


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
    assert "gone.jpg" in refused("bench", "--image", "gone.jpg", *QUICK, code=2)
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
    assert "cpu (bfloat16, " in told
    reason = f"{ON_CPU.switches}: {ON_CPU.reason}."
    asked = Switches("bfloat16", fused=onednn.bfloat16_works())
    assert f"Switches: {asked}, as requested. By default {reason}" in told
    _, told = printed("bench", "--json", *QUICK)
    assert f"cpu ({ON_CPU.switches}, " in told
    assert f"Switches: {reason}" in told


def test_two_variants_are_compared_in_turn(line: Path, printed: Any) -> None:
    printed("reparam")
    folded = "runs/tiny-001/reparam.safetensors"
    value, told = printed("bench", "--json", "--compare", "trained,fold_batch_norms", f"{folded},bfloat16", *QUICK)
    assert value["a"]["weights"] == str(build.newest_weights())
    assert value["a"]["steps"] == ["fold_batch_norms"]
    assert value["a"]["switches"]["precision"] == "float32"
    assert value["b"]["weights"] == folded
    assert len(value["b"]["steps"]) == 5
    assert value["b"]["switches"]["precision"] == "bfloat16"
    for name in ("forward", "end_to_end"):
        ratio = value["a_over_b"][name]
        assert 0 < ratio["p10"] <= ratio["ratio"] <= ratio["p90"]
        assert set(ratio["a"]) == LATENCY
    assert "Timing A, trained,fold_batch_norms, on cpu (float32" in told
    text, _ = printed("bench", "--compare", "trained", "float32", *QUICK)
    assert "times as long as B, network alone (p10 " in text
    assert "Timed alternately, 3 pictures each" in text


def test_precisions_by_their_old_names_are_understood(line: Path, printed: Any) -> None:
    value, _ = printed("bench", "--json", "--precision", "single", *QUICK)
    assert value["switches"]["precision"] == "float32"
    value, _ = printed("bench", "--json", "--compare", "single", "half", *QUICK)
    assert [value[side]["switches"]["precision"] for side in "ab"] == ["float32", "float16"]


def test_fusing_is_a_word_and_an_option(line: Path, printed: Any, refused: Any) -> None:
    value, _ = printed("bench", "--json", "--compare", "fused", "unfused", *QUICK)
    assert [value[side]["switches"]["fused"] for side in "ab"] == [True, False]
    value, _ = printed("bench", "--json", "--no-fused", *QUICK)
    assert not value["switches"]["fused"]
    assert not value["switches"]["winograd"]
    value, _ = printed("bench", "--json", "--compare", "winograd", "direct", *QUICK)
    assert [value[side]["switches"]["winograd"] for side in "ab"] == [True, False]
    assert "Leave --fused out" in refused("bench", "--fused", "--precision", "float16", *QUICK, code=2)


def test_switches_of_both_sides_are_options_and_a_word_changes_one(line: Path, printed: Any) -> None:
    value, _ = printed(
        "bench", "--json", "--channels-first", "--compare", "float32", "channels_last,fast_merge", *QUICK
    )
    assert [value[side]["switches"]["channels_last"] for side in "ab"] == [False, True]
    assert [value[side]["switches"]["merge"] for side in "ab"] == ["exact", "fast"]
    assert [value[side]["weights"] for side in "ab"] == [str(build.newest_weights())] * 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--compare", "trained,slow", "float32"], "slow is neither a switch nor a fold"),
        (["--compare", "trained,", "float32"], "an empty word is neither"),
        (["runs/tiny-001", "--compare", "trained", "float32"], "SOURCE cannot be combined with --compare"),
        (["--batch", "2", "--compare", "trained", "float32"], "--batch cannot be combined with --compare"),
        (["--suite", "paper", "--compare", "trained", "float32"], "--compare cannot be combined with --suite"),
        (["--suite", "paper", "runs/tiny-001"], "SOURCE cannot be combined with --suite"),
        (["--table", "5"], "--table needs --suite"),
        (["--output", "drawn"], "--output needs --suite"),
    ],
)
def test_what_does_not_go_together_is_refused(line: Path, refused: Any, arguments: list[str], told: str) -> None:
    assert told in refused("bench", *arguments, code=2)


def test_a_first_word_that_is_no_switch_is_a_source(line: Path, refused: Any) -> None:
    assert "bfloat17" in refused("bench", "--compare", "float32", "bfloat17", *QUICK, code=2)


def test_folds_are_not_asked_of_folded_weights(line: Path, printed: Any, refused: Any) -> None:
    printed("reparam")
    folded = "runs/tiny-001/reparam.safetensors"
    assert "is folded already" in refused("bench", "--compare", f"{folded},fold_location", "float32", *QUICK, code=2)


def test_the_fast_merge_tells_what_it_does_to_pq(line: Path, printed: Any, refused: Any) -> None:
    value, _ = printed("bench", "--json", "--fast-merge", *QUICK)
    assert value["switches"]["merge"] == "fast"
    assert set(value["pq"]) == {"exact", "fast"}
    assert 0 <= value["pq"]["exact"] <= 100
    assert "has no truth" in refused("bench", "--fast-merge", "--image", str(build.picture()), *QUICK, code=2)


def test_graphs_need_a_gpu(line: Path, refused: Any) -> None:
    assert "need a GPU" in refused("bench", "--graphs", "--device", "cpu", *QUICK, code=1)


def test_the_papers_suite_stands_beside_the_paper(
    printed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two of its rows: all of them take minutes."""
    from yoso_cli.inference import paper

    rows = [paper.Row("5", "IFA", "G", 32.2, 16.6, 1.0, 1.0), paper.Row("6", "SDCA", "us", 100.0, 2183.0, 0.8, 0.84)]
    asked = []
    monkeypatch.setattr(paper, "measure", lambda device, repeats, tell, tables: asked.append((repeats, tables)) or rows)
    value, _ = printed("bench", "--suite", "paper", "--output", str(tmp_path / "suite"), "--json")
    assert [row["paper"] for row in value["rows"]] == [16.6, 2183.0]
    assert [Path(path).name for path in value["figures"]] == ["fig4.png", "fig5.png"]
    assert all(Path(path).is_file() for path in value["figures"])
    text, _ = printed("bench", "--suite", "paper", "--repeats", "3", "--table", "9", "--table", "5")
    assert "cannot be had on another machine" in text
    assert max(map(len, text.splitlines())) <= 80
    assert asked == [(20, ("5", "6", "7", "8", "9", "10")), (3, ("5", "9"))]

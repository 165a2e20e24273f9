"""`yoso eval`: of a run, of weights, of predictions on disk; and what it answers to wrong combinations."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import build
import numpy as np
import pytest
import torch
from evaluation.test_score import write_coco
from releases.server import Behaviour, serving

from yoso_cli.cli import run
from yoso_cli.inference.engine import default_for
from yoso_cli.panoptic.files import SetWriter
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, Segment, measured
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import DataRecipe, InferenceRecipe, ModelRecipe, PaperRecipe, Recipe
from yoso_cli.run_folder import RunFolder

ON_CPU = default_for(torch.device("cpu")).switches

CATEGORIES = (Category(1, "disc", True), Category(2, "square", True), Category(9, "ground", False))
MODEL = ModelRecipe(
    backbone="resnet18",
    backbone_weights="none",
    stem_channels=8,
    base_channels=8,
    aggregation_dim=16,
    hidden_dim=16,
    num_proposals=6,
    num_heads=2,
    feedforward_dim=32,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_set(folder: Path, categories: Sequence[Category] = CATEGORIES, images: int = 3) -> None:
    """A prepared split of small pictures with a square on the ground."""
    writer = SetWriter(folder, folder.parent.name, folder.name, categories)
    for index in range(images):
        id_map = np.ones((40, 50), np.int32)
        id_map[5:25, 5 : 20 + index] = 2
        segments = measured(id_map, [Segment(1, categories[-1].id, 1), Segment(2, categories[0].id, 1)])
        image = np.repeat((id_map * 90).astype(np.uint8)[..., None], 3, 2)
        record = ImageRecord(index, f"{index}.png", f"{index}.png", 40, 50, segments)
        writer.add(record, Panoptic(id_map, segments), image)
    writer.finish()


def write_run(number: int = 1) -> RunFolder:
    """A run of random weights, which nevertheless see segments: no threshold holds them back."""
    import torch

    from yoso_cli.model.weights import save_weights
    from yoso_cli.model.yoso import YOSO

    recipe = Recipe(
        name="tiny",
        data=DataRecipe("tiny", val_split="val"),
        model=MODEL,
        inference=InferenceRecipe(64, 96, score_threshold=0.0, overlap_threshold=0.0),
        paper=PaperRecipe("Table 0", pq=50.0),
    )
    made = RunFolder(Path("runs") / f"tiny-{number:03d}")
    made.path.mkdir(parents=True)
    made.write_recipe(recipe)
    torch.manual_seed(number)
    model = YOSO(len(CATEGORIES), **MODEL.arguments())
    path = made.checkpoint_path(10) / "weights.safetensors"
    save_weights(path, model, recipe=recipe.to_dict(), categories=CATEGORIES, provenance={})
    return made


def printed(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> tuple[str, str]:
    """stdout, and stderr without its line breaks, of one `yoso eval`."""
    assert run(["eval", *args]) == code
    out, err = capsys.readouterr()
    return out, " ".join(err.split())


def printed_json(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(capsys, *args, "--json")[0])
    return found


def test_the_newest_run_is_evaluated_and_keeps_its_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    made = write_run()
    out, err = printed(capsys, "--metric", "pq", "--device", "cpu")
    assert out.startswith("Panoptic quality on tiny val, 3 images, in percent\n")
    assert "| paper PQ  ours - paper" in out
    assert f"Evaluating {made.weights()} on tiny val (3 images, cpu)." in err
    assert err.endswith(f"Next: yoso reparam {made.path}")
    report = json.loads(made.report_path.read_text())
    assert report["weights"]["path"] == str(made.weights())
    assert report["settings"] == {
        "short_edge": 64,
        "long_edge": 96,
        "score_threshold": 0.0,
        "overlap_threshold": 0.0,
        "device": "cpu",
        "views": ["plain"],
        "merge": "exact",
        "switches": str(ON_CPU),
    }
    assert report["recipe"] == "tiny"
    assert "torch" in report["versions"]


def test_a_run_and_its_weights_give_the_same_figures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    made = write_run()
    by_run = printed_json(capsys, str(made.path))
    assert by_run.pop("command") == f"yoso eval {made.path} --json"
    assert by_run.pop("crc32")
    for words in ([str(made.weights())], ["--weights", str(made.weights())]):
        by_weights = printed_json(capsys, *words)
        assert by_weights.pop("command") == f"yoso eval {' '.join(words)} --json"
        assert by_weights.pop("crc32")
        assert by_weights == by_run
    assert by_run["quality"]["all"]["n"] > 0


def test_kept_predictions_score_the_same_from_disk(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    write_run()
    live = printed_json(capsys, "--save-predictions", "kept")
    again = printed_json(capsys, "--predictions", "kept", "--truth", "datasets/tiny/val")
    assert again["quality"] == live["quality"]


def test_a_folder_in_which_something_lies_is_refused_before_any_work(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even the weights are looked for."""
    Path("kept").mkdir()
    assert "no such weights file" in printed(capsys, "gone.safetensors", "--save-predictions", "kept", code=2)[1]
    Path("kept/mine.txt").write_text("precious")
    _, err = printed(capsys, "gone.safetensors", "--save-predictions", "kept", code=2)
    assert "kept: exists already. Choose another folder" in err
    assert build.listing(Path("kept")).keys() == {"kept/mine.txt"}


def test_several_processes_give_the_figures_and_files_of_one(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, five pictures: each is seen once, and laid end to end they are in order. Weights come once."""
    monkeypatch.setenv("YOSO_HOME", str(here / "home"))
    write_set(here / "datasets" / "tiny" / "val", images=5)
    server = Behaviour(content=write_run().weights().read_bytes())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with serving(server) as address:
        words = [f"{address}tiny.safetensors", "--metric", "all", "--device", "cpu"]
        command = [*torchrun, "-m", "yoso_cli", "eval", *words, "--save-predictions", "shared", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        alone = printed_json(capsys, *words, "--save-predictions", "alone")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "(5 images, cpu, 2 processes)" in done.stderr
    assert done.stderr.count("Evaluating") == 1
    assert server.asked == [""], "one process downloads, the others find what came"
    told = json.loads(line)
    assert {key for key in told if told[key] != alone[key]} <= {"predictions", "command", "crc32"}
    files = {name.partition("/")[2]: digest for name, digest in build.listing(Path("shared")).items()}
    assert files == {name.partition("/")[2]: digest for name, digest in build.listing(Path("alone")).items()}


def test_augmentation_is_named_wherever_its_figures_stand(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    made = write_run()
    out, err = printed(capsys, "--tta", "flip,1.5")
    assert "\nTest-time augmentation: plain, 1.5x, mirrored, 1.5x mirrored\n" in out
    assert "4 views of each image" in err
    assert "paper PQ" not in out, "the published figures are for one look"
    report = json.loads((made.path / "evaluations/flip+1.5x/report.json").read_text())
    assert report["settings"]["views"] == ["plain", "1.5x", "mirrored", "1.5x mirrored"]
    views = printed_json(capsys, "--tta", "scales")["settings"]["views"]
    assert views == ["plain", "0.75x", "1.25x"]


def test_the_fast_merge_tells_what_it_costs_on_the_same_answers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    made = write_run()
    plain = printed_json(capsys)
    assert (plain["settings"]["merge"], plain["exact_merge"]) == ("exact", None)
    out, err = printed(capsys, "--fast-merge")
    assert f"({ON_CPU}, " in err
    assert ", fast merge)." in err
    assert "paper PQ" not in out, "the published figures are for the exact merge"
    told = json.loads((made.path / "evaluations/fast-merge/report.json").read_text())
    assert told["settings"]["merge"] == "fast"
    assert told["exact_merge"] == {
        "pq": plain["quality"]["all"]["pq"],
        "pq_things": plain["quality"]["things"]["pq"],
        "pq_stuff": plain["quality"]["stuff"]["pq"],
    }
    cost = told["quality"]["all"]["pq"] - plain["quality"]["all"]["pq"]
    assert f"Fast merge: PQ {cost:+.2f}, things " in out


def test_figures_do_not_depend_on_the_batch(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "val", images=5)
    write_run()
    alone, together = (printed_json(capsys, "--metric", "all", "--batch", count) for count in ("1", "3"))
    assert {key for key in together if together[key] != alone[key]} <= {"command", "crc32", "calibration", "instances"}
    assert together["instances"]["ap"] == pytest.approx(alone["instances"]["ap"], nan_ok=True)


def test_switches_are_kept_in_the_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    write_run()
    told = printed_json(capsys, "--precision", "bfloat16", "--channels-first", "--no-fused")
    assert told["settings"]["switches"] == "bfloat16"


def test_a_recipe_says_how_weights_are_evaluated_and_what_it_overrides(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    made = write_run()
    recipe = made.recipe().to_dict()
    Path("same.yaml").write_text(recipe_file.to_yaml(recipe_file.from_dict(recipe)))
    recipe["inference"]["short_edge"] = 32
    recipe["name"] = "small"
    Path("small.yaml").write_text(recipe_file.to_yaml(recipe_file.from_dict(recipe)))
    weights = ["--weights", str(made.weights())]
    _, err = printed(capsys, "same.yaml", *weights)
    assert "Settings that differ" not in err
    out, err = printed(capsys, "small.yaml", *weights, "--set", "inference.overlap_threshold=0.5")
    assert "differ from those of these weights: short_edge 32 instead of 64, overlap_threshold 0.5 instead of 0." in err
    assert "paper PQ" in out
    report = json.loads((made.path / "evaluations/short_edge=32+overlap_threshold=0.5/report.json").read_text())
    assert (report["recipe"], report["settings"]["short_edge"]) == ("small", 32)
    _, err = printed(capsys, "small.yaml", *weights, "--set", "model.num_stages=1", code=2)
    assert "small.yaml: is for another network" in err
    assert "num_stages 1 where the weights have 2" in err


def test_each_kind_of_weights_keeps_its_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    made = write_run()
    printed(capsys)
    first = made.report_path.read_text()
    shutil.copy(made.weights(), made.reparameterised)
    _, err = printed(capsys, str(made.reparameterised))
    assert "Report: runs/tiny-001/report-reparam.json." in err
    assert made.report_path.read_text() == first


def test_another_evaluation_takes_no_place_from_the_runs_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another split, other views, other settings, each has a folder of its own, ready to be compared."""
    for split in ("val", "test"):
        write_set(here / "datasets" / "tiny" / split)
    made = write_run()
    printed(capsys)
    own = build.listing(made.path)
    for args, name in {
        ("--split", "test"): "test",
        ("--tta", "flip,1.5"): "flip+1.5x",
        ("--set", "inference.short_edge=32", "--set", "inference.score_threshold=0.5"): (
            "short_edge=32+score_threshold=0.5"
        ),
        ("--set", "data.val_split=test", "--tta", "0.5"): "test+0.5x",
    }.items():
        kept = made.path / "evaluations" / name
        _, err = printed(capsys, *args)
        assert f"Report: {kept}/report.json." in err
        assert (kept / "report.html").is_file()
        same_images = json.loads((kept / "report.json").read_text())["split"] == "val"
        assert err.endswith(f"Next: yoso compare {made.path} {kept}" if same_images else f"yoso reparam {made.path}")
    found = build.listing(made.path)
    assert {path: found[path] for path in own} == own
    assert run(["compare", str(made.path), str(made.path / "evaluations" / "flip+1.5x")]) == 0


def test_asking_for_less_loses_nothing_of_what_was_measured(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same evaluation with fewer metrics leaves the fuller report; other figures or more metrics replace it."""
    write_set(here / "datasets" / "tiny" / "val")
    made = write_run()
    printed(capsys, "--metric", "miou,boundary")
    full = build.listing(made.path)
    _, err = printed(capsys)
    assert f"Not overwritten: {made.report_path} has the same figures, and mIoU and boundary PQ in addition." in err
    assert build.listing(made.path) == full
    printed(capsys, "--metric", "all")
    assert json.loads(made.report_path.read_text())["instances"] is not None
    shutil.rmtree(here / "datasets" / "tiny" / "val")
    write_set(here / "datasets" / "tiny" / "val", images=2)
    _, err = printed(capsys)
    assert "Report: " in err
    assert json.loads(made.report_path.read_text())["images"] == 2


def test_a_missing_split_names_those_that_are_there(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run()
    for split in ("minival", "test"):
        write_set(here / "datasets" / "tiny" / split)
    assert "Existing splits of tiny: minival, test." in printed(capsys, code=1)[1]


def test_a_run_without_a_checkpoint_is_passed_over_and_that_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    made, begun = write_run(), RunFolder(Path("runs/tiny-002"))
    begun.path.mkdir()
    begun.write_recipe(made.recipe())
    _, err = printed(capsys)
    assert "Using runs/tiny-001: newer, but without a checkpoint: runs/tiny-002." in err
    assert f"Evaluating {made.weights()}" in err


def test_weights_outside_a_run_leave_no_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    made = write_run()
    made.weights().rename("mine.safetensors")
    _, err = printed(capsys, "mine.safetensors")
    assert not list(here.rglob("report.json"))
    assert err.endswith("Next: yoso reparam mine.safetensors")


def test_split_and_set_choose_what_is_evaluated(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "test", images=1)
    write_run()
    found = printed_json(capsys, "--split", "test", "--set", "inference.score_threshold=1")
    assert (found["split"], found["images"]) == ("test", 1)
    assert found["settings"]["score_threshold"] == 1.0
    assert found["quality"]["all"]["pq"] == 0.0
    assert found["paper"] is None, "the published figures are for another split"
    _, err = printed(capsys, "--split", "test", "--set", "model.num_stages=1", code=2)
    assert "cannot be changed for trained weights" in err
    _, err = printed(capsys, "--set", "inference.scor_threshold=1", code=2)
    assert "did you mean 'score_threshold'?" in err


def test_weights_for_other_classes_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "val", [*CATEGORIES, Category(17, "sea", False)])
    write_run()
    _, err = printed(capsys, code=1)
    assert "has 3 classes, tiny val has 4; not shared: sea." in err


def test_what_is_missing_is_said_with_the_way_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no run, and" in printed(capsys, code=1)[1]
    assert "no such weights file" in printed(capsys, "gone.safetensors", code=2)[1]
    assert "there is no such run folder" in printed(capsys, "runs/gone-001", code=2)[1]
    write_run()
    assert "`yoso convert SOURCE datasets/tiny/val`" in printed(capsys, code=1)[1]


def test_a_device_that_is_not_there_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    write_run()
    assert "--device cuda:99" in printed(capsys, "--device", "cuda:99", code=1)[1]
    assert "--device toaster" in printed(capsys, "--device", "toaster", code=2)[1]
    assert "--device meta" in printed(capsys, "--device", "meta", code=2)[1]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--truth", "a"], "--predictions and --truth need each other"),
        (["--predictions", "a"], "--predictions and --truth need each other"),
        (["run", "--truth", "a", "--predictions", "b"], "SOURCE cannot be combined with --predictions"),
        (["--weights", "w", "--truth", "a", "--predictions", "b"], "--weights cannot be combined"),
        (["--split", "s", "--truth", "a", "--predictions", "b"], "--split cannot be combined"),
        (["--set", "a=1", "--truth", "a", "--predictions", "b"], "--set cannot be combined"),
        (["--save-predictions", "d", "--truth", "a", "--predictions", "b"], "--save-predictions cannot be combined"),
        (["run.safetensors", "--weights", "w"], "SOURCE and --weights both name weights"),
        (
            ["results.json"],
            "results.json: SOURCE must be a model's weights. To score predictions, type yoso eval --predictions",
        ),
        (["--truth", "a", "--predictions", "b", "--images", "c"], "--images needs --html"),
        (["--truth", "a", "--predictions", "b", "--images", "c", "--html", "d"], "--images c: no such folder"),
        (["--tta", "flop"], "--tta flop: must be flip, scales, or a scale from 0.1 to 4."),
        (["--tta", "flip,9"], "--tta 9: must be"),
        (["--tta", ""], "--tta : must be"),
        (["--tta", "flip", "--truth", "a", "--predictions", "b"], "--tta cannot be combined"),
        (["--batch", "2", "--truth", "a", "--predictions", "b"], "--batch cannot be combined"),
        (["--fast-merge", "--truth", "a", "--predictions", "b"], "--fast-merge cannot be combined"),
        (
            ["--metric", "fps"],
            "--metric fps: there is no such metric. There are pq, miou, ap, ap-cityscapes, boundary and all.",
        ),
        (["--metric", "pq,"], "--metric : there is no such metric"),
    ],
)
def test_wrong_combinations_are_wrong_use(
    here: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str
) -> None:
    assert words in printed(capsys, *args, code=2)[1]


IDLE = {"torch", "torchvision", "scipy", "yaml", "multiprocessing", "concurrent", "logging", "rich"}


def test_predictions_on_disk_need_neither_torch_nor_pictures(tmp_path: Path) -> None:
    """Nor anything else that takes long to import and is not used: a start would take as long as dozens of pictures."""
    truth = write_coco(tmp_path, images=2)
    program = (
        "import sys; from yoso_cli.cli import run; code = run(sys.argv[1:]); "
        f"assert not {IDLE!r} & set(sys.modules), {IDLE!r} & set(sys.modules); sys.exit(code)"
    )
    args = ["eval", "--truth", str(truth), "--predictions", str(truth)]
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "All     100.0   100.0 - 100.0  100.0  100.0        2" in done.stdout
    assert done.stderr.splitlines()[-1] == f"Next: yoso eval --predictions {truth} --truth {truth} --html report.html"


METRIC_KEYS = ("quality", "sizes", "dagger", "semantic", "instances", "cityscapes_ap", "boundary")


@pytest.mark.parametrize(
    ("args", "measured"),
    [
        ([], {"quality", "sizes", "dagger"}),
        (["--metric", "miou"], {"quality", "sizes", "dagger", "semantic"}),
        (["--metric", "boundary, ap"], {"quality", "sizes", "dagger", "boundary", "instances"}),
        (["--metric", "pq", "--metric", "ap"], {"quality", "sizes", "dagger", "instances"}),
        (["--metric", "ap-cityscapes"], {"quality", "sizes", "dagger", "cityscapes_ap"}),
        (["--metric", "all"], set(METRIC_KEYS)),
    ],
)
def test_metric_chooses_what_is_measured(
    here: Path, capsys: pytest.CaptureFixture[str], args: list[str], measured: set[str]
) -> None:
    write_set(here / "datasets" / "tiny" / "val")
    write_run()
    found = printed_json(capsys, *args, "--save-predictions", "kept")
    assert {key for key in METRIC_KEYS if found[key] is not None} == measured
    again = printed_json(capsys, *args, "--predictions", "kept", "--truth", "datasets/tiny/val")
    assert [again[key] for key in METRIC_KEYS] == [found[key] for key in METRIC_KEYS]


def test_without_scores_ap_is_refused_and_all_does_without_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = str(write_coco(here, images=1))
    out, err = printed(capsys, "--truth", truth, "--predictions", truth, "--metric", "pq,ap", code=1)
    assert out == ""
    assert "has no score, which AP needs for ranking" in err
    assert "leave AP out of --metric" in err
    assert (
        "has no score"
        in printed(capsys, "--truth", truth, "--predictions", truth, "--metric", "all,ap-cityscapes", code=1)[1]
    )
    out, err = printed(capsys, "--truth", truth, "--predictions", truth, "--metric", "all")
    assert "Mask AP is skipped. Image" in err
    assert "Boundary PQ         all 100.0" in out
    assert "Mask AP" not in out


def test_predictions_that_contradict_themselves_name_the_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_coco(here / "a", images=1)
    other = write_coco(here / "b", images=1)
    content = json.loads(other.read_text())
    content["annotations"][0]["segments_info"].pop()
    other.write_text(json.dumps(content))
    out, err = printed(capsys, "--truth", str(truth), "--predictions", str(other), code=1)
    assert out == ""
    assert f"{other.parent}/truth/0.png against {truth.parent}/truth/0.png: The predicted map holds segment 6" in err


def test_an_area_that_cannot_be_names_the_picture(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_coco(here / "a", images=1)
    content = json.loads(truth.read_text())
    content["annotations"][0]["segments_info"][0]["area"] = 0
    truth.write_text(json.dumps(content))
    _, err = printed(capsys, "--truth", str(truth), "--predictions", str(truth), "--trust-json", code=1)
    assert "0.png: The true segment 5 has an area in the JSON that is too small for its pixels" in err


def things_only(folder: Path, *, junk: int = 0) -> Path:
    """A car on a picture of void, and false cars beside it; the JSON."""
    id_map = np.zeros((40, 60), np.int32)
    id_map[:10, :10] = 1
    for number in range(junk):
        id_map[20:30, 10 * number : 10 * number + 8] = 2 + number
    ids = [one for one in np.unique(id_map).tolist() if one]
    segments = measured(id_map, [Segment(one, 1, 0) for one in ids])
    writer = SetWriter(folder, folder.name, "val", (Category(1, "car", True),))
    writer.add(ImageRecord(1, "a.jpg", "a.png", 40, 60, segments), Panoptic(id_map, segments))
    writer.finish()
    return folder


def test_false_detections_in_void_are_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, predicted = str(things_only(here / "truth")), str(things_only(here / "found", junk=5))
    out, _ = printed(capsys, "--truth", truth, "--predictions", predicted)
    told = " ".join(out.split())
    assert "Void: 95.8 % of the true pixels; predicted segments there or in crowds, which do not count: 5" in told
    assert "Only things are labelled in this truth" in told
    assert "`yoso convert --background NAME` makes the rest a stuff class" in told
    assert max(map(len, out.splitlines())) <= 80
    found = printed_json(capsys, "--truth", truth, "--predictions", predicted)
    assert (found["quality"]["all"]["pq"], found["void"]["ignored"]) == (100.0, 5)


def test_a_zip_scores_as_the_folder_in_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, predicted = things_only(here / "truth"), things_only(here / "found", junk=2)
    expected = printed_json(capsys, "--truth", str(truth), "--predictions", str(predicted))
    shutil.make_archive("top", "zip", here, "found")
    shutil.make_archive("flat", "zip", predicted)
    shutil.make_archive("true", "zip", here, "truth")
    json_only = {"annotations": json.loads((predicted / "panoptic.json").read_text())["annotations"]}
    (here / "results.json").write_text(json.dumps(json_only))
    shutil.copytree(predicted / "panoptic", here / "results")
    with zipfile.ZipFile("results.zip", "w") as archive:
        for path in (Path("results.json"), *Path("results").iterdir()):
            archive.write(path)
    for name in ("top.zip", "flat.zip", "results.zip"):
        for against in (str(truth), "true.zip"):
            found = printed_json(capsys, "--truth", against, "--predictions", name)
            assert [found[key] for key in METRIC_KEYS] == [expected[key] for key in METRIC_KEYS]
            assert found["predictions"] == name
    before = build.listing()
    printed(capsys, "--truth", str(truth), "--predictions", "results.zip", "--engine", "panopticapi", code=1)
    assert run(["compare", "results.zip", "top.zip", "--truth", str(truth)]) == 0
    assert build.listing() == before


def test_what_is_wrong_in_a_zip_is_told_with_the_zip(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = things_only(here / "truth")
    Path("bad").mkdir()
    Path("bad.json").write_text(json.dumps({"annotations": [{"image_id": 1, "file_name": "a.png"}]}))
    with zipfile.ZipFile("bad.zip", "w") as archive:
        archive.write("bad.json")
        archive.writestr("bad/a.png", "x")
    _, err = printed(capsys, "--truth", str(truth), "--predictions", "bad.zip", code=1)
    assert "Error: bad.zip/bad.json: annotations[0] lacks 'segments_info'." in err


def edited(path: Path, change: Callable[[Any], object]) -> str:
    """The JSON at `path` after `change`."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return str(path)


def test_a_truth_that_contradicts_itself_is_refused_unless_trusted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predicted = str(write_coco(here / "a"))
    path = write_coco(here / "b")
    truth = edited(path, lambda content: content["annotations"][0]["segments_info"][0].update(area=2))
    _, err = printed(capsys, "--truth", truth, "--predictions", predicted, code=1)
    assert "b/truth/0.png: the truth contradicts itself: segment 5 has 4 pixels where the JSON says 2." in err
    assert "--trust-json takes the JSON at its word" in err
    trusted = printed_json(capsys, "--truth", truth, "--predictions", predicted, "--trust-json")
    assert trusted["quality"]["all"]["pq"] == 150.0, "as panopticapi has it"
    assert any("whether its PNGs have them was not looked at" in one for one in trusted["remarks"])
    _, err = printed(capsys, "--trust-json", code=2)
    assert "--trust-json needs --predictions" in err


def test_tables_of_classes_are_compared(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, path = str(write_coco(here / "a")), write_coco(here / "b")
    predicted = edited(path, lambda content: content["categories"][0].update(name="dog", isthing=0))
    _, err = printed(capsys, "--truth", truth, "--predictions", predicted)
    assert "1 of 2 classes of the predictions have another name than in the truth, whose ids count: 1 'dog' for" in err
    assert "1 of 2 classes of the predictions are a thing on one side and stuff on the other" in err
    assert len(printed_json(capsys, "--truth", truth, "--predictions", predicted)["remarks"]) == 2


def test_values_of_other_types_are_told_in_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, path = str(write_coco(here / "a")), write_coco(here / "b")

    def as_text(content: Any) -> None:
        for info in content["annotations"][0]["segments_info"]:
            info |= {key: str(info[key]) for key in ("id", "category_id", "area", "iscrowd")}

    out, err = printed(capsys, "--truth", truth, "--predictions", edited(path, as_text))
    assert "b/truth.json: 8 values are of another type than expected; read 'id' \"5\" as 5" in err
    assert "All     100.0" in out

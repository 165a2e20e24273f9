"""`yoso demo`: the whole pipeline, step by step, on synthetic scenes."""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError
from yoso_cli.export.formats import FORMATS, require_packages
from yoso_cli.runtime.machine import choose_device

if TYPE_CHECKING:
    from yoso_cli.api.benchmark import Speed
    from yoso_cli.api.reparam import Reparameterized
    from yoso_cli.api.training_run import Training
    from yoso_cli.api.weights import ModelFile
    from yoso_cli.evaluation.report import Report
    from yoso_cli.panoptic.types import PanopticSet
    from yoso_cli.recipe.schema import Recipe

RECIPE = "shapes"
# The quick demo only checks that every step works: its model is not usable.
QUICK = (
    "name=shapes-quick",
    "data.train_split=quick-train",
    "data.val_split=quick-val",
    "train.iterations=30",
    "train.batch=4",
    "train.warmup=5",
)
# Scenes per split and pictures timed, by `quick`.
SCENES = {False: (1500, 100), True: (40, 8)}
TIMED = {False: 50, True: 10}
# A file of one size is traced in a fifth of the time.
EXPORTED_SIZE = {False: "dynamic", True: "128,128"}
SHOWN = 4


@dataclass
class Demo:
    """What all steps share.

    Attributes:
        recipe: what is trained.
        root: holds datasets/ and runs/.
        device: as --device names it.
        quick: only check that every step works.
        seconds: how long each step took.
    """

    recipe: "Recipe"
    root: Path
    device: str
    quick: bool
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, story: str) -> Iterator[None]:
        """Announces a step, and records its duration."""
        console.say(f"\n[{len(self.seconds) + 1}/8] {name}: {story}")
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began


@dataclass(frozen=True)
class DemoResult:
    """The results: of the trained weights, then of the re-parameterised ones, then of the exported file.

    `exported` is a sentence where the packages for it are not installed.
    """

    reports: "tuple[Report, Report]"
    speeds: "tuple[Speed, Speed]"
    reparameterised: "Reparameterized"
    sheet: Path
    exported: "ExportedFile | str"
    run: Path
    seconds: float


@dataclass(frozen=True)
class ExportedFile:
    """An exported file, and what was measured of it."""

    path: Path
    runtime: str
    report: "Report"
    speed: "Speed"


@click.command(name="demo")
@click.option("--quick", is_flag=True, help="Check in under a minute that every step works; the model is not usable.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    show_default="the current folder",
    help="Where datasets/ and runs/ go.",
)
@options.device_option
@options.json_option
def command(quick: bool, output: Path, device: str, as_json: bool) -> None:
    """Run the whole pipeline on synthetic scenes: about five minutes on two CPU cores.

    Draws panoptic scenes, trains a small YOSO on them from random weights, measures PQ on unseen scenes,
    re-parameterises the network, measures PQ and latency again, draws photo, truth and prediction side by side, and
    exports the network to ONNX (where `pip install 'yoso-cli[export]'` was typed).

    \b
    Example:
      yoso demo
      yoso demo --quick --output /tmp/yoso
    """
    choose_device(device)
    demo = Demo(_recipe(output, quick), output, device, quick)
    findings = _run(demo)
    console.result(_value(findings), _text(findings), as_json)
    if quick:
        console.say("Its PQ is near zero: so short a training learns nothing, and only checks that each step works.")
    console.next_step(f"yoso eval --metric pq{_elsewhere(output)}")


def _recipe(root: Path, quick: bool) -> "Recipe":
    from yoso_cli.recipe import file as recipe_file

    return recipe_file.load(RECIPE, [f"data.root={root / 'datasets'}", *(QUICK if quick else ())])


def _elsewhere(root: Path) -> str:
    return "" if root == Path() else f" --runs {shlex.quote(str(root / 'runs'))}"


def _run(demo: Demo) -> DemoResult:
    from yoso_cli.api.weights import read_model

    began = time.monotonic()
    with demo.step("prepare", "draw panoptic scenes; things differ in shape, stuff in texture."):
        _prepare(demo)
    with demo.step("train", "a small YOSO with interpolation-first aggregation, from random weights."):
        training = _train(demo)
    with demo.step("eval", "panoptic quality (PQ) on unseen scenes."):
        trained = read_model(training.folder.weights())
        before = _evaluate(demo, trained, training.val_set)
    with demo.step("reparam", "same predictions from fewer operations: IFA to CFA, batch norms folded."):
        changed = _reparameterise(trained)
    with demo.step("eval again", "PQ of the re-parameterised network; it should not change."):
        folded = read_model(changed.path)
        after = _evaluate(demo, folded, training.val_set)
    with demo.step("bench", "latency at batch 1, before and after."):
        speeds = _time(demo, trained), _time(demo, folded)
    with demo.step("viz", "photo, truth and prediction side by side."):
        sheet = _draw(demo, folded, training.val_set)
    with demo.step("export", "to ONNX, and the file's PQ and latency in onnxruntime."):
        exported = _export(demo, folded, training.val_set)
    return DemoResult((before, after), speeds, changed, sheet, exported, training.folder.path, time.monotonic() - began)


def _prepare(demo: Demo) -> None:
    from yoso_cli.datasets import shapes

    data = demo.recipe.data
    counts = dict(zip((data.train_split, data.val_split), SCENES[demo.quick], strict=True))
    for split in shapes.prepare(Path(data.root), splits=counts, progress=console.TERMINAL):
        if not split.fresh:
            console.say(f"{split.folder}: drawn already.")


def _train(demo: Demo) -> "Training":
    from yoso_cli.api.train import open_training

    training = open_training(demo.recipe, runs=demo.root / "runs", device=demo.device, progress=console.TERMINAL)
    run = training.run_without_evaluation()
    if run.iteration < run.iterations:
        console.next_step(f"yoso train --resume {shlex.quote(str(run.folder.path))}")
        raise click.exceptions.Exit(run.exit_code)
    return training


def _evaluate(demo: Demo, model: "ModelFile", truth: "PanopticSet") -> "Report":
    from yoso_cli.api.evaluate import evaluate_predictor, predicted_by
    from yoso_cli.evaluation.report import write_report
    from yoso_cli.page.report import write_page

    predictor = model.predictor(demo.device)
    command = console.typed_command()
    report = evaluate_predictor(predictor, truth, model.recipe, model.path, command=command, progress=console.TERMINAL)
    assert model.run is not None, "the demo's weights are in its run folder"
    kept = model.run.report_of(model.path)
    write_report(kept, report)
    write_page(kept.with_suffix(".html"), report, truth, predicted_by(predictor, truth), console.TERMINAL)
    console.say(f"PQ {_percent(report.quality.all.pq)}")
    return report


def _reparameterise(model: "ModelFile") -> "Reparameterized":
    from yoso_cli.api.dataset import first_pictures
    from yoso_cli.api.reparam import reparameterize_model

    assert model.run is not None, "the demo's weights are in its run folder"
    changed = reparameterize_model(model, model.run.reparameterised, first_pictures(model.recipe, 4))
    console.say(f"Largest difference on {changed.pictures} pictures: {changed.difference.largest:.1e}")
    return changed


def _time(demo: Demo, model: "ModelFile") -> "Speed":
    from yoso_cli.api.benchmark import PICTURES, Clocking, time_model
    from yoso_cli.api.dataset import first_pictures

    pictures = first_pictures(model.recipe, PICTURES)
    clocking = Clocking(TIMED[demo.quick], 5)
    return time_model(model, model.predictor(demo.device), pictures, clocking, console.TERMINAL)


def _draw(demo: Demo, model: "ModelFile", truth: "PanopticSet") -> Path:
    from yoso_cli.api.evaluate import predicted_by, side_by_side
    from yoso_cli.drawing.picture_file import write_picture

    assert model.run is not None, "the demo's weights are in its run folder"
    target = model.run.path / "demo.png"
    predict = predicted_by(model.predictor(demo.device), truth)
    write_picture(target, side_by_side(truth, predict, count=SHOWN))
    return target


def _export(demo: Demo, model: "ModelFile", truth: "PanopticSet") -> ExportedFile | str:
    from yoso_cli.api.benchmark import PICTURES, Clocking, time_model
    from yoso_cli.api.dataset import first_pictures
    from yoso_cli.api.evaluate import evaluate_predictor
    from yoso_cli.api.export import export_model
    from yoso_cli.api.weights import read_model

    try:
        require_packages(FORMATS["onnx"].writes, "Export to ONNX", FORMATS["onnx"].extra)
    except UsageError as missing:
        return f"{missing.message} {missing.hint}"
    assert model.run is not None, "the demo's weights are in its run folder"
    target = model.run.path / "exported.onnx"
    export_model(model.path, target, size=EXPORTED_SIZE[demo.quick], force=True, progress=console.TERMINAL)
    file = read_model(target)
    predictor = file.predictor("cpu")
    report = evaluate_predictor(predictor, truth, model.recipe, target, progress=console.TERMINAL)
    pictures, clocking = first_pictures(model.recipe, PICTURES), Clocking(TIMED[demo.quick], 5)
    return ExportedFile(
        target, str(predictor.engine), report, time_model(file, predictor, pictures, clocking, console.TERMINAL)
    )


def _value(findings: DemoResult) -> dict[str, Any]:
    def model(report: "Report", speed: "Speed") -> dict[str, Any]:
        groups = {"pq": report.quality.all, "pq_things": report.quality.things, "pq_stuff": report.quality.stuff}
        return {
            **{name: None if group.pq is None else 100 * group.pq for name, group in groups.items()},
            "forward_ms": speed.forward.median,
            "end_to_end_ms": speed.end_to_end.median,
        }

    names = ("trained", "reparameterised")
    models = {n: model(r, s) for n, r, s in zip(names, findings.reports, findings.speeds, strict=True)}
    file = findings.exported
    exported = None if isinstance(file, str) else {"file": str(file.path), **model(file.report, file.speed)}
    return {
        **models,
        "largest_difference": findings.reparameterised.difference.largest,
        "run": str(findings.run),
        "sheet": str(findings.sheet),
        "exported": exported,
        "seconds": findings.seconds,
    }


def _text(findings: DemoResult) -> str:
    (before, after), (slow, fast) = findings.reports, findings.speeds
    rows = [
        ("PQ, all classes", _percent(before.quality.all.pq), _percent(after.quality.all.pq)),
        ("PQ, things", _percent(before.quality.things.pq), _percent(after.quality.things.pq)),
        ("PQ, stuff", _percent(before.quality.stuff.pq), _percent(after.quality.stuff.pq)),
        ("network alone, ms", slow.forward.median, fast.forward.median),
        ("file to segments, ms", slow.end_to_end.median, fast.end_to_end.median),
        ("file to segments, FPS", slow.end_to_end.fps, fast.end_to_end.fps),
    ]
    minutes, seconds = divmod(round(findings.seconds), 60)
    return "\n".join(
        [
            "",
            console.table((f"{before.images} unseen scenes", "trained", "reparam"), rows),
            "",
            f"Largest difference between the two: {findings.reparameterised.difference.largest:.1e} (relative)",
            f"Took {minutes} min {seconds:02d} s.",
            _exported_line(findings.exported),
            f"Run: {findings.run}",
            f"Pictures: {findings.sheet}",
            f"Report: {findings.run / 'report.html'} (open it in a browser)",
        ]
    )


def _exported_line(found: ExportedFile | str) -> str:
    """`Exported: exported.onnx, PQ 65.3, network 2.9 ms in onnxruntime 1.32.0, float32`, or why it was not."""
    if isinstance(found, str):
        return f"Not exported. {found}"
    pq, taken = _percent(found.report.quality.all.pq), found.speed.forward.median
    return f"Exported: {found.path.name}, PQ {pq}, network {taken:.1f} ms in {found.runtime}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"

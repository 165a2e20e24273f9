"""Real-time panoptic segmentation with YOSO: the use cases behind the command line, for Python.

    import yoso_cli as yoso

    model = yoso.load("coco")
    result = model("photo.jpg")

A name is loaded when it is first used, so that the import itself is light. docs/python.md shows how they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; at run time __getattr__ brings the same names
    from yoso_cli.api.benchmark import Benchmark as Benchmark
    from yoso_cli.api.benchmark import benchmark as benchmark
    from yoso_cli.api.compare import compare as compare
    from yoso_cli.api.datasets import check as check
    from yoso_cli.api.datasets import convert as convert
    from yoso_cli.api.datasets import prepare as prepare
    from yoso_cli.api.datasets import prepare_shapes as prepare_shapes
    from yoso_cli.api.datasets import stats as stats
    from yoso_cli.api.evaluate import evaluate as evaluate
    from yoso_cli.api.export import Exported as Exported
    from yoso_cli.api.export import export_model as export_model
    from yoso_cli.api.metric import PanopticMetric as PanopticMetric
    from yoso_cli.api.metric import panoptic_quality as panoptic_quality
    from yoso_cli.api.new_recipe import dataset_size as dataset_size
    from yoso_cli.api.new_recipe import new_recipe as new_recipe
    from yoso_cli.api.predict import Model as Model
    from yoso_cli.api.predict import load as load
    from yoso_cli.api.predict_files import predict_files as predict_files
    from yoso_cli.api.predictions import evaluate_predictions as evaluate_predictions
    from yoso_cli.api.predictions import evaluate_videos as evaluate_videos
    from yoso_cli.api.predictor import EngineOptions as EngineOptions
    from yoso_cli.api.reparam import Reparameterized as Reparameterized
    from yoso_cli.api.reparam import reparameterize as reparameterize
    from yoso_cli.api.reshape import merge_datasets as merge_datasets
    from yoso_cli.api.reshape import remap_dataset as remap_dataset
    from yoso_cli.api.reshape import split_dataset as split_dataset
    from yoso_cli.api.reshape import subset_dataset as subset_dataset
    from yoso_cli.api.result import Instances as Instances
    from yoso_cli.api.result import Result as Result
    from yoso_cli.api.train import resume as resume
    from yoso_cli.api.train import train as train
    from yoso_cli.api.training_run import Run as Run
    from yoso_cli.api.video import VideoResult as VideoResult
    from yoso_cli.errors import DataError as DataError
    from yoso_cli.errors import RecipeError as RecipeError
    from yoso_cli.errors import RunError as RunError
    from yoso_cli.errors import UsageError as UsageError
    from yoso_cli.errors import YosoError as YosoError
    from yoso_cli.evaluation.report import Report as Report
    from yoso_cli.inference.predict import Predictor as Predictor
    from yoso_cli.media.inputs import find_inputs as find_inputs
    from yoso_cli.model.yoso import YOSO as YOSO
    from yoso_cli.panoptic.types import Category as Category
    from yoso_cli.panoptic.types import Panoptic as Panoptic
    from yoso_cli.panoptic.types import Segment as Segment
    from yoso_cli.recipe.schema import Recipe as Recipe

_NAMES = {
    "api.benchmark": ("Benchmark", "benchmark"),
    "api.compare": ("compare",),
    "api.datasets": ("check", "convert", "prepare", "prepare_shapes", "stats"),
    "api.evaluate": ("evaluate",),
    "api.export": ("Exported", "export_model"),
    "api.metric": ("PanopticMetric", "panoptic_quality"),
    "api.new_recipe": ("dataset_size", "new_recipe"),
    "api.predict": ("Model", "load"),
    "api.predict_files": ("predict_files",),
    "api.predictions": ("evaluate_predictions", "evaluate_videos"),
    "api.predictor": ("EngineOptions",),
    "api.reparam": ("Reparameterized", "reparameterize"),
    "api.reshape": ("merge_datasets", "remap_dataset", "split_dataset", "subset_dataset"),
    "api.result": ("Instances", "Result"),
    "api.train": ("resume", "train"),
    "api.training_run": ("Run",),
    "api.video": ("VideoResult",),
    "errors": ("DataError", "RecipeError", "RunError", "UsageError", "YosoError"),
    "evaluation.report": ("Report",),
    "inference.predict": ("Predictor",),
    "media.inputs": ("find_inputs",),
    "model.yoso": ("YOSO",),
    "panoptic.types": ("Category", "Panoptic", "Segment"),
    "recipe.schema": ("Recipe",),
}
_HOMES = {name: f"yoso_cli.{module}" for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        return version("yoso-cli")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names."""
    return sorted(_HOMES)

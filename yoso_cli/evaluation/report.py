"""The report of an evaluation: its figures and everything needed to reproduce them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from yoso_cli import atomic
from yoso_cli.errors import DataError
from yoso_cli.evaluation.measures import DETAILS, REPORTED, Measures
from yoso_cli.evaluation.per_image import ImageTallies, Measured
from yoso_cli.evaluation.quality import PanopticQuality
from yoso_cli.panoptic.annotations import categories_from_json
from yoso_cli.runtime.checksum import is_damaged, with_checksum
from yoso_cli.runtime.json_text import read_json

FORMAT = "yoso-report"
VERSION = 1
"""Rises when a key of the file changes its meaning or goes away."""

# Two reports are of the same evaluation if these agree.
_SAID_BY_THE_FIGURES = ("version", "dataset", "split", "weights", "settings", "quality", "per_image")

# What a command prints has this key besides: see `commands.console.result`.
_FRAME = "schema"

# A comma may follow.
_LINE = 119


@dataclass(frozen=True)
class PaperRow:
    """The published figures, in percent; None where there is none."""

    table: str = ""
    pq: float | None = None
    pq_things: float | None = None
    pq_stuff: float | None = None


@dataclass(frozen=True)
class WeightsFile:
    """The evaluated weights, identified by their hash."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "WeightsFile":
        """The file at `path`. Raises DataError when it cannot be read."""
        import hashlib

        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
        return cls(str(path), digest.hexdigest())


@dataclass(frozen=True)
class InferenceSettings:
    """Inference settings.

    Attributes:
        short_edge: of the picture as the network saw it, pixels.
        long_edge: the most it might have, pixels.
        score_threshold: 0..1.
        overlap_threshold: 0..1.
        device: where the network ran.
        views: of each picture; more than the plain one are test-time augmentation.
        merge: how masks became segments, `exact` or `fast`.
        switches: inference options in use, as text; empty if unknown.
    """

    short_edge: int
    long_edge: int
    score_threshold: float
    overlap_threshold: float
    device: str
    views: tuple[str, ...] = ("plain",)
    merge: str = "exact"
    switches: str = ""


@dataclass(frozen=True)
class ExactMerge:
    """PQ of the exact merge of the same network outputs, in percent, to compare the fast merge with."""

    pq: float | None
    pq_things: float | None
    pq_stuff: float | None

    @classmethod
    def of(cls, quality: PanopticQuality) -> "ExactMerge":
        """Of what was scored with the exact merge."""
        groups = (quality.all, quality.things, quality.stuff)
        return cls(*(None if group.pq is None else 100 * group.pq for group in groups))


@dataclass(frozen=True)
class Report:
    """One evaluation.

    Attributes:
        measures: the figures, with details.
        dataset: its name.
        split: of the dataset; empty where a bare JSON was given.
        images: how many pictures.
        truth: the folder of the truth's PNGs.
        predictions: the folder of the predictions' PNGs; empty where they came straight from a model.
        recipe: its name; empty where predictions came from files, and so are the next three.
        weights: the file.
        settings: of inference.
        exact_merge: PQ of the exact merge, if the fast one was used.
        paper: the published figures of the recipe.
        versions: of the packages involved.
        machine: description of the machine.
        command: the command line.
        remarks: what is odd about the files, and does not change what is measured.
    """

    measures: Measures
    dataset: str
    split: str
    images: int
    truth: str = ""
    predictions: str = ""
    recipe: str = ""
    weights: WeightsFile | None = None
    settings: InferenceSettings | None = None
    exact_merge: ExactMerge | None = None
    paper: PaperRow | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str | int] = field(default_factory=dict)
    command: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def quality(self) -> PanopticQuality:
        """The score."""
        return self.measures.quality

    def measured(self, name: str) -> Measured:
        """This evaluation as one side of a comparison, which calls it `name`."""
        return Measured(name, _place(self.dataset, self.split), self.measures.categories, self.measures.tallies)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON behind a checksum; figures in percent, unrounded, null where there is none."""
        measured = self.measures.to_dict()
        # The longest is last.
        per_image = measured.pop("per_image")
        told: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "dataset": self.dataset,
            "split": self.split,
            "images": self.images,
            **measured,
            "truth": self.truth,
            "predictions": self.predictions or None,
            "recipe": self.recipe or None,
        }
        for name in ("weights", "settings", "exact_merge", "paper"):
            value = getattr(self, name)
            # JSON has no tuples: as lists, written and read values are equal.
            told[name] = None if value is None else json.loads(json.dumps(asdict(value)))
        told |= {"versions": dict(self.versions), "machine": dict(self.machine), "command": self.command or None}
        told["remarks"] = list(self.remarks)
        return with_checksum({**told, "per_image": per_image})


def write_report(path: Path, report: Report) -> None:
    """Writes `report` as JSON to `path` in one step. Raises RunError when it cannot be written."""
    atomic.write_text(path, readable_json(report.to_dict()) + "\n")


def further_measures(path: Path, report: Report) -> tuple[str, ...]:
    """The additional metrics of the report file at `path`, if it is otherwise equal to `report`; by key.

    Such a file need not be written again, and what took long to measure would be lost by it.
    """
    try:
        kept = read_json(path)
    except DataError:
        return ()
    if is_damaged(kept, _FRAME):
        return ()
    told = json.loads(json.dumps(report.to_dict()))
    keys = {name for name, metric in REPORTED.items() if metric.asked != DETAILS}
    same = all(kept.get(key) == told[key] for key in _SAID_BY_THE_FIGURES)
    lacking = [key for key in told if key in keys and kept.get(key) is None and told[key] is not None]
    further = [key for key in told if key in keys and told[key] is None and kept.get(key) is not None]
    return tuple(further) if same and not lacking else ()


def read_measured(path: Path) -> Measured:
    """One side of a comparison from a report file.

    Raises:
        DataError: it is no report, or one of a version that kept no figures of single images.
    """
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise DataError(f"{path}: is not a report of `yoso eval`.", hint="To compare predictions, add --truth PATH.")
    if content.get("version") != VERSION or "per_image" not in content:
        raise DataError(f"{path}: was made by another version of yoso.", hint="Evaluate again.")
    if is_damaged(content, _FRAME):
        raise DataError(f"{path}: is damaged or was edited: its checksum differs.", hint="Evaluate again.")
    try:
        categories = categories_from_json(content["quality"]["classes"])
        tallies = ImageTallies.from_list(content["per_image"], categories)
    except (KeyError, TypeError):
        raise DataError(f"{path}: is damaged.", hint="Evaluate again.") from None
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint) from None
    return Measured(str(path), _place(content.get("dataset"), content.get("split")), categories, tallies)


def _place(dataset: object, split: object) -> str:
    return f"{dataset or ''} {split or ''}".strip()


def readable_json(value: Any, indent: str = "", key: str = "") -> str:
    """JSON with each value on one line where it fits into 120 columns behind its `key`."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(key) + len(line) <= _LINE or not isinstance(value, (dict, list)) or not value:
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        keyed = ((f"{json.dumps(name, ensure_ascii=False)}: ", item) for name, item in value.items())
        parts = [name + readable_json(item, deeper, name) for name, item in keyed]
    else:
        parts = [readable_json(item, deeper) for item in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n{deeper}" + f",\n{deeper}".join(parts) + f"\n{indent}{end}"

"""Latency benchmarks: one model, two variants side by side, or the paper's efficiency tables."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.api.dataset import first_pictures, prepared_set
from yoso_cli.api.evaluate import evaluate_predictor
from yoso_cli.api.predictor import AS_MEASURED, OLD_PRECISIONS, EngineOptions, described, make_predictor, reason
from yoso_cli.api.weights import ModelFile, Named, fastest_weights, read_model, trained_weights
from yoso_cli.atomic import write_json
from yoso_cli.errors import RunError, UsageError
from yoso_cli.panoptic.photos import read_image
from yoso_cli.runtime import machine
from yoso_cli.runtime.machine import choose_device
from yoso_cli.runtime.progress import SILENT, Progress
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.inference.cost import Cost
    from yoso_cli.inference.latency import Latency, Ratio
    from yoso_cli.inference.paper import Row
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.model.yoso import YOSO

PICTURES = 8
"""Pictures of the validation split that are timed by default."""

VARIANT_WORDS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "float32"},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "channels_last": {"channels_last": True},
    "channels_first": {"channels_last": False},
    "compiled": {"compiled": True},
    "graphs": {"graphs": True},
    "fused": {"fused": True},
    "unfused": {"fused": False},
    "winograd": {"winograd": True},
    "direct": {"winograd": False},
    "fast_merge": {"fast_merge": True},
}
"""Words of a variant, and the options that each one sets."""

TRAINED = "trained"
"""The word for weights before any fold."""

# The paper's networks take seconds each on a CPU.
_MOST_REPEATS = 20


@dataclass(frozen=True)
class Clocking:
    """Number of timed and untimed runs.

    Attributes:
        repeats: pictures timed.
        warmup: untimed pictures before those.
    """

    repeats: int = 50
    warmup: int = 5

    def shown(self, named: str, predictor: "Predictor") -> str:
        """The message at the start."""
        pictures = f"{counted(self.warmup, 'picture')} to warm up, {self.repeats} timed"
        return f"Timing {named} on {described(predictor)}: {pictures}."


@dataclass(frozen=True)
class Speed:
    """The two latencies of a model at batch 1.

    Attributes:
        forward: the network alone.
        end_to_end: from file to segments.
    """

    forward: "Latency"
    end_to_end: "Latency"


@dataclass(frozen=True)
class Benchmark:
    """The measurements of one model.

    Attributes:
        weights: the file.
        steps: folds of re-parameterised weights.
        switches: inference options in use.
        reason: why these options, a sentence.
        environment: device, threads, sizes and versions.
        speed: both latencies at batch 1.
        batches: the network alone at other batch sizes.
        parts: mean ms of each stage from file to segments.
        cost: operations and parameters on the first picture.
        peak_memory: bytes, after everything above.
        pq: of the exact and of the fast merge, in percent, if the latter is in use.
    """

    weights: Path
    steps: tuple[str, ...]
    switches: dict[str, Any]
    reason: str
    environment: dict[str, Any]
    speed: Speed
    batches: "tuple[Latency, ...]"
    parts: dict[str, float]
    cost: "Cost"
    peak_memory: int
    pq: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "weights": str(self.weights),
            "steps": list(self.steps),
            "switches": self.switches,
            "reason": self.reason,
            **self.environment,
            "batch": 1,
            "forward": latency_to_dict(self.speed.forward),
            "end_to_end": latency_to_dict(self.speed.end_to_end),
            "forward_batches": [latency_to_dict(one) for one in self.batches],
            "parts_ms": {**self.parts, "sum": sum(self.parts.values())},
            **asdict(self.cost),
            "peak_memory_bytes": self.peak_memory,
            "pq": self.pq,
        }


def benchmark(
    source: Named = None,
    *,
    pictures: Sequence[str | Path] = (),
    repeats: int = 50,
    warmup: int = 5,
    batches: Sequence[int] = (),
    device: str = "auto",
    options: EngineOptions = AS_MEASURED,
    overrides: Sequence[str] = (),
    runs: str | Path = "runs",
    progress: Progress = SILENT,
) -> Benchmark:
    """Measures the latency of a model on this machine; of a run, its re-parameterised weights if there are any.

    Args:
        source: the weights (see `api.weights.Named`).
        pictures: to time on; by default the first of the validation split.
        repeats: pictures timed, for each figure; seconds each for a large network on a CPU.
        warmup: pictures before the clock starts.
        batches: further batch sizes for the network alone.
        device: auto, cpu, cuda or cuda:N.
        options: inference options.
        overrides: changes of recipe values, as `inference.short_edge=512`.
        runs: the folder of all runs.
        progress: shows messages.

    Raises:
        DataError: a picture or the weights are missing or damaged, or the dataset is not prepared.
        RunError: no such device, or the device does not support an option.
        UsageError: the fast merge is requested for pictures without truth.
    """
    from yoso_cli.inference import cost, latency

    clocking = Clocking(repeats, warmup)
    model = read_model(fastest_weights(source, Path(runs), progress), overrides, progress)
    predictor = model.predictor(device, options)
    paths = [Path(one) for one in pictures] or first_pictures(model.recipe, PICTURES)
    progress.message(clocking.shown(str(model.path), predictor))
    progress.message(reason(predictor))
    timed = asdict(clocking)
    speed = time_model(model, predictor, paths, clocking, progress)
    batched = tuple(latency.measure_forward(predictor, paths[:1], **timed, batch=size) for size in batches)
    parts = latency.measure_parts(predictor, paths, **timed)
    operations = cost.count(_network(model, predictor), predictor.prepare(read_image(paths[0])).images)
    peak_memory = latency.peak_memory(predictor.device)
    pq = _pq_of_merges(model, predictor, bool(pictures), progress) if options.fast_merge else {}
    return Benchmark(
        model.path,
        model.weights.steps,
        switches_to_dict(predictor),
        reason(predictor),
        _environment(predictor, paths, clocking),
        speed,
        batched,
        parts,
        operations,
        peak_memory,
        pq,
    )


def time_model(
    model: ModelFile, predictor: "Predictor", paths: Sequence[Path], clocking: Clocking, progress: Progress = SILENT
) -> Speed:
    """Both latencies over `paths`, which are repeated as needed; of a run's weights they are kept in its folder.

    Not kept: with other settings than the run's own, in 16 bits or with the fast merge, which have another PQ.

    Raises:
        DataError: a picture is unreadable.
    """
    from yoso_cli.inference.latency import measure_end_to_end, measure_forward

    timed = asdict(clocking)
    both = measure_forward(predictor, list(paths), **timed), measure_end_to_end(predictor, list(paths), **timed)
    own = predictor.merge_rule == "exact" and predictor.engine.precision == "float32" and not model.overrides
    path = model.run.latency_of(model.path) if model.run and own else None
    if path:
        facts = {
            "device": _device_name(predictor),
            "switches": switches_to_dict(predictor),
            "forward": latency_to_dict(both[0]),
            "end_to_end": latency_to_dict(both[1]),
        }
        try:
            write_json(path, facts, indent=2)
        except RunError as error:
            progress.message(f"The latency is not kept. {error}")
    return Speed(*both)


@dataclass(frozen=True)
class Variant:
    """One side of a comparison, `SOURCE,WORD,...`.

    Attributes:
        named: as it was typed.
        source: of the weights; None is the newest run.
        folds: folds to apply to the trained weights; None uses the re-parameterised weights if there are any.
        options: inference options.
    """

    named: str
    source: str | None
    folds: tuple[str, ...] | None
    options: EngineOptions

    @classmethod
    def read(cls, named: str, options: EngineOptions) -> "Variant":
        """Parses `SOURCE,WORD,...` or `WORD,...`.

        Raises:
            UsageError: a word is unknown.
        """
        from yoso_cli.model.reparam import STEPS

        known = {TRAINED, *VARIANT_WORDS, *STEPS}
        first, *words = [OLD_PRECISIONS.get(word.strip(), word.strip()) for word in named.split(",")]
        source = None if first in known else first
        words = words if source is not None else [first, *words]
        for word in words:
            if word not in known:
                raise UsageError(
                    f"--compare {named}: {word or 'an empty word'} is neither a switch nor a fold.",
                    hint=f"There are {', '.join((TRAINED, *VARIANT_WORDS, *STEPS))}.",
                )
            options = replace(options, **VARIANT_WORDS.get(word, {}))
        folds = tuple(step for step in STEPS if step in words)
        return cls(named, source, folds if folds or TRAINED in words else None, options)

    def model(self, runs: Path, overrides: Sequence[str], progress: Progress) -> ModelFile:
        """The weights.

        Raises:
            UsageError: folds are requested for weights that are folded already.
            DataError: the weights are missing or damaged.
        """
        if self.folds is None:
            return read_model(fastest_weights(self.source, runs, progress), overrides, progress)
        found = read_model(trained_weights(self.source, runs, progress), overrides, progress)
        found.require_weights()
        if found.weights.steps:
            raise UsageError(
                f"{found.path}: is folded already ({', '.join(found.weights.steps)}).",
                hint="Name the weights.safetensors of a checkpoint.",
            )
        return found

    def predictor(self, model: ModelFile, device: str) -> "Predictor":
        """The predictor of this side. Raises RunError if the device does not support an option."""
        from yoso_cli.model.reparam import reparameterise

        if self.folds is None:
            return model.predictor(device, self.options)
        network, where = reparameterise(model.network(), self.folds), choose_device(device)
        return make_predictor(network, model.weights.categories, model.recipe, where, options=self.options)


@dataclass(frozen=True)
class Versus:
    """Two variants that were timed alternately.

    Attributes:
        sides: name, weights, folds and switches of each, as plain values.
        models: the weights of each.
        environment: device, threads, sizes and versions.
        ratios: latency of A over that of B, `forward` and `end_to_end`.
    """

    sides: tuple[dict[str, Any], ...]
    models: tuple[ModelFile, ...]
    environment: dict[str, Any]
    ratios: "dict[str, Ratio]"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        a_over_b = {
            name: {
                "ratio": ratio.median,
                "p10": ratio.low,
                "p90": ratio.high,
                "a": latency_to_dict(ratio.first),
                "b": latency_to_dict(ratio.second),
            }
            for name, ratio in self.ratios.items()
        }
        return {"a": self.sides[0], "b": self.sides[1], **self.environment, "a_over_b": a_over_b}


def benchmark_pair(
    first: Variant,
    second: Variant,
    *,
    pictures: Sequence[Path] = (),
    clocking: Clocking | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    runs: Path = Path("runs"),
    progress: Progress = SILENT,
) -> Versus:
    """Times two variants alternately. Arguments are those of `benchmark`."""
    from yoso_cli.inference import latency

    clocking = clocking or Clocking()
    both = (first, second)
    models = tuple(side.model(runs, overrides, progress) for side in both)
    a, b = (side.predictor(model, device) for side, model in zip(both, models, strict=True))
    paths = list(pictures) or first_pictures(models[0].recipe, PICTURES)
    progress.message(clocking.shown(f"A, {first.named},", a))
    progress.message(clocking.shown(f"B, {second.named},", b))
    ways = {"forward": latency.forward_of, "end_to_end": latency.end_to_end_of}
    timed = asdict(clocking)
    ratios = {name: latency.compare(way(a, paths), way(b, paths), a.device, **timed) for name, way in ways.items()}
    sides = tuple(
        {
            "named": side.named,
            "weights": str(model.path),
            "steps": list(model.weights.steps if side.folds is None else side.folds),
            "switches": switches_to_dict(predictor),
        }
        for side, model, predictor in zip(both, models, (a, b), strict=True)
    )
    return Versus(sides, models, _environment(a, paths, clocking), ratios)


@dataclass(frozen=True)
class PaperTables:
    """The paper's efficiency tables: measured here, beside the published figures.

    Attributes:
        rows: of all tables.
        notes: what is not as in the paper, sentences.
        figures: pictures of Figs. 4 and 5 that were drawn.
        environment: what every figure depends on.
    """

    rows: "list[Row]"
    notes: Sequence[str]
    figures: tuple[Path, ...]
    environment: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "notes": self.notes,
            "figures": [str(path) for path in self.figures],
            **self.environment,
        }


def benchmark_paper(
    *,
    device: str = "auto",
    tables: Sequence[str] = (),
    repeats: int = _MOST_REPEATS,
    output: Path | None = None,
    progress: Progress = SILENT,
) -> PaperTables:
    """Times the modules and networks of the paper's Tables 5-10 with random weights.

    Args:
        device: auto, cpu, cuda or cuda:N.
        tables: some of 5..10; none means all.
        repeats: calls of each, 20 at most.
        output: the folder to draw Figs. 4 and 5 into, if they are wanted.
        progress: hears what is timed.

    Raises:
        RunError: no such device, or the folder cannot be written.
    """
    import torch

    from yoso_cli.inference import paper
    from yoso_cli.inference.paper_figures import draw_figures

    where = choose_device(device)
    drawn = draw_figures(output) if output else []
    chosen = tuple(table for table in paper.NETWORKS if not tables or table in tables)
    repeats = min(repeats, _MOST_REPEATS)
    rows = paper.measure(where, repeats=repeats, tell=progress.message, tables=chosen)
    environment = {
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "repeats": repeats,
        "machine": machine.describe(),
        "versions": machine.versions(machine.MODEL_PACKAGES),
    }
    return PaperTables(rows, paper.NOTES, tuple(drawn), environment)


def latency_to_dict(latency: "Latency") -> dict[str, float]:
    """Plain values for JSON."""
    return {
        "median_ms": latency.median,
        "p90_ms": latency.p90,
        "p99_ms": latency.p99,
        "fps": latency.fps,
        "pictures": latency.count,
        "batch": latency.batch,
    }


def switches_to_dict(predictor: "Predictor") -> dict[str, Any]:
    """The inference options in use, as plain values."""
    return {**predictor.engine.facts(), "merge": predictor.merge_rule}


def _network(model: ModelFile, predictor: "Predictor") -> "YOSO":
    """The network that runs; of an exported file one of the same shape, whose operations can be counted."""
    from yoso_cli.model.reparam import reparameterise

    return reparameterise(model.plain(), model.weights.steps) if model.exported else predictor.model


def _environment(predictor: "Predictor", paths: Sequence[Path], clocking: Clocking) -> dict[str, Any]:
    import torch

    return {
        "device": _device_name(predictor),
        "threads": torch.get_num_threads(),
        "short_edge": predictor.short_edge,
        "long_edge": predictor.long_edge,
        "warmup": clocking.warmup,
        "clock": "perf_counter, the device waited for before and after",
        "files": [str(path) for path in paths],
        "versions": machine.versions(machine.MODEL_PACKAGES),
        "machine": machine.describe(),
    }


def _device_name(predictor: "Predictor") -> str:
    import torch

    return torch.cuda.get_device_name(predictor.device) if predictor.device.type == "cuda" else "cpu"


def _pq_of_merges(model: ModelFile, predictor: "Predictor", named: bool, progress: Progress) -> dict[str, float | None]:
    """PQ on the validation split with both merges. Raises UsageError for pictures without truth."""
    if named:
        raise UsageError("--fast-merge measures PQ, for which --image has no truth.", hint="Leave --image out.")
    truth = prepared_set(model.recipe, model.recipe.data.val_split)
    report = evaluate_predictor(predictor, truth, model.recipe, model.path, progress=progress)
    exact = report.exact_merge
    assert exact is not None, "the fast merge was chosen"
    fast = report.quality.all.pq
    return {"exact": exact.pq, "fast": None if fast is None else 100 * fast}

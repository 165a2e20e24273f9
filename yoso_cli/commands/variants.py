"""`yoso bench --compare`: two variants in turn, each with its weights, the folds applied to them, and how they run."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.commands import console, timing, wiring
from yoso_cli.commands.running import OLD_PRECISIONS, Running
from yoso_cli.errors import UsageError
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.commands.source import Source
    from yoso_cli.inference.latency import Ratio
    from yoso_cli.inference.predict import Predictor

# Words after the weights, and what each changes of the switches that both sides share.
SWITCHES: dict[str, dict[str, Any]] = {
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
# Weights before any fold.
TRAINED = "trained"


@dataclass(frozen=True)
class Variant:
    """What `SOURCE,WORD,...` names.

    Attributes:
        named: as it was typed.
        source: of the weights; None is the newest run.
        steps: folds to apply to the weights as trained; None takes the fastest weights that are there.
        running: how they run.
    """

    named: str
    source: str | None
    steps: tuple[str, ...] | None
    running: Running

    @classmethod
    def read(cls, named: str, running: Running) -> "Variant":
        """Reads `SOURCE,WORD,...`; without a SOURCE its first word is a WORD.

        Raises:
            UsageError: a word is unknown.
        """
        from yoso_cli.model.reparam import STEPS

        known = {TRAINED, *SWITCHES, *STEPS}
        first, *words = [OLD_PRECISIONS.get(word.strip(), word.strip()) for word in named.split(",")]
        source = None if first in known else first
        words = words if source is not None else [first, *words]
        for word in words:
            if word not in known:
                raise UsageError(
                    f"--compare {named}: {word or 'an empty word'} is neither a switch nor a fold.",
                    hint=f"There are {', '.join((TRAINED, *SWITCHES, *STEPS))}.",
                )
            running = replace(running, **SWITCHES.get(word, {}))
        steps = tuple(step for step in STEPS if step in words)
        return cls(named, source, steps if steps or TRAINED in words else None, running)

    def found(self, runs: Path, overrides: Sequence[str]) -> "Source":
        """The weights.

        Raises:
            UsageError: folds are asked of weights that have been folded.
            DataError: the weights are missing or damaged.
        """
        from yoso_cli.commands.source import fastest_weights, read_source, trained_weights

        if self.steps is None:
            return read_source(fastest_weights(self.source, runs), overrides)
        found = read_source(trained_weights(self.source, runs), overrides)
        if found.weights.steps:
            raise UsageError(
                f"{found.path}: is folded already ({', '.join(found.weights.steps)}).",
                hint="Name the weights.safetensors of a checkpoint.",
            )
        return found

    def predictor(self, found: "Source", device: str) -> "Predictor":
        """The network of these weights as this side has it. Raises RunError when the device cannot do it."""
        from yoso_cli.model.reparam import reparameterise

        model = found.model() if self.steps is None else reparameterise(found.model(), self.steps)
        where = wiring.choose_device(device)
        return wiring.make_predictor(model, found.weights.categories, found.recipe, where, running=self.running)

    def folds(self, found: "Source") -> list[str]:
        """The folds that this side's network has been through."""
        return list(found.weights.steps if self.steps is None else self.steps)


@dataclass(frozen=True)
class Place:
    """Where both sides are found and run.

    Attributes:
        runs: the folder of run folders.
        device: as --device names it.
        overrides: of --set.
        images: the pictures; none for those of A's validation split.
    """

    runs: Path
    device: str
    overrides: tuple[str, ...]
    images: tuple[Path, ...]


def compare(first: Variant, second: Variant, place: Place, clocked: dict[str, int], as_json: bool) -> None:
    """Times two variants in turn, the network alone and the whole way, and prints the ratios with their spread."""
    from yoso_cli.inference import latency

    sources = [side.found(place.runs, place.overrides) for side in (first, second)]
    a, b = (side.predictor(found, place.device) for side, found in zip((first, second), sources, strict=True))
    paths = list(place.images) or timing.pictures(sources[0])
    console.say(timing.told(f"A, {first.named},", a, clocked))
    console.say(timing.told(f"B, {second.named},", b, clocked))
    ways = {"forward": latency.forward_of, "end_to_end": latency.end_to_end_of}
    ratios = {name: latency.compare(way(a, paths), way(b, paths), a.device, **clocked) for name, way in ways.items()}
    where = timing.environment(a, paths, clocked["warmup"])
    sides = [
        {"named": side.named, "weights": str(found.path), "steps": side.folds(found), "switches": timing.switches(one)}
        for side, found, one in zip((first, second), sources, (a, b), strict=True)
    ]
    value = {"a": sides[0], "b": sides[1], **where, "a_over_b": {name: _ratio(one) for name, one in ratios.items()}}
    console.result(value, _comparison(ratios, where), as_json)
    console.next_step(f"yoso bench {shlex.quote(str(sources[1].path))}")


def _ratio(ratio: "Ratio") -> dict[str, Any]:
    return {
        "ratio": ratio.median,
        "p10": ratio.low,
        "p90": ratio.high,
        "a": timing.value_of(ratio.first),
        "b": timing.value_of(ratio.second),
    }


def _comparison(ratios: "dict[str, Ratio]", where: dict[str, Any]) -> str:
    names = {"forward": "network alone", "end_to_end": "file to segments"}
    rows = [
        (f"{side}, {names[name]}", one)
        for name, ratio in ratios.items()
        for side, one in (("A", ratio.first), ("B", ratio.second))
    ]
    told = [
        f"A took {ratio.median:.2f} times as long as B, {names[name]} (p10 {ratio.low:.2f}, p90 {ratio.high:.2f})."
        for name, ratio in ratios.items()
    ]
    timed = next(iter(ratios.values())).first.count
    return "\n".join(
        [timing.table_of(rows), *told, f"In turn, {counted(timed, 'picture')} each, {timing.place(where)}."]
    )

"""The recipe of a run that is not that of its newest checkpoint: what was edited, and what a resumed run can take.

Thresholds that `yoso eval --sweep --save` chose are in the weights alone, and belong to them: the recipe, which a
repeated command line must find as it was, and later checkpoints keep their own.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from yoso_cli.errors import UsageError, YosoError
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder

# A resumed run gives the same curve with any of these; initial weights have had their effect.
_FREE = re.compile(
    r"name|description|data\.(root|val_split)|model\.backbone_weights|(inference|paper)\..*"
    r"|train\.(start|workers|log_every|checkpoint_every|evaluate_every|keep|bad_steps|unreadable)"
)

_THRESHOLDS = ("score_threshold", "overlap_threshold")


def edited(run: RunFolder, recipe: Recipe) -> dict[str, str]:
    """What `recipe`, that of `run` now, says otherwise than the newest checkpoint: key -> `train.batch is 4, not 2`.

    Empty where there is no checkpoint that can be read: resuming says so.
    """
    newest = _newest(run)
    if newest is None:
        return {}
    then, swept = newest
    was, now = (dict(_flat(one.to_dict())) for one in (then, recipe))
    own = _THRESHOLDS if swept else ()
    differing = [key for key in now if now[key] != was.get(key) and key.removeprefix("inference.") not in own]
    return {key: f"{key} is {now[key]}, not {was.get(key)}" for key in differing}


def swept_thresholds(run: RunFolder) -> dict[str, Any]:
    """The thresholds of the newest checkpoint of `run`, by name, if `yoso eval --sweep --save` chose them; or none."""
    newest = _newest(run)
    if newest is None or not newest[1]:
        return {}
    return {name: getattr(newest[0].inference, name) for name in _THRESHOLDS}


def _newest(run: RunFolder) -> tuple[Recipe, bool] | None:
    """The recipe in the newest weights, and whether a sweep chose its thresholds; None if none can be read."""
    from yoso_cli.model.weights import read_header

    try:
        weights = run.weights()
        header = read_header(weights)
        # Of an earlier version it may lack values, which are then the defaults.
        recipe = recipe_file.from_dict(dict(header["recipe"]), str(weights))
    except (YosoError, KeyError, TypeError, ValueError):
        return None
    return recipe, "thresholds" in header.get("provenance", {})


def require_same_curve(run: RunFolder, recipe: Recipe) -> None:
    """Raises UsageError where the recipe was edited so that the resumed run would not go on along the same curve."""
    # More steps change no earlier one, unless the learning rate or the norms depend on their number.
    counted = recipe.train.schedule != "step" or recipe.train.batch_norms_until < 1
    free = set() if counted else {"train.iterations"}
    breaking = [what for key, what in edited(run, recipe).items() if key not in free and not _FREE.fullmatch(key)]
    if breaking:
        again = f"yoso train {shlex.quote(str(run.recipe_path))} --weights {shlex.quote(str(run.path))}"
        raise UsageError(
            f"{run.recipe_path}: was edited after its newest checkpoint: {'; '.join(breaking)}. A resumed run would "
            "not go on along the same curve.",
            hint=f"Put that back, or start a new run from its weights: `{again}`.",
        )


def _flat(plain: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in plain.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", one) for inner, one in value.items())
        else:
            yield key, value

"""The training loop: one page that shows all that happens in an iteration. Its parts come in as arguments."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from yoso_cli.errors import RunError
from yoso_cli.loading.batch import Batch
from yoso_cli.runtime.distributed import ALONE, ProcessGroup
from yoso_cli.training.clock import Clock, Metrics, peak_memory
from yoso_cli.training.step import NotFiniteError
from yoso_cli.training.stopping import Outcome, Stopping

Learn = Callable[[Batch, int, float], Metrics]


@dataclass(frozen=True)
class Hooks:
    """What the loop calls. Iterations are counted as steps done, from 1.

    Attributes:
        begin: before the first step and after what may have left the model in evaluation mode.
        step: after each step, with its figures; one that was left out has no `loss`.
        log: every `log_every` steps and at the last, with the same figures and the speed.
        save: writes a checkpoint of that many steps done.
        evaluate: may leave the model in evaluation mode.
        warn: tells the person of a step that was left out.
    """

    begin: Callable[[], None]
    step: Callable[[Metrics], None]
    log: Callable[[Metrics], None]
    save: Callable[[int], None]
    evaluate: Callable[[int], None]
    warn: Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How long the loop runs and what it does now and then.

    Attributes:
        start: iterations done before.
        stop: iterations of the whole run.
        log_every: steps between calls of `Hooks.log`.
        checkpoint_every: steps between checkpoints.
        evaluate_every: steps between evaluations, each after a checkpoint; 0 for none.
        bad_steps: steps in a row without a finite loss after which training ends.
    """

    start: int
    stop: int
    log_every: int
    checkpoint_every: int
    evaluate_every: int
    bad_steps: int = 3


def train(
    learn: Learn,
    batches: Iterator[Batch],
    learning_rate: Callable[[int], float],
    hooks: Hooks,
    plan: Plan,
    device: torch.device,
    stopping: Stopping,
    group: ProcessGroup = ALONE,
) -> Outcome:
    """Runs iterations `plan.start` to `plan.stop` (excluded) and saves at the end, also at an early one.

    Ctrl-C and SIGTERM let the step end, then save and return; an evaluation, before which all is saved, they end at
    once. A second Ctrl-C stops at once.

    Args:
        learn: one optimizer step, as `step.Step`.
        batches: gives the batch of `plan.start` first.
        learning_rate: of an iteration, counted from 0.
        hooks: what to do besides.
        plan: how long, and how often.
        device: whose memory is told.
        stopping: open, hears the signals.
        group: the processes that train together.

    Raises:
        RunError: `plan.bad_steps` steps in a row were not finite, or memory ran out. Nothing is saved then.
        Stopped: a signal ended an evaluation.
    """
    clock = Clock(plan.start, plan.stop)
    patience = _Patience(plan.bad_steps, hooks)
    hooks.begin()
    for iteration in range(plan.start, plan.stop):
        rate = learning_rate(iteration)
        with clock.waiting():
            batch = next(batches)
        figures = patience.of(partial(learn, batch, iteration, rate), iteration)

        done = iteration + 1
        metrics = {"iteration": done, "lr": rate, **figures, "memory_mib": peak_memory(device)}
        hooks.step(metrics)
        if done % plan.log_every == 0 or done == plan.stop:
            hooks.log({**metrics, **clock.read(done)})
        evaluating = bool(plan.evaluate_every) and done % plan.evaluate_every == 0 and done < plan.stop
        wished = _agreed(stopping, group)
        if done % plan.checkpoint_every == 0 or done == plan.stop or evaluating or wished:
            hooks.save(done)
        if wished:
            return wished
        if evaluating:
            with clock.stopped(), stopping.at_once():
                hooks.evaluate(done)
            hooks.begin()
    return Outcome.FINISHED


def _agreed(stopping: Stopping, group: ProcessGroup) -> Outcome | None:
    """A signal reaches processes at different moments: they end after the same step all the same."""
    return next((wish for wish in group.all_gather(stopping.outcome) if wish), None)


class _Patience:
    """Lets steps pass that are left out, but not many in a row."""

    def __init__(self, most: int, hooks: Hooks) -> None:
        self._most = most
        self._hooks = hooks
        self._garbage: list[NotFiniteError] = []

    def of(self, step: Callable[[], Metrics], iteration: int) -> Metrics:
        """The figures of a step; none where it was left out."""
        try:
            figures = step()
        except NotFiniteError as error:
            self._garbage.append(error)
            where = f"Step {iteration + 1}, pictures {_listed(error.image_ids)}"
            self._hooks.warn(f"{where}: {error.what}. The step is left out.")
            if len(self._garbage) == self._most:
                raise _diverged(iteration, self._garbage) from error
            self._hooks.begin()
            return {}
        self._garbage = []
        return figures


def _diverged(iteration: int, garbage: list[NotFiniteError]) -> RunError:
    ids = list(dict.fromkeys(image_id for error in garbage for image_id in error.image_ids))
    steps = f"Step {iteration + 1} and {len(garbage) - 1} before it" if len(garbage) > 1 else f"Step {iteration + 1}"
    return RunError(
        f"{steps}, pictures {_listed(ids)}: {garbage[-1].what}. Training has diverged.",
        hint="The checkpoints before are untouched. Lower train.lr, or look at the pictures.",
    )


def _listed(image_ids: list[int | str]) -> str:
    return ", ".join(map(str, image_ids))

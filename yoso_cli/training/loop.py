"""The training loop."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from yoso_cli.errors import StepError
from yoso_cli.loading.batch import Batch
from yoso_cli.runtime.distributed import ALONE, ProcessGroup
from yoso_cli.runtime.stopping import Outcome, Stopped, Stopping
from yoso_cli.training.clock import Clock, Metrics, peak_memory
from yoso_cli.training.step import NotFiniteError

Learn = Callable[[Batch, int, float], Metrics]


@dataclass(frozen=True)
class Hooks:
    """Callbacks of the loop. Iterations are counted as steps done, from 1.

    Attributes:
        begin: before the first step and after each evaluation; sets training mode.
        step: after each step, with its metrics; a skipped step has no `loss`.
        log: every `log_every` steps and at the last, with the same metrics and the speed.
        save: writes a checkpoint after that many steps.
        evaluate: may leave the model in evaluation mode.
        warn: reports a skipped step.
    """

    begin: Callable[[], None]
    step: Callable[[Metrics], None]
    log: Callable[[Metrics], None]
    save: Callable[[int], None]
    evaluate: Callable[[int], None]
    warn: Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """Length of the loop and the intervals of its callbacks.

    Attributes:
        start: iterations done before.
        stop: iterations of the whole run.
        log_every: steps between calls of `Hooks.log`.
        checkpoint_every: steps between checkpoints.
        evaluate_every: steps between evaluations, each after a checkpoint; 0 for none.
        bad_steps: consecutive skipped steps after which training ends as diverged.
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
    """Runs iterations `plan.start` to `plan.stop` (excluded) and saves a checkpoint at the end, even after a signal.

    After Ctrl-C or SIGTERM the step is finished, a checkpoint saved, and the loop returns. An evaluation is aborted, as
    its checkpoint is saved already. A second Ctrl-C raises KeyboardInterrupt.

    Args:
        learn: one optimizer step, as `step.Step`.
        batches: starts with the batch of `plan.start`.
        learning_rate: of an iteration, counted from 0.
        hooks: the callbacks.
        plan: length and intervals.
        device: its peak memory is logged.
        stopping: open; receives the signals.
        group: the processes that train together.

    Raises:
        StepError: `plan.bad_steps` consecutive steps were not finite, or out of memory. Nothing is saved then.
        Stopped: a signal aborted an evaluation.
    """
    clock = Clock(plan.start, plan.stop)
    guard = _DivergenceGuard(plan.bad_steps, hooks)
    hooks.begin()
    for iteration in range(plan.start, plan.stop):
        rate = learning_rate(iteration)
        try:
            with clock.waiting():
                batch = _awaited(batches, stopping, group)
        except Stopped:
            if iteration > plan.start:
                hooks.save(iteration)
            return stopping.outcome or Outcome.FINISHED
        figures = guard.run(partial(learn, batch, iteration, rate), iteration)

        done = iteration + 1
        metrics = {"iteration": done, "lr": rate, **figures, "memory_mib": peak_memory(device)}
        hooks.step(metrics)
        if done % plan.log_every == 0 or done == plan.stop:
            hooks.log({**metrics, **clock.read(done)})
        evaluating = bool(plan.evaluate_every) and done % plan.evaluate_every == 0 and done < plan.stop
        requested = _stop_requested(stopping, group)
        if done % plan.checkpoint_every == 0 or done == plan.stop or evaluating or requested:
            hooks.save(done)
        if requested:
            return requested
        if evaluating:
            with clock.paused(), stopping.interruptible():
                hooks.evaluate(done)
            hooks.begin()
    return Outcome.FINISHED


def _awaited(batches: Iterator[Batch], stopping: Stopping, group: ProcessGroup) -> Batch:
    """The next batch. A signal ends the wait, unless others would wait for this process's part of the step.

    Raises:
        Stopped: a signal came.
    """
    if group.size > 1:
        return next(batches)
    with stopping.interruptible():
        return next(batches)


def _stop_requested(stopping: Stopping, group: ProcessGroup) -> Outcome | None:
    """A signal reaches processes at different moments; all stop after the same step."""
    return next((outcome for outcome in group.all_gather(stopping.outcome) if outcome), None)


class _DivergenceGuard:
    """Tolerates single steps that are not finite; raises StepError after `most` consecutive ones."""

    def __init__(self, most: int, hooks: Hooks) -> None:
        self._most = most
        self._hooks = hooks
        self._failures: list[NotFiniteError] = []

    def run(self, step: Callable[[], Metrics], iteration: int) -> Metrics:
        """The metrics of a step; empty if it was skipped."""
        try:
            figures = step()
        except NotFiniteError as error:
            self._failures.append(error)
            where = f"Step {iteration + 1}, pictures {_listed(error.image_ids)}"
            self._hooks.warn(f"{where}: {error.what}. The step is skipped.")
            if len(self._failures) == self._most:
                raise _diverged(iteration, self._failures) from error
            self._hooks.begin()
            return {}
        self._failures = []
        return figures


def _diverged(iteration: int, failures: list[NotFiniteError]) -> StepError:
    ids = list(dict.fromkeys(image_id for error in failures for image_id in error.image_ids))
    steps = f"Step {iteration + 1} and {len(failures) - 1} before it" if len(failures) > 1 else f"Step {iteration + 1}"
    return StepError(
        f"{steps}, pictures {_listed(ids)}: {failures[-1].what}. Training has diverged.",
        hint="Earlier checkpoints are kept. Lower train.lr, or inspect the pictures.",
    )


def _listed(image_ids: list[int | str]) -> str:
    return ", ".join(map(str, image_ids))

"""The training loop: one page that shows all that happens in an iteration. Its parts come in as arguments."""

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from yoso_cli.errors import RunError
from yoso_cli.loading.batch import Batch
from yoso_cli.loading.dataset import Target
from yoso_cli.model.yoso import Output
from yoso_cli.training.optim import set_rate
from yoso_cli.training.points import Rand, seeded_rand

Criterion = Callable[[Sequence[Output], Sequence[Target], Rand], dict[str, Tensor]]
Metrics = dict[str, float]


class Outcome(Enum):
    """How training ended; the value is the exit code a shell expects."""

    FINISHED = 0
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(frozen=True)
class Hooks:
    """What the loop calls. Iterations are counted as steps done, from 1.

    Attributes:
        step: after each step, with its figures.
        log: every `log_every` steps and at the last, with the same figures and the speed.
        save: writes a checkpoint of that many steps done.
        evaluate: may leave the model in evaluation mode.
    """

    step: Callable[[Metrics], None]
    log: Callable[[Metrics], None]
    save: Callable[[int], None]
    evaluate: Callable[[int], None]


@dataclass(frozen=True)
class Plan:
    """How long the loop runs and what it does now and then.

    Attributes:
        start: iterations done before.
        stop: iterations of the whole run.
        clip: largest gradient norm over the whole model.
        seed: with the iteration, decides the sampled points.
        log_every: steps between calls of `Hooks.log`.
        checkpoint_every: steps between checkpoints.
        evaluate_every: steps between evaluations, each after a checkpoint; 0 for none.
    """

    start: int
    stop: int
    clip: float
    seed: int
    log_every: int
    checkpoint_every: int
    evaluate_every: int


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    criterion: Criterion,
    learning_rate: Callable[[int], float],
    hooks: Hooks,
    plan: Plan,
    device: torch.device,
) -> Outcome:
    """Runs iterations `plan.start` to `plan.stop` (excluded) and saves at the end, also at an early one.

    Ctrl-C and SIGTERM let the step end, then save and return; a second Ctrl-C stops at once.

    Args:
        model: on `device`.
        optimizer: made by `optim.adamw`.
        batches: gives the batch of `plan.start` first.
        criterion: the terms of the loss.
        learning_rate: of an iteration, counted from 0.
        hooks: what to do besides.
        plan: how long, and how often.
        device: where to compute.

    Raises:
        RunError: loss or gradients are not finite, or memory ran out. Nothing is saved then.
    """
    model.train()
    clock = Clock(plan.start, plan.stop)
    with Stopping() as stopping:
        for iteration in range(plan.start, plan.stop):
            rate = learning_rate(iteration)
            set_rate(optimizer, rate)
            with clock.waiting():
                batch = next(batches).to(device)
            with _blaming(iteration, batch):
                outputs = model(batch.images.float())
                terms = criterion(outputs, batch.targets, seeded_rand(plan.seed, iteration, device))
                loss = torch.stack(list(terms.values())).sum()
                optimizer.zero_grad()
                loss.backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
                figures = _finite({"loss": loss, **terms, "grad_norm": norm})
            optimizer.step()

            done = iteration + 1
            metrics = {"iteration": done, "lr": rate, **figures, "memory_mib": peak_memory(device)}
            hooks.step(metrics)
            if done % plan.log_every == 0 or done == plan.stop:
                hooks.log({**metrics, **clock.read(done)})
            evaluating = bool(plan.evaluate_every) and done % plan.evaluate_every == 0 and done < plan.stop
            if done % plan.checkpoint_every == 0 or done == plan.stop or evaluating or stopping.outcome:
                hooks.save(done)
            if stopping.outcome:
                return stopping.outcome
            if evaluating:
                with clock.stopped():
                    hooks.evaluate(done)
                model.train()
    return Outcome.FINISHED


class Stopping:
    """While it is open, Ctrl-C and SIGTERM only leave a wish in `outcome`; a second Ctrl-C is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stopping":
        # Python delivers signals to the main thread alone and lets no other one listen.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._wish)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _wish(self, number: int, _: FrameType | None) -> None:
        if self.outcome and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.outcome = Outcome.INTERRUPTED if number == signal.SIGINT else Outcome.TERMINATED


class Clock:
    """Speed since the last reading, the share of it spent waiting for data, and the time left (seconds)."""

    def __init__(self, start: int, stop: int) -> None:
        self._stop = stop
        self._done = start
        self._since = time.monotonic()
        self._waited = 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as waiting for data."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def read(self, done: int) -> Metrics:
        """`it_per_s`, `data_wait` (0..1) and `eta_s` since the last reading, after `done` steps."""
        elapsed = max(time.monotonic() - self._since, 1e-9)
        speed = (done - self._done) / elapsed
        left = (self._stop - done) / speed if speed else math.inf
        figures = {"it_per_s": speed, "data_wait": self._waited / elapsed, "eta_s": left}
        self._done, self._since, self._waited = done, time.monotonic(), 0.0
        return figures

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Leaves the time inside out of the count: an evaluation is not slow training."""
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began


def peak_memory(device: torch.device) -> float:
    """The most memory taken so far in MiB: on a GPU by tensors, else by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows keeps no such count
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _finite(values: dict[str, Tensor]) -> Metrics:
    """The values on the host, in one transfer: each would be a wait for the GPU of its own."""
    figures = dict(zip(values, torch.stack([value.detach() for value in values.values()]).tolist(), strict=True))
    for name, figure in figures.items():
        if not math.isfinite(figure):
            raise RunError(f"{name} is {figure}.")
    return figures


@contextlib.contextmanager
def _blaming(iteration: int, batch: Batch) -> Iterator[None]:
    """Says in which step and on which pictures it went wrong, and what helps."""
    where = f"Step {iteration + 1}, pictures {', '.join(str(image_id) for image_id in batch.image_ids)}"
    try:
        yield
    except RunError as error:
        raise RunError(
            f"{where}: {error.message}",
            hint="Training diverged; the checkpoints before are untouched. Lower train.lr, or look at the pictures.",
        ) from error
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"{where}: the GPU's memory is not enough.",
            hint="Lower train.batch, augment.crop_height and augment.crop_width, or loss.num_points.",
        ) from error

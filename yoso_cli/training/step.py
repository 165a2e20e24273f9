"""One optimizer step over a batch, with gradient accumulation, mixed precision and clipping."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from yoso_cli.errors import StepError
from yoso_cli.loading.batch import Batch
from yoso_cli.loading.dataset import Target
from yoso_cli.model.precision import PRECISIONS
from yoso_cli.model.yoso import YOSO, Output
from yoso_cli.runtime.distributed import ALONE, ProcessGroup
from yoso_cli.training.clock import Metrics
from yoso_cli.training.ema import MovingAverage
from yoso_cli.training.freezing import keep_statistics
from yoso_cli.training.optim import set_rate
from yoso_cli.training.points import Rand, seeded_rand
from yoso_cli.training.share import Share

Criterion = Callable[[Sequence[Output], Sequence[Target], Rand, Share], dict[str, Tensor]]
Forward = Callable[[Tensor], list[Output]]


class NotFiniteError(Exception):
    """A step was skipped: its loss or gradients are not finite. Weights are unchanged; the model is in evaluation mode.

    Args:
        what: the figure that is not finite, as `loss is nan`.
        image_ids: the pictures that caused it; all of the batch where none does so alone.
    """

    def __init__(self, what: str, image_ids: Sequence[int | str]) -> None:
        super().__init__(what)
        self.what = what
        self.image_ids = list(image_ids)


@dataclass(frozen=True)
class StepConfig:
    """Configuration of a training step.

    Attributes:
        clip: largest gradient norm over the whole model.
        seed: with the iteration, decides the sampled points.
        precision: one of PRECISIONS, for backbone and neck; decoder, matching and losses are always float32.
        micro_batch: pictures per forward and backward pass; gradients are accumulated over the passes.
        channels_last: memory layout of pictures and features.
        norms_fixed_at: iteration from which batch norms keep their statistics.
    """

    clip: float
    seed: int
    precision: str = "float32"
    micro_batch: int = 2**31
    channels_last: bool = False
    norms_fixed_at: int = 2**31


class Step:
    """An optimizer step: forward, loss, backward, clipping, update.

    Args:
        model: on `device`.
        optimizer: made by `optim.adamw`.
        criterion: computes the terms of the loss.
        config: precision, clipping, micro-batch, seed.
        device: the device to compute on.
        forward: the model wrapped in DDP or compiled; the model itself if None.
        average: moving average of the weights, if wanted.
        group: the processes that the batch is divided among; all call at the same time.
    """

    def __init__(
        self,
        model: YOSO,
        optimizer: torch.optim.Optimizer,
        criterion: Criterion,
        config: StepConfig,
        device: torch.device,
        *,
        forward: Forward | None = None,
        average: MovingAverage | None = None,
        group: ProcessGroup = ALONE,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.device = device
        self.average = average
        # float16 gradients underflow below 6e-8: the loss is scaled up, and the gradients down again.
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self._criterion = criterion
        self._config = config
        self._forward = forward or model
        self._group = group
        self._kept = [buffer.clone() for buffer in model.buffers()]
        if config.channels_last:
            model.to(memory_format=torch.channels_last)

    def __call__(self, batch: Batch, iteration: int, rate: float) -> Metrics:
        """Makes one optimizer step.

        Args:
            batch: this process's pictures.
            iteration: counted from 0.
            rate: learning rate.

        Returns:
            `loss`, its terms, and `grad_norm` before clipping, of all processes together.

        Raises:
            NotFiniteError: the loss or the gradients are not finite; the step was skipped, in all processes.
            StepError: out of memory.
        """
        set_rate(self.optimizer, rate)
        if iteration >= self._config.norms_fixed_at:
            keep_statistics(self.model)
        self._keep_buffers()
        try:
            figures = self._accumulate(batch, iteration)
        except torch.OutOfMemoryError as error:
            raise _out_of_memory(iteration, batch) from error
        bad = [name for name, figure in figures.items() if not _finite(figure)]
        overflowed = bad == ["grad_norm"] and self.scaler.is_enabled() and self.scaler.get_scale() > 1
        if bad and not overflowed:
            self._restore_buffers()
            self.optimizer.zero_grad()
            # The scaler expects an update after unscaling. A smaller scale would not make these gradients finite.
            self.scaler.update(self.scaler.get_scale())
            ids = self._group.all_gather(self._not_finite_images(batch, iteration))
            raise NotFiniteError(f"{bad[0]} is {figures[bad[0]]}", [one for own in ids for one in own])
        # After a float16 overflow, the scaler skips this step by itself and lowers its scale.
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update_parameters(self.model)
        return figures

    def _accumulate(self, batch: Batch, iteration: int) -> Metrics:
        """Forward and backward of all micro-batches; then gradients are unscaled and clipped."""
        masks = tuple(n for own in self._group.all_gather([len(t.labels) for t in batch.targets]) for n in own)
        self.optimizer.zero_grad()
        totals: dict[str, Tensor] = {}
        for part, start, last in batch.parts(self._config.micro_batch):
            share = Share(masks, self._group.rank * len(batch.image_ids) + start, len(part.image_ids))
            with self._reduced_if(last):
                terms = self._terms(part.to(self.device), iteration, share)
                loss = torch.stack(list(terms.values())).sum()
                # DDP averages gradients over processes; their sum is wanted.
                self.scaler.scale(loss * self._group.size).backward()
            for name, term in {"loss": loss, **terms}.items():
                totals[name] = totals[name] + term.detach() if name in totals else term.detach()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self._config.clip)
        return self._on_host(totals, norm)

    def _terms(self, part: Batch, iteration: int, share: Share) -> dict[str, Tensor]:
        images = part.images.float()
        if self._config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        precision = PRECISIONS[self._config.precision]
        with torch.autocast(self.device.type, precision, enabled=precision != torch.float32):
            outputs = self._forward(images)
        rand = seeded_rand(self._config.seed, iteration, self.device)
        return self._criterion(outputs, part.targets, rand, share)

    def _reduced_if(self, last: bool) -> Any:
        """Gradients are reduced over the processes only once, in the last pass."""
        waiting = None if last else getattr(self._forward, "no_sync", None)
        return waiting() if waiting else contextlib.nullcontext()

    def _on_host(self, totals: dict[str, Tensor], norm: Tensor) -> Metrics:
        """All figures in one transfer, which synchronises with the GPU once, summed over the processes."""
        rows = self._group.all_gather(torch.stack([*totals.values(), norm]).tolist())
        sums = [sum(column) for column in zip(*rows, strict=True)]
        # The gradients are the same everywhere, and so is their norm.
        return {**dict(zip(totals, sums[:-1], strict=True)), "grad_norm": sums[-1] / len(rows)}

    def _keep_buffers(self) -> None:
        torch._foreach_copy_(self._kept, list(self.model.buffers()))

    def _restore_buffers(self) -> None:
        """Running statistics of batch norms that have seen a value that is not finite would never recover."""
        torch._foreach_copy_(list(self.model.buffers()), self._kept)

    @torch.no_grad()
    def _not_finite_images(self, batch: Batch, iteration: int) -> list[int | str]:
        """The pictures whose own loss is not finite; all of the batch if there is none."""
        self.model.eval()
        found = [part.image_ids[0] for part, _, _ in batch.parts(1) if not self._is_finite_alone(part, iteration)]
        return found or batch.image_ids

    def _is_finite_alone(self, part: Batch, iteration: int) -> bool:
        part = part.to(self.device)
        outputs = self.model(part.images.float())
        rand = seeded_rand(self._config.seed, iteration, self.device)
        terms = self._criterion(outputs, part.targets, rand, Share.whole(part.targets))
        return all(_finite(float(term)) for term in terms.values())


def _finite(figure: float) -> bool:
    return abs(figure) < float("inf")


def _out_of_memory(iteration: int, batch: Batch) -> StepError:
    pictures = ", ".join(str(image_id) for image_id in batch.image_ids)
    return StepError(
        f"Step {iteration + 1}, pictures {pictures}: out of GPU memory.",
        hint="Lower train.micro_batch (same result), the crop size, or loss.num_points.",
    )

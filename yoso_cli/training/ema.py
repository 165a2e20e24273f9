"""An exponential moving average of the weights: often better than the last ones, and never in the way of training."""

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from yoso_cli.model.yoso import YOSO


class MovingAverage(AveragedModel):
    """A second model, `module`, which `update_parameters` moves towards the first.

    Args:
        model: what is averaged.
        decay: share of the average that each step keeps, 0..1; 0.9998 looks back over some 5,000 steps.
    """

    module: YOSO

    def __init__(self, model: YOSO, decay: float) -> None:
        # Buffers, which are the statistics of norms, are no part of the average: they are taken over as they are.
        super().__init__(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=False)
        # Else the first update would take the weights as they are: after a resume, the average of before would be lost.
        self.n_averaged.fill_(1)
        self.module.eval().requires_grad_(False)

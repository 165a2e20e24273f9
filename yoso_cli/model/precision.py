"""Precisions of a network, and operations that must stay in float32."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@contextlib.contextmanager
def full_precision(x: Tensor) -> Iterator[Tensor]:
    """Turns autocast off and gives `x` in float32; where autocast is off already, gives `x` as it is."""
    kind = x.device.type
    # Tensors that are shapes alone (device meta) know no autocast.
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        yield x
        return
    with torch.autocast(kind, enabled=False):
        yield x.float()

"""Parts of the network that must not be reckoned in half precision, also where the rest of it is."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor


@contextlib.contextmanager
def full_precision(x: Tensor) -> Iterator[Tensor]:
    """Gives `x` in float32 while autocast is off; without autocast nothing changes, whatever the type of `x`."""
    kind = x.device.type
    # Tensors that are shapes alone (device meta) know no autocast.
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        yield x
        return
    with torch.autocast(kind, enabled=False):
        yield x.float()

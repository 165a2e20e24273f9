"""A picture on its way into the network: resized on the CPU, carried over as bytes, padded where the network is."""

# B pictures, H W padded size, h w resized size

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from yoso_cli.inference.postprocess import Sizes
from yoso_cli.loading.transforms import fitted, padded, resize_image
from yoso_cli.model.yoso import PIXEL_MEAN, STRIDE
from yoso_cli.panoptic.types import Rgb


class Resized(NamedTuple):
    """A picture at the size at which the network sees it.

    Attributes:
        pixels: (h, w, 3) uint8 in main memory.
        sizes: of the picture.
    """

    pixels: Tensor
    sizes: Sizes


def resized(image: Rgb, *, short_edge: int, long_edge: int) -> Resized:
    """(H, W, 3) uint8 to the size at which the short edge, or else the long one, has so many pixels."""
    original = (image.shape[0], image.shape[1])
    size = fitted(original, short_edge=short_edge, long_edge=long_edge)
    pixels = torch.from_numpy(np.array(resize_image(image, size)))
    return Resized(pixels, Sizes(padded(size, STRIDE), size, original))


class Carrier:
    """Brings resized pictures to a device.

    A value travels as one byte, a quarter of what the network's floats would take. A GPU fetches it by itself from
    page-locked memory, in a stream of its own: beside whatever it computes, and without keeping the caller waiting.

    Args:
        device: where the network is.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._mean = torch.tensor(PIXEL_MEAN, device=device).view(1, 3, 1, 1)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def locked(self, picture: Resized) -> Resized:
        """The picture in memory that the device can read; costs a copy, so it is for the threads that read pictures."""
        return picture if self._stream is None else picture._replace(pixels=picture.pixels.pin_memory())

    def carried(self, pictures: Sequence[Resized]) -> Tensor:
        """Pictures of one padded size to the network's input, (B, 3, H, W) in RGB, 0..255, on the device.

        The padding is the pixel mean, which normalisation turns into zeros.
        """
        (size,) = {picture.sizes.padded for picture in pictures}
        images = self._mean.repeat(len(pictures), 1, *size)
        for image, picture in zip(images, pictures, strict=True):
            height, width = picture.sizes.resized
            image[:, :height, :width] = self._fetched(picture.pixels).permute(2, 0, 1)
        return images

    def _fetched(self, pixels: Tensor) -> Tensor:
        if self._stream is None:
            return pixels
        with torch.cuda.stream(self._stream):
            there = pixels.to(self._device, non_blocking=True)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._stream)
        # It was allocated for the other stream, which must not reuse it before this one has read it.
        there.record_stream(computing)
        return there

"""Colour jitter of SSD (https://arxiv.org/abs/1512.02325, Sec. 2.2), in the ranges that detectron2 took over.

Each of the four changes happens to half of the pictures. All of them are tables of 256 values, so a picture is looked
up and never computed: at 512 x 1024 a third of the time of doing it in floats.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from yoso_cli.loading.augmentation import AugmentedPicture
from yoso_cli.panoptic.types import Rgb

Table = npt.NDArray[np.uint8]

_VALUES = np.arange(256, dtype=np.float64)


@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue, the latter two before or after contrast.

    Attributes:
        brightness: largest amount added, of 255.
        contrast: range of the factor.
        saturation: range of the factor.
        hue: largest turn in degrees of the colour circle.
    """

    brightness: float = 32
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: float = 36

    def __call__(self, picture: AugmentedPicture, random: np.random.Generator) -> AugmentedPicture:
        """Other colours; segments and padding stay."""
        image = picture.image
        if random.random() < 0.5:
            image = _looked_up(image, _VALUES + random.uniform(-self.brightness, self.brightness))
        contrast_first = random.random() < 0.5
        contrast = random.uniform(*self.contrast) if random.random() < 0.5 else 1.0
        saturation = random.uniform(*self.saturation) if random.random() < 0.5 else 1.0
        turn = random.uniform(-self.hue, self.hue) if random.random() < 0.5 else 0.0
        if contrast_first:
            image = _looked_up(image, _VALUES * contrast)
        image = _recoloured(image, saturation, turn)
        if not contrast_first:
            image = _looked_up(image, _VALUES * contrast)
        return picture._replace(image=_with_padding_of(picture, image))


def _looked_up(image: Rgb, values: npt.NDArray[np.float64]) -> Rgb:
    """The picture with each of its values replaced by that of `values`, cut off at 0 and 255."""
    table = _table(values)
    return image if np.array_equal(table, _VALUES) else table[image]


def _recoloured(image: Rgb, saturation: float, turn: float) -> Rgb:
    """Saturation times a factor, hue turned by some degrees."""
    if saturation == 1 and turn == 0:
        return image
    # Pillow's hue goes round once in 256 steps.
    hues = np.mod(_VALUES + round(turn * 256 / 360), 256).astype(np.uint8)
    hue, saturated, value = Image.fromarray(image).convert("HSV").split()
    bands = (hue.point(hues.tolist()), saturated.point(_table(_VALUES * saturation).tolist()), value)
    return np.asarray(Image.merge("HSV", bands).convert("RGB"))


def _table(values: npt.NDArray[np.float64]) -> Table:
    return values.clip(0, 255).astype(np.uint8)


def _with_padding_of(picture: AugmentedPicture, image: Rgb) -> Rgb:
    """Padding is not jittered: its grey stays constant."""
    height, width = picture.extent
    if (height, width) == image.shape[:2]:
        return image
    whole = picture.image.copy()
    whole[:height, :width] = image[:height, :width]
    return whole

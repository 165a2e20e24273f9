"""Pictures to panoptic maps: resize, pad, network, postprocessing."""

# H W picture size

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from yoso_cli.inference.engine import Engine, Switches, default_switches
from yoso_cli.inference.postprocess import Sizes, to_panoptics
from yoso_cli.inference.views import PLAIN, View, combined
from yoso_cli.loading.transforms import fitted, padded, resize_image
from yoso_cli.model.yoso import PIXEL_MEAN, STRIDE, YOSO, Output
from yoso_cli.panoptic.files import read_image
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Rgb
from yoso_cli.stages import stage

READERS = 4
"""Threads that decode and resize pictures: as many as keep up with a fast GPU."""


class Input(NamedTuple):
    """A picture as the network sees it: (1, 3, H', W'), RGB 0..255, on the device; and its sizes."""

    images: Tensor
    sizes: Sizes


class Predictor:
    """A model with all it needs to turn a picture into segments.

    Args:
        model: in evaluation mode afterwards, on `device`.
        categories: in the order of the model's classes.
        short_edge: pixels the short edge is scaled to.
        long_edge: pixels the long edge may not exceed.
        score_threshold: a query must score above it; 0..1.
        overlap_threshold: the share of its mask a query must keep; 0..1.
        device: where the network runs.
        merge: how masks become segments, one of `postprocess.MERGES`.
        looks: the views of each picture, the plain one first; more than that is test-time augmentation.
        switches: how the network runs; left out, what is fastest on the device and leaves the answers.
    """

    def __init__(
        self,
        model: YOSO,
        categories: tuple[Category, ...],
        *,
        short_edge: int,
        long_edge: int,
        score_threshold: float,
        overlap_threshold: float,
        device: torch.device,
        merge: str = "exact",
        looks: tuple[View, ...] = (PLAIN,),
        switches: Switches | None = None,
    ) -> None:
        self.model = model.to(device).eval()
        self.engine = Engine(self.model, device, switches or default_switches(device))
        self.categories = categories
        self.short_edge = short_edge
        self.long_edge = long_edge
        self.score_threshold = score_threshold
        self.overlap_threshold = overlap_threshold
        self.device = device
        self.merge_rule = merge
        self.looks = looks

    def __call__(self, image: Rgb) -> Panoptic:
        """(H, W, 3) uint8 to segments at the same size.

        One picture at a time: padded together, pictures would see each other's padding in their coordinates.
        """
        with torch.inference_mode():
            seen = self.inputs(image)
            return self.merge(self.answer(seen), seen[0].sizes)

    def inputs(self, image: Rgb) -> list[Input]:
        """(H, W, 3) uint8 to the network's input for each view, the plain one first."""
        return [self.prepare(image, look) for look in self.looks]

    def answer(self, inputs: Sequence[Input]) -> Output:
        """What the network, shown each view of one picture, says of the plain one."""
        outputs = [self.engine(one.images) for one in inputs]
        return combined(outputs, [one.sizes for one in inputs], self.looks)

    def prepare(self, image: Rgb, look: View = PLAIN) -> Input:
        """(H, W, 3) uint8 to the network's input for one view.

        The padding is the pixel mean, which normalisation turns into zeros.
        """
        image = image[:, ::-1] if look.flip else image
        original = (image.shape[0], image.shape[1])
        short, long = round(self.short_edge * look.scale), round(self.long_edge * look.scale)
        resized = fitted(original, short_edge=short, long_edge=long)
        sizes = Sizes(padded(resized, STRIDE), resized, original)
        pixels = torch.from_numpy(np.array(resize_image(image, resized))).to(self.device)
        images = torch.tensor(PIXEL_MEAN, device=self.device).view(1, 3, 1, 1).repeat(1, 1, *sizes.padded)
        images[0, :, : resized[0], : resized[1]] = pixels.permute(2, 0, 1)
        return Input(images, sizes)

    def merge(self, output: Output, sizes: Sizes) -> Panoptic:
        """The last stage's output for one picture to its segments."""
        assert output.class_logits is not None, "the last stage classifies"
        return to_panoptics(
            output.mask_logits,
            output.class_logits,
            (sizes,),
            self.categories,
            score_threshold=self.score_threshold,
            overlap_threshold=self.overlap_threshold,
            merge=self.merge_rule,
        )[0]


def predict_set(
    predictor: Predictor, panoptic_set: PanopticSet, *, readers: int = READERS
) -> Iterator[tuple[ImageRecord, Panoptic]]:
    """Each record of the set, in its order, with what the model sees in its picture.

    Three stages at once: pictures are read and resized ahead in threads, the network runs in the calling thread, and
    what it says is merged to segments in one more. On a CPU merging would only take cores away from the network and
    follows it in the same thread. A few pictures are under way at a time, however many the set has.

    Args:
        predictor: the model.
        panoptic_set: the pictures.
        readers: threads that read them.

    Raises:
        DataError: a picture is unreadable.
    """

    def read(record: ImageRecord) -> tuple[ImageRecord, list[Input]]:
        return record, predictor.inputs(read_image(panoptic_set.image_path(record)))

    def merge(one: tuple[ImageRecord, Output, Sizes]) -> tuple[ImageRecord, Panoptic]:
        record, output, sizes = one
        with torch.inference_mode():
            return record, predictor.merge(output, sizes)

    seen = _seen(predictor, stage(read, panoptic_set.records, threads=readers, ahead=2 * readers))
    if predictor.device.type == "cpu":
        return map(merge, seen)
    return stage(merge, seen, threads=1, ahead=2)


def _seen(
    predictor: Predictor, inputs: Iterable[tuple[ImageRecord, list[Input]]]
) -> Iterator[tuple[ImageRecord, Output, Sizes]]:
    """The network's answer to each picture."""
    for record, views in inputs:
        with torch.inference_mode():
            output = predictor.answer(views)
        yield record, output, views[0].sizes

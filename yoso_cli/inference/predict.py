"""Pictures to panoptic maps: resize, pad, network, postprocessing."""

# B pictures, H W picture size

from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from yoso_cli.inference.batching import alike, in_order
from yoso_cli.inference.engine import Engine, Switches, switches_for
from yoso_cli.inference.input import Carrier, Resized, resized
from yoso_cli.inference.postprocess import Sizes, to_panoptics
from yoso_cli.inference.views import PLAIN, View, combined
from yoso_cli.model.yoso import YOSO, Output
from yoso_cli.panoptic.files import read_image
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Rgb
from yoso_cli.runtime.machine import usable_cores
from yoso_cli.runtime.stages import stage

READERS = 4
"""Threads that decode and resize pictures: as many as keep up with a fast GPU."""

# A picture waits for others of its padded size until this many batches have gone by. COCO's pictures come in dozens of
# sizes, of which the most frequent three are half of all.
PATIENCE = 4


class Input(NamedTuple):
    """A picture as the network sees it: (1, 3, H', W'), RGB 0..255, on the device; and its sizes."""

    images: Tensor
    sizes: Sizes


class Answered(NamedTuple):
    """What the network says of B pictures, which had these places in the stream."""

    places: tuple[int, ...]
    records: tuple[ImageRecord, ...]
    output: Output
    sizes: tuple[Sizes, ...]


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
        self.engine = Engine(self.model, device, switches or switches_for(device))
        self._carrier = Carrier(device)
        self.categories = categories
        self.short_edge = short_edge
        self.long_edge = long_edge
        self.score_threshold = score_threshold
        self.overlap_threshold = overlap_threshold
        self.device = device
        self.merge_rule = merge
        self.looks = looks

    def __call__(self, image: Rgb) -> Panoptic:
        """(H, W, 3) uint8 to segments at the same size."""
        with torch.inference_mode():
            views = self.resized(image)
            return self.merge(self.answer([views]), (views[0].sizes,))[0]

    def resized(self, image: Rgb) -> list[Resized]:
        """(H, W, 3) uint8 to what each view shows of it, the plain one first; needs no device."""
        return [self._resized(image, look) for look in self.looks]

    def answer(self, pictures: Sequence[Sequence[Resized]]) -> Output:
        """What the network says of B pictures, shown each view of them.

        Pictures share a batch only where their padded sizes are equal in every view: padded any further, a picture
        would see it in its coordinates.

        Args:
            pictures: the views of each, as `resized` gives them.
        """
        outputs = [self.engine(self._carrier.carried(view)) for view in zip(*pictures, strict=True)]
        if len(outputs) == 1:
            return outputs[0]
        # Which segments of two views are one is decided picture by picture.
        each = [
            combined([_only(one, place) for one in outputs], [view.sizes for view in views], self.looks)
            for place, views in enumerate(pictures)
        ]
        return Output(*(torch.cat([getattr(one, name) for one in each]) for name in Output._fields))

    def prepare(self, image: Rgb, look: View = PLAIN) -> Input:
        """(H, W, 3) uint8 to the network's input for one view."""
        one = self._resized(image, look)
        return Input(self._carrier.carried([one]), one.sizes)

    def merge(self, output: Output, sizes: Sequence[Sizes], rule: str | None = None) -> list[Panoptic]:
        """The last stage's output for B pictures to the segments of each, by the merge that was chosen or by `rule`."""
        assert output.class_logits is not None, "the last stage classifies"
        return to_panoptics(
            output.mask_logits,
            output.class_logits,
            sizes,
            self.categories,
            score_threshold=self.score_threshold,
            overlap_threshold=self.overlap_threshold,
            merge=rule or self.merge_rule,
        )

    def _resized(self, image: Rgb, look: View) -> Resized:
        short, long = round(self.short_edge * look.scale), round(self.long_edge * look.scale)
        shown = image[:, ::-1] if look.flip else image
        return self._carrier.locked(resized(shown, short_edge=short, long_edge=long))


def predict_set(
    predictor: Predictor, panoptic_set: PanopticSet, *, batch: int = 1, readers: int = READERS
) -> Iterator[tuple[ImageRecord, Panoptic]]:
    """Each record of the set, in its order, with what the model sees in its picture.

    Three stages at once: pictures are read and resized ahead in threads, the network runs in the calling thread, and
    what it says is merged to segments in one more, unless the network computes on all cores already. A few pictures are
    under way at a time, however many the set has.

    Args:
        predictor: the model.
        panoptic_set: the pictures.
        batch: pictures of one padded size that the network sees at once.
        readers: threads that read them.

    Raises:
        DataError: a picture is unreadable.
    """
    merged = _predicted(predictor, panoptic_set, (predictor.merge_rule,), batch, readers)
    return ((record, only) for record, (only,) in merged)


def predict_two_ways(
    predictor: Predictor, panoptic_set: PanopticSet, other: str, *, batch: int = 1, readers: int = READERS
) -> Iterator[tuple[ImageRecord, tuple[Panoptic, Panoptic]]]:
    """As `predict_set`, with what the merge `other` makes of the very same answer of the network beside it."""
    merged = _predicted(predictor, panoptic_set, (predictor.merge_rule, other), batch, readers)
    return ((record, (chosen, beside)) for record, (chosen, beside) in merged)


def _predicted(
    predictor: Predictor, panoptic_set: PanopticSet, merges: Sequence[str], batch: int, readers: int
) -> Iterator[tuple[ImageRecord, tuple[Panoptic, ...]]]:
    """Each record, in its order, with the segments by each of `merges`."""

    def read(record: ImageRecord) -> tuple[ImageRecord, list[Resized]]:
        return record, predictor.resized(read_image(panoptic_set.image_path(record)))

    beside = threads_beside_network(predictor.device)
    pictures = stage(read, panoptic_set.records, threads=beside * readers, ahead=max(2 * readers, batch))
    answered = _answered(predictor, alike(pictures, _padded_sizes, most=batch, window=PATIENCE * batch))
    merged = partial(_merged, predictor, merges)
    return in_order(stage(merged, answered, threads=beside, ahead=2))


def threads_beside_network(device: torch.device) -> int:
    """For each stage beside the network 1, or 0 where it would hold the network up instead of going on with it.

    That is so on a CPU unless half of the cores are free: merging has as many of torch's threads as the network, and
    threads that share cores wait for each other. Measured on two cores (docs/evaluation.md): with one thread for the
    network, stages make 1.06 of its time out of 1.13; with two they made 1.33 out of 1.04.
    """
    return int(device.type != "cpu" or 2 * torch.get_num_threads() <= usable_cores())


def _padded_sizes(picture: tuple[ImageRecord, list[Resized]]) -> Hashable:
    return tuple(view.sizes.padded for view in picture[1])


def _answered(
    predictor: Predictor, groups: Iterable[list[tuple[int, tuple[ImageRecord, list[Resized]]]]]
) -> Iterator[Answered]:
    """The network's answer to each group of pictures."""
    for group in groups:
        places, pictures = zip(*group, strict=True)
        records, views = zip(*pictures, strict=True)
        with torch.inference_mode():
            output = predictor.answer(views)
        yield Answered(places, records, output, tuple(each[0].sizes for each in views))


def _merged(
    predictor: Predictor, merges: Sequence[str], answered: Answered
) -> list[tuple[int, tuple[ImageRecord, tuple[Panoptic, ...]]]]:
    """Places, and for each the record with its segments by each merge."""
    with torch.inference_mode():
        found = [predictor.merge(answered.output, answered.sizes, rule) for rule in merges]
    return list(zip(answered.places, zip(answered.records, zip(*found, strict=True), strict=True), strict=True))


def _only(output: Output, place: int) -> Output:
    """One picture's part of an output for several."""
    assert output.class_logits is not None, "the last stage classifies"
    return Output(output.mask_logits[place : place + 1], output.class_logits[place : place + 1])

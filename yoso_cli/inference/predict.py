"""Prediction: resize, pad, network, postprocessing, for one picture or a stream.

A picture is resized on the CPU, transferred to the device as bytes, and padded there.
"""

# B pictures, H W picture size, h w resized size

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from yoso_cli.errors import UsageError
from yoso_cli.inference.engine import Engine, Switches, TorchEngine, switches_for
from yoso_cli.inference.postprocess import Sizes, at_thresholds, to_panoptics
from yoso_cli.inference.views import PLAIN, View, combined
from yoso_cli.loading.transforms import Size, fitted, fitted_into, padded, resize_image
from yoso_cli.model.yoso import STRIDE, YOSO, Output
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Rgb
from yoso_cli.runtime.machine import usable_cores
from yoso_cli.runtime.stages import Stopwatch, alike, in_order, stage

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

READERS = 4
"""Threads that decode and resize pictures: as many as keep up with a fast GPU."""

# A picture waits at most this many batches for others of its padded size. COCO has dozens of sizes; the three most
# frequent ones make up half of its pictures.
MOST_BATCHES_WAITED = 4


class Input(NamedTuple):
    """A picture as the network sees it: (1, 3, H', W'), RGB 0..255, on the device; and its sizes."""

    images: Tensor
    sizes: Sizes


class Resized(NamedTuple):
    """A picture at the size at which the network sees it.

    Attributes:
        pixels: (h, w, 3) uint8 in main memory.
        sizes: of the picture.
    """

    pixels: Tensor
    sizes: Sizes


Answer = Output | list[Panoptic]
"""What an engine finds in pictures: masks and classes, or segments where the merge is inside."""


def resized(image: Rgb, *, short_edge: int, long_edge: int) -> Resized:
    """(H, W, 3) uint8 to the size at which the short edge, or else the long one, has so many pixels."""
    size = fitted((image.shape[0], image.shape[1]), short_edge=short_edge, long_edge=long_edge)
    return _at_size(image, size, padded(size, STRIDE))


def resized_into(image: Rgb, frame: Size) -> Resized:
    """(H, W, 3) uint8 to the largest size that fits into `frame`, which it is padded to."""
    return _at_size(image, fitted_into((image.shape[0], image.shape[1]), frame), frame)


def _at_size(image: Rgb, size: Size, whole: Size) -> Resized:
    pixels = torch.from_numpy(np.array(resize_image(image, size)))
    return Resized(pixels, Sizes(whole, size, (image.shape[0], image.shape[1])))


class InputTransfer:
    """Transfers resized pictures to a device.

    Pixels are transferred as bytes, a quarter of the size of floats. A GPU copies them asynchronously from page-locked
    memory in a separate stream, in parallel with its computation.

    Args:
        device: where the network is.
        mean: of the network's pixels, RGB 0..255.
    """

    def __init__(self, device: torch.device, mean: Sequence[float]) -> None:
        self._device = device
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def pinned(self, picture: Resized) -> Resized:
        """The picture in page-locked memory; this copies it, so reader threads should call it."""
        return picture if self._stream is None else picture._replace(pixels=picture.pixels.pin_memory())

    def to_device(self, pictures: Sequence[Resized]) -> Tensor:
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


class Predictor:
    """A model with preprocessing and postprocessing: maps a picture to segments.

    Args:
        model: in evaluation mode afterwards, on `device`; or an engine that runs one.
        categories: in the order of the model's classes.
        short_edge: pixels the short edge is scaled to.
        long_edge: pixels the long edge may not exceed.
        score_threshold: the lowest score of a query; 0..1.
        overlap_threshold: the share of its mask a query must keep; 0..1.
        frame: (height, width), where every picture is padded to the same size; the two edges have no effect then.
        device: where the network runs; left out, where the model is.
        merge: how masks become segments, one of `postprocess.MERGES`.
        views: of each picture, the plain one first; more than that is test-time augmentation.
        switches: how the network runs; left out, the fastest on the device that change no prediction.
    """

    def __init__(
        self,
        model: YOSO | Engine,
        categories: tuple[Category, ...],
        *,
        short_edge: int = 800,
        long_edge: int = 1333,
        score_threshold: float = 0.7,
        overlap_threshold: float = 0.8,
        frame: Size | None = None,
        device: torch.device | None = None,
        merge: str = "exact",
        views: tuple[View, ...] = (PLAIN,),
        switches: Switches | None = None,
    ) -> None:
        self.engine = _with_torch(model, device, switches) if isinstance(model, nn.Module) else model
        self._model = model if isinstance(model, nn.Module) else None
        self.device = self.engine.device
        self._transfer = InputTransfer(self.device, self.engine.mean)
        self.categories = categories
        self.short_edge = short_edge
        self.long_edge = long_edge
        self.score_threshold = score_threshold
        self.overlap_threshold = overlap_threshold
        self.frame = frame
        self.merge_rule = merge
        self.views = views

    def __call__(self, image: Rgb) -> Panoptic:
        """(H, W, 3) uint8 to segments at the same size."""
        with torch.inference_mode():
            shown = self.resized(image)
            return self.merge(self.answer([shown]), (shown[0].sizes,))[0]

    @property
    def model(self) -> YOSO:
        """The network. Raises UsageError where an engine was given instead of one."""
        if self._model is None:
            raise UsageError(f"{self.engine}: there is no network of torch.", hint="Name the weights that it is from.")
        return self._model

    def resized(self, image: Rgb) -> list[Resized]:
        """(H, W, 3) uint8 to what each view shows of it, the plain one first; needs no device."""
        return [self._resized(image, view) for view in self.views]

    def forward_of(self, image: Rgb, batch: int = 1) -> Callable[[], object]:
        """A call that runs the network alone, on (H, W, 3) uint8 prepared beforehand, `batch` times at once."""
        images = self.prepare(image).images.repeat(batch, 1, 1, 1)
        return lambda: self.engine(images)

    def answer(self, pictures: Sequence[Sequence[Resized]]) -> Answer:
        """The network's output for B pictures, each shown to it in every view.

        Pictures share a batch only where their padded sizes are equal in every view: padded any further, a picture
        would see it in its coordinates.

        Args:
            pictures: the views of each, as `resized` gives them.
        """
        outputs = [self.engine(self.images(shown)) for shown in zip(*pictures, strict=True)]
        if len(outputs) == 1:
            return outputs[0]
        # Segments of several views are matched for each picture separately.
        each = [
            combined([_only(one, place) for one in outputs], [one.sizes for one in shown], self.views)
            for place, shown in enumerate(pictures)
        ]
        classes = [one.class_logits for one in each if one.class_logits is not None]
        return Output(torch.cat([one.mask_logits for one in each]), torch.cat(classes))

    def prepare(self, image: Rgb, view: View = PLAIN) -> Input:
        """(H, W, 3) uint8 to the network's input for one view."""
        one = self._resized(image, view)
        return Input(self.images([one]), one.sizes)

    def images(self, shown: Sequence[Resized]) -> Tensor:
        """Resized pictures of one padded size to the network's input, (B, 3, H, W), on the device."""
        return self._transfer.to_device(shown)

    def merge(self, output: Answer, sizes: Sequence[Sizes], rule: str | None = None) -> list[Panoptic]:
        """The last stage's output for B pictures to the segments of each, by the merge that was chosen or by `rule`."""
        assert isinstance(output, Output), "only a merged file gives segments, and its predictor takes them"
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

    def _resized(self, image: Rgb, view: View) -> Resized:
        shown = image[:, ::-1] if view.flip else image
        if self.frame is not None:
            return self._transfer.pinned(resized_into(shown, self.frame))
        short, long = round(self.short_edge * view.scale), round(self.long_edge * view.scale)
        return self._transfer.pinned(resized(shown, short_edge=short, long_edge=long))


def _with_torch(model: YOSO, device: torch.device | None, switches: Switches | None) -> TorchEngine:
    device = device or next(model.parameters()).device
    return TorchEngine(model.to(device).eval(), device, switches or switches_for(device))


def predict_stream(
    predictor: Predictor,
    items: Iterable[_Item],
    read: Callable[[_Item], Rgb | None],
    *,
    batch: int = 1,
    readers: int = READERS,
    keep_pictures: bool = False,
    waiting: Stopwatch | None = None,
) -> Iterator[tuple[_Item, Rgb | None, Panoptic]]:
    """Each item in order, its picture if `keep_pictures`, and the segments in it.

    A pipeline of three stages: threads read and resize pictures ahead, the calling thread runs the network, and another
    thread merges its output to segments, unless the network uses all cores. Items are consumed lazily, a few ahead of
    the results, so the stream may be endless.

    Args:
        predictor: the model.
        items: what pictures are read from, such as paths; drawn in the calling thread.
        read: an item to its picture, (H, W, 3) uint8, or None to pass it over; called in threads, several at once.
            What it raises ends the stream.
        batch: pictures of one padded size that the network sees at once. Others may come between them: a picture waits
            for a few batches at most.
        readers: threads that read pictures.
        keep_pictures: whether to give the pictures, which otherwise leave memory once they are resized.
        waiting: measures how long the network waits for pictures.
    """

    def merge(_: Sequence[_Item], output: Answer, sizes: Sequence[Sizes]) -> list[Panoptic]:
        return predictor.merge(output, sizes)

    merged = _predicted(predictor, items, read, merge, batch, readers, keep_pictures, waiting)
    return ((picture.item, picture.image, found) for picture, found in merged)


def predict_set(
    predictor: Predictor, panoptic_set: PanopticSet, *, batch: int = 1, readers: int = READERS
) -> Iterator[tuple[ImageRecord, Panoptic]]:
    """As `predict_stream`, of every picture of a set. Raises DataError where a picture is unreadable."""
    read = partial(_read_record, panoptic_set)
    found = predict_stream(predictor, panoptic_set.records, read, batch=batch, readers=readers)
    return ((record, panoptic) for record, _, panoptic in found)


def predict_two_ways(
    predictor: Predictor, panoptic_set: PanopticSet, other: str, *, batch: int = 1, readers: int = READERS
) -> Iterator[tuple[ImageRecord, tuple[Panoptic, Panoptic]]]:
    """As `predict_set`, with the segments by the merge `other` of the very same output of the network beside them."""

    def merge(_: Sequence[ImageRecord], output: Answer, sizes: Sequence[Sizes]) -> list[tuple[Panoptic, Panoptic]]:
        return list(zip(predictor.merge(output, sizes), predictor.merge(output, sizes, other), strict=True))

    read = partial(_read_record, panoptic_set)
    merged = _predicted(predictor, panoptic_set.records, read, merge, batch, readers, False)
    return ((picture.item, found) for picture, found in merged)


def predict_at_thresholds(
    predictor: Predictor,
    panoptic_set: PanopticSet,
    thresholds: Sequence[tuple[float, float]],
    count: Callable[[ImageRecord, Iterator[tuple[Panoptic, tuple[int, ...]]]], _Result],
    *,
    batch: int = 1,
    readers: int = READERS,
) -> Iterator[_Result]:
    """What `count` makes of each picture of a set and its segments at many `thresholds` (see `at_thresholds`).

    The network sees each picture once. `count` runs where segments are merged, one picture at a time, and what it gives
    is all that is kept of the picture.

    Raises:
        DataError: a picture is unreadable.
    """

    def merge(records: Sequence[ImageRecord], output: Answer, sizes: Sequence[Sizes]) -> list[_Result]:
        assert isinstance(output, Output), "the thresholds are inside of the file"
        assert output.class_logits is not None, "the last stage classifies"
        rule = predictor.merge_rule
        each = zip(records, output.mask_logits, output.class_logits, sizes, strict=True)
        return [
            count(record, at_thresholds(masks, classes, size, predictor.categories, thresholds, merge=rule))
            for record, masks, classes, size in each
        ]

    read = partial(_read_record, panoptic_set)
    merged = _predicted(predictor, panoptic_set.records, read, merge, batch, readers, False)
    return (found for _, found in merged)


def threads_beside_network(device: torch.device) -> int:
    """Threads of each stage beside the network: 1, or 0 where running in parallel would slow the network down.

    That is so on a CPU unless half of the cores are free: merging has as many of torch's threads as the network, and
    threads that share cores wait for each other. Measured on two cores (docs/evaluation.md): with one thread for the
    network, stages make 1.06 of its time out of 1.13; with two they made 1.33 out of 1.04.
    """
    return int(device.type != "cpu" or 2 * torch.get_num_threads() <= usable_cores())


@dataclass(frozen=True)
class _Picture(Generic[_Item]):
    """An item of a stream: its picture, if that is kept, and every view of it."""

    item: _Item
    image: Rgb | None
    views: list[Resized]


_Group = list[tuple[int, _Picture[_Item]]]
"""Pictures that share a batch, each with its place in the stream."""


def _predicted(
    predictor: Predictor,
    items: Iterable[_Item],
    read: Callable[[_Item], Rgb | None],
    merge: Callable[[Sequence[_Item], Answer, Sequence[Sizes]], list[_Result]],
    batch: int,
    readers: int,
    keep_pictures: bool,
    waiting: Stopwatch | None = None,
) -> Iterator[tuple[_Picture[_Item], _Result]]:
    """Each item in order, with what `merge` makes of the network's output for it."""

    def opened(item: _Item) -> _Picture[_Item] | None:
        image = read(item)
        return None if image is None else _Picture(item, image if keep_pictures else None, predictor.resized(image))

    beside = threads_beside_network(predictor.device)
    pictures = stage(opened, items, threads=beside * readers, ahead=max(2 * readers, batch))
    timed = pictures if waiting is None else waiting.timing(pictures)
    groups = alike(
        (one for one in timed if one is not None), _padded_sizes, most=batch, window=MOST_BATCHES_WAITED * batch
    )
    merged = partial(_merged, merge)
    return in_order(stage(merged, _answered(predictor, groups), threads=beside, ahead=2))


def _read_record(panoptic_set: PanopticSet, record: ImageRecord) -> Rgb:
    return read_image(panoptic_set.image_path(record))


def _padded_sizes(picture: _Picture[_Item]) -> Hashable:
    return tuple(view.sizes.padded for view in picture.views)


def _answered(predictor: Predictor, groups: Iterable[_Group[_Item]]) -> Iterator[tuple[_Group[_Item], Answer]]:
    """Each group with the network's output for it."""
    for group in groups:
        with torch.inference_mode():
            output = predictor.answer([picture.views for _, picture in group])
        yield group, output


def _merged(
    merge: Callable[[Sequence[_Item], Answer, Sequence[Sizes]], list[_Result]],
    answered: tuple[_Group[_Item], Answer],
) -> list[tuple[int, tuple[_Picture[_Item], _Result]]]:
    """Each picture of a group at its place, with what `merge` makes of it."""
    group, output = answered
    sizes = [picture.views[0].sizes for _, picture in group]
    with torch.inference_mode():
        found = merge([picture.item for _, picture in group], output, sizes)
    return [(place, (picture, each)) for (place, picture), each in zip(group, found, strict=True)]


def _only(output: Output, place: int) -> Output:
    """One picture's part of an output for several."""
    assert output.class_logits is not None, "the last stage classifies"
    return Output(output.mask_logits[place : place + 1], output.class_logits[place : place + 1])

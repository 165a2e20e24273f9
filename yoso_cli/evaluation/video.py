"""Video panoptic quality (VPQ), and segmentation and tracking quality (STQ).

A segment's id persists through a video: the pixels of one id and class in several frames are a tube.

VPQ (Kim et al., "Video Panoptic Segmentation", https://arxiv.org/abs/2006.11339, Eq. 1 and 2): the PQ of tubes. A
window is k frames of a video, one after the other, laid beside each other as one picture; each frame at which k frames
begin begins one. Tubes match where their class is one and their IoU is above 0.5, and VPQ^k is, as PQ, the mean over
the classes seen of sum(IoU) / (TP + FP / 2 + FN / 2), summed over all windows of all videos. VPQ is the mean of VPQ^k
over the windows. Void, crowds and stated areas are as in PQ, summed over the window; that is what the authors'
evaluator does (https://github.com/mcahny/vps, `tools/eval_vpq.py`), but for ids of which the class changes, where it
takes the class of the first frame. With k = 1, VPQ is PQ.

A frame is a picture that the truth lists. Kim et al. write k = 0, 5, 10, 15 for the videos of Cityscapes-VPS, of which
each fifth frame is labelled: their evaluator takes windows of 1, 2, 3 and 4 labelled frames. A video shorter than a
window has none of it.

STQ (Weber et al., "STEP: Segmenting and Tracking Every Pixel", https://arxiv.org/abs/2102.11859, Eq. 1 to 6): the
geometric mean of SQ, which is the mIoU over all pixels, and of AQ, the association quality. With g the true tubes of
things, p the predicted ones of any class of things, in the whole of a video:

    AQ = 1/|G| sum over g of 1/|g| sum over p of |p & g| IoU(p, g)

Pixels in a true crowd of things count for no tube. Predicted pixels in void count for their tube; so it is in the
authors' evaluator (https://github.com/google-research/deeplab2, `segmentation_and_tracking_quality.py`). It expects a
class at each predicted pixel, and counts void there as one more class with an IoU of 0; here void is a miss only.
"""

# K categories, S segments of one side, P pairs that share pixels

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError, UsageError
from yoso_cli.evaluation.counting import paying, record_pairs, require_consistent
from yoso_cli.evaluation.matching import LISTED, Matching, Overlap, Workspace, match
from yoso_cli.evaluation.measures import AT_A_TIME, overlap_for
from yoso_cli.evaluation.quality import Figures, PanopticQuality, tally_of
from yoso_cli.evaluation.semantic import SemanticQuality, confusion
from yoso_cli.evaluation.sequences import Video, videos_of
from yoso_cli.panoptic.files import read_id_map
from yoso_cli.panoptic.regions import Bools, Ints
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Segment
from yoso_cli.runtime import workers as processes

Floats = npt.NDArray[np.float64]

VIDEO_METRICS = ("vpq", "stq")
"""What can be asked for of videos."""

WINDOWS = (1, 5, 10, 15)
"""Frames in a window."""


@dataclass(frozen=True)
class WindowQuality(Figures):
    """VPQ^k: the quality of tubes in windows of `frames` frames, of which there are `windows`."""

    frames: int
    windows: int
    quality: PanopticQuality


@dataclass(frozen=True)
class VideoQuality(Figures):
    """VPQ of all classes, of things and of stuff, 0..1: means over the windows; None where there is nothing to see.

    A length of window of which no video has one is left out of the means.
    """

    all: float | None
    things: float | None
    stuff: float | None
    windows: tuple[WindowQuality, ...]


@dataclass(frozen=True)
class SequenceTracking(Figures):
    """STQ, AQ and SQ of one video, 0..1, and how many frames and true tubes of things it has."""

    video: str
    stq: float | None
    aq: float | None
    sq: float | None
    frames: int
    tracks: int


@dataclass(frozen=True)
class TrackingQuality(Figures):
    """STQ, AQ and SQ over all videos, 0..1; None where the truth has no things, or nothing at all.

    Attributes:
        stq: the geometric mean of the next two.
        aq: over all true tubes of things, `tracks` of them.
        sq: mIoU over all pixels.
        tracks: how many.
        videos: each by itself.
    """

    stq: float | None
    aq: float | None
    sq: float | None
    tracks: int
    videos: tuple[SequenceTracking, ...]


@dataclass(frozen=True)
class VideoMeasures:
    """What was measured; None where it was not asked for."""

    vpq: VideoQuality | None
    stq: TrackingQuality | None


@dataclass(frozen=True, eq=False)
class VideoCounts:
    """What one video adds: a few numbers per class.

    Attributes:
        name: of the video.
        frames: how many.
        columns: by window, (4, K): the sum of the matches' IoU, TP, FP and FN.
        confusion: (K, K + 1) pixels by true class and predicted class, the last column for none.
        association: the sum over the true tubes of things of what AQ is the mean of.
        tracks: how many these are.
    """

    name: str
    frames: int
    columns: Mapping[int, Floats]
    confusion: Ints
    association: float
    tracks: int


def measure_videos(
    truth: PanopticSet,
    predictions: PanopticSet,
    *,
    windows: Sequence[int] = WINDOWS,
    workers: int | None = 1,
    trust_json: bool = False,
) -> Iterator[VideoCounts]:
    """What each video adds to the figures, in order; two maps and the overlaps of a window are in memory at a time.

    Args:
        truth: of which each picture is a frame of a video (see `sequences`).
        predictions: matched with the truth's pictures by image id; ids that persist are tubes.
        windows: their lengths in frames.
        workers: how many processes count videos; None for as many as pay. The figures are the same for any number.
        trust_json: take the truth's areas and segments from its JSON, whatever its PNGs hold.

    Raises:
        DataError: at once where a picture has no prediction or belongs to no video; on the way where a PNG is
            unreadable or a pair contradicts itself.
    """
    predicted = {true.image_id: guess for true, guess in record_pairs(truth, predictions)}
    videos = videos_of(truth.records, str(truth.panoptic_dir))
    count = partial(_count_files, truth, predictions, predicted, videos, tuple(windows), trust_json)
    number = workers or paying(truth.records)
    return processes.mapped(count, range(len(videos)), workers=number, at_once=1)


def count_video(
    name: str, frames: Iterable[Overlap], categories: Sequence[Category], windows: Sequence[int] = WINDOWS
) -> VideoCounts:
    """What a video adds to the figures.

    Args:
        name: of the video.
        frames: the overlap of truth and prediction in each frame, in order; read as a stream.
        categories: the classes that count.
        windows: their lengths in frames.

    Raises:
        DataError: a frame contradicts itself; says which.
    """
    shape = (len(categories), len(categories) + 1)
    columns = {length: np.zeros((4, len(categories))) for length in windows}
    waiting: dict[int, list[Overlap]] = {length: [] for length in windows}
    last: deque[Overlap] = deque(maxlen=max(windows, default=1))
    pixels, tubes, seen = np.zeros(shape, np.int64), _Tubes(), 0
    stream = iter(frames)
    while some := list(islice(stream, AT_A_TIME)):
        matching = _matched(some, categories)
        pixels += confusion(matching)
        tubes.add(matching)
        seen += len(some)
        for frame in some:
            last.append(frame)
            for length in windows:
                if len(last) >= length:
                    waiting[length].append(side_by_side(list(last)[-length:]))
        for length, several in waiting.items():
            columns[length] += np.stack(tally_of(match(several, categories)).columns)
            several.clear()
    return VideoCounts(name, seen, columns, pixels, *tubes.association())


def side_by_side(frames: Sequence[Overlap]) -> Overlap:
    """The overlap of a window: of its frames laid beside each other, where segments of one id and class are one."""
    if len(frames) == 1:
        return frames[0]
    true, predicted = _Joined(), _Joined()
    codes = []
    for one in frames:
        t, p = np.divmod(one.cells, LISTED + len(one.predicted))
        codes.append((true.add(one.true)[t], predicted.add(one.predicted)[p]))
    width = LISTED + len(predicted.segments)
    cells, place = np.unique(np.concatenate([t * width + p for t, p in codes]), return_inverse=True)
    pixels = np.bincount(place, np.concatenate([one.pixels for one in frames]), minlength=len(cells))
    return Overlap(tuple(true.segments), tuple(predicted.segments), cells, pixels.astype(np.int64), frames[0].name)


class _Joined:
    """The segments of one side of a window, those of one id and class as one."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self._place: dict[tuple[int, int], int] = {}

    def add(self, segments: Sequence[Segment]) -> Ints:
        """Takes in those of a frame; gives the code in the window of each code in the frame."""
        codes = list(range(LISTED))
        for segment in segments:
            place = self._place.setdefault((segment.id, segment.category_id), len(self.segments))
            if place == len(self.segments):
                self.segments.append(segment)
            else:
                known = self.segments[place]
                self.segments[place] = replace(known, area=known.area + segment.area)
            codes.append(LISTED + place)
        return np.array(codes, np.int64)


class _Tubes:
    """Sizes of the tubes of things in a video, and the pixels that they share."""

    def __init__(self) -> None:
        self._true: Counter[int] = Counter()
        self._predicted: Counter[int] = Counter()
        self._shared: Counter[tuple[int, int]] = Counter()

    def add(self, matching: Matching) -> None:
        """Takes in some frames."""
        true, predicted, (t, p, _, pixels) = matching.true, matching.predicted, matching.pairs
        things = np.array([category.isthing for category in matching.categories], np.bool_)
        # A row of -1 is no segment; the last entry stands for it.
        of_true = np.append(_keys(true.id, true.category, things), -1)[t]
        of_predicted = np.append(_keys(predicted.id, predicted.category, things), -1)[p]
        in_crowd = np.append(true.iscrowd & things[true.category], False)[t]
        true_tube, predicted_tube = (of_true >= 0) & ~in_crowd, (of_predicted >= 0) & ~in_crowd
        _count(self._true, of_true, pixels, true_tube)
        _count(self._predicted, of_predicted, pixels, predicted_tube)
        both = np.flatnonzero(true_tube & predicted_tube)
        for g, q, number in zip(
            of_true[both].tolist(), of_predicted[both].tolist(), pixels[both].tolist(), strict=True
        ):
            self._shared[g, q] += number

    def association(self) -> tuple[float, int]:
        """The sum over the true tubes, and how many there are."""
        found = 0.0
        # In an order that does not depend on that of the frames' segments.
        for (g, p), shared in sorted(self._shared.items()):
            union = self._true[g] + self._predicted[p] - shared
            found += shared * (shared / union) / self._true[g]
        return found, len(self._true)


def _keys(ids: Ints, categories: Ints, things: Bools) -> Ints:
    """(S,) a number for each id and class, -1 for stuff."""
    return np.where(things[categories], ids * len(things) + categories, -1)


def _count(sizes: Counter[int], keys: Ints, pixels: Ints, counted: Bools) -> None:
    for key, number in zip(keys[counted].tolist(), pixels[counted].tolist(), strict=True):
        sizes[key] += number


def video_measures(
    counted: Iterable[VideoCounts], categories: Sequence[Category], metrics: Sequence[str] = VIDEO_METRICS
) -> VideoMeasures:
    """The figures of all videos.

    Args:
        counted: what each video adds; read as a stream.
        categories: with which they were counted.
        metrics: some of `VIDEO_METRICS`.
    """
    several: list[SequenceTracking] = []
    columns: dict[int, Floats] = {}
    windows: Counter[int] = Counter()
    pixels, association, tracks = np.zeros((len(categories), len(categories) + 1), np.int64), 0.0, 0
    for one in counted:
        several.append(_tracking(one, categories))
        pixels, association, tracks = pixels + one.confusion, association + one.association, tracks + one.tracks
        for length, figures in one.columns.items():
            columns[length] = columns.get(length, 0) + figures
            windows[length] += max(0, one.frames - length + 1)
    sq = SemanticQuality.from_confusion(pixels, categories).miou
    aq = association / tracks if tracks else None
    found = [
        WindowQuality(length, windows[length], PanopticQuality.from_columns(_whole(figures), categories))
        for length, figures in sorted(columns.items())
    ]
    return VideoMeasures(
        _video_quality(found) if "vpq" in metrics else None,
        TrackingQuality(_geometric(aq, sq), aq, sq, tracks, tuple(several)) if "stq" in metrics else None,
    )


def _whole(columns: Floats) -> list[Floats | Ints]:
    """The sum of IoUs, and the three counts as whole numbers."""
    return [columns[0], *(column.astype(np.int64) for column in columns[1:])]


def _video_quality(windows: Sequence[WindowQuality]) -> VideoQuality:
    seen = [one.quality for one in windows if one.windows]
    return VideoQuality(
        _mean([one.all.pq for one in seen]),
        _mean([one.things.pq for one in seen]),
        _mean([one.stuff.pq for one in seen]),
        tuple(windows),
    )


def _tracking(counts: VideoCounts, categories: Sequence[Category]) -> SequenceTracking:
    sq = SemanticQuality.from_confusion(counts.confusion, categories).miou
    aq = counts.association / counts.tracks if counts.tracks else None
    return SequenceTracking(counts.name, _geometric(aq, sq), aq, sq, counts.frames, counts.tracks)


def _geometric(aq: float | None, sq: float | None) -> float | None:
    return None if aq is None or sq is None else math.sqrt(aq * sq)


def _mean(figures: Iterable[float | None]) -> float | None:
    found = [one for one in figures if one is not None]
    return sum(found) / len(found) if found else None


def checked_windows(windows: Sequence[int]) -> tuple[int, ...]:
    """Lengths of windows, rising, each once. Raises UsageError where there is none, or one below 1."""
    if not windows or min(windows) < 1:
        raise UsageError("--windows: must be lengths in frames, of at least 1.", hint="For example --windows 1,2,3,4.")
    return tuple(sorted(set(windows)))


def _count_files(
    truth: PanopticSet,
    predictions: PanopticSet,
    predicted: Mapping[int | str, ImageRecord],
    videos: Sequence[Video],
    windows: Sequence[int],
    trust_json: bool,
    place: int,
) -> VideoCounts:
    video = videos[place]
    pairs = ((record, predicted[record.image_id]) for record in video.records)
    return count_video(video.name, _overlaps(truth, predictions, pairs, trust_json), truth.categories, windows)


def _overlaps(
    truth: PanopticSet, predictions: PanopticSet, pairs: Iterable[tuple[ImageRecord, ImageRecord]], trust_json: bool
) -> Iterator[Overlap]:
    space = Workspace()
    for true, guess in pairs:
        path, panoptic = truth.panoptic_path(true), _read(truth, true)
        name = f"{predictions.panoptic_path(guess)} against {path}"
        found = overlap_for(name, panoptic, _read(predictions, guess), space=space)
        if not trust_json:
            require_consistent(found, panoptic, path)
        yield found


def _read(panoptic_set: PanopticSet, record: ImageRecord) -> Panoptic:
    return Panoptic(read_id_map(panoptic_set.panoptic_path(record)), tuple(record.segments))


def _matched(frames: Sequence[Overlap], categories: Sequence[Category]) -> Matching:
    try:
        return match(frames, categories)
    except DataError as error:
        if len(frames) == 1:
            raise DataError(f"{frames[0].name}: {error.message}", hint=error.hint) from None
        for one in frames:
            _matched([one], categories)
        raise

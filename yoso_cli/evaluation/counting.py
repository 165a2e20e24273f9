"""Counting matches and errors: of predictions on disk, in memory, or streamed from a model.

From disk, most of the time is decoding. So each process decodes, matches and counts a few dozen pictures at a time and
sends only the counts, which are added up in the order of the pictures. The truth's run lengths may come from a cache.
Predictions of a model are saved and counted in separate threads while the model runs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from yoso_cli.atomic import recover
from yoso_cli.errors import DataError
from yoso_cli.evaluation.matching import LISTED, UNLISTED, AnyPanoptic, Overlap, PanopticRuns, Workspace, some
from yoso_cli.evaluation.measures import AT_A_TIME, Counts, count, counts, overlap_for
from yoso_cli.evaluation.run_cache import Block, RunCache, Stamp, writing
from yoso_cli.panoptic.files import EXCHANGED, SetWriter, are_exchanged, read_id_map, read_panoptic
from yoso_cli.panoptic.regions import runs_of
from yoso_cli.panoptic.types import VOID, Category, IdMap, ImageRecord, Panoptic, PanopticSet, present_ids
from yoso_cli.runtime import workers as processes
from yoso_cli.runtime.machine import usable_cores
from yoso_cli.runtime.stages import stage

RecordPair = tuple[ImageRecord, ImageRecord]
Predicted = tuple[ImageRecord, Panoptic]

# The counts of some pictures, and the run lengths of each one's truth if they are to be cached.
_Counted = tuple[Counts, list[Block | None]]

_LEAST_TOGETHER = 4


# Counting so many pixels of both maps takes ten times as long as starting a process: 150 ms with fork, else 3 s.
_WORTH_A_FORK, _WORTH_A_START = 40_000_000, 800_000_000

# Pictures that may wait for a slower stage.
_AHEAD = 4


def counts_from_files(
    truth: PanopticSet,
    predictions: PanopticSet,
    metrics: Sequence[str] = ("pq",),
    *,
    workers: int | None = 1,
    cache: Path | None = None,
    trust_json: bool = False,
) -> Iterator[Counts]:
    """What the pictures of `truth`, a few dozen at a time and in order, add to the score; others' are ignored.

    As in panopticapi, the two maps must be of one size, whatever the JSON says of it. Other than there, a truth whose
    JSON and PNG contradict each other is refused: a damaged or exchanged file, not a matter of scores.

    Args:
        truth: what is compared with.
        predictions: matched with the truth's pictures by image id.
        metrics: some of `measures.METRICS`.
        workers: how many processes count; None for as many as pay. The figures are the same for any number.
        cache: the truth cache. Known pictures are read from it; if any are missing, it is written again.
        trust_json: take the truth's areas and segments from its JSON, whatever its PNGs hold, as panopticapi does.

    Raises:
        DataError: at once when a picture has no prediction or `cache` is no cache; on the way when a PNG is unreadable
            or a pair contradicts itself.
        RunError: the cache cannot be written, or another process writes it.
    """
    pairs = record_pairs(truth, predictions)
    if cache is not None:
        recover(cache)
    known = RunCache(cache) if cache is not None else None
    counter = _Counter(truth.panoptic_dir, truth.categories, tuple(metrics), known, trust_json=trust_json)
    count_some = partial(_count_files, counter, predictions.panoptic_dir, pairs)
    # Indices are sent, not records: a forked process has these already, and pickling them costs as much as matching.
    workers = workers or paying(truth.records)
    places = _portions(len(pairs), workers)
    counted = processes.mapped(count_some, places, workers=workers, at_once=1)
    return _kept(counted, pairs, truth.panoptic_dir, known)


def paying(records: Sequence[ImageRecord]) -> int:
    """The number of processes worth starting for pictures of these sizes: from one to the number of cores."""
    pixels = 2 * sum(record.height * record.width for record in records)
    return max(1, min(usable_cores(), pixels // (_WORTH_A_FORK if processes.can_fork() else _WORTH_A_START)))


def _portions(pictures: int, workers: int) -> list[range]:
    """Ranges of pictures that are counted together, small enough that all processes end at about the same time."""
    size = min(AT_A_TIME, max(_LEAST_TOGETHER, pictures // (16 * workers)))
    return [range(first, min(first + size, pictures)) for first in range(0, pictures, size)]


def counts_from_memory(
    truth: PanopticSet,
    predicted: Iterable[Predicted],
    metrics: Sequence[str] = ("pq",),
    *,
    cache: Path | None = None,
) -> Iterator[Counts]:
    """What predictions in memory add to the score, a few dozen at a time; no PNGs are written.

    Args:
        truth: what is compared with, on disk.
        predicted: any pictures of it, of which one at a time is held in memory.
        metrics: some of `measures.METRICS`.
        cache: a file that `counts_from_files` made for this truth; it is only read.

    Raises:
        DataError: a true PNG is unreadable, a pair contradicts itself, or `cache` is no cache.
    """
    known = RunCache(cache) if cache is not None else None
    counter = _Counter(truth.panoptic_dir, truth.categories, metrics, known)
    pictures = (counter.compared(record, prediction, "The prediction")[0] for record, prediction in predicted)
    return counts(pictures, truth.categories, metrics)


def counts_from_stream(
    predicted: Iterable[Predicted], truth: PanopticSet, metrics: Sequence[str] = ("pq",), *, threads: int = 1
) -> Iterator[Counts]:
    """What each prediction adds to the score, counted while the model computes the next one.

    Args:
        predicted: of which a few are held in memory.
        truth: what is compared with, on disk.
        metrics: some of `measures.METRICS`.
        threads: 1, or 0 where the model needs all cores.

    Raises:
        DataError: a true PNG is unreadable or contradicts itself; says which.
    """
    return stage(_compared(truth, metrics), predicted, threads=threads, ahead=_AHEAD)


def pass_first_of_two(
    predicted: Iterable[tuple[ImageRecord, tuple[Panoptic, Panoptic]]], truth: PanopticSet, second: list[Counts]
) -> Iterator[Predicted]:
    """Passes the first prediction for each picture on; what the second adds to PQ is appended to `second`.

    Raises:
        DataError: as `counts_from_stream` does.
    """
    compare = _compared(truth, ("pq",))

    def pass_first(one: tuple[ImageRecord, tuple[Panoptic, Panoptic]]) -> Predicted:
        record, (first, other) = one
        second.append(compare((record, other)))
        return record, first

    return stage(pass_first, predicted, threads=1, ahead=_AHEAD)


def _compared(truth: PanopticSet, metrics: Sequence[str]) -> Callable[[Predicted], Counts]:
    """Counts one prediction; its work memory is reused, so it is for one thread only."""
    space = Workspace()

    def compare(one: Predicted) -> Counts:
        record, prediction = one
        path, true = truth.panoptic_path(record), read_panoptic(truth, record)
        found = overlap_for(str(path), true, prediction, metrics, space)
        require_consistent(found, true, path)
        return count([found], truth.categories, metrics)

    return compare


def saving(predicted: Iterable[Predicted], writer: SetWriter) -> Iterator[Predicted]:
    """Passes predictions on while `writer` saves them; call `complete` after the last one.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """

    def save(one: Predicted) -> Predicted:
        writer.add(*one)
        return one

    return stage(save, predicted, threads=1, ahead=_AHEAD)


def complete(writer: SetWriter, others: Iterable[Sequence[ImageRecord]]) -> None:
    """Finishes a set whose later pictures, in order, were written by other processes into the same folder.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    for records in others:
        for record in records:
            writer.add(record)
    writer.finish()


def record_pairs(truth: PanopticSet, predictions: PanopticSet) -> list[RecordPair]:
    """Each picture of `truth` with its prediction, matched by image id.

    Raises:
        DataError: pictures have no prediction; names the first.
    """
    predicted = {record.image_id: record for record in predictions.records}
    missing = [repr(record.image_id) for record in truth.records if record.image_id not in predicted]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(
            f"{predictions.panoptic_dir}: {len(missing)} of {len(truth.records)} images have no prediction: "
            f"{', '.join(missing[:5])}{more}.",
            hint=_why_missing(truth, predictions),
        )
    return [(record, predicted[record.image_id]) for record in truth.records]


def _why_missing(truth: PanopticSet, predictions: PanopticSet) -> str:
    """A hint if image ids are numbers on one side and strings on the other: to panopticapi, 7 and "7" differ."""
    mine, theirs = ({type(record.image_id) for record in one.records} for one in (truth, predictions))
    if mine and theirs and not mine & theirs:
        named = {int: "numbers", str: "names in quotes"}
        return f"Image ids are {named[mine.pop()]} in the truth and {named[theirs.pop()]} in the predictions."
    return "Each image of the truth needs one, if only with an empty segments_info."


class _Counter:
    """Reads and compares one pair at a time; can be sent to another process before its first picture."""

    def __init__(
        self,
        truth: Path,
        categories: Sequence[Category],
        metrics: Sequence[str],
        cache: RunCache | None,
        *,
        trust_json: bool = False,
    ) -> None:
        self.categories, self.metrics, self._trust_json = categories, metrics, trust_json
        self._folder, self._cache = truth, cache
        self._space = Workspace()
        self._memories: list[IdMap | None] = [None, None]

    def compared(self, true: ImageRecord, prediction: Panoptic, named: str) -> tuple[Overlap, Block | None]:
        """Compares one picture of the truth with its prediction, which errors call `named`."""
        path = self._folder / true.panoptic_file
        truth, block = self._truth(true, path)
        found = overlap_for(f"{named} against {path}", truth, prediction, self.metrics, self._space)
        if not self._trust_json:
            require_consistent(found, truth, path)
        return found, block

    def _truth(self, record: ImageRecord, path: Path) -> tuple[AnyPanoptic, Block | None]:
        """The true picture, and its block where a cache is kept."""
        if self._cache is None:
            return self.read(path, record, 0), None
        stamp = Stamp.of(path)
        runs = self._cache.runs(record.panoptic_file, stamp)
        if runs is not None:
            return PanopticRuns(runs, tuple(record.segments)), None
        id_map = self.read(path, record, 0).id_map
        runs = runs_of(id_map, flags=self._space.flags(id_map.size))
        return PanopticRuns(runs, tuple(record.segments)), Block.of(runs, stamp)

    def read(self, path: Path, record: ImageRecord, side: int) -> Panoptic:
        """Reads a picture; its id map is overwritten by the next one of the same side, truth (0) or prediction (1)."""
        memory = self._memories[side]
        id_map = read_id_map(path, memory)
        if memory is None or id_map.size > memory.size:
            self._memories[side] = id_map.reshape(-1)
        return Panoptic(id_map, tuple(record.segments))


def require_consistent(found: Overlap, truth: AnyPanoptic, path: Path) -> None:
    """Compares a true picture's JSON with its PNG: the same ids, and the areas that are stated.

    Args:
        found: its overlap with any prediction.
        truth: the picture.
        path: of its PNG.

    Raises:
        DataError: they contradict each other; says how.
    """
    areas, stated = found.true_areas(), [segment.area for segment in found.true]
    if areas[UNLISTED] == 0 and areas[LISTED:].tolist() == stated and 0 not in stated:
        return
    listed = {segment.id for segment in found.true}
    if areas[UNLISTED]:
        stray = sorted(set(present_ids(truth.id_map)) - {VOID, *listed})
        what = f"has segment {some(stray)}, which the JSON of the truth does not list"
        raise DataError(f"{path}: {what}.", hint=EXCHANGED if are_exchanged(stray, listed) else f"{_APART} {_OFFICIAL}")
    absent = [segment.id for segment, area in zip(found.true, areas[LISTED:].tolist(), strict=True) if not area]
    if absent:
        what = f"has no pixel of segment {some(absent)}, which the JSON of the truth lists"
        raise DataError(f"{path}: {what}.", hint=f"{_APART} {_OFFICIAL}")
    odd = [
        f"{segment.id} has {area} pixels where the JSON says {segment.area}"
        for segment, area in zip(found.true, areas[LISTED:].tolist(), strict=True)
        if segment.area != area
    ]
    more = f", and {len(odd) - 1} more" if len(odd) > 1 else ""
    hint = f"PQ would be wrong, even above 100. `yoso check` finds all such pictures. {_OFFICIAL}"
    raise DataError(f"{path}: the truth contradicts itself: segment {odd[0]}{more}.", hint=hint)


_APART = "The PNG and the JSON do not belong together: `yoso check` finds all such pictures."
_OFFICIAL = "--trust-json takes the JSON at its word, as panopticapi does."


def _count_files(counter: _Counter, folder: Path, pairs: Sequence[RecordPair], places: range) -> _Counted:
    """Counts some of `pairs`, whose predicted PNGs are in `folder`."""
    pictures, blocks = [], []
    for true, predicted in pairs[places.start : places.stop]:
        path = folder / predicted.panoptic_file
        seen, block = counter.compared(true, counter.read(path, predicted, 1), str(path))
        pictures.append(seen)
        blocks.append(block)
    return count(pictures, counter.categories, counter.metrics), blocks


def _kept(
    counted: Iterable[_Counted], pairs: Sequence[RecordPair], truth: Path, known: RunCache | None
) -> Iterator[Counts]:
    """Yields the counts, and writes the cache again if pictures are missing from it."""
    names = [record.panoptic_file for record, _ in pairs]
    if known is None or all(known.knows(name, Stamp.of(truth / name)) for name in names):
        yield from (one for one, _ in counted)
        return
    left = iter(names)
    with writing(known.path) as add:
        for one, blocks in counted:
            for block, name in zip(blocks, left, strict=False):
                kept = block or known.block(name, Stamp.of(truth / name))
                if kept is not None:
                    add(name, kept)
            yield one

"""Predictions straight from a model are kept and counted in threads of their own, while the model goes on."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from yoso_cli.evaluation.measures import Counts, count, look
from yoso_cli.evaluation.overlap import Workspace
from yoso_cli.panoptic.files import SetWriter, read_panoptic
from yoso_cli.panoptic.types import ImageRecord, Panoptic, PanopticSet
from yoso_cli.runtime.stages import stage

Predicted = tuple[ImageRecord, Panoptic]

# Pictures that may wait for a slower stage.
_AHEAD = 4


def saving(predicted: Iterable[Predicted], writer: SetWriter) -> Iterator[Predicted]:
    """Passes predictions on while `writer` takes them down; `complete` it when the last one has gone by.

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


def counted(
    predicted: Iterable[Predicted], truth: PanopticSet, metrics: Sequence[str], *, threads: int = 1
) -> Iterator[Counts]:
    """What each prediction, compared with its picture in `truth`, adds to each of `metrics`.

    Args:
        predicted: records of `truth` with their predictions.
        truth: what is compared with.
        metrics: some of `measures.METRICS`.
        threads: 1, or 0 where the model needs all cores.

    Raises:
        DataError: a true PNG is unreadable or contradicts itself; says which.
    """
    return stage(_compared(truth, metrics), predicted, threads=threads, ahead=_AHEAD)


def first_of_two(
    predicted: Iterable[tuple[ImageRecord, tuple[Panoptic, Panoptic]]], truth: PanopticSet, second: list[Counts]
) -> Iterator[Predicted]:
    """Passes the first prediction for each picture on; what the second adds to PQ is appended to `second`.

    Raises:
        DataError: as `counted` does.
    """
    compare = _compared(truth, ("pq",))

    def pass_first(one: tuple[ImageRecord, tuple[Panoptic, Panoptic]]) -> Predicted:
        record, (first, other) = one
        second.append(compare((record, other)))
        return record, first

    return stage(pass_first, predicted, threads=1, ahead=_AHEAD)


def _compared(truth: PanopticSet, metrics: Sequence[str]) -> Callable[[Predicted], Counts]:
    """Counts one prediction; for one thread, whose memory is used again."""
    space = Workspace()

    def compare(one: Predicted) -> Counts:
        record, prediction = one
        name, true = str(truth.panoptic_path(record)), read_panoptic(truth, record)
        return count([look(name, true, prediction, truth.categories, metrics, space)], truth.categories, metrics)

    return compare

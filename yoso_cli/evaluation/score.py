"""From many pictures to one score: pairs of truth and prediction are read, matched and counted as a stream."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from yoso_cli.errors import DataError
from yoso_cli.evaluation.counting import counts_from_files, counts_from_memory
from yoso_cli.evaluation.matching import Overlap, Workspace
from yoso_cli.evaluation.measures import Measures, counts, measures, overlap_for, score_counts
from yoso_cli.panoptic import annotations
from yoso_cli.panoptic.files import MANIFEST, read_set
from yoso_cli.panoptic.layout import find_listing, find_photos, find_pngs
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet

Pair = tuple[Panoptic, Panoptic]


def score(
    pairs: Iterable[Pair],
    categories: Sequence[Category],
    *,
    metrics: Sequence[str] = ("pq",),
    names: Sequence[str] = (),
) -> Measures:
    """The measures over `pairs`, whose maps are held in memory one at a time.

    Args:
        pairs: truth and prediction of each picture; their order is the order in which floats are summed.
        categories: the classes that count.
        metrics: some of `measures.METRICS`.
        names: what to call each picture in an error; its number where none is given.

    Raises:
        DataError: a pair contradicts itself, or lacks what a metric needs; says which.
    """

    def pictures() -> Iterator[Overlap]:
        space = Workspace()
        for number, (truth, prediction) in enumerate(pairs):
            name = names[number] if number < len(names) else f"Picture {number + 1}"
            yield overlap_for(name, truth, prediction, metrics, space)

    return measures(counts(pictures(), categories, metrics), categories, metrics)


def score_files(
    truth: PanopticSet,
    predictions: PanopticSet,
    metrics: Sequence[str] = ("pq",),
    *,
    workers: int | None = 1,
    cache: Path | None = None,
    trust_json: bool = False,
) -> Measures:
    """The measures of predictions on disk. Arguments and errors are those of `counting.counts_from_files`."""
    counted = counts_from_files(truth, predictions, metrics, workers=workers, cache=cache, trust_json=trust_json)
    return score_counts(counted, truth, metrics)


def score_predicted(
    truth: PanopticSet,
    predicted: Iterable[tuple[ImageRecord, Panoptic]],
    metrics: Sequence[str] = ("pq",),
    *,
    cache: Path | None = None,
) -> Measures:
    """The measures of predictions in memory. Arguments and errors are those of `counting.counts_from_memory`."""
    return score_counts(counts_from_memory(truth, predicted, metrics, cache=cache), truth, metrics)


def read_any(path: Path, *, like: PanopticSet | None = None) -> PanopticSet:
    """A panoptic set in any supported layout; its pictures need not be there.

    Args:
        path: a prepared split, a folder with panoptic.json and panoptic/, or a COCO panoptic JSON with a folder of
            PNGs of the same stem beside it.
        like: the truth, when `path` holds predictions that leave out what the truth knows.

    Raises:
        DataError: it is none of these, or malformed.
    """
    if (path / MANIFEST).exists():
        return read_set(path)
    listing = find_listing(path)
    if not listing.exists():
        raise DataError(f"{listing}: no such file.", hint=f"{_JSON_EXPECTED}{_others_in(path)}")
    remarks: list[str] = []
    categories, records = annotations.read(listing, like, on_remark=remarks.append)
    pngs = find_pngs(listing, [record.panoptic_file for record in records])
    if not pngs.is_dir():
        raise DataError(f"{pngs}: no such folder; the PNGs of {listing} are expected there.")
    photos = find_photos(listing, [record.image_file for record in records])
    return PanopticSet(path.stem, "", categories, photos.renamed(records), photos.folder, pngs, tuple(remarks))


_JSON_EXPECTED = "A COCO panoptic JSON is expected, with its PNGs in a folder of the same name beside it."


def _others_in(folder: Path) -> str:
    """The JSONs of a folder that has none of the expected name: one of them may be meant."""
    names = sorted(path.name for path in folder.glob("*.json"))[:5]
    return f" These JSONs lie there: {', '.join(names)}." if names else ""

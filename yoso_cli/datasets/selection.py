"""Choosing pictures of a set: by name, class and size, and at random."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from yoso_cli.datasets.division import drawn_order
from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import ImageRecord
from yoso_cli.runtime.words import shortened


@dataclass(frozen=True)
class Selection:
    """Which pictures are chosen: those that fit everything that is given.

    Attributes:
        category_ids: a picture shows one of these, crowds not counted; empty for any.
        min_size: of the short edge, pixels.
        max_size: of the long edge, pixels; None for any.
        names: files, with or without folder and suffix; None for any.
        count: of pictures, drawn from those that fit; None for all.
        share: of those that fit, 0..1; None for all.
        seed: of the draw.
    """

    category_ids: frozenset[int] = frozenset()
    min_size: int = 0
    max_size: int | None = None
    names: tuple[str, ...] | None = None
    count: int | None = None
    share: float | None = None
    seed: int = 0

    def of(self, records: Sequence[ImageRecord]) -> list[ImageRecord]:
        """The chosen ones of `records`, in their order.

        Raises:
            DataError: a name is that of no picture or of several; or fewer fit than are asked for, or none.
        """
        named = None if self.names is None else _named(records, self.names)
        fitting = [one for one in records if self._fits(one) and (named is None or one.image_file in named)]
        if not fitting:
            raise DataError(
                "No picture fits all of what is asked for.", hint="`yoso dataset size` tells what is there."
            )
        count = self.count if self.share is None else max(1, round(self.share * len(fitting)))
        if count is None:
            return fitting
        if count > len(fitting):
            raise DataError(f"--count {count}: only {len(fitting)} pictures fit.", hint="Ask for fewer.")
        drawn = set(drawn_order((one.image_file for one in fitting), self.seed)[:count])
        return [one for one in fitting if one.image_file in drawn]

    def _fits(self, record: ImageRecord) -> bool:
        edges = record.height, record.width
        if min(edges) < self.min_size or (self.max_size is not None and max(edges) > self.max_size):
            return False
        if not self.category_ids:
            return True
        return any(one.category_id in self.category_ids and not one.iscrowd for one in record.segments)


def _named(records: Iterable[ImageRecord], names: Sequence[str]) -> set[str]:
    """The files that `names` mean: the whole path, the file's name, or either without suffix."""
    meant: dict[str, set[str]] = {}
    for record in records:
        path = PurePosixPath(record.image_file)
        for name in {record.image_file, path.name, str(path.with_suffix("")), path.stem}:
            meant.setdefault(name, set()).add(record.image_file)
    unknown = [name for name in names if name not in meant]
    if unknown:
        raise DataError(f"{len(unknown)} of the names are of no picture: {shortened(unknown)}.")
    found = {name: meant[name] if len(meant[name]) == 1 else meant[name] & {name} for name in names}
    unclear = [name for name, files in found.items() if not files]
    if unclear:
        raise DataError(
            f"{len(unclear)} of the names are of several pictures: {shortened(unclear)}.",
            hint="Write their folders and suffixes as well.",
        )
    return set().union(*found.values())

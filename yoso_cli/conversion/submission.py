"""Submissions to evaluation servers: a zip of PNGs, with a JSON for those that compute panoptic quality.

- COCO test-dev (https://cocodataset.org/#upload), Cityscapes and Mapillary Vistas take COCO's panoptic result format:
  `NAME.json` and the PNGs in `NAME/`, a segment by its id and category alone.
- ADE20K's server (http://sceneparsing.csail.mit.edu) scores semantic maps: an 8-bit PNG per picture, 1 to 150 in the
  order of the classes, 0 for none.

A category that the published dataset does not have is refused here, before the server does it.
"""

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoso_cli.atomic import replacing, temporary_folder
from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.conversion.maps import grey_png, panoptic_to_values
from yoso_cli.datasets.spec import read_categories
from yoso_cli.errors import DataError
from yoso_cli.panoptic.files import encode_id_map
from yoso_cli.panoptic.types import Panoptic


def require_published(table: CategoryTable, *datasets: str) -> None:
    """Raises DataError when `table` does not have exactly the classes of one of the published `datasets`."""
    own = {(one.id, one.name) for one in table.categories}
    odd: set[tuple[int, str]] = set()
    for dataset in datasets:
        odd = own ^ {(one.id, one.name) for one in read_categories(dataset)}
        if not odd:
            return
    category_id, name = min(odd)
    raise DataError(
        f"The predictions do not have the classes of {' or '.join(datasets)}: {len(odd)} differ, the first is "
        f"{name!r} with the id {category_id}.",
        hint="The server evaluates only the published classes.",
    )


@dataclass(frozen=True)
class ResultsWriter:
    """COCO's panoptic result format, `name` being that of the JSON and of the folder of PNGs."""

    table: CategoryTable
    name: str

    def write(
        self, folder: Path, picture: SourcePicture, panoptic: Panoptic
    ) -> tuple[dict[str, Any], Counter[InformationLoss]]:
        """The PNG of a picture."""
        # Servers look for PNGs in one flat folder.
        file = f"{picture.stem.rpartition('/')[2]}.png"
        path = folder / self.name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_id_map(panoptic.id_map))
        infos = [{"id": one.id, "category_id": one.category_id} for one in panoptic.segments]
        losses = Counter(
            {
                InformationLoss.SCORE: sum(one.score is not None for one in panoptic.segments),
                InformationLoss.CROWD_FLAG: sum(one.iscrowd for one in panoptic.segments),
            }
        )
        return {"image_id": picture.image_id, "file_name": file, "segments_info": infos}, losses

    def finish(self, folder: Path, entries: Sequence[dict[str, Any]]) -> None:
        """Writes the JSON."""
        twice = [file for file, count in Counter(entry["file_name"] for entry in entries).items() if count > 1]
        if twice:
            raise DataError(f"{twice[0]}: two pictures have this name, but a submission has only one folder.")
        (folder / f"{self.name}.json").write_text(json.dumps({"annotations": list(entries)}), encoding="utf-8")


@dataclass(frozen=True)
class SemanticWriter:
    """A semantic map for each picture: the index of the class from 1, 0 for none."""

    table: CategoryTable

    def write(self, folder: Path, picture: SourcePicture, panoptic: Panoptic) -> tuple[None, Counter[InformationLoss]]:
        """The map of a picture."""
        places = {category.id: place for place, category in enumerate(self.table.categories, start=1)}
        values = {segment.id: places[segment.category_id] for segment in panoptic.segments}
        path = folder / f"{picture.stem.rpartition('/')[2]}.png"
        path.write_bytes(grey_png(panoptic_to_values(panoptic, 0, values), deep=False))
        things = {category.id for category in self.table.categories if category.isthing}
        losses = {
            InformationLoss.INSTANCES: sum(one.category_id in things for one in panoptic.segments),
            InformationLoss.SCORE: sum(one.score is not None for one in panoptic.segments),
            InformationLoss.CROWD_FLAG: sum(one.iscrowd for one in panoptic.segments),
        }
        return None, Counter(losses)

    def finish(self, folder: Path, entries: Sequence[None]) -> None:
        """The maps are all there is."""


@contextmanager
def replacing_zip(path: Path) -> Iterator[Path]:
    """Gives a temporary folder; when the block ends well, a zip of what is in it replaces `path` in one step.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    with replacing(path) as temporary, temporary_folder(path) as folder:
        yield folder
        # PNGs are compressed already.
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(folder).as_posix())

"""What all forms of labels have in common: a source gives panoptic pictures, a target takes them.

Both travel to the worker processes, so they hold paths and tables, never open files or pictures.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeVar

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.panoptic.types import Panoptic


class Loss(Enum):
    """What a form cannot say, so that a conversion leaves it out and counts it; the value is what a person reads."""

    EMPTY = "segments without a pixel are left out"
    HIDDEN = "instances are wholly hidden by smaller ones and left out"
    OVERLAP = "pixels were claimed by several instances; the smallest instance has them"
    UNCLAIMED = "pixels of a thing class belong to no instance and are void"
    SCORE = "scores are not kept"
    CROWDS = "crowds are one with another crowd of their class"
    STUFF_CROWD = "crowds of a stuff class are plain segments"
    INSTANCES = "instances are not told apart any more"


@dataclass(frozen=True)
class Picture:
    """One picture of a source.

    Attributes:
        image_id: as the source has it; where it has none, `stem`.
        image_file: relative to the source's `image_dir`, with forward slashes.
    """

    image_id: int | str
    image_file: str

    @property
    def stem(self) -> str:
        """The file without its suffix: what its labels are called, too."""
        return self.image_file.rpartition(".")[0]


@dataclass(frozen=True)
class Reading:
    """The labels of a picture, and what was lost on the way."""

    panoptic: Panoptic
    losses: Counter[Loss] = field(default_factory=Counter)


@dataclass(frozen=True)
class Source(ABC):
    """Labels in some form.

    Attributes:
        table: the classes.
        image_dir: where the pictures lie.
        pictures: those with labels, in the order that shall stay.
        problems: what is wrong with the set as a whole; none of it may be converted then.
        remarks: what a person may want to know, as files that are no pictures.
    """

    table: CategoryTable
    image_dir: Path
    pictures: tuple[Picture, ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]

    @abstractmethod
    def read(self, picture: Picture) -> Reading:
        """The labels of `picture`. Raises DataError naming the file that is missing or wrong."""


Piece = TypeVar("Piece")


class Target(Protocol[Piece]):
    """Where labels go. `Piece` is what a picture leaves for the listing."""

    def write(self, folder: Path, picture: Picture, panoptic: Panoptic) -> tuple[Piece, Counter[Loss]]:
        """Writes the files of one picture below `folder`; tells what the form cannot say.

        Raises:
            DataError: the form cannot hold this picture at all.
            OSError: the disk is full.
        """

    def finish(self, folder: Path, pieces: Sequence[Piece]) -> None:
        """Writes what lists the whole set, last. Raises OSError when the disk is full."""

"""Finding the photo that a label file names.

Labels name photos as their tool saw them: with the folders of another computer, Windows' separators, a server's
address. A photo is looked for below one folder alone, that of the labels or the one the user names: whatever a label
file says, nothing else is opened.
"""

import os
import posixpath
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from PIL import ExifTags

from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.photos import PHOTO_SUFFIXES, opened_photo

# With these the picture is shown with width and height exchanged.
_TURNED = (5, 6, 7, 8)
_SHOWN = 3


class UnfoundError(Exception):
    """No photo, or several, for a name; the message continues a sentence about the label file."""


@dataclass(frozen=True)
class PhotoIndex:
    """The photos below a folder.

    Attributes:
        folder: where they lie.
        files: relative to it, with forward slashes; sorted.
        by_name: the same by the name without folders, in lower case.
        missed: the names that were asked for in vain.
    """

    folder: Path
    files: frozenset[str]
    by_name: dict[str, tuple[str, ...]]
    missed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, leave_out: Iterable[str] = ()) -> "PhotoIndex":
        """The photos below `folder`, hidden ones and those in folders named in `leave_out` aside.

        Raises:
            UsageError: there is no such folder.
        """
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder; pictures are expected there.", hint="Name it with --images.")
        files: list[str] = []
        by_name: dict[str, tuple[str, ...]] = {}
        skipped = set(leave_out)
        for place, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in skipped)
            beside = Path(place).relative_to(folder).as_posix()
            for name in sorted(names):
                if not name.startswith(".") and os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES:  # noqa: PTH122
                    file = posixpath.normpath(posixpath.join(beside, name))
                    files.append(file)
                    by_name[name.lower()] = (*by_name.get(name.lower(), ()), file)
        return cls(folder, frozenset(files), by_name)

    def find(self, written: str, beside: str = "") -> str:
        """The photo that a label file means.

        Args:
            written: the name or path in the label file.
            beside: the folder of the label file, relative to that of the photos.

        Raises:
            UnfoundError: there is none, or there are several of that name.
        """
        path = PureWindowsPath(written).as_posix()
        near = posixpath.normpath(posixpath.join(beside, path))
        if near in self.files:
            return near
        # With fewer and fewer of the folders that another computer had.
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):
            if (file := "/".join(parts[start:])) in self.files:
                return file
        return self._named(written, parts[-1] if parts else "", path)

    def require_some(self, found: Collection[object], source: Path) -> None:
        """Raises DataError where labels name pictures and none was found: that is one mistake, not thousands."""
        if self.missed and not found:
            some = ", ".join(repr(name) for name in self.missed[:_SHOWN])
            raise DataError(
                f"{source}: none of its pictures is in {self.folder}; it names {some}.",
                hint="Name the folder of the pictures with --images.",
            )

    def _named(self, written: str, name: str, path: str) -> str:
        found = self.by_name.get(name.lower(), ())
        if len(found) > 1:
            # The one whose folders are most like those written.
            ends = [file for file in found if path.lower().endswith(f"/{file.lower()}")]
            if len(ends) == 1:
                return ends[0]
            raise UnfoundError(f"names the picture {written!r}, and {len(found)} in {self.folder} are called so")
        if not found:
            self.missed.append(written)
            raise UnfoundError(f"names the picture {written!r}, which is not in {self.folder}")
        return found[0]


def common_folder(folder: Path, files: Iterable[str]) -> str:
    """The innermost folder that holds all of `files`, relative to `folder`; "" if that is `folder` itself."""
    return posixpath.commonpath([posixpath.dirname(file) for file in files] or [""])


def shown_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels of the picture `path` as a photo viewer shows it; reads its header only.

    Raises:
        DataError: missing, or no picture.
    """
    with opened_photo(path, str(path)) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation) in _TURNED
        return (image.width, image.height) if turned else (image.height, image.width)

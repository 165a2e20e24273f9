"""INPUTS as a list of pictures and videos: files, folders, patterns, lists, stdin, URLs, cameras, prepared splits."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from yoso_cli.errors import DataError, UsageError, did_you_mean
from yoso_cli.media.fetch import fetch_image, require_web_address
from yoso_cli.media.sources import SCHEMES
from yoso_cli.panoptic.files import MANIFEST, read_set
from yoso_cli.panoptic.photos import PHOTO_SUFFIXES, decode_image, opened_photo, read_image
from yoso_cli.panoptic.types import Rgb
from yoso_cli.runtime.paths import beside, is_there
from yoso_cli.runtime.words import counted

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"})
"""Of the files that are taken for videos, in lower case; an animated GIF is one as well."""

DRAWN_SUFFIX = "-yoso"
"""Ends the name of a picture that `yoso viz` has drawn: a folder's own pictures are not taken for photos."""

_LIVE = frozenset(SCHEMES) - {"http", "https"}
_CAMERA = re.compile(r"camera:\d+")
_MOST_STDIN = 256 * 2**20
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Input:
    """One picture or video.

    Attributes:
        source: its path, its URL, `camera:N`, or `-` for a picture on stdin.
        file: its path below `Inputs.root`, with forward slashes; for what is not on disk, a name.
        name: the same without suffix, where that is unique: its results are called so.
        is_video: whether it has frames.
        image_id: in a prepared split, that of the picture; None elsewhere.
        content: of a picture on stdin.
    """

    source: str
    file: str
    name: str
    is_video: bool = False
    image_id: int | str | None = None
    content: bytes | None = None

    @property
    def path(self) -> Path | None:
        """The file on disk; None for a URL, a camera and stdin."""
        return None if self.content is not None or "://" in self.source or self.is_camera else Path(self.source)

    @property
    def is_camera(self) -> bool:
        """Whether it is `camera:N`."""
        return _CAMERA.fullmatch(self.source) is not None and self.is_video


@dataclass(frozen=True)
class Inputs:
    """What INPUTS stand for.

    Attributes:
        items: in the order named; those of a folder by name.
        root: the innermost folder that all files on disk are in.
        remarks: what was passed over, a sentence each.
    """

    items: tuple[Input, ...]
    root: Path
    remarks: tuple[str, ...] = ()


def find_inputs(
    words: str | Iterable[str],
    *,
    recursive: bool = False,
    datasets: Path = Path("datasets"),
    stdin: IO[bytes] | None = None,
) -> Inputs:
    """The pictures and videos that `words` stand for; each is listed once, and two never have one name.

    Args:
        words: files; folders; patterns such as `photos/**/*.jpg`; `@list.txt`, a file with an input on each line; `-`,
            such a list or one picture on stdin; http and https addresses; `rtsp://` and other streams; `camera:0`; and
            a prepared split, as `mine/val`.
        recursive: whether folders are searched to any depth.
        datasets: the folder of prepared datasets.
        stdin: read for `-`.

    Raises:
        UsageError: something is not there, or a folder or a pattern has no picture.
        DataError: a prepared split is damaged.
    """
    search = _Search(recursive, datasets, stdin, [], [])
    named = [words] if isinstance(words, str) else words
    found = list(dict.fromkeys(one for word in named for one in search.found(word)))
    on_disk = [Path(one.base) for one in found if one.base]
    root = Path(os.path.commonpath(on_disk)) if on_disk else Path.cwd()
    items = [_placed(one, root) for one in found]
    return Inputs(tuple(_distinct(items)), root, tuple(search.remarks))


def read_input(one: Input) -> Rgb:
    """The picture of an input that is no video, uint8 (H, W, 3). Raises DataError or RunError naming it."""
    if one.content is not None:
        return decode_image(BytesIO(one.content), "stdin")
    if one.is_video:
        raise DataError(f"{one.source}: is a video, and a picture is expected.", hint="Use `model.video`.")
    return fetch_image(one.source) if "://" in one.source else read_image(Path(one.source))


@dataclass(frozen=True)
class _Found:
    """What was found, before it has a name; `base` is the folder that its name is relative to, "" if not on disk."""

    source: str
    base: str
    is_video: bool
    image_id: int | str | None = None
    content: bytes | None = None


@dataclass
class _Search:
    recursive: bool
    datasets: Path
    stdin: IO[bytes] | None
    remarks: list[str]
    lists: list[str]

    def found(self, word: str) -> Iterator[_Found]:
        """What a word stands for."""
        if word == "-":
            yield from self._from_stdin()
        elif "://" in word:
            yield _address(word)
        elif _CAMERA.fullmatch(word):
            yield _Found(word, "", True)
        elif is_there(Path(word)):
            yield from self._on_disk(Path(word))
        elif word.startswith("@"):
            yield from self._listed(word)
        elif is_there(self.datasets / word / MANIFEST):
            yield from _split(self.datasets / word)
        elif _PATTERN.search(word):
            yield from self._matching(word)
        else:
            raise UsageError(f"{word}: there is no such file or folder.", hint=did_you_mean(word, beside(Path(word))))

    def _on_disk(self, path: Path) -> Iterator[_Found]:
        if not path.is_dir():
            yield _on_disk(path, path.parent)
        elif (path / MANIFEST).is_file():
            yield from _split(path)
        else:
            yield from self._folder(path)

    def _folder(self, folder: Path) -> Iterator[_Found]:
        paths = sorted(path for path in (_files(folder) if self.recursive else folder.iterdir()) if _may_be_read(path))
        fit = [path for path in paths if _is_input(path) and not _is_hidden(path.relative_to(folder))]
        if drawn := [path for path in fit if path.stem.endswith(DRAWN_SUFFIX)]:
            self.remarks.append(f"{folder}: {counted(len(drawn), 'picture')} that yoso has drawn passed over.")
        fit = [path for path in fit if not path.stem.endswith(DRAWN_SUFFIX)]
        if not fit:
            below = not self.recursive and any(map(_is_input, _files(folder)))
            hint = "Its folders have some: add --recursive." if below else "Name photos or videos."
            raise UsageError(f"{folder}: there is no picture or video in this folder.", hint=hint)
        yield from (_on_disk(path, folder) for path in fit)

    def _matching(self, pattern: str) -> Iterator[_Found]:
        paths = sorted(Path(one) for one in glob.glob(pattern, recursive=True))  # noqa: PTH207  absolute patterns
        fixed = Path(*_before_pattern(Path(pattern).parts))
        fit = [path for path in paths if path.is_file() and _is_input(path)]
        if not fit:
            raise UsageError(f"{pattern}: no picture or video matches this pattern.")
        yield from (_on_disk(path, fixed) for path in fit)

    def _listed(self, word: str) -> Iterator[_Found]:
        path = Path(word[1:])
        if not path.is_file():
            raise UsageError(f"{path}: there is no such list.", hint=did_you_mean(str(path), beside(path)))
        try:
            text = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
        if _is_picture(text):
            raise UsageError(f"{path}: is a picture and no list.", hint=f"Name it as {path}.")
        yield from self._lines(text, str(path))

    def _from_stdin(self) -> Iterator[_Found]:
        content = self.stdin.read(_MOST_STDIN + 1) if self.stdin else b""
        if len(content) > _MOST_STDIN:
            raise DataError(f"stdin: is larger than the limit of {_MOST_STDIN // 2**20} MiB.")
        if _is_picture(content):
            yield _Found("-", "", False, content=content)
        else:
            yield from self._lines(content, "stdin")

    def _lines(self, text: bytes, where: str) -> Iterator[_Found]:
        separator = b"\0" if b"\0" in text else b"\n"
        try:
            lines = [
                line.decode("utf-8", "surrogateescape" if separator == b"\0" else "strict").strip("\r\n")
                for line in text.split(separator)
            ]
        except UnicodeDecodeError:
            raise DataError(f"{where}: is neither a picture nor a list of files.") from None
        words = [line for line in lines if line.strip() and not line.startswith("#")]
        if not words:
            raise UsageError(f"{where}: lists nothing.", hint="A list has a file, a folder or a URL on each line.")
        for line in words:
            if line == "-" or line.startswith("@"):
                raise UsageError(f"{where}: lists {line!r}; a list in a list is not read.")
            yield from self.found(line)


def _before_pattern(parts: Sequence[str]) -> list[str]:
    """The folders of a pattern up to the first that has a wildcard."""
    fixed = []
    for part in parts[:-1]:
        if _PATTERN.search(part):
            break
        fixed.append(part)
    return fixed


def _address(url: str) -> _Found:
    scheme = urlsplit(url).scheme.lower()
    if scheme in _LIVE:
        return _Found(url, "", True)
    require_web_address(url)
    return _Found(url, "", PurePosixPath(urlsplit(url).path).suffix.lower() in VIDEO_SUFFIXES)


def _on_disk(path: Path, base: Path) -> _Found:
    return _Found(str(path), _absolute(base), path.suffix.lower() in VIDEO_SUFFIXES or _is_animated(path))


def _split(folder: Path) -> Iterator[_Found]:
    """The photos of a prepared split, and not its label maps."""
    panoptic_set = read_set(folder)
    base = _absolute(panoptic_set.image_dir)
    for record in panoptic_set.records:
        yield _Found(str(panoptic_set.image_path(record)), base, False, record.image_id)


def _absolute(path: Path) -> str:
    """Without `..`; links stay, so that a name is what was typed."""
    return os.path.abspath(path)  # noqa: PTH100


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; folders that are links are not entered, so that it ends."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)


def _may_be_read(path: Path) -> bool:
    """Whether it is a file, or a link to nowhere, which reading names; a pipe would be waited for."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _is_input(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES | VIDEO_SUFFIXES


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_animated(path: Path) -> bool:
    """Whether a GIF has several frames, without decoding them."""
    if path.suffix.lower() != ".gif":
        return False
    try:
        with opened_photo(path, str(path)) as picture:
            return getattr(picture, "is_animated", False)
    except DataError:
        return False


def _is_picture(content: bytes) -> bool:
    """Whether stdin has a picture, by the first bytes of the formats, and not text."""
    starts = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
    riff = content.startswith(b"RIFF") and content[8:12] == b"WEBP"
    bitmap = content.startswith(b"BM") and content[6:10] == b"\0\0\0\0"
    return content.startswith(starts) or riff or bitmap or content[4:12] == b"ftypavif"


def _placed(found: _Found, root: Path) -> Input:
    """With the file's place below `root`, or a name for what is not on disk."""
    if found.base:
        file = Path(os.path.relpath(found.source, root)).as_posix()
    elif found.content is not None:
        file = "stdin"
    elif "://" in found.source:
        file = _name_of(found.source)
    else:
        file = found.source.replace(":", "-")
    name = str(PurePosixPath(file).with_suffix("")) if found.base or "://" in found.source else file
    return Input(found.source, file, name, found.is_video, found.image_id, found.content)


def _name_of(url: str) -> str:
    """The last part of a URL's path, or its host, as the name of a file."""
    parts = urlsplit(url)
    last = unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.hostname or "stream"
    return re.sub(r"[^\w.-]+", "_", last).lstrip(".") or "picture"


def _distinct(items: Sequence[Input]) -> Iterator[Input]:
    """Those that share a name keep their suffix in it; what still has the name of another gets a number."""
    shared = {name for name, count in Counter(one.name for one in items).items() if count > 1}
    taken: set[str] = {one.name for one in items} - shared
    for one in items:
        name = one.file if one.name in shared else one.name
        number = 2
        while one.name in shared and name in taken:
            name, number = f"{one.file}-{number}", number + 1
        taken.add(name)
        yield replace(one, name=name)

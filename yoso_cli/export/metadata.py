"""What an exported file says of itself, as JSON inside it, and the seal by which damage is noticed.

Whoever runs the file without this package finds there what surrounds the network: the size pictures are resized to, how
they are padded, the thresholds and the classes. The seal is a SHA-256 of the whole file, or pair of files, in which the
seal's own digits count as zeros.
"""

import hashlib
import json
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from yoso_cli.errors import DataError
from yoso_cli.export.formats import FORMATS, MERGES, PRECISIONS, STRIDE, Size
from yoso_cli.panoptic.types import Category
from yoso_cli.runtime.json_text import parse_json

KEY = "yoso"
"""The name of the entry in a file."""

VERSION = 1
MOST_BYTES = 1 << 20
"""Of the JSON: a thousand classes are a tenth of it."""
MOST_FILE_BYTES = 1 << 31
"""Of a file: the limit of protobuf."""

_SEAL = re.compile(rb"yoso-seal-([0-9a-f]{64})")
_OPEN = "0" * 64

# How the pictures of the released models were resized and padded; whoever runs a file must do the same.
_PREPARATION = {
    "channels": "RGB, 0..255",
    "resize": "Pillow's BILINEAR with antialiasing: the short edge to short_edge, or the long one to long_edge if it "
    "would pass that; edges are rounded half up. With a fixed size: the largest of the same shape that fits into it.",
    "padding": "at the right and at the bottom, to multiples of stride, with the mean colour",
    "normalisation": "inside of the file: the mean is subtracted, the standard deviation is in the weights",
}


@dataclass(frozen=True)
class Metadata:
    """What an exported file says of itself.

    Attributes:
        format: one of FORMATS.
        precision: of its convolutions.
        merge: one of MERGES.
        size: (height, width) of every input, or None where it is free.
        categories: in the order of the class logits.
        recipe: the resolved recipe of the weights, as plain values.
        steps: the folds that the weights have been through.
        weights: the file that it was made from, with its hash, and where that comes from.
        mean: of the network's pixels, RGB 0..255.
        std: their standard deviation.
        versions: of the packages that made it.
        quantised: which convolutions are in int8, of `openvino_file.QUANTISED`; empty where none are.
    """

    format: str
    precision: str
    merge: str
    size: Size | None
    categories: tuple[Category, ...]
    recipe: dict[str, Any]
    steps: tuple[str, ...]
    weights: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    versions: dict[str, str] = field(default_factory=dict)
    quantised: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with what a program without this package needs spelt out."""
        used = self.recipe["inference"]
        edges = {"short_edge": used["short_edge"], "long_edge": used["long_edge"]}
        return {
            "version": VERSION,
            "format": self.format,
            "precision": self.precision,
            "merge": self.merge,
            "size": list(self.size) if self.size else None,
            "picture": {**_PREPARATION, "stride": STRIDE, "mean": self.mean, "std": self.std, **edges},
            "thresholds": {"score": used["score_threshold"], "overlap": used["overlap_threshold"]},
            "categories": [asdict(one) for one in self.categories],
            "recipe": self.recipe,
            "steps": list(self.steps),
            "weights": self.weights,
            "versions": self.versions,
            "quantised": self.quantised,
        }

    def to_json(self) -> str:
        """The text that goes into the file, with an open seal. ASCII."""
        return json.dumps({**self.to_dict(), "seal": f"yoso-seal-{_OPEN}"})

    @classmethod
    def of_json(cls, text: bytes, where: str) -> "Metadata":
        """Of the entry of the file that `where` names. Raises DataError when it is none of ours."""
        if len(text) > MOST_BYTES:
            raise DataError(f"{where}: its metadata have {len(text):,} bytes, more than yoso writes.")
        plain = parse_json(text, f"{where}: its metadata")
        version = plain.get("version")
        if not isinstance(version, int):
            raise foreign(where)
        if version > VERSION:
            raise DataError(f"{where}: was written by a newer version of yoso.", hint="Update yoso.")
        try:
            return cls._of_dict(plain)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise DataError(f"{where}: its metadata are damaged ({error}).", hint="Export it again.") from error

    @classmethod
    def _of_dict(cls, plain: dict[str, Any]) -> "Metadata":
        size = None if plain["size"] is None else _edges(plain["size"])
        return cls(
            _among(plain["format"], FORMATS),
            _among(plain["precision"], PRECISIONS),
            _among(plain["merge"], MERGES),
            size,
            tuple(_category(one) for one in plain["categories"]),
            dict(plain["recipe"]),
            tuple(str(one) for one in plain["steps"]),
            dict(plain["weights"]),
            _three(plain["picture"]["mean"]),
            _three(plain["picture"]["std"]),
            {str(name): str(version) for name, version in dict(plain["versions"]).items()},
            str(plain["quantised"]),
        )


def foreign(where: str) -> DataError:
    """The error for a file that yoso did not write."""
    return DataError(
        f"{where}: yoso did not write this file: it does not say what its classes are and how pictures are prepared.",
        hint="`yoso export` writes files that run here.",
    )


def seal(path: Path, others: Sequence[Path] = ()) -> None:
    """Closes the open seal in `path`, over it and `others`."""
    content = path.read_bytes()
    digits = _digest([content, *(one.read_bytes() for one in others)])
    path.write_bytes(_SEAL.sub(b"yoso-seal-" + digits.encode(), content))


def require_whole(where: Path, contents: Sequence[bytes]) -> None:
    """Raises DataError unless the seal in the first of `contents` is that of all of them."""
    found = set(_SEAL.findall(contents[0]))
    if len(found) != 1:
        raise foreign(str(where))
    if found != {_digest(contents).encode()}:
        raise DataError(
            f"{where}: does not match its own checksum: it is damaged, or its parts are of different exports.",
            hint="Export it again, or use another copy.",
        )


def read_file(path: Path, what: str, hint: str = "") -> bytes:
    """The content of a file of limited size. Raises DataError, with `hint` when it is missing, or as `require_file`."""
    require_file(path, what, hint)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error


def require_file(path: Path, what: str, hint: str = "") -> None:
    """Raises DataError unless `path` is a file of limited size: a pipe would be waited for, and is read once only."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: there is no such {what}.", hint=hint) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: is a {'folder' if stat.S_ISDIR(found.st_mode) else 'pipe or device'}, and no {what}.")
    if found.st_size > MOST_FILE_BYTES:
        raise DataError(f"{path}: has {found.st_size / 1e9:.1f} GB, more than any exported YOSO.")


def _digest(contents: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for place, content in enumerate(contents):
        found.update(f"{len(content)}\n".encode())
        found.update(_SEAL.sub(b"yoso-seal-" + _OPEN.encode(), content) if place == 0 else content)
    return found.hexdigest()


def _among(value: Any, known: Iterable[str]) -> str:
    if value not in tuple(known):
        raise ValueError(f"{str(value)[:40]!r} is unknown")
    return str(value)


def _edges(value: Any) -> Size:
    height, width = (int(edge) for edge in value)
    if height < STRIDE or width < STRIDE or height % STRIDE or width % STRIDE:
        raise ValueError("its size is no multiple of the stride")
    return height, width


def _three(values: Any) -> tuple[float, ...]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _category(entry: dict[str, Any]) -> Category:
    red, green, blue = (int(part) for part in entry["color"])
    return Category(int(entry["id"]), str(entry["name"]), bool(entry["isthing"]), (red, green, blue))

"""The cache of downloaded weights, the ledger of their hashes at the first download, and that of archives of our own.

$YOSO_HOME/weights/            $YOSO_HOME is ~/.cache/yoso unless it is set
  known.json                   name or address -> Known
  own.json                     the hashes of exported files that only their writer may run
  coco.safetensors             the released weights in our format
  <address's hash>-<file>      what a --weights URL brought
"""

import hashlib
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from yoso_cli import atomic
from yoso_cli.errors import DataError, RunError
from yoso_cli.locks import sole_writer
from yoso_cli.runtime.json_text import read_json

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Known:
    """A published file at its first download.

    Attributes:
        origin: the address or path it came from.
        bytes: its size.
        sha256: its hash.
        tensors: the hash of its tensors, where it is kept in our format; else empty.
    """

    origin: str
    bytes: int
    sha256: str
    tensors: str = ""

    @classmethod
    def of(cls, file: Path, origin: str) -> "Known":
        """Of a file on disk. Raises DataError when it cannot be read."""
        found = hashlib.sha256()
        try:
            with file.open("rb") as opened:
                while block := opened.read(_BLOCK):
                    found.update(block)
                return cls(origin, opened.tell(), found.hexdigest())
        except OSError as error:
            raise DataError(f"{file}: cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class Cache:
    """Downloaded weights on disk.

    Attributes:
        path: the folder; made when something is kept.
    """

    path: Path

    @classmethod
    def open(cls) -> "Cache":
        """The cache in YOSO_HOME, or the user's cache folder."""
        home = os.environ.get("YOSO_HOME")
        try:
            user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            return cls((Path(home).expanduser() if home else user / "yoso") / "weights")
        except RuntimeError:
            # A user without an entry, as in a container, and without HOME.
            raise RunError("This user has no home folder for weights.", hint="Set YOSO_HOME to a folder.") from None

    @property
    def ledger(self) -> Path:
        """The hashes."""
        return self.path / "known.json"

    @property
    def own(self) -> Path:
        """The hashes of exported files that this user has written."""
        return self.path / "own.json"

    def released(self, name: str) -> Path:
        """The path of the released weights `name`, in yoso's format."""
        return self.path / f"{name}.safetensors"

    def addressed(self, address: str) -> Path:
        """The path of the file of a URL."""
        name = Path(unquote(urlsplit(address).path)).name
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[-80:] or "weights"
        return self.path / f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-{plain}"

    def known(self, name: str) -> Known | None:
        """The ledger's entry for `name`; None if there is none. Raises DataError if the ledger is damaged."""
        entry = self._read(self.ledger).get(name)
        if entry is None:
            return None
        try:
            return Known(str(entry["origin"]), int(entry["bytes"]), str(entry["sha256"]), str(entry["tensors"]))
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged() from error

    def check(self, name: str, found: Known) -> None:
        """Records the hash of `name` at its first use, and compares it later.

        Raises:
            DataError: it is another file than it was.
            RunError: the ledger cannot be written.
        """
        # Two that add entries at the same time must not lose one; writing the ledger has a lock of its own.
        with atomic.reporting(self.ledger):
            self.path.mkdir(parents=True, exist_ok=True)
        with atomic.reporting(self.ledger), sole_writer(self.path / "entry"):
            first = self.known(name)
            if first is None:
                atomic.write_json(self.ledger, {**self._read(self.ledger), name: asdict(found)}, indent=1)
        if first is not None and (first.bytes, first.sha256) != (found.bytes, found.sha256):
            raise DataError(
                f"{name}: differs from the file first downloaded under this name from {first.origin}: that had "
                f"{first.bytes} bytes and SHA-256 {first.sha256[:12]}..., this one has {found.bytes} bytes and "
                f"{found.sha256[:12]}... from {found.origin}.",
                hint=f"If you trust the new one, remove the entry {name!r} from {self.ledger} and try again.",
            )

    def remember_own(self, sha256: str) -> None:
        """Records the hash of a file that was written here. Raises RunError when the ledger cannot be written."""
        with atomic.reporting(self.own):
            self.path.mkdir(parents=True, exist_ok=True)
            with sole_writer(self.path / "entry"):
                kept = self._read(self.own).get("sha256", [])
                atomic.write_json(self.own, {"sha256": sorted({*kept, sha256})}, indent=1)

    def is_own(self, sha256: str) -> bool:
        """Whether a file with this hash was written here. Raises DataError if the ledger is damaged."""
        return sha256 in self._read(self.own).get("sha256", [])

    def _read(self, ledger: Path) -> dict[str, Any]:
        if not ledger.exists():
            return {}
        try:
            return read_json(ledger)
        except DataError as error:
            raise DataError(error.message, hint="Remove it; the hashes are then recorded again.") from error

    def _damaged(self) -> DataError:
        return DataError(f"{self.ledger}: is damaged.", hint="Remove it; the hashes are then recorded again.")

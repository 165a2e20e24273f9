"""Weights from elsewhere brought into the cache: the authors' releases by name, any weights file by address."""

from pathlib import Path

from yoso_cli.commands import console
from yoso_cli.errors import DataError


def here() -> list[str]:
    """The names of the released weights that are in the cache, the most used first."""
    from yoso_cli.releases.cache import Cache
    from yoso_cli.releases.catalog import RELEASES

    cache = Cache.open()
    return [name for name in RELEASES if cache.released(name).is_file()]


def path_of(name: str) -> Path:
    """The cached weights called `name`, brought there first if need be; held to the hash they first came with.

    Raises:
        RunError: they cannot be downloaded or kept.
        DataError: what is there or what came is not the released file.
    """
    from yoso_cli.model.weights import stated_hash
    from yoso_cli.releases.cache import Cache

    cache = Cache.open()
    target, known = cache.released(name), cache.known(name)
    if not target.is_file():
        return bring(name, None)
    if known is None or stated_hash(target) != known.tensors:
        raise DataError(
            f"{target}: is not what came under the name {name}.",
            hint=f"Bring it anew with `yoso weights get {name} --force`.",
        )
    return target


def bring(name: str, source: str | None) -> Path:
    """Downloads the released weights called `name`, checks them and keeps them in our format.

    Args:
        name: of the release.
        source: a file or an address to take instead of the authors' own.

    Raises:
        UsageError: there is no such release.
        RunError: they cannot be downloaded or kept.
        DataError: what came is not the released file.
    """
    from dataclasses import replace

    from yoso_cli.commands import importing
    from yoso_cli.model.weights import digest, write_weights
    from yoso_cli.releases import catalog
    from yoso_cli.releases.cache import Cache, Known

    release, cache = catalog.find(name), Cache.open()
    origin = source or release.address
    # Left there by a disk that was too full for both, the file need not come again.
    arrived = cache.path / release.file
    file = Path(origin) if "://" not in origin else arrived if arrived.is_file() else _downloaded(origin, arrived)
    try:
        found = importing.released(file, name)
        known = replace(Known.of(file, origin), tensors=digest(found.weights.state))
        cache.check(name, known)
    except DataError:
        # A wrong file must not stand in the way of the right one; but a person's own is left alone.
        arrived.unlink(missing_ok=True)
        raise
    versions = found.weights.provenance["versions"]
    provenance = {"released": {"name": name, "from": origin, "sha256": known.sha256}, "versions": versions}
    target = cache.released(name)
    write_weights(target, replace(found.weights, provenance=provenance))
    arrived.unlink(missing_ok=True)
    for note in found.notes:
        console.say(f"  {note}")
    return target


def from_address(address: str) -> Path:
    """The weights file of an address, downloaded once and held to the hash it first came with.

    Raises:
        UsageError: it is no http or https address.
        RunError: it cannot be downloaded or kept.
        DataError: it is another file than it was.
    """
    from yoso_cli.releases.cache import Cache, Known

    cache = Cache.open()
    target = cache.addressed(address)
    if not target.is_file():
        _downloaded(address, target)
    try:
        cache.check(address, Known.of(target, address))
    except DataError:
        target.unlink()
        raise
    return target


def _downloaded(address: str, target: Path) -> Path:
    from yoso_cli.releases.download import download

    console.say(f"Downloading {address}")
    download(address, target, progress=console.TERMINAL)
    return target

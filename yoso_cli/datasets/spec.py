"""What all datasets have in common: their description, their classes, and whether a split is prepared already."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from yoso_cli.atomic import recover
from yoso_cli.errors import UsageError
from yoso_cli.panoptic.annotations import categories_from_json
from yoso_cli.panoptic.files import MANIFEST, read_manifest
from yoso_cli.panoptic.types import Category, PanopticSet

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Archive:
    """A published file: its name, its size as text, and what to do with it."""

    file: str
    size: str
    unpack: str


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset that `yoso prepare NAME` knows.

    Attributes:
        name: as typed, and the name of its folder.
        title: as written in prose.
        splits: the usual ones.
        home: where its files come from; empty when it is drawn here.
        archives: the files themselves.
        licence: how one gets permission to use them.
        images: how many pictures each split has as published.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    home: str = ""
    archives: tuple[Archive, ...] = ()
    licence: str = ""
    images: Mapping[str, int] = field(default_factory=dict)

    def where_from(self) -> str:
        """Where the files come from, as a hint for somebody who does not have them."""
        files = "; ".join(f"{archive.file} ({archive.size}) {archive.unpack}" for archive in self.archives)
        return f"From {self.home}: {files}. {self.licence}".strip()


@dataclass(frozen=True)
class Skipped:
    """An incomplete split of a download, and what is missing."""

    split: str
    reason: str


@dataclass(frozen=True)
class Prepared:
    """A prepared split: its folder, its content, and whether it was made just now."""

    folder: Path
    panoptic_set: PanopticSet
    fresh: bool


def is_prepared(folder: Path, parameters: Mapping[str, Any], *, force: bool) -> bool:
    """Whether `folder` has this split already; if False, it may be written.

    Args:
        folder: `<root>/<name>/<split>`.
        parameters: required entries of its manifest.
        force: make it again, whatever it was made from.

    Raises:
        UsageError: something else is there.
        DataError: its manifest is unreadable, and `force` is not given.
        RunError: what a kill has left cannot be put back.
    """
    recover(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / MANIFEST).exists():
        # Raw downloads are also in folders like val2017: --force must only replace prepared sets.
        raise UsageError(
            f"{folder}: exists already and is not a prepared dataset, so it is not replaced.",
            hint="Choose another folder with --output.",
        )
    if force:
        return False
    manifest = read_manifest(folder) or {}
    differing = [key for key, value in parameters.items() if manifest.get(key) != value]
    if differing:
        there = ", ".join(f"{key} {manifest.get(key)} (asked for: {parameters[key]})" for key in differing)
        raise UsageError(
            f"{folder}: is prepared already, with {there}.",
            hint="Replace it with --force, or choose another folder with --output.",
        )
    return True


def category_tables() -> list[str]:
    """The names that `read_categories` knows."""
    folder = resources.files("yoso_cli.datasets") / "categories"
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))


def read_categories(name: str) -> tuple[Category, ...]:
    """The published categories of the dataset `name`, in the order that defines `train_id`."""
    file = resources.files("yoso_cli.datasets") / "categories" / f"{name}.json"
    return categories_from_json(json.loads(file.read_text(encoding="utf-8")))

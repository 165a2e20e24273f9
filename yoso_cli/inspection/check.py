"""Checks a dataset: everything that is wrong with it, found in one pass."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from yoso_cli.datasets.catalog import DATASETS
from yoso_cli.datasets.spec import category_tables, read_categories
from yoso_cli.inspection.picture import Examination, Examined
from yoso_cli.inspection.rules import PROPOSALS, RULES, Finding, Rule, Severity
from yoso_cli.inspection.split import Listed, Split, read_split
from yoso_cli.panoptic.packed_segments import SegmentTable
from yoso_cli.panoptic.photos import PHOTO_SUFFIXES
from yoso_cli.panoptic.types import Category, ImageRecord, PanopticSet
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.runtime.words import counted
from yoso_cli.runtime.workers import mapped

# How many classes well-known variants have.
_VARIANTS = {
    "coco": {
        **dict.fromkeys((80, 90, 91), "COCO's things alone"),
        **dict.fromkeys((171, 172, 182, 183), "COCO-Stuff"),
        134: "COCO panoptic with a background class",
        200: "COCO panoptic before its stuff classes were merged",
    },
    "cityscapes": {
        30: "Cityscapes with the classes that are not evaluated",
        **dict.fromkeys((33, 34, 35), "Cityscapes with all of its labels, void ones among them"),
        20: "Cityscapes with a background class",
    },
    "ade20k": {
        151: "ADE20K with its 'other' class",
        **dict.fromkeys((847, 3148), "the full ADE20K"),
        100: "ADE20K's things alone",
    },
    "mapillary": {
        65: "Mapillary Vistas v1.2",
        66: "Mapillary Vistas v1.2 with its unlabelled class",
        **dict.fromkeys((116, 123, 124), "Mapillary Vistas v2.0"),
    },
}

# Below this share there is too little void to matter.
_LITTLE_VOID = 0.02


@dataclass(frozen=True)
class Group:
    """The findings of one code in one split."""

    code: str
    split: str
    findings: tuple[Finding, ...]

    @property
    def rule(self) -> Rule:
        """What they are cases of."""
        return RULES[self.code]


@dataclass(frozen=True)
class CheckedDataset:
    """A dataset that was looked at: how many pictures each split has, and the findings in the order of RULES."""

    images: dict[str, int]
    groups: tuple[Group, ...]

    def count(self, severity: Severity) -> int:
        """How many kinds of finding are of that severity."""
        return sum(group.rule.severity is severity for group in self.groups)


@dataclass(frozen=True)
class Part:
    """A split that was read.

    Attributes:
        name: for example train or val.
        listed: what it lists, or why there is nothing to look at.
        examine: looks at one picture; worker processes can do it.
    """

    name: str
    listed: Listed | Finding
    examine: Callable[[ImageRecord], Examined]


def check_splits(
    splits: Sequence[Split], *, proposals: int = PROPOSALS, processes: int = 1, progress: Progress = SILENT
) -> CheckedDataset:
    """Reads every file of every split to the end.

    Args:
        splits: of one dataset.
        proposals: of the network that is to be trained.
        processes: that work at a time.
        progress: shows how far it is.
    """

    def read(split: Split) -> Part:
        listed = read_split(split)
        if isinstance(listed, Finding):
            return Part(split.name, listed, lambda _: Examined("", "", ()))
        found = replace(listed.panoptic_set, records=())
        return Part(split.name, listed, Examination(found, listed.doubtful, proposals))

    return check_parts(map(read, splits), processes=processes, progress=progress)


def check_parts(parts: Iterable[Part], *, processes: int = 1, progress: Progress = SILENT) -> CheckedDataset:
    """The same of splits that are read already, of any form."""
    findings: list[Finding] = []
    sets: list[PanopticSet] = []
    examined: dict[str, list[Examined]] = {}
    complete = certain = True
    for part in parts:
        listed = part.listed
        examined[part.name] = []
        if isinstance(listed, Finding):
            findings.append(listed)
            complete = certain = False
            continue
        complete, certain = complete and listed.complete, certain and listed.certain
        findings += listed.findings
        sets.append(listed.panoptic_set)
        examined[part.name] = _examine(part, listed.panoptic_set, processes, progress)
        findings += [finding for one in examined[part.name] for finding in one.findings]
        findings += _published_findings(listed.panoptic_set)
        # Of entries that are wrong it is not known what else they say.
        findings += _class_findings(listed.panoptic_set) if listed.certain else ()
    if complete:
        findings += _unlisted_files(sets)
    findings += _split_findings(sets, certain=certain)
    findings += _content_findings(examined)
    images = {name: len(pictures) for name, pictures in examined.items()}
    return CheckedDataset(images, _grouped(findings))


def _examine(part: Part, found: PanopticSet, processes: int, progress: Progress) -> list[Examined]:
    results = mapped(part.examine, found.records, workers=processes)
    return list(tracked(results, len(found.records), f"checking {found.split}", progress))


def _grouped(findings: Sequence[Finding]) -> tuple[Group, ...]:
    order = {code: place for place, code in enumerate(RULES)}

    def kind(finding: Finding) -> tuple[int, str]:
        return order[finding.code], finding.split

    return tuple(
        Group(cases[0].code, cases[0].split, cases)
        for cases in (tuple(same) for _, same in groupby(sorted(findings, key=kind), key=kind))
    )


def _class_findings(found: PanopticSet) -> Iterator[Finding]:
    """Classes without a segment, and a set of things alone."""
    if void := _void_share_of_things(found):
        remedy = "`yoso convert --background NAME` makes it a stuff class"
        yield Finding("things-only", found.split, detail=f"{void:.1%} of all pixels are void; {remedy}")
    whole = _classes_of(found, crowds=False)
    for category in found.categories:
        if category.id not in whole:
            code = "thing-without-instances" if category.isthing else "stuff-without-segments"
            yield Finding(code, found.split, category.name)


def _published_findings(found: PanopticSet) -> Iterator[Finding]:
    """What is not as it was published under that name."""
    spec = DATASETS.get(found.name)
    published = spec.images.get(found.split) if spec else None
    if published is not None and published != len(found.records):
        yield Finding("image-count", found.split, detail=f"{len(found.records)} of {published}")
    doubt = _version_doubt(found.name, found.categories)
    if doubt:
        yield Finding("other-version", found.split, detail=doubt)


def _void_share_of_things(found: PanopticSet) -> float:
    """The part of all pixels that is void where only things are labelled; 0 where stuff is, too, or void is rare."""
    table = SegmentTable.of(found.records)
    things = [category.id for category in found.categories if category.isthing]
    pixels = sum(record.height * record.width for record in found.records)
    if not pixels or not len(table.area) or not np.isin(table.category_id, things).all():
        return 0.0
    void = 1 - int(table.area.sum()) / pixels
    return void if void >= _LITTLE_VOID else 0.0


def _classes_of(found: PanopticSet, *, crowds: bool) -> set[int]:
    """The ids of the categories that have a segment; crowds count or do not."""
    table = SegmentTable.of(found.records)
    return set(np.unique(table.category_id[crowds | ~table.iscrowd]).tolist())


def _version_doubt(name: str, categories: Sequence[Category]) -> str:
    """Why `categories` are not those that are published under `name`; empty when they are, or nothing is."""
    of_name = [table for table in category_tables() if table == name or table.startswith(f"{name}-v")]
    own = [(one.name, one.isthing) for one in categories]
    published = {table: [(one.name, one.isthing) for one in read_categories(table)] for table in of_name}
    if not published or own in published.values():
        return ""
    expected = " or ".join(f"{table} has {_counted(classes)}" for table, classes in published.items())
    family = name.partition("-v")[0]
    variant = _VARIANTS.get(family, {}).get(len(own))
    looks = f"; it looks like {variant}" if variant else ""
    if any(len(own) == len(classes) for classes in published.values()) and not variant:
        (nearest,) = [classes for classes in published.values() if len(classes) == len(own)][:1]
        odd = [name for (name, kind), other in zip(own, nearest, strict=True) if (name, kind) != other]
        looks = f"; {len(odd)} have another name, kind or place, the first is {odd[0]!r}"
    return f"{_counted(own)}, where {expected}{looks}"


def _counted(classes: Sequence[tuple[str, bool]]) -> str:
    things = sum(isthing for _, isthing in classes)
    return f"{counted(len(classes), 'class')} ({counted(things, 'thing')}, {len(classes) - things} stuff)"


def _unlisted_files(sets: Sequence[PanopticSet]) -> Iterator[Finding]:
    """Files in the folders of the splits that none of them lists."""
    pngs: defaultdict[Path, set[str]] = defaultdict(set)
    images: defaultdict[Path, set[str]] = defaultdict(set)
    split_of: dict[Path, str] = {}
    for one in sets:
        pngs[one.panoptic_dir.resolve()].update(record.panoptic_file for record in one.records)
        images[one.image_dir.resolve()].update(record.image_file for record in one.records)
        split_of |= dict.fromkeys((one.panoptic_dir.resolve(), one.image_dir.resolve()), one.split)
    for code, folders, suffixes in (("unlisted-png", pngs, {".png"}), ("unlisted-image", images, PHOTO_SUFFIXES)):
        for folder, listed in folders.items():
            for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
                name = path.relative_to(folder).as_posix()
                if path.suffix.lower() in suffixes and name not in listed and not path.name.startswith("."):
                    yield Finding(code, split_of[folder], name)


def _split_findings(sets: Sequence[PanopticSet], *, certain: bool) -> Iterator[Finding]:
    """What splits of one dataset must have in common: the classes, and a segment of each to train on."""
    if len(sets) < 2:
        return
    first = next((one for one in sets if one.split.startswith("train")), sets[0])
    trained = _classes_of(first, crowds=False)
    for other in sets:
        if other.categories != first.categories:
            text = f"{counted(len(other.categories), 'class')}, {first.split} has {len(first.categories)}"
            yield Finding("categories-differ", other.split, detail=text)
        elif other is not first and certain:
            seen = _classes_of(other, crowds=True)
            for category in other.categories:
                if category.id in seen - trained:
                    yield Finding("class-not-in-train", other.split, category.name)


def _content_findings(examined: Mapping[str, Sequence[Examined]]) -> Iterator[Finding]:
    """Pictures of the same file content, within a split and across splits.

    Args:
        examined: the pictures of each split.
    """
    first: dict[str, tuple[str, str]] = {}
    for split, pictures in examined.items():
        for picture in pictures:
            if not picture.digest:
                continue
            place = first.setdefault(picture.digest, (split, picture.image_file))
            if place[0] != split:
                yield Finding("leak", split, picture.image_file, f"{place[1]} of {place[0]}")
            elif place[1] != picture.image_file:
                yield Finding("duplicate-image", split, picture.image_file, place[1])

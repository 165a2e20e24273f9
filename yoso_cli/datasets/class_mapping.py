"""Changing the classes of a set: renamed, joined, dropped to void, between things and stuff; and tables merged by name.

What becomes of a picture's segments:

- Joined things stay separate instances, joined stuff becomes one segment of a picture, as stuff is.
- Things that become stuff are joined in the same way, their crowds among them: the class of each pixel is known.
- Stuff that becomes things is a crowd of them: its pixels show the class, and nobody has said where one ends.
- What is dropped becomes void.
"""

# H, W height and width of the picture in pixels

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from yoso_cli.errors import UsageError
from yoso_cli.panoptic.regions import painted, runs_of
from yoso_cli.panoptic.types import LARGEST_ID, VOID, Category, IdMap, Panoptic, Segment, measured
from yoso_cli.runtime.words import shortened


@dataclass(frozen=True)
class Target:
    """What a class becomes.

    Attributes:
        name: of the new class, or of one that is there.
        isthing: None where the classes that become it say so.
        id: None for that of the first class that becomes it.
        color: the same.
    """

    name: str
    isthing: bool | None = None
    id: int | None = None
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class ClassMapping:
    """What to do with classes, by their names.

    Attributes:
        targets: None is void.
        keep_rest: whether classes that are not named stay as they are; else they become void.
    """

    targets: Mapping[str, Target | None]
    keep_rest: bool = True

    def of(self, name: str) -> Target | None:
        """What becomes of a class."""
        return self.targets[name] if name in self.targets else Target(name) if self.keep_rest else None


@dataclass(frozen=True)
class ClassChange:
    """The classes of a set after a change.

    Attributes:
        categories: the new ones.
        places: category id -> the new class, None for void; of each class that was there.
        joined: new category ids of stuff whose segments of a picture become one.
        was_stuff: old category ids whose segments become crowds.
    """

    categories: tuple[Category, ...]
    places: Mapping[int, Category | None]
    joined: frozenset[int] = frozenset()
    was_stuff: frozenset[int] = frozenset()

    def segments(self, found: Iterable[Segment]) -> tuple[Segment, ...]:
        """The same segments in their new classes: those that remain, before any is joined."""
        places = ((one, self.places[one.category_id]) for one in found)
        return tuple(
            replace(one, category_id=new.id, iscrowd=self._is_crowd(one, new)) for one, new in places if new is not None
        )

    def _is_crowd(self, segment: Segment, new: Category) -> bool:
        if segment.category_id in self.was_stuff:
            return True
        return segment.iscrowd and new.id not in self.joined

    def new_ids(self, found: Sequence[Segment]) -> dict[int, int]:
        """Segment id -> the new one, of the segments that are dropped or joined to another; the PNG changes there."""
        first: dict[int, int] = {}
        changed: dict[int, int] = {}
        for one in found:
            new = self.places[one.category_id]
            if new is None:
                changed[one.id] = VOID
            elif new.id in self.joined and first.setdefault(new.id, one.id) != one.id:
                changed[one.id] = first[new.id]
        return changed

    def applied(self, panoptic: Panoptic) -> Panoptic:
        """The picture after the change, with areas and boxes measured on it."""
        changed = self.new_ids(panoptic.segments)
        id_map = with_ids(panoptic.id_map, changed)
        kept = (one for one in self.segments(panoptic.segments) if one.id not in changed)
        return Panoptic(id_map, measured(id_map, kept))


def with_ids(id_map: IdMap, changed: Mapping[int, int]) -> IdMap:
    """(H, W) with ids replaced where `changed` has them."""
    runs = runs_of(id_map)
    values, places = np.unique(runs.values, return_inverse=True)
    new = np.array([changed.get(value, value) for value in values.tolist()], np.int32)
    return painted(runs, new[places])


def changed_classes(categories: Sequence[Category], mapping: ClassMapping, where: str) -> ClassChange:
    """What `mapping` makes of these classes.

    Args:
        categories: of the set, in their order.
        mapping: all of its names are of these classes.
        where: names the mapping in what is raised.

    Raises:
        UsageError: a name is of no class, classes of both kinds are joined without saying which the new one is, ids
            are given twice, or nothing is left.
    """
    unknown = [name for name in mapping.targets if name not in {one.name for one in categories}]
    if unknown:
        raise UsageError(
            f"{where}: {shortened(unknown)}: no class of the set has this name.",
            hint=f"The classes are {shortened([one.name for one in categories], 20)}.",
        )
    sources: dict[str, list[tuple[Category, Target]]] = {}
    for category in categories:
        target = mapping.of(category.name)
        if target is not None:
            sources.setdefault(target.name, []).append((category, target))
    new = {name: _made(name, found, where) for name, found in sources.items()}
    _require_distinct(list(new.values()), where)
    if not new:
        raise UsageError(f"{where}: no class is left.", hint="Name a class that stays.")
    places = {one.id: new[target.name] if (target := mapping.of(one.name)) else None for one in categories}
    return ClassChange(
        tuple(new.values()),
        places,
        frozenset(new[name].id for name, found in sources.items() if _are_joined(new[name], found)),
        frozenset(one.id for one in categories if (to := places[one.id]) and to.isthing and not one.isthing),
    )


def _are_joined(new: Category, found: Sequence[tuple[Category, Target]]) -> bool:
    """Whether it is stuff of several classes, or of things."""
    return not new.isthing and (len(found) > 1 or found[0][0].isthing)


def _made(name: str, found: Sequence[tuple[Category, Target]], where: str) -> Category:
    """The class that these become: as the mapping says, else as the one of this name, else as the first of them."""
    own = [category for category, _ in found if category.name == name]
    like = (own or [category for category, _ in found])[0]
    kinds = {target.isthing for _, target in found if target.isthing is not None}
    kinds = kinds or {category.isthing for category, _ in found}
    if len(kinds) > 1:
        names = shortened([category.name for category, _ in found])
        raise UsageError(
            f"{where}: {name}: it is to be made of things and stuff ({names}).",
            hint=f"Say which it is: `{{name: {name}, isthing: true}}` makes crowds of stuff, false joins instances.",
        )
    ids = {target.id for _, target in found if target.id is not None}
    colors = {target.color for _, target in found if target.color is not None}
    if len(ids) > 1 or len(colors) > 1:
        raise UsageError(f"{where}: {name}: has two ids or two colours.", hint="Give them once.")
    return Category(min(ids, default=like.id), name, kinds.pop(), min(colors, default=like.color))


def _require_distinct(categories: Sequence[Category], where: str) -> None:
    names: dict[int, str] = {}
    for one in categories:
        if one.id in names:
            raise UsageError(f"{where}: {names[one.id]} and {one.name}: both have the id {one.id}.")
        names[one.id] = one.name


@dataclass(frozen=True)
class MergedClasses:
    """One table of the classes of several sets.

    Attributes:
        categories: those of the first set, then new ones in the order of the sets.
        changes: of each set.
        remarks: what a person should know.
    """

    categories: tuple[Category, ...]
    changes: tuple[ClassChange, ...]
    remarks: tuple[str, ...]


def merged_classes(
    tables: Sequence[tuple[str, Sequence[Category]]], mapping: ClassMapping | None, where: str
) -> MergedClasses:
    """Merges tables by name: equal names are one class, with the id and the colour of the first set that has it.

    Args:
        tables: name and classes of each set.
        mapping: applied to each set first, as far as it has these classes.
        where: names the mapping in what is raised.

    Raises:
        UsageError: a class is a thing in one set and stuff in another, or the mapping contradicts itself.
    """
    changes = [_own_change(categories, mapping, where) for _, categories in tables]
    _require_known(tables, mapping, where)
    merged: dict[str, Category] = {}
    origin: dict[str, str] = {}
    remarks: list[str] = []
    for (title, _), change in zip(tables, changes, strict=True):
        for one in change.categories:
            known = merged.get(one.name)
            if known is None:
                merged[one.name] = _with_free_id(one, merged.values())
                origin[one.name] = title
                if merged[one.name].id != one.id:
                    remarks.append(f"{one.name} of {title} gets the id {merged[one.name].id}: {one.id} is taken")
            elif known.isthing != one.isthing:
                kinds = {True: "things", False: "stuff"}
                raise UsageError(
                    f"{one.name}: is {kinds[known.isthing]} in {origin[one.name]} and {kinds[one.isthing]} in {title}.",
                    hint=f"Say which with --mapping: `{one.name}: {{name: {one.name}, isthing: true}}`, or rename one.",
                )
    remarks += _nearly_equal(list(merged))
    whole = tuple(_renumbered(change, merged) for change in changes)
    return MergedClasses(tuple(merged.values()), whole, tuple(remarks))


def _own_change(categories: Sequence[Category], mapping: ClassMapping | None, where: str) -> ClassChange:
    names = {one.name for one in categories}
    given = mapping or ClassMapping({})
    own = ClassMapping({name: to for name, to in given.targets.items() if name in names}, given.keep_rest)
    return changed_classes(categories, own, where)


def _require_known(tables: Sequence[tuple[str, Sequence[Category]]], mapping: ClassMapping | None, where: str) -> None:
    names = {one.name for _, categories in tables for one in categories}
    unknown = [name for name in (mapping.targets if mapping else ()) if name not in names]
    if unknown:
        raise UsageError(f"{where}: {shortened(unknown)}: no class of any set has this name.")


def _with_free_id(category: Category, taken: Iterable[Category]) -> Category:
    ids = {one.id for one in taken}
    if category.id not in ids:
        return category
    free = next(number for number in range(1, LARGEST_ID) if number not in ids)
    return replace(category, id=max(ids) + 1 if max(ids) < LARGEST_ID else free)


def _renumbered(change: ClassChange, merged: Mapping[str, Category]) -> ClassChange:
    """The change, into the classes of the merged table."""
    names = {one.id: one.name for one in change.categories}
    places = {old: merged[new.name] if new else None for old, new in change.places.items()}
    joined = frozenset(merged[names[number]].id for number in change.joined)
    return ClassChange(tuple(merged.values()), places, joined, change.was_stuff)


def _nearly_equal(names: Sequence[str]) -> Iterator[str]:
    """Names that differ in case, spaces and punctuation alone, and may be of one class."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault("".join(one for one in name.lower() if one.isalnum()), []).append(name)
    for same in alike.values():
        if len(same) > 1:
            yield f"{' and '.join(same)} stay separate classes; --mapping joins them"

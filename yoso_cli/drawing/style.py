"""The style of a picture: labels, colours, what is drawn and what stands behind it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

from yoso_cli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Unpack

    # Commands show these values in their help, which starts without numpy.
    from yoso_cli.panoptic.types import Category

LABELS = ("name", "id", "score")
COLORS = ("instance", "class")
BACKGROUNDS = ("blur", "white", "transparent")
NO_LABELS = "none"

# COCO's merged stuff classes have suffixes that mean nothing to a reader.
_SUFFIXES = ("-merged", "-other", "-stuff")
# Letters of a name: a legend is as wide as its longest name.
_LONGEST = 60


class StyleOptions(TypedDict, total=False):
    """The keyword arguments of `Style.of`; lists may be text with commas."""

    labels: str | Sequence[str] | None
    color: str
    alpha: float | None
    legend: bool | None
    side_by_side: bool
    only: str | Sequence[str]
    background: str | None
    scale: int | None


@dataclass(frozen=True)
class Style:
    """How segments are drawn.

    With a `background`, the picture is a cut-out: the defaults are then the plain photo without labels and legend.

    Attributes:
        labels: any of LABELS, or () for none. None: the name; nothing in a cut-out.
        color: `instance` gives each thing a colour of its own, and stuff that of its class; `class` gives both that
            of their class.
        alpha: opacity of the colours, 0..1; 0 leaves the photo as it is. None: 0.5; 0 in a cut-out.
        legend: whether a legend is added. None: yes; not to a cut-out.
        side_by_side: whether the photo stands at the left of its segments.
        only: class names; other segments stay the plain photo. (): all.
        background: what replaces everything but the segments of `only` (of all things where `only` is empty): one of
            BACKGROUNDS, or None for nothing.
        scale: the whole factor of enlargement. None: what brings the longer edge to 512 pixels, so that labels are
            legible.

    Raises:
        UsageError: a value is not among those allowed.
    """

    labels: tuple[str, ...] | None = None
    color: str = "instance"
    alpha: float | None = None
    legend: bool | None = None
    side_by_side: bool = False
    only: tuple[str, ...] = ()
    background: str | None = None
    scale: int | None = None

    def __post_init__(self) -> None:
        for label in self.labels or ():
            _require("labels", label, LABELS, f"Separate several by commas, or use {NO_LABELS}.")
        _require("color", self.color, COLORS)
        if self.background is not None:
            _require("background", self.background, BACKGROUNDS)
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha: {self.alpha} is out of range.", hint="Use a number from 0 to 1.")
        if self.scale is not None and self.scale < 1:
            raise UsageError(f"scale: {self.scale} is out of range.", hint="Use a whole number from 1.")

    @classmethod
    def of(cls, **options: "Unpack[StyleOptions]") -> "Style":
        """The style of keyword arguments, where lists may be written as text: `labels="name,score"`.

        Raises:
            UsageError: a value is not among those allowed.
        """
        values: dict[str, Any] = dict(options)
        if values.get("labels") is not None:
            values["labels"] = tuple(one for one in _listed(values["labels"]) if one != NO_LABELS)
        return cls(**values | {"only": _listed(values.get("only", ()))})

    def for_video(self) -> "Style":
        """The same for frames, which are all of one size: without a legend.

        Raises:
            UsageError: a legend or transparency is asked for, which a video cannot have.
        """
        if self.legend or self.is_transparent:
            what = "a legend, which would change its size" if self.legend else "transparency"
            raise UsageError(f"A video cannot have {what}.", hint="Leave that option out, or draw pictures.")
        return replace(self, legend=False)

    @property
    def words(self) -> tuple[str, ...]:
        """What labels say, the default resolved."""
        return self.labels if self.labels is not None else () if self.background else ("name",)

    @property
    def opacity(self) -> float:
        """`alpha`, the default resolved."""
        return self.alpha if self.alpha is not None else 0.0 if self.background else 0.5

    @property
    def has_legend(self) -> bool:
        """`legend`, the default resolved."""
        return self.legend if self.legend is not None else not self.background

    @property
    def is_transparent(self) -> bool:
        """Whether the picture has an alpha channel."""
        return self.background == "transparent"

    def shown(self, categories: "Sequence[Category]") -> frozenset[int]:
        """The ids of the classes that are drawn.

        Raises:
            UsageError: a name of `only` is none of the classes'.
        """
        if not self.only:
            return frozenset(one.id for one in categories if one.isthing or not self.background)
        return chosen(self.only, categories)


def chosen(names: Iterable[str], categories: "Sequence[Category]") -> frozenset[int]:
    """The category ids of class names; `sky` stands for `sky-other-merged`, `road` for `road, route`.

    Raises:
        UsageError: there is no such class; the hint has the nearest.
    """
    known: dict[str, set[int]] = {}
    for category in categories:
        # What a class is called in full counts before what it is called in short.
        for name in {category.name, shown_name(category)} | set(_listed(category.name)):
            known.setdefault(name.lower(), set()).add(category.id)
    exact = {category.name.lower(): {category.id} for category in categories}
    found: set[int] = set()
    for name in names:
        ids = exact.get(name.lower()) or known.get(name.lower())
        if ids is None:
            shown = sorted(shown_name(one) for one in categories)
            hint = did_you_mean(name, shown, "" if len(shown) > 20 else f"The classes are {', '.join(shown)}.")
            raise UsageError(f"There is no class '{name}'.", hint=hint or "`yoso stats` lists a dataset's classes.")
        found |= ids
    return frozenset(found)


def shown_name(category: "Category") -> str:
    """The display name of `category`: `sky`, not `sky-other-merged`; one line of at most 60 letters."""
    name = " ".join(category.name.split())
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def _listed(text: str | Sequence[str]) -> tuple[str, ...]:
    """The parts of text with commas, or of a sequence of them."""
    whole = [text] if isinstance(text, str) else text
    return tuple(part.strip() for one in whole for part in one.split(",") if part.strip())


def _require(what: str, value: str, allowed: Sequence[str], *others: str) -> None:
    if value not in allowed:
        hint = did_you_mean(value, allowed, *others)
        raise UsageError(f"{what}: '{value}' is none of {', '.join(allowed)}.", hint=hint)

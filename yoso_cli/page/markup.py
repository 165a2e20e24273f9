"""HTML in which text cannot become markup: whatever is not `Markup` is escaped."""

from collections.abc import Iterable
from html import escape

# The longest class of the published datasets has 57 letters.
_LONGEST_NAME = 80

_VOID_TAGS = {"br", "img", "input", "meta"}


class Markup(str):
    """HTML that is finished. Only this file makes it from other text."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: object) -> Markup:
    """An element, of HTML or SVG.

    Args:
        name: as it is written.
        children: text, which is escaped, or Markup, which is not; None is left out.
        attributes: a trailing underscore is dropped (`class_`) and others become dashes (`aria_label`). None and False
            leave one out, True writes its bare name.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID_TAGS:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Children one after another, without an element around them."""
    return Markup("".join(_escaped(child) for child in children if child is not None))


def each(children: Iterable[str]) -> Markup:
    """The same of any number."""
    return joined(*children)


def trusted(text: str) -> Markup:
    """Text of this package's own files, which is markup already (or a script or style)."""
    return Markup(text)


def name_of(text: str, most: int = _LONGEST_NAME) -> Markup:
    """A name that somebody else chose, cut if it is long; letters that turn the direction of writing stay inside it."""
    return tag("bdi", cut(text, most))


def cut(text: str, most: int = _LONGEST_NAME) -> str:
    """The same text, or its two ends where it is longer than `most` letters."""
    half = most // 2
    return text if len(text) <= most else f"{text[: most - half - 1]}…{text[-half:]}"


def _escaped(child: str) -> str:
    return child if isinstance(child, Markup) else escape(child, quote=True)


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    spelled = key.rstrip("_").replace("_", "-")
    return f" {spelled}" if value is True else f' {spelled}="{escape(str(value), quote=True)}"'

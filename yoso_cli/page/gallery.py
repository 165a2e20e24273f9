"""The part of the page that shows the worst pictures."""

from collections.abc import Sequence

from yoso_cli.evaluation.causes import NAMES
from yoso_cli.page.exhibits import COLORS, NOTHING, OTHER_CLASS, OTHER_SEGMENT, UNLABELLED, Exhibit
from yoso_cli.page.markup import Markup, cut, each, joined, name_of, tag
from yoso_cli.page.parts import section, swatch
from yoso_cli.panoptic.types import Category
from yoso_cli.runtime.words import counted

# Of which the gallery can be asked for the errors: more are found by no eye in a list.
MOST_CLASSES = 300

_FIRST = "errors"
_LEGEND = {
    NOTHING: "nothing predicted",
    OTHER_CLASS: "wrong class",
    OTHER_SEGMENT: "right class, no match",
    UNLABELLED: "void or crowd: does not count",
}


def gallery(exhibits: Sequence[Exhibit], images: int) -> Markup | None:
    """The pictures with switches: how to look at them, and of which class the errors."""
    if not exhibits:
        return None
    names = list(dict.fromkeys(view.name for one in exhibits for view in one.views))
    shown = ", ".join(names)
    lead = (
        f"The {len(exhibits)} of {counted(images, 'image')} on which most PQ is lost. Switch between {shown} "
        "here for all, or below each; press an image to see it large."
    )
    views = tag("div", *_buttons(names), class_="choice", role="group", aria_label="Show for all images", id="view-all")
    classes = list({one.id: one for exhibit in exhibits for one in exhibit.categories}.values())[:MOST_CLASSES]
    count = tag("output", counted(len(exhibits), "image"), id="gallery-count", for_="gallery-class")
    controls = tag("div", views, _class_choice(classes), count, class_="controls")
    figures = tag(
        "div", *(_figure(place, one) for place, one in enumerate(exhibits)), class_="gallery", id="gallery-grid"
    )
    return section("gallery", "Worst images", lead, controls, _legend(), figures, _dialog())


def _class_choice(classes: Sequence[Category]) -> Markup:
    ordered = sorted(classes, key=lambda one: one.name)
    options = each(tag("option", cut(one.name), value=one.id) for one in ordered)
    every = tag("option", "any class", value="")
    return tag("label", "Errors of ", tag("select", every, options, id="gallery-class"))


def _buttons(names: Sequence[str]) -> list[Markup]:
    return [
        tag("button", name, type="button", data_view=name, aria_pressed="true" if name == _FIRST else "false")
        for name in names
    ]


def _legend() -> Markup:
    marks = (
        tag("li", tag("span", class_="swatch", style=f"background:rgb{COLORS[kind]}", aria_hidden="true"), words)
        for kind, words in _LEGEND.items()
    )
    return tag("ul", *marks, class_="legend", aria_label="Colours of the view of errors")


def _figure(place: int, one: Exhibit) -> Markup:
    pictures = each(
        tag(
            "img",
            src=view.address,
            alt=f"{view.name} of {cut(one.file)}",
            data_view=view.name,
            hidden=view.name != _FIRST,
            decoding="async",
        )
        for view in one.views
    )
    opener = tag("button", pictures, type="button", class_="open", aria_label=f"Show {cut(one.file)} large")
    choice = tag(
        "div", *_buttons([view.name for view in one.views]), class_="choice small", role="group", aria_label="Show"
    )
    causes = each(
        tag("li", swatch(f"c-{cause}"), f"{count} {NAMES[cause]}")
        for cause, count in sorted(one.causes.items(), key=lambda item: -item[1])
    )
    title = tag("p", name_of(one.file), tag("b", f"−{100 * one.lost:.2f} PQ"), class_="title")
    caption = tag("figcaption", title, choice, tag("ul", causes, class_="marks"))
    ids = " ".join(str(category.id) for category in one.categories[:MOST_CLASSES])
    return tag("figure", opener, caption, data_place=place, data_classes=ids)


def _dialog() -> Markup:
    keys = "← → other image · 1 2 3 4 other view · Esc close"
    bar = tag(
        "div",
        tag("p", "", id="large-title", class_="title"),
        tag("button", "previous", type="button", id="large-previous"),
        tag("button", "next", type="button", id="large-next"),
        tag("button", "close", type="button", id="large-close"),
        class_="bar",
    )
    choice = tag("div", class_="choice", id="large-views", role="group", aria_label="Show")
    return tag(
        "dialog",
        joined(bar, choice, tag("img", id="large-picture", alt=""), tag("p", keys, class_="note")),
        id="large",
        aria_labelledby="large-title",
    )

"""The file: whole in itself, small, legible in light and dark, and safe whatever the names."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from evaluation.found import CATEGORIES, found, tally
from hypothesis import example, given, settings
from hypothesis import strategies as st
from page.pages import HOSTILE, SECOND

from yoso_cli.evaluation.causes import ERRORS
from yoso_cli.evaluation.report import InferenceSettings, PaperRow, Report, WeightsFile
from yoso_cli.page import gallery
from yoso_cli.page.document import MOST_BYTES, cut
from yoso_cli.page.gallery import Exhibit, Picture
from yoso_cli.page.report import MOST_CLASSES, page
from yoso_cli.panoptic.types import Category

STYLE = (resources.files("yoso_cli.page") / "page.css").read_text()


def test_the_file_names_nothing_outside_itself(page_and_report: tuple[Path, Report]) -> None:
    text = page_and_report[0].read_text()
    markup = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
    addresses = re.findall(r' (?:src|href|srcset|action|data)="([^"]*)"', markup)
    assert len(addresses) > 20
    assert all(one.startswith(("data:image/webp;base64,", "#")) for one in addresses)
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in text.replace("&#x27;", "'")


def test_no_name_is_markup(page_and_report: tuple[Path, Report]) -> None:
    text = page_and_report[0].read_text()
    assert HOSTILE not in text
    assert SECOND not in text
    assert "&lt;script&gt;window.harmed = 1&lt;/script&gt;" in text


def test_every_link_of_the_contents_leads_to_a_part(page_and_report: tuple[Path, Report]) -> None:
    text = page_and_report[0].read_text()
    links = re.findall(r'href="#([\w-]+)"', text)
    assert len(links) == 9
    assert set(links) <= set(re.findall(r' id="([\w-]+)"', text))


def test_a_page_without_pictures_scores_or_paper_is_whole() -> None:
    measured = found()
    unscored = replace(measured, figures={**measured.figures, "calibration": None})
    text = page(Report(unscored, "set", "", 2), ())
    assert 'id="gallery"' not in text
    assert 'id="calibration"' not in text
    assert 'id="classes"' in text
    assert "PQ†" in text
    assert not [word for word in ("mIoU", "Mask AP", "Boundary PQ", ">IoU<") if word in text], "nobody asked for these"
    assert "paper" not in text.split("<main>")[1].split("<script>")[0]


def test_a_page_of_nothing_seen_is_whole() -> None:
    text = page(Report(found([tally({}, [0] * 4, [0] * 4)], CATEGORIES), "set", "", 1), ())
    assert "0 of 0 classes" in text
    assert 'id="causes"' not in text


def test_many_classes_and_long_names_do_not_make_a_large_page() -> None:
    """All at once: more classes than are listed, names that grow when escaped, pictures that fill their budget."""
    name = "'\"&<" * 200
    categories = [Category(10**9 + place, f"{place} {name}", place % 2 == 0) for place in range(MOST_CLASSES + 200)]
    ones = [1] * len(categories)
    tallies = [tally({place: [0.6 + place / 4000] for place in range(len(categories))}, ones, ones)] * 2
    measured = found(tallies, categories)
    picture = "data:image/webp;base64," + "A" * (gallery.MOST_BYTES // 4)
    views = tuple(Picture(one, picture) for one in ("photo", "truth", "prediction", "errors"))
    shown = [Exhibit(name, 0.1, dict.fromkeys(ERRORS, 10**6), tuple(categories), views)] * gallery.MOST
    text = page(Report(measured, name, name, 10**9, name * 100, name * 100, name, command=name * 100), shown)
    assert len(text.encode()) <= MOST_BYTES
    assert text.count("<tr data-name") == MOST_CLASSES
    assert f"The {MOST_CLASSES} classes with most segments are listed; report.json has all {len(categories)}." in text


@given(st.text(), st.integers(3, 100))
def test_a_cut_name_keeps_its_ends(text: str, most: int) -> None:
    kept = cut(text, most)
    assert len(kept) <= most
    start, _, end = kept.partition("…") if kept != text else (text, "", "")
    assert text.startswith(start)
    assert text.endswith(end)


class Skeleton(HTMLParser):
    """The elements of a page and their attributes' names, whatever the texts are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attrs)))


def page_of(text: str) -> str:
    """A page in which everything that somebody else chose is `text`: classes, files, paths, versions."""
    categories = [replace(one, name=text) for one in CATEGORIES]
    weights, how = WeightsFile(text, text), InferenceSettings(1, 2, 0.5, 0.5, text, switches=text)
    shown = [Exhibit(text, 0.1, {"missed": 1}, tuple(categories), (Picture("errors", "data:image/webp;base64,AA"),))]
    report = Report(
        *(found(categories=categories), text, text, 2, text, text, text, weights, how, PaperRow(text, 1, 2, 3)),
        versions={text: text},
        machine={text: text},
        command=text,
    )
    return page(report, shown)


@settings(max_examples=25)
@given(st.text(min_size=1))
@example(HOSTILE)
@example(SECOND)
@example("</style></script></title><b onclick=x>{{ 7 * 7 }}{% raw %}\"' onload=x")
def test_text_never_becomes_markup(text: str) -> None:
    """A page has the same elements and attributes whatever the names in it are, and nothing in them is worked out."""
    made = page_of(text)
    assert Skeleton(made).found == Skeleton(page_of("a plain name")).found
    if "{{" in text:
        assert "{{ 7 * 7 }}" in made


def test_only_our_own_style_and_script_are_not_escaped() -> None:
    folders = [resources.files(package) / "templates" for package in ("yoso_cli.page", "yoso_cli.view")]
    texts = {one.name: one.read_text() for folder in folders for one in folder.iterdir()}
    found = {name: re.findall(r"\w+\|safe|autoescape", text) for name, text in texts.items()}
    assert {name: words for name, words in found.items() if words} == {
        "base.html": ["style|safe", "script|safe"],
        "macros.html": ["autoescape"],
        "view.html": ["script|safe"],
    }
    assert [name for name, text in texts.items() if "<!doctype" in text or "Content-Security" in text] == ["base.html"]


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize(
    ("ink", "ground"),
    [("ink", "paper"), ("ink", "card"), ("soft", "paper"), ("soft", "card"), ("warm", "card"), ("on-accent", "accent")],
)
def test_text_stands_out_from_its_ground(theme: int, ink: str, ground: str) -> None:
    """At least 4.5 to 1, as WCAG 2.2 asks for (https://www.w3.org/TR/WCAG22/#contrast-minimum), light and dark."""
    plain, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part)) for part in STYLE.split("@media (prefers")[:2]
    )
    colors = {**plain, **dark} if theme else plain
    first, second = sorted((luminance(colors[ink]), luminance(colors[ground])))
    assert (second + 0.05) / (first + 0.05) >= 4.5

"""The page in a real browser: it switches, filters and sorts, by mouse and by keyboard, without errors or network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import oracle
from page.pages import CATEGORIES, HOSTILE, SECOND

from yoso_cli.evaluation.report import Report


def texts(browser: Any, selector: str) -> list[str]:
    """Of the elements that a person sees."""
    found = browser.find_elements("css selector", selector)
    return [one.text for one in found if one.is_displayed()]


def click(browser: Any, selector: str, place: int = 0) -> None:
    element = browser.find_elements("css selector", selector)[place]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    element.click()


def choose(browser: Any, selector: str, value: str) -> None:
    click(browser, f"{selector} option[value='{value}']")


def shown_views(browser: Any) -> list[str]:
    images = browser.find_elements("css selector", "figure img")
    return [one.get_attribute("data-view") for one in images if one.is_displayed()]


def test_the_headline_is_what_was_measured(browser: Any, page_and_report: tuple[Path, Report]) -> None:
    quality = page_and_report[1].quality
    expected = [f"{100 * (group.pq or 0):.1f}" for group in (quality.all, quality.things, quality.stuff)]
    assert texts(browser, "#headline .figure") == expected
    assert len(texts(browser, ".paper")) == 2


def test_names_are_text_and_nothing_else(browser: Any) -> None:
    assert browser.execute_script("return window.harmed") is None
    assert browser.find_elements("css selector", "img[src='x']") == []
    assert len(browser.find_elements("css selector", "script")) == 1
    named = texts(browser, ".classes tbody th")
    assert {HOSTILE, SECOND} <= set(named)
    assert HOSTILE in browser.title
    assert f"runs/{HOSTILE}" in texts(browser, ".made dd")


def test_the_page_refuses_every_script_but_its_own(browser: Any) -> None:
    """Were a name to slip through as markup, the browser would still not run it."""
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.harmed = 3'; document.body.append(s)"
    )
    assert browser.execute_script("return window.harmed") is None
    refused = browser.get_log("browser")
    assert len(refused) == 1
    assert "Content Security Policy" in refused[0]["message"]


def test_classes_are_filtered_by_name_and_kind(browser: Any) -> None:
    rows = "#class-table tbody tr th"
    everything = texts(browser, rows)
    assert len(everything) == 4, "the class that was never seen is not listed"
    field = browser.find_element("css selector", "#class-filter")
    field.send_keys("CAT")
    assert texts(browser, rows) == ["cat"]
    assert texts(browser, "#class-count") == ["1 of 4 classes"]
    field.clear()
    field.send_keys("<scr")
    assert texts(browser, rows) == [HOSTILE]
    field.send_keys("no such class")
    assert texts(browser, rows) == []
    browser.execute_script("arguments[0].value = ''; arguments[0].dispatchEvent(new Event('input'))", field)
    choose(browser, "#kind-filter", "stuff")
    assert set(texts(browser, rows)) == {"sky", SECOND}
    choose(browser, "#kind-filter", "")
    assert texts(browser, rows) == everything


def test_classes_are_sorted_by_a_press_on_a_heading(browser: Any) -> None:
    def figures(column: int) -> list[float]:
        return [float(one) for one in texts(browser, f"#class-table tbody td:nth-child({column})")]

    assert figures(4) == sorted(figures(4), reverse=True), "best first"
    click(browser, "[data-sort=pq]")
    assert figures(4) == sorted(figures(4))
    click(browser, "[data-sort=fn]")
    assert figures(10) == sorted(figures(10), reverse=True)
    (heading,) = browser.find_elements("css selector", "#class-table [aria-sort=descending]")
    assert heading.text.startswith("FN")
    click(browser, "[data-sort=name]")
    assert texts(browser, "#class-table tbody th")[-1] == "sky"


def test_what_was_measured_beside_pq_stands_in_cards_and_in_the_table(
    browser: Any, page_and_report: tuple[Path, Report]
) -> None:
    measures = page_and_report[1].measures
    assert measures.semantic
    assert measures.instances
    assert measures.cityscapes_ap
    assert measures.boundary
    assert texts(browser, "#measures h3") == ["PQ†", "mIoU", "Mask AP", "Cityscapes AP", "Boundary PQ"]
    expected = [measures.dagger.all, measures.semantic.miou, measures.instances.ap]
    expected += [measures.cityscapes_ap.ap, measures.boundary.all.pq]
    assert texts(browser, "#measures .figure") == [f"{100 * (one or 0):.1f}" for one in expected]
    assert all(len(one) > 40 for one in texts(browser, "#measures .note")), "each says what it means"
    by_name = {one.category.name: one.iou for one in measures.semantic.classes if one.iou is not None}
    click(browser, "[data-sort=iou]")
    names, shown = texts(browser, "#class-table tbody th"), texts(browser, "#class-table tbody td:nth-child(11)")
    assert dict(zip(names, shown, strict=True)) == {name: f"{100 * iou:.1f}" for name, iou in by_name.items()}
    assert shown == sorted(shown, key=float, reverse=True)
    click(browser, "[data-sort=ap]")
    assert texts(browser, "#class-table tbody td:nth-child(12)")[-2:] == ["–", "–"], "stuff has no AP and comes last"


def test_causes_are_shown_for_all_things_and_stuff(browser: Any, page_and_report: tuple[Path, Report]) -> None:
    losses = page_and_report[1].measures.losses
    for place, group in enumerate((losses.all, losses.things, losses.stuff)):
        click(browser, "[data-panels=causes] button", place)
        figures = [float(one) for one in texts(browser, "table.causes tbody td:nth-child(2)")]
        assert sum(figures) == pytest.approx(100 * sum(one.pq for one in group), abs=0.5)
        pressed = browser.find_elements("css selector", "[data-panels=causes] [aria-pressed=true]")
        assert len(pressed) == 1


def test_the_gallery_switches_all_views_at_once_and_each_alone(browser: Any) -> None:
    figures = len(texts(browser, "figure"))
    assert figures == 5
    assert shown_views(browser) == ["errors"] * figures
    for view in ("truth", "prediction"):
        click(browser, f"#view-all [data-view={view}]")
        assert shown_views(browser) == [view] * figures
    click(browser, "#view-all [data-view=photo]")
    assert sorted(shown_views(browser)) == ["photo"] * 4 + ["prediction"], "one photo is missing"
    click(browser, "#view-all [data-view=truth]")
    click(browser, "figcaption [data-view=errors]", 1)
    assert shown_views(browser) == ["truth", "errors", "truth", "truth", "truth"]
    pressed = texts(browser, "figcaption [aria-pressed=true]")
    assert pressed == ["truth", "errors", "truth", "truth", "truth"]


def test_the_gallery_shows_the_errors_of_a_class(browser: Any) -> None:
    everything = len(texts(browser, "figure"))
    for category in CATEGORIES[:4]:
        choose(browser, "#gallery-class", str(category.id))
        shown = [one for one in browser.find_elements("css selector", "figure") if one.is_displayed()]
        assert all(str(category.id) in one.get_attribute("data-classes").split() for one in shown)
        assert texts(browser, "#gallery-count")[0].startswith(f"{len(shown)} image")
    choose(browser, "#gallery-class", "")
    assert len(texts(browser, "figure")) == everything


def test_an_image_is_shown_large_and_led_by_keys(browser: Any) -> None:
    keys = oracle("selenium.webdriver.common.keys").Keys
    opener = browser.find_elements("css selector", ".open")[0]
    opener.send_keys(keys.ENTER)
    assert texts(browser, "#large-views [aria-pressed=true]") == ["errors"]
    first = texts(browser, "#large-title")
    dialog = browser.switch_to.active_element
    dialog.send_keys(keys.ARROW_RIGHT)
    assert texts(browser, "#large-title") != first
    browser.switch_to.active_element.send_keys(keys.ARROW_LEFT)
    assert texts(browser, "#large-title") == first
    views = texts(browser, "#large-views button")
    browser.switch_to.active_element.send_keys("2")
    assert texts(browser, "#large-views [aria-pressed=true]") == [views[1]]
    browser.switch_to.active_element.send_keys(keys.ESCAPE)
    assert texts(browser, "#large-title") == []
    assert browser.switch_to.active_element == opener, "the focus goes back to where it was"


def test_every_picture_and_control_has_a_name(browser: Any) -> None:
    bare = browser.execute_script(
        """
        return [...document.querySelectorAll("button, select, input, figure img, svg")].filter((one) => {
          const label = one.labels && one.labels.length ? one.labels[0].textContent : "";
          return !(one.getAttribute("aria-label") || one.alt || one.textContent.trim() || label.trim());
        }).map((one) => one.outerHTML.slice(0, 80));
        """
    )
    assert bare == []


@pytest.fixture(params=[390, 1280])
def screen(browser: Any, request: pytest.FixtureRequest) -> Iterator[tuple[Any, int]]:
    """The page on a telephone and on a desk, and how wide that is."""
    size = {"width": request.param, "height": 900, "deviceScaleFactor": 1, "mobile": request.param < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield browser, request.param
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_is_wider_than_the_screen(screen: tuple[Any, int]) -> None:
    browser, width = screen
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_pq_of_each_class_is_on_the_screen(screen: tuple[Any, int]) -> None:
    browser, width = screen
    shown = browser.execute_script(
        """
        const box = document.querySelector("#class-table").parentElement.getBoundingClientRect();
        return [...document.querySelectorAll("#class-table tr > :nth-child(4)")].map((one) => {
          const cell = one.getBoundingClientRect();
          return cell.width > 0 && cell.left >= box.left && cell.right <= Math.min(box.right, innerWidth);
        });
        """
    )
    assert shown == [True] * 5, f"the heading and four classes, at {width}"


# Rectangles of each piece of text, as far as boxes that scroll or cut leave it to be seen.
OVERLAPS = """
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
while (texts.nextNode()) {
  const node = texts.currentNode, range = document.createRange();
  if (!node.textContent.trim() || node.parentElement.closest("script, title, option, dialog:not([open])")) continue;
  range.selectNodeContents(node);
  for (const seen of range.getClientRects()) {
    let { left, right, top, bottom } = seen;
    for (let box = node.parentElement; box; box = box.parentElement) {
      if (getComputedStyle(box).overflowX === "visible" || box === document.documentElement) continue;
      const edge = box.getBoundingClientRect();
      [left, right] = [Math.max(left, edge.left), Math.min(right, edge.right)];
      [top, bottom] = [Math.max(top, edge.top), Math.min(bottom, edge.bottom)];
    }
    // Lines of text may touch.
    if (right - left > 2 && bottom - top > 6) found.push({ node, left, right, top: top + 3, bottom: bottom - 3 });
  }
}
return found.flatMap((a, place) => found.slice(place + 1).filter((b) => a.node !== b.node &&
  a.left + 1 < b.right && b.left + 1 < a.right && a.top < b.bottom && b.top < a.bottom
).map((b) => `${a.node.textContent} / ${b.node.textContent}`));
"""


def test_no_text_stands_on_other_text(screen: tuple[Any, int]) -> None:
    browser, _ = screen
    assert browser.execute_script(OVERLAPS) == []
    squeezed = ".causes tr { display: grid !important; grid-template-columns: 3rem 4rem 4rem !important }"
    squeezed += " .causes th { white-space: nowrap !important }"
    browser.execute_script("document.querySelector('style').append(arguments[0])", squeezed)
    assert browser.execute_script(OVERLAPS), "the measure sees what it is to see"

"""The page in a real browser: it scrolls, filters, switches, hides and links, by mouse and keys, wide and narrow."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import oracle
from page import pages
from page.test_browser import OVERLAPS, choose, click, texts
from view import serving

from yoso_cli.drawing.colors import colors
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.view.content import Content
from yoso_cli.view.document import single_file
from yoso_cli.view.server import ViewServer

IMAGES = 30


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    folder = tmp_path_factory.mktemp("browsing")
    truth = pages.truth_in(folder, images=IMAGES)
    return serving.content_of(truth, serving.predicted_set(folder / "predictions", truth))


@pytest.fixture(scope="module")
def server(content: Content) -> Iterator[ViewServer]:
    with serving.served(content) as running:
        yield running


def until(chromium: Any, met: Callable[[Any], Any]) -> Any:
    """Waits for what the page does in its own time."""
    wait = oracle("selenium.webdriver.support.wait").WebDriverWait
    return wait(chromium, 15, poll_frequency=0.02).until(met)


def opened(chromium: Any, address: str) -> Any:
    chromium.get("about:blank")  # otherwise another hash is not another page
    chromium.get_log("browser")
    chromium.get(address)
    until(chromium, lambda page: texts(page, "#count") and texts(page, "#count") != [""])
    settled(chromium)
    return chromium


def settled(chromium: Any) -> None:
    """Until every cell on the screen has its photo and its labels."""
    until(
        chromium,
        lambda page: page.execute_script(
            """
            const drawn = (canvas) => canvas.width !== 300 || canvas.height !== 150;
            const views = [...document.querySelectorAll("#grid .stage")];
            return views.every((one) => one.querySelector("img")?.complete &&
              (one.classList.contains("photo") || one.querySelector(".why") || drawn(one.querySelector("canvas"))));
            """
        ),
    )


@pytest.fixture
def browser(chromium: Any, server: ViewServer) -> Iterator[Any]:
    """The served page, just opened; afterwards its console must be empty."""
    yield opened(chromium, server.url)
    assert chromium.get_log("browser") == []


def files(browser: Any) -> list[str]:
    settled(browser)
    found = browser.execute_script(
        "return [...document.querySelectorAll('.cell')].map((one) => [one.offsetTop, one.offsetLeft, "
        "one.querySelector('b').textContent]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((one) => one[2])"
    )
    return list(found)


def expected(content: Content, fits: Callable[[int], bool]) -> list[str]:
    return [record.image_file for place, record in enumerate(content.truth.records) if fits(place)]


def rows(content: Content, place: int) -> list[tuple[int, int, int]]:
    facts = content.facts
    own = facts.image == place
    columns = (facts.category[own].tolist(), facts.sizes[own].tolist(), facts.kinds[own].tolist())
    return list(zip(*columns, strict=True))


def counted(browser: Any) -> int:
    return int(texts(browser, "#count")[0].split(" of ")[0].replace(",", ""))


def set_field(browser: Any, name: str, value: str) -> None:
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    browser.execute_script(script, browser.find_element("id", name), value)


def test_it_begins_with_all_pictures_and_their_errors(browser: Any, content: Content) -> None:
    assert texts(browser, "#count") == [f"{IMAGES} of {IMAGES} pictures"]
    assert texts(browser, "#views [aria-pressed=true]") == ["errors"]
    shown = files(browser)
    assert shown == [record.image_file for record in content.truth.records][: len(shown)]
    assert texts(browser, "#legend li")[0] == "missed"


def test_names_are_text_and_nothing_else(browser: Any) -> None:
    assert browser.execute_script("return window.harmed") is None
    assert browser.find_elements("css selector", "img[src='x']") == []
    assert pages.HOSTILE in texts(browser, "h1")[0]
    assert texts(browser, "#subtitle") == [pages.SECOND]
    click(browser, "#classes summary")
    assert {pages.HOSTILE, pages.SECOND} <= set(texts(browser, ".chip"))
    choose(browser, "#class", "1") if texts(browser, "#class") else None
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.harmed = 3'; document.body.append(s)"
    )
    assert browser.execute_script("return window.harmed") is None
    (refused,) = browser.get_log("browser")
    assert "Content Security Policy" in refused["message"]


def test_pictures_are_filtered_by_class_size_and_errors(browser: Any, content: Content) -> None:
    for category in range(4):
        set_field(browser, "class", str(category))
        fitting = expected(content, lambda place: any(row[0] == category for row in rows(content, place)))  # noqa: B023
        assert counted(browser) == len(fitting)
        assert files(browser) == fitting[: len(files(browser))]
        set_field(browser, "size", "0")
        small = expected(content, lambda place: any(row[0] == category and row[1] & 1 for row in rows(content, place)))  # noqa: B023
        assert counted(browser) == len(small)
        set_field(browser, "size", "")
        set_field(browser, "kind", "3")
        wrong = expected(content, lambda place: any(row[0] == category and row[2] & 8 for row in rows(content, place)))  # noqa: B023
        assert counted(browser) == len(wrong)
        set_field(browser, "kind", "")
    set_field(browser, "class", "")
    set_field(browser, "kind", "some")
    some = expected(content, lambda place: any(row[2] for row in rows(content, place)))
    assert counted(browser) == len(some)
    set_field(browser, "kind", "none")
    assert counted(browser) == IMAGES - len(some)
    assert "kind=none" in browser.current_url


def test_pictures_are_filtered_by_name_count_and_score_and_all_is_reset(browser: Any, content: Content) -> None:
    click(browser, "#filters summary")
    browser.find_element("id", "file").send_keys("2")
    assert counted(browser) == sum("2" in record.image_file for record in content.truth.records)
    set_field(browser, "least", "5")
    many = [place for place, count in enumerate(content.facts.segments.tolist()) if count >= 5]
    assert counted(browser) == sum("2" in content.truth.records[place].image_file for place in many)
    set_field(browser, "most", "1")
    assert counted(browser) == 0
    assert texts(browser, "#message") == ["No picture fits."]
    click(browser, "#reset")
    assert counted(browser) == IMAGES
    assert texts(browser, "#message") == []
    set_field(browser, "score", "0.5")
    assert content.facts.lowest is not None
    assert counted(browser) == int((content.facts.lowest.round(4) <= 0.5).sum())
    click(browser, "#reset")
    assert browser.find_element("id", "score").get_attribute("value") == ""


def test_pictures_are_sorted(browser: Any, content: Content) -> None:
    set_field(browser, "sort", "lost")
    shown = files(browser)
    worst = [content.truth.records[place].image_file for place in content.facts.worst_first()]
    assert shown == worst[: len(shown)]
    set_field(browser, "sort", "name")
    shown = files(browser)
    assert shown == sorted(record.image_file for record in content.truth.records)[: len(shown)]


def pixel(browser: Any, selector: str, x: int, y: int) -> list[int]:
    """Red, green, blue and opacity of the labels at a place."""
    script = (
        "return [...document.querySelector(arguments[0]).getContext('2d').getImageData(...arguments[1], 1, 1).data]"
    )
    return list(browser.execute_script(script, selector, [x, y]))


def inner_pixel(truth: PanopticSet, place: int) -> tuple[int, int, int]:
    """A pixel inside a segment, and the place of its class."""
    panoptic = read_panoptic(truth, truth.records[place])
    by_id = {one.id: one.category_id for one in panoptic.segments}
    ids = panoptic.id_map
    for y in range(1, ids.shape[0]):
        for x in range(1, ids.shape[1]):
            if ids[y, x] and ids[y, x] == ids[y - 1, x] == ids[y, x - 1]:
                known = [one.id for one in truth.categories]
                return x, y, known.index(by_id[int(ids[y, x])])
    raise AssertionError


def test_labels_have_the_colour_of_their_class_and_can_be_hidden(browser: Any, content: Content) -> None:
    click(browser, "#views [data-view=truth]")
    settled(browser)
    x, y, category = inner_pixel(content.truth, 1)
    canvas = ".cell[data-place='1'] canvas"
    seen = pixel(browser, canvas, x, y)
    assert seen[3] == 150
    # The browser keeps colours multiplied by their opacity.
    assert max(abs(a - b) for a, b in zip(seen, colors(content.truth.categories)[category], strict=False)) <= 2
    click(browser, "#classes summary")
    click(browser, f".chip[data-category='{category}']")
    settled(browser)
    assert pixel(browser, canvas, x, y)[3] == 0
    assert f"hide={category}" in browser.current_url
    click(browser, "#all-off")
    click(browser, "#all-on")
    settled(browser)
    assert pixel(browser, canvas, x, y) == seen


def test_views_are_switched_by_buttons_and_keys(browser: Any) -> None:
    keys = oracle("selenium.webdriver.common.keys").Keys
    body = browser.find_element("css selector", "body")
    for number, view in enumerate(("photo", "truth", "prediction", "errors"), start=1):
        body.send_keys(str(number))
        settled(browser)
        assert texts(browser, "#views [aria-pressed=true]") == [view]
        assert texts(browser, "#legend li") == ([] if view != "errors" else texts(browser, "#legend li"))
    click(browser, ".cell", 2)
    first = texts(browser, "#large-title")
    browser.switch_to.active_element.send_keys(keys.ARROW_RIGHT)
    until(browser, lambda page: texts(page, "#large-title") != first)
    browser.switch_to.active_element.send_keys(keys.ARROW_LEFT)
    until(browser, lambda page: texts(page, "#large-title") == first)
    browser.switch_to.active_element.send_keys("2")
    assert texts(browser, "#large-views [aria-pressed=true]") == ["truth"]
    browser.switch_to.active_element.send_keys(keys.ESCAPE)
    until(browser, lambda page: not texts(page, "#large-title"))
    active = browser.switch_to.active_element
    assert active.get_attribute("data-place") == "2", "the focus goes back to where it was"


def test_a_picture_alone_tells_its_segments_and_what_is_under_the_pointer(browser: Any, content: Content) -> None:
    actions = oracle("selenium.webdriver.common.action_chains").ActionChains
    assert content.predict
    click(browser, ".cell", 1)
    until(browser, lambda page: texts(page, "#segments tbody tr"))
    record = content.truth.records[1]
    true, predicted = read_panoptic(content.truth, record), content.predict(record)
    assert len(texts(browser, "#segments tbody tr")) == len(true.segments) + len(predicted.segments)
    actions(browser).move_to_element(browser.find_element("id", "stage")).perform()
    told = until(browser, lambda page: texts(page, "#under")[0])
    assert "truth: " in told
    assert "prediction: " in told
    click(browser, "#segments tbody button")
    assert texts(browser, "#segments tbody [aria-pressed=false]")


def test_the_address_leads_to_a_picture(chromium: Any, server: ViewServer, content: Content) -> None:
    opened(chromium, f"{server.url}#view=truth&picture=7&hide=1")
    assert texts(chromium, "#large-title")[0].startswith(content.truth.records[7].image_file)
    assert texts(chromium, "#large-views [aria-pressed=true]") == ["truth"]
    click(chromium, "#next")
    until(chromium, lambda page: "picture=8" in page.current_url)
    address = chromium.current_url
    opened(chromium, address)
    assert texts(chromium, "#large-title")[0].startswith(content.truth.records[8].image_file)
    click(chromium, "#close")
    assert "picture" not in chromium.current_url
    opened(chromium, f"{server.url}#view=none&picture=99999&hide=x.77&class=1e9&sort=<b>&least=zz&kind=constructor")
    assert counted(chromium) == IMAGES, "what makes no sense is passed over"
    assert chromium.get_log("browser") == []


def test_a_missing_photo_is_told_and_the_labels_are_shown(browser: Any) -> None:
    assert texts(browser, ".cell[data-place='0'] .why") == ["The photo is missing."]
    assert browser.execute_script("return document.querySelector(\".cell[data-place='0'] canvas\").width") == 64


def test_thumbnails_come_as_one_scrolls_through_five_thousand(chromium: Any, tmp_path: Path) -> None:
    truth = serving.many(pages.truth_in(tmp_path), 5000)
    content = serving.content_of(truth)
    with serving.served(content) as server:
        asked: list[str] = []
        answer = server.answer
        server.answer = lambda name: asked.append(name) or answer(name)  # type: ignore[method-assign,func-returns-value]
        opened(chromium, server.url)
        assert texts(chromium, "#count") == ["5,000 of 5,000 pictures"]
        cells = "return document.querySelectorAll('.cell').length"
        assert 0 < chromium.execute_script(cells) < 60
        photos = {name for name in asked if name.startswith("photo")}
        assert 0 < len(photos) < 60
        chromium.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
        until(chromium, lambda page: page.find_elements("css selector", ".cell[data-place='4999']"))
        settled(chromium)
        assert chromium.execute_script(cells) < 60
        assert "photo/320/4999" in asked
        assert len({name for name in asked if name.startswith("photo")}) < 200
        assert "photo/320/2500" not in asked
        click(chromium, ".cell[data-place='4999']")
        keys = oracle("selenium.webdriver.common.keys").Keys
        chromium.switch_to.active_element.send_keys(keys.ARROW_RIGHT)
        until(chromium, lambda page: "1 of 5,000" in texts(page, "#large-title")[0])
    assert chromium.get_log("browser") == []


def test_a_server_that_has_ended_is_told(chromium: Any, server: ViewServer) -> None:
    opened(chromium, server.url)
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    chromium.execute_cdp_cmd("Network.enable", {})
    chromium.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        click(chromium, ".cell", 3)
        until(chromium, lambda page: "is `yoso view` still running?" in " ".join(texts(page, "#stage .why")))
    finally:
        online = {**offline, "offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
        chromium.execute_cdp_cmd("Network.emulateNetworkConditions", online)
        chromium.get_log("browser")


# What is in a closed box has a place as well.
SEEN_OVERLAPS = OVERLAPS.replace("dialog:not([open])", "dialog:not([open]), details:not([open]) > :not(summary)")


@pytest.fixture(params=[390, 1280])
def screen(chromium: Any, server: ViewServer, request: pytest.FixtureRequest) -> Iterator[tuple[Any, int]]:
    """The page on a telephone and on a desk, and how wide that is."""
    size = {"width": request.param, "height": 844, "deviceScaleFactor": 1, "mobile": request.param < 500}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield opened(chromium, server.url), request.param
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_fits_the_screen(screen: tuple[Any, int]) -> None:
    browser, width = screen
    columns = "return new Set([...document.querySelectorAll('.cell')].map((one) => one.style.left)).size"
    assert browser.execute_script(columns) == (2 if width < 500 else 5)
    for opening in ("", "#filters summary", "#classes summary", ".cell"):
        if opening:
            click(browser, opening)
        settled(browser)
        browser.execute_script("scrollTo(0, 0)")  # the header stays over what scrolls under it
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        within = "document.getElementById('large')" if opening == ".cell" else "document.body"
        assert browser.execute_script(SEEN_OVERLAPS.replace("document.body", within)) == []
        cut = browser.execute_script(
            "return [...document.querySelectorAll('.cell, #large, #stage, .fields *')].filter((one) => {"
            "const box = one.getBoundingClientRect(); return box.width && (box.left < 0 || box.right > innerWidth + 1) "
            "}).map((one) => one.outerHTML.slice(0, 80))"
        )
        assert cut == []
    stage = browser.execute_script("return document.getElementById('stage').getBoundingClientRect().height")
    assert stage > 250, "the picture has most of the room"


def test_every_control_has_a_name(browser: Any) -> None:
    click(browser, "#filters summary")
    click(browser, ".cell")
    bare = browser.execute_script(
        """
        return [...document.querySelectorAll("button, select, input, summary")].filter((one) => {
          const label = one.labels && one.labels.length ? one.labels[0].textContent : "";
          return !(one.getAttribute("aria-label") || one.textContent.trim() || label.trim());
        }).map((one) => one.outerHTML.slice(0, 80));
        """
    )
    assert bare == []


def test_one_file_shows_the_same_without_a_server(chromium: Any, content: Content, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    text, pictures = single_file(content, content.facts.worst_first()[:8])
    assert pictures == 8
    path.write_text(text)
    chromium.get("about:blank")
    chromium.get_log("performance")
    opened(chromium, path.as_uri())
    assert texts(chromium, "#count") == [f"8 of 8 pictures ({IMAGES} pictures are in the set)"]
    worst = [content.truth.records[place].image_file for place in content.facts.worst_first()[:8]]
    assert files(chromium) == worst
    assert chromium.execute_script("return window.harmed") is None
    click(chromium, ".cell", 3)
    until(chromium, lambda page: texts(page, "#segments tbody tr"))
    assert f"picture={content.facts.worst_first()[3]}" in chromium.current_url
    click(chromium, "#large-views [data-view=truth]")
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    requests = {one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"}
    assert {one.partition("#")[0] for one in requests if not one.startswith("data:")} <= {path.as_uri(), "about:blank"}


def test_a_file_is_bounded(content: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = single_file(content, range(10))
    monkeypatch.setattr("yoso_cli.view.document.MOST_BYTES", 20_000)
    text, pictures = single_file(content, range(10))
    assert 0 < pictures < 10
    assert len(text) < len(whole)
    assert pages.HOSTILE not in text

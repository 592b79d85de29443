"""The page measured: how it moves while it loads, twice as large, on paper, its first paint."""

import re

import pytest
from paged import furnish, needs_chromium, opened, places
from playwright.sync_api import Browser, expect
from served import World

pytestmark = needs_chromium

# Asked for before anything of the page is there.
WATCH = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifted += one.value;
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.fixture(scope="module")
def furnished(world: World, at: str) -> str:
    return furnish(world, at, "rut")


@pytest.mark.parametrize("width", [390, pytest.param(1200, marks=pytest.mark.slow)])
def test_nothing_jumps_while_it_loads(
    browser: Browser, at: str, furnished: str, width: int
) -> None:
    with opened(browser, at, furnished, width) as one:
        one.page.add_init_script(WATCH)
        one.go("dataset")
        moved = {}
        for place in places(one):
            one.page.goto("about:blank")
            one.go(place)
            one.page.wait_for_timeout(500)
            moved[place] = one.page.evaluate("shifted")
        assert {place: by for place, by in moved.items() if by > 0.05} == {}
        assert one.clean()


def test_twice_as_large(browser: Browser, at: str, furnished: str) -> None:
    """As a browser's zoom does it: half as many pixels, each of them double; and as styles do."""
    with opened(browser, at, furnished, 640, device_scale_factor=2) as one:
        one.go("dataset")
        for place in places(one):
            page = one.go(place)
            page.wait_for_timeout(150)
            assert page.evaluate("document.documentElement.scrollWidth") == 640, place
    with opened(browser, at, furnished, 1280) as one:
        one.go("dataset")
        for place in places(one):
            page = one.go(place)
            page.evaluate("document.documentElement.style.zoom = 2")
            page.wait_for_timeout(150)
            seen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert seen[0] <= seen[1], place


def test_paper_has_what_is_to_be_read(browser: Browser, at: str, furnished: str) -> None:
    with opened(browser, at, furnished) as one:
        one.go("dataset")
        one.page.emulate_media(media="print", color_scheme="dark")
        for place in places(one):
            page = one.go(place)
            expect(page.locator("h1").first).to_be_visible()
            expect(page.locator("#head")).to_be_hidden()
            assert page.locator("main button:not(.pic):visible").count() == 0, place
            ink = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ink == "rgb(255, 255, 255)", place
            page.wait_for_timeout(100)


@pytest.mark.slow  # it says seconds, and asserts none
def test_first_paint(browser: Browser, at: str, furnished: str) -> None:
    found = {}
    for place in ("dataset", "generate"):
        with opened(browser, at, furnished) as one:  # a new context has a cold cache
            one.go(place)
            paint = "performance.getEntriesByType('paint').map(one => [one.name, one.startTime])"
            found[place] = dict(one.page.evaluate(paint))
            asked = [url for url in one.asked if re.search(r"\.(js|css)$", url)]
    print({place: {name: round(ms) for name, ms in one.items()} for place, one in found.items()})
    print(f"{len(asked)} modules and style sheets")
    assert all("first-contentful-paint" in one for one in found.values())

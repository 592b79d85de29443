"""Every part of the page: by axe, on a narrow screen, twice as large, on paper, by keyboard alone,
and how it moves while it loads."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from paged import Opened, furnish, needs_chromium, opened, places
from playwright.sync_api import Browser, Page, expect
from served import World

pytestmark = needs_chromium

# Asked for before anything of the page is there.
WATCH = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifted += one.value;
}).observe({ type: "layout-shift", buffered: true });
"""
CONTRAST = {"runOnly": ["color-contrast"]}  # all that another scheme changes


@pytest.fixture(scope="module")
def furnished(world: World, at: str) -> str:
    return furnish(world, at, "pia")


def walked(one: Opened) -> Iterator[tuple[Page, str]]:
    """Every place, loaded anew; nothing has jumped on it."""
    one.page.add_init_script(WATCH)
    one.go("dataset")
    for place in places(one):
        one.page.goto("about:blank")
        page = one.go(place)
        page.wait_for_timeout(300)
        expect(page.locator("h1").first).to_be_visible()
        moved = page.evaluate("shifted")
        assert moved <= 0.05, f"{place}: {moved}"
        yield page, place


def violations(page: Page, place: str, options: dict[str, list[str]] | None = None) -> None:
    found = Axe().run(page, options=options)
    assert found.violations_count == 0, f"{place}: {found.generate_report()}"


def width(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize(
    ("scheme", "other", "wide"),
    [("light", "dark", 320), pytest.param("dark", "light", 1200, marks=pytest.mark.slow)],
)
def test_every_page_is_for_everybody(
    browser: Browser, at: str, furnished: str, scheme: str, other: str, wide: int
) -> None:
    with opened(browser, at, furnished, wide, color_scheme=scheme, reduced_motion="reduce") as one:
        for page, place in walked(one):
            on_paper(page, place)
            page.emulate_media(media="screen", color_scheme=scheme)
            page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
            assert width(page) == wide, place
            violations(page, place)
            page.emulate_media(color_scheme=other)
            violations(page, place, CONTRAST)
            page.set_viewport_size({"width": 1280, "height": 900})
            page.evaluate("document.documentElement.style.zoom = 2")
            assert width(page) <= page.evaluate("innerWidth"), place
            page.set_viewport_size({"width": wide, "height": 900})
        one.page.evaluate("document.documentElement.style.zoom = 1")
        one.page.get_by_role("button", name="Jobs").click()
        drawer = one.page.locator("#drawer")
        expect(drawer).to_contain_text("64x64 is too small for 512 px. Use a larger photo.")
        expect(
            drawer.get_by_role("button", name="Try again: Check of photos: kaiffin")
        ).to_be_visible()
        violations(one.page, "jobs")
        assert one.clean()


def on_paper(page: Page, place: str) -> None:
    """What is to be read is there, in black on white, and nothing that is to be pressed."""
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator("h1").first).to_be_visible()
    expect(page.locator("#head")).to_be_hidden()
    assert page.locator("main button:not(.pic):visible").count() == 0, place
    ink = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ink == "rgb(255, 255, 255)", place


MARK = """
() => {
  window.reached = new Set();
  window.unseen = [];
  document.addEventListener("focusin", ({ target }) => {
    reached.add(target.dataset.test);
    if (getComputedStyle(target).outlineStyle === "none") unseen.push(target.outerHTML);
  });
  document.activeElement.blur();
  return [...document.querySelectorAll("a, button, input, select, textarea, summary")]
    .filter((one) => one.checkVisibility() && !one.disabled && one.tabIndex >= 0)
    .map((one, i) => (one.dataset.test = String(i)));
}
"""


@pytest.mark.slow  # each place, key by key
def test_tab_reaches_everything(browser: Browser, at: str, furnished: str) -> None:
    with opened(browser, at, furnished) as one:
        for page, place in walked(one):
            wanted = page.evaluate(MARK)
            for _ in range(len(wanted) + 20):
                page.keyboard.press("Tab")
            reached, unseen = page.evaluate("[[...reached], unseen]")
            assert set(reached) >= set(wanted), place
            assert unseen == [], place

"""Every part of the page by axe, on a narrow screen, by keyboard alone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from paged import furnish, needs_chromium, opened, places
from playwright.sync_api import Browser, expect
from served import World

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def furnished(world: World, at: str) -> str:
    return furnish(world, at, "pia")


@pytest.mark.parametrize(("scheme", "width"), [("light", 320), ("dark", 1200)])
def test_every_page_is_for_everybody(
    browser: Browser, at: str, furnished: str, scheme: str, width: int
) -> None:
    with opened(browser, at, furnished, width, color_scheme=scheme, reduced_motion="reduce") as one:
        one.go("dataset")
        for place in places(one):
            page = one.go(place)
            page.wait_for_timeout(250)  # the view before this one is gone
            expect(page.locator("h1").first).to_be_visible()  # and this one has come
            page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth") == width, place
            found = Axe().run(page)
            assert found.violations_count == 0, f"{place}: {found.generate_report()}"
        one.page.get_by_role("button", name="Jobs").click()
        drawer = one.page.locator("#drawer")
        expect(drawer).to_contain_text("64x64 is too small for 512 px. Use a larger photo.")
        expect(
            drawer.get_by_role("button", name="Try again: Check of photos: kaiffin")
        ).to_be_visible()
        assert Axe().run(one.page).violations_count == 0
        assert one.clean()


def test_tab_reaches_everything(browser: Browser, at: str, furnished: str) -> None:
    with opened(browser, at, furnished) as one:
        one.go("dataset")
        for place in places(one):
            page = one.go(place)
            page.wait_for_timeout(250)  # the view before this one is gone
            expect(page.locator("h1").first).to_be_visible()  # and this one has come
            wanted = page.evaluate(
                "[...document.querySelectorAll('a, button, input, select, textarea, summary')]"
                ".filter(one => one.checkVisibility() && !one.disabled && one.tabIndex >= 0)"
                ".map((one, i) => one.dataset.test = String(i))"
            )
            page.evaluate("document.activeElement.blur()")
            reached = set()
            for _ in range(len(wanted) + 20):
                page.keyboard.press("Tab")
                told, outline = page.evaluate(
                    "(() => { const at = document.activeElement;"
                    " return [at.dataset.test, getComputedStyle(at).outlineStyle]; })()"
                )
                if told is not None:
                    reached.add(told)
                    assert outline != "none", place
            assert reached >= set(wanted), place

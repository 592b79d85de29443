"""Every part of the page by axe, on a narrow screen, by keyboard alone."""

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from paged import Opened, needs_chromium, opened
from playwright.sync_api import Browser, expect
from served import World, jpeg

PAGES = ("dataset", "tune", "generate", "compare", "settings")

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def furnished(world: World, at: str) -> str:
    """The key of somebody who has photos, a training, pictures and a failed job."""
    client = httpx.Client(base_url=at, headers={"authorization": f"Bearer {world.key('pia')}"})
    dataset = client.post(
        "/api/v1/datasets",
        json={"name": "A very-long-name-without-any-break-in-it", "subject": "zubrik"},
    ).json()["id"]
    file = {"file": ("a-name-as-cameras-give-them-IMG_20260101_000000.jpg", jpeg())}
    assert client.post(f"/api/v1/datasets/{dataset}/photos", files=file).status_code == 201
    client.post("/api/v1/train", json={"dataset": dataset}).raise_for_status()
    failed = client.post("/api/v1/scan", json={"dataset": dataset}).json()["id"]
    world.studio.jobs.begin([failed], "test")
    world.studio.jobs.fail(
        failed, "photo.jpg: 64x64 is too small for 512 px.", "Use a larger photo."
    )
    done = client.post("/api/v1/generate", json={"base": "miniature", "prompts": ["a dog"]}).json()[
        "id"
    ]
    world.paint(world.owner(client), done, 2)
    return client.headers["authorization"].partition(" ")[2]


def places(one: Opened) -> list[str]:
    found = one.page.evaluate(
        "Promise.all(['datasets', 'runs', 'jobs?kind=generate'].map(async (name) =>"
        " (await (await fetch(`api/v1/${name}`)).json()).items[0].id))"
    )
    return [
        *PAGES,
        f"dataset/{found[0]}",
        f"tune/{found[1]}",
        f"generate/{found[2]}",
        f"compare/{found[2]}?blind=1",
    ]


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

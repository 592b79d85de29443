"""The page in a real browser, Debian's Chromium: whole journeys, for everybody, on a service that is really there."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from served import Hand, World, jpeg, listening
from test_server import Served

from kaiffin.serve.page import FILES, INDEX

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"
)
PAGES = ("dataset", "tune", "generate", "compare", "settings")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's sandbox needs rights that root in a container does not have.
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("page") / "studio")
    yield made
    made.studio.close()


@pytest.fixture(scope="module")
def at(world: World) -> Iterator[str]:
    """A server without workers: a hand paints what is asked for."""
    with listening(world) as address, Hand(world):
        yield address


@dataclass
class Opened:
    """A page, and everything that it complained about or asked for."""

    page: Page
    at: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def clean(self) -> bool:
        assert self.said == []
        assert all(url.startswith((self.at, "blob:")) for url in self.asked), self.asked
        return True

    def go(self, place: str) -> Page:
        self.page.goto(f"{self.at}/#/{place}")
        expect(self.page.locator("h1")).to_be_visible()
        return self.page


@contextmanager
def opened(
    browser: Browser, at: str, key: str, width: int = 1200, **options: Any
) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(15_000)
    if key:
        assert context.request.post(f"{at}/api/v1/session", data={"key": key}).ok
    made = Opened(context.new_page(), at)
    made.page.on("console", lambda message: made.said.append(f"{message.text} {message.location}"))
    made.page.on("pageerror", lambda error: made.said.append(str(error)))
    made.page.on("request", lambda request: made.asked.append(request.url))
    yield made
    context.close()


# --- the files ----------------------------------------------------------------------------------


def test_scripts_are_small_and_nothing_is_inline() -> None:
    size = sum(path.stat().st_size for name, path in FILES.items() if name.endswith(".js"))
    assert size < 120 * 1024, size
    html = INDEX.read_text()
    assert "style=" not in html
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bon\w+=", html)
    links = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert {link.removeprefix("page/") for link in links} <= set(FILES)
    for name, path in FILES.items():
        text = path.read_text()
        assert not re.search(r"https?://(?!www\.w3\.org)", text), name
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
        for other in re.findall(r'(?:from|import\()\s*"([^"]+)"', text):
            assert other.removeprefix("./") in FILES, (name, other)


def test_files_are_sent_once_and_nothing_else_is(world: World) -> None:
    stranger = world.stranger()
    first = stranger.get("/page/app.js")
    assert first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "no-cache"
    again = stranger.get("/page/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert stranger.get("/").headers["content-type"].startswith("text/html")
    for name in ("__init__.py", "index.html", "../app.py", "report.css", ""):
        assert stranger.get(f"/page/{name}").status_code == 401, name


# --- who comes in --------------------------------------------------------------------------------


@needs_chromium
def test_strangers_log_in_and_are_where_they_wanted(
    browser: Browser, world: World, at: str
) -> None:
    key = world.key("lena")
    with opened(browser, at, "") as one:
        one.page.goto(f"{at}/#/settings")
        box = one.page.get_by_label("Key", exact=True)
        box.fill("x" * 43)
        box.press("Enter")
        alert = one.page.get_by_role("alert")
        expect(alert).to_contain_text("This key opens nothing. Look for a letter too few")
        box.fill(key)
        box.press("Enter")
        expect(one.page.get_by_text("You are lena.")).to_be_visible()
        assert all("401" in line or "403" in line for line in one.said), "\n".join(one.said)
        world.service.keys.end_session(one.page.context.cookies()[0]["value"])
        one.page.get_by_role("link", name="Compare").click()
        expect(one.page.get_by_label("Key", exact=True)).to_be_visible()
    with opened(browser, at, "") as one:
        token = world.service.keys.new_token()
        one.page.goto(f"{at}/?token={token}#/settings")
        expect(one.page.get_by_text("You are operator.")).to_be_visible()
        assert "token" not in one.page.url
        one.page.goto(f"{at}/?token={token}")
        expect(
            one.page.locator("h1")
        ).to_be_visible()  # the session holds, though the token is used


# --- photos --------------------------------------------------------------------------------------


def photo(folder: Path, name: str, colour: tuple[int, int, int], size: tuple[int, int]) -> Path:
    path = folder / name
    Image.new("RGB", size, colour).save(path)
    return path


@needs_chromium
def test_photos_come_in_and_are_mended(
    browser: Browser, world: World, at: str, tmp_path: Path
) -> None:
    key = world.key("mia")
    good = [photo(tmp_path, f"{i}.png", (40 * i, 90, 20), (160, 96)) for i in range(3)]
    bad = tmp_path / "broken.jpg"
    bad.write_bytes(jpeg()[:200])
    paper = tmp_path / "letter.pdf"
    paper.write_bytes(b"%PDF-1.4")
    twin = tmp_path / "twin.png"
    twin.write_bytes(good[0].read_bytes())
    with opened(browser, at, key) as one:
        page = one.go("dataset")
        expect(page.get_by_role("button", name="Try it with Kaiffin")).to_be_visible()
        chooser = page.locator('input[type="file"][accept*="heic"]')
        chooser.set_input_files(good[:2])
        expect(page.get_by_text("2 photos to learn from")).to_be_visible()
        page.locator('input[type="file"][accept*="heic"]').set_input_files(
            [good[2], bad, paper, twin]
        )
        expect(page.get_by_text("3 photos to learn from")).to_be_visible()
        alerts = page.locator(".uploads")
        expect(alerts).to_contain_text("No photo: letter.pdf")
        expect(alerts).to_contain_text("broken.jpg")
        expect(alerts).to_contain_text("is here already: it is kept once")
        page.get_by_label("A word for it").fill("zubrik")
        page.get_by_label("What it is").fill("bear")
        page.get_by_label("What it is").press("Tab")
        expect(page.get_by_role("heading", name="zubrik bear")).to_be_visible()

        page.get_by_label("what 0.png shows").fill("a photo of zubrik bear")
        page.get_by_label("what 0.png shows").press("Tab")
        expect(page.get_by_text("Saved.")).to_be_visible()
        page.get_by_role("button", name="Crop 0.png").last.click()
        page.get_by_label("Left to right").fill("1000")
        page.get_by_role("button", name="Keep this part").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.get_by_role("button", name="Leave out 1.png").click()
        expect(page.get_by_text("2 photos to learn from, 1 left out")).to_be_visible()

        page.reload()  # all of it is the service's
        expect(page.get_by_text("2 photos to learn from, 1 left out")).to_be_visible()
        expect(page.get_by_label("what 0.png shows")).to_have_value("a photo of zubrik bear")
        client = world.stranger()
        client.headers["authorization"] = f"Bearer {key}"
        dataset = client.get("/api/v1/datasets").json()["items"][0]
        assert (dataset["subject"], dataset["noun"]) == ("zubrik", "bear")
        photos = client.get(f"/api/v1/datasets/{dataset['id']}/photos").json()["items"]
        by = {photo["name"]: photo for photo in photos}
        assert by["0.png"]["crop"] == {"left": 64, "top": 0, "width": 96, "height": 96}
        names = {path.name for path in world.studio.dataset(dataset["id"]).iterdir()}
        assert not any(name.startswith(by["1.png"]["id"]) for name in names)
        page.get_by_role("button", name="Put back 1.png").click()
        expect(page.get_by_text("3 photos to learn from")).to_be_visible()
        names = {path.name for path in world.studio.dataset(dataset["id"]).iterdir()}
        assert f"{by['1.png']['id']}.png" in names
        assert all("broken" in line or "400" in line for line in one.said), one.said


# --- pictures -----------------------------------------------------------------------------------


@needs_chromium
def test_pictures_are_made_and_kept(browser: Browser, world: World, at: str) -> None:
    with opened(browser, at, world.key("nora")) as one:
        page = one.go("generate")
        page.get_by_label("What to draw").fill("a dog")
        page.get_by_label("How many").fill("3")
        page.get_by_role("button", name="Generate", exact=True).click()
        made = page.locator(".results .pic")
        expect(made).to_have_count(3)
        expect(page.locator(".gallery .pic")).to_have_count(3)
        made.first.click()
        window = page.get_by_role("dialog")
        expect(window).to_contain_text("dpm++2m, 2, 5")
        window.get_by_role("button", name="Favourite").click()
        expect(window.get_by_role("button", name="♥ Favourite")).to_be_visible()
        page.keyboard.press("ArrowRight")
        expect(window).to_contain_text("2 of 3")
        window.get_by_role("button", name="Use these settings").click()
        expect(window).to_be_hidden()
        expect(page.get_by_label("How many")).to_have_value("1")

        page.get_by_label("favourites").check()
        expect(page.locator(".gallery .pic")).to_have_count(1)
        page.get_by_label("favourites").uncheck()
        page.get_by_label("Search prompts").fill("cat")
        expect(page.get_by_text("No picture fits.")).to_be_visible()
        page.get_by_label("Search prompts").fill("DOG")
        expect(page.locator(".gallery .pic")).to_have_count(3)
        page.get_by_role("button", name="Choose several").click()
        for box in page.locator(".gallery").get_by_role("checkbox").all()[:2]:
            box.check()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download as zip").click()
        assert Path(download.value.path()).read_bytes().startswith(b"PK")
        page.get_by_role("button", name="Delete").click()
        expect(page.locator(".gallery .pic")).to_have_count(1)
        page.get_by_role("button", name="Undo").click()
        expect(page.locator(".gallery .pic")).to_have_count(3)

        file = world.studio.image(
            page.locator(".results img").first.get_attribute("src").split("/")[3]
        )
        page.locator('.form input[type="file"]').set_input_files(file)
        expect(page.get_by_label("Steps", exact=True)).to_have_value("2")
        assert one.clean()


@needs_chromium
def test_a_gallery_of_thousands_holds_what_is_seen(browser: Browser, world: World, at: str) -> None:
    client = world.caller("olga")
    owner = world.owner(client)
    with world.studio.db.transaction() as writer:
        writer.executemany(
            "INSERT INTO images (id, owner, job, prompt, seed, width, height, created)"
            " VALUES (?, ?, 'j', 'a dog', ?, 64, 64, 0)",
            [(f"{i:016d}", owner, i) for i in range(10_000)],
        )
    key = client.headers["authorization"].partition(" ")[2]
    with opened(browser, at, key) as one:
        page = one.go("generate")
        expect(page.locator(".gallery .pic").first).to_be_visible()
        for _ in range(6):
            page.evaluate("scrollTo(0, document.body.scrollHeight)")
            page.wait_for_timeout(150)
        assert page.locator(".gallery .photos").count() > 1
        assert page.locator(".gallery .pic").count() < 600


# --- for everybody ------------------------------------------------------------------------------


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


@needs_chromium
@pytest.mark.parametrize(("scheme", "width"), [("light", 320), ("dark", 1200)])
def test_every_page_is_for_everybody(
    browser: Browser, at: str, furnished: str, scheme: str, width: int
) -> None:
    with opened(browser, at, furnished, width, color_scheme=scheme, reduced_motion="reduce") as one:
        one.go("dataset")
        for place in places(one):
            page = one.go(place)
            page.wait_for_timeout(250)
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


@needs_chromium
def test_tab_reaches_everything(browser: Browser, at: str, furnished: str) -> None:
    with opened(browser, at, furnished) as one:
        one.go("dataset")
        for place in places(one):
            page = one.go(place)
            page.wait_for_timeout(250)
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


@needs_chromium
def test_the_line_breaks_and_comes_back(browser: Browser, world: World, at: str) -> None:
    key = world.key("quin")
    client = world.stranger()
    client.headers["authorization"] = f"Bearer {key}"
    with opened(browser, at, key) as one:
        page = one.go("generate")
        page.get_by_label("What to draw").fill("a long prompt that nobody wants to type again")
        page.context.set_offline(True)
        page.get_by_role("button", name="Generate", exact=True).click()
        expect(page.get_by_text("The service does not answer. What runs goes on")).to_be_visible()
        page.context.set_offline(False)  # what was asked meanwhile is asked again, once
        expect(page.locator(".results .pic")).to_have_count(4)
        expect(page.get_by_text("The service does not answer.")).to_be_hidden()
        page.reload()
        expect(page.get_by_label("What to draw")).to_have_value(
            "a long prompt that nobody wants to type again"
        )
        assert len(client.get("/api/v1/jobs").json()["items"]) == 1


# --- the whole journey --------------------------------------------------------------------------


@needs_chromium
@pytest.mark.slow  # a training, on a service whose process is killed in between
def test_from_photos_to_a_picture_in_five_clicks(browser: Browser, tmp_path: Path) -> None:
    served = Served(tmp_path / "studio", "--port", "0")
    found = re.search(r"(http://[^\s?]+)/\?token=\S+", served.until("?token="))
    assert found
    address, port = found[1], found[1].rpartition(":")[2]
    clicks = 0

    def click(page: Page, name: str, role: Any = "button") -> None:
        nonlocal clicks
        page.get_by_role(role, name=name, exact=True).click()
        clicks += 1

    try:
        with opened(browser, address, "") as one:
            page = one.page
            page.set_default_timeout(120_000)
            expect.set_options(timeout=300_000)
            page.goto(found[0])
            click(page, "Try it with Kaiffin")
            click(page, "Next: Fine-tune", "link")
            expect(page.get_by_role("heading", name="What it will take")).to_be_visible()
            page.get_by_text("All settings").click()  # fewer steps: for a test, not for the journey
            for name, value in (("steps", "40"), ("candidates", "2"), ("seeds", "1")):
                page.get_by_placeholder("Search settings").fill(f"{name}")
                box = page.get_by_label(re.compile(f"^{name}( changed)?$")).first
                box.fill(value)
                box.press("Tab")
            click(page, "Start training")
            expect(page.get_by_text(re.compile(r"[5-9] of 40|[1-3]\d of 40"))).to_be_visible()
            page.get_by_role("button", name=re.compile("^Pause")).click()
            expect(page.get_by_text("Paused. Nothing is lost.")).to_be_visible()
            page.reload()
            page.get_by_role("button", name=re.compile("^Go on")).click()
            expect(page.get_by_text("Learning", exact=True)).to_be_visible()
            os.kill(served.process.pid, signal.SIGKILL)
            served.process.wait()
            expect(page.get_by_text("The service does not answer.")).to_be_visible()
            served = Served(tmp_path / "studio", "--port", port)
            served.until("?token=")
            expect(page.get_by_text("It has learnt, in")).to_be_visible()
            page.get_by_role("button", name="Choose for me").click()
            expect(page.get_by_text(re.compile(r"Step \d+ is chosen\."))).to_be_visible()
            slider = page.get_by_role("slider", name="Checkpoint")
            slider.press("Home")
            expect(page.locator(".said")).to_contain_text("base")
            with page.expect_download() as download:
                page.get_by_role("link", name="Download the chosen adapter").click()
            loads_in_diffusers(Path(download.value.path()), tmp_path / "a.safetensors")
            click(page, "Make pictures", "link")
            expect(page.get_by_label("What to draw")).to_have_value(re.compile("kaiffin penguin"))
            click(page, "Generate")
            expect(page.locator(".results .pic")).to_have_count(4)
            assert clicks == 5
            page.get_by_label("Keep the best").fill("1")
            page.get_by_role("button", name="Generate", exact=True).click()
            expect(page.get_by_text("kept ·")).to_have_count(1)
            page.locator(".results .pic").first.click()
            page.get_by_role("button", name="Compare with the base").click()
            expect(page.get_by_text("The base as it was, same seed")).to_be_visible()
    finally:
        served.process.kill()
        served.process.wait()


def loads_in_diffusers(path: Path, name: Path) -> None:
    from diffusers import StableDiffusionPipeline

    from kaiffin.miniature import WEIGHTS

    shutil.copyfile(path, name)
    pipeline = StableDiffusionPipeline.from_pretrained(WEIGHTS, safety_checker=None)
    pipeline.load_lora_weights(name)
    assert pipeline.get_active_adapters()

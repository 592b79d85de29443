"""The page in a real browser: coming in, photos, pictures, a line that breaks."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from paged import needs_chromium, opened
from PIL import Image
from playwright.sync_api import Browser, expect
from served import World, jpeg
from starlette.testclient import TestClient

pytestmark = needs_chromium


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
        one.page.evaluate("location.hash = '#/compare'")
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


def photo(folder: Path, name: str, colour: tuple[int, int, int], size: tuple[int, int]) -> Path:
    path = folder / name
    Image.new("RGB", size, colour).save(path)
    return path


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


MANY = 10_000
SCROLL = """
async (chunks) => {
  let most = 0;
  while (document.querySelectorAll(".gallery .photos").length < chunks) {
    scrollTo(0, document.body.scrollHeight);
    await new Promise((done) => setTimeout(done, 20));
    most = Math.max(most, document.querySelectorAll("*").length);
  }
  return most;
}
"""


@pytest.fixture(scope="module")
def olga(world: World) -> TestClient:
    """Somebody with 10,000 pictures."""
    client = world.caller("olga")
    owner = world.owner(client)
    with world.studio.db.transaction() as writer:
        writer.executemany(
            "INSERT INTO images (id, owner, job, prompt, seed, width, height, created)"
            " VALUES (?, ?, 'j', 'dog ' || ?, ?, 64, 64, 0)",
            [(f"{i:016d}", owner, i, i) for i in range(MANY)],
        )
    return client


def filed(world: World, numbers: Iterable[int]) -> None:
    """Files for those pictures, which are one file."""
    (first,) = world.paint("nobody", "j")
    world.studio.folder("images/00")
    for number in numbers:
        path = world.studio.image(f"{number:016d}")
        if not path.exists():
            os.link(world.studio.image(first), path)


@pytest.mark.parametrize("chunks", [5, pytest.param(-(-MANY // 60), marks=pytest.mark.slow)])
def test_a_gallery_of_thousands_holds_what_is_seen(
    browser: Browser, world: World, at: str, olga: TestClient, chunks: int
) -> None:
    """To its fifth part of many, or to its end: few elements, no more questions than parts, and
    what is far down can be found, opened and liked."""
    last = max(0, MANY - chunks * 60)
    filed(world, [123, *range(1230, 1240), *range(max(0, last - 120), MANY)])
    with opened(browser, at, olga.headers["authorization"].partition(" ")[2]) as one:
        page = one.go("generate")
        page.set_default_timeout(300_000)
        expect(page.locator(".gallery .pic").first).to_be_visible()
        assert page.evaluate(SCROLL, chunks) < 2500
        shown = page.locator(".gallery .pic")
        expect(page.get_by_alt_text(f"dog {last}, seed {last}", exact=True)).to_be_visible()
        assert shown.count() < 400
        lists = [url for url in one.asked if "api/v1/images?" in url]
        assert chunks <= len(lists) <= chunks + 3
        files = [url for url in one.asked if url.endswith("/thumb")]
        assert len(files) == len(set(files)), "a picture is asked for once"

        page.get_by_role("button", name="Choose several").click()
        page.get_by_role("button", name="Choose all of these").click()
        zips = page.get_by_role("link", name="Download as zip, ").all()
        parts = [len((zip.get_attribute("href") or "").split(",")) for zip in zips]
        assert max(parts) == 200  # what a file takes: the rest is in others, and nothing is lost
        expect(page.get_by_text(f"{sum(parts)} chosen")).to_be_visible()
        page.get_by_role("button", name="Done choosing").click()

        shown.last.click()
        page.get_by_role("dialog").get_by_role("button", name="Favourite").click()
        expect(page.get_by_role("button", name="♥ Favourite")).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_label("favourites").check()
        expect(shown).to_have_count(1)
        shown.click()
        page.get_by_role("button", name="♥ Favourite").click()
        page.keyboard.press("Escape")
        page.get_by_label("favourites").uncheck()
        page.get_by_label("Search prompts").fill("dog 123")
        expect(shown).to_have_count(11)  # 123 and 1230 to 1239
        assert one.clean()


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

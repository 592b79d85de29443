"""What the page does with a part of a picture, and on from one."""

import re
from typing import Any

from paged import Mine, needs_chromium, opened
from PIL import Image
from playwright.sync_api import Browser, expect
from served import World, jpeg

pytestmark = needs_chromium

LEFT = """async () => {
    Promise.reject(new DOMException("left", "AbortError"));
    await new Promise((done) => setTimeout(done, 50));
}"""


def test_on_from_a_picture(browser: Browser, world: World, at: str) -> None:
    """Painted over where a brush was, twice as large, and as a form's beginning that can go."""
    mine = Mine(world, at, "iva")
    made = mine.client.post("/generate", json={"base": "miniature", "prompts": ["a dog"]}).json()
    (image,) = mine.client.get(f"/jobs/{made['id']}?wait=20").json()["result"]["images"]

    def newest() -> dict[str, Any]:
        return mine.client.get("/jobs?limit=1").json()["items"][0]

    with opened(browser, at, mine.key) as one:
        page = one.go("generate")
        page.locator(".gallery .pic").click()
        page.get_by_text("Paint on from it").click()
        page.get_by_role("button", name="Only a part").click()
        box = page.locator(".stage canvas").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 1)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] - 1, steps=5)
        page.mouse.up()
        page.get_by_label("What it shows then").fill("a cat")
        page.get_by_role("button", name="Paint over it").click()
        expect(page.locator(".results .pic")).to_have_count(5)
        job = newest()
        start = job["request"]["start"]
        assert (start["image"], start["strength"], job["request"]["prompts"]) == (
            image,
            1,
            ["a cat"],
        )
        with Image.open(world.studio.made(job["id"]) / "mask.png") as mask:
            assert mask.size == (64, 64)
            assert [mask.getpixel((x, 32)) for x in (4, 16, 28, 60)] == [0, 255, 0, 0]
        assert page.get_by_text("It begins from another picture").is_visible()
        page.get_by_role("button", name="Without these").click()
        page.get_by_role("button", name="Generate", exact=True).click()
        while newest()["id"] == job["id"]:
            page.wait_for_timeout(20)
        assert newest()["request"]["start"] is None

        page = one.go("generate")
        page.locator(".gallery .pic").last.click()
        page.get_by_text("Paint on from it").click()
        page.get_by_role("button", name="Twice as large").click()
        expect(page.locator(".results .pic")).to_have_count(2)
        start = newest()["request"]["start"]
        assert (start["upscale"], start["strength"]) == (2, 0)
        assert one.clean()


def test_a_closer_look_and_where_each_stands(browser: Browser, world: World, at: str) -> None:
    """The first with the subject's word unless another is typed; the second where two are worn. A
    picture brings both back, and neither stays with a base that was chosen instead."""
    mine = Mine(world, at, "lou")
    dataset = mine.dataset(jpeg())
    first, _ = (mine.trained(dataset, name) for name in ("puffin", "bear"))

    def asked() -> dict[str, Any]:
        return mine.client.get("/jobs?kind=generate&limit=1").json()["items"][0]["request"]

    with opened(browser, at, mine.key) as one:
        page = one.go(f"generate?run={first}")
        prompt, where = page.get_by_label("What to draw"), page.get_by_label("Where each stands")
        prompt.fill("a photo of kaiffin")
        expect(where).to_be_hidden()
        page.get_by_label("Look closer").check()
        expect(page.get_by_label("What to look for")).to_have_attribute("placeholder", "kaiffin")
        page.get_by_label("How much of it is new").fill("0.7")
        page.get_by_role("button", name="Generate", exact=True).click()
        expect(page.locator(".results .pic").first).to_be_visible()
        start = asked()["start"]
        assert (start["detail"], start["second"], asked()["regions"]) == ("kaiffin", 0.7, [])

        page.get_by_label("What to look for").fill("helmet")
        page.get_by_role("button", name="<lora:bear:1>").click()
        expect(prompt).to_have_value(re.compile("a photo of kaiffin beside .*<lora:bear:1>"))
        page.get_by_label("Look closer").uncheck()
        where.select_option("side by side")
        page.get_by_role("button", name="Generate", exact=True).click()
        expect(page.get_by_text("lora:bear").first).to_be_visible()
        while asked()["regions"] != ["columns"]:
            page.wait_for_timeout(20)
        assert not asked()["start"]["detail"]

        boxes = ["kaiffin=0,0,0.5,1", "bear=0.5,0,1,1"]
        mine.client.post("/generate?wait=20", json={**asked(), "regions": boxes})
        page = one.go("generate")
        page.locator(".gallery .pic").first.click()
        page.get_by_role("button", name="Use these settings").click()
        expect(where).to_have_value("|".join(boxes))
        expect(page.get_by_label("Look closer")).not_to_be_checked()

        page.get_by_label("With").select_option("base:miniature")
        where.select_option("everywhere")
        prompt.fill("a dog")
        expect(where).to_be_hidden()
        page.get_by_role("button", name="Generate", exact=True).click()
        while asked()["prompts"] != ["a dog"]:
            page.wait_for_timeout(20)
        assert (asked()["run"], asked()["base"]) == (None, "miniature")
        page.evaluate(LEFT)  # what nobody waits for ends with its page, and that is no trouble
        assert one.clean()

"""What goes together on the page: grids, variations, votes, lists, a report in a tab."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from paged import Mine, needs_chromium, opened
from PIL import Image
from playwright.sync_api import APIResponse, Browser, Route, expect
from served import World, jpeg, listening

from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build
from kaiffin.serve.supervisor import Supervisor

pytestmark = needs_chromium


def caller(world: World, at: str, user: str) -> httpx.Client:
    return httpx.Client(base_url=at, headers={"authorization": f"Bearer {world.key(user)}"})


def key(client: httpx.Client) -> str:
    return client.headers["authorization"].partition(" ")[2]


def test_a_grid_over_two_axes_and_variations(browser: Browser, world: World, at: str) -> None:
    client = caller(world, at, "gil")
    with opened(browser, at, key(client)) as one:
        page = one.go("generate")
        page.get_by_label("What to draw").fill("a dog")
        expect(page.get_by_text("of 75; rare words count more")).to_be_visible()
        page.get_by_role("button", name="Grid …").click()
        page.get_by_label("Values").first.fill("3, 5")
        page.get_by_label("Values").last.fill("4, 8")
        page.get_by_role("button", name="Make the grid").click()
        page.wait_for_url("**/#/generate/*")
        id = page.url.rpartition("/")[2]
        axes = client.get(f"/api/v1/jobs/{id}").json()["request"]["axes"]
        assert axes == {"x": "guidance=3,5", "y": "steps=4,8"}
        world.studio.folder(f"made/{id}")
        Image.new("RGB", (64, 64)).save(world.studio.made(id) / "grid.png")
        world.finish(id, axes=axes, pictures=[], files=["grid.png", "grid.csv"])
        expect(page.get_by_alt_text("grid of pictures: guidance=3,5; steps=4,8")).to_be_visible()

        page = one.go("generate")
        page.get_by_label("How many").fill("1")
        page.get_by_role("button", name="Generate", exact=True).click()
        expect(page.locator(".results .pic")).to_have_count(1)
        page.locator(".results .pic").click()
        page.get_by_role("button", name="Vary").click()
        expect(page.locator(".results .pic")).to_have_count(5)
        expect(page.locator(".results .pic").first).to_contain_text("the first one")
        expect(page.get_by_text("what was made from it")).to_be_visible()
        jobs = client.get("/api/v1/jobs?kind=generate").json()["items"]
        assert jobs[0]["request"]["seed"] == jobs[1]["request"]["seed"]
        assert jobs[0]["request"]["start"]["vary"] == 0.2
        assert one.clean()


def test_what_the_form_has_no_field_for_goes_along(browser: Browser, world: World, at: str) -> None:
    """Said where it is not the usual, and kept until it is put aside."""
    client = caller(world, at, "una")
    more = {"schedule": "karras", "eta": 0.0, "clip_skip": 1, "steps": 7}
    body = {"base": "miniature", "prompts": ["a dog"], "sample": more}
    client.post("/api/v1/generate?wait=20", json=body)
    with opened(browser, at, key(client)) as one:
        page = one.go("generate")
        for kept in (True, False):
            page.locator(".gallery .pic").last.click()
            page.get_by_role("button", name="Use these settings").click()
            said = page.get_by_text("As in that picture:")
            expect(said).to_contain_text('clip_skip 1, schedule "karras".')
            if not kept:
                page.get_by_role("button", name="Without these").click()
            page.get_by_role("button", name="Generate", exact=True).click()
            expect(page.locator(".results .pic").first).to_be_visible()
            made = client.get("/api/v1/jobs?limit=1").json()["items"][0]["request"]
            assert made["sample"]["steps"] == 7
            assert (made["sample"].get("schedule") == "karras") == kept
            page = one.go("generate")
        assert one.clean()


def test_few_steps_are_a_tick(browser: Browser, world: World, at: str) -> None:
    """Then the form's steps, guidance and sampler do not count; a picture brings it back."""
    client = caller(world, at, "wim")
    with opened(browser, at, key(client)) as one:
        page = one.go("generate")
        page.get_by_label("What to draw").fill("a dog")
        tick = page.get_by_label("In few steps")
        for is_fast in (True, False):
            tick.set_checked(is_fast)
            page.get_by_role("button", name="Generate", exact=True).click()
            expect(page.locator(".results .pic").first).to_be_visible()
            asked = client.get("/api/v1/jobs?limit=1").json()["items"][0]["request"]["sample"]
            assert asked["fast"] == is_fast
            assert ({"steps", "guidance", "sampler"} <= set(asked)) != is_fast
            page = one.go("generate")
            page.locator(".gallery .pic").last.click()
            page.get_by_role("button", name="Use these settings").click()
            expect(tick).to_be_checked()
        assert one.clean()


def test_a_vote_is_no_favourite(browser: Browser, world: World, at: str) -> None:
    client = caller(world, at, "vic")
    body = {"base": "miniature", "prompts": ["a dog"], "count": 2, "seed": 1}
    ids = [client.post("/api/v1/generate?wait=20", json=body).json()["id"] for _ in range(2)]
    with opened(browser, at, key(client)) as one:
        page = one.go(f"compare/{','.join(ids)}?blind=1")
        expect(page.get_by_text("2 rows without a vote.")).to_be_visible()
        for row in (0, 1):
            page.locator(".line-of").nth(row).get_by_role("button", name="this one").first.click()
        expect(page.get_by_role("heading", name="Your votes")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Your votes")).to_be_visible()
        expect(page.locator(".votes")).to_contain_text("of 2")
        assert len(client.get(f"/api/v1/votes?jobs={','.join(ids)}").json()) == 2
        assert client.get("/api/v1/images?liked=true").json()["items"] == []
        assert one.clean()


def test_trainings_are_scored(browser: Browser, world: World, at: str) -> None:
    """Asked for on the page, seen while it goes on, its numbers under names that people gave; on
    another day they are there at once."""
    mine = Mine(world, at, "sol")
    dataset = mine.dataset(jpeg())
    runs = [mine.trained(dataset, name) for name in ("first try", "second try")]
    asked = {"prompts": ["a dog"], "count": 1, "seed": 1}
    made = [mine.client.post("/generate", json={"run": run, **asked}).json()["id"] for run in runs]
    with opened(browser, at, mine.key) as one:
        page = one.go(f"compare/{','.join(made)}")
        page.get_by_role("button", name="Score them").click()
        (job,) = mine.queued("compare")
        assert job["request"]["runs"] == runs
        expect(page.locator(".scores").get_by_text("Is next.")).to_be_visible()
        world.studio.jobs.begin([job["id"]], "test")
        world.studio.jobs.advance(job["id"], 3, 8, "pictures")
        expect(page.locator(".scores")).to_contain_text("3 of 8")
        expect(page.get_by_role("button", name="Score them")).to_be_hidden()
        world.studio.folder(f"made/{job['id']}")
        Image.new("RGB", (64, 64)).save(world.studio.made(job["id"]) / "comparison.png")
        world.studio.jobs.finish(job["id"], compared(runs))
        for _ in range(2):
            table = page.locator(".scores table")
            expect(table.get_by_role("columnheader")).to_have_text(
                ["measure", "second try against first try"]
            )
            expect(table).to_contain_text("0.300 (0.100 to 0.500)")
            expect(table).to_contain_text("clearly better")
            sheet = page.get_by_alt_text("pictures of all trainings on the same prompts")
            expect(sheet).to_be_visible()
            assert sheet.evaluate("one => one.decode().then(() => one.naturalWidth)") == 64
            page.reload()
        assert one.clean()


def compared(runs: list[str]) -> dict[str, Any]:
    """As a worker leaves it (`test_kinds` has one that is real)."""
    gap = {"mean": 0.3, "low": 0.1, "high": 0.5, "n": 8}
    return {
        "runs": runs, "photos": [], "settings": {}, "note": "one training each",
        "differences": [{"likeness": {"interval": gap, "verdict": "better"}}],
        "titles": {"likeness": "Nearness to the photos"},
        "files": ["comparison.png", "report.html", "comparison.json"],
    }  # fmt: skip


def test_an_answer_that_was_overtaken_is_no_news(browser: Browser, world: World, at: str) -> None:
    """A line that holds one answer back until the job has gone on, or is further."""
    mine, held = Mine(world, at, "ida"), list[tuple[Route, APIResponse]]()

    def hold(route: Route) -> None:
        if held:
            return route.continue_()
        held.append((route, route.fetch()))
        return None

    dataset = mine.dataset(jpeg())
    with opened(browser, at, mine.key) as one:
        page = one.go("dataset")
        page.get_by_role("button", name="Jobs").click()
        page.route(re.compile(r"/jobs/\w{16}$"), hold)
        job = mine.client.post("/scan", json={"dataset": dataset}).json()["id"]
        state = page.locator("#drawer .state")
        expect(state).to_have_text("waiting")
        while not held:
            page.wait_for_timeout(20)
        with page.expect_response(re.compile(job)):
            world.studio.jobs.begin([job], "test")
        expect(state).to_have_text("running")
        ((route, response),) = held
        assert response.json()["state"] == "queued"
        with page.expect_response(re.compile(job)):
            route.fulfill(response=response)
        page.wait_for_timeout(300)  # the drawer is drawn five times a second at most
        expect(state).to_have_text("running")

        job = mine.client.post("/scan", json={"dataset": dataset}).json()["id"]
        expect(state).to_have_text(["waiting", "running"])
        held.clear()
        world.studio.jobs.begin([job], "test")
        while not held:
            page.wait_for_timeout(20)
        world.studio.jobs.advance(job, 3, 8, "photos")
        expect(page.locator("#drawer")).to_contain_text("3 of 8")
        ((route, response),) = held
        assert response.json()["progress"]["done"] == 0
        with page.expect_response(re.compile(job)):
            route.fulfill(response=response)
        page.wait_for_timeout(300)
        expect(page.locator("#drawer")).to_contain_text("3 of 8")
        assert one.clean()


@pytest.mark.slow  # two trainings, pictures and scores by real workers
def test_workers_score_trainings(browser: Browser, tmp_path: Path) -> None:
    little = {
        "train": {"steps": 2}, "data": {"skip_bad": True, "prior": {"weight": 0}},
        "score": {"candidates": 1, "seeds": 1}, "sample": {"steps": 2},
    }  # fmt: skip
    world = World(tmp_path / "studio")
    supervisor = Supervisor(world.studio)
    supervisor.start()
    try:
        with listening(world) as at:
            mine = Mine(world, at, "sol")
            dataset = mine.dataset(*(jpeg((80 * n, 9, 9)) for n in range(3)))
            runs = [
                mine.done("train", {"dataset": dataset, "name": name, "config": little})
                for name in ("first try", "second try")
            ]
            asked = {"prompts": ["a dog"], "count": 1, "seed": 1, "sample": {"steps": 2}}
            made = [mine.done("generate", {"run": run, **asked}) for run in runs]
            with opened(browser, at, mine.key) as one:
                page = one.go(f"compare/{','.join(made)}")
                page.get_by_role("button", name="Score them").click()
                table = page.locator(".scores table")
                expect(table).to_contain_text("second try against first try", timeout=300_000)
                expect(table).to_contain_text("no clear difference")
                sheet = page.get_by_alt_text("pictures of all trainings on the same prompts")
                assert sheet.evaluate("one => one.decode().then(() => one.naturalWidth)") > 64
                assert one.clean()
    finally:
        supervisor.stop()
        world.studio.close()


def test_settings_that_are_lists(browser: Browser, world: World, at: str) -> None:
    client = caller(world, at, "lis")
    id = client.post("/api/v1/datasets", json={"example": True}).json()["id"]
    with opened(browser, at, key(client)) as one:
        page = one.go(f"tune?dataset={id}")
        page.get_by_text("All settings").click()
        page.get_by_placeholder("Search settings").fill("rules")
        rules = page.locator('.setting[data-name="adapter.rules"]')
        rules.get_by_role("button", name="Add one").click()
        rules.get_by_role("textbox", name="layers").fill("unet.mid_block.*")
        rules.get_by_role("spinbutton", name="rank").fill("2")
        rules.get_by_role("spinbutton", name="rank").press("Tab")
        page.get_by_placeholder("Search settings").fill("betas")
        page.locator('.setting[data-name="train.betas"] input').fill("0.8, 0.95")
        page.locator('.setting[data-name="train.betas"] input').press("Tab")
        expect(page.get_by_text("2 settings changed")).to_be_visible()
        page.get_by_role("button", name="Start training").click()
        page.wait_for_url("**/#/tune/*")
        config = client.get(f"/api/v1/jobs/{page.url.rpartition('/')[2]}").json()["request"][
            "config"
        ]
        assert config["train"]["betas"] == [0.8, 0.95]
        (rule,) = config["adapter"]["rules"]
        assert (rule["layers"], rule["rank"]) == ("unet.mid_block.*", 2)


def test_a_report_can_do_nothing_here(browser: Browser, world: World, at: str) -> None:
    client = caller(world, at, "rex")
    dataset = client.post("/api/v1/datasets", json={}).json()["id"]
    id = client.post("/api/v1/train", json={"dataset": dataset}).json()["id"]
    script = (
        "<p id=ran></p><script>let told = 'script';"
        "try { told += document.cookie; } catch { told += ' nocookie'; }"
        f"fetch('{at}/api/v1/session').then(() => 'called', () => 'refused')"
        ".then((how) => { document.getElementById('ran').textContent = told + ' ' + how; });"
        "</script>"
    )
    Run.create(world.studio.run(id), build({}, "test")).write("report.html", script.encode())
    with opened(browser, at, key(client)) as one:
        one.page.goto(f"{at}/api/v1/runs/{id}/report/shown")
        expect(one.page.locator("#ran")).to_have_text("script nocookie refused")


@pytest.mark.parametrize("answer", ["granted", pytest.param("denied", marks=pytest.mark.slow)])
def test_a_message_of_the_browser_is_asked_for(
    browser: Browser, world: World, at: str, answer: str
) -> None:
    with opened(browser, at, world.key("una")) as one:
        one.page.add_init_script(
            "window.sent = []; window.Notification = class { constructor(t) { sent.push(t); }"
            f" static permission = 'default'; static async requestPermission() "
            f"{{ return Notification.permission = '{answer}'; }} }};"
        )
        page = one.go("dataset")
        assert page.evaluate("Notification.permission") == "default"  # nobody is asked at once
        page.get_by_role("button", name="Jobs").click()
        page.get_by_role("button", name="Tell me when something is done").click()
        expect(page.get_by_text("Your browser", exact=False)).to_be_visible()
        page.evaluate("Object.defineProperty(document, 'hidden', { value: true })")
        page.evaluate(
            "import('./page/api.js').then(({ hear }) => { const job = { id: 'a', kind: 'train',"
            " created: 1, request: {} }; hear({ ...job, state: 'running' });"
            " hear({ ...job, state: 'done' }); })"
        )
        assert page.title().startswith("✓ ")
        sent = ["Training: done"] if answer == "granted" else []
        assert page.evaluate("sent") == sent

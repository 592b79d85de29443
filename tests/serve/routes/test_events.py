"""Events: live over a real connection, again from any place, and no longer than the key."""

import json
import threading
from collections.abc import Iterator

import httpx
import pytest
from served import World, listening
from starlette.testclient import TestClient

PICTURE = {"base": "miniature", "prompts": ["a dog"]}


@pytest.fixture(scope="module")
def at(world: World) -> Iterator[str]:
    with listening(world) as address:
        yield f"{address}/api/v1/events"


def bearer(world: World) -> dict[str, str]:
    return {"authorization": f"Bearer {world.key('ada')}"}


def events(lines: Iterator[str], count: int) -> list[tuple[int, str, dict]]:
    found, now = [], dict[str, str]()
    for line in lines:
        name, _, value = line.partition(": ")
        now[name] = value
        if not line and "data" in now:
            found.append((int(now["id"]), now["event"], json.loads(now["data"])))
            now = {}
            if len(found) == count:
                return found
    return found


def test_live_and_again(world: World, ada: TestClient, at: str) -> None:
    """What was missed while nobody listened comes first."""
    headers = bearer(world)
    with httpx.stream("GET", at, headers=headers, timeout=20) as got:
        assert got.headers["content-type"].startswith("text/event-stream")
        assert got.headers["x-accel-buffering"] == "no"
        lines = got.iter_lines()
        threading.Timer(0.1, ada.post, ["/api/v1/generate"], {"json": PICTURE}).start()
        ((first, what, data),) = events(lines, 1)
    assert (what, data["state"]) == ("job", "queued")
    ada.post(f"/api/v1/jobs/{data['job']}/cancel")
    ada.post("/api/v1/generate", json=PICTURE)
    again = {**headers, "last-event-id": str(first)}
    with httpx.stream("GET", at, headers=again, timeout=20) as got:
        missed = events(got.iter_lines(), 2)
    assert [data["state"] for _, _, data in missed] == ["cancelled", "queued"]
    polled = ada.get("/api/v1/events/page", params={"since": first}).json()
    assert [one["id"] for one in polled["items"]] == [id for id, _, _ in missed]
    assert polled["next"] == missed[-1][0]


def test_no_folder_is_named(world: World, ada: TestClient) -> None:
    job = ada.post("/api/v1/generate", json=PICTURE).json()["id"]
    world.studio.jobs.begin([job], "test")
    world.studio.jobs.fail(job, f"{world.studio.path}/x.png: is gone.")
    assert str(world.studio.path) not in ada.get("/api/v1/events/page").text


def test_a_number_that_no_event_has(world: World, at: str) -> None:
    for number in ("9" * 30, "x", ""):
        headers = {**bearer(world), "last-event-id": number}
        with httpx.stream("GET", at, headers=headers, timeout=20) as got:
            assert got.status_code == 200
            assert next(got.iter_lines()).startswith(":")


def test_only_ones_own(world: World, bob: TestClient, at: str) -> None:
    assert bob.get("/api/v1/events/page").json() == {"items": [], "next": 0}


def test_a_stream_ends_with_its_key(world: World, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaiffin.serve.routes.events.WAIT_S", 0.05)
    headers = bearer(world)
    with httpx.stream("GET", at, headers=headers, timeout=20) as got:
        lines = got.iter_lines()
        next(lines)
        key = world.service.keys.caller(headers["authorization"].partition(" ")[2])
        assert key is not None
        world.service.keys.revoke(key.key)
        assert not list(events(lines, 1))

"""Long lists: no question that a caller or the overseer asks reads a whole table."""

import re
from collections.abc import Iterator

import pytest
from served import World
from starlette.testclient import TestClient

LONG = ("jobs", "images", "events", "photos")  # that grow for ever; the others have a few rows
ROUTES = (
    "jobs", "jobs?state=done", "jobs?kind=train", "jobs?state=done&kind=train", "jobs?before={job}",
    "jobs/{job}", "images", "images?liked=true", "images?search=dog", "images?job={job}",
    "images?before={image}", "images/{image}", "images/{image}/file", "runs", "datasets",
    "datasets/{dataset}", "datasets/{dataset}/photos", "adapters", "events/page?since=0",
    "session", "bases", "devices", "health", "metrics",
)  # fmt: skip


@pytest.fixture
def asked(world: World) -> Iterator[set[str]]:
    """What the database is asked meanwhile."""
    found: set[str] = set()
    both = (world.studio.db._reader, world.studio.db._writer)
    for connection in both:
        assert connection
        connection.set_trace_callback(found.add)
    yield found
    for connection in both:
        assert connection
        connection.set_trace_callback(None)


def test_no_question_reads_a_whole_table(world: World, ada: TestClient, asked: set[str]) -> None:
    jobs = world.studio.jobs
    dataset = ada.post("api/v1/datasets", json={}).json()["id"]
    body = {"base": "miniature", "prompts": ["a dog"]}
    job = ada.post("api/v1/generate", json=body, headers={"idempotency-key": "a"}).json()["id"]
    (image,) = world.paint(world.owner(ada), job)
    jobs.begin([job], "test")
    jobs.advance(job, 1, 2, "pictures")
    jobs.put_back(job)
    jobs.first("paint"), jobs.in_state("running", "pausing"), jobs.of_ids([job])
    for route in ROUTES:
        path = route.format(job=job, image=image, dataset=dataset)
        assert ada.get(f"api/v1/{path}").status_code == 200, path
    ada.post(f"api/v1/images/{image}/vote", json={"vote": 1})
    ada.post(f"api/v1/jobs/{job}/cancel")
    ada.delete(f"api/v1/images/{image}")
    ada.delete(f"api/v1/datasets/{dataset}")
    assert ada.get("/v1/models").status_code == 200
    world.studio.events.trim()
    plans = {
        (query, row["detail"])
        for query in asked
        if re.match("SELECT|UPDATE|DELETE|INSERT", query)
        for row in world.studio.db.rows(f"EXPLAIN QUERY PLAN {query}")
    }
    assert len(plans) > 40
    whole = [
        plan for plan in plans if re.match(rf"SCAN ({'|'.join(LONG)})\b(?!.*COVERING)", plan[1])
    ]
    assert whole == []
    found = {index for _, plan in plans for index in re.findall(r"INDEX (\w+)", plan)}
    assert {"jobs_of_kind", "jobs_of_state", "images_liked", "jobs_by_state"} <= found

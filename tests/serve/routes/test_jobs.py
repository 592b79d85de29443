"""Jobs by the API: asked for, waited for, turned."""

import threading
import time

from served import Hand, World
from starlette.testclient import TestClient

from kaiffin.serve.keys import Quotas

PICTURE = {"base": "miniature", "prompts": ["a dog"]}


def test_a_request_that_is_repeated_is_done_once(ada: TestClient) -> None:
    key = {"idempotency-key": "one"}
    first = ada.post("/api/v1/generate", json=PICTURE, headers=key).json()
    again = ada.post("/api/v1/jobs", json={"kind": "generate", "request": PICTURE}, headers=key)
    assert again.json()["id"] == first["id"]
    other = ada.post("/api/v1/generate", json={**PICTURE, "count": 2}, headers=key)
    assert other.status_code == 409
    assert ada.post("/api/v1/generate", json=PICTURE).json()["id"] != first["id"]


def test_waiting_for_the_end(world: World, ada: TestClient) -> None:
    with Hand(world):
        got = ada.post("/api/v1/generate?wait=30", json={**PICTURE, "count": 2})
    assert (got.status_code, got.json()["state"]) == (201, "done")
    made = ada.get("/api/v1/images", params={"job": got.json()["id"]}).json()["items"]
    assert [one["seed"] for one in made] == [1, 0]
    begun = time.monotonic()
    job = ada.post("/api/v1/generate?wait=0.2", json=PICTURE).json()
    assert job["state"] == "queued"
    assert time.monotonic() - begun >= 0.2
    threading.Timer(0.1, world.finish, [job["id"]]).start()
    assert ada.get(f"/api/v1/jobs/{job['id']}?wait=30").json()["state"] == "done"
    assert ada.get(f"/api/v1/jobs/{job['id']}?wait=301").status_code == 400


def test_turns(ada: TestClient) -> None:
    at = f"/api/v1/jobs/{ada.post('/api/v1/generate', json=PICTURE).json()['id']}"
    turns = [
        ("pause", "paused"), ("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled"),
        ("cancel", "cancelled"), ("retry", "queued"), ("cancel", "cancelled"),
    ]  # fmt: skip
    for act, state in turns:
        assert ada.post(f"{at}/{act}").json()["state"] == state
    assert ada.post(f"{at}/pause").status_code == 409
    assert ada.post(f"{at}/explode").status_code == 400
    assert ada.get(f"{at}/log").json() == {"lines": []}


def test_the_kinds_and_what_each_needs(world: World, ada: TestClient) -> None:
    painter = world.caller("ada", "generate", "read")
    dataset = ada.post("/api/v1/datasets", json={}).json()["id"]
    for body in ({"kind": "train", "request": {"dataset": dataset}},
                 {"kind": "scan", "request": {"dataset": dataset}}):  # fmt: skip
        assert painter.post("/api/v1/jobs", json=body).status_code == 403
        job = ada.post("/api/v1/jobs", json=body).json()
        assert painter.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 403
    run = {"run": job["id"]}
    for kind, request in (("choose", run), ("report", {"runs": [job["id"]]}), ("export", run)):
        got = ada.post("/api/v1/jobs", json={"kind": kind, "request": request})
        assert got.status_code == 404, kind  # a scan is no run
    assert ada.post("/api/v1/jobs", json={"kind": "other", "request": {}}).status_code == 400
    train = ada.get("/api/v1/jobs?kind=train").json()["items"][0]["id"]
    for kind, request in (("choose", {"run": train}), ("report", {"runs": [train]})):
        assert (
            painter.post("/api/v1/jobs", json={"kind": kind, "request": request}).status_code == 201
        )


def test_lists_are_paged_and_filtered(world: World) -> None:
    carl = world.caller("carl")
    ids = [carl.post("/api/v1/generate", json=PICTURE).json()["id"] for _ in range(3)]
    carl.post(f"/api/v1/jobs/{ids[0]}/cancel")
    first = carl.get("/api/v1/jobs?limit=2").json()
    rest = carl.get(f"/api/v1/jobs?limit=2&before={first['next']}").json()
    assert [one["id"] for one in first["items"] + rest["items"]] == ids[::-1]
    queued = carl.get("/api/v1/jobs?state=queued").json()["items"]
    assert [one["id"] for one in queued] == ids[:0:-1]
    for query in ("limit=0", "limit=201", "state=x", "before=../x", f"before={'z' * 16}"):
        assert carl.get(f"/api/v1/jobs?{query}").status_code in (400, 404)


def test_quotas(world: World) -> None:
    small = world.caller("dora", quotas=Quotas(pictures=5, queued=2))
    assert small.post("/api/v1/generate", json={**PICTURE, "count": 6}).status_code == 429
    key = {"idempotency-key": "same"}
    for _ in range(3):  # counted once
        got = small.post("/api/v1/generate", json={**PICTURE, "count": 3}, headers=key)
        assert got.status_code == 201
    assert small.post("/api/v1/generate", json={**PICTURE, "count": 3}).status_code == 429
    assert small.post("/api/v1/generate", json=PICTURE).status_code == 201
    got = small.post("/api/v1/generate", json=PICTURE)
    assert got.status_code == 429
    assert int(got.headers["retry-after-ms"]) == 10_000


def test_files_of_a_job_are_those_that_it_names(world: World, ada: TestClient) -> None:
    job = ada.post("/api/v1/generate", json=PICTURE).json()["id"]
    folder = world.studio.folder(f"made/{job}")
    for name in ("sheet.png", "prompts.yaml"):
        (folder / name).write_bytes(b"x")
    world.finish(job, sheet="sheet.png", files=["gone.csv"])
    at = f"/api/v1/jobs/{job}/files"
    assert ada.get(f"{at}/sheet.png").content == b"x"
    for name in ("prompts.yaml", "gone.csv", "..%2f..%2fstudio.sqlite", "%2e%2e"):
        assert ada.get(f"{at}/{name}").status_code == 404


def test_what_a_failed_job_says_names_no_folder(world: World, ada: TestClient) -> None:
    job = ada.post("/api/v1/generate", json=PICTURE).json()["id"]
    world.studio.jobs.begin([job], "test")
    world.studio.jobs.fail(job, f"{world.studio.path}/adapters/x.safetensors: is gone.", "Send it.")
    got = ada.get(f"/api/v1/jobs/{job}")
    assert got.json()["problem"] == "x.safetensors: is gone."
    assert str(world.studio.path) not in got.text

"""Runs by the API: what a training leaves is shown, and no folder is named."""

import json

import pytest
from served import World
from starlette.testclient import TestClient

from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build


@pytest.fixture
def run(world: World, ada: TestClient) -> Run:
    """A training that was asked for, and what it would have on the disk by now."""
    dataset = ada.post("/api/v1/datasets", json={}).json()["id"]
    job = ada.post("/api/v1/train", json={"dataset": dataset, "name": "mine"}).json()
    config = {**job["request"]["config"], "data": {"photos": str(world.studio.dataset(dataset))}}
    return Run.create(world.studio.run(job["id"]), build(config, "test"))


def test_a_run_as_it_goes(world: World, ada: TestClient, run: Run) -> None:
    at = f"/api/v1/runs/{run.path.name}"
    begun = ada.get(at).json()
    assert (begun["name"], begun["finished"], begun["candidates"], begun["files"]) == (
        "mine", False, [], []
    )  # fmt: skip
    assert begun["settings"]["train.checkpoint_every"] == 100
    assert "data.photos" not in begun["settings"]
    for what in ("choice", "report"):
        assert ada.get(f"{at}/{what}").status_code == 409
    lines = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    run.metrics_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert ada.get(f"{at}/metrics?after=1").json() == lines[1:]
    assert ada.get(f"{at}/metrics?after=0&limit=1").json() == lines[:1]
    run.write("candidates/kaiffin-step-00000002.safetensors", b"two")
    run.write(run.adapter_path.name, b"last")
    run.write_json("choice.json", {"chosen": 2, "path": f"{run.path}/best.safetensors"})
    run.write("report.html", b"<script>alert(1)</script>")
    run.write("previews/step-1.png", b"png")
    done = ada.get(at).json()
    assert (done["finished"], done["candidates"]) == (True, [2])
    assert done["files"] == ["adapter.safetensors", "step-2.safetensors"]
    assert ada.get(f"{at}/files/step-2.safetensors").content == b"two"
    for name in ("config.yaml", "best.safetensors", "step-3.safetensors", "..%2fstudio.sqlite"):
        assert ada.get(f"{at}/files/{name}").status_code == 404
    assert ada.get(f"{at}/choice").json() == {"chosen": 2, "path": "best.safetensors"}
    page = ada.get(f"{at}/report")
    assert page.headers["content-disposition"].startswith("attachment")
    assert ada.get(f"{at}/previews").json() == [0]
    assert ada.get(f"{at}/previews/0").content == b"png"
    assert ada.get(f"{at}/previews/1").status_code == 404


def test_one_that_trains_is_not_deleted(world: World, ada: TestClient, run: Run) -> None:
    id = run.path.name
    assert ada.delete(f"/api/v1/runs/{id}").status_code == 409
    world.finish(id)
    report = ada.post("/api/v1/jobs", json={"kind": "report", "request": {"runs": [id]}}).json()
    assert ada.delete(f"/api/v1/runs/{id}").status_code == 409
    ada.post(f"/api/v1/jobs/{report['id']}/cancel")
    assert ada.delete(f"/api/v1/runs/{id}").status_code == 204
    assert ada.get(f"/api/v1/runs/{id}").status_code == 404
    assert not run.path.exists()


def test_what_has_not_begun_says_so(ada: TestClient) -> None:
    dataset = ada.post("/api/v1/datasets", json={}).json()["id"]
    id = ada.post("/api/v1/train", json={"dataset": dataset}).json()["id"]
    assert ada.get(f"/api/v1/runs/{id}").json()["settings"] == {}
    assert ada.get(f"/api/v1/runs/{id}/metrics").status_code == 409
    assert id in [one["id"] for one in ada.get("/api/v1/runs").json()["items"]]

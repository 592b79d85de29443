"""What the service says of itself."""

from prometheus_client.parser import text_string_to_metric_families
from served import World
from starlette.testclient import TestClient


def test_schema_bases_and_devices(world: World, ada: TestClient) -> None:
    found = ada.get("/api/v1/schema").json()
    assert found["config"]["properties"]["train"]
    assert set(found["kinds"]) >= {"scan", "train", "generate", "export"}
    assert [one["name"] for one in ada.get("/api/v1/bases").json()] == ["miniature", "miniature-xl"]
    assert ada.get("/api/v1/devices").json() == []


def test_metrics_are_prometheus(world: World, ada: TestClient) -> None:
    ada.post("/api/v1/generate", json={"base": "miniature", "prompts": ["a"]})
    text = ada.get("/api/v1/metrics").text
    found = {one.name: one.samples for one in text_string_to_metric_families(text)}
    (jobs,) = found["kaiffin_jobs"]
    assert (jobs.labels, jobs.value) == ({"kind": "generate", "state": "queued"}, 1)
    assert found["kaiffin_up_seconds"][0].value > 0

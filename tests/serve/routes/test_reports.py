"""A report is shown in a sandbox of its own; what it may do there: see test_page_report."""

from served import World
from starlette.testclient import TestClient

from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build


def test_a_report_is_nobodys_page(world: World, ada: TestClient, bob: TestClient) -> None:
    dataset = ada.post("/api/v1/datasets", json={}).json()["id"]
    id = ada.post("/api/v1/train", json={"dataset": dataset}).json()["id"]
    at = f"/api/v1/runs/{id}/report/shown"
    assert ada.get(at).status_code == 409
    Run.create(world.studio.run(id), build({}, "test")).write("report.html", b"<h1>It</h1>")
    page = ada.get(at)
    policy = page.headers["content-security-policy"].split("; ")
    assert "sandbox allow-scripts" in policy
    assert "default-src 'none'" in policy
    assert "content-disposition" not in page.headers
    assert bob.get(at).status_code == 404

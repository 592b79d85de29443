"""Adapters in and out by the API."""

from pathlib import Path

from served import lora
from starlette.testclient import TestClient


def test_an_adapter_is_imported_proven_and_downloaded(ada: TestClient, tmp_path: Path) -> None:
    lora(tmp_path / "mine.safetensors")
    data = (tmp_path / "mine.safetensors").read_bytes()
    sent = ada.post("/api/v1/adapters", files={"file": ("../../my toy.safetensors", data)})
    assert sent.status_code == 201
    at = f"/api/v1/adapters/{sent.json()['id']}"
    assert ada.get(at).json()["name"] == "my toy.safetensors"
    got = ada.get(f"{at}/file")
    assert got.content == data
    assert 'filename="my_toy.safetensors"' in got.headers["content-disposition"]
    proof = ada.post(f"{at}/verify", json={"base": "miniature"}).json()
    assert (proof["kind"], proof["request"]["to"]) == ("export", None)
    assert ada.post(f"{at}/verify", json={"base": "sdxl"}).status_code == 400
    worn = {"base": "miniature", "prompts": ["a"], "adapters": [{"adapter": sent.json()["id"]}]}
    assert ada.post("/api/v1/generate", json=worn).status_code == 201
    assert ada.delete(at).status_code == 204
    assert ada.post("/api/v1/generate", json=worn).status_code == 404


def test_a_pickle_is_refused(ada: TestClient) -> None:
    for data in (b"", b"PK\3\4" + bytes(99), b"\x80\x02" + bytes(99)):
        got = ada.post("/api/v1/adapters", files={"file": ("a.safetensors", data)})
        assert got.status_code == 400
    assert ada.get("/api/v1/adapters").json() == {"items": [], "next": None}

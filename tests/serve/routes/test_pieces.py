"""How long a prompt is, as its base reads it."""

from starlette.testclient import TestClient


def test_pieces_are_the_bases_own(ada: TestClient) -> None:
    texts = ["a photo", "photo " * 80]
    found = ada.post("/api/v1/pieces", json={"base": "miniature", "texts": texts}).json()
    assert [one["parts"] for one in found] == [1, 2]
    assert found[0]["pieces"] < found[1]["pieces"]
    other = ada.post("/api/v1/pieces", json={"base": "sd15", "texts": ["a"]})
    assert other.status_code == 400
    assert "not served" in other.json()["error"]["problem"]

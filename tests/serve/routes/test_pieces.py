"""How long a prompt is, as its base reads it."""

from starlette.testclient import TestClient


def test_pieces_are_the_bases_own(ada: TestClient) -> None:
    def asked(*texts: str) -> dict:
        return ada.post("/api/v1/pieces", json={"base": "miniature", "texts": texts}).json()

    short, long = asked("a photo", ""), asked("a photo", "photo " * 80)
    assert (short["parts"], long["parts"]) == (1, long["pieces"] // 75 + 1)
    assert f"Length {short['pieces']} of 75" in short["said"]
    assert long["parts"] > 1
    assert f"in {long['parts']} parts" in long["said"]
    assert "10,000 characters in one line, 2,000 at most" in asked("x" * 10_000)["said"]
    assert asked() == {"pieces": 0, "parts": 1, "said": ""}
    other = ada.post("/api/v1/pieces", json={"base": "sd15", "texts": ["a"]})
    assert other.status_code == 400
    assert "not served" in other.json()["error"]["problem"]

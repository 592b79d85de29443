"""Bases that are not here, and the commands that bring them."""

from starlette.testclient import TestClient


def test_what_to_do_for_a_base_that_is_not_here(ada: TestClient) -> None:
    known = ada.get("/api/v1/bases/known").json()
    assert "HF_HOME" in known["how"]
    found = {one["name"]: one for one in known["bases"]}
    assert {"sd15", "sdxl"} <= set(found)
    assert "miniature" not in found
    assert found["sd15"]["commands"][-1] == "kaiffin serve --base sd15"
    assert any(one["commands"][0] == f"kaiffin bases get {name}" for name, one in found.items())
    assert "GB · openrail" in found["sd15"]["about"]

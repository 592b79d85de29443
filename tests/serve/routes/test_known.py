"""Bases that are not here, and the commands that bring them."""

from starlette.testclient import TestClient


def test_what_to_do_for_a_base_that_is_not_here(ada: TestClient) -> None:
    found = {one["name"]: one for one in ada.get("/api/v1/bases/known").json()}
    assert {"sd15", "sdxl"} <= set(found)
    assert "miniature" not in found
    one = next(one for one in found.values() if not one["here"])
    assert not one["served"]
    assert one["commands"] == [
        f"kaiffin bases get {one['name']}", f"kaiffin serve --base {one['name']}"
    ]  # fmt: skip
    assert one["bytes"] > 10**9

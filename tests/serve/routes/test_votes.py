"""Votes of a comparison: one for each row, the caller's own, and no favourites."""

from served import World
from starlette.testclient import TestClient


def test_a_vote_is_for_a_row(world: World, ada: TestClient, bob: TestClient) -> None:
    jobs = [
        ada.post("/api/v1/generate", json={"base": "miniature", "prompts": ["a"]}).json()["id"]
        for _ in range(2)
    ]
    row = [world.paint(world.owner(ada), job)[0] for job in jobs]
    url = f"/api/v1/votes?jobs={','.join(jobs)}"
    for won in row:  # the second takes the first one's place, in whatever order they are named
        body = {"images": row[:: 1 if won == row[0] else -1], "won": won}
        assert ada.put("/api/v1/votes", json=body).status_code == 204
    assert ada.get(url).json() == [{"images": sorted(row), "won": row[1]}]
    assert ada.get(f"/api/v1/images/{row[1]}").json()["vote"] == 0
    assert bob.get(url).json() == []
    assert bob.put("/api/v1/votes", json={"images": row, "won": row[0]}).status_code == 404
    for images, won in ((row, "x" * 16), (row[:1] * 2, row[0])):
        body = {"images": images, "won": won}
        assert ada.put("/api/v1/votes", json=body).status_code == 400
    ada.put("/api/v1/votes", json={"images": row, "won": None})
    assert ada.get(url).json() == []

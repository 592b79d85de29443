"""Pictures by the API."""

import io

from PIL import Image
from served import World
from starlette.testclient import TestClient


def test_a_picture_and_what_belongs_to_it(world: World, ada: TestClient) -> None:
    job = ada.post("/api/v1/generate", json={"base": "miniature", "prompts": ["a dog"]}).json()
    first, second = world.paint(world.owner(ada), job["id"], 2)
    at = f"/api/v1/images/{first}"
    assert ada.get(at).json()["prompt"] == "a dog"
    whole = ada.get(f"{at}/file")
    assert whole.headers["content-type"] == "image/png"
    assert "immutable" in whole.headers["cache-control"]
    for _ in range(2):  # made, then found
        with Image.open(io.BytesIO(ada.get(f"{at}/thumb").content)) as image:
            assert (image.format, image.size) == ("JPEG", (64, 64))
            assert not image.info.get("kaiffin")
    recipe = ada.get(f"{at}/recipe")
    assert recipe.json()["adapters"][0]["path"] == "a.safetensors"
    assert str(world.studio.path) not in recipe.text
    assert ada.post(f"{at}/vote", json={"vote": 1}).json()["vote"] == 1
    assert ada.post(f"{at}/vote", json={"vote": 2}).status_code == 400
    found = ada.get(f"/api/v1/images?job={job['id']}&limit=1").json()
    assert [one["id"] for one in found["items"]] == [second]
    older = ada.get(f"/api/v1/images?job={job['id']}&before={found['next']}").json()
    assert [one["id"] for one in older["items"]] == [first]
    assert ada.delete(at).status_code == 204
    for path in (at, f"{at}/file", f"{at}/thumb", f"{at}/recipe"):
        assert ada.get(path).status_code == 404
    assert not world.studio.image(first).exists()


def test_a_file_that_is_gone_is_said(world: World, ada: TestClient) -> None:
    (id,) = world.paint(world.owner(ada), "j" * 16)
    world.studio.image(id).unlink()
    assert ada.get(f"/api/v1/images/{id}/file").status_code == 404

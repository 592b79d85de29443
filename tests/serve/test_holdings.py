"""A quota of bytes: what counts as kept, and what is refused above it."""

import os
from pathlib import Path

from served import Hand, World, jpeg, lora
from starlette.testclient import TestClient

from kaiffin.serve.keys import Quotas

DOG = {"base": "miniature", "prompts": ["a dog"], "sample": {"steps": 2}}


def submitted(client: TestClient) -> str:
    return client.post("/api/v1/generate", json=DOG).json()["id"]


def test_photos_adapters_pictures_and_runs_are_kept(
    world: World, ada: TestClient, tmp_path: Path
) -> None:
    held, owner = world.service.holdings, world.owner(ada)
    assert held.bytes(owner) == 0
    dataset = ada.post("/api/v1/datasets", json={"subject": "kf", "noun": "dog"}).json()["id"]
    photo = jpeg()
    ada.post(f"/api/v1/datasets/{dataset}/photos", files={"file": ("a.jpg", photo)})
    lora(tmp_path / "a.safetensors")
    file = (tmp_path / "a.safetensors").read_bytes()
    ada.post("/api/v1/adapters", files={"file": ("a.safetensors", file)})
    sent = held.bytes(owner)
    assert sent == len(photo) + len(file)

    job = ada.post("/api/v1/train", json={"dataset": dataset}).json()["id"]
    assert list((world.studio.made(job) / "photos").iterdir())  # links, which are counted already
    run = world.studio.run(job)
    run.mkdir()
    (run / "weights").write_bytes(bytes(1000))
    assert held.bytes(owner) == sent + 1000
    (run / "more").write_bytes(bytes(500))  # it goes on
    assert held.bytes(owner) == sent + 1500
    world.finish(job)
    assert held.bytes(owner) == sent + 1500
    assert ada.delete(f"/api/v1/runs/{job}").status_code == 204
    assert held.bytes(owner) == sent

    world.finish(picture := submitted(ada))
    first, second = world.paint(owner, picture, 2)
    sizes = [os.path.getsize(world.studio.image(id)) for id in (first, second)]
    assert held.bytes(owner) == held.bytes(owner) == sent + sum(sizes)
    ada.delete(f"/api/v1/images/{first}")
    assert held.bytes(owner) == sent + sizes[1]


def test_above_the_quota_nothing_more_is_begun(world: World) -> None:
    bob = world.caller("bob")
    with Hand(world):
        id = bob.post("/api/v1/generate?wait=20", json=DOG).json()["id"]
    (image,) = world.studio.db.rows("SELECT id FROM images WHERE job = ?", (id,))
    size = os.path.getsize(world.studio.image(image["id"]))
    small = world.caller("bob", quotas=Quotas(bytes=size))
    again = {"idempotency-key": "once"}
    refused = small.post("/api/v1/generate", json=DOG, headers=again)
    assert refused.status_code == 429
    assert f"{size:,} bytes" in refused.json()["error"]["problem"]
    jobs = small.get("/api/v1/jobs").json()["items"]
    assert [one["id"] for one in jobs] == [id]
    assert small.delete(f"/api/v1/images/{image['id']}").status_code == 204
    assert small.post("/api/v1/generate", json=DOG, headers=again).status_code in (
        200,
        201,
        202,
    )

"""What a training would cost, by the API: a real plan, by a worker."""

import numpy as np
from PIL import Image
from served import World
from starlette.testclient import TestClient

from kaiffin.miniature.world.vocabulary import SIDE


def test_the_dry_run(world: World, ada: TestClient) -> None:
    dataset = ada.post("/api/v1/datasets", json={}).json()["id"]
    body = {"dataset": dataset, "config": {"train": {"steps": 7}, "adapter": {"rank": 4}}}
    empty = ada.post("/api/v1/plans", json=body)
    assert empty.status_code == 400
    assert str(world.studio.path) not in empty.text
    rng = np.random.default_rng(0)
    for i in range(2):
        noise = Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))
        noise.save(world.studio.dataset(dataset) / f"{i}.png")
    got = ada.post("/api/v1/plans", json=body).json()
    assert (got["steps"], got["epochs"], got["fits"]) == (7, 7.0, True)
    assert 0 < got["memory"] < got["room"]
    assert got["derived"]
    assert not world.service.planner.folder.exists(), "nothing is left of it"


def test_nothing_is_planned_for_what_is_not_there(ada: TestClient) -> None:
    assert ada.post("/api/v1/plans", json={"dataset": "z" * 16}).status_code == 404

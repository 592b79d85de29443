"""What prompts call by name in the service: each caller's own, through every door."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asked import DATASET, training
from safetensors.numpy import save_file
from served import Hand, World, lora
from starlette.testclient import TestClient

from kaiffin.serve.named import known_names
from kaiffin.serve.service import Service


def imported(world: World, client: TestClient, name: str, word: bool = False) -> str:
    """The id of an adapter of the caller's, or of an embedding."""
    file = world.studio.path / "work" / "file"
    lora(file)
    if word:
        save_file({"emb_params": np.ones((1, 32), np.float32)}, file)
    owner = world.owner(client)
    return world.service.adapters.add(owner, Path(file), name).id


def trained(world: World, client: TestClient, name: str) -> str:
    world.studio.dataset(DATASET).mkdir(exist_ok=True)
    job = world.studio.jobs.submit(world.owner(client), "train", training() | {"name": name})
    world.finish(job.id)
    return job.id


@pytest.fixture(scope="module")
def ids(world: World, ada: TestClient, bob: TestClient) -> dict[str, str]:
    """Of Ada's things, by name; Bob has an adapter of his own."""
    imported(world, bob, "secret.safetensors")
    for _ in range(2):
        imported(world, ada, "twin.safetensors")
    names = {"toy": False, "my: style": False, "bad hands": True}
    made = {name: imported(world, ada, f"{name}.safetensors", w) for name, w in names.items()}
    return made | {"puffin": trained(world, ada, "puffin")}


def ask(client: TestClient, prompt: str, **more: Any) -> Any:
    body = {"base": "miniature", "prompts": [prompt], **more}
    return client.post("/api/v1/generate", json=body)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a dog <lora:toy:0.8>", {"toy": "toy"}),
        ("a dog <lora:toy.safetensors:0.8:0.5> <lora:puffin>", {"toy": "toy", "puffin": "puffin"}),
        ("a dog <lora:my style:1>", {"my style": "my: style"}),
        ("a dog <lora:kai:1>", {"kai": "puffin"}),  # the subject's word, as its file is called
        ("a (bad hands:1.2) toy", {"bad hands": "bad hands"}),
        ("a dog", {}),
    ],
)
def test_names_become_ids(
    world: World, ada: TestClient, ids: dict[str, str], prompt: str, expected: dict[str, str]
) -> None:
    got = ask(ada, prompt)
    assert got.status_code == 201, got.text
    kept = world.studio.jobs.find(got.json()["id"]).request
    assert kept["names"] == {name: ids[own] for name, own in expected.items()}
    again = ada.post("/api/v1/generate", json={k: v for k, v in kept.items() if v is not None})
    assert again.status_code == 201, "what the page sends once more"


def test_an_id_is_a_name(world: World, ada: TestClient, ids: dict[str, str]) -> None:
    got = ask(ada, f"a dog <lora:{ids['toy']}:1>").json()
    assert world.studio.jobs.find(got["id"]).request["names"] == {ids["toy"]: ids["toy"]}
    given = ask(ada, "a dog <lora:mine:1>", names={"mine": ids["puffin"]}).json()
    assert world.studio.jobs.find(given["id"]).request["names"] == {"mine": ids["puffin"]}


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a <lora:toi:1>", 'Did you mean "toy"?'),
        ("a <lora:secret:1>", "no adapter and no training of yours is called so"),  # Bob's
        ("a <lora:../adapters/toy:1>", "is called so"),
        ("a <lora:twin:1>", "2 of yours are called so. Write an id instead"),
        ("a <lora:toy:1> <lora:toy:0.5>", "named twice"),
        ("a <lora:toy:0,8>", "Write 0.8."),
        ("a <lora:toy:1", "not closed"),
        ("a (dog:80%)", "Write 0.8."),
        ("a <lora:bad hands:1>", "is called so"),  # a word, and no adapter
    ],
)
def test_what_cannot_be_meant(ada: TestClient, ids: dict[str, str], prompt: str, said: str) -> None:
    for got in (ask(ada, prompt), ada.post("/v1/images/generations", json={"prompt": prompt})):
        assert got.status_code == 400
        assert said in " ".join(filter(None, map(str, got.json()["error"].values())))
        assert "secret" in prompt or "secret" not in got.text, "what others have is not hinted at"


def test_an_adapter_in_the_prompt_and_beside_it(ada: TestClient, ids: dict[str, str]) -> None:
    toy = {"adapters": [{"adapter": ids["toy"]}]}
    run = {"run": ids["puffin"], "base": None}
    for prompt, more in (("a <lora:toy:1>", toy), ("a <lora:puffin:1>", run),
                         (f"a <lora:toy:1> <lora:{ids['toy']}:1>", {})):  # fmt: skip
        got = ask(ada, prompt, **more)
        assert (got.status_code, "is given twice" in got.text) == (400, True)
    negative = ask(ada, "a dog", sample={"negative": "<lora:toy:1>"})
    assert (negative.status_code, "negative prompt" in negative.text) == (400, True)
    plain = ask(ada, "a <lora:nobody:1>", sample={"prompt_syntax": "plain"})
    assert plain.status_code == 201


def test_another_s_id_is_nobody_s(world: World, bob: TestClient, ids: dict[str, str]) -> None:
    for id in (ids["toy"], ids["puffin"]):
        assert ask(bob, f"a <lora:{id}:1>").status_code == 400
        assert ask(bob, "a <lora:x:1>", names={"x": id}).status_code == 404
    assert ask(bob, "bad hands").json()["request"]["names"] == {}


def test_the_web_ui_s_clients(world: World, ada: TestClient, ids: dict[str, str]) -> None:
    """What they list is what they may type."""
    secret = world.key("ada")
    basic = base64.b64encode(f"user:{secret}".encode()).decode()
    with world.stranger() as webui, Hand(world):
        webui.headers["authorization"] = f"Basic {basic}"
        listed = webui.get("/sdapi/v1/loras").json()
        names = [one["name"] for one in listed]
        assert {"toy", "my style", "puffin"} < set(names)
        assert "bad hands" not in names
        assert (
            sum(name in known_names(world.service, world.owner(ada))["twin"] for name in names) == 2
        )
        for name in names:
            body = {"prompt": f"a dog <lora:{name}:0.8>", "width": 64, "height": 64}
            got = webui.post("/sdapi/v1/txt2img", json=body)
            assert got.status_code == 200, got.text
        bad = webui.post("/sdapi/v1/txt2img", json={"prompt": "a <lora:toi:1>"})
        assert (bad.status_code, "Did you mean" in bad.text) == (400, True)


def test_a_seed_of_minus_one_is_drawn(world: World, ada: TestClient) -> None:
    """And written down; the same one for a request that is sent once more."""
    seeds = [ask(ada, "a", seed=-1).json()["request"]["seed"] for _ in range(2)]
    assert seeds[0] != seeds[1]
    assert min(seeds) >= 0
    body = {"base": "miniature", "prompts": ["a"], "seed": -1}
    one, two = (
        ada.post("/api/v1/generate", json=body, headers={"idempotency-key": "k"}).json()
        for _ in range(2)
    )
    assert one["id"] == two["id"]
    with Hand(world):
        got = ada.post("/v1/images/generations", json={"prompt": "a dog", "seed": -1}).json()
    assert got["data"][0]["seed"] >= 0


def test_names_of_nobody(world: World) -> None:
    assert isinstance(world.service, Service)
    assert known_names(world.service, "nobody") == {}

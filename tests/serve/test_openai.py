"""OpenAI's own client against the service: sync, async, streaming, and what goes wrong."""

import asyncio
import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
from PIL import Image
from served import Hand, World, listening
from starlette.testclient import TestClient

from kaiffin.serve.keys import Quotas
from kaiffin.serve.requests import Sampling

# The client's own retries would hide what the service answers.
ONCE = {"max_retries": 0, "timeout": 60}


@pytest.fixture(scope="module")
def at(world: World) -> Iterator[str]:
    with Hand(world), listening(world) as address:
        yield f"{address}/v1"


@pytest.fixture(scope="module")
def client(world: World, at: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=at, api_key=world.key("ada"), **ONCE) as made:
        yield made


def opened(text: str | None) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text or "")))


def test_pictures(client: openai.OpenAI) -> None:
    made = client.images.generate(
        model="miniature", prompt="a dog", n=2, size="64x64", quality="low",
        response_format="b64_json", extra_body={"seed": 7, "negative": "a cat"},
    )  # fmt: skip
    assert made.created > 0
    assert made.data is not None
    assert [one.seed for one in made.data] == [7, 8]  # ty: ignore[unresolved-attribute]
    assert [opened(one.b64_json).size for one in made.data] == [(64, 64)] * 2
    small = client.images.generate(prompt="a dog", output_format="webp")
    assert small.data is not None
    assert opened(small.data[0].b64_json).format == "WEBP"


def test_every_setting_of_a_picture(world: World, client: openai.OpenAI) -> None:
    """What OpenAI has no word for goes along; a name that is none is refused."""
    more = {"schedule": "karras", "prompt_syntax": "comfyui", "guidance_rescale": 0.7,
            "guidance_interval": [0.3, 5.0], "negative_strength": 0.5, "clip_skip": 1, "eta": 0.5,
            "sampler": "ddim", "guidance": 3.0, "negative": "x", "fast": True}  # fmt: skip
    assert set(more) == set(Sampling.model_fields) - {"steps", "size"}
    made = client.images.generate(prompt="a dog", quality="low", extra_body=more)
    job = world.studio.jobs.find(made.job)  # ty: ignore[unresolved-attribute]
    assert job.request["sample"] == {"steps": 10, **more}
    with pytest.raises(openai.BadRequestError, match="schedule"):
        client.images.generate(prompt="a dog", extra_body={"schedule": "karas"})


def test_an_address_instead(world: World, ada: TestClient) -> None:
    """Behind a proxy it is the proxy's, and it opens to a key alone."""
    ahead = {"x-forwarded-proto": "https", "x-forwarded-prefix": "/kaiffin"}
    body = {"prompt": "a dog", "response_format": "url"}
    got = ada.post("/v1/images/generations", json=body, headers=ahead).json()["data"][0]
    assert got["url"] == f"https://127.0.0.1:7870/kaiffin/api/v1/images/{got['id']}/file"
    assert ada.get(f"/api/v1/images/{got['id']}/file").status_code == 200


def test_the_same_asynchronously(world: World, at: str) -> None:
    async def main() -> int:
        async with openai.AsyncOpenAI(base_url=at, api_key=world.key("ada"), **ONCE) as client:
            asked = (client.images.generate(prompt="a dog") for _ in range(4))
            return sum(len(made.data or ()) for made in await asyncio.gather(*asked))

    assert asyncio.run(main()) == 4


def test_what_was_asked_is_ours(client: openai.OpenAI, ada: TestClient) -> None:
    client.images.generate(
        prompt="a dog", quality="high", size="128x64",
        extra_body={"steps": 9, "guidance": 3.5, "sampler": "euler", "seed": 1},
    )  # fmt: skip
    kept = ada.get("/api/v1/jobs?limit=1").json()["items"][0]["request"]
    assert kept["sample"] == {"steps": 9, "guidance": 3.5, "sampler": "euler", "size": [128, 64]}
    assert (kept["base"], kept["seed"]) == ("miniature", 1)


def test_a_stream(world: World, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    paint = world.paint

    def with_partials(owner: str, job: str, count: int = 1, seed: int = 0) -> list[str]:
        made = paint(owner, job, count, seed)
        path = world.studio.partial(made[0])
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 64)).save(path)
        for step in (8, 16):
            facts = {"job": job, "image": made[0], "number": 0, "step": step}
            world.studio.events.add(owner, "partial", facts, about=job)
        return made

    monkeypatch.setattr(world, "paint", with_partials)
    stream = client.images.generate(prompt="a dog", stream=True, partial_images=2)
    events = list(stream)
    assert [one.type for one in events] == ["image_generation.partial_image"] * 2 + [
        "image_generation.completed"
    ]
    assert [one.partial_image_index for one in events[:2]] == [0, 1]  # ty: ignore[unresolved-attribute]
    assert all(opened(one.b64_json).size == (64, 64) for one in events)
    assert events[-1].usage.total_tokens == 0  # ty: ignore[unresolved-attribute]


def test_models_are_bases_runs_and_adapters(world: World, client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["miniature", "miniature-xl"]
    assert client.models.retrieve("miniature").owned_by == "kaiffin"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("dall-e-3")


def test_errors_are_openais(world: World, client: openai.OpenAI, at: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.images.generate(model="gpt-image-1", prompt="a dog")
    assert missing.value.param == "model"
    assert "there is no model" in missing.value.message
    for bad in (
        {"size": "65x64"}, {"size": "9999x9999"}, {"size": "big"}, {"n": 11},
        {"extra_body": {"steps": 10_000}}, {"extra_body": {"sampler": "magic"}},
    ):  # fmt: skip
        with pytest.raises(openai.BadRequestError) as wrong:
            client.images.generate(prompt="a dog", **bad)  # ty: ignore[no-matching-overload]
        assert wrong.value.type == "invalid_request_error"
        assert wrong.value.body["message"]  # ty: ignore[not-subscriptable]
    with (
        openai.OpenAI(base_url=at, api_key="sk-no", **ONCE) as stranger,
        openai.OpenAI(base_url=at, api_key=world.key("eve", "read"), **ONCE) as eve,
    ):
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        with pytest.raises(openai.PermissionDeniedError):
            eve.images.generate(prompt="a dog")


def test_a_quota_is_not_tried_again(world: World, at: str) -> None:
    key = world.key("dora", quotas=Quotas(pictures=1))
    with openai.OpenAI(base_url=at, api_key=key, max_retries=2, timeout=60) as client:
        client.images.generate(prompt="a dog")
        with pytest.raises(openai.RateLimitError) as refused:
            client.images.generate(prompt="a dog")
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert world.studio.jobs.count(world.service.keys.caller(key).owner) == 1  # ty: ignore


def test_a_job_that_fails_in_a_stream_raises(
    world: World, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(owner: str, job: str, *_: object) -> None:
        world.studio.jobs.fail(job, "the base is gone.", "Put it back.")

    monkeypatch.setattr(world, "paint", fail)
    with pytest.raises(openai.BadRequestError, match="the base is gone"):
        client.images.generate(prompt="a dog")
    with pytest.raises(openai.APIError, match="the base is gone"):
        list(client.images.generate(prompt="a dog", stream=True))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


@dataclass
class Edits:
    """A service of its own: photos are decoded in the loop that ends with its server."""

    world: World
    client: openai.OpenAI
    at: str

    def newest(self) -> dict[str, Any]:
        """The job that was asked for last."""
        headers = {"authorization": f"Bearer {self.client.api_key}"}
        return httpx.get(f"{self.at}/api/v1/jobs?limit=1", headers=headers).json()["items"][0]


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edits]:
    world = World(tmp_path_factory.mktemp("edits") / "studio")
    with (
        Hand(world),
        listening(world) as at,
        openai.OpenAI(base_url=f"{at}/v1", api_key=world.key("ada"), **ONCE) as client,
    ):
        yield Edits(world, client, at)
    world.studio.close()


def test_a_picture_is_edited(edits: Edits) -> None:
    """As OpenAI has it: what is transparent in the mask is painted anew."""
    photo, mask = Image.new("RGB", (64, 64), "red"), Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
    made = edits.client.images.edit(
        model="miniature", image=("a.png", png(photo)), mask=("m.png", png(mask)),
        prompt="a dog", n=2, quality="low", extra_body={"seed": 7},
    )  # fmt: skip
    assert made.data is not None
    assert [one.seed for one in made.data] == [7, 8]  # ty: ignore[unresolved-attribute]
    assert opened(made.data[0].b64_json).size == (64, 64)
    job = edits.newest()
    assert job["request"]["start"]["strength"] == 1.0
    assert job["request"]["sample"] == {"steps": 10}
    kept = Image.open(edits.world.studio.made(job["id"]) / "mask.png")
    assert (kept.getpixel((10, 10)), kept.getpixel((50, 10))) == (255, 0)

    edits.client.images.edit(
        image=[("a.png", png(photo))], prompt="a dog", extra_body={"strength": 0.3}
    )
    asked = edits.newest()["request"]["start"]
    assert (asked["strength"], asked["mask"]) == (0.3, None)
    stream = list(edits.client.images.edit(image=png(photo), prompt="a dog", stream=True))
    assert [one.type for one in stream] == ["image_edit.completed"]


def test_what_cannot_be_edited(edits: Edits) -> None:
    photo = png(Image.new("RGB", (64, 64)))
    for given, said in (
        ({"image": [photo, photo]}, "2 pictures are not painted over at once"),
        ({"image": b"text"}, "photo"),
        ({"image": photo, "mask": photo}, "has no transparent part"),
        ({"image": photo, "extra_body": {"strength": 2}}, "strength"),
    ):  # fmt: skip
        with pytest.raises(openai.BadRequestError, match=said):
            edits.client.images.edit(prompt="a dog", **given)  # ty: ignore[no-matching-overload]

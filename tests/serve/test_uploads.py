"""Pictures that were sent to be painted over: pixels alone, their owner's, for a day."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import World, jpeg
from starlette.testclient import TestClient

from kaiffin.serve.uploads import KEPT_S

PICTURES = {"base": "miniature", "prompts": ["a dog"], "sample": {"steps": 2}}


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def send(client: TestClient, data: bytes, kind: str = "photo") -> dict:
    got = client.post(f"/api/v1/uploads?kind={kind}", files={"file": ("a", data)})
    assert got.status_code == 201, got.text
    return got.json()


def kept(world: World, id: str) -> Image.Image:
    return Image.open(world.studio.upload(id))


def test_a_photo_is_upright_and_says_nothing(world: World, ada: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Somephone"
    file = io.BytesIO()
    Image.new("RGB", (64, 32), "red").save(file, format="JPEG", exif=exif)
    sent = send(ada, file.getvalue())
    assert (sent["width"], sent["height"]) == (32, 64)
    assert kept(world, sent["id"]).size == (32, 64)
    assert b"Somephone" not in world.studio.upload(sent["id"]).read_bytes()
    large = send(ada, jpeg(side=5000))
    assert kept(world, large["id"]).size == (4096, 4096)


@pytest.mark.parametrize(
    ("kind", "left", "right"), [("mask", 0, 255), ("inverted", 255, 0), ("clear", 255, 0)]
)
def test_kinds_of_masks(kind: str, left: int, right: int, world: World, ada: TestClient) -> None:
    """Where a mask has transparent parts, they say it, whatever its colours are."""
    drawn = Image.new("RGBA", (64, 64), (90, 120, 200, 0))
    drawn.paste((90, 120, 200, 255), (32, 0, 64, 64))
    mask = np.asarray(kept(world, send(ada, png(drawn), kind)["id"]))
    assert (mask[:, :32] == left).all()
    assert (mask[:, 32:] == right).all()
    if kind != "clear":
        plain = Image.new("L", (64, 64))
        plain.paste(255, (32, 0, 64, 64))
        mask = np.asarray(kept(world, send(ada, png(plain), kind)["id"]))
        assert (mask[:, :32] == left).all()


def test_what_is_no_picture(ada: TestClient) -> None:
    for data, kind, said in (
        (b"text", "photo", "photo"), (jpeg(), "clear", "has no transparent part"),
        (b"", "photo", "empty"),
    ):  # fmt: skip
        got = ada.post(f"/api/v1/uploads?kind={kind}", files={"file": ("a", data)})
        assert got.status_code == 400
        assert said in got.text


def test_it_is_its_owners(world: World, ada: TestClient) -> None:
    id = send(ada, jpeg())["id"]
    asked = PICTURES | {"start": {"image": id}}
    assert ada.post("/api/v1/generate", json=asked).status_code == 201
    as_bob = {"authorization": f"Bearer {world.key('bob')}"}
    got = ada.post("/api/v1/generate", json=asked, headers=as_bob)
    assert (got.status_code, "there is no picture" in got.text) == (404, True)


def test_a_job_has_its_own_copy(world: World, ada: TestClient) -> None:
    """Of an upload and of a picture of the gallery, whatever becomes of them."""
    owner, id = world.owner(ada), send(ada, jpeg())["id"]
    (image,) = world.paint(owner, "j" * 16)
    asked = PICTURES | {"start": {"image": image, "mask": id, "strength": 0.9}}
    job = ada.post("/api/v1/generate", json=asked).json()["id"]
    for name, source in (("image", world.studio.image(image)), ("mask", world.studio.upload(id))):
        copy = world.studio.made(job) / f"{name}.png"
        assert copy.read_bytes() == source.read_bytes()
        assert copy.stat().st_nlink == 1
    world.studio.upload(id).unlink()
    assert ada.post("/api/v1/generate", json=asked).status_code == 404


def test_it_counts_and_is_gone_after_a_day(
    world: World, ada: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, owner = world.service.holdings, world.owner(ada)
    before = held.bytes(owner)
    sent = send(ada, jpeg())
    assert held.bytes(owner) == before + sent["bytes"]
    with world.studio.db.transaction() as writer:
        writer.execute("UPDATE uploads SET created = created - ?", (KEPT_S + 1,))
    again = send(ada, jpeg())
    assert held.bytes(owner) <= before + again["bytes"]
    files = {path.stem for path in Path(world.studio.path / "uploads").iterdir()}
    assert files == {again["id"]}


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ({"strength": 2}, "start.strength"), ({"mask": "a" * 16}, "a mask says which part"),
        ({"upscale": 3}, "start.upscale"), ({"image": "/etc/passwd"}, "start.image"),
        ({"box": [0, 0, 0, 8]}, "a box has a width"), ({"magic": 1}, "start.magic"),
    ],
)  # fmt: skip
def test_ways_that_are_none(start: dict, said: str, ada: TestClient) -> None:
    got = ada.post("/api/v1/generate", json=PICTURES | {"start": start})
    assert got.status_code == 400
    assert said in got.text

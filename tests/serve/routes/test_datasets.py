"""Photos by the API."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from served import World, jpeg
from starlette.testclient import TestClient

from kaiffin.foundation.run import CONTACT_SHEET
from kaiffin.serve.keys import Quotas


@pytest.fixture(scope="module")
def dataset(ada: TestClient) -> str:
    return f"/api/v1/datasets/{ada.post('/api/v1/datasets', json={'name': 'mine'}).json()['id']}"


def send(client: TestClient, dataset: str, data: bytes, name: str = "a.jpg", **form: str) -> dict:
    got = client.post(f"{dataset}/photos", files={"file": (name, data)}, data=form)
    assert got.status_code == 201, got.text
    return got.json()


def test_a_photo_comes_is_shown_and_changed(ada: TestClient, dataset: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    sent = send(ada, dataset, jpeg(side=300, exif=exif), "C:\\me\\../\u202eevil.jpg", caption="toy")
    assert (sent["name"], sent["caption"], sent["width"]) == ("evil.jpg", "toy", 300)
    at = f"{dataset}/photos/{sent['id']}"
    shown = ada.get(f"{at}/shown")
    assert shown.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(shown.content)) as image:
        assert not image.getexif()
    with Image.open(io.BytesIO(ada.get(f"{at}/shown?thumb=true").content)) as image:
        assert image.size == (256, 256)
    crop = {"left": 0, "top": 0, "width": 100, "height": 50}
    assert ada.patch(at, json={"crop": crop}).json()["crop"] == crop
    kept = ada.patch(at, json={"caption": "two"}).json()
    assert (kept["crop"], kept["caption"]) == (crop, "two")
    assert ada.patch(at, json={"crop": None}).json()["crop"] is None
    for bad in ({"left": 250, "top": 0, "width": 100, "height": 50}, {**crop, "left": -1}, {}):
        assert ada.patch(at, json={"crop": bad}).status_code == 400
    assert ada.delete(at).status_code == 204
    assert ada.get(at).status_code == 404


def test_photos_of_phones(ada: TestClient, dataset: str) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 64), "blue")).save(file)
    assert send(ada, dataset, file.getvalue(), "IMG_1.HEIC")["width"] == 64


def test_what_is_no_photo_is_refused(ada: TestClient, dataset: str) -> None:
    before = ada.get(f"{dataset}/photos").json()
    for data in (b"", b"PK\3\4" + bytes(99), jpeg(side=200)[:300], b"<svg/>"):
        got = ada.post(f"{dataset}/photos", files={"file": ("a.jpg", data)})
        assert got.status_code == 400, got.text
        assert got.json()["error"]["way_out"]
    assert ada.post(f"{dataset}/photos", files={"other": ("a.jpg", jpeg())}).status_code == 400
    assert ada.post(f"{dataset}/photos", json={}).status_code == 415
    torn = {"content-type": "multipart/form-data; boundary=x"}
    assert ada.post(f"{dataset}/photos", content=b"--y", headers=torn).status_code == 400
    assert ada.get(f"{dataset}/photos").json() == before


@settings(max_examples=25, deadline=None)
@given(
    st.binary(max_size=300) | st.integers(0, 600).map(lambda at: jpeg()[:at] + b"!" + jpeg()[at:])
)
def test_any_bytes_are_answered(ada: TestClient, dataset: str, data: bytes) -> None:
    got = ada.post(f"{dataset}/photos", files={"file": ("a.jpg", data)})
    assert got.status_code in (201, 400), got.text


def test_300_mb_are_refused_before_they_come(ada: TestClient, dataset: str) -> None:
    kind = {"content-type": "multipart/form-data; boundary=x"}
    told = {**kind, "content-length": f"{300 * 2**20}"}
    assert ada.post(f"{dataset}/photos", content=b"x", headers=told).status_code == 413

    sent = 0

    def endless() -> object:
        nonlocal sent
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        while sent < 300:
            sent += 1
            yield bytes(2**20)

    assert ada.post(f"{dataset}/photos", content=endless(), headers=kind).status_code == 413


def test_pages(ada: TestClient) -> None:
    at = f"/api/v1/datasets/{ada.post('/api/v1/datasets', json={}).json()['id']}"
    ids = [send(ada, at, jpeg((i, 0, 0)))["id"] for i in (10, 90, 200)]
    first = ada.get(f"{at}/photos?limit=2").json()
    rest = ada.get(f"{at}/photos?limit=2&after={first['next']}").json()
    assert [one["id"] for one in first["items"] + rest["items"]] == ids
    assert rest["next"] is None
    assert ada.get(at).json()["photos"] == 3
    newest = ada.get("/api/v1/datasets?limit=1").json()
    assert newest["items"][0]["id"] == at.rpartition("/")[2]
    older = ada.get(f"/api/v1/datasets?before={newest['next']}").json()["items"]
    assert newest["items"][0] not in older


def test_the_bytes_that_a_key_may_keep(tmp_path: Path) -> None:
    world = World(tmp_path / "studio")
    with world.caller("dora", quotas=Quotas(bytes=len(jpeg()) + 10)) as small:
        at = f"/api/v1/datasets/{small.post('/api/v1/datasets', json={}).json()['id']}"
        send(small, at, jpeg())
        got = small.post(f"{at}/photos", files={"file": ("b.jpg", jpeg((1, 1, 1)))})
        assert got.status_code == 429
        assert got.headers["x-should-retry"] == "false"
    world.studio.close()


def test_the_sheet_of_the_newest_scan(world: World, ada: TestClient, dataset: str) -> None:
    assert ada.get(f"{dataset}/sheet").status_code == 409
    job = ada.post("/api/v1/scan", json={"dataset": dataset.rpartition("/")[2]}).json()["id"]
    folder = world.studio.folder(f"made/{job}")
    Image.new("RGB", (9, 9)).save(folder / CONTACT_SHEET)
    world.finish(job)
    assert ada.get(f"{dataset}/sheet").headers["content-type"] == "image/png"

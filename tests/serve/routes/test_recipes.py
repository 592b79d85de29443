"""The settings inside a PNG: Kaiffin's own, A1111's, and none."""

import io
import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from served import World, jpeg
from starlette.testclient import TestClient

A1111 = (
    "a \\(red\\) car, <lora:x:1>\nNegative prompt: blur,\ngrey\nSteps: 20, Sampler: DPM++ 2M,"
    " Schedule type: Karras,"
    " CFG scale: 7.5, Seed: 42, Size: 512x768, Model: x"
)


def png(**texts: str) -> bytes:
    file, info = io.BytesIO(), PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("RGB", (8, 8)).save(file, format="PNG", pnginfo=info)
    return file.getvalue()


def test_settings_of_a_picture(world: World, ada: TestClient) -> None:
    def read(data: bytes):
        return ada.post("/api/v1/recipes", files={"file": ("a.png", data)})

    job = ada.post("/api/v1/generate", json={"base": "miniature", "prompts": ["a"]}).json()["id"]
    (image,) = world.paint(world.owner(ada), job, seed=7)
    own = read(world.studio.image(image).read_bytes()).json()
    assert (own["prompts"], own["seed"], own["base"]) == (["a dog"], 7, None)  # it wore an adapter
    assert own["sample"]["size"] == [64, 64]
    foreign = read(png(parameters=A1111)).json()
    assert foreign == {
        "base": None, "prompts": ["a \\(red\\) car, <lora:x:1>"], "seed": 42,
        "sample": {"negative": "blur,\ngrey", "steps": 20, "guidance": 7.5, "sampler": "dpm++2m",
                   "schedule": "karras", "size": [512, 768]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("adapters", "syntax", "expected"),
    [
        ([("toy", "b" * 16, 0.8)], "a1111", ("a dog <lora:toy:0.8>", "miniature")),
        ([("b" * 16, "b" * 16, "unet=1,text=0.5")], "a1111",
         (f"a dog <lora:{'b' * 16}:0.5:1>", "miniature")),
        ([("kai", "kai", 1.0), ("toy", "b" * 16, 1.0)], "a1111", ("a dog <lora:toy:1>", None)),
        ([("toy", "b" * 16, 0.8)], "plain", ("a dog", None)),
        ([], "a1111", ("a dog", "miniature")),
    ],
)  # fmt: skip
def test_adapters_that_a_prompt_named(
    ada: TestClient, adapters: list, syntax: str, expected: tuple
) -> None:
    worn = [{"name": n, "path": f"{p}.safetensors", "weight": w} for n, p, w in adapters]
    asked = {"prompt": "a dog", "seed": 1, "width": 8, "height": 8, "prompt_syntax": syntax}
    recipe = {"base": {"name": "miniature"}, "adapters": worn, "request": asked}
    file = {"file": ("a.png", png(kaiffin=json.dumps(recipe)))}
    got = ada.post("/api/v1/recipes", files=file).json()
    assert (got["prompts"][0], got["base"]) == expected


@pytest.mark.parametrize(
    "data", [jpeg(), b"no picture", png(), png(kaiffin="[" * 9999), png(kaiffin="{}"),
             png(parameters="a cat\nSteps: many")],
)  # fmt: skip
def test_a_file_without_settings(ada: TestClient, data: bytes) -> None:
    got = ada.post("/api/v1/recipes", files={"file": ("a.png", data)})
    assert got.status_code == 400
    assert "carries no settings" in got.json()["error"]["problem"]

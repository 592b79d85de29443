"""A1111's API as Open WebUI and SillyTavern use it: their requests, in their order."""

import base64
import io
import json
from collections.abc import Iterator

import pytest
from PIL import Image
from served import AT, Hand, World
from starlette.testclient import TestClient

from kaiffin.foundation.imaging import SampleConfig
from kaiffin.foundation.samplers import SAMPLERS
from kaiffin.serve.app import application


def basic(secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"user:{secret}".encode()).decode()}


@pytest.fixture
def webui(world: World) -> Iterator[TestClient]:
    with world.stranger() as client:
        client.headers.update(basic(world.key("ada")))
        yield client


def opened(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_open_webui(world: World, webui: TestClient) -> None:
    """As version 0.12 does it: connected where there are options, a model that is set by posting
    all of them back, and the options once more before each picture."""
    assert webui.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "miniature"
    options = webui.get("/sdapi/v1/options").json() | {"sd_model_checkpoint": "miniature-xl"}
    assert webui.post("/sdapi/v1/options", json=options).status_code == 200
    names = [(one["title"], one["model_name"]) for one in webui.get("/sdapi/v1/sd-models").json()]
    assert names == [("miniature", "miniature"), ("miniature-xl", "miniature-xl")]
    assert webui.get("/sdapi/v1/options").json() == options
    asked = {"prompt": "a dog", "batch_size": 2, "width": 64, "height": 60, "steps": 3}
    with Hand(world):
        got = webui.post("/sdapi/v1/txt2img", json=asked).json()
        webui.post("/sdapi/v1/txt2img", json=asked | {"negative_prompt": "a cat"})
    assert [opened(one).size for one in got["images"]] == [(64, 64)] * 2
    info = json.loads(got["info"])
    assert info["all_seeds"] == [info["seed"], info["seed"] + 1]
    job = world.studio.jobs.find(info["job"]).request
    assert job["base"] == "miniature-xl"
    assert job["sample"] == {"steps": 3, "negative": "", "size": [64, 64]}


def test_sillytavern(world: World, webui: TestClient) -> None:
    """As version 1.19 does it: lists, a model that is polled for, a picture whose request carries
    the key once more, and a bare interrupt when its page closes."""
    for name in ("samplers", "schedulers", "upscalers", "latent-upscale-modes", "sd-models",
                 "sd-vae"):  # fmt: skip
        assert isinstance(webui.get(f"/sdapi/v1/{name}").json(), list), name
    assert webui.get("/sdapi/v1/sd-modules").status_code == 404  # Forge's; it asks both
    webui.post("/sdapi/v1/options", json={"sd_model_checkpoint": "miniature"})
    progress = webui.get("/sdapi/v1/progress").json()
    assert (progress["progress"], progress["state"]["job_count"]) == (0, 0)
    asked = {
        "url": AT, "auth": f"any:{world.secrets[-1]}", "prompt": "a dog", "negative_prompt": "",
        "sampler_name": "Euler", "scheduler": "uniform", "steps": 4, "cfg_scale": 6.5, "width": 64,
        "height": 64, "restore_faces": False, "enable_hr": False, "hr_upscaler": "Latent",
        "hr_scale": 1, "hr_additional_modules": [], "denoising_strength": 0.7,
        "hr_second_pass_steps": 0, "override_settings": {"CLIP_stop_at_last_layers": 1},
        "override_settings_restore_afterwards": True, "clip_skip": 1, "save_images": True,
        "send_images": True, "do_not_save_grid": False, "do_not_save_samples": False,
    }  # fmt: skip
    with Hand(world):
        got = webui.post("/sdapi/v1/txt2img", json=asked)
        last = webui.post("/sdapi/v1/txt2img", json=asked | {"clip_skip": 12, "seed": 5}).json()
    assert len(got.json()["images"]) == 1
    assert world.secrets[-1] not in got.text
    first, second = (
        world.studio.jobs.find(json.loads(one["info"])["job"]).request for one in (got.json(), last)
    )
    assert first["sample"] == {
        "steps": 4, "guidance": 6.5, "sampler": "euler", "schedule": "uniform", "negative": "",
        "clip_skip": 0, "size": [64, 64],
    }  # fmt: skip
    most = next(
        one.le for one in SampleConfig.model_fields["clip_skip"].metadata if hasattr(one, "le")
    )
    assert (second["sample"]["clip_skip"], second["seed"]) == (most, 5)
    bare = webui.post("/sdapi/v1/interrupt", headers={"content-length": "0"})
    assert bare.status_code == 200


def test_the_sampler_that_clients_choose_is_the_default(webui: TestClient) -> None:
    """They take the first of the list."""
    names = [one["name"] for one in webui.get("/sdapi/v1/samplers").json()]
    assert names[0] == SAMPLERS[SampleConfig().sampler].a1111
    assert len(set(names)) == len(SAMPLERS)


def test_an_interrupt_is_of_ones_own(world: World, webui: TestClient, bob: TestClient) -> None:
    ids = [
        client.post("/api/v1/generate", json={"base": "miniature", "prompts": ["a"]}, headers=more)
        .json()["id"]
        for client, more in ((bob, {}), (bob, {}))
    ]  # fmt: skip
    ada = {"authorization": f"Bearer {world.key('ada')}"}
    own = bob.post("/api/v1/generate", json={"base": "miniature", "prompts": ["a"]}, headers=ada)
    assert webui.get("/sdapi/v1/progress").json()["state"]["job_count"] == 1
    assert webui.post("/sdapi/v1/interrupt").status_code == 200
    jobs = world.studio.jobs
    assert [jobs.find(id).state for id in (*ids, own.json()["id"])] == [
        "queued", "queued", "cancelled"
    ]  # fmt: skip


def test_options_are_of_the_key(world: World, webui: TestClient) -> None:
    webui.post("/sdapi/v1/options", json={"sd_model_checkpoint": "miniature-xl", "unknown": [1]})
    with world.stranger() as other:
        other.headers.update(basic(world.key("ada")))
        assert other.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "miniature"
    bad = webui.post("/sdapi/v1/options", json={"sd_model_checkpoint": "v1-5-pruned.ckpt"})
    assert (bad.status_code, "detail" in bad.json()) == (404, True)
    assert "unknown" not in webui.get("/sdapi/v1/options").json()


def test_loras_name_no_folder(world: World, webui: TestClient) -> None:
    assert webui.get("/sdapi/v1/loras").json() == []
    assert webui.post("/sdapi/v1/refresh-loras").status_code == 200


def test_it_is_off_unless_it_is_asked_for(world: World) -> None:
    found = application(world.service).openapi()["paths"]
    assert not [path for path in found if path.startswith("/sdapi")]
    assert "/v1/models" in found


def encoded(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_img2img(world: World, webui: TestClient) -> None:
    """As the web UI's own API takes it: more than a megabyte of base64, also as data: address."""
    large = Image.effect_noise((1024, 1024), 60).convert("RGB")
    mask = Image.new("L", (1024, 1024))
    mask.paste(255, (0, 0, 512, 1024))
    asked = {
        "prompt": "a dog", "steps": 3, "width": 64, "height": 64, "seed": 5,
        "init_images": [f"data:image/png;base64,{encoded(large)}"], "denoising_strength": 0.5,
        "mask": encoded(mask), "inpainting_mask_invert": 1, "mask_blur": 4, "inpainting_fill": 1,
        "resize_mode": 0,
    }  # fmt: skip
    with Hand(world):
        got = webui.post("/sdapi/v1/img2img", json=asked)
        plain = webui.post("/sdapi/v1/img2img", json={"init_images": [encoded(large)],
                                                      "prompt": "a dog"})  # fmt: skip
    assert got.status_code == plain.status_code == 200, got.text
    assert opened(got.json()["images"][0]).size == (64, 64)
    assert got.json()["parameters"]["init_images"] is None
    job = json.loads(got.json()["info"])["job"]
    start = world.studio.jobs.find(job).request["start"]
    assert (start["strength"], start["feather"]) == (0.5, 4)
    kept = Image.open(world.studio.made(job) / "mask.png")
    assert (kept.getpixel((10, 10)), kept.getpixel((900, 10))) == (0, 255)
    second = world.studio.jobs.find(json.loads(plain.json()["info"])["job"]).request["start"]
    assert (second["strength"], second["mask"]) == (0.75, None)
    for wrong in ({"init_images": ["%%"]}, {"init_images": []}, {"denoising_strength": 2}):
        assert webui.post("/sdapi/v1/img2img", json=asked | wrong).status_code == 400


def test_variations_and_hires_fix(world: World, webui: TestClient) -> None:
    asked = {
        "prompt": "a dog", "seed": 5, "subseed": 9, "subseed_strength": 0.2, "enable_hr": True,
        "hr_scale": 1.5, "denoising_strength": 0.45,
    }  # fmt: skip
    with Hand(world):
        got = webui.post("/sdapi/v1/txt2img", json=asked).json()
        too_large = webui.post("/sdapi/v1/txt2img", json=asked | {"hr_scale": 4})
    start = world.studio.jobs.find(json.loads(got["info"])["job"]).request["start"]
    said = {name: start[name] for name in ("vary", "vary_seed", "upscale", "second")}
    assert said == {"vary": 0.2, "vary_seed": 9, "upscale": 1.5, "second": 0.45}
    assert too_large.status_code == 400

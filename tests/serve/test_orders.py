"""Requests of pictures as orders: ids become files, and settings what the config takes."""

from pathlib import Path

from asked import pictures
from made_run import made_run
from PIL import Image

from kaiffin.foundation.config import Config
from kaiffin.foundation.schema import OWN
from kaiffin.foundation.settings import changed
from kaiffin.pictures.named import Library
from kaiffin.pictures.request import Request
from kaiffin.pictures.start import File, Start
from kaiffin.serve.orders import given_away, order_of, picture_facts
from kaiffin.serve.studio import Studio
from kaiffin.serve.work import House, Task, picture_id


def task(folder: Path, **more: object) -> Task:
    request = pictures("house", **more)
    return Task("a" * 16, "generate", request, Studio(folder), House({"house": "/models/x"}))


def test_ids_become_files(tmp_path: Path) -> None:
    worn = [{"adapter": "b" * 16, "weights": "unet=0.8,text=0.4"}]
    one = task(tmp_path, adapters=worn, embeddings=["c" * 16], count=3, seed=5, checkpoint=120,
               sample={"steps": 9, "size": [64, 32]}, regions=["columns"])  # fmt: skip
    order, changes = order_of(one)
    assert order.library is not None
    adapters = tmp_path / "adapters"
    assert order.source == "/models/x", "what the operator calls so"
    assert order.adapters == [f"{adapters / ('b' * 16)}.safetensors:unet=0.8,text=0.4"]
    assert order.embeddings == [adapters / f"{'c' * 16}.safetensors"]
    assert (order.count, order.seed, order.checkpoint) == (3, 5, "120")
    assert order.regions == ["columns"]
    assert order.out == tmp_path / "made" / ("a" * 16) / "pictures"
    assert changes == {"sample.steps": 9, "sample.size": (64, 32)}


def test_names_are_files_of_adapters_and_runs(tmp_path: Path) -> None:
    run = made_run(tmp_path / "runs" / ("b" * 16))
    order, _ = order_of(task(tmp_path, names={"toy": "c" * 16, "puffin": "b" * 16}))
    assert order.library == Library(
        given={"toy": tmp_path / "adapters" / f"{'c' * 16}.safetensors", "puffin": run.adapter_path}
    )


def test_a_run_is_a_folder(tmp_path: Path) -> None:
    order, changes = order_of(task(tmp_path, run="d" * 16, sample={}))
    assert order.source == str(tmp_path / "runs" / ("d" * 16))
    assert (order.checkpoint, changes) == (None, {})


def test_few_steps_are_the_base_s_own(tmp_path: Path) -> None:
    _, changes = order_of(task(tmp_path, sample={"fast": True}))
    assert changed(Config(), **changes).sample.fast == OWN


def test_another_way_in_finds_what_the_job_has_kept(tmp_path: Path) -> None:
    one = task(tmp_path, start={"image": "b" * 16, "mask": None, "strength": 0.3, "box": None})
    one.made.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(one.made / "image.png")
    start = Start(image=File.at(one.made / "image.png"), strength=0.3)
    assert order_of(one)[0].start == start
    assert order_of(task(tmp_path, start=None))[0].start is None
    recipe = {"adapters": [], "request": Request("a", 1, 64, 64, start=start).as_json()}
    given = given_away(recipe)["request"]["start"]
    assert given["image"]["path"] == "image.png"
    assert given["strength"] == 0.3
    larger = Request("a car", 7, 64, 32, start=Start(upscale=2))
    facts = picture_facts(one, 0, larger)
    assert (facts["width"], facts["height"]) == (128, 64)


def test_facts_of_a_picture(tmp_path: Path) -> None:
    asked = task(tmp_path, count=2, prompts=["a dog", "a <lora:toy:0.8> {noun} <lora:x>"])
    facts = picture_facts(asked, 2, Request("a car", 7, 64, 32))
    assert facts == {
        "id": picture_id("a" * 16, 2), "number": 2, "prompt": "a car <lora:toy:0.8> <lora:x>",
        "seed": 7, "width": 64, "height": 32,
    }  # fmt: skip
    plain = picture_facts(asked, 3, Request("a <lora:toy:0.8> car <lora:x>", 7, 64, 32))
    assert plain["prompt"] == "a <lora:toy:0.8> car <lora:x>", "where they are words"


def test_a_recipe_names_files_and_no_folder() -> None:
    recipe = {"adapters": [{"path": "/srv/adapters/a.safetensors", "name": "a"}], "torch": "2"}
    assert given_away(recipe) == {
        "adapters": [{"path": "a.safetensors", "name": "a"}], "torch": "2"
    }  # fmt: skip

"""A picture's recipe inside its PNG: written, read by others, and refused where it is none."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, PngImagePlugin

from kaiffin.foundation.errors import RunError, UserError
from kaiffin.models.base import ModelFamily
from kaiffin.pictures import infotext
from kaiffin.pictures.recipe import read_recipe, recipe, save_png
from kaiffin.pictures.request import AdapterRef, Request
from kaiffin.pictures.sample import generate

CALL = {"width": 64, "height": 64, "steps": 4}


def test_metadata_round_trip(sd: ModelFamily, tmp_path: Path) -> None:
    wanted = Request(
        'a "dog", ü: 犬', 7, negative="red\nblue", guidance_interval=(0.3, 5.0), **CALL
    )
    ref = AdapterRef("/x/k.safetensors", "k", "ab" * 32, 0.8)
    image = next(generate(sd, [wanted]))
    path = tmp_path / "a.png"
    save_png(image, path, recipe(wanted, sd, [ref]))
    found = read_recipe(path)
    assert Request(**found["request"]) == replace(wanted, schedule="leading")
    assert AdapterRef(**found["adapters"][0]) == ref
    assert found["base"]["revision"] == sd.revision
    with Image.open(path) as again:
        assert again.tobytes() == image.tobytes()
        text = again.text["parameters"]
    lines = text.splitlines()
    assert lines[0] == 'a "dog", ü: 犬 <lora:k:0.8>'
    assert "Negative prompt: red" in text
    pairs = dict(part.split(": ", 1) for part in lines[-1].split(", ") if part.count(": ") == 1)
    assert pairs["Steps"] == "4"
    assert pairs["Sampler"] == "DPM++ 2M"
    assert pairs["Schedule type"] == "DDIM"
    assert pairs["CFG scale"] == "5"
    assert (pairs["NGMS"], pairs["NGMS all steps"]) == ("0.3", "True")
    assert pairs["Seed"] == "7"
    assert pairs["Size"] == "64x64"
    assert pairs["Model hash"] == sd.revision[:10]
    assert pairs["Clip skip"] == "1"


def test_values_with_commas_are_quoted(sd: ModelFamily) -> None:
    refs = [AdapterRef("a", "one", "1" * 64, 1.0), AdapterRef("b", "two", "2" * 64, 0.5)]
    text = infotext.written(recipe(Request("x", 0, **CALL), sd, refs))
    assert 'Lora hashes: "one: 111111111111, two: 222222222222"' in text


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a (kaiffin:1.3) bird in [snow]", r"a \(kaiffin:1.3\) bird in \[snow\]"),
        ("a bird <lora:other:0.8>", "a bird <lora\\:other:0.8>"), ("<a:b>", "<a\\:b>"),
        ("a BREAK b AND c", "a break b and c"),
        (r"a \(bird\), BREAKfast", r"a \\\(bird\\\), BREAKfast"),
    ],
)  # fmt: skip
def test_what_was_plain_words_is_so_elsewhere(sd: ModelFamily, prompt: str, said: str) -> None:
    made = recipe(Request(prompt, 0, negative=prompt, **CALL), sd, [])
    first, second, *_ = infotext.written(made).split("\n")
    assert (first, second) == (said, f"Negative prompt: {said}")
    assert made["request"]["prompt"] == prompt


def test_hashes_are_those_that_other_programs_look_up(sd: ModelFamily) -> None:
    """By A1111's own pattern of the entry; an older recipe has but the hash of the file."""
    refs = [AdapterRef("a", "a: b, c", "1" * 64, 1.0, "a" * 64), AdapterRef("b", "d", "2" * 64, 1)]
    text = infotext.written(recipe(Request("x", 0, **CALL), sd, refs))
    quoted = re.search(r'Lora hashes: ("(?:\\.|[^\\"])+")', text)
    assert quoted is not None
    entries = [re.match(r"\s*([^:]+):\s*(.*)", one) for one in json.loads(quoted[1]).split(",")]
    assert [m.groups() for m in entries if m] == [("a b c", "a" * 12), ("d", "2" * 12)]


def test_a_bare_picture_carries_nothing(sd: ModelFamily, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_png(Image.new("RGB", (8, 8)), path, None)
    with Image.open(path) as image:
        assert image.info == {}
    with pytest.raises(UserError, match="carries no Kaiffin recipe"):
        read_recipe(path)


def test_no_partial_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(RunError, match="cannot be written"):
        save_png(Image.new("RGB", (8, 8)), tmp_path / "folder.png", None)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


def test_a_recipe_is_plain_json(sd: ModelFamily) -> None:
    found = recipe(Request("x", 0, **CALL), sd, [])
    assert json.loads(json.dumps(found)) == found
    assert found["torch"] == str(torch.__version__)


def test_the_bytes_are_those_that_pillow_writes(tmp_path: Path) -> None:
    image = Image.effect_noise((300, 200), 60).convert("RGB")
    image.save(tmp_path / "pillow.png")
    save_png(image, tmp_path / "ours.png")
    assert (tmp_path / "ours.png").read_bytes() == (tmp_path / "pillow.png").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"request": {"prompt": "x", "seed": 1, "width": 8, "height": 8, "sampler": "plms"}},
        {"request": {"prompt": "x", "seed": 1, "width": 8, "height": 8, "sampler": ["ddim"]}},
        *(
            {"request": {"prompt": "x", "seed": 1, **CALL, **wrong}}
            for wrong in (
                {"steps": 0},
                {"steps": "5"},
                {"seed": "x"},
                {"seed": -1},
                {"seed": 2**64},
                {"prompt": 5},
                {"width": 10**9},
                {"guidance": float("nan")},
                {"eta": 2},
            )
        ),
        {"adapters": [{"path": "a"}]},
        {"base": {"name": "miniature"}},
        {"base": None},
        {"batch": 0},
        {"batch": "4"},
    ],
)
def test_a_recipe_that_nobody_could_follow(
    sd: ModelFamily, tmp_path: Path, change: dict[str, object]
) -> None:
    found = recipe(Request("x", 0, **CALL), sd, []) | change
    path = tmp_path / "a.png"
    _save_raw(Image.new("RGB", (8, 8)), path, found)
    with pytest.raises(UserError, match="its Kaiffin recipe is damaged"):
        read_recipe(path)


def _save_raw(image: Image.Image, path: Path, found: dict) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("kaiffin", json.dumps(found))
    image.save(path, pnginfo=info)


def test_what_was_read_is_written_as_it_was_typed(sd: ModelFamily) -> None:
    """So that the web UI reads it as we did."""
    typed = "a (dog:1.3) [in|at] snow BREAK AND \\(x\\) <a:b>"
    made = recipe(Request(typed, 0, **CALL, prompt_syntax="a1111"), sd, [])
    assert infotext.written(made).split("\n")[0] == typed.replace("AND", "and").replace(
        "a:", "a\\:"
    )

"""Pictures by content: what is there is not made again, whoever asked for it first."""

from pathlib import Path

import pytest
import tiny
from conftest import load_tiny
from PIL import Image

from kaiffin.models.base import ModelFamily
from kaiffin.pictures import sample
from kaiffin.pictures.recipe import read_recipe
from kaiffin.pictures.request import Request
from kaiffin.score.choice import Prompt
from kaiffin.score.gallery import Gallery
from kaiffin.score.questions import PromptSet


def prompt_set(*texts: str, seeds: tuple[int, ...] = (1, 2)) -> PromptSet:
    prompts = tuple(Prompt(text, text, "scenes") for text in texts)
    requests = tuple(Request(text, seed, 16, 16, steps=2) for text in texts for seed in seeds)
    return PromptSet(prompts, seeds, requests)


def test_what_is_there_is_not_made_again(
    sd: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, asked = Gallery(tmp_path / "evaluation", sd), prompt_set("a dog", "a cat")
    made: list[int] = []
    assert gallery.todo([None], asked) == 4
    gallery.make(None, asked, made.append, 3)
    assert sum(made) == 4
    paths = gallery.paths(None, asked)
    assert [path.parent for path in paths] == [tmp_path / "evaluation" / "base"] * 4
    recipes = [read_recipe(path)["request"] for path in paths]
    assert [(r["prompt"], r["seed"]) for r in recipes] == [
        (request.prompt, request.seed) for request in asked.requests
    ]
    monkeypatch.setattr(sample, "generate", None)
    gallery.make(None, asked, made.append, 3)
    assert sum(made) == 4
    # Another list, with one prompt and one seed more: only what is new is missing.
    more = prompt_set("a car", "a dog", seeds=(1, 2, 3))
    assert len(gallery.missing(None, more)) == 4
    assert gallery.paths(None, more)[3:5] == paths[:2]


def test_another_adapter_or_base_has_other_pictures(sd: ModelFamily, tmp_path: Path) -> None:
    asked, gallery = prompt_set("a dog"), Gallery(tmp_path / "evaluation", sd)
    for name in ("one", "two", "copy"):
        (tmp_path / name).write_bytes(b"two" if name == "two" else b"one")
    own, other, copy = (gallery.paths(tmp_path / name, asked) for name in ("one", "two", "copy"))
    base = gallery.paths(None, asked)
    assert own == copy  # by content, not by name
    assert not set(own) & {*other, *base}
    another = load_tiny(tiny.tiny_sd(tmp_path / "base", seed=1))
    assert not set(Gallery(gallery.folder, another).paths(None, asked)) & set(base)
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    assert gallery.todo([None, tmp_path / "copy"], asked) == 2

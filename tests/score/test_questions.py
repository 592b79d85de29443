"""The prompts of an evaluation: built in or one's own, less what the photos showed already."""

from pathlib import Path
from typing import Any

import pytest

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.settings import build, changed
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.score.catalogue import SECTIONS, SUBJECT
from kaiffin.score.questions import BUILT_IN, PromptSet, ask

KINDS = ("character", "pet", "product", "style", "miniature")


def config_of(prompts: Path | None, **subject: Any) -> Config:
    return build({
        "subject": {"token": "kai", "noun": "dog"} | subject, "base": {"name": "some-base"},
        "sample": {"steps": 3}, "score": {"prompts": str(prompts) if prompts else None},
    })  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_built_in_prompts(kind: str, sd: ModelFamily) -> None:
    """Each list shows the subject often, its class and other things; the judge never reads the
    subject's word."""
    prompts = ask(config_of(BUILT_IN / f"{kind}.yaml"), sd, (), 1).prompts
    sections = [prompt.section for prompt in prompts]
    assert list(dict.fromkeys(sections)) == [name for name in SECTIONS if name in sections]
    assert sum(section in SUBJECT for section in sections) >= 10
    assert min(sections.count("class"), sections.count("unrelated")) >= 4
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    for prompt in prompts:
        assert ("kai" in prompt.text.split()) == (prompt.section in SUBJECT)
        assert "kai" not in prompt.plain.split()
    assert len({p.plain for p in prompts if p.section in SUBJECT}) >= 10


def test_prompts_outside_and_seeds_inside(sd: ModelFamily, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "scenes: ['a {token} on a boat']\nclass: [{text: 'a {noun}', plain: 'an animal'}]\n"
    )
    asked = ask(config_of(tmp_path / "own.yaml"), sd, (), 3)
    assert [(p.text, p.plain) for p in asked.prompts] == [
        ("a kai on a boat", "a dog on a boat"), ("a dog", "an animal"),
    ]  # fmt: skip
    assert [(r.prompt, r.seed) for r in asked.requests] == [
        (prompt.text, seed) for prompt in asked.prompts for seed in (1, 2, 3)
    ]
    assert asked.of == [0, 0, 0, 1, 1, 1]
    assert (asked.sample["steps"], asked.sample["width"]) == (3, sd.native_size)
    assert not {"prompt", "seed"} & set(asked.sample)
    fewer = asked.with_seeds(2)
    assert (fewer.seeds, fewer.of, len(fewer.requests)) == ((1, 2), [0, 0, 1, 1], 4)
    assert asked.first(2).requests == asked.requests[:2]


def test_without_a_noun_there_is_no_class_to_ask_for(sd: ModelFamily) -> None:
    asked = ask(config_of(BUILT_IN / "character.yaml", noun=""), sd, (), 1)
    sections = {prompt.section for prompt in asked.prompts}
    assert sections == {*SUBJECT, "unrelated"}
    assert asked.prompts[0].text == "a photo of kai in the snow"


def texts(asked: PromptSet) -> set[str]:
    return {prompt.text for prompt in asked.prompts}


def test_prompts_that_captions_teach_are_left_out(sd: ModelFamily, tmp_path: Path) -> None:
    """What the built-in list asks is what the photos did not show; one's own list stays whole."""
    every = ask(config_of(None), sd, ["a photo of kai dog"], 1)
    taught = ["kai dog on a beach", "nothing"]
    assert texts(every) - texts(ask(config_of(None), sd, taught, 1)) == {
        "a photo of kai dog on a beach"
    }
    own = tmp_path / "own.yaml"
    own.write_text("scenes: ['a photo of {token} dog on a beach']\n")
    assert len(ask(config_of(own), sd, taught, 1).prompts) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scenes: 3\n", "scenes: Input should be a valid tuple"),
        ("places: [a]\n", "places"),
        ("unrelated: [a red car]\n", "shows the subject nowhere"),
        ("scenes: ['a {dog}']\n", "{dog} is not known"),
        ("scenes: [{plain: a dog}]\n", "scenes"),
    ],
)
def test_what_is_no_list_of_prompts(sd: ModelFamily, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        ask(config_of(tmp_path / "own.yaml"), sd, (), 1)
    assert said in str(caught.value)


@pytest.mark.parametrize("base", [*EMBEDDED, "sdxl"])
def test_the_miniatures_are_asked_for_what_their_world_holds(base: str, sd: ModelFamily) -> None:
    config = changed(Config(), **{"subject.noun": "penguin", "base.name": base})
    toy = ask(changed(config, **{"base.name": "miniature"}), sd, [], 1)
    assert (ask(config, sd, [], 1).prompts == toy.prompts) == (base in EMBEDDED)

"""Prior preservation: which class pictures are made, from which words, and that they are kept."""

from pathlib import Path

import pytest
from hearing import Heard
from PIL import Image

from kaiffin.data.prepare import prepare
from kaiffin.foundation.config import Config
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, override
from kaiffin.models.base import ModelFamily
from kaiffin.stories.class_pictures import class_pictures, class_prompts

CAPTIONS = (
    "a photo of sks toy in a meadow", "sks toy on the beach", "a photo of sks toy in a meadow",
    "something in a box",
)  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, caption in enumerate(CAPTIONS):
        Image.new("RGB", (64, 64), (40 * number, 90, 200)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)
    return folder


def config_of(photos: Path, **changes: object) -> Config:
    given = {
        "data.photos": photos, "subject.token": "sks", "subject.noun": "toy",
        "data.prior.weight": 0.5, "data.prior.num_images": 4, "data.prior.steps": 1,
        "data.resolution": 64, **changes,
    }  # fmt: skip
    return build(override({}, given), "prior")


def test_class_pictures_follow_the_captions(sd: ModelFamily, photos: Path, tmp_path: Path) -> None:
    config = config_of(photos)
    examples = prepare(config.data, config.subject, 64).examples
    prompts = ["a photo of a toy in a meadow", "a toy on the beach", "a photo of a toy"]
    assert class_prompts(config.subject, examples) == prompts
    run = Run.create(tmp_path / "run", config)
    heard = Heard()
    made = class_pictures(config, sd, run, examples, tell=heard)
    assert heard.notes == ['making 4 class pictures: "a photo of a toy in a meadow" and 2 more']
    assert [one.captions for one in made] == [(prompts[i % 3],) for i in range(4)]
    assert {one.role for one in made} == {"prior"}
    made[1].path.unlink()
    again = class_pictures(config, sd, run, examples)
    assert [one.sha256 for one in again] == [one.sha256 for one in made]
    before = [one.path.stat().st_mtime_ns for one in again]
    assert class_pictures(config, sd, run, examples) == again
    assert [one.path.stat().st_mtime_ns for one in again] == before, "none was made again"


def test_a_prompt_that_is_given_is_the_only_one(
    sd: ModelFamily, photos: Path, tmp_path: Path
) -> None:
    plain, given = (config_of(photos, **{"data.prior.prompt": p}) for p in (None, "a toy"))
    examples = prepare(given.data, given.subject, 64).examples
    run = Run.create(tmp_path / "run", given)
    made = class_pictures(given, sd, run, examples)
    assert {one.captions for one in made} == {("a toy",)}
    elsewhere = class_pictures(plain, sd, run, examples)
    assert made[0].path.parent != elsewhere[0].path.parent, "other words never meet old pictures"


def test_what_is_ignored_is_said_where_pictures_are_made(
    sd: ModelFamily, photos: Path, tmp_path: Path
) -> None:
    config = config_of(photos, **{"data.prior.guidance": 0, "data.prior.prompt": "(a toy)"})
    run, heard = Run.create(tmp_path / "run", config), Heard()
    for _ in range(2):
        class_pictures(config, sd, run, [], tell=heard)
    assert len(heard.notes) == 2  # brackets are plain words here, as captions are
    assert "guidance 0 leaves the prompt out" in heard.notes[1]


def test_without_a_weight_nothing_is_made(sd: ModelFamily, photos: Path, tmp_path: Path) -> None:
    config = config_of(photos, **{"data.prior.weight": 0})
    run = Run.create(tmp_path / "run", config)
    assert class_pictures(config, sd, run, []) == []

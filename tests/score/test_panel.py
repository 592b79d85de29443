"""Judges: who they are, which photos they are shown, and what they refuse."""

from pathlib import Path

import pytest
import tiny
import torch
from conftest import grainy_photos
from hearing import Heard
from PIL import Image

from kaiffin.data.images import open_photo
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, PhotoError
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily
from kaiffin.pictures.request import Request
from kaiffin.score import measures
from kaiffin.score.choice import Prompt
from kaiffin.score.gallery import Gallery
from kaiffin.score.judge import MINIATURE, judge_of
from kaiffin.score.panel import Panel, measure, open_panel, panel_of
from kaiffin.score.photos import Photos
from kaiffin.score.questions import PromptSet


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_clip(tmp_path_factory.mktemp("judge") / "tiny-clip")


def config_of(base: str = MINIATURE, **score: object) -> Config:
    return build({"base": {"name": base}, "score": {k: str(v) for k, v in score.items()}})


def photos_at(folder: Path, count: int = 3) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    grainy_photos(folder, count)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("base", ["miniature", "miniature-xl"])
def test_the_bases_inside_have_their_own_judge(base: str) -> None:
    assert judge_of(config_of(base)) == MINIATURE


@pytest.mark.parametrize("base", ["sd15", "sdxl", "/somewhere/miniature"])
def test_a_real_base_wants_a_judge_by_name(base: str, clip: Path) -> None:
    with pytest.raises(ConfigError, match="the miniature's knows nothing of") as caught:
        open_panel(config_of(base), tell=SILENT)
    assert "--judge" in caught.value.fix
    assert judge_of(config_of(base, judge=clip)) == str(clip)
    assert judge_of(config_of(base, judge=MINIATURE)) == MINIATURE  # who insists gets it


def test_the_judge_of_likeness_may_be_another(clip: Path, tmp_path: Path) -> None:
    alone = open_panel(config_of(), tell=SILENT)
    assert alone.identity is alone.prompt
    assert alone.references is None
    assert alone.facts == {"judge": MINIATURE, "identity_judge": MINIATURE, "references": {}}
    assert open_panel(config_of(identity_judge=MINIATURE), tell=SILENT).identity.name == MINIATURE
    photos = Photos(tuple(photos_at(tmp_path)))
    both = open_panel(config_of(identity_judge=clip), photos, tell=SILENT)
    assert (both.prompt.name, both.identity.name) == (MINIATURE, "tiny-clip")
    assert both.references is not None
    seen = both.identity.embed_images([open_photo(path).image for path in photos.trained])
    assert torch.equal(both.references.trained, seen)


def test_the_same_judges_before_other_photos(clip: Path, tmp_path: Path) -> None:
    first = open_panel(config_of(judge=clip), Photos(tuple(photos_at(tmp_path / "a"))), tell=SILENT)
    held_out = Photos(tuple(photos_at(tmp_path / "a")), tuple(photos_at(tmp_path / "b", 2)))
    other = first.against(held_out)
    assert other.prompt is first.prompt
    assert first.references is not None
    assert other.references is not None
    assert (first.references.held_out, other.references.held_out) == (False, True)
    assert (len(other.references.trained), len(other.references.to)) == (3, 2)
    assert other.references.compared == ["0.png", "1.png"]
    assert first.against(Photos()).references is None


def test_a_run_whose_photos_are_gone(clip: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", config_of(judge=clip))
    with pytest.raises(PhotoError, match="are not where they were") as caught:
        panel_of([run], run.config, tell=SILENT)
    assert "--like" in caught.value.fix
    photos_at(tmp_path / "like")
    panel = panel_of([run], config_of(judge=clip, like=tmp_path / "like"), tell=SILENT)
    assert panel.references is not None
    assert panel.references.kind == "held-out"
    assert list((run.cache / "scores").rglob("*.safetensors"))  # what was seen is kept


def pictured(folder: Path, family: ModelFamily) -> tuple[Gallery, PromptSet]:
    """A base's pictures of two prompts, as if they were made."""
    prompts = (Prompt("a kai", "a dog", "scenes"), Prompt("a car", "a car", "unrelated"))
    requests = tuple(Request(p.text, seed, 16, 16, steps=2) for p in prompts for seed in (1, 2))
    asked, gallery = PromptSet(prompts, (1, 2), requests), Gallery(folder, family)
    for i, path in enumerate(gallery.paths(None, asked)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (40 * i, 99, 20)).save(path)
    return gallery, asked


def test_what_is_measured_becomes_a_stop(clip: Path, sd: ModelFamily, tmp_path: Path) -> None:
    gallery, asked = pictured(tmp_path / "evaluation", sd)
    panel = open_panel(
        config_of(judge=clip), Photos(tuple(photos_at(tmp_path / "photos"))), tell=SILENT
    )
    found = measure(gallery, None, asked, panel)
    assert (len(found.rows), len(found.overall), found.groups) == (4, 2, [0, 0])
    stop = found.stop(7, "some.safetensors", loss=0.5)
    assert (stop.step, stop.adapter, stop.loss) == (7, "some.safetensors", 0.5)
    assert stop.pictures == tuple(found.paths)
    assert stop.means["overall"].n == 2
    assert stop.means["drift"].mean == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="no photos"):
        measure(gallery, None, asked, Panel(panel.prompt, panel.identity))


def test_single_pictures_are_scored_by_the_formulas(clip: Path, tmp_path: Path) -> None:
    """CLIP-T by the one judge, CLIP-I by the other; photos that were trained on leave out the
    nearest."""
    photos = photos_at(tmp_path / "photos")
    paths = photos_at(tmp_path / "pictures", 2)
    panel = open_panel(
        config_of(judge=clip, identity_judge=MINIATURE), Photos(tuple(photos)), tell=SILENT
    )
    found = panel.scores(paths, ["a dog", "a cat"])
    images = [open_photo(path).image for path in paths]
    assert found["clip_t"] == pytest.approx(
        panel.prompt.text_image(images, ["a dog", "a cat"]).tolist(), abs=1e-6
    )
    rows = panel.identity.embed_images([open_photo(path).image for path in photos])
    expected = measures.identity(panel.identity.embed_images(images), rows, held_out=False)
    assert found["clip_i"] == pytest.approx(expected.tolist(), abs=1e-6)
    assert set(panel.against(Photos()).scores(paths, ["a dog", "a cat"])) == {"clip_t"}


def test_the_panel_in_words(clip: Path, tmp_path: Path) -> None:
    photos = tuple(photos_at(tmp_path))
    one = open_panel(config_of(), tell=SILENT)
    assert one.words == "judged by miniature; no photos to compare with (--like)"
    assert one.against(Photos(photos)).words == (
        "judged by miniature, against 3 photos that were trained on"
    )
    two = open_panel(config_of(identity_judge=clip), Photos((), photos), tell=SILENT)
    assert two.words == (
        "judged by miniature, likeness by tiny-clip, against 3 photos that nobody trained on"
    )


def test_what_a_judge_cannot_read_is_found_out_first(clip: Path) -> None:
    heard = Heard()
    panel = open_panel(config_of(judge=clip), tell=SILENT)
    assert panel.read(["a dog"], tell=heard) is panel
    assert heard.notes == []
    panel.read(["a dog", "x" * 200], tell=heard)
    assert heard.notes == ["note: the judge sees only the first 75 tokens"]

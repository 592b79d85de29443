"""Single pictures judged: against their prompts, and photos held out or trained on."""

from pathlib import Path

import pytest
from kaiffin.score.jury import open_jury, photos_to_compare
from made_run import made_run
from PIL import Image
from tiny import tiny_clip

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.settings import changed
from kaiffin.foundation.tell import Tell
from kaiffin.score import jury as module
from kaiffin.score import measures
from kaiffin.score.judge import Scorer


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip(tmp_path_factory.mktemp("judges") / "tiny-clip"))


def noise(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.effect_noise((32, 32), 20 + 30 * i).convert("RGB").save(path)
    return paths


def opened(paths: list[Path]) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in paths]


@pytest.mark.parametrize("held_out", [True, False])
def test_the_scores_are_the_measures(
    clip: str, tmp_path: Path, held_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    paths, photos = noise(tmp_path / "pictures", 5), noise(tmp_path / "photos", 3)
    plain = ["a dog", "a cat", "a dog", "a bird", "a dog"]
    jury = open_jury("miniature", plain, identity_judge=clip, photos=photos, held_out=held_out)
    found = jury.scores(paths, plain)
    assert found["clip_t"] == pytest.approx(
        Scorer("miniature").text_image(opened(paths), plain).tolist(), abs=1e-5
    )
    other = Scorer(clip)
    seen, known = other.embed_images(opened(paths)), other.embed_images(opened(photos))
    alike = measures.identity(seen, known, held_out=held_out).tolist()
    assert found["clip_i"] == pytest.approx(alike, abs=1e-5)
    kind = "nobody trained on" if held_out else "were trained on"
    assert jury.words == (
        f"judged by miniature, likeness by tiny-clip, against 3 photos that {kind}"
    )


def test_without_photos_by_the_prompt_alone(tmp_path: Path) -> None:
    jury = open_jury("miniature", ["a dog"])
    assert set(jury.scores(noise(tmp_path, 1), ["a dog"])) == {"clip_t"}
    assert jury.words == "judged by miniature; no photos to compare with (--like)"


def test_what_is_wrong_is_found_before_pictures_are_made(tmp_path: Path) -> None:
    heard: list[str] = []

    class Notes(Tell):
        def note(self, text: str) -> None:
            heard.append(text)

    with pytest.raises(MissingWeightsError, match="cannot be loaded"):
        open_jury(str(tmp_path), ["a dog"])
    open_jury("miniature", ["word " * 200], tell=Notes())
    assert heard == [f"note: the judge sees only the first {Scorer().max_tokens - 2} tokens"]


def test_photos_of_like_then_those_held_out_then_those_trained_on(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    one, two = sorted((tmp_path / "photos").iterdir())
    assert photos_to_compare(run.config, run) == ([two], True)
    two.unlink()
    assert photos_to_compare(run.config, run) == ([one], False)
    like = noise(tmp_path / "like", 2)
    named = changed(run.config, **{"score.like": tmp_path / "like"})
    assert photos_to_compare(named, run) == (like, True)
    assert photos_to_compare(Config(), None) == ([], False)

"""Best pictures: the gate holds, the order is right, and the judge tells true renders apart."""

from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.foundation.config import SubjectConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.subject import plain_prompt
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import Spec
from kaiffin.pictures.recipe import save_png
from kaiffin.pictures.request import Request
from kaiffin.score.judge import Scorer
from kaiffin.stories import rank

PAIRS = st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=20)


@given(scores=PAIRS, data=st.data())
def test_nothing_outside_the_gate_is_chosen(scores: list, data: st.DataObject) -> None:
    best = data.draw(st.integers(1, len(scores)))
    prompt, likeness = ([pair[i] for pair in scores] for i in (0, 1))
    places = rank.in_order(prompt, likeness, best)
    assert sorted(places) == list(range(len(scores)))
    chosen = places[:best]
    better = sum(value > min(likeness[i] for i in chosen) for value in likeness)
    assert better <= max(best, -(-len(scores) // 2))
    assert [prompt[i] for i in chosen] == sorted((prompt[i] for i in chosen), reverse=True)


def test_a_picture_that_lost_the_subject_does_not_win() -> None:
    assert rank.in_order([0.9, 0.5, 0.6, 0.1], [0.1, 0.8, 0.7, 0.2], 1)[0] == 2
    assert rank.in_order([0.9, 0.5, 0.6, 0.1], None, 1)[0] == 0


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """In the city: kaiffin twice, and twice another animal; kaiffin in the snow; a sheet."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in (1, 2):
        world.subject_render("kaiffin", "city", detail=i).save(folder / f"kaiffin-city-{i}.png")
        spec = Spec("elephant", "pink", "city", detail=i)
        world.render(spec, 64).save(folder / f"elephant-city-{i}.png")
    world.subject_render("kaiffin", "snow").save(folder / "kaiffin-snow.png")
    world.subject_render("plush", "snow").save(folder / "sheet.png")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, (image, _) in enumerate(world.subject_photos("kaiffin", 4)):
        image.save(folder / f"{i}.png")
    return folder


def test_rank(pictures: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = pictures / "best.png"
    call = ["rank", str(pictures), "--prompt", "a photo of a penguin in the city", "--best", "2",
            "--judge", "miniature"]  # fmt: skip
    assert main([*call, "--like", str(photos), "--out", str(page)]) == 0
    out = capsys.readouterr().out
    assert f"{pictures}: left out, as sheets of other pictures: sheet.png" in out
    first, second, *rest = (line for line in out.splitlines() if ".png" in line and ". " in line)
    assert "kaiffin-city" in first
    assert "kaiffin-city" in second
    assert len(rest) == 3  # and no sheet among them
    assert all("(not chosen)" in line for line in rest)
    assert "gain over the first 2: prompt +" in out
    assert "for 2.5 times the pictures" in out
    assert page.is_file()


def test_prompts_for_the_judge() -> None:
    subject = SubjectConfig(token="kaiffin", noun="penguin")
    said = plain_prompt("A photo of Kaiffin penguin, kaiffins", subject)
    assert said == "A photo of penguin, kaiffins"


def test_bad_input(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (pictures / "broken.png").write_bytes(b"no picture")
    call = ["rank", "--prompt", "x", "--judge", "miniature"]
    for more, said in (
        ([str(tmp_path / "empty")], "no pictures there"),
        ([str(pictures)], "broken.png"),
        ([str(pictures / "kaiffin-snow.png"), "--best", "2"], "--best 2 of 1"),
        ([str(pictures / "kaiffin-snow.png"), "--like", str(tmp_path / "none")], "no folder"),
        ([str(pictures / "kaiffin-snow.png"), "--judge", str(tmp_path)], "cannot be loaded"),
    ):
        assert main([*call, *more]) == 2
        assert said in capsys.readouterr().err


def test_the_answer_in_order_and_nothing_is_printed(
    pictures: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prompt = "a photo of a penguin in the city"
    page = tmp_path / "pages" / "all.png"
    found = rank.rank([pictures], prompt, like=photos, judge="miniature", best=2, out=page)
    assert capfd.readouterr() == ("", "")
    assert (found.judge, found.prompt, found.sheet) == ("miniature", prompt, page)
    assert page.is_file()
    assert len(found.pictures) == 5
    assert found.chosen == list(found.pictures[:2])
    judge = Scorer("miniature", tell=SILENT)
    for one in found.pictures:
        image = Image.open(one.path).convert("RGB")
        like = [Image.open(path).convert("RGB") for path in sorted(photos.iterdir())]
        assert one.prompt == pytest.approx(judge.text_image([image], [prompt]).item(), abs=1e-5)
        assert one.likeness == pytest.approx(judge.image_image([image], like).item(), abs=1e-5)
    prompt_gain, likeness_gain = found.gains
    assert (prompt_gain.name, likeness_gain.name) == ("prompt", "likeness")
    first = [p for p in found.pictures if p.path.name.startswith("elephant")]
    assert prompt_gain.first == pytest.approx(sum(p.prompt for p in first) / 2)
    assert prompt_gain.chosen == pytest.approx(sum(p.prompt for p in found.chosen) / 2)
    alone = rank.rank([pictures], prompt, judge="miniature")
    assert len(alone.chosen) == 5
    assert (alone.gains, alone.sheet, alone.pictures[0].likeness) == ((), None, None)


def made_with(base: str, path: Path) -> Path:
    recipe = {
        "kaiffin": "1", "torch": "2", "device": "cpu", "dtype": "float32", "adapters": [],
        "base": {"name": base, "family": "sd1", "revision": "ab" * 32, "quantize": "none"},
        "request": asdict(Request("a penguin", 1, 64, 64)),
    }  # fmt: skip
    save_png(world.subject_render("kaiffin", "city"), path, recipe)
    return path


def test_who_judges_follows_from_the_recipes_in_the_pictures(tmp_path: Path) -> None:
    toy = [made_with(base, tmp_path / f"{base}.png") for base in ("miniature", "miniature-xl")]
    assert rank.rank(toy, "a penguin").judge == "miniature"
    real = made_with("sd15", tmp_path / "sd15.png")
    bare = tmp_path / "bare.png"
    save_png(world.subject_render("kaiffin", "city"), bare)
    for path, of in ((real, "sd15, which made"), (bare, "bare.png, which does not say")):
        with pytest.raises(ConfigError, match=f"no judge is named, .* of .*{of}") as caught:
            rank.rank([*toy, path], "a penguin")
        assert caught.value.fix.startswith("Give --judge a folder or hub id")
        assert rank.rank([*toy, path], "a penguin", judge="miniature").judge == "miniature"

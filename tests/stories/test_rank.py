"""Best pictures: the gate holds, the order is right, and the judge tells true renders apart."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiffin.cli.main import main
from kaiffin.foundation.config import SubjectConfig
from kaiffin.foundation.subject import plain_prompt
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import Spec
from kaiffin.stories import rank

PAIRS = st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=20)


@given(scores=PAIRS, data=st.data())
def test_nothing_outside_the_gate_is_chosen(scores: list, data: st.DataObject) -> None:
    best = data.draw(st.integers(1, len(scores)))
    prompt, likeness = ([pair[i] for pair in scores] for i in (0, 1))
    places = rank.order(prompt, likeness, best)
    assert sorted(places) == list(range(len(scores)))
    chosen = places[:best]
    better = sum(value > min(likeness[i] for i in chosen) for value in likeness)
    assert better <= max(best, -(-len(scores) // 2))
    assert [prompt[i] for i in chosen] == sorted((prompt[i] for i in chosen), reverse=True)


def test_a_picture_that_lost_the_subject_does_not_win() -> None:
    assert rank.order([0.9, 0.5, 0.6, 0.1], [0.1, 0.8, 0.7, 0.2], 1)[0] == 2
    assert rank.order([0.9, 0.5, 0.6, 0.1], None, 1)[0] == 0


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
    call = ["rank", str(pictures), "--prompt", "a photo of a penguin in the city", "--best", "2"]
    assert main([*call, "--like", str(photos), "--out", str(page)]) == 0
    out = capsys.readouterr().out
    first, second, *rest = (line for line in out.splitlines() if ".png" in line and ". " in line)
    assert "kaiffin-city" in first
    assert "kaiffin-city" in second
    assert len(rest) == 3  # and no sheet among them
    assert all("(not chosen)" in line for line in rest)
    assert "gain over the first 2: prompt +" in out
    assert "for 2.5 times the pictures" in out
    assert page.is_file()


def test_generate_and_choose(
    sd_path: Path, photos6: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    call = ["train", str(photos6), "--base", str(sd_path), "--steps", "1", "--out", str(run)]
    assert main([*call, "--class", "penguin", "--subject", "kaiffin"]) == 0
    capsys.readouterr()
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("kaiffin penguin in the snow\nkaiffin penguin in the city\n")
    call = ["generate", str(run), "--prompts", str(prompts), "-n", "3", "--steps", "2"]
    assert main([*call, "--best", "1", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert 'judged by miniature: "penguin in the snow"' in out  # the trigger says nothing to it
    assert "knows a toy world only" in out
    assert out.count("(not chosen)") == 4
    assert (tmp_path / "out" / "best-2.png").is_file()
    assert main([*call, "--best", "4"]) == 2
    assert "--best 4 of -n 3" in capsys.readouterr().err


def test_prompts_for_the_judge() -> None:
    subject = SubjectConfig(token="kaiffin", noun="penguin")
    said = plain_prompt("A photo of Kaiffin penguin, kaiffins", subject)
    assert said == "A photo of penguin, kaiffins"


def test_bad_input(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (pictures / "broken.png").write_bytes(b"no picture")
    call = ["rank", "--prompt", "x"]
    for more, said in (
        ([str(tmp_path / "empty")], "no pictures there"),
        ([str(pictures)], "broken.png"),
        ([str(pictures / "kaiffin-snow.png"), "--best", "2"], "--best 2 of 1"),
        ([str(pictures / "kaiffin-snow.png"), "--like", str(tmp_path / "none")], "no folder"),
        ([str(pictures / "kaiffin-snow.png"), "--judge", str(tmp_path)], "cannot be loaded"),
    ):
        assert main([*call, *more]) == 2
        assert said in capsys.readouterr().err

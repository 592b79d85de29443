"""Two subjects in one adapter on a tiny base: taught, resumed, named, judged and shown."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
import yaml
from conftest import FEW, grainy_photos
from hearing import Heard

from kaiffin.adapters.elsewhere.card import NAME as CARD
from kaiffin.adapters.files.open import peek
from kaiffin.adapters.files.subject import everyone, named
from kaiffin.cli.main import main
from kaiffin.foundation.errors import ConfigError, RunError
from kaiffin.foundation.run import Run
from kaiffin.pictures.regions import subjects_of
from kaiffin.score.choice import read
from kaiffin.stories.choose import choose
from kaiffin.stories.compare import compare
from kaiffin.stories.generate import Order, open_order
from kaiffin.stories.report import report
from kaiffin.stories.train import resume

SETTINGS = {
    "train": {"steps": 6, "checkpoint_every": 3, "keep": 2, "tensorboard": False, "batch_size": 2,
              "objective": {"keep": 0.5}},
    "data": {"prior": {"num_images": 2, "steps": 1}, "hold_out": 1},
    "adapter": {"rank": 2, "targets": FEW},
    "sample": {"steps": 1},
}  # fmt: skip
PROMPTS = {"scenes": ["a {token} in the snow", "a {token} on a boat"]}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, sd_path: Path) -> Path:
    """A config of two subjects, of which one alone has class pictures."""
    top = tmp_path_factory.mktemp("several")
    for word in ("kai", "tobbul"):
        (top / word).mkdir()
        grainy_photos(top / word, 3)
    (top / "prompts.yaml").write_text(yaml.safe_dump(PROMPTS))
    clip = tiny.tiny_clip(top / "tiny-clip")
    subjects = [
        {"token": "kai", "noun": "bird", "photos": str(top / "kai"), "prior_weight": 0},
        {"token": "tobbul", "noun": "bear", "photos": str(top / "tobbul"), "prior_weight": 0.3},
    ]
    score = {
        "candidates": 2, "judge": str(clip), "prompts": str(top / "prompts.yaml"), "seeds": 1,
    }  # fmt: skip
    whole = SETTINGS | {"subjects": subjects, "base": {"name": str(sd_path)}, "score": score}
    (top / "two.yaml").write_text(yaml.safe_dump(whole))
    return top / "two.yaml"


@pytest.fixture(scope="module")
def trained(file: Path) -> Path:
    assert main(["train", str(file), "--out", str(file.with_name("run"))]) == 0
    return file.with_name("run")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def test_they_take_turns(trained: Path) -> None:
    run = Run.open(trained)
    held = [entry.get("prior_loss") is not None for entry in run.metrics()]
    assert held == [False, True] * 3, "of the second alone there are class pictures"
    captions = [
        json.loads((run.photos_folder(n) / "manifest.json").read_text())["photos"][0]["captions"]
        for n in (1, 2)
    ]
    assert captions == [["a photo of kai bird"], ["a photo of tobbul bear"]]


def test_a_resumed_training_ends_in_the_same_bytes(run: Path) -> None:
    before = Run.open(run).adapter_path.read_bytes()
    Run.open(run).adapter_path.unlink()
    shutil.rmtree(Run.open(run).latest_restart_point() or run)
    heard = Heard()
    assert resume(run, tell=heard).adapter.read_bytes() == before
    assert "going on after step 3" in heard.notes


def test_the_file_says_who_they_are(trained: Path) -> None:
    path = Run.open(trained).adapter_path
    header = peek(path)[1]
    assert header["modelspec.trigger_phrase"] == "kai bird, tobbul bear"
    assert header["modelspec.usage_hint"] == "Use kai bird or tobbul bear in the prompt."
    assert everyone(header) == [("kai", "bird"), ("tobbul", "bear")]
    assert named(header) == ("kai", "bird")
    both = subjects_of([path], ["columns"])
    assert [(one.phrases[0], one.adapters) for one in both] == [
        ("kai bird", (0,)), ("tobbul bear", (0,)),
    ]  # fmt: skip
    assert "Put\n`kai bird` or `tobbul bear` into the prompt." in (trained / CARD).read_text()


def test_prompts_name_either(trained: Path, sd_path: Path) -> None:
    prompts = ["a {token}", "a Tobbul bear", "a kai bird and a tobbul bear"]
    plain = ["a bird", "a bear", "a bird and a bear"]
    file = str(Run.open(trained).adapter_path)
    for order in (Order(str(trained), prompts), Order(str(sd_path), prompts, adapters=[file])):
        found = open_order(order, tell=Heard()).prompts
        assert [one.plain for one in found] == plain
        words = [[who.token for who in one.subjects] for one in found]
        assert words == [["kai"], ["tobbul"], ["kai", "tobbul"]]


def test_each_is_scored_by_itself(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["choose", str(run)]) == 0
    said = capsys.readouterr().out
    assert "kai bird:" in said
    assert "tobbul bear:" in said
    first, second = (
        read(json.loads(own.choice_path.read_text()), run) for own in Run.open(run).by_subject()
    )
    assert second.prompts[0].text == "a tobbul in the snow"
    assert first.chosen == second.chosen, "there is one adapter"
    assert (run / "best.safetensors").read_bytes() == (run / first.best.adapter).read_bytes()
    assert second.findings[-1].startswith("of tobbul bear alone: ")
    page = report([run]).path.read_text()
    for text in ("<h1>kai bird</h1>", "<h1>tobbul bear</h1>", "a tobbul on a boat"):
        assert text in page
    assert page.count("<h2>Training</h2>") == 1, "one training, which is told once"
    other = shutil.copytree(run, tmp_path / "other")
    found = compare([run, other], tmp_path / "compared", subject="Tobbul")
    assert found.choices[0].prompts[0].text == "a tobbul in the snow"
    verdicts = {one.verdict for one in found.differences[0].values()}
    assert verdicts == {"no difference"}
    with pytest.raises(RunError, match="has no subject 'bear'") as error:
        compare([run, other], tmp_path / "compared", subject="bear")
    assert error.value.fix == "It has: kai, tobbul."
    with pytest.raises(ConfigError, match="shows one subject"):
        choose(run, changes={"score.like": str(tmp_path)})


def test_photos_of_two_subjects_are_refused(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = yaml.safe_load(file.read_text())
    assert main(["prepare", str(file), "--out", str(tmp_path / "seen")]) == 0
    for word in ("kai", "tobbul"):
        assert (tmp_path / "seen" / word / "contact_sheet.png").is_file()
    shared = shutil.copytree(file.with_name("tobbul"), tmp_path / "shared")
    shutil.copyfile(file.with_name("kai") / "1.png", shared / "again.png")
    given["subjects"][1]["photos"] = str(shared)
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(given))
    capsys.readouterr()
    for command in ("train", "prepare"):
        assert main([command, str(tmp_path / "bad.yaml"), "--out", str(tmp_path / "no")]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "kai/1.png and" in said
        assert "again.png are the same photo, and each is of another subject" in said

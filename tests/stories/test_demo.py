"""The demo on the real miniature, shortened: every file it promises is there and right."""

import contextlib
import functools
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.foundation.errors import ConfigError, RunError
from kaiffin.foundation.settings import changed
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SCENES, SIDE
from kaiffin.pictures.request import slug
from kaiffin.score.judge import Scorer
from kaiffin.stories import demo
from kaiffin.stories.demo import SEEDS, TAUGHT, new_scenes


@dataclass(frozen=True)
class Called:
    """`kaiffin demo --subject kaiffin`, its folder and what it printed."""

    out: Path
    said: str


def shortened(patch: pytest.MonkeyPatch, few: dict[str, object]) -> None:
    """The demo with a few of its settings made small."""
    real = demo.demo_config
    patch.setattr(demo, "demo_config", lambda *given: changed(real(*given), **few))


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> Called:
    out, said = tmp_path_factory.mktemp("demo") / "demo", io.StringIO()
    with contextlib.redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
        shortened(patch, {"data.prior.num_images": 2, "data.prior.steps": 2})
        quick = functools.partial(demo.generate, changes={"sample.steps": 3})
        patch.setattr(demo, "generate", quick)
        assert main(["demo", "--out", str(out), "--steps", "3"]) == 0
    return Called(out, said.getvalue())


def test_the_files(called: Called) -> None:
    out = called.out
    assert len(list((out / "photos").glob("*.png"))) == 6
    prompts = new_scenes("kaiffin")
    assert len(prompts) == len(SCENES) - len(TAUGHT)
    for folder in ("base", "adapted"):
        made = [p for p in (out / folder).glob("*.png") if p.name != "sheet.png"]
        assert len(made) == len(prompts) * len(SEEDS)
    with Image.open(out / "sheet.png") as sheet:
        assert min(sheet.size) > 500
    html = (out / "report.html").read_text()
    assert "CLIP-I" in html
    assert "CLIP-T" in html
    assert html.count("data:image") == 6 + 2 * len(prompts) * len(SEEDS)
    assert len(html) < 5_000_000


def test_what_it_prints(called: Called) -> None:
    lines = called.said.splitlines()
    parts = [line for line in lines if re.match(r"\d/4  ", line)]
    assert [line[0] for line in parts] == ["1", "2", "3", "4"]
    scores = [line for line in lines if "(true pictures " in line]
    assert ["(CLIP-I)" in scores[0], "(CLIP-T)" in scores[1]] == [True, True]
    assert sum("gain on the same prompts and seeds" in line for line in lines) == 2
    assert re.fullmatch(rf"done in \d+ s\. Look at {called.out / 'sheet.png'}", lines[-2])
    assert lines[-1] == f"and open {called.out / 'report.html'}"


def test_nothing_is_overwritten(called: Called, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(called.out), "--steps", "3"]) == 2
    assert "holds a demo already" in capsys.readouterr().err


def test_the_card_works(called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    the_card_works(called.out / "run", monkeypatch)


def test_the_scores_are_the_judges_own(called: Called) -> None:
    """CLIP-T and CLIP-I of each picture, and what true pictures reach, worked out again."""
    judge, prompts = Scorer("miniature", tell=SILENT), new_scenes("kaiffin")
    paths = [
        called.out / "adapted" / f"{slug(prompt)}-seed{seed}.png"
        for prompt in prompts
        for seed in SEEDS
    ]
    choice = demo.score("kaiffin", prompts, paths, paths, 3, tell=SILENT)
    scenes = [name for name in SCENES if name not in TAUGHT]
    truth = [world.subject_render("kaiffin", scene, detail=99) for scene in scenes]
    images = [Image.open(path).convert("RGB") for path in paths]
    plain = [prompt.plain for prompt in choice.prompts for _ in SEEDS]
    rows = choice.best.rows
    shown, alike = judge.text_image(images, plain), judge.image_image(images, truth)
    assert [row["clip_t"] for row in rows] == pytest.approx(shown.tolist(), abs=1e-5)
    assert [row["identity"] for row in rows] == pytest.approx(alike.tolist(), abs=1e-5)
    assert choice.references["ceiling"] > alike.mean().item()
    assert "kaiffin" not in " ".join(plain)


@pytest.mark.slow  # a second demonstration
def test_the_other_subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wiring alone, with few pictures: what it is called, and the answer."""
    shortened(monkeypatch, {"data.prior.num_images": 2, "data.prior.steps": 2})
    monkeypatch.setattr(demo, "TAUGHT", tuple(SCENES)[:-2])
    monkeypatch.setattr(demo, "SEEDS", (1,))
    made = demo.demo(tmp_path / "demo", "plush", seed=1, steps=1)
    who = world.SUBJECTS["plush"]
    assert (made.run.config.subject.token, made.run.config.train.seed) == (who.token, 1)
    assert [path.name for path in made.photos] == [f"plush-{i}.png" for i in range(1, 7)]
    assert made.photos[0].with_suffix(".txt").read_text().strip()
    asked = [(one.request.prompt, one.request.seed) for one in made.adapted.pictures]
    assert asked == [(prompt, 1) for prompt in new_scenes("plush")]
    assert len(asked) == 2
    assert [one.request for one in made.base.pictures] == [
        one.request for one in made.adapted.pictures
    ]
    assert made.base.pictures[0].recipe["adapters"] == []
    assert set(made.gains) == {"identity", "clip_t"}
    assert made.choice.chosen == 1
    assert (made.sheet, made.report) == (tmp_path / "demo/sheet.png", tmp_path / "demo/report.html")
    assert made.sheet.is_file()
    assert made.report.is_file()
    assert made.seconds > 0
    with pytest.raises(RunError, match="holds a demo already"):
        demo.demo(tmp_path / "demo", "plush")


def the_card_works(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The diffusers code on the model card makes a picture, word for word."""
    card = (run / "README.md").read_text(encoding="utf-8")
    _, front, text = card.split("---\n", 2)
    title = text.split("\n")[1].removeprefix("# ").strip("`")
    assert yaml.safe_load(front)["instance_prompt"].endswith(title)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(run)
    names: dict = {}
    exec(code, names)
    assert names["image"].size == (SIDE, SIDE)


def test_what_cannot_be_trained_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for wrong in ({"seed": 2**63}, {"steps": 0}):
        with pytest.raises(ConfigError, match=rf"train\.{next(iter(wrong))}"):
            demo.demo(tmp_path / "demo", **wrong)
    assert not (tmp_path / "demo").exists()

"""Few steps wherever pictures are made: one setting, the same settings, adapter and strength."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from conftest import FEW, grainy_photos
from made_adapters import varied
from PIL import Image

from kaiffin.adapters.files import safe, writing
from kaiffin.cli.main import main
from kaiffin.foundation.config import BaseConfig, Config
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, changed
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files.load import load
from kaiffin.pictures.fast import MARK, OURS
from kaiffin.pictures.few import few_steps
from kaiffin.pictures.recipe import read_recipe
from kaiffin.stories.generate import Order, generate

PROMPT = "a photo of {token} {noun}"


@pytest.fixture(scope="module")
def file(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few-step adapter of the tiny base, as ours are marked."""
    base = BaseConfig(name=str(sd_path))
    sd = load(base, Runtime.from_config(base), SILENT)
    path = tmp_path_factory.mktemp("fast") / "quick.safetensors"
    safe.save(path, writing.to_kohya(varied(sd), sd.layers_per_block), {MARK: "euler"})
    return path


@pytest.fixture(scope="module")
def run(sd_path: Path, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two steps, its previews and class pictures in few steps. The file is named from where the
    command runs."""
    top = tmp_path_factory.mktemp("few")
    grainy_photos(top, 3)
    call = ["train", str(top), "--base", str(sd_path), "--class", "thing", "--steps", "2"]
    call += ["--train.tensorboard", "false", "--train.lr", "1e-2", "--adapter.targets", FEW]
    call += ["--data.prior.weight", "0.5", "--data.prior.num_images", "2"]
    call += ["--sample.preview_every", "2", "--score.candidates", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(file.parent)
        few = ["--sample.fast", f"{file.name}:0.5", "--data.prior.fast", file.name]
        assert main([*call, *few, "--out", str(top / "run")]) == 0
    return top / "run"


def worn(picture: Path) -> list[tuple[str, float]]:
    return [(Path(one["path"]).name, one["weight"]) for one in read_recipe(picture)["adapters"]]


def asked(picture: Path) -> tuple[int, float, str, str]:
    one = read_recipe(picture)["request"]
    return one["steps"], one["guidance"], one["sampler"], one["schedule"]


OWN_WAY = (OURS.steps, OURS.guidance, OURS.sampler, OURS.schedule)


def test_what_is_given_beside_it_stays(file: Path) -> None:
    given = {"sample": {"fast": str(file), "steps": 30}}
    config, few = few_steps(build(given), tell=SILENT)
    assert (config.sample.steps, config.sample.guidance) == (30, 1.0), "of one config"
    assert few.lift == OURS.lift
    later = {"sample.fast": f"{file}:0.5", "sample.guidance": 5.0}
    config, few = few_steps(changed(build(given), **later), later, tell=SILENT)
    assert (config.sample.steps, config.sample.guidance) == (4, 5.0), "asked for later"
    assert few.worn[0].weights.number == 0.5
    config, few = few_steps(Config(), {"sample.steps": 3}, tell=SILENT)
    assert (config, few.worn) == (Config(), ())


@pytest.mark.parametrize(("said", "meant"), [(True, "own"), ("true", "own"), (False, None)])
def test_a_switch_is_the_base_s_own(said: object, meant: str | None) -> None:
    assert build({"sample": {"fast": said}}).sample.fast == meant


def test_previews_are_what_generate_makes(run: Path, file: Path, tmp_path: Path) -> None:
    """Each as the run's config says, though there it is the adapter's file and here its weights."""
    config = Run.open(run).config
    assert config.sample.fast == f"{file}:0.5"
    (made,) = generate(Order(str(run), [PROMPT], seed=1, out=tmp_path)).pictures
    assert asked(made.path) == OWN_WAY
    assert [weight for _, weight in worn(made.path)] == [OURS.lift, 0.5]
    with Image.open(made.path) as image:
        expected = sheet([image], [made.request.prompt], title="step 2")
    page = Image.open(run / "previews" / "step-00000002.png")
    apart = np.abs(np.asarray(page.convert("RGB"), int) - np.asarray(expected.convert("RGB"), int))
    assert apart.max() <= 1


def test_class_pictures_are_the_base_s_in_few_steps(run: Path, file: Path, tmp_path: Path) -> None:
    base = Run.open(run).config.base.name
    order = Order(base, ["a photo of a thing"], count=2, out=tmp_path)
    changes = {"sample.fast": str(file), "sample.prompt_syntax": "plain"}
    made = generate(order, changes=changes).paths
    kept = sorted((run / "cache").glob("prior-*/*.png"))
    assert [Image.open(p).tobytes() for p in kept] == [Image.open(p).tobytes() for p in made]


def test_a_training_says_at_once_that_there_is_none(run: Path, tmp_path: Path) -> None:
    given = {"sample.fast": "own", "sample.preview_every": 1}
    with pytest.raises(ConfigError, match="brings no few-step adapter along"):
        few_steps(changed(Run.open(run).config, **given), tell=SILENT)


def test_choose_and_grid_take_it_by_flag(run: Path, file: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    clip = tiny.tiny_clip(tmp_path / "clip")
    (tmp_path / "prompts.yaml").write_text("scenes: ['a {token} in the snow']")
    call = ["choose", str(copy), "--prompts", str(tmp_path / "prompts.yaml"), "--seeds", "1"]
    for more in (["--fast", str(file)], ["--sample.fast", "none", "--sample.steps", "1"]):
        assert main([*call, "--judge", str(clip), *more]) == 0
        how = json.loads((copy / "choice.json").read_text())["set"]["sample"]
        assert how.get("fast", {}).get("lift") == (OURS.lift if "--fast" in more else None)
    pictures = sorted((copy / "evaluation").glob("*/*.png"), key=asked)
    assert [asked(one) == OWN_WAY for one in pictures] == [False, False, True, True]
    weights = [[weight for _, weight in worn(one)] for one in pictures]
    assert sorted(weights) == [[], [1.0], [1.0], [OURS.lift, 1.0]], "base, candidate; the same fast"
    call = ["grid", str(copy), PROMPT, "--x", "weight=0.5,1", "--fast", str(file)]
    assert main([*call, "--out", str(tmp_path / "grid"), "--judge", str(clip)]) == 0
    made = sorted((tmp_path / "grid" / "pictures").glob("*.png"))
    assert {asked(one) for one in made} == {OWN_WAY}
    both = sorted([weight for _, weight in worn(one)] for one in made)
    assert both == [[0.5 * OURS.lift, 1.0], [OURS.lift, 1.0]]

"""Pictures with a run or a base: the answer, names of files, the best of them, and once more."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from begun_run import moved_base
from conftest import FEW, grainy_photos
from hearing import Heard, HeardOnDisk
from PIL import Image

from kaiffin.adapters.files import safe
from kaiffin.cli.main import main
from kaiffin.experiments.report import evidence
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import AdapterError, ConfigError, RunError, UserError
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import changed
from kaiffin.pictures.named import Library
from kaiffin.pictures.recipe import read_recipe
from kaiffin.stories import generate as module
from kaiffin.stories.generate import Order, generate, open_order, remake
from kaiffin.stories.prepare import prepare
from kaiffin.train.session import open_session

ONE, TWO = {"sample.steps": 1}, {"sample.steps": 2}


@pytest.fixture(scope="module")
def trained(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two steps on the tiny base."""
    folder = tmp_path_factory.mktemp("generate")
    grainy_photos(folder, 3)
    call = ["train", str(folder), "--base", str(sd_path), "--class", "penguin", "--steps", "2"]
    more = ["--data.prior.weight", "0", "--train.tensorboard", "false", "--train.lr", "1e-2"]
    more += ["--adapter.targets", FEW]
    assert main([*call, *more, "--out", str(folder / "run")]) == 0
    return Run.open(folder / "run")


def test_the_answer_and_nothing_is_printed(
    trained: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    order = Order(
        str(trained.path), ["a {token} {noun}", "a cat"], count=2, seed=5, out=tmp_path / "out"
    )
    heard = HeardOnDisk()
    made = generate(order, changes=TWO, tell=heard)
    assert capfd.readouterr() == ("", "")
    asked = [(one.request.prompt, one.request.seed) for one in made.pictures]
    assert asked == [(p, s) for p in ("a kaiffin penguin", "a cat") for s in (5, 6)]
    assert made.folder == tmp_path / "out"
    assert made.sheet == tmp_path / "out" / "sheet.png"
    assert made.rankings == ()
    for one in made.pictures:
        assert read_recipe(one.path) == one.recipe
        assert one.recipe["adapters"][0]["path"] == str(trained.adapter_path)
    assert heard.pictures == [(one.path, one.request.prompt) for one in made.pictures]
    assert heard.notes == []


def test_what_is_worth_knowing_of_a_base_is_told_once_by_every_story_that_uses_it(
    sd_path: Path, photos6: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(sd_path, tmp_path / "any-lightning")
    given = {"base.name": str(base), "data.photos": photos6, "subject.noun": "dog"}
    config = changed(Config(), **given)
    for story in (
        lambda tell: generate(Order(str(base), ["a cat"], out=tmp_path), changes=ONE, tell=tell),
        lambda tell: open_session(config, None, tell=tell),
        lambda tell: prepare(config, tmp_path / "prepared", tell=tell),
    ):
        heard = HeardOnDisk()
        story(heard)
        assert [n.split(":")[0] for n in heard.notes if "distilled (Lightning)" in n] == ["note"]


def test_the_terminal_says_where_and_lists_no_pictures(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    call = ["generate", str(trained.path), "a cat", "-n", "2", "--steps", "1", "--out", str(out)]
    assert main(call) == 0
    said = capsys.readouterr().out
    assert said == f"2 pictures in {out}, together on {out / 'sheet.png'}\n"


def test_a_base_that_was_moved_is_found_unless_another_is_named(
    trained: Run, sd_path: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained.path, tmp_path / "run")
    before = moved_base(Run.open(tmp_path / "run"), tmp_path / "SD, tiny")
    order, heard = Order(str(tmp_path / "run"), ["a cat"]), Heard()
    (found,) = generate(order, changes=TWO, tell=heard).pictures
    assert heard.notes == [f"note: base.name: {before} is now {tmp_path / 'SD, tiny'}"]
    assert found.recipe["base"]["name"] == str(tmp_path / "SD, tiny")
    (named,) = generate(order, changes=TWO | {"base.name": str(sd_path)}, tell=heard).pictures
    assert named.recipe["base"]["name"] == str(sd_path)
    assert len(heard.notes) == 1
    shutil.rmtree(tmp_path / "SD, tiny")
    with pytest.raises(RunError, match=r"base\.name is gone or replaced: .*Put it back, or name"):
        generate(order, changes=TWO)


def test_without_out_it_is_in_the_run_and_nothing_is_overwritten(trained: Run) -> None:
    order = Order(str(trained.path), ["a cat"])
    first, second = (generate(order, changes=TWO) for _ in range(2))
    assert first.folder == second.folder == trained.images
    assert [one.paths[0].name for one in (first, second)] == [
        "a-cat-seed0.png", "a-cat-seed0-2.png",
    ]  # fmt: skip
    assert [one.sheet.name for one in (first, second)] == ["sheet.png", "sheet-2.png"]
    assert first.paths[0].read_bytes() == second.paths[0].read_bytes()


def test_pictures_that_are_called_as_sheets_are(
    trained: Run, sd_path: Path, tmp_path: Path
) -> None:
    """They neither collide with the sheets nor vanish from the report."""
    run = Run(tmp_path / "run", trained.config)
    run.save_config(trained.config)
    shutil.copy(trained.adapter_path, run.adapter_path)
    prompts = ["sheet", "best", "best dog in the snow"]
    for metadata in (True, False):
        order = Order(str(run.path), prompts, metadata=metadata)
        generate(order, changes=TWO)
    assert {path.name for path in evidence.read(run).images} == {
        f"{name}-seed0{number}.png"
        for name in ("sheet", "best", "best-dog-in-the-snow")
        for number in ("", "-2")
    }
    assert (run.images / "sheet-2.png").is_file()


def test_blends_are_a_column_each(trained: Run, tmp_path: Path) -> None:
    order = Order(
        str(trained.path), ["a cat"], count=2, adapters=[f"{trained.adapter_path}:0.5"],
        blends=(0, 0.25, 1), out=tmp_path,
    )  # fmt: skip
    made = generate(order, changes=TWO)
    assert [one.request.seed for one in made.pictures] == [0, 1] * 3
    weights = [[a["weight"] for a in one.recipe["adapters"]] for one in made.pictures]
    assert weights == [w for w in ([1.0, 0.0], [0.75, 0.125], [0.0, 0.5]) for _ in range(2)]
    with Image.open(made.sheet) as sheet:
        assert sheet.width > sheet.height  # three columns, two rows
    with pytest.raises(ConfigError, match="mixes two adapters, and 1 are given"):
        generate(Order(str(trained.path), ["a cat"], blends=(0.5,), out=tmp_path))


def test_an_adapter_of_the_same_subject_is_refused(trained: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    call = ["train", str(trained.path.parent), "--base", trained.config.base.name, "--steps", "1"]
    more = ["--class", "penguin", "--data.prior.weight", "0", "--train.tensorboard", "false"]
    assert main([*call, *more, "--adapter.targets", FEW, "--out", str(other)]) == 0
    adapters = [str(Run.open(other).adapter_path)]
    with pytest.raises(UserError, match="are both called by 'kaiffin penguin'"):
        generate(Order(str(trained.path), ["a cat"], adapters=adapters, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_picture_once_more(trained: Run, tmp_path: Path) -> None:
    order = Order(str(trained.path), ["a cat"], out=tmp_path / "a")
    (first,) = generate(order, changes=TWO).pictures
    heard = HeardOnDisk()
    again = remake(first.path, tmp_path / "b", tell=heard)
    assert again.path.read_bytes() == first.path.read_bytes()
    assert again.recipe == first.recipe
    assert again.request == replace(first.request, schedule="leading")  # what the base says
    assert heard.pictures == [(again.path, "a cat")]
    bare = remake(first.path, tmp_path / "b", metadata=False)
    with pytest.raises(UserError, match="carries no Kaiffin recipe"):
        remake(bare.path, tmp_path / "c")


def test_one_of_several_once_more(trained: Run, tmp_path: Path) -> None:
    """In a batch a last bit may differ, so it is made among as many again; alone if so asked."""
    order = Order(str(trained.path), ["a cat", "a dog in the snow"], count=2, out=tmp_path / "a")
    made = generate(order, changes=TWO).pictures
    assert [one.recipe["batch"] for one in made] == [4] * 4
    for one in made[1:3]:
        heard = HeardOnDisk()
        again = remake(one.path, tmp_path / "b", tell=heard)
        assert again.path.read_bytes() == one.path.read_bytes()
        assert heard.notes == [
            "note: it was one of 4 at once, and is so again, to the last bit; --batch-size 1 makes"
            " it alone, in less time"
        ]
    heard = HeardOnDisk()
    alone = remake(made[0].path, tmp_path / "c", alone=True, tell=heard)
    assert "batch" not in alone.recipe
    assert not heard.notes
    gap = [abs(a - b) for a, b in zip(pixels(alone.path), pixels(made[0].path), strict=True)]
    assert max(gap) <= 1


def test_a_picture_once_more_after_the_run_has_moved(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(shutil.copytree(trained.path, tmp_path / "run"))
    (first,) = generate(Order(str(run.path), ["a cat"]), changes=TWO).pictures
    moved = run.path.rename(tmp_path / "moved")
    picture = moved / "images" / first.path.name
    monkeypatch.chdir(trained.path.parent)
    heard = HeardOnDisk()
    again = remake(picture, tmp_path / "b", tell=heard)
    now = moved / "kaiffin.safetensors"
    assert heard.notes == [f"note: its adapter {run.adapter_path} is now {now}"]
    assert pixels(again.path) == pixels(picture)
    now.unlink()
    for other in (moved / "candidates").iterdir():
        other.unlink()
    with pytest.raises(UserError, match=r"its adapter kaiffin \(SHA-256 .*\) is missing"):
        remake(picture, tmp_path / "c")


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


def test_a_folder_that_cannot_be_made(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        generate(Order(str(trained.path), ["a cat"], out=tmp_path / "file" / "out"))


# --- adapters by name -------------------------------------------------------------------------


def test_a_prompt_names_its_adapter(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same picture as with the run itself; the recipe and the text say it once."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loras").mkdir()
    shutil.copy(trained.adapter_path, tmp_path / "loras" / "toy.safetensors")
    heard = HeardOnDisk()
    base = trained.config.base.name
    named = Order(base, ["a cat <lora:toy:0.5>", "a cat"], library=Library([Path("loras")]))
    one, without = generate(named, changes=TWO, tell=heard).pictures
    (same,) = generate(
        Order(base, ["a cat"], adapters=["loras/toy.safetensors:0.5"]), changes=TWO
    ).pictures
    assert pixels(one.path) == pixels(same.path)
    assert pixels(without.path) != pixels(one.path)
    assert one.request.prompt == "a cat"
    assert [each["weight"] for each in one.recipe["adapters"]] == [0.5]
    assert without.recipe["adapters"] == []
    with Image.open(one.path) as image:
        assert image.info["parameters"].startswith("a cat <lora:toy:0.5>\n")
    assert heard.notes == ["note: the prompt's adapter toy is loras/toy.safetensors, at 0.5"]
    assert pixels(remake(one.path, tmp_path / "again").path) == pixels(one.path)
    with pytest.raises(ConfigError, match="an adapter cannot be named in this prompt"):
        generate(replace(named, library=None), changes=TWO)
    heard = Heard()
    open_order(replace(named, prompts=["a {token} <lora:toy:0.5>"] * 3), tell=heard)
    assert len(heard.notes) == 2, "said once"
    twice = replace(named, adapters=["loras/toy.safetensors"])
    with pytest.raises(AdapterError, match="is named twice: its strength would add up"):
        generate(twice, changes=TWO)
    with pytest.raises(AdapterError, match="is named twice"):
        generate(Order(base, ["a cat"], adapters=["loras/toy.safetensors"] * 2), changes=TWO)


# --- regions ----------------------------------------------------------------------------------


def test_adapters_act_in_regions(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line; what each is told is said and stands in the recipe, which makes the
    picture again."""
    other = renamed(trained.adapter_path, tmp_path / "other.safetensors", "tobbul bear")
    prompt = "a kaiffin penguin and a tobbul bear in snow"
    call = ["generate", str(trained.path), prompt, "--adapter", f"{other}:0.5", "--steps", "2"]
    call += ["--size", "128x64", "--out", str(tmp_path / "out")]
    assert main([*call, "--region", "columns"]) == 0
    said = capsys.readouterr().out
    assert "note: kaiffin.safetensors in 0,0,0.5,1 is told 'a kaiffin penguin in snow'" in said
    assert "note: other.safetensors in 0.5,0,1,1 is told 'a tobbul bear in snow'" in said
    path = tmp_path / "out" / "a-kaiffin-penguin-and-a-tobbul-bear-in-snow-seed0.png"
    recipe = read_recipe(path)
    assert [one["adapters"] for one in recipe["regions"]] == [[0], [1]]
    assert pixels(remake(path, tmp_path / "again").path) == pixels(path)
    by_hand = ["--region", "kaiffin=0,0,0.5,1", "--region", "tobbul=0.5,0,1,1"]
    assert main([*call, *by_hand]) == 0
    assert pixels(path.with_name(f"{path.stem}-2.png")) == pixels(path)
    assert main([*call, "--region", "rows"]) == 0
    assert pixels(path.with_name(f"{path.stem}-3.png")) != pixels(path)
    assert main([*call, "--region", "kaiffin=0,0,0.01,1"]) == 2
    assert "too small for a picture of 16x8 cells" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--region and --blend do not go together"):
        generate(Order(str(trained.path), [prompt], adapters=[str(other)], blends=(0.5,),
                       regions=("columns",)))  # fmt: skip


def renamed(source: Path, path: Path, trigger: str) -> Path:
    """The same adapter under another's words."""
    tensors, header = safe.read(source)
    safe.save(path, tensors, header | {"modelspec.trigger_phrase": trigger})
    return path


# --- the best -----------------------------------------------------------------------------------


def test_the_best_of_each_prompt(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("kaiffin penguin in the snow\nkaiffin penguin in the city\n")
    call = ["generate", str(trained.path), "--prompts", str(prompts), "-n", "3", "--steps", "2"]
    call += ["--judge", "miniature"]
    assert main([*call, "--best", "1", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert 'judged by miniature: "penguin in the snow"' in out  # the trigger says nothing to it
    assert "knows a toy world only" in out
    assert out.count("(not chosen)") == 4
    assert (tmp_path / "out" / "best-2.png").is_file()
    assert main([*call, "--best", "4"]) == 2
    assert "--best 4 of -n 3" in capsys.readouterr().err


def test_the_best_are_in_the_answer(trained: Run, tmp_path: Path) -> None:
    order = Order(str(trained.path), ["a cat", "a dog"], count=3, best=2, out=tmp_path)
    heard = HeardOnDisk()
    made = generate(order, changes=TWO | {"score.judge": "miniature"}, tell=heard)
    assert [one.prompt for one in made.rankings] == ["a cat", "a dog"]
    for number, found in enumerate(made.rankings):
        own = made.paths[3 * number : 3 * number + 3]
        assert sorted(one.path for one in found.pictures) == sorted(own)
        assert len(found.chosen) == 2
        assert all(one.likeness is not None for one in found.pictures)  # to the run's own photos
    assert [one.sheet for one in made.rankings] == [tmp_path / "best.png", tmp_path / "best-2.png"]
    assert heard.notes == [
        "note: the miniature's CLIP knows a toy world only; name another with --judge"
    ]


def test_a_real_base_wants_a_judge_before_anything_is_made(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_base", lambda *_: pytest.fail("the base was loaded"))
    for source in (str(trained.path), trained.config.base.name):
        order = Order(source, ["a cat"], count=2, best=1, out=tmp_path / "out")
        with pytest.raises(ConfigError, match=r"no judge is named, .* knows nothing") as caught:
            generate(order)
        assert caught.value.fix.startswith("Give --judge a folder or hub id")
        gone = {"score.judge": "miniature", "score.like": str(tmp_path / "none")}
        with pytest.raises(UserError, match="is no folder with photos"):
            generate(order, changes=gone)
    adapters = [str(trained.adapter_path)]
    with pytest.raises(ConfigError, match="--best chooses among one blend"):
        generate(replace(order, source=str(trained.path), adapters=adapters, blends=(0.2, 0.8)))
    assert not (tmp_path / "out").exists()


def test_the_miniatures_judge_their_own(tmp_path: Path) -> None:
    """Also the XL one; a base alone has no photos, which is said."""
    order = Order("miniature-xl", ["a photo of a penguin"], count=2, best=1, out=tmp_path)
    heard = HeardOnDisk()
    made = generate(order, changes={"sample.steps": 1, "sample.size": "32x32"}, tell=heard)
    assert made.rankings[0].judge == "miniature"
    assert made.rankings[0].pictures[0].likeness is None
    assert heard.notes == ["note: there are no photos to compare with (--like): by prompt alone"]

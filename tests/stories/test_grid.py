"""A grid over axes of generation, on tiny bases: pictures with their recipes, going on, the table,
and what is refused."""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from begun_run import moved_base
from conftest import FEW, grainy_photos
from hearing import Heard, HeardOnDisk
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.folder import Folder
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, changed
from kaiffin.foundation.tell import SILENT
from kaiffin.pictures import make
from kaiffin.pictures.recipe import read_recipe, save_png
from kaiffin.score.judge import Scorer, judge_of
from kaiffin.stories import generate, grid
from kaiffin.stories.grid import GridOrder

PROMPT = "a photo of {token} {noun}"


@pytest.fixture(scope="module")
def trained(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two steps on the tiny base, with a candidate of each."""
    folder = tmp_path_factory.mktemp("trained")
    grainy_photos(folder, 3)
    call = ["train", str(folder), "--base", str(sd_path), "--class", "thing", "--steps", "2"]
    more = ["--data.prior.weight", "0", "--train.tensorboard", "false", "--train.lr", "1e-2"]
    more += ["--adapter.targets", FEW]
    assert main([*call, *more, "--out", str(folder / "run")]) == 0
    return Run.open(folder / "run")


def called(source: Path | str, prompt: str | None, out: Path, *more: str) -> int:
    words = [str(source), *([prompt] if prompt else []), *more, "--out", str(out)]
    return main(["grid", *words, *([] if "--steps" in more else ["--sample.steps", "2"])])


def table(out: Path, name: str = "grid") -> list[dict[str, Any]]:
    return json.loads((out / f"{name}.json").read_text())["pictures"]


def recipe(path: Path) -> dict[str, Any]:
    return read_recipe(path)


def test_a_base_that_was_moved_is_found(trained: Run, tmp_path: Path) -> None:
    shutil.copytree(trained.path, tmp_path / "run")
    before = moved_base(Run.open(tmp_path / "run"), tmp_path / "SD, tiny")
    order, heard = GridOrder(str(tmp_path / "run"), PROMPT, {"x": "steps=1,2"}), Heard()
    grid.grid(order, tell=heard)
    assert f"note: base.name: {before} is now {tmp_path / 'SD, tiny'}" in heard.notes


# --- pictures -----------------------------------------------------------------------------------


def test_three_axes_each_picture_with_its_values(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    for name in ("load_adapter", "load_base"):
        for module in (make, generate, grid):
            if real := getattr(module, name, None):
                spy = lambda *a, real=real, name=name: loaded.append(name) or real(*a)  # noqa: E731
                monkeypatch.setattr(module, name, spy)
    given = ["--x", "guidance=1,3", "--y", "steps=1..3/2", "--z", "weight=0.5|unet=0.2,text=1"]
    assert called(trained.path, PROMPT, tmp_path, *given, "--steps", "2", "--seed", "7") == 0
    assert sorted(loaded) == ["load_adapter", "load_base"]
    rows = table(tmp_path)
    keys = [(row["weight"], row["steps"], row["guidance"]) for row in rows]
    assert keys == [(w, s, g) for w in (0.5, "unet=0.2,text=1") for s in (1, 3) for g in (1.0, 3.0)]
    for row in rows:
        found = recipe(tmp_path / row["file"])
        asked = found["request"]
        assert (asked["prompt"], asked["seed"]) == ("a photo of kaiffin thing", 7)
        assert (asked["steps"], asked["guidance"]) == (row["steps"], row["guidance"])
        weight = found["adapters"][0]["weight"]
        assert weight == (0.5 if row["weight"] == 0.5 else "1,unet.*=0.2,text_encoder*=1")
    assert len({Image.open(tmp_path / row["file"]).tobytes() for row in rows}) == 8
    with (tmp_path / "grid.csv").open(encoding="utf-8") as file:
        assert [dict(row) for row in csv.DictReader(file)] == [
            {name: str(value) for name, value in row.items()} for row in rows
        ]
    with Image.open(tmp_path / "grid.png") as sheet:
        assert sheet.width > 2 * 160
        assert sheet.height > 4 * 160


def test_generate_from_remakes_each_and_generate_makes_the_same(
    trained: Run, tmp_path: Path
) -> None:
    given = ["--x", "checkpoint=base,1", "--y", "sampler=euler,ddim", "-n", "2"]
    assert called(trained.path, PROMPT, tmp_path, *given) == 0
    rows = table(tmp_path)
    assert [row["seed"] for row in rows] == [0, 1] * 4
    for row in rows:
        path = tmp_path / row["file"]
        again = generate.remake(path, tmp_path / "again").path
        assert difference(path, again) <= 1
    first = tmp_path / rows[0]["file"]
    assert recipe(first)["adapters"] == []
    call = ["generate", str(trained.config.base.name), "a photo of kaiffin thing", "--steps", "2"]
    assert main([*call, "--sampler", "euler", "--out", str(tmp_path / "base")]) == 0
    (alone,) = (tmp_path / "base").glob("a-*.png")
    assert difference(first, alone) <= 1


def difference(one: Path, other: Path) -> int:
    """Grey levels between two pictures."""
    images = [np.asarray(Image.open(path)).astype(int) for path in (one, other)]
    return int(np.abs(images[0] - images[1]).max())


def test_a_base_with_adapters_is_of_the_first_s_subject(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a seed of -1 is drawn, said and written."""
    base, axis = trained.config.base.name, ["--x", f"adapter=base,{trained.adapter_path}"]
    assert called(base, PROMPT, tmp_path, *axis, "--seed", "-1") == 0
    said, rows = " ".join(capsys.readouterr().out.split()), table(tmp_path)
    assert {row["prompt"] for row in rows} == {"a photo of kaiffin thing"}
    assert "{token} is 'kaiffin' and {noun} is 'thing'" in said
    assert {f"seed {row['seed']}, drawn as --seed -1 asks" in said for row in rows} == {True}
    assert called(base, PROMPT, tmp_path, "--x", "steps=1,2") == 2
    assert "a base has no subject" in " ".join(capsys.readouterr().err.split())


def test_checkpoints_and_other_adapters(trained: Run, tmp_path: Path) -> None:
    assert [step for step, _ in trained.candidates()] == [1, 2]
    assert called(trained.path, PROMPT, tmp_path, "--x", "checkpoint=base,all") == 0
    rows = table(tmp_path)
    assert [row["checkpoint"] for row in rows] == [0, 1, 2]
    used = [[one["path"] for one in recipe(tmp_path / r["file"])["adapters"]] for r in rows]
    assert used == [[], *([str(path)] for _, path in trained.candidates())]
    other = tmp_path / "other.safetensors"
    other.write_bytes(trained.candidate_path(1).read_bytes())
    given = ["--x", f"adapter={trained.adapter_path},{other},base", "--y", "weight=0.5,1"]
    assert called(trained.config.base.name, "a thing", tmp_path, *given) == 0
    rows = table(tmp_path, "grid-2")
    used = [
        [(one["path"], one["weight"]) for one in recipe(tmp_path / row["file"])["adapters"]]
        for row in rows
    ]
    pair = (str(trained.adapter_path), str(other))
    assert used == [
        [(pair[0], 0.5)], [(pair[1], 0.5)], [], [(pair[0], 1.0)], [(pair[1], 1.0)], [],
    ]  # fmt: skip
    assert rows[2]["file"] == rows[5]["file"]  # a base has no weight, and is made once


def test_stopped_and_repeated_it_makes_only_what_is_missing(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    given = ["--x", "guidance=1,2,3", "--y", "seed=0..1", "--batch-size", "1"]
    save, saved = save_png, []

    def save_some(image: Image.Image, path: Path, *more: Any) -> None:
        if len(saved) == 2:
            (path.parent / f".{path.name}.1.part").write_bytes(b"half")
            raise KeyboardInterrupt
        save(image, path, *more)
        saved.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(grid, "save_png", save_some)
        assert called(trained.path, PROMPT, tmp_path, *given) == 130
    assert "2 of 6 pictures made. The same command makes" in capsys.readouterr().err
    assert not (tmp_path / "grid.json").exists()
    saved[1].write_bytes(saved[1].read_bytes()[:200])  # and one was damaged since
    os.utime(saved[0], (1, 1))
    assert called(trained.path, PROMPT, tmp_path, *given) == 0
    assert "6 pictures, 5 of them to make" in capsys.readouterr().out
    assert saved[0].stat().st_mtime == 1
    assert not list((tmp_path / "pictures").glob(".*"))
    assert called(trained.path, PROMPT, tmp_path / "at-once", *given) == 0
    for one, other in zip(table(tmp_path), table(tmp_path / "at-once"), strict=True):
        assert one == other
        pair = [(f / one["file"]).read_bytes() for f in (tmp_path, tmp_path / "at-once")]
        assert pair[0] == pair[1]


def test_a_further_column_and_another_grid_overwrite_nothing(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert called(trained.path, PROMPT, tmp_path, "--x", "guidance=1,2") == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert called(trained.path, PROMPT, tmp_path, "--x", "guidance=1,2") == 0
    assert "2 pictures, 0 of them to make" in capsys.readouterr().out
    assert {path for path in tmp_path.rglob("*.*") if path.is_file()} == {*before}
    assert called(trained.path, PROMPT, tmp_path, "--x", "guidance=1,2,3") == 0
    assert "3 pictures, 1 of them to make" in capsys.readouterr().out
    assert [row["guidance"] for row in table(tmp_path, "grid-2")] == [1.0, 2.0, 3.0]
    assert {path: path.read_bytes() for path in before} == before


# --- scores -------------------------------------------------------------------------------------


def test_scores_are_the_judges_own(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    like = tmp_path / "like"
    like.mkdir()
    grainy_photos(like)
    given = [
        "--x",
        "prompt=a photo of {token} {noun}, in the snow | a red bird",
        "--y",
        "seed=1..3",
    ]
    more = ["--judge", "miniature", "--like", str(like)]
    assert called(trained.path, None, tmp_path, *given, *more) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "judged by miniature, against 2 photos that nobody trained on" in said
    facts = json.loads((tmp_path / "grid.json").read_text())
    rows = facts["pictures"]
    images = [Image.open(tmp_path / row["file"]).convert("RGB") for row in rows]
    judge = Scorer("miniature", tell=SILENT)
    plain = [
        "a photo of thing, in the snow" if "snow" in r["prompt"] else r["prompt"] for r in rows
    ]
    shown = judge.text_image(images, plain).tolist()
    photos = [Image.open(path).convert("RGB") for path in sorted(like.iterdir())]
    near = judge.image_image(images, photos).tolist()
    assert [row["clip_t"] for row in rows] == pytest.approx(shown, abs=1e-5)
    assert [row["clip_i"] for row in rows] == pytest.approx(near, abs=1e-5)
    snow, bird = facts["effects"]["prompt"]
    assert snow["mean"]["clip_i"]["mean"] == pytest.approx(np.mean(near[::2]), abs=1e-5)
    assert snow["against_first"] == {}
    assert "clip_t" not in bird["against_first"]  # texts are not compared with each other
    gain = np.mean(near[1::2]) - np.mean(near[::2])
    assert bird["against_first"]["clip_i"]["mean"] == pytest.approx(gain, abs=1e-5)
    assert f"{gain:+.3f}" in said


def test_the_photos_of_the_run_and_no_judge_at_all(
    trained: Run, sd_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    axis = ["--x", "guidance=0,1", "--negative", "rain"]
    assert called(trained.path, PROMPT, tmp_path, *axis, "--judge", "miniature") == 0
    said = capsys.readouterr().out
    ignored = ["guidance 0 leaves the prompt out", "guidance 1 is the prompt alone"]
    assert [said.count(words) for words in ignored] == [1, 1]
    assert "against 3 photos that were trained on" in said
    assert "with one prompt and seed they say nothing of others" in said
    assert called(trained.path, PROMPT, tmp_path, *axis) == 0
    assert f"no scores, since no --judge is named for {sd_path}" in capsys.readouterr().out
    assert "clip_t" not in table(tmp_path, "grid-2")[0]
    assert judge_of(Config()) == "miniature"
    assert judge_of(changed(Config(), **{"base.name": "sd15"})) is None
    assert judge_of(changed(Config(), **{"score.judge": "a/b"})) == "a/b"


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--x", "guidence=3"], "unknown axis 'guidence'. Did you mean \"guidance\"?"),
        ([], "a grid needs an axis. As in --x guidance=3,5,7.5."),
        (["--x", "guidance="], "--x guidance: has no values."),
        (["--x", "guidance"], "--x guidance: has no values."),
        (["--x", "guidance=3,,5"], "a value of '3,,5' is empty"),
        (["--y", "steps=10,0"], "--y steps: sample.steps = 0: must be at least 1"),
        (["--x", "sampler=plms"], "--x sampler: sample.sampler = 'plms': is none of ddpm"),
        (["--x", "size=65x64"], "the nearest is 64x64"),
        (["--x", "size=big"], "Write it as 512x768"),
        (["--x", "seed=-1"], "'-1' is no whole number from 0 on. As in seed=1..4."),
        (["--x", "seed=1..999999999999"], "holds 999,999,999,999 values. Write FIRST..LAST/STEP"),
        (["--x", "steps=30..10/5"], "the range 30..10/5 holds 0 values"),
        (["--x", "steps=1..9/0"], "the range 1..9/0 holds 0 values"),
        (["--x", "weight=strong"], "the weight 'strong' of 'strong' cannot be read"),
        (["--x", "guidance=3,3.0"], "--x guidance: 3.0 is there 2 times."),
        (["--x", "steps=1", "--z", "steps=2"], "steps is on two axes."),
        (["--x", "checkpoint=7"], "has no candidate of step '7'. There are: 1, 2; all; base."),
        (["--x", "checkpoint=1", "--y", "adapter=base"], "both name the adapter"),
        (["--x", "adapter=GONE.safetensors"], "GONE.safetensors: cannot be read"),
        (["--x", "eta=0,1"], "eta has an effect on ddim only. Add --sampler ddim."),
        (["--x", "seed=1..3", "-n", "2"], "seed is an axis already"),
        (["--x", "steps=1", "--seed", str(2**63)], f"--seed {2**63}: must be at most {2**63 - 1}."),
        (["--x", "prompt=a|b"], "a grid needs one prompt, or an axis of them."),
        (["--x", "prompt=@GONE.txt"], "GONE.txt: cannot be read as prompts"),
        (
            ["--x", "seed=1..9999", "--y", "steps=1..99"],
            "989,901 pictures are more than a grid can",
        ),
        (["--x", "steps=1", "--judge", "GONE"], "scoring model 'GONE' cannot be loaded"),
        (["--x", "steps=1", "--judge", "miniature", "--like", "GONE"], "GONE: is no folder with"),
        (["--x", "steps=1", "--train.lr", "1"], "has no effect on `kaiffin grid`"),
        (["--x", "steps=1", "--steps", "-1"], "sample.steps = -1"),
    ],
)
def test_what_is_refused(
    arguments: list[str], said: str, trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["grid", str(trained.path), PROMPT, *arguments, "--out", "grids"]) == 2
    text = capsys.readouterr().err
    assert said in text
    assert text.count("\n") == 1
    assert not list(tmp_path.rglob("*.png"))


def test_refusals_of_sources(sd_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    unfinished = Run.create(tmp_path / "run", build({"base": {"name": str(sd_path)}}))
    for source, axis, said in (
        (unfinished.path, "steps=1", "is not finished. Run `kaiffin resume"),
        (sd_path, "checkpoint=all", "a base has no checkpoints. Name the folder of a run."),
        (sd_path, "weight=1,2", "weight has no effect on a base alone."),
    ):
        assert called(source, PROMPT, tmp_path / "out", "--x", axis) == 2
        assert said in capsys.readouterr().err
    assert called(sd_path, None, tmp_path / "out", "--x", "steps=1") == 2
    assert "a grid needs one prompt" in capsys.readouterr().err


def test_many_pictures_ask_with_the_time_they_take(
    sd_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert called(sd_path, "a dog", tmp_path, "--x", "seed=1..501", "--steps", "4") == 2
    text = capsys.readouterr().err
    assert "501 pictures are many: about " in text
    assert " on this machine. Say --yes to make them" in text
    assert not list(tmp_path.rglob("*.png"))
    monkeypatch.setattr(grid, "MANY", 2)
    three = ["--x", "seed=1..3", "--steps", "1"]
    assert called(sd_path, "a dog", tmp_path, *three) == 2
    assert called(sd_path, "a dog", tmp_path, *three, "--yes") == 0
    assert called(sd_path, "a dog", tmp_path, *three) == 0  # nothing is left to make
    assert len(table(tmp_path)) == 3


def test_two_grids_in_one_folder_are_kept_apart(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with Folder(tmp_path).lock():
        assert called(trained.path, PROMPT, tmp_path, "--x", "steps=1") == 2
    assert "is in use by process" in capsys.readouterr().err


def test_without_out_it_is_in_the_run(trained: Run) -> None:
    made = grid.grid(GridOrder(str(trained.path), "a dog", {"x": "steps=1"}))
    (sheet,) = made.files.sheets
    assert sheet == trained.grids / "grid.png"
    with pytest.raises(UserError, match="carries no Kaiffin recipe"):
        recipe(sheet)


# --- the answer ---------------------------------------------------------------------------------


def test_the_answer_has_what_the_files_have_and_nothing_is_printed(
    trained: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    axes = {"x": "guidance=1,2", "y": "seed=1..2"}
    order = GridOrder(str(trained.path), PROMPT, axes, out=tmp_path / "grids")
    changes = {"sample.steps": 1, "score.judge": "miniature"}
    made = grid.grid(order, changes=changes)
    assert capfd.readouterr() == ("", "")
    rows = table(tmp_path / "grids")
    assert [path.relative_to(tmp_path / "grids").as_posix() for path in made.pictures] == [
        row["file"] for row in rows
    ]
    settings = [cell.setting for cell in made.grid.cells]
    assert [(one.seed, one.sample.guidance) for one in settings] == [
        (row["seed"], row["guidance"]) for row in rows
    ]
    assert made.scores.words == "judged by miniature, against 3 photos that were trained on"
    assert made.scores.scores["clip_t"] == pytest.approx([r["clip_t"] for r in rows], abs=1e-6)
    assert [one.value for one in made.scores.effects["guidance"]] == [1.0, 2.0]
    assert made.files.csv.is_file()
    assert json.loads(made.files.json.read_text())["judged"] == made.scores.words
    plain = grid.grid(GridOrder(str(trained.path), "a dog", {"x": "steps=1"}, out=tmp_path / "b"))
    assert plain.scores.words is None
    assert not plain.scores.scores


def test_a_listener_hears_each_picture_as_it_is_made(trained: Run, tmp_path: Path) -> None:
    heard = HeardOnDisk()
    order = GridOrder(str(trained.path), "a dog", {"x": "seed=1..3"}, out=tmp_path)
    made = grid.grid(order, changes={"sample.steps": 1}, tell=heard)
    assert heard.pictures == [(path, "a dog") for path in made.pictures]

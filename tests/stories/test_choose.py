"""`kaiffin choose` on a tiny base: what is kept, held out, scored, chosen and written."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from begun_run import moved_base
from conftest import FEW, grainy_photos
from hearing import Heard
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.data.images import open_photo
from kaiffin.foundation.errors import Interrupted
from kaiffin.foundation.run import Run
from kaiffin.foundation.tell import SILENT
from kaiffin.pictures import sample
from kaiffin.score.choice import read
from kaiffin.score.judge import Scorer
from kaiffin.stories.choose import choose
from kaiffin.train.watch import RestartPoints

PROMPTS = {
    "scenes": ["a {token} in the snow", "a {token} on a boat"],
    "styles": [{"text": "a drawing, {token}", "plain": "a drawing"}],
    "class": ["a {noun}"],
    "unrelated": ["a red car"],
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_clip(tmp_path_factory.mktemp("judge") / "tiny-clip")


def call(photos: Path, base: Path, out: Path, *more: str) -> list[str]:
    return [
        "train", str(photos), "--base", str(base), "--subject", "kai", "--class", "thing",
        "--steps", "6", "--out", str(out), "--adapter.rank", "2", "--data.prior.weight", "0",
        "--train.tensorboard", "false", "--train.lr", "1e-2", "--sample.steps", "2",
        "--score.candidates", "3", "--adapter.targets", FEW, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, sd_path: Path, clip: Path) -> Path:
    """A run of six steps with three candidates, and the prompts it is to be judged by."""
    top = tmp_path_factory.mktemp("choose")
    (top / "photos").mkdir()
    grainy_photos(top / "photos", 4)
    (top / "prompts.yaml").write_text(yaml.safe_dump(PROMPTS))
    more = ("--score.prompts", str(top / "prompts.yaml"), "--score.judge", str(clip))
    assert main(call(top / "photos", sd_path, top / "run", *more)) == 0
    return top / "run"


def few(folder: Path) -> str:
    """A file with as few prompts as a choice can do with."""
    path = folder / "few.yaml"
    path.write_text(yaml.safe_dump({"scenes": PROMPTS["scenes"], "class": PROMPTS["class"]}))
    return str(path)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def chosen(run: Path, *more: str) -> dict:
    assert main(["choose", str(run), *more]) == 0
    return json.loads((run / "choice.json").read_text())


def test_what_is_ignored_and_where_the_base_is_now_are_said_once(run: Path, tmp_path: Path) -> None:
    before, heard = moved_base(Run.open(run), tmp_path / "SD, tiny"), Heard()
    revision = Run.open(run).beginning()["base"].encode()
    for path in (run / "candidates").iterdir():  # as if the base had been another
        path.write_bytes(path.read_bytes().replace(revision, b"5" * len(revision)))
    changes = {"score.prompts": few(tmp_path), "score.seeds": 1, "sample.guidance": 0}
    assert choose(run, changes={**changes, "sample.steps": 1}, tell=heard).choice.chosen
    assert heard.notes.count(f"note: base.name: {before} is now {tmp_path / 'SD, tiny'}") == 1
    assert sum("guidance 0 leaves the prompt out" in note for note in heard.notes) == 1
    assert sum("was trained on other weights than" in note for note in heard.notes) == 1


def test_candidates_are_adapters_and_the_last_is_the_final_one(trained: Path) -> None:
    run = Run.open(trained)
    assert [step for step, _ in run.candidates()] == [2, 4, 6]
    contents = [path.read_bytes() for _, path in run.candidates()]
    assert contents[-1] == run.adapter_path.read_bytes()
    assert len(set(contents)) == 3


def test_the_choice_and_its_evidence(run: Path, capsys: pytest.CaptureFixture) -> None:
    with Run.open(run).lock():  # as while it is being trained
        facts = chosen(run)
    said = capsys.readouterr().out
    assert [c["step"] for c in facts["candidates"]] == [2, 4, 6]
    assert facts["references"]["kind"] == "leave-one-out"
    assert "judged by tiny-clip" in said
    assert facts["verdict"] in said
    best = next(c for c in facts["candidates"] if c["step"] == facts["chosen"])
    assert (run / "best.safetensors").read_bytes() == (run / best["adapter"]).read_bytes()
    assert (run / "choice.png").is_file()
    for model in (facts["base"], *facts["candidates"]):
        assert len(model["rows"]) == len(model["pictures"]) == 5 * 2
        recipes = [json.loads(Image.open(run / p).info["kaiffin"]) for p in model["pictures"]]
        asked = [(r["request"]["prompt"], r["request"]["seed"]) for r in recipes]
        prompts = [p["text"] for p in facts["set"]["prompts"]]
        assert asked == [(prompts[row["prompt"]], row["seed"]) for row in model["rows"]]
    assert [p["plain"] for p in facts["set"]["prompts"]][2] == "a drawing"
    for row in facts["base"]["rows"]:  # the base has not moved from itself
        assert row["drift"] in (None, pytest.approx(0, abs=1e-6))
        assert row["leak"] in (None, 0)
        assert row["contrast"] in (None, 1)


def test_the_answer_holds_it_all_and_nothing_is_said(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    advice = choose(run, changes={"score.seeds": 1})
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    written = json.loads((run / "choice.json").read_text())
    assert read(written, run) == advice.choice
    assert written["cost"] == advice.choice.cost
    assert advice.choice.cost["pictures"] == 4 * 5
    assert (advice.run, advice.adapter) == (run, run / "best.safetensors")
    assert Image.open(advice.sheet).width > 0
    chosen = run / advice.choice.best.adapter
    assert advice.adapter.read_bytes() == chosen.read_bytes()


def test_pictures_with_a_checkpoint(run: Path, capsys: pytest.CaptureFixture) -> None:
    make = ["generate", str(run), "a {token}", "--checkpoint"]
    assert main([*make, "best"]) == 2
    assert "nothing is chosen yet" in capsys.readouterr().err
    facts = chosen(run, "--seeds", "1")
    assert main([*make, "best"]) == main([*make, "2"]) == 0
    for name, step in (("a-kai-seed0.png", facts["chosen"]), ("a-kai-seed0-2.png", 2)):
        recipe = json.loads(Image.open(run / "images" / name).info["kaiffin"])
        expected = next(c["sha256"] for c in facts["candidates"] if c["step"] == step)
        assert recipe["adapters"][0]["sha256"] == expected
    capsys.readouterr()
    assert main([*make, "3"]) == 2
    assert "has no candidate '3'. There are best and: 2, 4, 6." in capsys.readouterr().err


def test_scores_are_the_judges_own(run: Path, clip: Path) -> None:
    """Identity and drift of one picture, worked out by hand from the judge's vectors."""
    facts = chosen(run)
    judge, photos = (
        Scorer(str(clip), tell=SILENT),
        sorted((run.parents[0] / "photos").glob("*.png")),
    )
    photos = photos or sorted(Path(Run.open(run).config.data.photos or "").glob("*.png"))
    rows = judge.embed_images([open_photo(p).image for p in photos])
    last = facts["candidates"][-1]
    mine = judge.embed_images([Image.open(run / last["pictures"][0]).convert("RGB")])
    cosines = sorted((mine @ rows.T)[0].tolist())
    assert last["rows"][0]["identity"] == pytest.approx(sum(cosines[:-1]) / 3, abs=1e-5)
    assert last["rows"][0]["copying"] == pytest.approx(cosines[-1], abs=1e-5)
    text = judge.embed_texts([facts["set"]["prompts"][0]["plain"]])
    assert last["rows"][0]["clip_t"] == pytest.approx((mine @ text.T).item(), abs=1e-5)
    place = next(i for i, row in enumerate(last["rows"]) if row["section"] == "unrelated")
    pair = [facts["base"]["pictures"][place], last["pictures"][place]]
    before, after = judge.embed_images([Image.open(run / p).convert("RGB") for p in pair])
    expected = 1 - torch.dot(before, after).item()
    assert last["rows"][place]["drift"] == pytest.approx(expected, abs=1e-5)


def test_a_second_call_makes_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(run)
    with monkeypatch.context() as patch:
        patch.setattr(sample, "generate", None)
        patch.setattr(Scorer, "_see", None)  # what was seen is kept as well
        again = chosen(run)
    first.pop("cost")
    again.pop("cost")
    assert again == first


def test_more_seeds_keep_the_pictures_there_are(run: Path) -> None:
    chosen(run, "--seeds", "1")
    before = {path: path.stat().st_mtime_ns for path in (run / "evaluation").rglob("*.png")}
    chosen(run, "--seeds", "3")
    after = {path: path.stat().st_mtime_ns for path in (run / "evaluation").rglob("*.png")}
    assert len(before) == 4 * 5
    assert len(after) == 4 * 5 * 3
    assert all(after[path] == time for path, time in before.items())


def test_the_budget_is_kept(run: Path, capsys: pytest.CaptureFixture) -> None:
    facts = chosen(run, "--budget", "0.01s", "--seeds", "4", "--batch-size", "1")
    assert "--budget leaves 1 seed and 1 candidate:" in capsys.readouterr().out
    assert [c["step"] for c in facts["candidates"]] == [6]
    assert facts["verdict"] == "step 6 is the only candidate"


def test_photos_that_were_held_out_are_the_references(
    sd_path: Path, clip: Path, tmp_path: Path
) -> None:
    photos, run = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    grainy_photos(photos, 5)
    assert main(call(photos, sd_path, run, "--data.hold_out", "2")) == 0
    listed = json.loads((run / "data" / "manifest.json").read_text())["photos"]
    assert [p["file"] for p in listed if p["held_out"]] == ["1.png", "3.png"]
    assert json.loads((run / "manifest.json").read_text())["num_photos"] == 3
    facts = chosen(run, "--judge", str(clip), "--seeds", "1", "--prompts", few(tmp_path))
    assert facts["references"]["kind"] == "held-out"
    assert facts["references"]["photos"] == ["1.png", "3.png"]
    assert {row["nearest"] for row in facts["candidates"][0]["rows"]} <= {
        None, "0.png", "2.png", "4.png"
    }  # fmt: skip


def test_holding_out_every_photo_is_refused(
    sd_path: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(call(folder, sd_path, tmp_path / "run", "--data.hold_out", "4")) == 2
    assert "data.hold_out 4 of 4 photos: none is left" in capsys.readouterr().err


def test_one_photo_is_said_to_be_one(
    sd_path: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    photos, run = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    grainy_photos(photos, 1)
    assert main(call(photos, sd_path, run)) == 0
    facts = chosen(run, "--judge", str(clip), "--seeds", "1", "--prompts", few(tmp_path))
    assert facts["references"]["kind"] == "one photo"
    assert facts["references"]["ceiling"] is None
    assert "nothing could be held out" in capsys.readouterr().out


def stop_after(step: int):
    """A stand-in for Ctrl-C right after the checkpoint of `step`."""
    save = RestartPoints.save

    def save_and_stop(self: RestartPoints) -> None:
        save(self)
        if self.trainer.step == step:
            raise Interrupted("stopped.", "", signal.SIGINT)

    return save_and_stop


def test_early_stop_is_the_same_after_a_restart(
    folder: Path, clip: Path, sd_path: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    """It stops before the end, for good, and in the same bytes when it was interrupted."""
    (tmp_path / "prompts.yaml").write_text(yaml.safe_dump(PROMPTS))
    more = (
        "--score.judge", str(clip), "--score.prompts", str(tmp_path / "prompts.yaml"),
        "--score.seeds", "1", "--score.early_stop", "1", "--train.checkpoint_every", "1",
        "--steps", "12", "--score.candidates", "12", "--train.ema", "0.5",
        "--adapter.targets", "attention",
    )  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(call(folder, sd_path, whole, *more)) == 0
    stopped = Run.open(whole).candidates()[-1][0]
    said = capsys.readouterr().out
    assert f"after step {stopped}: " in said
    assert "stopping: 1 candidate after step" in said
    assert 2 <= stopped < 12
    assert len(Run.open(whole).metrics()) == stopped
    for step in (1, stopped):
        with monkeypatch.context() as patch:
            patch.setattr(RestartPoints, "save", stop_after(step))
            first = ["resume", str(parts)] if parts.is_dir() else call(
                folder, sd_path, parts, *more
            )  # fmt: skip
            assert main(first) == 128 + signal.SIGINT
    assert main(["resume", str(parts)]) == 0
    assert len(Run.open(parts).metrics()) == stopped
    assert (parts / "kai.safetensors").read_bytes() == (whole / "kai.safetensors").read_bytes()
    assert (parts / "manifest.json").read_text() == (whole / "manifest.json").read_text()
    assert json.loads((whole / "manifest.json").read_text())["derived"]
    for (_, one), (_, other) in zip(
        Run.open(whole).candidates(), Run.open(parts).candidates(), strict=True
    ):
        assert one.read_bytes() == other.read_bytes()


def test_bad_input_is_one_line(
    run: Path, tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture
) -> None:
    photos = Path(Run.open(run).config.data.photos or "")

    def refused(*call: str) -> str:
        assert main(["choose", str(run), *call]) == 2
        said = capsys.readouterr().err.strip()
        assert "\n" not in said
        return said

    (tmp_path / "own.yaml").write_text("scenes: 3\n")
    assert "scenes: Input should be" in refused("--prompts", str(tmp_path / "own.yaml"))
    assert "cannot be loaded" in refused("--judge", str(tmp_path / "gone"))
    assert "--budget 'soon' is not a time" in refused("--budget", "soon")
    assert "is no folder" in refused("--like", str(tmp_path / "gone"))
    (tmp_path / "empty").mkdir()
    assert "holds no photos" in refused("--like", str(tmp_path / "empty"))
    (tmp_path / "empty" / "cut.png").write_bytes(b"\x89PNG cut")
    assert "cut.png" in refused("--like", str(tmp_path / "empty"))
    # Photos beside the run or beside where they were are found again by their content.
    (tmp_path / "far" / "away").mkdir(parents=True)
    hidden = photos.rename(tmp_path / "far" / "away" / "hidden")
    assert "not where they were" in refused()
    assert chosen(run, "--like", str(hidden), "--seeds", "1")["references"]["kind"] == "held-out"
    hidden.rename(photos)
    damaged = next((run / "evaluation").rglob("*.png"))
    damaged.write_bytes(b"\x89PNG cut")
    assert damaged.name in refused("--seeds", "1")
    shutil.rmtree(run / "candidates")
    assert "no candidates to choose from" in refused()


def test_a_real_base_wants_a_judge_by_name(
    sd_path: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(call(folder, sd_path, tmp_path / "run")) == 0
    assert main(["choose", str(tmp_path / "run")]) == 2
    assert "no judge is named" in capsys.readouterr().err

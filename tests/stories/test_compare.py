"""Runs side by side on a tiny base: settings, photos, pairs, verdicts, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
import yaml
from begun_run import moved_base
from conftest import FEW, grainy_photos
from hearing import Heard
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.foundation.run import Run
from kaiffin.score.statistics import Interval
from kaiffin.stories import compare

PROMPTS = {
    "scenes": ["a {token} in the snow", "a {token} on a boat"],
    "class": ["a {noun}"],
    "unrelated": ["a red car"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, sd_path: Path) -> Path:
    """`plain`, and `strong` with another rate and one photo more."""
    top = tmp_path_factory.mktemp("compare")
    tiny.tiny_clip(top / "tiny-clip")
    (top / "prompts.yaml").write_text(yaml.safe_dump(PROMPTS))
    every = top / "photos"
    every.mkdir()
    grainy_photos(every, 4)
    for name, photos, rate in (("plain", 3, "1e-5"), ("strong", 4, "5e-1")):
        folder = top / f"{name}-photos"
        folder.mkdir()
        for number in range(photos):
            shutil.copy(every / f"{number}.png", folder)
        call = [
            "train", str(folder), "--base", str(sd_path), "--subject", "kai", "--class", "thing",
            "--steps", "3", "--out", str(top / name), "--adapter.rank", "2", "--sample.steps", "2",
            "--data.prior.weight", "0", "--train.tensorboard", "false", "--train.lr", rate,
            "--score.candidates", "1", "--score.judge", str(top / "tiny-clip"),
            "--score.prompts", str(top / "prompts.yaml"), "--adapter.targets", FEW,
        ]  # fmt: skip
        assert main(call) == 0
    return top


def compared(top: Path, out: Path, *more: str) -> dict:
    assert main(["compare", str(top / "plain"), str(top / "strong"), "--out", str(out), *more]) == 0
    return json.loads((out / "comparison.json").read_text())


def test_what_differs_and_by_how_much(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    facts = compared(runs, tmp_path / "out")
    assert facts["config"]["train.lr"] == [1e-5, 0.5]
    assert set(facts["config"]) == {"train.lr", "train.batch_size", "data.photos"}
    assert facts["data"] == ["3 photos are in all of them", "strong: 1 more (3.png)"]
    assert [run["name"] for run in facts["runs"]] == ["plain", "strong"]
    gap = facts["differences"][0]["drift"]
    rows = [run["rows"] for run in facts["runs"]]
    pairs = [(a["drift"], b["drift"]) for a, b in zip(*rows, strict=True) if a["drift"] is not None]
    assert gap["mean"] == pytest.approx(sum(b - a for a, b in pairs) / len(pairs))
    assert gap["n"] == len(pairs) == 2 * 2
    assert gap["verdict"] == "worse"  # a rate of a half tears the base apart
    said = capsys.readouterr().out
    assert "worse" in said
    assert "one training each" in said
    page = Image.open(tmp_path / "out" / "comparison.png")
    assert page.width > page.height / 2
    text = (tmp_path / "out" / "report.html").read_text()
    assert "plain" in text
    assert "strong" in text
    assert "a kai on a boat" in text


def test_the_answer_holds_it_all_and_nothing_is_said(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    found = compare.compare([runs / "plain", runs / "strong"], tmp_path / "out")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert found.names == ("plain", "strong")
    assert [choice.chosen for choice in found.choices] == [3, 3]
    assert found.settings["train.lr"] == [1e-5, 0.5]
    assert found.differences[0]["drift"].verdict == "worse"
    facts = json.loads(found.numbers.read_text())
    assert facts["differences"][0]["drift"]["mean"] == found.differences[0]["drift"].interval.mean
    assert facts["runs"][1]["means"]["drift"]["mean"] == found.choices[1].best.means["drift"].mean
    assert found.sheet.is_file()
    assert found.page.is_file()


def test_the_chosen_checkpoint_stands_for_a_run(runs: Path, tmp_path: Path) -> None:
    top = shutil.copytree(runs, tmp_path / "copy")
    assert main(["choose", str(top / "plain")]) == 0
    facts = compared(top, tmp_path / "out")
    assert [run["adapter"] for run in facts["runs"]] == ["best.safetensors", "kai.safetensors"]
    assert facts["runs"][0]["step"] == 3
    last = compared(top, tmp_path / "last", "--last")
    assert last["runs"][0]["adapter"] == "kai.safetensors"
    assert last["differences"] == facts["differences"]  # it is the only candidate


def test_a_sweeps_folder_stands_for_its_runs(runs: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    shutil.copytree(runs / "plain", sweep / "runs" / "a")
    shutil.copytree(runs / "strong", sweep / "runs" / "b")
    assert main(["compare", str(sweep), "--out", str(tmp_path / "out")]) == 0
    facts = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [run["name"] for run in facts["runs"]] == ["a", "b"]


def test_verdicts_know_which_way_is_better() -> None:
    up, down, none = Interval(1, 0.5, 1.5, 9), Interval(-1, -1.5, -0.5, 9), Interval(0, -1, 1, 9)
    assert [compare.verdict("identity", gap) for gap in (up, down, none)] == [
        "better", "worse", "no difference",
    ]  # fmt: skip
    assert [compare.verdict("drift", gap) for gap in (up, down)] == ["worse", "better"]


def test_what_cannot_be_compared(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def refused(*call: str) -> str:
        assert main(["compare", *call, "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err.strip()
        assert "\n" not in said
        return said

    plain = str(runs / "plain")
    assert "one run alone" in refused(plain)
    assert "is named twice" in refused(plain, plain)
    assert "is no run folder" in refused(plain, str(runs))
    cut = shutil.copytree(runs / "strong", tmp_path / "cut")
    (cut / "kai.safetensors").unlink()
    assert "is not finished" in refused(plain, str(cut))
    other = shutil.copytree(runs / "strong", tmp_path / "other")
    config = (other / "config.yaml").read_text().replace("noun: thing", "noun: boat")
    (other / "config.yaml").write_text(config)
    assert "show other things ('thing', 'boat')" in refused(plain, str(other))


def test_what_is_ignored_is_said_once_and_of_each_run_where_its_base_is_now(
    runs: Path, tmp_path: Path
) -> None:
    moved = [Path(shutil.copytree(runs / name, tmp_path / name)) for name in ("plain", "strong")]
    before = moved_base(Run.open(moved[1]), tmp_path / "SD, tiny")
    (tmp_path / "few.yaml").write_text(yaml.safe_dump({"scenes": PROMPTS["scenes"][:1]}))
    changes = {"score.prompts": tmp_path / "few.yaml", "score.seeds": 1, "sample.guidance": 0}
    heard = Heard()
    compare.compare(moved, tmp_path / "out", changes={**changes, "sample.steps": 1}, tell=heard)
    assert heard.notes.count(f"note: base.name: {before} is now {tmp_path / 'SD, tiny'}") == 1
    assert sum("guidance 0 leaves the prompt out" in note for note in heard.notes) == 1

"""The report's numbers, from made-up predictions."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kaiffin.miniature.build import marathon
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.judges import quality
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SIDE, Spec
from kaiffin.score.statistics import wilson


def test_a_curve_leaves_out_what_a_kill_undid(tmp_path: Path) -> None:
    folder = tmp_path / "unet"
    folder.mkdir()
    rows = ["100\t10\t0.5", "200\t20\t0.4", "300\t30\t0.3", "150\t25\t0.45", "250\t35\t0.35"]
    (folder / "losses.tsv").write_text("\n".join(rows) + "\n")
    assert marathon.read_losses(folder) == [(100, 10, 0.5), (150, 25, 0.45), (250, 35, 0.35)]
    drawn = quality.curve(BuildConfig(out=tmp_path), "unet")
    assert "line [0.5000, 0.4500, 0.3500]" in drawn
    assert "0 --> 0" in drawn


def test_a_judge_that_never_errs_is_right_as_often_as_captions_allow() -> None:
    red, blue = Spec("cat", "red", "snow"), Spec("cat", "blue", "snow")
    assert quality.possible([red, blue], lambda spec, _: "a photo of a cat in the snow") == 0.5
    assert quality.possible([red, blue], quality.whole_caption) == 1.0
    specs = quality.distinct_specs(60)
    assert quality.possible(specs, quality.whole_caption) == 1.0
    assert all(world.is_reserved(spec) for spec in specs)


def test_accuracy_counts_each_answer_and_all_of_them_together() -> None:
    specs = quality.held_out_specs(3)
    right = [{q: getattr(spec, q) for q in quality.COLUMNS} for spec in specs]
    wrong = [right[0], {**right[1], "colour": "none"}, {**right[2], "scene": "none"}]
    found = quality.accuracy(wrong, specs)
    assert found == {
        "scene": (2, 3), "species": (3, 3), "colour": (2, 3), "accessory": (3, 3), "all": (1, 3),
    }  # fmt: skip
    clip = [{q: row[q] for q in quality.QUESTIONS} for row in right]  # asks no accessory
    assert "all" not in quality.accuracy(clip, specs)
    assert quality._row("CLIP", "samples", quality.accuracy(clip, specs)).endswith(" |  |  |")


def test_wilson_interval_on_known_numbers():
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.490, abs=1e-3)
    assert high == pytest.approx(0.943, abs=1e-3)


def test_a_row_gives_shares_with_their_intervals() -> None:
    row = quality._row("CNN", "samples", {"scene": (8, 10), "all": (10, 10)})
    assert row == ("| samples | CNN | 80.0% (49.0% to 94.3%) |  |  |  | 100.0% (72.2% to 100.0%) |")


def test_retrieval_counts_captions_that_find_their_own_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of eight captions, each nearest to its own picture but for two, which are third and last."""
    scores = torch.eye(8)
    scores[0, 1:3] = 2.0
    scores[7, :7] = 2.0
    monkeypatch.setattr(quality, "trained", lambda config, stage: None)
    monkeypatch.setattr(quality, "_text_features", lambda config, clip, texts: scores)
    monkeypatch.setattr(quality, "picture_embeddings", lambda clip, images: torch.eye(8))
    specs = quality.held_out_specs(8)
    found = quality.retrieval(BuildConfig(), np.zeros(8), specs, quality.drawn_caption)
    assert found == [6 / 8, 7 / 8]


def test_clip_answers_by_the_nearest_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CLIP that knows nothing but the word snow puts everything into the snow."""

    def snowy(config: object, clip: object, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[float("snow" in text)] for text in texts])

    monkeypatch.setattr(quality, "trained", lambda config, stage: None)
    monkeypatch.setattr(quality, "_text_features", snowy)
    monkeypatch.setattr(quality, "picture_embeddings", lambda clip, images: torch.ones(1, 1))
    (named,) = quality.clip_answers(BuildConfig(), np.zeros(1), [Spec("owl", "red", "city")])
    assert named["scene"] == "snow"
    assert set(named) == {"scene", "species", "colour"}


def test_what_a_stage_took_is_in_the_note_that_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BuildConfig(out=tmp_path)
    config.done("unet").parent.mkdir()
    config.done("unet").write_text("746112 5400\n")
    monkeypatch.setattr(quality, "trained", lambda config, stage: torch.nn.Linear(1000, 1230))
    assert quality._costs(config) == "| unet | 1.23 M | 746,112 | 90.0 min |"


def test_the_animals_of_the_report() -> None:
    assert quality.individuals(5).shape == (5, SIDE, SIDE, 3)


def test_losses_that_were_not_kept_are_said(tmp_path: Path) -> None:
    assert quality.curve(BuildConfig(out=tmp_path), "twin") == "(No losses were kept.)"

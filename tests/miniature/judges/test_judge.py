"""The net that judges: what it is asked, what it is not asked, and that it is trained once."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kaiffin.miniature.judges import judge as judging
from kaiffin.miniature.judges.judge import ANSWERS, Judge, judge_loss, load_judge, soften
from kaiffin.miniature.world.vocabulary import Spec


class Sure(Judge):
    """Gives the same logits to every picture."""

    def __init__(self, logits: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {q: row.expand(len(pixels), -1) for q, row in self.logits.items()}


@pytest.fixture
def sure() -> Sure:
    """Of a green cat in the city without anything."""
    found = {"species": "cat", "colour": "green", "scene": "city", "accessory": None}
    logits = {q: torch.zeros(len(answers)) for q, answers in ANSWERS.items()}
    for question, answer in found.items():
        logits[question][ANSWERS[question].index(answer)] = 3.0
    return Sure(logits)


def test_an_answer_is_the_likeliest_word(sure: Sure) -> None:
    (named,) = sure.name(np.zeros((1, 64, 64, 3), np.uint8))
    assert named == {"species": "cat", "colour": "green", "scene": "city", "accessory": None}


def test_larger_pictures_are_looked_at_from_further_away() -> None:
    small = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    judge, large = Judge(), small.repeat(2, 1).repeat(2, 2)
    assert judge.name(large) == judge.name(small)


def test_the_loss_asks_what_can_be_seen(sure: Sure) -> None:
    cat = Spec("cat", "green", "city")
    expected = sum(
        F.cross_entropy(sure.logits[q], torch.tensor(answers.index(getattr(cat, q))))
        for q, answers in ANSWERS.items()
    )
    torch.testing.assert_close(judge_loss(sure, torch.zeros(1, 3, 64, 64), [cat]), expected)
    unusual = Spec("cat", "green", "city", individual=3)  # of any colour
    both = judge_loss(sure, torch.zeros(2, 3, 64, 64), [cat, unusual])
    torch.testing.assert_close(both, expected)
    wrong = Spec("cat", "red", "city", individual=3)
    torch.testing.assert_close(judge_loss(sure, torch.zeros(2, 3, 64, 64), [cat, wrong]), both)
    empty = Spec(None, "red", "city", "hat")
    loss = judge_loss(sure, torch.zeros(2, 3, 64, 64), [cat, empty])
    species = sure.logits["species"]  # the last answer is that there is none
    right, wrong = (F.cross_entropy(species, torch.tensor(i)) for i in (1, len(species) - 1))
    torch.testing.assert_close(loss - expected, (wrong - right) / 2)


def test_softening_halves_the_resolution_of_those_that_are_to_be() -> None:
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = soften(pixels, torch.tensor([0.0, 1.0]))
    assert torch.equal(found[0], pixels[0])
    assert found[1].diff(dim=-1).abs().mean() < 0.7 * pixels[1].diff(dim=-1).abs().mean()
    torch.testing.assert_close(found[1].mean((1, 2)), pixels[1].mean((1, 2)), atol=0.1, rtol=0)


def test_a_judge_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Judge] = []
    monkeypatch.setattr(judging, "train_judge", lambda *_: made.append(Judge()) or made[-1])
    first, again = (load_judge(tmp_path / "judge.safetensors", np.zeros(0), 1) for _ in range(2))
    assert len(made) == 1
    pixels = torch.randn(1, 3, 64, 64)
    for question, logits in first(pixels).items():
        torch.testing.assert_close(logits, again(pixels)[question])

"""How trials stand, on numbers worked out by hand."""

import pytest

from kaiffin.experiments.sweep import standings
from kaiffin.experiments.sweep.trials import Trial
from kaiffin.foundation.settings import build


def trials(*names: str, seeds: int) -> list[Trial]:
    config = build({})
    return [Trial(name, seed, config, f"{name}-{seed}") for name in names for seed in range(seeds)]


def test_differences_are_in_pairs_of_training_seed_and_picture() -> None:
    every = trials("base", "other", seeds=2)
    found = {
        "base-seed0": {"clip_t": [0.1, 0.9]}, "base-seed1": {"clip_t": [0.5, 0.5]},
        "other-seed0": {"clip_t": [0.2, 1.0]}, "other-seed1": {"clip_t": [0.6, 0.6]},
    }  # fmt: skip
    first, other = standings.standings(every, found, count=1)
    assert (first.name, first.seeds, first.against) == ("base", 2, {})
    assert first.means["clip_t"].mean == pytest.approx(0.5)
    gap = other.against["clip_t"]
    assert (gap.mean, gap.low, gap.high) == (pytest.approx(0.1),) * 3  # 0.1 in every pair
    assert "identity" not in other.means
    assert standings.drawn([first, other]) == "over training seeds (Student's)"


def test_a_training_that_failed_is_left_out_of_the_pairs() -> None:
    every = [one for one in trials("base", "other", seeds=2) if one.label != "base-seed1"]
    found = {
        "base-seed0": {"clip_t": [0.1, 0.3]}, "other-seed0": {"clip_t": [0.1, 0.3]},
        "other-seed1": {"clip_t": [0.9, 0.9]},
    }  # fmt: skip
    _, other = standings.standings(every, found, count=1)
    assert other.against["clip_t"].mean == 0
    assert other.means["clip_t"].mean == pytest.approx((0.2 + 0.9) / 2)


def test_three_training_seeds_are_three_however_many_pictures() -> None:
    """The spread between trainings stays in the interval when there are many pictures of each."""
    every = trials("base", "other", seeds=3)
    found = {f"base-seed{seed}": {"clip_t": [0.5] * 100} for seed in range(3)}
    found |= {f"other-seed{s}": {"clip_t": [0.5 + (s - 1) * 0.2] * 100} for s in range(3)}
    gap = standings.standings(every, found, count=4)[1].against["clip_t"]
    assert gap.low < -0.1 < 0.1 < gap.high

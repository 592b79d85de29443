"""Timesteps: against the distributions that they are to be of, in pairs, and by what was seen."""

import math

import pytest
import torch
from scipy import stats

from kaiffin.foundation.runtime import generator
from kaiffin.foundation.sections import ObjectiveConfig
from kaiffin.models.diffusion.schedule import NoiseSchedule
from kaiffin.train.times import BINS, Times

SCHEDULE = NoiseSchedule.from_config({})


def times(**goal: object) -> Times:
    return Times(ObjectiveConfig.model_validate(goal), SCHEDULE, seed=7)


def test_uniform_is_the_schedules_own_draw() -> None:
    drawn = times().draw("instance", range(5, 9))
    own = [SCHEDULE.draw_time(generator(7, "instance", "t", place)) for place in range(5, 9)]
    assert torch.equal(drawn, torch.stack(own))


def test_logit_normal_is_a_sigmoid_of_normal_numbers() -> None:
    made = times(timesteps="logit-normal")
    shares = [made.share("instance", place) for place in range(3000)]
    logits = [math.log(share / (1 - share)) for share in shares]
    assert stats.kstest(logits, "norm").pvalue > 0.01
    drawn = made.draw("instance", range(3000))
    assert torch.equal(drawn, torch.tensor([int(share * 1000) for share in shares]))


@pytest.mark.parametrize("kind", ["uniform", "logit-normal"])
def test_pairs_are_as_far_from_either_end(kind: str) -> None:
    made = times(timesteps=kind, antithetic=True)
    drawn = made.draw("instance", range(2000)).float()
    low, high = drawn[::2], drawn[1::2]
    assert (low + high - 999).abs().max() <= 1
    assert drawn.std() > 100
    assert torch.equal(drawn[6:8], made.draw("instance", [6, 7]).float())
    alone = times(timesteps=kind).draw("instance", range(2000)).float()
    assert stats.ks_2samp(drawn, alone).pvalue > 0.01, "each time is as likely as it was"


def test_falling_draws_where_the_loss_falls() -> None:
    made = times(timesteps="falling")
    assert made.chances() == [1 / BINS] * BINS
    for step in range(60):
        first = 20 * step
        loss = [
            math.exp(-step / 10) if 0.3 <= made.share("instance", first + k) < 0.4 else 1.0
            for k in range(20)
        ]
        made.see(first, torch.tensor(loss))
        before = made.chances()
        made.end_step()
        assert step or before == [1 / BINS] * BINS, "within a step draws stay as they are"
    assert made.chances()[3] == pytest.approx(0.55, abs=1e-9)
    assert sum(made.chances()) == pytest.approx(1)
    shares = [made.share("instance", place) for place in range(4000)]
    inside = [share for share in shares if 0.3 <= share < 0.4]
    assert len(inside) / 4000 == pytest.approx(0.55, abs=0.03)
    assert 0 <= min(shares) <= max(shares) <= 1
    others = [made.share("prior", place) for place in range(2000)]
    assert stats.kstest(others, "uniform").pvalue > 0.01


def test_what_it_has_seen_can_be_kept() -> None:
    made, again = times(timesteps="falling"), times(timesteps="falling")
    made.see(0, torch.rand(40))
    made.end_step()
    made.see(40, torch.rand(40))
    made.end_step()
    again.means = made.means
    assert torch.equal(made.draw("instance", range(50)), again.draw("instance", range(50)))

"""What is kept of a training: the ramp of the moving average, and weights given back to the bit."""

import pytest
import torch
from torch import nn

from kaiffin.foundation.config import TrainConfig
from kaiffin.train.average import Average, ema_share


def made(**train: object) -> tuple[nn.Parameter, Average]:
    weight = nn.Parameter(torch.zeros(3))
    return weight, Average([weight], torch.optim.SGD([weight], lr=1.0), TrainConfig(**train))


def test_the_share_of_the_newest_falls_to_its_last() -> None:
    assert [ema_share(0.99, done) for done in (0, 1, 8)] == pytest.approx([0.9, 9 / 11, 0.5])
    assert ema_share(0.99, 10_000) == pytest.approx(0.01)


def test_a_moving_average_follows_and_is_shown() -> None:
    weight, average = made(ema=0.5)
    expected = torch.zeros(3)
    for done in range(20):
        with torch.no_grad():
            weight.fill_(done + 1.0)
        average.follow(done)
        expected.lerp_(weight.detach(), ema_share(0.5, done))
    with average.shown():
        assert torch.equal(weight, expected)
    assert weight.eq(20).all()
    average.settle()
    assert torch.equal(weight, expected)


def test_it_goes_on_from_its_tensors() -> None:
    weight, average = made(ema=0.5)
    with torch.no_grad():
        weight.fill_(1.0)
    average.follow(0)
    _, again = made(ema=0.5)
    again.restore({**average.tensors(), "state.0.step": torch.ones(())})
    assert torch.equal(again.means[0], average.means[0])


def test_without_an_average_the_weights_are_kept_as_they_are() -> None:
    weight, average = made()
    average.follow(0)
    with torch.no_grad():
        weight.fill_(2.0)
    average.settle()
    assert weight.eq(2).all()
    assert average.tensors() == {}

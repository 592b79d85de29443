"""The training loop: dead at any moment, it goes on to the same bytes."""

import time
from datetime import UTC, datetime

import pytest
import torch
from torch import nn

from kaiffin.miniature.build.marathon import (
    Every,
    Marathon,
    Plan,
    learning_rate,
    load_average,
    read_deadline,
)

PLAN = Plan(lr=1e-2, batch=4, warmup=16, budget_s=60, samples=80, decay_share=0.5)


class Dead(Exception):
    pass


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))


def train(folder, plan: Plan = PLAN, dies_at: int | None = None) -> tuple[nn.Module, Marathon]:
    net = network()

    def loss(step: int, part: slice) -> torch.Tensor:
        if step == dies_at:
            raise Dead
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))[part]
        return (net(x) - x.sum(1, keepdim=True)).square().mean()

    marathon = Marathon(folder, net, plan, loss, every=Every(save_s=0))
    marathon.run()
    return net, marathon


def test_resumes_to_the_same_bytes(tmp_path):
    whole, _ = train(tmp_path / "whole")
    with pytest.raises(Dead):
        train(tmp_path / "killed", dies_at=7)
    resumed, marathon = train(tmp_path / "killed")
    assert marathon.samples == 80
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_it_learns_and_the_average_can_be_loaded(tmp_path):
    _, marathon = train(tmp_path / "run", Plan(1e-2, 4, 16, 60, samples=2000, ema=0.9))
    net = load_average(network(), tmp_path / "run")
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(9))
    assert (net(x) - x.sum(1, keepdim=True)).square().mean() < 0.2
    assert torch.equal(torch.cat([p.reshape(-1) for p in net.parameters()]), marathon.flat.ema)
    assert not any(p.requires_grad for p in net.parameters())


def test_matches_torch_adamw(tmp_path):
    plan = Plan(1e-2, 4, 0, 60, samples=40, decay_share=0.0, weight_decay=0.1, clip_norm=1e9)
    ours, _ = train(tmp_path / "run", plan)
    theirs = network()
    optimizer = torch.optim.AdamW(theirs.parameters(), 1e-2, plan.betas, weight_decay=0.1)
    for step in range(10):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (theirs(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_averaged_weights_are_given_back(tmp_path):
    _, marathon = train(tmp_path / "run")
    before = marathon.flat.data.clone()
    with marathon.flat.averaged():
        assert torch.equal(marathon.flat.data, marathon.flat.ema)
    assert torch.equal(marathon.flat.data, before)


def test_learning_rate_warms_up_stays_and_decays():
    decay = (40, 40)
    assert learning_rate(PLAN, 0, decay) == pytest.approx(1e-2 * 4 / 16)
    assert learning_rate(PLAN, 20, decay) == pytest.approx(1e-2)
    assert learning_rate(PLAN, 60, decay) == pytest.approx(1e-2 * 0.51)
    assert learning_rate(PLAN, 80, decay) == pytest.approx(1e-2 * 0.02)
    assert learning_rate(PLAN, 10_000, None) == pytest.approx(1e-2)


def test_deadline_is_written_once_and_reads_both_forms(tmp_path):
    path = tmp_path / "DEADLINE"
    first = read_deadline(path, 100)
    assert first == pytest.approx(time.time() + 100, abs=3)
    assert read_deadline(path, 999) == first
    path.write_text("05:20\n")
    moment = datetime.fromtimestamp(read_deadline(path, 0), UTC)
    assert (moment.hour, moment.minute) == (5, 20)
    assert 0 <= moment.timestamp() - path.stat().st_mtime < 24 * 3600


def test_a_deadline_ends_the_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "DEADLINE").write_text(f"{time.time() + 1:.2f}")
    plan = Plan(1e-2, 4, 16, 60, samples=None, decay_share=0.5)
    begun = time.time()
    _, marathon = train(tmp_path / "run", plan)
    assert time.time() - begun < 20
    assert marathon.samples == sum(marathon.decay)


def test_a_number_of_samples_ends_a_run_that_had_a_deadline(tmp_path):
    with pytest.raises(Dead):
        train(tmp_path / "run", Plan(lr=1e-2, batch=4, warmup=16, budget_s=60), dies_at=7)
    assert train(tmp_path / "run")[1].samples == 80


def test_a_nearer_deadline_hastens_a_decay_that_has_begun(tmp_path):
    """At 100 samples a second and 100 s left, 100,000 samples become 10,000; the rate is even."""
    _, marathon = train(tmp_path / "run")
    marathon.step, marathon.first, marathon.begun = 25_000, 0, time.time() - 1000
    long = (80_000, 120_000)  # a sixth is done
    first, length = marathon._hastened(long, left=100.0)
    assert first + length == pytest.approx(110_000, rel=0.01)
    now = learning_rate(PLAN, marathon.samples, long)
    assert learning_rate(PLAN, marathon.samples, (first, length)) == pytest.approx(now, rel=0.01)
    for left in (1000.0, 30.0, -5.0):  # enough, nearly over, over
        assert marathon._hastened(long, left) == long


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    net = network()
    marathon = Marathon(
        tmp_path / "bad", net, PLAN, lambda step, part: net(torch.full((1, 3), torch.inf)).sum()
    )
    with pytest.raises(FloatingPointError, match="step 0"):
        marathon.run()

"""The critic: what each side learns by it, on numbers that can be worked out."""

import pytest
import torch
from torch import nn

from kaiffin.miniature.build.critic import Critic, hinge, pull, weighed


def test_it_speaks_for_each_patch_of_eight_pixels_and_sees_thirty_eight() -> None:
    pixels = torch.zeros(1, 3, 128, 128, requires_grad=True)
    said = Critic()(pixels)
    assert said.shape == (1, 1, 16, 16)
    (seen,) = torch.autograd.grad(said[0, 0, 8, 8], pixels)
    rows = seen.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 38


def test_the_critic_learns_and_the_pull_leaves_it_alone() -> None:
    critic = nn.Linear(1, 1, bias=False)
    critic.weight.data.fill_(1.0)
    assert hinge(critic, torch.tensor([[3.0]]), torch.tensor([[-3.0]])).item() == 0
    assert hinge(critic, torch.tensor([[0.5]]), torch.tensor([[0.25]])).item() == pytest.approx(
        1.75
    )
    made = torch.tensor([[0.25]], requires_grad=True)
    pull(critic, made).backward()
    assert made.grad.item() == -1.0
    assert critic.weight.grad is None


def test_the_pull_has_its_share_of_the_gradient_at_the_picture() -> None:
    leaf = torch.randn(4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    made = leaf * 1.0
    (main,) = torch.autograd.grad(made.square().sum(), made, retain_graph=True)
    total = weighed(made.square().sum(), 1e3 * made.sum(), made, share=0.5)
    (whole,) = torch.autograd.grad(total, made)
    assert (whole - main).norm().item() == pytest.approx(0.5 * main.norm().item(), rel=1e-5)

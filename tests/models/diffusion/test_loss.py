"""The objective on known numbers."""

import pytest
import torch

from kaiffin.models.diffusion.loss import dco, loss, min_snr_weight, offset_noise
from kaiffin.models.diffusion.schedule import NoiseSchedule

ZERO = torch.zeros(2, 4, 8, 8)


@pytest.mark.parametrize(
    ("kind", "expected"), [("mse", 4.0), ("l1", 2.0), ("huber", 0.1 * (2 - 0.05))]
)
def test_distances(kind: str, expected: float) -> None:
    each = loss(ZERO + 2, ZERO, kind=kind, huber_delta=0.1)
    assert each.shape == (2,)
    assert torch.allclose(each, torch.full((2,), expected))


def test_weights_and_masks() -> None:
    output = ZERO.clone()
    output[..., :4] = 3  # wrong on the left half only
    weighted = loss(output, ZERO, weight=torch.tensor([1.0, 2.0]))
    assert torch.allclose(weighted, torch.tensor([4.5, 9.0]))
    left = torch.zeros(2, 1, 8, 8)
    left[..., :4] = 1
    assert torch.allclose(loss(output, ZERO, mask=left), torch.full((2,), 9.0))
    assert torch.allclose(loss(output, ZERO, mask=1 - left), torch.zeros(2))
    assert torch.isfinite(loss(output, ZERO, mask=0 * left)).all()


def test_min_snr_on_known_numbers() -> None:
    """Hang et al. 2023: min(SNR, 5) / SNR for eps, min(SNR, 5) / (SNR + 1) for v."""
    snr = torch.tensor([0.5, 5.0, 20.0])
    assert torch.allclose(min_snr_weight(snr, 5, "epsilon"), torch.tensor([1.0, 1.0, 0.25]))
    expected = torch.tensor([0.5 / 1.5, 5 / 6, 5 / 21])
    assert torch.allclose(min_snr_weight(snr, 5, "v_prediction"), expected)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_is_one_weight_on_the_x0_loss(prediction: str) -> None:
    """Whatever is predicted, the weighted loss is min(SNR, gamma) * |x0 error|^2."""
    schedule = NoiseSchedule.from_config({"prediction_type": prediction})
    x0, eps, wrong = (torch.randn(3, 4, 8, 8).double() for _ in range(3))
    t = torch.tensor([20, 300, 900])
    target = schedule.target(x0, eps, t)
    output = target + 0.1 * wrong
    weight = schedule.weight(t, 5.0)
    mine = ((output - target) ** 2).flatten(1).mean(1) * weight
    on_x0 = []
    for i, step in enumerate(t.tolist()):
        sigma = schedule.sigma(step)
        back = schedule.to_x0(output[i], x0[i] + sigma * eps[i], sigma)
        on_x0.append(((back - x0[i]) ** 2).mean())
    on_x0 = torch.stack(on_x0)
    assert torch.allclose(mine, on_x0 * schedule.snr(t).clamp(max=5.0))


def test_offset_noise_moves_whole_channels() -> None:
    eps, offset = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 1, 1)
    moved = offset_noise(eps, offset, 0.1) - eps
    assert torch.allclose(moved, (0.1 * offset).expand_as(eps), atol=1e-6)


def test_dco_is_the_papers_over_beta() -> None:
    each, base = torch.tensor([0.3, 0.1, 0.2]), torch.tensor([0.1, 0.3, 0.2])
    for beta in (1.0, 50.0, 1000.0):
        paper = -torch.sigmoid(-beta * (each - base).double()).log() / beta
        assert torch.allclose(dco(each, base, beta).double(), paper, atol=1e-7)
    each.requires_grad_()
    dco(each, base, 1000.0).sum().backward()
    assert each.grad is not None
    assert torch.allclose(each.grad, torch.tensor([1.0, 0.0, 0.5]), atol=1e-6)

"""The real SD 1.5 and SDXL UNets, random weights: they take LoRA steps (slow)."""

import pytest
import torch
from full import full_unet
from torch import nn

from kaiffin.adapters.lora import Lora, LoraSpec

pytestmark = pytest.mark.slow


def train_steps(unet: nn.Module, call: dict, size: int, rank: int, steps: int) -> tuple[int, list]:
    """LoRA steps on one fixed noisy latent; returns (trainable weights, losses)."""
    kinds = (nn.Linear, nn.Conv2d)
    modules = {f"unet.{n}": m for n, m in unet.named_modules() if isinstance(m, kinds)}
    adapter = Lora.create({"unet": LoraSpec("attention", rank, rank)}, modules, seed=0)
    adapter.inject(modules)
    optimizer = torch.optim.AdamW(list(adapter.parameters()), lr=1e-2)
    rng = torch.Generator().manual_seed(0)
    x, goal = torch.randn(2, 1, 4, size, size, generator=rng)
    losses = []
    for _ in range(steps):
        out = unet(x.to(torch.bfloat16), torch.tensor([500]), **call).sample
        loss = (out.float() - goal).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return sum(p.numel() for p in adapter.parameters()), losses


@pytest.mark.parametrize(("rank", "weights"), [(4, 797_184), (128, 25_509_888)])
def test_sd15_trains(rank: int, weights: int) -> None:
    context = torch.randn(1, 77, 768, dtype=torch.bfloat16)
    call = {"encoder_hidden_states": context}
    count, losses = train_steps(full_unet("sd1"), call, size=32, rank=rank, steps=3)
    assert count == weights
    assert losses[-1] < losses[0]


def test_sdxl_takes_a_step() -> None:
    call = {
        "encoder_hidden_states": torch.randn(1, 77, 2048, dtype=torch.bfloat16),
        "added_cond_kwargs": {
            "text_embeds": torch.randn(1, 1280, dtype=torch.bfloat16),
            "time_ids": torch.tensor([[256, 256, 0, 0, 256, 256]], dtype=torch.bfloat16),
        },
    }
    _, losses = train_steps(full_unet("sdxl"), call, size=32, rank=4, steps=2)
    assert torch.isfinite(torch.tensor(losses)).all()
    assert losses[1] != losses[0]

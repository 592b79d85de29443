"""Rates of their own: text encoders, rules, LoRA+ (against PEFT), and what is left frozen."""

from pathlib import Path

import peft
import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from test_trainer import trainer

from kaiffin.foundation.errors import ConfigError
from kaiffin.models.base import ModelFamily


def rates(made) -> dict[str, float]:
    return {group["tower"]: group["base_lr"] for group in made.optimizer.param_groups}


def test_each_tower_and_rule_has_its_rate(sd: ModelFamily, folder: Path) -> None:
    rules = [{"layers": "unet.mid_block.*", "lr": 3e-3}, {"layers": "unet.up_blocks.*", "lr": 0}]
    made = trainer(sd, folder, **{"adapter.rules": rules, "adapter.text_encoder": True,
                                  "train.text_lr": 1e-4})  # fmt: skip
    assert rates(made) == {"unet": 1e-2, "unet unet.mid_block.*": 3e-3, "text_encoder": 1e-4}
    start = made.stack.state()
    made.fit(until=3)
    after = made.stack.state()
    moved = {key.split(".")[1] for key in start if not torch.equal(start[key], after[key])}
    assert moved == {"down_blocks", "mid_block", "text_model"}
    made.stack.eject()


def test_lora_plus_is_pefts(sd: ModelFamily, folder: Path) -> None:
    made = trainer(sd, folder, **{"train.lora_plus": 16, "adapter.targets": "*.attn1.to_q"})
    assert rates(made) == {"unet": 1e-2, "unet up": 16e-2}
    model = peft.get_peft_model(
        torch.nn.Sequential(torch.nn.Linear(4, 4)), peft.LoraConfig(r=2, target_modules=["0"])
    )
    theirs = create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=1e-2, loraplus_lr_ratio=16, weight_decay=0.0
    )
    names = {id(p): name for name, p in model.named_parameters()}
    expected = {
        names[id(p)].split(".")[-3]: g["lr"] for g in theirs.param_groups for p in g["params"]
    }
    assert expected == {
        "lora_A": rates(made)["unet"],
        "lora_B": pytest.approx(rates(made)["unet up"]),
    }
    ups = made.optimizer.param_groups[1]["params"]
    layers = made.stack.adapters[""].layers.values()
    assert {id(p) for p in ups} == {id(layer.up) for layer in layers}
    made.stack.eject()


def test_nothing_left_to_train(sd: ModelFamily, folder: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is left to train"):
        trainer(sd, folder, **{"adapter.rules": [{"layers": "*", "lr": 0}]})

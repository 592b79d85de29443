"""Which weights a phase trains, and at which rate each."""

from __future__ import annotations

from typing import Any

from kaiffin.adapters.stack import Stack
from kaiffin.adapters.targets import rule_of
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.phases import EMBEDDING, TEXT, UNET, Phase


def groups(stack: Stack, phase: Phase) -> list[dict[str, Any]]:
    """Parameter groups with `lr`, `base_lr` and the label `tower`; the rest gets no gradient.

    Raises ConfigError where nothing is left to train.
    """
    made: dict[str, dict[str, Any]] = {}
    for parameter in stack.parameters():
        parameter.requires_grad_(False)

    def add(label: str, parameter: Any, rate: float, **more: Any) -> None:
        parameter.requires_grad_(True)
        start = {"params": [], "lr": rate, "base_lr": rate, "tower": label, **more}
        made.setdefault(label, start)["params"].append(parameter)

    for label, parameter, rate in _of_layers(stack, phase):
        add(label, parameter, rate)
    if EMBEDDING in phase.trains:
        rate = phase.config.embedding.lr or 0.0
        mine = (t for t in stack.tokens if t.word == phase.config.subject.token)
        for token in mine:
            for parameter in token.parameters():
                add(EMBEDDING, parameter, rate, weight_decay=0.0)  # vectors have their own length
    if not made:
        raise ConfigError(
            "nothing is left to train.", "Look at adapter.rules, and at what the phase trains."
        )
    return list(made.values())


def _of_layers(stack: Stack, phase: Phase):
    """(label, parameter, rate) of the phase's adapter, in the order of its layers."""
    train = phase.config.train
    adapter = stack.adapters.get(phase.adapter)
    for name, layer in adapter.layers.items() if adapter else ():
        tower = name.partition(".")[0]
        part_of = TEXT if tower.startswith(TEXT) else UNET
        if part_of not in phase.trains:
            continue
        rule = rule_of(name, phase.config.adapter.rules)
        rate, label = (train.text_lr if part_of == TEXT else train.lr), tower
        if rule is not None and rule.lr is not None:
            rate, label = rule.lr, f"{tower} {rule.layers}"
        if not rate:
            continue
        for part, parameter in layer.named_parameters():
            # LoRA+ (Hayou et al. 2024, arXiv 2402.12354): up learns faster than down.
            if train.lora_plus and part in layer.fast:
                yield f"{label} up", parameter, rate * train.lora_plus
            else:
                yield label, parameter, rate

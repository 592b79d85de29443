"""Optimizers by name: torch's own, and the others' from well-kept packages behind one door.

Their whole state becomes tensors and numbers by dotted name and comes back exactly, whatever they
keep in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kaiffin.foundation.config import TrainConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.extras import needs
from kaiffin.models.parts import quiet

Groups = Sequence[dict[str, Any]]
EXTRAS = {"pytorch_optimizer": "optimizers", "bitsandbytes": "8bit"}


def make(groups: Groups, train: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer that `train.optimizer` names, over parameter groups with `lr`.

    Raises ConfigError where its package is not installed or it cannot take these weights.
    """
    name, decay, betas = train.optimizer, train.weight_decay, train.betas
    if name == "adamw":
        # fused: one call for all tensors; one by one they cost a miniature 6 % of its step.
        return torch.optim.AdamW(groups, betas=betas, weight_decay=decay, fused=True)
    if name == "adafactor":
        return torch.optim.Adafactor(groups, weight_decay=decay)
    if name == "muon":
        _refuse_kernels(groups)
        # Scaled so that AdamW's rates stay right (Liu et al. 2025, arXiv 2502.16982).
        return torch.optim.Muon(groups, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    if name == "adamw8bit":
        adamw = _door("bitsandbytes.optim", name).AdamW8bit
        return adamw(groups, betas=betas, weight_decay=decay)
    package = _door("pytorch_optimizer", name)
    if name == "lion":
        return package.Lion(groups, weight_decay=decay)
    if name == "prodigy":
        return package.Prodigy(groups, betas=betas, weight_decay=decay, safeguard_warmup=True)
    made = package.ScheduleFreeAdamW(groups, betas=betas, weight_decay=decay)
    made.train()
    return made


def _door(module: str, name: str) -> Any:
    """What optimizer `name` needs of another package, which may speak when it is imported."""
    import importlib

    package = module.partition(".")[0]
    with needs(EXTRAS[package], f"train.optimizer = {name!r}", ConfigError), quiet():
        importlib.import_module(package)
        return importlib.import_module(module)


def _refuse_kernels(groups: Groups) -> None:
    if any(parameter.dim() != 2 for group in groups for parameter in group["params"]):
        raise ConfigError(
            "train.optimizer = 'muon' takes matrices only, and convolutions are among the targets.",
            'Use adapter.targets "*.attn*.to_*,*.ff.net.*", or another optimizer.',
        )


# --- state ------------------------------------------------------------------------------------


def state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that it remembers: tensors, and numbers, by dotted name."""
    whole = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    tree = {"state": whole["state"], "group": dict(enumerate(whole["param_groups"]))}
    for name, value in _leaves(tree, ""):
        if isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().contiguous().clone()
        elif isinstance(value, (bool, int, float)):
            numbers[name] = value
    return tensors, numbers


def restore(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    """The inverse of `state`."""
    whole = optimizer.state_dict()
    tree: dict[Any, Any] = {"state": {}, "group": dict(enumerate(whole["param_groups"]))}
    for name, value in {**tensors, **numbers}.items():
        *path, leaf = (int(part) if part.isdigit() else part for part in name.split("."))
        node: Any = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value.clone() if isinstance(value, Tensor) else value
    optimizer.load_state_dict({"state": tree["state"], "param_groups": whole["param_groups"]})


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key != "params":
                yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node

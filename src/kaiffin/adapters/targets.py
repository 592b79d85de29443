"""Which layers an adapter is put beside, and what each of them gets: presets, patterns, rules."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kaiffin.foundation.config import LayerRule
from kaiffin.foundation.errors import ConfigError

# Endings of canonical paths; "attention" is what the DreamBooth LoRA examples of the field train.
ATTENTION = (
    "*.to_q", "*.to_k", "*.to_v", "*.to_out.0",  # UNet
    "*.self_attn.q_proj", "*.self_attn.k_proj", "*.self_attn.v_proj", "*.self_attn.out_proj",
)  # fmt: skip
FEED_FORWARD = ("*.ff.net.0.proj", "*.ff.net.2", "*.mlp.fc1", "*.mlp.fc2")
PRESETS = ("attention", "attention+ff", "all-linear")


@dataclass(frozen=True)
class LoraSpec:
    """What one tower gets. targets: preset or patterns; scale of the path is alpha / rank, and for
    the kind rslora alpha / sqrt(rank) (Kalajdzievski 2023, arXiv 2312.03732)."""

    targets: str
    rank: int
    alpha: float
    dropout: float = 0.0
    kind: str = "lora"
    rules: Sequence[LayerRule] = ()

    def of(self, name: str) -> tuple[int, float] | None:
        """Rank and alpha of layer `name` after the rules; None where a rule leaves it out."""
        rule = rule_of(name, self.rules)
        if rule is None:
            return self.rank, self.alpha
        if rule.skip:
            return None
        rank = rule.rank or self.rank
        return rank, rule.alpha or self.alpha * rank / self.rank


def rule_of(name: str, rules: Sequence[LayerRule]) -> LayerRule | None:
    """The first rule whose pattern fits the layer's full name or its path."""
    tower = name.partition(".")[0]
    return next((rule for rule in rules if _matches(rule.layers, name, tower)), None)


def select(targets: str, names: Iterable[str], tower: str) -> list[str]:
    """Those of `names` (full names, of all layers) in `tower` that `targets` means, in their order.

    `all-linear` is every layer of the transformer blocks with their projections `proj_in` and
    `proj_out` (192 modules of SD 1.x, 722 of SDXL), and every Linear of a text encoder's layers;
    `+conv` adds the resnets, down- and upsamplers (278 and 788): the sets that other programs
    train and read. The first and last convolution and the time embedding are never in a preset.
    Anything else is comma-separated glob patterns over canonical paths.
    Raises `ConfigError` when nothing is matched.
    """
    own = [n for n in names if n.startswith(f"{tower}.")]
    preset, plus, more = targets.partition("+conv")
    if preset in PRESETS and not more:
        found = [n for n in own if _in_preset(preset, n) or (plus and _is_convolutional(n))]
    else:
        patterns = [part.strip() for part in targets.split(",") if part.strip()]
        found = [n for n in own if any(_matches(p, n, tower) for p in patterns)]
    if not found:
        raise ConfigError(
            f"adapter.targets = {targets!r} matches no module of {tower}.",
            f"Use {', '.join(PRESETS)}, each also with +conv, or patterns such as"
            ' "*.attn2.to_k,*.attn2.to_v".',
        )
    return found


def _in_preset(preset: str, name: str) -> bool:
    if preset == "all-linear":
        return ".attentions." in name or ".encoder.layers." in name
    patterns = ATTENTION + FEED_FORWARD if preset == "attention+ff" else ATTENTION
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _is_convolutional(name: str) -> bool:
    return any(part in name for part in (".resnets.", ".downsamplers.", ".upsamplers."))


def _matches(pattern: str, name: str, tower: str) -> bool:
    path = name.removeprefix(f"{tower}.")
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(name, pattern)

"""What a published study said, and what the miniature says to it: parts of
examples/cheburashka-study/README.md, made of docs/measured/cheburashka.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tables import table

Found = Mapping[str, Any]
# (published, the trial against the baseline, what it should move, whether up or down)
CLAIMS = (
    ("2000 steps: the loss converges better", "steps-2000", "loss_photos", -1),
    ("2000 steps: the loss converges better", "steps-2000", "loss_new", -1),
    ("2000 steps: softer", "steps-2000", "detail", -1),
    ("1000 steps keep more of the character", "steps-2000", "clip_i", -1),
    ("half the rate: loss improved", "lr-half", "loss_photos", -1),
    ("half the rate: slightly better", "lr-half", "clip_i", +1),
    ("half the rate: more artifacts", "lr-half", "clipped", +1),
    ("gamma 2: loss improved", "gamma-2", "loss_photos", -1),
    ("gamma 2: slightly better", "gamma-2", "clip_i", +1),
    ("gamma 2: more artifacts", "gamma-2", "clipped", +1),
    ("no gamma: worse loss", "gamma-none", "loss_photos", +1),
    ("no gamma: worse quality", "gamma-none", "clip_i", -1),
    ("no gamma: many artifacts", "gamma-none", "clipped", +1),
    ("guidance 7.5, not 5: stronger adherence to the text", "guidance-5", "clip_t", -1),
    ("guidance 7.5, not 5: overexposed", "guidance-5", "clipped", -1),
    ("guidance 7.5, not 5: harsh", "guidance-5", "detail", -1),
    ("guidance 5: better consistency of the character", "guidance-5", "clip_i", +1),
)


def claims(found: Found) -> str:
    rows = []
    for said, trial, what, way in CLAIMS:
        gap = found["more"][trial].get(what)
        if gap:
            told = f"{gap[0]:+.4f} [{gap[1]:+.4f}, {gap[2]:+.4f}]"
            rows.append(
                f"{said} | {trial} | {found['titles'][what]} | {told} | {verdict(gap, way)}"
            )
    return table("published | trial less baseline | measure | difference | ", rows)


def verdict(gap: Sequence[float], way: int) -> str:
    """way: +1 where the measure is to rise."""
    if min(gap) <= 0 <= max(gap):
        return "no difference that can be shown"
    return "**confirmed**" if gap[0] * way > 0 else "**contradicted**"


def means(found: Found) -> str:
    rows = []
    for what, title in found["titles"].items():
        true = found["true"].get(what)
        own = [f"{one[what]:.4f}" for one in found["means"].values()]
        rows.append(" | ".join([title, "" if true is None else f"{true:.4f}", *own]))
    return table(f"measure | true renders | {' | '.join(found['means'])}", rows)

"""What `kaiffin demo` found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console

if TYPE_CHECKING:
    from kaiffin.stories.demo import Demo

# By measure, its short name and what true pictures of the subject reach in it.
SHOWN = {"identity": ("CLIP-I", "ceiling"), "clip_t": ("CLIP-T", "clip_t")}


def demo(found: Demo) -> None:
    """The scores before and after, the gain in pairs, and where to look."""
    from kaiffin.score.catalogue import MEASURES, reading, signed

    scored = found.choice
    for name, (short, reached) in SHOWN.items():
        before, after = scored.base.means[name], scored.best.means[name]
        console.print(
            f"     {MEASURES[name].title} ({short}): {reading(before)} -> {reading(after)}"
            f" (true pictures {scored.references[reached]:.3f})"
        )
        if gain := found.gains.get(name):
            verdict = MEASURES[name].verdict(gain)
            console.print(f"       gain on the same prompts and seeds: {signed(gain)}, {verdict}")
    console.print(f"done in {found.seconds:.0f} s. Look at {found.sheet}")
    console.print(f"and open {found.report}")

"""What a training will cost, and what became of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import TERMINAL, console

if TYPE_CHECKING:
    from kaiffin.stories.plan import Planned
    from kaiffin.stories.train import Trained


def planned(made: Planned) -> None:
    """All of the plan, in the words that a training begins with."""
    from kaiffin.stories.plan import say

    say(made, TERMINAL)


def trained(made: Trained) -> None:
    """Whether others read the adapter as it was trained, where it is, and what to do next."""
    for proof in made.proofs.values():
        for line in proof.sentences:
            console.print(line)
    if made.planned is None:
        console.print(f"{made.run.path} is finished: {made.adapter}")
        return
    console.print(f"trained in {made.seconds:.0f} s: {made.adapter}")
    if made.candidates > 1:
        console.print(
            f"which of its {made.candidates} candidates is best: `kaiffin choose {made.run.path}`"
        )

"""Where a build of the miniature has left its weights and its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console
from kaiffin.foundation.tell import duration

if TYPE_CHECKING:
    from kaiffin.stories.miniature import Built


def built(made: Built) -> None:
    """A line for each thing that is there now."""
    for what, path in (
        ("the miniature", made.weights), ("its XL twin", made.weights_xl), ("report", made.report),
    ):  # fmt: skip
        if path:
            console.print(f"{what}: {path}")
    console.print(f"{', '.join(made.stages)}: {duration(made.seconds)}")

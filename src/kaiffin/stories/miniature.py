"""`kaiffin miniature build`: the embedded base trained from nothing, with its XL twin and a report.

Each stage skips itself when it is done and resumes exactly when it was killed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.miniature.build import build as stages
from kaiffin.miniature.build.recipe import BuildConfig, Stage
from kaiffin.miniature.judges.quality import REPORT


@dataclass(frozen=True)
class Built:
    """stages: those that were run, or found done; weights, weights_xl: folders that diffusers
    loads, report: a page of Markdown, None where there is none yet."""

    stages: tuple[str, ...]
    weights: Path | None
    weights_xl: Path | None
    report: Path | None
    seconds: float


def build(config: BuildConfig, only: Stage | None = None, *, tell: Tell = SILENT) -> Built:
    """All stages, or `only` one of `stages.STAGES`, in the folder `config.out`.

    Raises UserError where that one needs what an earlier stage makes.
    """
    begun = time.monotonic()
    stages.run(config, only, tell)
    there = (config.weights_folder, config.twin_folder, config.docs_folder / REPORT)
    made = (path if path.exists() else None for path in there)
    return Built((only,) if only else stages.ORDER, *made, seconds=time.monotonic() - begun)

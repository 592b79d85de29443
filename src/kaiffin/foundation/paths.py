"""Paths in a config: what they mean from any working folder. Torch-free.

A path that `train` is given is relative to the working folder, and is stored as an absolute one. So
a relative path in a run's config.yaml was written there by a person: it is relative to the run's
folder where it is there, else to the working folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kaiffin.foundation.config import Config
from kaiffin.foundation.folder import expanded
from kaiffin.foundation.settings import changed, flat

# Settings that say where something is: what is there is what counts.
PLACES = ("data.photos", "adapter.init_from", "base.name", "base.vae")
PATHS = ("data.photos", "adapter.init_from", "score.like", "score.prompts")
WEIGHTED = ("sample.fast", "data.prior.fast")  # FILE[:WEIGHTS], or a word
OR_NAMES = ("base.name", "base.vae", "score.judge", "score.identity_judge")  # or a hub id


def anchored(config: Config, run: Path | None = None) -> Config:
    """The config with its paths absolute, so that it means the same from any working folder.

    run: the folder of the run whose config.yaml it is; what is nowhere stays as it stands there.
    """

    def there(path: Path | str) -> Path | None:
        tops = (run, Path()) if run else (Path(),)
        every = [*(top / path for top in tops), expanded(Path(path))]
        return next((absolute(one) for one in every if os.path.exists(one)), None)

    def meant(path: Path) -> Path:
        return there(path) or (path if run else absolute(path))

    given = {name: value for name, value in flat(config).items() if value is not None}
    made: dict[str, Any] = {n: str(meant(Path(given[n]))) for n in PATHS if n in given}
    names = [name for name in OR_NAMES if Path(given.get(name, "")).name != given.get(name, "")]
    made |= {name: str(there(given[name]) or given[name]) for name in names}
    for name in (name for name in WEIGHTED if name in given):
        file, suffix, weights = given[name].partition(".safetensors")
        made[name] = f"{there(file + suffix) or file + suffix}{weights}"
    for section in ("subjects", "phases"):
        made[section] = [
            one.model_copy(update={"photos": one.photos and meant(one.photos)}).model_dump()
            for one in getattr(config, section)
        ]
    return changed(config, **made)


def absolute(path: Path) -> Path:
    """As seen from the root; links stay as they are named, and ~x where x is no user here."""
    return Path(os.path.abspath(expanded(path)))

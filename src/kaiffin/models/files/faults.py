"""What goes wrong when components are opened, in words: for folders and for single files alike."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.text import first_few
from kaiffin.models.files.header import AGAIN

# What the libraries raise at files that are damaged or of another kind.
BROKEN = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)


def refuse_missing(names: Iterable[str], path: Path) -> None:
    """The libraries would go on with noise in the place of weights that the files lack."""
    missing = sorted(name for name in names if not name.endswith("position_ids"))
    if missing:
        shown = first_few(missing, 1)
        raise MissingWeightsError(f"{path}: the weight {shown} is missing.", AGAIN)


def unloadable(path: Path, error: Exception) -> MissingWeightsError:
    """What a checkpoint file lacks stays on torch's meta device, and diffusers trips over it."""
    reason = "weights are missing in it" if "meta tensor" in str(error) else str(error)
    return MissingWeightsError(f"{path}: cannot be loaded: {reason}.", AGAIN)

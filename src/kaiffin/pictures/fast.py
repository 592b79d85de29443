"""Few steps: adapters that were distilled for them, recognised, and how their pictures are made.

Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kaiffin.adapters import strength
from kaiffin.adapters.files.open import file_of, peek
from kaiffin.adapters.strength import Weights
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.schema import OWN
from kaiffin.models.files.embedded import EMBEDDED, FAST

MARK = "kaiffin.fast"  # in the header of such a file of ours
SETTINGS = ("steps", "guidance", "sampler", "schedule")  # of `sample`, that such an adapter says
# What files are called by the program that wrote them: then their folder's name says more.
NAMELESS = ("pytorch_lora_weights", "adapter_model", "lora", "model")


@dataclass(frozen=True)
class Kind:
    """How one kind of few-step adapter wants its pictures made. words: what it is known by in a
    file's name or title; steps: where the name says none; lift: how much stronger a run's adapter
    is to be, since there is no guidance to bring it out."""

    name: str
    words: str
    sampler: str
    steps: int = 4
    guidance: float = 1.0
    schedule: str = "trailing"
    lift: float = 1.0

    @property
    def sample(self) -> dict[str, Any]:
        """Its settings, as `sample` names them."""
        return {name: getattr(self, name) for name in SETTINGS}

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.steps} steps, guidance {self.guidance:g}, {self.sampler},"
            f" {self.schedule}" + (f", a run's adapter x {self.lift:g}" if self.lift != 1 else "")
        )


# As the authors' pages say; `trailing` is what ComfyUI and A1111 call SGM uniform.
KINDS = (
    Kind("LCM", r"lcm", "lcm"),
    Kind("Hyper-SD", r"hyper[-_ ]?(?:sd|sdxl)?\d*", "ddim", steps=8),
    Kind("Lightning", r"lightning", "euler"),
    Kind("DMD2", r"dmd2?", "lcm"),
    Kind("Turbo", r"turbo", "euler-a"),
)
OURS = Kind("few steps", "", "euler", lift=1.2)  # measured: docs/performance.md
GUIDED = 5.0  # Hyper-SD's files that keep guidance have CFG in their names


@dataclass(frozen=True)
class Fast:
    """A few-step adapter and what its kind wants. is_own: whether the base brings it along."""

    path: Path
    weights: Weights
    kind: Kind
    is_own: bool = False


def find(given: str, base: str) -> Fast:
    """`FILE[:WEIGHTS]`, or OWN for the one that the base named `base` brings along.

    Raises ConfigError where there is none, or a file's kind cannot be told.
    """
    if given != OWN:
        path, weights = strength.split(given)
        path = file_of(path)
        return Fast(path, weights, kind_of(path))
    own = EMBEDDED.get(base, Path(base)) / FAST
    if not own.is_file():
        raise ConfigError(
            f"{base}: brings no few-step adapter along.",
            "Name the file of one: --fast lcm-lora-sdxl.safetensors.",
        )
    return Fast(own, strength.PLAIN, kind_of(own), is_own=True)


def kind_of(path: Path) -> Kind:
    """By the header, else by the name that the file or its title has; ConfigError unless it is just
    one."""
    header = peek(path)[1]
    if MARK in header:
        return replace(OURS, sampler=header[MARK])
    name = path.parent.name if path.stem.lower() in NAMELESS else path.stem
    said = f"{name} {header.get('modelspec.title', '')} {header.get('ss_output_name', '')}".lower()
    found = [kind for kind in KINDS if re.search(rf"(?<![a-z]){kind.words}(?![a-z])", said)]
    if len(found) != 1:
        what = f"may be {' or '.join(one.name for one in found)}" if found else "says not which"
        raise ConfigError(
            f"{path}: is no few-step adapter that can be told by its name: it {what}.",
            f"Known are {', '.join(one.name for one in KINDS)}; or give it as --adapter, and"
            " --steps, --guidance, --sampler and --schedule beside it.",
        )
    (kind,) = found
    steps = re.search(r"(\d+)[-_ ]?steps?(?![a-z])", said)
    guided = kind.name == "Hyper-SD" and re.search(r"(?<![a-z])cfg(?![a-z])", said)
    return replace(
        kind,
        steps=int(steps[1]) if steps else kind.steps,
        guidance=GUIDED if guided else kind.guidance,
    )


def settings(fast: Fast, given: Collection[str]) -> dict[str, Any]:
    """What the adapter wants of `sample`, but for what is given."""
    return {name: value for name, value in fast.kind.sample.items() if name not in given}


def said(fast: Fast, given: Collection[str]) -> str:
    """A line: what was recognised, and which of its settings were given otherwise."""
    name = "its own few-step adapter" if fast.is_own else fast.path.name
    own = [name for name in fast.kind.sample if name in given]
    but = f"; as given instead: {', '.join(own)}" if own else ""
    return f"note: {name} is {fast.kind}{but}"

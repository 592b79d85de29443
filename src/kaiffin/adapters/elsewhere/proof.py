"""The export proof: is what is in the file what was trained, for every program that reads it?

diffusers' loading a file proves little: it accepts names that ComfyUI ignores. So three things are
checked: an independent reader attaches every layer; its denoiser output is ours; and every name
is one that ComfyUI, the A1111 family and sd-scripts know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from kaiffin.adapters.files import names, safe
from kaiffin.adapters.files.reading import EMBEDDING
from kaiffin.adapters.kinds import kohya_split
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.runtime import randn
from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.models.families.spec import SPECS

# Of the adapter's own effect on the output: above it, strength or a layer is wrong. The rounding
# of the base's dtype is allowed beside it, for adapters that do nearly nothing.
TOLERANCE = 0.02
ROUNDING = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


class NoReader(UserError):
    """The package that reads this kind of adapter is not installed."""

    @property
    def sentences(self) -> list[str]:
        """For people, as a `Proof`'s."""
        return [f"proof: not made: {self}"]


OF_COMFYUI = (
    "note: ComfyUI divides a DoRA's magnitudes by the norm of the weight as it was, not as it is"
    " changed: there it comes out 0.2 to 7 % weaker or stronger"
)

Opener = Callable[[ModelFamily, Path], AbstractContextManager[dict[str, int]]]


@dataclass(frozen=True)
class Proof:
    """layers, matched: of each tower; known: keys that each program knows, of `keys`.

    effect: relative change of the denoiser's output by the adapter; difference: between ours and
    the independent reader's, relative as well; decomposed: whether it has DoRA's magnitudes.
    """

    layers: dict[str, int]
    matched: dict[str, int]
    keys: int
    known: dict[str, int]
    alphas_vary: bool
    effect: float
    difference: float
    allowed: float
    decomposed: bool = False

    @property
    def holds(self) -> bool:
        return not self.problems

    @property
    def is_idle(self) -> bool:
        """Whether the adapter does nothing: its effect is 0, or no number."""
        return not self.effect > 0

    @property
    def sentences(self) -> list[str]:
        """For people: one when all is well, else one for each problem."""
        if not self.holds:
            return [f"proof fails: {problem}" for problem in self.problems]
        known = f"; {', '.join(self.known)} know all {self.keys} keys" if self.known else ""
        notes = [OF_COMFYUI] if self.decomposed else []
        return [
            f"proof: an independent reader attaches all {sum(self.layers.values())} layers and"
            f" gives the same output (difference {self.difference:.1g}, effect"
            f" {self.effect:.1g}){known}",
            *notes,
        ]

    @property
    def problems(self) -> list[str]:
        """What is wrong, in words; empty for a good file."""
        found = [
            f"the independent reader attached {self.matched.get(tower, 0)} of {count} layers of"
            f" {tower}"
            for tower, count in self.layers.items()
            if self.matched.get(tower, 0) != count
        ]
        if self.is_idle:
            found.append("it does nothing: with it the output is the base's own, to the bit")
        if self.difference > self.allowed:
            found.append(
                f"its output differs by {self.difference:.2g}, of an effect of {self.effect:.2g}"
            )
            if self.alphas_vary:  # seen in diffusers 0.42.1; the layout `diffusers` is not hurt
                found.append(
                    "its layers have different alphas, of which diffusers takes one for the"
                    " attention layers of a kohya file: convert it with --to diffusers for there"
                )
        found += [
            f"{program} does not know {self.keys - known} of {self.keys} keys"
            for program, known in self.known.items()
            if known < self.keys
        ]
        return found

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "holds": self.holds, "problems": self.problems}


def prove(path: Path, family: ModelFamily, open_by_others: Opener) -> Proof:
    """Checks the adapter in `path` (file or PEFT folder) on `family`.

    Raises AdapterError where we or the independent reader cannot open it at all.
    """
    stack = load_adapter(path, family)
    stack.train(False)
    for token in stack.tokens:
        token.inject(family)  # on all sides: the question is what the layers do
    prompt = " ".join(["a photo of a thing", *(token.word for token in stack.tokens)])
    try:
        base = _output(family, prompt)
        stack.adapters[""].inject(full_modules(family))
        ours = _output(family, prompt)
        stack.adapters[""].eject()
        with open_by_others(family, path) as matched:
            theirs = _output(family, prompt)
    finally:
        stack.eject()
    layers = {
        tower: sum(name.startswith(f"{tower}.") for name in stack.layers())
        for tower in family.towers
    }
    scale = base.norm().item() or 1.0
    effect, difference = ((x - ours).norm().item() / scale for x in (base, theirs))
    keys, known = _known(path, family, full_modules(family))
    vary = bool(keys) and any(_alphas_vary(stack, tower) for tower in family.towers)
    return Proof(
        layers, matched, keys, known, vary, effect, difference,
        TOLERANCE * effect + ROUNDING.get(family.dtype, 2e-2),
        decomposed=any(key.endswith(".dora_scale") for key in stack.state()),
    )  # fmt: skip


def _alphas_vary(stack: Stack, tower: str) -> bool:
    layers = stack.adapters[""].layers.items()
    return len({layer.alpha for name, layer in layers if name.startswith(f"{tower}.")}) > 1


@torch.no_grad()
def _output(family: ModelFamily, prompt: str) -> Tensor:
    """The denoiser on a fixed noisy latent and prompt, through text encoders and UNet."""
    side = family.native_size // family.downscale
    x_t = randn((1, family.latent_channels, side, side), 0, "proof").to(family.device)
    size = SizeFacts.whole(family.native_size, family.native_size)
    cond = family.encode_text([prompt], [size])
    t = family.schedule.middle().to(family.device)
    return family.predict(x_t, t.expand(1), cond).float().cpu()


def _known(path: Path, family: ModelFamily, table: Collection[str]) -> tuple[int, dict[str, int]]:
    """Number of keys, and how many of them each program knows; kohya files only."""
    if path.is_dir():
        return 0, {}
    shapes, _ = safe.header(path)
    keys = [key for key in shapes if not key.startswith(EMBEDDING)]
    spelled = [name for name, part in map(kohya_split, keys) if part]
    if len(spelled) < len(keys):
        return 0, {}
    if not all(names.is_kohya(name) for name in spelled):
        return 0, {}
    accepted = accepted_names(table, family.name, family.layers_per_block)
    return len(spelled), {
        program: sum(name in known for name in spelled) for program, known in accepted.items()
    }


def accepted_names(
    table: Collection[str], family: str, layers_per_block: int = 2
) -> Mapping[str, set[str]]:
    """Which spellings of a base's layers each program attaches (their loaders, 2026).

    ComfyUI takes both ways to name blocks and either prefix of CLIP-L; A1111 and sd-scripts take
    `lora_te` alone on SD 1.x; sd-scripts names SD 1.x's blocks as diffusers does. None takes text
    layers without `text_model`; sd-scripts makes no layer of the first and last convolution and of
    the embeddings of time and size, so it takes none.
    """
    homes = names.homes(table, family, layers_per_block)
    whole = {spelled for spelled in homes if not names.is_misspelled(spelled)}
    spec = SPECS[family]
    others = tuple(f"{prefix}_" for tower in spec.towers.values() for prefix in tower.others)
    strict = {spelled for spelled in whole if not spelled.startswith(others)}
    ends = {f"{spec.denoiser}.{path}" for path in names.TOP}
    plain = {spelled for spelled in strict if homes[spelled] not in ends}
    if spec.original_blocks:
        return {"ComfyUI": whole, "A1111": strict, "sd-scripts": plain}
    start = spec.towers[spec.denoiser].kohya
    original = tuple(f"{start}_{side}_block" for side in ("input", "middle", "output"))
    plain = {spelled for spelled in plain if not spelled.startswith(original)}
    return {"ComfyUI": whole, "A1111": strict, "sd-scripts": plain}

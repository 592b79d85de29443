"""The export proof: is what is in the file what was trained, for every program that reads it?

diffusers' loading a file proves little: it accepts names that ComfyUI ignores. So three things are
checked: an independent reader attaches every layer; its denoiser output is ours; and every name
is one that A1111, ComfyUI and sd-scripts know.
"""

from __future__ import annotations

import contextlib
import tempfile
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from kaiffin.adapters.elsewhere import programs
from kaiffin.adapters.elsewhere.quirks import quirks_of
from kaiffin.adapters.files import names, reading, safe, writing
from kaiffin.adapters.files.reading import EMBEDDING
from kaiffin.adapters.files.spelling import skipped_of
from kaiffin.adapters.files.tables import published
from kaiffin.adapters.kinds import kohya_split
from kaiffin.adapters.load import load_adapter, table_of
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.foundation.errors import AdapterError, UserError
from kaiffin.foundation.kinds import KINDS
from kaiffin.foundation.runtime import randn
from kaiffin.foundation.text import all_of, counted
from kaiffin.models.base import ModelFamily, SizeFacts

# Of the adapter's own effect on the output: above it, strength or a layer is wrong. The rounding
# of the base's dtype is allowed beside it, for adapters that do nearly nothing.
TOLERANCE = 0.02
LONGEST = 160  # characters of what others say of a file that they do not open
ROUNDING = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


class NoReader(UserError):
    """The package that reads this kind of adapter is not installed."""

    @property
    def sentences(self) -> list[str]:
        """For people, as a `Proof`'s."""
        return [f"proof: not made: {self}"]


Opener = Callable[[ModelFamily, Path], AbstractContextManager[dict[str, int]]]


@dataclass(frozen=True)
class Proof:
    """layers, matched: of each tower; known: keys that each program knows, of `keys`.

    effect: relative change of the denoiser's output by the adapter; difference: between ours and
    the independent reader's, relative as well; words: custom tokens, of an adapter without layers;
    quirks: where another program does otherwise; dropped: keys that ComfyUI has no place for in a
    layout that is not kohya's; skipped: keys that neither was given, with what they are; refused:
    why the other reader did not open the file as it is spelled and was given it converted.
    """

    layers: dict[str, int]
    matched: dict[str, int]
    keys: int
    known: dict[str, int]
    alphas_vary: bool
    effect: float
    difference: float
    allowed: float
    words: Sequence[str] = ()
    quirks: Sequence[str] = ()
    dropped: int = 0
    skipped: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""

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
        if self.words:
            return [
                f"proof: it holds the words {', '.join(self.words)} alone, and they change the"
                f" output (effect {self.effect:.1g}); no layers for another reader to attach",
                *self._notes,
            ]
        known = f"; {', '.join(self.known)} know {all_of(self.keys, 'key')}" if self.known else ""
        return [
            f"proof: an independent reader attaches {all_of(sum(self.layers.values()), 'layer')}"
            f" and gives the same output (difference {self.difference:.1g}, effect"
            f" {self.effect:.1g}){known}",
            *self._notes,
        ]

    @property
    def _notes(self) -> Iterator[str]:
        """What is no fault of the file and yet not to be passed over."""
        yield from (f"note: {quirk}" for quirk in self.quirks)
        if self.dropped:
            yield (
                f"note: ComfyUI drops {counted(self.dropped, 'key')} of a file in this layout: give"
                " it kohya's (kaiffin adapter convert IN OUT --to kohya)"
            )
        if self.refused:
            why = textwrap.shorten(self.refused, LONGEST, placeholder=" ...")
            yield f"note: proven as `kaiffin adapter convert` writes it, since {why}"
        if self.skipped:
            yield f"note: all of it without {skipped_of(self.skipped)}"

    @property
    def problems(self) -> list[str]:
        """What is wrong, in words; empty for a good file."""
        found = [
            f"the independent reader attached {self.matched.get(tower, 0)} of"
            f" {counted(count, 'layer')} of {tower}"
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
            f"{program} does not know {self.keys - known} of {counted(self.keys, 'key')}"
            for program, known in self.known.items()
            if known < self.keys
        ]
        return found

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "holds": self.holds, "problems": self.problems}


def prove(
    path: Path, family: ModelFamily, open_by_others: Opener, skip_unknown: bool = False
) -> Proof:
    """Checks the adapter in `path` (file or PEFT folder) on `family`.

    skip_unknown: as `load_adapter` has it; the other reader is given the rest, too. Raises
    AdapterError where we or the independent reader cannot open it at all.
    """
    stack = load_adapter(path, family, skip_unknown=skip_unknown)
    stack.train(False)
    if not any(stack.layers()):
        return _of_words(stack, family)
    for token in stack.tokens:
        token.inject(family)  # on all sides: the question is what the layers do
    prompt = _prompt(stack)
    layers = {
        tower: sum(name.startswith(f"{tower}.") for name in stack.layers())
        for tower in family.towers
    }
    try:
        base = _output(family, prompt)
        stack.adapters[""].inject(full_modules(family))
        ours = _output(family, prompt)
        stack.adapters[""].eject()
        timed = _timed(stack, family, prompt) if stack.adapters[""].ranks else ours
        scale = base.norm().item() or 1.0
        effect = (base - ours).norm().item() / scale
        allowed = TOLERANCE * effect + ROUNDING.get(family.dtype, 2e-2)

        def is_ours(read: _Read) -> bool:
            return read.matched == layers and (read.output - ours).norm().item() <= allowed * scale

        with safe.without(path, stack.skipped) as rest:
            theirs = _by_others(rest, family, prompt, open_by_others, is_ours)
    finally:
        stack.eject()
    difference = (theirs.output - ours).norm().item() / scale
    keys, known = _known(path, family, full_modules(family), stack.skipped)
    vary = bool(keys) and any(_alphas_vary(stack, tower) for tower in family.towers)
    return Proof(
        layers, theirs.matched, keys, known, vary, effect, difference, allowed,
        quirks=(*quirks_of(stack.state()), *_ranks_ignored(stack, base, ours, timed)),
        dropped=0 if keys else _dropped(path, family.name, stack.skipped),
        skipped=stack.skipped, refused=theirs.refused,
    )  # fmt: skip


def _timed(stack: Stack, family: ModelFamily, prompt: str) -> Tensor:
    """Our output where ranks depend on the timestep. What is proven is the output with all of
    them, as every other reader has it."""
    layers = Stack(stack.adapters)
    layers.inject(family)
    try:
        return _output(family, prompt)
    finally:
        layers.eject()


def _ranks_ignored(stack: Stack, base: Tensor, ours: Tensor, timed: Tensor) -> Iterator[str]:
    """What other programs make of a rank schedule. ours: with all ranks."""
    ranks = stack.adapters[""].ranks
    if ranks is not None:
        off = ((ours - timed).norm() / (timed - base).norm().clamp(min=1e-12)).item()
        yield (
            f"other programs let all ranks act at every timestep, where here {ranks.min_rank} act"
            " at the most noise; this proof is of all. Half-way that changes the output by"
            f" {off:.0%} of the adapter's effect. Give them a plain file: kaiffin adapter convert"
            " IN OUT --to kohya --plain"
        )


def _of_words(stack: Stack, family: ModelFamily) -> Proof:
    """Of custom tokens alone: what they do to a prompt with their words."""
    prompt, none = _prompt(stack), dict.fromkeys(family.towers, 0)
    before = _output(family, prompt)
    try:
        stack.inject(family)
        after = _output(family, prompt)
    finally:
        stack.eject()
    effect = (after - before).norm().item() / (before.norm().item() or 1.0)
    words = [token.word for token in stack.tokens]
    return Proof(none, none, 0, {}, False, effect, 0.0, 0.0, words=words, skipped=stack.skipped)


def _prompt(stack: Stack) -> str:
    return " ".join(["a photo of a thing", *(token.word for token in stack.tokens)])


@dataclass(frozen=True)
class _Read:
    """What another reader attached of a file, and the output; refused: see `Proof`."""

    matched: dict[str, int]
    output: Tensor
    refused: str = ""


def _by_others(
    path: Path, family: ModelFamily, prompt: str, open_by_others: Opener,
    is_ours: Callable[[_Read], bool],
) -> _Read:  # fmt: skip
    """The file as another reader has it; where that is not `is_ours` under names that nobody writes
    today, its content under those that they do."""
    try:
        with open_by_others(family, path) as matched:
            read = _Read(matched, _output(family, prompt))
        if is_ours(read) or _is_spelled_well(path, family):
            return read
        why = "others read it otherwise under its names"
    except AdapterError as error:
        why = error.message.removeprefix(f"{path}: ")
    try:
        with _respelled(path, family) as copy, open_by_others(family, copy) as matched:
            return _Read(matched, _output(family, prompt), why)
    except AdapterError:
        raise AdapterError(f"{path}: {why}") from None


def _is_spelled_well(path: Path, family: ModelFamily) -> bool:
    """Whether its keys are those that Kaiffin would write in its layout."""
    found = reading.read(path, table_of(family))
    if found.layout == "kohya":
        return set(_keys(path, ())) <= set(writing.to_kohya(found, family.layers_per_block))
    other = found.layout == "peft" or not all(KINDS[kind].peft for kind in found.kinds())
    return other or set(_keys(path, ())) <= set(writing.to_diffusers(found)[0])


@contextlib.contextmanager
def _respelled(path: Path, family: ModelFamily) -> Iterator[Path]:
    """The file's layers in the layout that others read best; tokens are on the base already."""
    found = reading.read(path, table_of(family))
    found.embeddings = {}
    plain = all(KINDS[kind].plain for kind in found.kinds())
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pytorch_lora_weights.safetensors"
        writing.write(found, copy, "diffusers" if plain else "kohya", family.layers_per_block)
        yield copy


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


def _known(
    path: Path, family: ModelFamily, table: Collection[str], skipped: Collection[str]
) -> tuple[int, dict[str, int]]:
    """Number of keys, and how many of them each program knows that has such parts; kohya files
    only."""
    split = [kohya_split(key) for key in _keys(path, skipped)]
    if not split or not all(part and names.is_kohya(name) for name, part in split):
        return 0, {}
    accepted = accepted_names(table, family.name, family.layers_per_block)
    parts = {f".{part}" for _, part in split}
    of_lycoris = {one.title for one in programs.all_known() if not parts <= set(one.parts)}
    return len(split), {
        title: sum(name in known for name, _ in split)
        for title, known in accepted.items()
        if title not in of_lycoris
    }


def accepted_names(
    table: Collection[str], family: str, layers_per_block: int = 2
) -> dict[str, set[str]]:
    """Which spellings of a base's layers each program attaches, as it said itself when it was run
    (see programs.py)."""
    homes = names.homes(table, family, layers_per_block)
    asked = names.homes(published(family).layers, family)
    return {
        one.title: {name for name in homes if one.knows(name, family, asked)}
        for one in programs.all_known()
        if family in one.names
    }


def _dropped(path: Path, family: str, skipped: Collection[str]) -> int:
    """How many keys of a file ComfyUI has no place for, tokens aside; 0 of a folder, which it does
    not open."""
    comfyui = programs.program("comfyui")
    return sum(not comfyui.takes(key, family) for key in _keys(path, skipped))


def _keys(path: Path, skipped: Collection[str]) -> list[str]:
    """Those of a file's layers; none of a folder."""
    keys = () if path.is_dir() else safe.header(path)[0]
    return [key for key in keys if not key.startswith(EMBEDDING) and key not in skipped]

"""How much memory a training takes at its peak, and what to give up where that is too much.

Activations are not estimated by a formula: one step runs on tensors that have shapes and no
contents, and every storage is counted while it lives. It takes seconds and no memory, for any base,
kind of adapter and resolution.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kaiffin.adapters.stack import Stack
from kaiffin.foundation.config import Config
from kaiffin.foundation.kinds import KINDS
from kaiffin.foundation.phases import EMBEDDING, TEXT, Phase
from kaiffin.foundation.runtime import Runtime, memory_held, memory_room
from kaiffin.foundation.settings import changed
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts
from kaiffin.models.parts import TILE, num_bytes
from kaiffin.train.crew import Crew

# Bytes of state for each trained number, in fp32 unless the optimizer says otherwise.
OPTIMIZER_BYTES = {
    "adamw": 8, "adamw8bit": 2, "adafactor": 0, "lion": 4, "prodigy": 16, "schedulefree": 8,
    "muon": 4,
}  # fmt: skip
PROGRAM = 400_000_000  # bytes of Python and the libraries


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a training. resident: what the process or device holds already.

    linear: of the base's denoiser, what lies in linear layers; text: of the text encoders;
    adapter: optimizer state; step: activations and gradients; pictures: the VAE, for one picture.
    """

    resident: int
    linear: int
    text: int
    adapter: int
    trained: int  # numbers
    step: int
    pictures: int

    @property
    def peak(self) -> int:
        return self.resident + self.adapter + max(self.step, self.pictures)


class Meter:
    """Measures one training under changing settings; the base and adapters are loaded already.

    What it has measured it knows: settings that come to the same step are measured once.
    """

    def __init__(
        self, family: ModelFamily, stack: Stack, phases: Sequence[Phase], runtime: Runtime,
        devices: int = 1,
    ) -> None:  # fmt: skip
        """devices: that share every batch; what is measured is of one of them."""
        self.devices = devices
        self.family, self.stack, self.runtime = family, stack, runtime
        self.device = family.device
        self.learns_text = any(phase.trains & {TEXT, EMBEDDING} for phase in phases)
        self.known: dict[object, int] = {}

    def memory(self, config: Config) -> Memory:
        """All of it, as the settings are."""
        trained = sum(p.numel() for p in self.stack.parameters())
        average = 4 if config.train.ema else 0
        per_number = OPTIMIZER_BYTES[config.train.optimizer] + average
        return Memory(
            self._resident(), self._linear(), self._text(), per_number * trained,
            trained, self.step(config), self.pictures(config),
        )  # fmt: skip

    def _resident(self) -> int:
        """What is held already; on a CPU also weights that are mapped from files but not read."""
        family = self.family
        weights = num_bytes([*family.towers.values(), family.vae])
        held = resident(family.device)
        return max(held, weights + PROGRAM) if family.device.type == "cpu" else held

    def _linear(self) -> int:
        layers = self.family.towers[self.family.denoiser].modules()
        weights = [layer.weight for layer in layers if isinstance(layer, nn.Linear)]
        return sum(weight.numel() * weight.element_size() for weight in weights)

    def _text(self) -> int:
        """What the text encoders take on the UNet's device."""
        family = self.family
        towers = [tower for name, tower in family.towers.items() if name != family.denoiser]
        here = family.device.type
        return num_bytes(t for t in towers if next(t.parameters()).device.type == here)

    def step(self, config: Config) -> int:
        """Bytes that live at most during forward and backward of a step, gradients included."""
        made = _Step.of(config, self.family, self.devices)
        if made not in self.known:
            self.known[made] = self._measured(made)
        return self.known[made]

    def _measured(self, made: _Step) -> int:
        family = self.family
        self.stack.inject(family)
        try:
            if made.checkpointing:
                family.enable_gradient_checkpointing()
            return lived(self._one_step(made))
        finally:
            self.stack.eject()
            family.disable_gradient_checkpointing()

    def _one_step(self, made: _Step) -> Callable[[FakeTensorMode], object]:
        family, parameters, batch = self.family, list(self.stack.parameters()), made.batch
        size = SizeFacts.whole(made.side, made.side)
        with torch.no_grad():
            one = family.encode_text([made.caption], [size]).map(torch.clone)  # a view is slow here

        def step(fake: FakeTensorMode) -> object:
            shape = (batch, family.latent_channels, *2 * [made.side // family.downscale])
            x_t = torch.randn(shape, device=family.device)
            t = torch.zeros(batch, dtype=torch.long, device=family.device)
            with self.runtime.autocast():
                if self.learns_text:
                    cond = family.encode_text([made.caption] * batch, [size] * batch)
                else:
                    cond = Conditioning.cat([one.map(fake.from_tensor)] * batch)
                output = family.predict(x_t, t, cond)
            loss = output.square().mean()
            return torch.autograd.grad(loss, parameters, allow_unused=True)

        return step

    def pictures(self, config: Config) -> int:
        """Bytes of one picture through the VAE, there or back, whichever takes more."""
        family = self.family
        side = config.data.resolution or family.native_size
        side = min(side, TILE) if config.base.vae_tiling else side

        def both(_: FakeTensorMode) -> None:
            shape = (1, family.latent_channels, *2 * [side // family.downscale])
            family.encode_images(torch.zeros((1, 3, side, side), device=family.device))
            family.decode(torch.zeros(shape, device=family.device))

        if side not in self.known:
            self.known[side] = lived(both)
        return self.known[side]


@dataclass(frozen=True)
class _Step:
    """All of the settings that decides how much one step takes."""

    batch: int
    side: int
    caption: str
    checkpointing: bool

    @classmethod
    def of(cls, config: Config, family: ModelFamily, devices: int) -> _Step:
        train, data = config.train, config.data
        crew = Crew(0, devices)
        crew.divide(train.batch_size or 1, train.accumulate)
        batch = at_once(config)
        caption = f"a photo of {config.subject.phrase}"
        side = data.resolution or family.native_size
        batch = batch // devices if crew.by_items else batch
        return cls(batch, side, caption, train.gradient_checkpointing)


def at_once(config: Config) -> int:
    """Pictures of one pass with gradients."""
    train = config.train
    return (train.batch_size or 1) * (train.noises + bool(config.data.prior.weight))


def lived(run: Callable[[FakeTensorMode], Any]) -> int:
    """Peak of the bytes that `run` holds at once, on tensors without contents."""
    lives = _Lives()
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, lives:
        run(fake)
    return lives.peak


class _Lives(TorchDispatchMode):
    """Counts the storages that operations make, from their making to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return out

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.seen:
            self.seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._end, key, size)

    def _end(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def resident(device: torch.device) -> int:
    """Bytes that this process holds on `device` already."""
    there = memory_held(device)
    return psutil.Process().memory_info().rss if there is None else there


def available(device: torch.device) -> int:
    """Bytes that this process may hold on `device` altogether."""
    there = memory_room(device)
    return psutil.virtual_memory().available + resident(device) if there is None else there


# --- the ladder -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rung:
    """A change of settings, the peak with it and all before it, and what it costs."""

    changes: dict[str, object]
    peak: int
    price: str

    @property
    def settings(self) -> str:
        return " ".join(f"--{name} {str(value).lower()}" for name, value in self.changes.items())


def ladder(config: Config, measured: Memory, meter: Meter, room: int) -> list[Rung]:
    """The rungs from the cheapest price up, until the training fits into `room` bytes."""
    rungs: list[Rung] = []
    for changes, price, effect in _rungs(config, meter.family.dtype, meter.device):
        if measured.peak <= room:
            break
        config = changed(config, **changes)
        after = effect(measured, config, meter)
        if after.peak < measured.peak:
            measured = after
            rungs.append(Rung(changes, after.peak, price))
    return rungs


Effect = Callable[[Memory, Config, Meter], Memory]


def _rungs(
    config: Config, dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[dict[str, object], str, Effect]]:
    train, base = config.train, config.base
    batch = train.batch_size or 1

    def step_again(before: Memory, config: Config, meter: Meter) -> Memory:
        return replace(before, step=meter.step(config))

    if batch > 1:
        changes: dict[str, object] = {"train.batch_size": 1}
        changes["train.accumulate"] = train.accumulate * batch
        yield changes, "the same steps, in more and smaller pieces: slower on a GPU", step_again
    learns_text = config.adapter.text_encoder or config.embedding.vectors
    if device.type != "cpu" and base.text_device == "auto" and not learns_text:
        yield {"base.text_device": "cpu"}, "captions are encoded once, a second or so each", (
            lambda before, *_: replace(before, resident=before.resident - before.text)
        )  # fmt: skip
    if not train.gradient_checkpointing:
        yield {"train.gradient_checkpointing": True}, "steps take about a third longer", step_again
    if not base.vae_tiling:
        yield {"base.vae_tiling": True}, "large pictures are decoded in tiles, a little slower", (
            lambda before, config, meter: replace(before, pictures=meter.pictures(config))
        )  # fmt: skip
    if dtype == torch.float32:
        yield {"base.dtype": "bf16"}, "the base is rounded; the adapter stays fp32", _halved
    yield from _rungs_of_bits(config)


def _rungs_of_bits(config: Config) -> Iterator[tuple[dict[str, object], str, Effect]]:
    train, base = config.train, config.base
    if train.optimizer == "adamw":
        yield {"train.optimizer": "adamw8bit"}, "needs the extra 8bit", (
            lambda before, *_: replace(before, adapter=before.adapter - 6 * before.trained)
        )  # fmt: skip
    if base.quantize == "none" and not KINDS[config.adapter.kind].needs_weights:
        for how, left in (("int8", 0.5), ("nf4", 0.28)):
            yield {"base.quantize": how}, "needs the extra 8bit; a little quality and speed", (
                lambda before, _, __, left=left: replace(
                    before,
                    resident=before.resident - int((1 - left) * before.linear),
                    linear=int(left * before.linear),
                )
            )  # fmt: skip


def _halved(before: Memory, _: Config, __: Meter) -> Memory:
    """bf16 in place of fp32: weights and activations take half."""
    saved = (before.linear + before.text) // 2
    return replace(
        before, resident=before.resident - saved, linear=before.linear // 2,
        text=before.text // 2, step=before.step // 2, pictures=before.pictures // 2,
    )  # fmt: skip

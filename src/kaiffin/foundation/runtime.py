"""Where and how numbers are computed: device, dtypes, determinism, and every random draw.

A draw is a function of a seed and of what it is for, never of history, so that a restart, another
batch size or another device changes nothing it should not. Draws are made on the CPU and moved.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kaiffin.foundation.config import SMALL_BASE, BaseConfig
from kaiffin.foundation.errors import ConfigError, UserError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def derived_seed(seed: int, *what: str | int) -> int:
    """A 63-bit seed from SHA-256 of `seed` and `what`: independent draws for different names."""
    text = "\x1f".join(str(part) for part in (seed, *what))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *what: str | int) -> torch.Generator:
    """A CPU generator for one purpose, e.g. `generator(seed, "noise", step, index)`."""
    return torch.Generator().manual_seed(derived_seed(seed, *what))


def randn(
    shape: Sequence[int],
    seed: int,
    *what: str | int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal numbers of `shape`, equal on every device."""
    return torch.randn(tuple(shape), generator=generator(seed, *what)).to(device, dtype)


_ITEMS: list[int] = []  # seeds of the rows of the batch that goes through the model


def seed_dropout(items: Sequence[int]) -> None:
    """Seeds the drop-out of one batch: an item loses what its own seed says, whatever batch or
    process it is in."""
    _ITEMS[:] = items


def dropped(x: Tensor, share: float, layer: str) -> Tensor:
    """Drop-out of `share` of x, whose rows are those of the batch (or equally many of each), before
    `layer`. The same call loses the same: what is computed twice agrees."""
    rows = len(x)
    items = _ITEMS[:rows] if rows <= len(_ITEMS) else _ITEMS or [0]
    each = max(1, rows // len(items))
    whose = ((items[row // each % len(items)], row % each) for row in range(rows))
    seeds = [derived_seed(item, layer, part) for item, part in whose]
    rngs = [torch.Generator(x.device).manual_seed(seed) for seed in seeds]
    keep = torch.stack([torch.rand(x.shape[1:], generator=rng, device=x.device) for rng in rngs])
    return x * (keep >= share).to(x.dtype) / (1 - share)


def uniform(seed: int, *what: str | int) -> float:
    """One number in [0, 1)."""
    return torch.rand((), generator=generator(seed, *what), dtype=torch.float64).item()


@dataclass(frozen=True)
class Runtime:
    """Device and dtypes of one process.

    base_dtype: of the frozen weights; precision: autocast dtype of a training step, fp32 for none.
    """

    device: torch.device
    base_dtype: torch.dtype
    precision: torch.dtype

    @staticmethod
    def from_config(base: BaseConfig, precision: str = "auto") -> Runtime:
        """Resolves `auto`; raises `ConfigError` where the asked device is not there."""
        device = _device(base.device)
        on_cpu = device.type == "cpu"
        if base.dtype == "auto":
            base_dtype = torch.float32 if on_cpu else torch.bfloat16
        else:
            base_dtype = DTYPES[base.dtype]
        step = base_dtype if precision == "auto" else DTYPES[precision]
        if on_cpu and torch.float16 in (base_dtype, step):
            raise ConfigError("fp16 cannot be trained or sampled on a CPU.", "Use fp32 or bf16.")
        return Runtime(device, base_dtype, step)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Mixed precision for one forward pass; does nothing when the precision is fp32."""
        enabled = self.precision != torch.float32
        with torch.autocast(self.device.type, dtype=self.precision, enabled=enabled):
            yield


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """What is set for the whole process is afterwards what it was: threads, determinism, cuDNN's
    search. Loading a base sets them, and whoever computes with it lives by them; so every story
    that loads one runs inside, and a process that tells many stories stays its own. Also a
    decorator: `@contained()`."""
    threads = torch.get_num_threads()
    strictness = torch.get_deterministic_debug_mode()
    searches = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(strictness)
        torch.backends.cudnn.benchmark = searches


@contextlib.contextmanager
def within_memory(fix: str) -> Iterator[None]:
    """UserError with this way out where there is no memory for what is computed."""
    try:
        yield
    except RuntimeError as error:  # of a GPU its own kind, of the CPU a text
        is_memory = isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
        if not is_memory:
            raise
        raise UserError("this does not fit into the memory there is.", fix) from error


def choose_threads(native_size: int, device: torch.device) -> None:
    """A miniature computes on one thread: nearly as fast as on two (docs/performance.md), steady on
    a busy machine, and to the same bytes however many cores there are."""
    if device.type == "cpu" and native_size < SMALL_BASE:
        torch.set_num_threads(1)


def make_deterministic() -> None:
    """Same call, same machine: same bytes. Costs a few percent on a GPU.

    By the mode, not by `use_deterministic_algorithms`, which sets the same and imports the whole
    compiler for it.
    """
    torch.set_deterministic_debug_mode("warn")
    torch.backends.cudnn.benchmark = False


# --- accelerators: the one place that knows torch's modules for them ------------------------------

ORDER = ("cuda", "xpu", "mps")  # the first that is there is what `auto` means


def fastest() -> torch.device:
    """The accelerator of this machine, else its CPU."""
    return torch.device(next((kind for kind in ORDER if _module(kind).is_available()), "cpu"))


def memory_held(device: torch.device) -> int | None:
    """Bytes that this process holds on an accelerator; None for a CPU."""
    if device.type == "cpu":
        return None
    if device.type == "mps":
        return _module("mps").current_allocated_memory()
    return _module(device.type).memory_allocated(device)


def memory_room(device: torch.device) -> int | None:
    """Bytes that this process may hold there altogether; None for a CPU."""
    if device.type == "cpu":
        return None
    module = _module(device.type)
    if device.type == "mps":
        return module.recommended_max_memory()
    return module.mem_get_info(device)[0] + module.memory_reserved(device)


def let_go() -> None:
    """Gives back what torch keeps of an accelerator's memory for later."""
    if (device := fastest()).type != "cpu":
        _module(device.type).empty_cache()


def cards(device: torch.device) -> list[tuple[str, int]]:
    """Name and bytes of each accelerator of this kind."""
    if device.type in ("cpu", "mps"):
        return []
    module = _module(device.type)
    facts = [module.get_device_properties(i) for i in range(module.device_count())]
    return [(one.name, one.total_memory) for one in facts]


def visible() -> tuple[str, int]:
    """The variable by which a process is given some of this machine's GPUs, and how many there are;
    asks the driver, without taking memory."""
    if torch.xpu.is_available():
        return "ZE_AFFINITY_MASK", torch.xpu.device_count()
    return "CUDA_VISIBLE_DEVICES", torch.cuda.device_count()


def _module(kind: str) -> Any:
    return torch.get_device_module(kind)


def _device(name: str) -> torch.device:
    if name == "auto":
        return fastest()
    if name != "cpu" and not _module(name).is_available():
        raise ConfigError(
            f"base.device = {name!r}: this machine has none that torch can use.", "Use auto or cpu."
        )
    return torch.device(name)

"""Several processes that train one adapter: who takes which items, and their gradients summed.

The global batch is that of one process. Each process takes its part of it and draws for each item
from that item's place in the stream; gradients are gathered and summed in the order of the
processes, so that all of them hold the same sum, to the bit, whoever was faster. The first process
leads: it alone opens the run, writes and speaks.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kaiffin.foundation.errors import ConfigError, RunError, UserError

LONG = timedelta(days=7)  # others wait while the first makes pictures; a death is noticed at once
PIECE = 2**22  # numbers of the gradient that are gathered at a time
MINE = "KAIFFIN_CREW"  # set for the processes that this module starts; torchrun starts its own
WORKING, STOPPED, FAILED = 0.0, 1.0, 2.0


class Lost(RunError):
    """Another process of the crew is gone."""


class Stopped(Exception):
    """The first process has ended the training before its last step."""


class Crew:
    """One process of `size`. `mode`: whether whole batches of a step are shared out, or the items
    of each batch; settled by `divide`."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self.by_items = False
        self.at_work = False  # whether the others are in a training
        self.ended = size == 1  # whether they are beyond reach

    # --- who does what ----------------------------------------------------------------------

    def divide(self, batch_size: int, accumulate: int) -> None:
        """Settles how a step is shared; ConfigError where it cannot be shared evenly."""
        self.by_items = accumulate % self.size != 0
        if self.by_items and batch_size % self.size:
            fits = max(n for n in range(1, self.size) if not (batch_size % n and accumulate % n))
            more = -(-batch_size // self.size) * self.size
            raise ConfigError(
                f"train.batch_size = {batch_size} and train.accumulate = {accumulate} cannot be"
                f" shared evenly by {self.size} devices.",
                f"Set --train.batch_size {more}, or train on {fits}.",
            )

    def parts(self, accumulate: int) -> range:
        """Which batches of a step this process computes."""
        return range(accumulate) if self.by_items else range(self.rank, accumulate, self.size)

    def mine(self, items: Sequence[Any]) -> Sequence[Any]:
        """Those of a batch that this process computes."""
        if not self.by_items:
            return items
        each = len(items) // self.size
        return items[self.rank * each : (self.rank + 1) * each]

    def piece(self, number: int) -> int:
        """The place of this process's part of the `number`-th batch, all parts being counted."""
        return number * self.size + self.rank if self.by_items else number

    def share(self, accumulate: int) -> float:
        """The weight of the mean loss of one batch here in the step's."""
        return 1 / (accumulate * (self.size if self.by_items else 1))

    # --- together ---------------------------------------------------------------------------

    def add_up(self, trained: Sequence[nn.Parameter], losses: Sequence[float]) -> list[float]:
        """Sums the gradients and `losses` of all processes.

        Raises what another process has failed with, `Stopped` where the first has ended the
        training, and `Lost` where a process has died.
        """
        if self.size == 1:
            return list(losses)
        self._meet(WORKING)
        held = [float(parameter.grad is not None) for parameter in trained]
        mine = torch.tensor([*losses, *held], dtype=torch.float64)
        sums = _in_order(self._gathered(mine)).tolist()
        anyone = sums[len(losses) :]
        self._sum_gradients([p for p, held in zip(trained, anyone, strict=True) if held])
        return sums[: len(losses)]

    def everyone(self, mine: list[Any]) -> list[Any]:
        """What all processes have, in their order."""
        if self.size == 1:
            return mine
        found: list[Any] = [None] * self.size
        with _noticing(self):
            dist.all_gather_object(found, mine)
        return [one for part in found for one in part]

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What fails here in a step fails in all processes."""
        try:
            yield
        except UserError as error:
            if not self.ended:
                with suppress(Stopped, Lost):
                    self._meet(FAILED, error)
            raise

    def tell(self, order: object) -> None:
        """Gives the order to train something to all others, who are in `hear`; None sends them
        home."""
        if not self.ended:
            with _noticing(self):
                dist.broadcast_object_list([order], device=torch.device("cpu"))
            self.at_work, self.ended = order is not None, order is None

    def leave(self, *, early: bool) -> None:
        """Said by the first process at the end of what it gave the order for. early: the others
        have steps to go, and learn in their next that they have not."""
        if early and self.at_work and not self.ended:
            with suppress(UserError):
                self._meet(STOPPED)
        self.at_work = False

    def hear(self) -> Any:
        """The order of the first process."""
        box: list[Any] = [None]
        with _noticing(self):
            dist.broadcast_object_list(box, device=torch.device("cpu"))
        return box[0]

    def _meet(self, state: float, error: UserError | None = None) -> None:
        """Before anything is summed: how are the others?"""
        states = [found.item() for found in self._gathered(torch.tensor([state]))]
        if FAILED in states:
            box = [error]
            source = states.index(FAILED)
            with _noticing(self):
                dist.broadcast_object_list(box, src=source, device=torch.device("cpu"))
            self.ended = True
            raise box[0] or RunError("another process has failed.")
        if STOPPED in states and self.rank:
            raise Stopped

    def _gathered(self, mine: Tensor) -> list[Tensor]:
        """The same tensor of every process, in their order."""
        found = [torch.empty_like(mine) for _ in range(self.size)]
        with _noticing(self):
            dist.all_gather(found, mine)
        return found

    def _sum_gradients(self, trained: Sequence[nn.Parameter]) -> None:
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        flat = torch.cat([grad.flatten() for grad in grads])
        for piece in flat.split(PIECE):
            piece.copy_(_in_order(self._gathered(piece)))
        parts = flat.split([grad.numel() for grad in grads])
        for parameter, part in zip(trained, parts, strict=True):
            parameter.grad = part.view_as(parameter)


def _in_order(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


@contextmanager
def _noticing(crew: Crew) -> Iterator[None]:
    """`Lost` where the network between the processes says that one is gone."""
    try:
        yield
    except RuntimeError as error:
        crew.ended = True
        raise Lost(
            f"one of the {crew.size} processes of this training has died, and no step is done"
            " without it.",
            "What was saved is intact: look at its output above, then go on with `kaiffin resume`.",
        ) from error


# --- coming together --------------------------------------------------------------------------


def _of_torchrun() -> int:
    """How many processes torchrun has started; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def size_of(devices: int) -> int:
    """How many processes a training has for which `devices` are asked: under torchrun, its own."""
    given = _of_torchrun()
    if given > 1 and devices not in (1, given):
        raise ConfigError(
            f"--devices {devices}: torchrun has started {given} processes.", "Leave --devices out."
        )
    return max(devices, given)


@contextmanager
def crewed(devices: int) -> Iterator[Crew]:
    """The first process of a crew, with the others started or, under torchrun, met."""
    size, children = size_of(devices), list[subprocess.Popen[bytes]]()
    if size == 1:
        yield Crew()
        return
    if _of_torchrun() > 1:
        crew = join()
    else:
        _refuse_more_than_there_are(size)
        children, crew = _start(size), Crew(0, size)
    try:
        yield crew
    finally:
        crew.leave(early=True)
        with suppress(Lost):
            crew.tell(None)
        _part(children)


def join() -> Crew:
    """This process, by its environment, as one of a crew."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    _take_device(int(os.environ.get("LOCAL_RANK", rank)))
    if MINE in os.environ:
        store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        store.set(str(rank), "here")
        dist.init_process_group(store=store, rank=rank, world_size=size, timeout=LONG)
    else:
        dist.init_process_group(timeout=LONG)
    return Crew(rank, size)


def _start(size: int) -> list[subprocess.Popen[bytes]]:
    """The other processes of this machine, all of them there when it returns."""
    host = "127.0.0.1"
    store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
    common = {MINE: "1", "WORLD_SIZE": str(size), "MASTER_ADDR": host}
    common |= {"MASTER_PORT": str(store.port)}
    threads = max(1, (os.cpu_count() or 1) // size)
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "kaiffin.train.helper"],
            env={"OMP_NUM_THREADS": str(threads), **os.environ, **common, "RANK": str(rank)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, process_group=0,
        )
        for rank in range(1, size)
    ]  # fmt: skip
    while not store.check([str(rank) for rank in range(1, size)]):
        if any(child.poll() is not None for child in children):
            _part(children)
            raise Lost("a process for one of the devices could not start.", "Look at its output.")
        time.sleep(0.05)
    _take_device(0)
    dist.init_process_group(store=store, rank=0, world_size=size, timeout=LONG)
    return children


def _part(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Leaves the group; who has not gone home by then is sent."""
    if dist.is_initialized():
        dist.destroy_process_group()
    for child in children:
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _take_device(local: int) -> None:
    """Each process has one accelerator of its machine, by its number; CPUs are shared."""
    if torch.accelerator.is_available() and torch.accelerator.device_count() > 1:
        torch.accelerator.set_device_index(local)


def _refuse_more_than_there_are(devices: int) -> None:
    there = torch.accelerator.device_count() if torch.accelerator.is_available() else devices
    if devices > there:
        raise ConfigError(
            f"--devices {devices}: this machine has {there} that torch can use.",
            f"Use --devices {there}.",
        )

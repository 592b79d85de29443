"""`kaiffin train --dry-run`: what a training will cost."""

from __future__ import annotations

from dataclasses import dataclass

from kaiffin.foundation.config import Config
from kaiffin.foundation.runtime import contained
from kaiffin.foundation.tell import SILENT, Tell, duration, size_text
from kaiffin.foundation.text import counted
from kaiffin.train.crew import size_of
from kaiffin.train.memory import Memory, Meter, Rung, available, ladder
from kaiffin.train.plan import Plan, measured_speed
from kaiffin.train.session import Session, open_session

SMALL_SHARE = 0.25  # of the memory: what is estimated below it is not worth a closer look


@dataclass(frozen=True)
class Planned:
    """A training before its first step. derived: the settings that the preset chose.

    seconds: roughly, on this machine; memory: None where the rough estimate in `plan` is far below
    `room`, the bytes that may be held; rungs: what helps where it does not fit, each with those
    before it; taken: whether `train.fit_memory` takes them; devices: that share every batch, and of
    which each takes that memory.
    """

    config: Config
    plan: Plan
    derived: tuple[str, ...]
    seconds: float
    room: int
    memory: Memory | None = None
    rungs: tuple[Rung, ...] = ()
    taken: bool = False
    devices: int = 1

    @property
    def fits(self) -> bool:
        """With all rungs, where it needs any."""
        if self.memory is None or self.memory.peak <= self.room:
            return True
        return bool(self.rungs) and self.rungs[-1].peak <= self.room

    @property
    def changes(self) -> dict[str, object]:
        """Settings as they are taken, by name."""
        rungs = self.rungs if self.taken else ()
        return {name: value for rung in rungs for name, value in rung.changes.items()}


@contained()
def plan(config: Config, *, devices: int = 1, tell: Tell = SILENT) -> Planned:
    """What `train` would do: weights, steps, epochs, memory and time; trains nothing."""
    size = size_of(devices)
    return of_session(open_session(config, None, tell=tell), look=True, devices=size)


def of_session(
    session: Session, *, look: bool = False, begun: bool = False, devices: int = 1
) -> Planned:
    """The plan of what is loaded; the memory measured where it may matter or `look` asks for it.

    begun: a training that has begun keeps its settings, also where the memory is short; devices:
    that share every batch.
    """
    config, family = session.config, session.family
    made = Plan.of(config, family, session.stack, session.phases, session.photos)
    room = available(family.device)
    seconds = made.seconds(measured_speed(made.device))
    if family.device.type == "cpu":
        room //= devices  # of one memory, and of the same cores
    else:
        seconds /= devices
    derived = tuple(session.derived)
    if made.memory < SMALL_SHARE * room and not look:
        return Planned(config, made, derived, seconds, room, devices=devices)
    meter = Meter(family, session.stack, session.phases, session.runtime, devices)
    measured = meter.memory(config)
    rungs = tuple(ladder(config, measured, meter, room))
    taken = bool(rungs) and config.train.fit_memory and not begun
    return Planned(config, made, derived, seconds, room, measured, rungs, taken, devices)


def say(planned: Planned, tell: Tell) -> None:
    """The plan in plain words: heard before a training starts, or all there is of a dry run."""
    made = planned.plan
    if planned.derived:
        tell.note("derived: " + ", ".join(planned.derived))
    tell.note(
        f"plan: {counted(made.trainable, 'trainable weight')} in {counted(made.modules, 'layer')};"
        f" {counted(made.steps, 'step')} = {counted(round(made.epochs), 'epoch')}; roughly"
        f" {duration(planned.seconds)} on {_where(planned)}"
    )
    if made.of_base:
        more = made.of_base / (made.pictures - made.of_base)
        tell.note(f"the base is asked in the steps ({_held(planned)}): {more:.0%} more time")
    if planned.memory is None:
        tell.note(f"memory: about {size_text(made.memory)}, little of what is free")
    else:
        _say_memory(planned.memory, planned, tell)


def _where(planned: Planned) -> str:
    kind, devices = planned.plan.device.type, planned.devices
    return f"this {kind}" if devices == 1 else f"{devices} processes, one {kind} each"


def _held(planned: Planned) -> str:
    """The settings that ask the base in the steps."""
    goal = planned.config.train.objective
    keeps = f"train.objective.keep {goal.keep:g} in {goal.keep_share:.0%} of the steps"
    dco = f"train.objective.dco_beta {goal.dco_beta:g}" if goal.dco_beta else ""
    return " and ".join(filter(None, (keeps if goal.keep else "", dco)))


def _say_memory(measured: Memory, planned: Planned, tell: Tell) -> None:
    """Where the memory goes; where it is too little, the ladder with each rung's price."""
    parts = {
        "there already (base, adapter, program)": measured.resident,
        "optimizer": measured.adapter,
        "activations and gradients of a step": measured.step,
        "or one picture through the VAE": measured.pictures,
    }
    shown = "; ".join(f"{size_text(size)} {name}" for name, size in parts.items())
    room = size_text(planned.room)
    each = "memory" if planned.devices == 1 else f"memory, on each of {planned.devices} devices"
    tell.note(f"{each}: {size_text(measured.peak)} at the peak of {room}: {shown}")
    if measured.peak <= planned.room:
        return
    tell.warning("that does not fit. What helps, each with those before it:")
    for rung in planned.rungs:
        tell.note(f"  {size_text(rung.peak):>8}  {rung.settings}  ({rung.price})")
    if not planned.fits:
        tell.note("  and still it does not fit: a smaller data.resolution, or a larger device")
    if planned.taken:
        settings = " ".join(rung.settings for rung in planned.rungs)
        tell.note(f"taken, since train.fit_memory is set: {settings}")

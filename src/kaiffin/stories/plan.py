"""`kaiffin train --dry-run`: what a training will cost."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from kaiffin.foundation.config import Config
from kaiffin.foundation.tell import VOICE, console, duration, size_text
from kaiffin.train import memory
from kaiffin.train.memory import Memory, Rung
from kaiffin.train.plan import Plan, measured_speed
from kaiffin.train.session import Session, open_session


def print_plan(plan: Plan, derived: list[str], console: Console) -> None:
    """The plan in plain words, and what the preset derived."""
    if derived:
        console.print("derived: " + ", ".join(derived))
    speed = measured_speed(plan.device)
    console.print(
        f"plan: {plan.trainable:,} trainable weights in {plan.modules} layers;"
        f" {plan.steps} steps = {plan.epochs:.0f} epochs; roughly"
        f" {duration(plan.seconds(speed))} on this {plan.device.type}"
    )


def print_small(plan: Plan, console: Console) -> None:
    """The rough estimate of the memory, where a closer look is not worth its seconds."""
    console.print(f"memory: about {size_text(plan.memory)}, little of what is free")


def print_memory(measured: Memory, room: int, rungs: Sequence[Rung], console: Console) -> None:
    """Where the memory goes; where it is too little, the ladder with each rung's price."""
    parts = {
        "there already (base, adapter, program)": measured.resident,
        "optimizer": measured.adapter,
        "activations and gradients of a step": measured.step,
        "or one picture through the VAE": measured.pictures,
    }
    shown = "; ".join(f"{size_text(size)} {name}" for name, size in parts.items())
    console.print(f"memory: {size_text(measured.peak)} at the peak of {size_text(room)}: {shown}")
    if measured.peak <= room:
        return
    console.print("warning: that does not fit. What helps, each with those before it:")
    for rung in rungs:
        console.print(f"  {size_text(rung.peak):>8}  {rung.settings}  ({rung.price})")
    if not rungs or rungs[-1].peak > room:
        console.print("  and still it does not fit: a smaller data.resolution, or a larger device")


SMALL_SHARE = 0.25  # of the memory: what is estimated below it is not worth a closer look


def plan(config: Config) -> Plan:
    """Prints what `train` would do: weights, steps, epochs, memory and time; trains nothing."""
    return say_plan(open_session(config, None, tell=VOICE), look=True)[0]


def say_plan(session: Session, *, look: bool = False) -> tuple[Plan, dict[str, object]]:
    """Prints the plan; measures the memory where that may matter, or where `look` asks for it.

    Returns the changes that `train.fit_memory` takes as well, where it does not fit.
    """
    config, family = session.config, session.family
    plan = Plan.of(config, family, session.stack, session.phases, session.photos)
    print_plan(plan, session.derived, console)
    room = memory.available(family.device)
    if plan.memory < SMALL_SHARE * room and not look:
        print_small(plan, console)
        return plan, {}
    return plan, _fit(session, room)


def _fit(session: Session, room: int) -> dict[str, object]:
    """Says where the memory goes, and the changes that are taken where it does not fit."""
    config = session.config
    meter = memory.Meter(session.family, session.stack, session.phases, session.runtime)
    measured = meter.memory(config)
    rungs = memory.ladder(config, measured, meter, room)
    print_memory(measured, room, rungs, console)
    changes = {k: v for rung in rungs for k, v in rung.changes.items()}
    if changes and config.train.fit_memory:
        console.print(
            f"taken, since train.fit_memory is set: {' '.join(r.settings for r in rungs)}"
        )
        return changes
    return {}

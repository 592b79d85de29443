"""The loop: draw, add noise, predict, loss, backward, step. One class, no subclasses.

Knows the protocols of a family and an adapter, and no format, no prompt and no path. What it is fed
with and what it averages are objects that it holds (inputs.py, average.py).
Every random draw is a function of (seed, step, what for), so a resumed training goes on exactly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from kaiffin.adapters.stack import Stack
from kaiffin.data.dataset import Dataset
from kaiffin.data.turns import Turns
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import DivergedError
from kaiffin.foundation.phases import Phase
from kaiffin.foundation.runtime import Runtime, derived_seed, randn, seed_dropout
from kaiffin.foundation.several import prior_weight
from kaiffin.models.base import Conditioning, ModelFamily
from kaiffin.models.diffusion import loss as objective
from kaiffin.train import optimizers
from kaiffin.train.anchor import Anchor
from kaiffin.train.average import Average
from kaiffin.train.classes import KEEP
from kaiffin.train.crew import Crew
from kaiffin.train.groups import groups
from kaiffin.train.inputs import Batch, Inputs
from kaiffin.train.state import TrainState
from kaiffin.train.times import Times

ROLES = ("instance", "prior", KEEP)


@dataclass(frozen=True)
class Noised:
    """x_t and the target (B, C, h, w) of the prediction at times t (B,)."""

    x_t: Tensor
    t: Tensor
    target: Tensor


@dataclass(frozen=True)
class Validated:
    """The loss on held-out photos: with the adapter as it would be kept now, and without it."""

    loss: float
    base: float


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did.

    step: how many are done now; rates: learning rate of each tower; seconds: wall time; validated:
    the loss on held-out photos, where it was asked for after this step.
    """

    step: int
    loss: float
    prior_loss: float | None
    grad_norm: float
    rates: dict[str, float]
    seconds: float
    keep_loss: float | None = None
    validated: Validated | None = None


class Listener(Protocol):
    """Told what happens; may not change the training."""

    def on_start(self, step: int, steps: int) -> None: ...

    def on_step(self, result: StepResult) -> None: ...

    def on_end(self) -> None: ...


class Trainer:
    """Trains what `phase` says of `stack` (attached already) on the frozen `family`.

    Steps are counted through all phases of a run.
    """

    def __init__(
        self, family: ModelFamily, stack: Stack, dataset: Dataset | Turns, phase: Phase,
        runtime: Runtime, cache: TensorCache, crew: Crew | None = None,
    ) -> None:  # fmt: skip
        self.phase, self.config = phase, phase.config
        train = self.config.train
        if not (train.steps and train.batch_size and train.lr):
            raise ValueError("steps, batch_size and lr must be set: presets.derive fills them")
        self.family, self.stack, self.dataset = family, stack, dataset
        self.runtime = runtime
        self.crew = crew or Crew()
        self.crew.divide(train.batch_size, train.accumulate)
        self.inputs = Inputs(family, dataset, phase, runtime, cache, self.crew)
        self.anchor = Anchor(self.inputs, stack, train.objective, runtime)
        self.times = Times(train.objective, family.schedule, train.seed)
        self.listeners: list[Listener] = []
        self.step, self.steps = self.phase.first, self.phase.last
        self.seed = train.seed
        self.optimizer = optimizers.make(groups(stack, self.phase), train)
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.average = Average(self.trained, self.optimizer, train)
        uses_scaler = runtime.precision == torch.float16
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=uses_scaler)
        self.finished = False
        self.validation: Callable[[], Validated] | None = None
        if train.gradient_checkpointing:
            family.enable_gradient_checkpointing()

    # --- the loop ---------------------------------------------------------------------------

    def fit(self, until: int | None = None) -> None:
        """Steps until `until` (default: the configured number); resumable in between."""
        self.inputs.keep_texts_of(self.stack)
        for listener in self.listeners:
            listener.on_start(self.step, self.steps)
        try:
            while self.step < min(until or self.steps, self.steps) and not self.finished:
                result = self._validated(self._one_step())
                for listener in self.listeners:
                    listener.on_step(result)
        finally:
            self.crew.leave(early=self.step < self.steps)
            for listener in self.listeners:
                listener.on_end()

    def finish(self) -> None:
        """Ends the training after this step, for good: a restart does not take it up again."""
        self.finished = True

    def _validated(self, result: StepResult) -> StepResult:
        """With the loss on held-out photos, every so often and after the last step."""
        due = self.step == self.steps or self.step % (self.config.train.validate_every or 1) == 0
        ask = self.validation if due else None
        return replace(result, validated=ask()) if ask else result

    def _one_step(self) -> StepResult:
        started = time.perf_counter()
        accumulate = self.config.train.accumulate
        totals, share = dict.fromkeys(ROLES, 0.0), self.crew.share(accumulate)
        with self.crew.telling():
            for part in self.crew.parts(accumulate):
                number = self.step * accumulate + part
                for batches in passes(self.inputs.batches(number)):
                    losses = self.losses(batches, self.crew.piece(number))
                    weighted = [self._weight(b) * x for b, x in zip(batches, losses, strict=True)]
                    self.scaler.scale(torch.stack(weighted).sum() * share).backward()
                    for batch, value in zip(batches, losses, strict=True):
                        totals[batch.role] += value.item() * share
        sums = self.crew.add_up(self.trained, list(totals.values()))
        totals = dict(zip(totals, sums, strict=True))
        norm, rates = self._update()
        self.average.follow(self.step - self.phase.first)
        self.times.end_step(self.crew.everyone)
        prior = totals["prior"] if self.inputs.shows_class(self.step) else None
        keep = totals[KEEP] if self.inputs.keeps(self.step) else None
        self.step += 1
        seconds = time.perf_counter() - started
        return StepResult(self.step, totals["instance"], prior, norm, rates, seconds, keep)

    def _weight(self, batch: Batch) -> float:
        """How much its loss counts."""
        if batch.role == "prior":
            return prior_weight(self.config, batch.subject.token)
        return (self.config.train.objective.keep or 0.0) if batch.role == KEEP else 1.0

    def _update(self) -> tuple[float, dict[str, float]]:
        """Clips, steps and returns (gradient norm before clipping, learning rates)."""
        factor = rate_factor(self.config, self.step - self.phase.first)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.scaler.unscale_(self.optimizer)
        norm = self._clip()
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise self._diverged("gradient", norm, [])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm, {group["tower"]: group["lr"] for group in self.optimizer.param_groups}

    def _clip(self) -> float:
        """The gradient's norm, which is then at most `train.clip`; most are below and stay."""
        most = self.config.train.clip
        grads = [p.grad for p in self.trained if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        value = norm.item()
        if not value <= most:
            torch.nn.utils.clip_grads_with_norm_(self.trained, most, norm)
        return value

    def shown(self) -> AbstractContextManager[None]:
        """Inside, the adapter has the weights that are kept; see `settle`."""
        return self.average.shown()

    def settle(self) -> None:
        """Gives the adapter the weights that are kept: the averaged ones, where `train.ema` or a
        schedule-free optimizer averages."""
        self.average.settle()

    # --- the losses -------------------------------------------------------------------------

    def losses(self, batches: Sequence[Batch], number: int) -> list[Tensor]:
        """Mean loss of each batch, all of one size; its draws depend on (seed, role, number) alone.

        They go through the model together, which costs less than one by one.
        """
        noised = [self._noised(batch, number) for batch in batches]
        told = [self._told(batch, number) for batch in batches]
        seed_dropout([item for batch in batches for item in self._items(batch, number)])
        of_base = self.anchor.said(batches, [n.x_t for n in noised], [n.t for n in noised])
        with self.runtime.autocast():
            output = self.family.predict(
                torch.cat([n.x_t for n in noised]),
                torch.cat([n.t for n in noised]),
                Conditioning.cat(told),
            )
        outputs = output.split([len(batch) for batch in batches])
        parts = zip(batches, noised, outputs, of_base, strict=True)
        return [self._loss(*each, number) for each in parts]

    def _told(self, batch: Batch, number: int) -> Conditioning:
        """What the denoiser is told of a batch, each item after its own drop-out."""
        seed_dropout(self._items(batch, number))
        return self.inputs.conditioning(batch)

    def _items(self, batch: Batch, number: int) -> list[int]:
        """Seeds of the items' drop-out: by their places in the stream, as all that is drawn."""
        places = range(number * len(batch), (number + 1) * len(batch))
        return [derived_seed(self.seed, batch.role, "dropout", place) for place in places]

    def _loss(
        self, batch: Batch, noised: Noised, output: Tensor, of_base: Tensor | None, number: int
    ) -> Tensor:
        """Mean over the batch. of_base: what the base says, where a method asks it."""
        if batch.role == KEEP and of_base is not None:
            each = self._errors(batch, noised, output, of_base)
        else:
            each = self._errors(batch, noised, output, noised.target)
        if batch.role == "instance":
            self.times.see(number * len(batch), each)
        beta = self.config.train.objective.dco_beta
        if batch.role == "instance" and beta is not None and of_base is not None:
            base = self._errors(batch, noised, of_base, noised.target)
            each = objective.dco(each, base, beta)
        if not torch.isfinite(each).all():
            bad = [
                f"{batch.names[i]} at timestep {noised.t[i].item():g}"
                for i in range(len(each))
                if not math.isfinite(each[i].item())
            ]
            raise self._diverged("loss", each.mean().item(), bad)
        return each.mean()

    def _errors(self, batch: Batch, noised: Noised, output: Tensor, target: Tensor) -> Tensor:
        """(B,) distances of output and target, as the objective counts them."""
        goal, weight = self.config.train.objective, None
        if goal.min_snr_gamma is not None:
            weight = self.family.schedule.weight(noised.t, goal.min_snr_gamma)
            weight = weight.to(self.runtime.device, torch.float32)
        return objective.loss(
            output, target, kind=goal.loss, huber_delta=goal.huber_delta, weight=weight,
            mask=batch.mask,
        )  # fmt: skip

    def _noised(self, batch: Batch, number: int) -> Noised:
        """Each item draws posterior, noise and time from its own place in the stream; photos under
        captions of the class are noised as they are under their own."""
        first, role = number * len(batch), "instance" if batch.role == KEEP else batch.role
        places = range(first, first + len(batch))
        shape, device, schedule = batch.mean.shape[1:], self.runtime.device, self.family.schedule

        def draw(what: str, shape: Sequence[int]) -> Tensor:
            return torch.stack([randn(shape, self.seed, role, what, place) for place in places])

        x0 = (batch.mean + batch.std * draw("posterior", shape)).to(device)
        eps = draw("noise", shape)
        strength = self.config.train.objective.noise_offset
        if strength:
            eps = objective.offset_noise(eps, draw("offset", (shape[0], 1, 1)), strength)
        eps = eps.to(device)
        t = self.times.draw(role, places).to(device)
        return Noised(schedule.add_noise(x0, eps, t), t, schedule.target(x0, eps, t))

    def _diverged(self, what: str, value: float, where: list[str]) -> DivergedError:
        shown = f": {', '.join(where)}" if where else ""
        return DivergedError(
            f"the {what} became {value} in step {self.step + 1}{shown}.",
            "The last checkpoint is good. Look at that photo, or start anew with a lower train.lr.",
        )

    # --- state ------------------------------------------------------------------------------

    def state(self) -> TrainState:
        """All that a restart needs."""
        scaler = self.scaler.state_dict() if self.scaler.is_enabled() else {}
        tensors, numbers = optimizers.state(self.optimizer)
        tensors |= self.average.tensors()
        facts = {"scaler": scaler, "optimizer": numbers, "finished": self.finished}
        facts |= {"times": self.times.means}
        return TrainState(self.step, self.stack.state(), tensors, facts)

    def restore(self, state: TrainState) -> None:
        """Goes back to `state`, to the bit."""
        self.stack.load(state.adapter)
        own = {n: t for n, t in state.optimizer.items() if not n.startswith("average.")}
        optimizers.restore(self.optimizer, own, state.facts["optimizer"])
        self.average.restore(state.optimizer)
        if state.facts.get("scaler"):
            self.scaler.load_state_dict(state.facts["scaler"])
        self.times.means = state.facts.get("times", self.times.means)
        self.step, self.finished = state.step, state.facts.get("finished", False)


def passes(batches: Sequence[Batch]) -> list[list[Batch]]:
    """What goes forward and backward together: what is of one size, and what is held to the base
    by itself, so that it takes time and no memory."""
    alike: dict[object, list[Batch]] = {}
    for batch in batches:
        alike.setdefault((batch.role == KEEP, batch.mean.shape[1:]), []).append(batch)
    return list(alike.values())


def rate_factor(config: Config, step: int) -> float:
    """Factor on the learning rate of 0-based `step`: linear warm-up, then the schedule to 0."""
    train = config.train
    steps = train.steps or 1
    if step < train.warmup:
        return (step + 1) / train.warmup
    progress = (step - train.warmup) / max(1, steps - train.warmup)
    if train.schedule in ("cosine", None):  # None is what presets fill
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1 - progress if train.schedule == "linear" else 1.0

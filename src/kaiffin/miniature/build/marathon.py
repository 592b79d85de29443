"""A training loop that may be killed at any moment and lasts until a wall-clock deadline.

All weights live in one flat vector, their gradients in another: one all-reduce a step joins the
workers, AdamW moves them as one parameter, and a checkpoint is four vectors and a few numbers.
Every draw is a function of (seed, step, index), so there is no generator state to save: after
`kill -9` the run goes on to the same bytes it would have reached.
"""

import json
import math
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.miniature.build.recipe import CHECKPOINT, LOSSES, Plan
from kaiffin.train.average import ema_share


class Flat:
    """A network's trainable weights as one vector, with gradient and moving average beside it."""

    def __init__(self, network: nn.Module) -> None:
        weights = [p for p in network.parameters() if p.requires_grad]
        self.data = torch.cat([p.detach().reshape(-1) for p in weights])
        self.grad = torch.zeros_like(self.data)
        at = 0
        for weight in weights:
            piece = slice(at, at + weight.numel())
            weight.data = self.data[piece].view(weight.shape)
            weight.grad = self.grad[piece].view(weight.shape)
            at = piece.stop
        self.ema = self.data.clone()
        self.first = torch.zeros_like(self.data)  # AdamW's moments
        self.second = torch.zeros_like(self.data)
        whole = nn.Parameter(self.data)
        whole.grad = self.grad
        self.optimizer = torch.optim.AdamW([whole], fused=True)
        self.steps = torch.tensor(0.0, device=self.data.device)
        moments = {"exp_avg": self.first, "exp_avg_sq": self.second}
        self.optimizer.state[whole] = {"step": self.steps, **moments}

    def tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in ("data", "ema", "first", "second")}

    @contextmanager
    def averaged(self):
        """Inside, the network has its moving-average weights."""
        kept = self.data.clone()
        self.data.copy_(self.ema)
        try:
            yield
        finally:
            self.data.copy_(kept)

    def adamw(self, step: int, lr: float, plan: Plan) -> None:
        """Decoupled weight decay (arXiv 1711.05101, algorithm 2), then the average. step from 1."""
        (group,) = self.optimizer.param_groups
        group |= {"lr": lr, "betas": plan.betas, "weight_decay": plan.weight_decay}
        self.steps.fill_(step - 1)
        self.optimizer.step()
        self.ema.lerp_(self.data, ema_share(plan.ema, step))


def learning_rate(plan: Plan, samples: int, decay: tuple[int, int] | None) -> float:
    """Linear warm-up, a plateau, and a cosine to 2 % over `decay` = (first sample, length)."""
    rate = plan.lr * min(1.0, (samples + plan.batch) / max(1, plan.warmup))
    if decay is None or samples < decay[0]:
        return rate
    done = min(1.0, (samples - decay[0]) / max(1, decay[1]))
    return rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def read_deadline(path: Path, budget_s: float) -> float:
    """Seconds since the epoch. The file may hold them, or a UTC time such as 05:20.

    A clock time is the next one after the file was written. Without a file, one is written.
    """
    if not path.exists():
        path.write_text(f"{time.time() + budget_s:.0f}\n")
    text = path.read_text().strip()
    if ":" not in text:
        return float(text)
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    hour, minute = text.split(":")
    moment = written.replace(hour=int(hour), minute=int(minute), second=0)
    return (moment if moment >= written else moment + timedelta(days=1)).timestamp()


@dataclass(frozen=True)
class Every:
    """What a stage does beside learning, and how many seconds apart.

    preview: shows what has been learnt after so many samples.
    """

    save_s: float = 60.0
    preview: Callable[[int], None] | None = None
    preview_s: float = 300.0


class Marathon:
    """One stage: `loss(step, part)` on this worker's part of batch `step`, until done."""

    def __init__(
        self, folder: Path, network: nn.Module, plan: Plan, loss: Callable[[int, slice], Tensor],
        *, rank: int = 0, workers: int = 1, tell: Tell = SILENT, every: Every | None = None,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.plan, self.loss = folder, plan, loss
        self.rank, self.workers, self.tell = rank, workers, tell
        self.every = every or Every()
        self.flat = Flat(network)
        self.step, self.decay = 0, self._planned_decay()
        self.seconds, self.started = 0.0, time.time()
        self._load()

    @property
    def samples(self) -> int:
        return self.step * self.plan.batch

    def _planned_decay(self) -> tuple[int, int] | None:
        if self.plan.samples is None:
            return None
        length = round(self.plan.samples * self.plan.decay_share)
        return self.plan.samples - length, length

    def run(self) -> None:
        """Train to the end; previews and checkpoints on the way, a checkpoint at the end."""
        self.begun, self.first = time.time(), self.samples
        saved = logged = previewed = self.begun
        losses: list[float] = []
        self._reopen()
        self._agree_on_decay()
        while not self._is_done():
            losses.append(self._one_step())
            if self.step % 8 == 0:
                self._agree_on_decay()
            now = time.time()
            if self.rank:
                continue
            if now - logged > 10:
                self._say(sum(losses) / len(losses))
                losses, logged = [], now
            if now - saved > self.every.save_s:
                self.save()
                saved = now
            if self.every.preview and now - previewed > self.every.preview_s:
                with self.flat.averaged():
                    self.every.preview(self.samples)
                previewed = time.time()
        if not self.rank:
            self.save()

    def _one_step(self) -> float:
        """Loss, gradient, all-reduce, AdamW; the loss of this worker's part."""
        share = self.plan.batch // self.workers
        self.flat.grad.zero_()
        device = self.flat.data.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            loss = self.loss(self.step, slice(self.rank * share, (self.rank + 1) * share))
        loss.backward()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"loss {value} at step {self.step} in {self.folder.name}")
        if self.workers > 1:
            dist.all_reduce(self.flat.grad)
            self.flat.grad.div_(self.workers)
        norm = float(self.flat.grad.norm())
        if norm > self.plan.clip_norm:
            self.flat.grad.mul_(self.plan.clip_norm / norm)
        lr = learning_rate(self.plan, self.samples, self.decay)
        self.flat.adamw(self.step + 1, lr, self.plan)
        self.step += 1
        return value

    # --- when the decay begins ------------------------------------------------------------------

    def _agree_on_decay(self) -> None:
        """Worker 0 reads the clock and decides; the others follow."""
        if self.plan.samples is not None:
            return
        if self.rank == 0:
            self.decay = self._timed_decay()
        if self.workers > 1:
            word = torch.tensor(self.decay or (-1, -1), dtype=torch.long)
            dist.broadcast(word, 0)
            self.decay = (int(word[0]), int(word[1])) if word[0] >= 0 else None

    def _reopen(self) -> None:
        """A finished run that was given a later deadline trains on, at the full rate again."""
        deadline = read_deadline(self.folder / "DEADLINE", self.plan.budget_s)
        if self.plan.samples is None and self._is_done() and deadline - time.time() > 60:
            self.decay = None

    def _timed_decay(self) -> tuple[int, int] | None:
        """(first sample, length), once the time left is the time set aside for the decay.

        A deadline that moved far away again calls the decay off; one that moved near calls it.
        """
        deadline = read_deadline(self.folder / "DEADLINE", self.plan.budget_s)
        now = time.time()
        left = deadline - now
        wanted = self.plan.decay_share * (self.elapsed() + left)
        if self.decay is not None:
            return None if left > 1.3 * wanted else self._hastened(self.decay, left)
        if left > wanted or (now - self.begun < 20 and left > 0):
            return None
        return self.samples, max(self.plan.batch, round(self._rate() * max(0.0, left) * 0.97))

    def _hastened(self, decay: tuple[int, int], left: float) -> tuple[int, int]:
        """The decay, quicker where it would end well after a deadline that has come nearer; the
        rate goes on from where it is. A deadline that is over hastens nothing."""
        first, length = decay
        rest, possible = first + length - self.samples, round(self._rate() * left)
        if left < 60 or self.samples - self.first < 8 * self.plan.batch or rest < 1.2 * possible:
            return decay
        done = max(0, self.samples - first) / length
        length = round(possible / (1 - done))
        return self.samples - round(done * length), length

    def elapsed(self) -> float:
        """Training seconds, over all restarts."""
        return self.seconds + time.time() - self.started

    def _rate(self) -> float:
        """Samples a second since this process began."""
        return (self.samples - self.first) / max(time.time() - self.begun, 1e-9)

    def _is_done(self) -> bool:
        return self.decay is not None and self.samples >= sum(self.decay)

    def _say(self, loss: float) -> None:
        rate = self._rate()
        if self.decay:
            left = (sum(self.decay) - self.samples) / max(rate, 1e-9)
        else:
            left = read_deadline(self.folder / "DEADLINE", self.plan.budget_s) - time.time()
        lr = learning_rate(self.plan, self.samples, self.decay)
        with (self.folder / LOSSES).open("a") as table:
            table.write(f"{self.samples}\t{self.elapsed():.0f}\t{loss:.4f}\n")
        self.tell.note(
            f"{self.folder.name}  {self.samples:>9,} samples  loss {loss:.4f}  lr {lr:.2e}  "
            f"{rate:.0f}/s  {left / 60:.1f} min left{'  decaying' if self.decay else ''}"
        )

    # --- checkpoints ----------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT

    def save(self) -> None:
        facts = {
            "step": self.step,
            "decay": self.decay,
            "seconds": self.elapsed(),
        }
        write_bytes(self.checkpoint, save(self.flat.tensors(), {"facts": json.dumps(facts)}))

    def _load(self) -> None:
        if not self.checkpoint.exists():
            return
        with safe_open(self.checkpoint, "pt") as handle:
            for name, tensor in self.flat.tensors().items():
                tensor.copy_(handle.get_tensor(name))
            facts = json.loads(handle.metadata()["facts"])
        self.step, self.seconds = facts["step"], facts["seconds"]
        if self.plan.samples is None:  # else the plan says it, whoever made the checkpoint
            self.decay = tuple(facts["decay"]) if facts["decay"] else None


def read_losses(folder: Path) -> list[tuple[int, int, float]]:
    """(samples, training seconds, mean loss since the line before) along a run, in order; what a
    kill undid is left out."""
    path = folder / LOSSES
    rows: list[tuple[int, int, float]] = []
    for line in path.read_text().splitlines() if path.exists() else []:
        samples, seconds, loss = line.split("\t")
        rows = [row for row in rows if row[0] < int(samples)]
        rows.append((int(samples), int(seconds), float(loss)))
    return rows


def load_average(network: nn.Module, folder: Path) -> nn.Module:
    """Give `network` the moving-average weights of a stage's last checkpoint."""
    flat = Flat(network)
    with safe_open(folder / CHECKPOINT, "pt") as handle:
        flat.data.copy_(handle.get_tensor("ema"))
    for weight in network.parameters():
        weight.grad = None
        weight.requires_grad_(False)
    return network.eval()

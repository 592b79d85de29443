"""Listeners of a training: pace, metrics, TensorBoard, restart points, candidates, previews."""

from __future__ import annotations

import contextlib
import json
import signal
import statistics
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

from PIL import Image

from kaiffin.foundation.errors import Interrupted
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import dump
from kaiffin.foundation.sheets import png_bytes, sheet
from kaiffin.foundation.tell import Tell
from kaiffin.train.trainer import StepResult, Trainer

SMOOTHING = 0.98  # of the shown loss: single steps vary with the timestep drawn
CALIBRATION, WINDOW = 10, 5  # steps that say what is usual, and that are compared with it
SPILL_FACTOR = 3.0
Preview = Callable[[], Sequence[tuple[str, Image.Image]]]  # -> (label, picture)


class Smoothed:
    """Exponential mean with bias correction (Kingma & Ba 2015, section 3)."""

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def add(self, value: float) -> float:
        self.count += 1
        self.sum = SMOOTHING * self.sum + (1 - SMOOTHING) * value
        return self.sum / (1 - SMOOTHING**self.count)


class Pace:
    """The wait for the last step: loss, rate and speed are told as it goes on."""

    def __init__(self, tell: Tell) -> None:
        self.tell, self.waits = tell, contextlib.ExitStack()
        self.loss, self.seconds = Smoothed(), Smoothed()
        self.validated = ""

    def on_start(self, step: int, steps: int) -> None:
        self.progress = self.waits.enter_context(self.tell.progress("training", steps))
        self.progress.update(step)

    def on_step(self, result: StepResult) -> None:
        loss, seconds = self.loss.add(result.loss), self.seconds.add(result.seconds)
        rate, speed = max(result.rates.values()), 1 / max(seconds, 1e-9)
        if result.validated:
            now = result.validated
            self.validated = f"  held out {now.loss:.4f} (base {now.base:.4f})"
        text = f"loss {loss:.4f}{self.validated}  rate {rate:.2g}  {speed:.1f} steps/s"
        self.progress.plot(result.loss)
        self.progress.update(result.step, text=text)

    def on_end(self) -> None:
        self.waits.close()


class SpillAlarm:
    """Says so once when steps take much longer than the first ones did.

    The usual reason is memory: a driver that moves the GPU's into the computer's, or swapping.
    """

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.first: list[float] = []
        self.last: deque[float] = deque(maxlen=WINDOW)
        self.said = False

    def on_start(self, step: int, steps: int) -> None:
        self.first.clear()
        self.last.clear()

    def on_step(self, result: StepResult) -> None:
        if len(self.first) < CALIBRATION:
            self.first.append(result.seconds)
            return
        self.last.append(result.seconds)
        if self.said or len(self.last) < WINDOW:
            return
        # The first step of all compiles, fills caches and proves nothing.
        usual, now = statistics.median(self.first[1:]), statistics.median(self.last)
        if now > SPILL_FACTOR * usual:
            self.said = True
            self.tell.warning(
                f"steps take {now / usual:.1f} times as long as the first ones did"
                f" ({now:.2f} s, {usual:.2f} s). Memory has probably spilled over, or another"
                " program takes the device: look at its memory; then lower train.batch_size, or"
                " set train.gradient_checkpointing or base.quantize."
            )

    def on_end(self) -> None:
        pass


class Metrics:
    """One JSON line per step in metrics.jsonl."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_start(self, step: int, steps: int) -> None:
        self.run.truncate_metrics(step)
        self.file = self.run.metrics_path.open("a", encoding="utf-8", buffering=1)

    def on_step(self, result: StepResult) -> None:
        entry = {
            "step": result.step,
            "loss": result.loss,
            "prior_loss": result.prior_loss,
            "keep_loss": result.keep_loss,
            "grad_norm": result.grad_norm,
            "rates": result.rates,
            "seconds": round(result.seconds, 4),
        }
        if result.validated:
            entry |= {"held_out_loss": result.validated.loss, "base_loss": result.validated.base}
        self.file.write(json.dumps(entry) + "\n")

    def on_end(self) -> None:
        self.file.close()


class TensorBoard:
    """Loss, smoothed loss, rate, gradient norm and the config; previews by `images`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.smoothed = Smoothed()

    def on_start(self, step: int, steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = str(self.run.folder("tensorboard"))
        self.writer: Any = SummaryWriter(folder, purge_step=step + 1 if step else None)
        text = "    " + dump(self.run.config).replace("\n", "\n    ")
        self.writer.add_text("config", text, 0)

    def on_step(self, result: StepResult) -> None:
        add = self.writer.add_scalar
        add("loss", result.loss, result.step)
        add("loss_smoothed", self.smoothed.add(result.loss), result.step)
        if result.prior_loss is not None:
            add("loss_prior", result.prior_loss, result.step)
        if result.keep_loss is not None:
            add("loss_keep", result.keep_loss, result.step)
        for tower, rate in result.rates.items():
            add(f"learning_rate/{tower}", rate, result.step)
        add("gradient_norm", result.grad_norm, result.step)
        if result.validated:
            add("loss_held_out", result.validated.loss, result.step)
            add("loss_held_out_base", result.validated.base, result.step)

    def image(self, name: str, image: Image.Image, step: int) -> None:
        import numpy as np

        self.writer.add_image(name, np.asarray(image), step, dataformats="HWC")

    def on_end(self) -> None:
        self.writer.close()


class RestartPoints:
    """Saves every N steps and at the end; on Ctrl-C or SIGTERM saves and stops."""

    def __init__(self, run: Run, trainer: Trainer) -> None:
        self.run, self.trainer = run, trainer
        self.every = run.config.train.checkpoint_every
        self.caught: int | None = None
        self.previous: dict[int, Any] = {}

    def on_start(self, step: int, steps: int) -> None:
        self.steps = steps
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self.previous[number] = signal.signal(number, self._catch)
            except ValueError:  # not the main thread: a service stops its workers itself
                return

    def _catch(self, number: int, _frame: object) -> None:
        self.caught = number

    def on_step(self, result: StepResult) -> None:
        last = result.step == self.steps or self.trainer.finished
        due = last or result.step % self.every == 0
        if due or self.caught is not None:
            self.save()
        if self.caught is not None and not last:
            raise Interrupted(
                f"stopped after step {result.step} of {self.steps}, which is saved.",
                f"Go on with `kaiffin resume {self.run.path}`.",
                self.caught,
            )

    def save(self) -> None:
        state = self.trainer.state()
        self.run.new_restart_point(state.step, state.files(), self.run.config.train.keep)

    def on_end(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous.clear()


class Candidates:
    """Keeps the adapter at some steps. `keep` writes it and says whether the training is to go
    on."""

    def __init__(self, trainer: Trainer, steps: Collection[int], keep: Callable[[int], bool]):
        self.trainer, self.steps, self.keep = trainer, steps, keep

    def on_start(self, step: int, steps: int) -> None:
        pass

    def on_step(self, result: StepResult) -> None:
        if result.step in self.steps and not self.keep(result.step):
            self.trainer.finish()

    def on_end(self) -> None:
        pass


class Previews:
    """Pictures on fixed prompts and seeds every N steps, as a sheet and into TensorBoard."""

    def __init__(self, run: Run, make: Preview, every: int, board: TensorBoard | None) -> None:
        self.run, self.make, self.every, self.board = run, make, every, board

    def on_start(self, step: int, steps: int) -> None:
        if step == 0:
            self.show(0)

    def on_step(self, result: StepResult) -> None:
        if result.step % self.every == 0:
            self.show(result.step)

    def show(self, step: int) -> None:
        labels, pictures = zip(*self.make(), strict=True)
        page = sheet(pictures, labels, title=f"step {step}")
        write_bytes(self.run.previews / f"step-{step:08d}.png", png_bytes(page))
        if self.board:
            self.board.image("previews", page, step)

    def on_end(self) -> None:
        pass

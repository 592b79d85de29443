"""What a training shows, read back by others' eyes: TensorBoard's reader, PNG pixels, JSON."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import FEW, grainy_photos
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kaiffin.cli import terminal
from kaiffin.cli.main import main
from kaiffin.cli.terminal import TERMINAL
from kaiffin.foundation.run import Run
from kaiffin.foundation.sheets import GAP, MIN_TILE, sheet
from kaiffin.foundation.tell import Progress, Tell
from kaiffin.train.trainer import StepResult, Validated
from kaiffin.train.watch import Pace, Smoothed, SpillAlarm

STEPS = 4


@pytest.fixture(scope="module")
def run(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watched")
    grainy_photos(folder, 3)
    out = folder / "run"
    call = ["train", str(folder), "--base", str(sd_path), "--class", "thing", "--out", str(out)]
    call += ["--steps", str(STEPS), "--data.prior.weight", "0.5", "--data.prior.num_images", "2"]
    call += ["--data.prior.steps", "2", "--sample.preview_every", "2", "--sample.steps", "2"]
    call += ["--data.hold_out", "1", "--train.validate_every", "3"]
    call += ["--adapter.text_encoder", "true", "--train.lr", "1e-2",
             "--adapter.targets", FEW]  # fmt: skip
    assert main(call) == 0
    return out


def test_tensorboard_holds_curves_rates_config_and_previews(run: Path) -> None:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "loss", "loss_smoothed", "loss_prior", "gradient_norm",
        "learning_rate/unet", "learning_rate/text_encoder", "loss_held_out", "loss_held_out_base",
    }  # fmt: skip
    for name in events.Tags()["scalars"]:
        steps = [3, STEPS] if "held_out" in name else list(range(1, STEPS + 1))
        assert [event.step for event in events.Scalars(name)] == steps
    unet, text = (events.Scalars(f"learning_rate/{t}") for t in ("unet", "text_encoder"))
    assert [2 * t.value for t in text] == pytest.approx([u.value for u in unet])
    assert "config/text_summary" in events.Tags()["tensors"]
    assert [event.step for event in events.Images("previews")] == [0, 2, 4]


def test_metrics_are_one_line_a_step(run: Path) -> None:
    lines = [json.loads(line) for line in Run.open(run).metrics_path.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert set(lines[0]["rates"]) == {"unet", "text_encoder"}
    assert lines[0]["rates"]["unet"] == pytest.approx(1e-2)
    assert all(line["prior_loss"] > 0 for line in lines)
    asked = [line for line in lines if "held_out_loss" in line]
    assert [line["step"] for line in asked] == [3, STEPS], "every so often, and after the last"
    assert asked[0]["held_out_loss"] != asked[1]["held_out_loss"]


def test_the_report_shows_the_loss_on_held_out_photos(run: Path) -> None:
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    ends = json.loads(Run.open(run).metrics_path.read_text().splitlines()[-1])
    assert (
        f"adapter ends at {ends['held_out_loss']:.4f}; base ends at {ends['base_loss']:.4f}" in page
    )


def test_the_last_preview_is_what_generate_makes(run: Path, tmp_path: Path) -> None:
    call = ["generate", str(run), "a photo of {token} {noun}", "--seed", "1"]
    assert main([*call, "--out", str(tmp_path)]) == 0
    (picture,) = (path for path in tmp_path.glob("*.png") if path.name != "sheet.png")
    pages = [run / "previews" / f"step-{step:08d}.png" for step in (0, STEPS)]
    first, last = (np.asarray(Image.open(page).convert("RGB")).astype(int) for page in pages)
    with Image.open(picture) as image:
        shown = sheet([image])  # as it looks on a page, enlarged
    tile = np.asarray(shown).astype(int)[GAP:-GAP, GAP:-GAP][:MIN_TILE, :MIN_TILE]
    assert _contains(last, tile)
    assert not _contains(first, tile)


def _contains(page: np.ndarray, picture: np.ndarray) -> bool:
    """Whether `picture` lies somewhere on `page` at its own size, within one grey level."""
    height, width = picture.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(page, (height, width, 3))[:, :, 0]
    corners = np.abs(windows[..., 0, 0, :] - picture[0, 0]).max(-1) <= 1
    return any(np.abs(windows[y, x] - picture).max() <= 1 for y, x in np.argwhere(corners))


def test_smoothing_is_unbiased_from_the_start() -> None:
    smoothed = Smoothed()
    assert [smoothed.add(3.0) for _ in range(5)] == pytest.approx([3.0] * 5)


def test_pace_is_told_with_the_time_left(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no terminal a line now and then; what a resumed run had done took no time."""
    monkeypatch.setattr(terminal, "PLAIN_SECONDS", 0.0)
    clock = iter(range(0, 100, 2))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(clock)))
    pace = Pace(TERMINAL)
    pace.on_start(40, 50)
    for step in (41, 42, 50):
        pace.on_step(StepResult(step, 0.5, None, 1.0, {"unet": 1e-4, "text_encoder": 5e-5}, 2.0))
    pace.on_end()
    first, second, last = capsys.readouterr().out.splitlines()
    assert first == "training 41/50  loss 0.5000  rate 0.0001  0.5 steps/s  18 s left"
    assert second == "training 42/50  loss 0.5000  rate 0.0001  0.5 steps/s  16 s left"
    assert last.startswith("training 50/50")


def test_the_last_loss_on_held_out_photos_stays_in_sight() -> None:
    texts: list[str] = []

    class Line(Progress):
        def update(self, done: int, total: int | None = None, *, text: str = "") -> None:
            texts.append(text)

    class Telling(Tell):
        @contextlib.contextmanager
        def progress(self, text: str, total: int | None = None) -> Iterator[Progress]:
            yield Line(total)

    pace = Pace(Telling())
    pace.on_start(0, 3)
    for step, asked in ((1, None), (2, Validated(0.25, 0.5)), (3, None)):
        pace.on_step(StepResult(step, 0.5, None, 1.0, {"unet": 1e-4}, 2.0, validated=asked))
    assert ["held out" in text for text in texts] == [False, False, True, True]
    assert "held out 0.2500 (base 0.5000)" in texts[-1]


def test_each_loss_is_there_for_a_curve() -> None:
    drawn: list[float] = []

    class Curve(Progress):
        def plot(self, value: float) -> None:
            drawn.append(value)

    class Drawing(Tell):
        @contextlib.contextmanager
        def progress(self, text: str, total: int | None = None) -> Iterator[Progress]:
            yield Curve(total)

    pace = Pace(Drawing())
    pace.on_start(0, 2)
    for step, loss in ((1, 0.5), (2, 0.25)):
        pace.on_step(StepResult(step, loss, None, 1.0, {"unet": 1e-4}, 2.0))
    pace.on_end()
    assert drawn == [0.5, 0.25], "of each step, not smoothed"


def test_steps_that_become_slow_are_said_once(capsys: pytest.CaptureFixture) -> None:
    alarm = SpillAlarm(TERMINAL)
    alarm.on_start(0, 100)
    for step, seconds in enumerate([9.0] + 14 * [0.1] + 2 * [0.5] + 3 * [0.1] + 20 * [0.5], 1):
        alarm.on_step(StepResult(step, 1.0, None, 1.0, {"unet": 1e-4}, seconds))
        said = " ".join(capsys.readouterr().out.split())
        # Five of the last steps decide by their median: the two slow ones alone say nothing.
        assert ("steps take 5.0 times as long" in said) == (step == 23), step

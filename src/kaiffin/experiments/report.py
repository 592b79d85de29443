"""A run as one self-contained HTML page: opens from disk, needs no network. Torch-free."""

from __future__ import annotations

import base64
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from kaiffin import config as configs
from kaiffin.data.images import open_photo
from kaiffin.errors import RunError
from kaiffin.run import Run

TEMPLATE = Path(__file__).with_name("report.html.j2")
THUMB = 256  # pixels of the longer side of an embedded picture
NOTHING = {
    "base": {}, "data": "", "num_photos": 0, "trainable": 0, "versions": {}, "kaiffin": "",
    "refused": [], "derived": [],
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One prompt and seed: the base's picture and the adapted one, side by side."""

    prompt: str
    seed: int
    base: Path
    adapted: Path
    note: str = ""


@dataclass(frozen=True)
class Score:
    """One measure, in words a newcomer understands.

    base, adapted: means with intervals; reference: what to compare with; gain: the paired
    difference in words, where there is one.
    """

    name: str
    base: str
    adapted: str
    reference: str
    meaning: str
    gain: str = ""


def write_report(
    run: Run,
    rows: Sequence[Row],
    photos: Sequence[Path],
    scores: Sequence[Score],
    *,
    judge: str = "",
    seconds: float | None = None,
    path: Path | None = None,
) -> Path:
    """Writes `report.html` of a run (or to `path`) and returns where.

    photos: the subject's; judge: the model that scored; seconds: what the training took.
    """
    metrics = read_metrics(run.metrics_path)
    target = path or run.report_path
    page = _environment().get_template(TEMPLATE.name).render(
        subject=run.config.subject.phrase,
        photos=[thumbnail(photo) for photo in photos],
        rows=[(row, thumbnail(row.base), thumbnail(row.adapted)) for row in rows],
        scores=scores,
        judge=judge,
        curve=loss_curve(metrics),
        last_loss=smooth([m["loss"] for m in metrics])[-1] if metrics else None,
        steps=metrics[-1]["step"] if metrics else 0,
        took=duration(sum(m.get("seconds", 0) for m in metrics) if seconds is None else seconds),
        manifest=NOTHING | run.read_json("manifest.json"),
        config=configs.dump(run.config),
        adapter=_from(target, run.adapter_path) if run.finished else "",
    )  # fmt: skip
    _write(target, page)
    return target


def _from(page: Path, file: Path) -> str:
    """`file` as somebody who has opened the page would look for it."""
    return Path(os.path.relpath(file.resolve(), page.resolve().parent)).as_posix()


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{path}: cannot be written ({error.strerror or error}).") from None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that hold a step and a finite loss; torn lines are left out."""
    found = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            entry = json.loads(line)
            if math.isfinite(entry["loss"]) and entry["step"] > 0:
                found.append(entry)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def thumbnail(path: Path) -> str:
    """A data URL of the picture, upright, about THUMB pixels.

    Small ones are enlarged by a whole factor to crisp squares, since browsers would blur them.
    """
    image = open_photo(path).image
    factor = THUMB // max(image.size)
    buffer = io.BytesIO()
    if factor > 1:
        size = (image.width * factor, image.height * factor)
        image.resize(size, Image.Resampling.NEAREST).save(buffer, "WEBP", lossless=True)
    else:
        image.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
        image.save(buffer, "WEBP", quality=88)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def duration(seconds: float) -> str:
    """`45 s`, `12 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def smooth(values: Sequence[float], keep: float = 0.95) -> list[float]:
    """Exponential mean with bias correction."""
    total, smoothed = 0.0, []
    for i, value in enumerate(values, 1):
        total = keep * total + (1 - keep) * value
        smoothed.append(total / (1 - keep**i))
    return smoothed


def loss_curve(metrics: Sequence[dict[str, Any]], width: int = 720, height: int = 220) -> str:
    """Raw and smoothed loss as inline SVG, coloured by the page's own variables."""
    if len(metrics) < 2:
        return ""
    steps = [m["step"] for m in metrics]
    raw, even = [m["loss"] for m in metrics], smooth([m["loss"] for m in metrics])
    top = sorted(raw)[int(0.98 * (len(raw) - 1))] * 1.1 or 1.0
    left, bottom = 44, 26

    def line(values: Sequence[float]) -> str:
        stride = max(1, len(values) // 800)
        span = max(1, steps[-1] - steps[0])
        points = []
        for step, value in list(zip(steps, values, strict=True))[::stride]:
            x = left + (width - left - 8) * (step - steps[0]) / span
            y = 8 + (height - bottom - 8) * (1 - min(value, top) / top)
            points.append(f"{x:.1f},{y:.1f}")
        return " ".join(points)

    marks = []
    for share in (0.0, 0.5, 1.0):
        y = 8 + (height - bottom - 8) * (1 - share)
        marks.append(
            f'<line x1="{left}" x2="{width - 8}" y1="{y:.0f}" y2="{y:.0f}" class="grid"/>'
            f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{top * share:.2g}</text>'
        )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="loss over steps">'
        + "".join(marks)
        + f'<polyline class="raw" points="{line(raw)}"/>'
        + f'<polyline class="even" points="{line(even)}"/>'
        + f'<text x="{left}" y="{height - 6}">step {steps[0]}</text>'
        + f'<text x="{width - 8}" y="{height - 6}" text-anchor="end">{steps[-1]}</text></svg>'
    )


def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATE.parent)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)

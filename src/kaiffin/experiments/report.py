"""A run as one self-contained HTML page: opens from disk, needs no network. Torch-free."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from kaiffin import config as configs
from kaiffin.run import Run

TEMPLATE = Path(__file__).with_name("report.html.j2")
THUMB = 256  # pixels of the longer side of an embedded picture


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
    """One line of the score table, in words a newcomer understands."""

    name: str
    base: str
    adapted: str
    reference: str
    meaning: str


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
    manifest = run.read_json("manifest.json")
    metrics = read_metrics(run.metrics_path)
    page = _environment().get_template(TEMPLATE.name).render(
        subject=run.config.subject.phrase,
        photos=[thumbnail(photo) for photo in photos],
        rows=[(row, thumbnail(row.base), thumbnail(row.adapted)) for row in rows],
        scores=scores,
        judge=judge,
        curve=loss_curve(metrics),
        last_loss=smooth([m["loss"] for m in metrics])[-1] if metrics else None,
        steps=metrics[-1]["step"] if metrics else 0,
        seconds=seconds if seconds is not None else sum(m["seconds"] for m in metrics),
        manifest={"base": {}, "data": "", "num_photos": 0, "trainable": 0, "versions": {},
                  "kaiffin": ""} | manifest,
        config=configs.dump(run.config),
        adapter=run.adapter_path.name if run.finished else "",
    )  # fmt: skip
    target = path or run.report_path
    partial = target.with_name(f".{target.name}.part")
    partial.write_text(page, encoding="utf-8")
    partial.replace(target)
    return target


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a torn last line is left out."""
    found = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def thumbnail(path: Path) -> str:
    """A data URL of the picture, at most THUMB pixels; small ones are kept as they are."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=88)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


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

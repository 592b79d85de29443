"""The report: one file, no network, everything escaped, sensible when empty."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from kaiffin import config as configs
from kaiffin.experiments.report import Row, Score, read_metrics, smooth, write_report
from kaiffin.run import Run

EVIL = '<script>alert("x")</script>'


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = configs.build({"subject": {"token": EVIL, "noun": "bird"}})
    run = Run.create(tmp_path / "run", config)
    lines = [{"step": i, "loss": 1 / i, "seconds": 0.1} for i in range(1, 101)]
    run.metrics_path.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"torn')
    run.write_json(
        "manifest.json",
        {"kaiffin": "1", "base": {"name": "b", "revision": "a" * 64}, "data": "d" * 64,
         "num_photos": 1, "trainable": 1234567, "versions": {"torch": "2"}},
    )  # fmt: skip
    return run


def picture(path: Path) -> Path:
    Image.new("RGB", (64, 64), "red").save(path)
    return path


def test_a_full_page(run: Run, tmp_path: Path) -> None:
    one, two = picture(tmp_path / "1.png"), picture(tmp_path / "2.png")
    scores = [Score("CLIP-I", "0.1", "0.9", "true 1.0", "likeness")]
    path = write_report(run, [Row(EVIL, 3, one, two)], [one], scores, judge="the miniature")
    html = path.read_text()
    assert path == run.report_path
    assert EVIL not in html
    assert "&lt;script&gt;" in html
    assert "1,234,567" in html
    assert "CLIP-I" in html
    assert html.count("data:image/webp;base64,") == 3
    assert "<polyline" in html
    links = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert all(link.startswith("data:") for link in links)
    assert "http" not in html.replace("http-equiv", "")
    assert len(html) < 5_000_000


def test_a_page_of_a_run_that_has_just_begun(run: Run) -> None:
    run.metrics_path.unlink()
    (run.path / "manifest.json").unlink()
    html = write_report(run, [], [], []).read_text()
    for said in ("No photos were given", "No pictures were made yet", "Nothing was scored"):
        assert said in html
    assert "No loss was recorded" in html


def test_metrics_and_smoothing(run: Run) -> None:
    assert len(read_metrics(run.metrics_path)) == 100
    assert smooth([2.0] * 5) == pytest.approx([2.0] * 5)
    assert read_metrics(run.path / "none.jsonl") == []


def test_it_needs_no_torch() -> None:
    code = "import sys, kaiffin.experiments.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""The report: one file, no network, everything escaped, sensible when empty."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from kaiffin import config as configs
from kaiffin.errors import RunError
from kaiffin.experiments.report import (
    Row,
    Score,
    duration,
    read_metrics,
    smooth,
    thumbnail,
    write_report,
)  # fmt: skip
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
    scores = [Score("CLIP-I", "0.1", "0.9", "true 1.0", "likeness", "0.8 more")]
    path = write_report(run, [Row(EVIL, 3, one, two)], [one], scores, judge="the miniature")
    html = path.read_text()
    assert path == run.report_path
    assert EVIL not in html
    assert "&lt;script&gt;" in html
    assert "1,234,567" in html
    assert "CLIP-I" in html
    assert "0.8 more" in html
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
    assert "not finished" in html


def opened(url: str) -> Image.Image:
    data = base64.b64decode(url.removeprefix("data:image/webp;base64,"))
    return Image.open(io.BytesIO(data)).convert("RGB")


def test_small_pictures_stay_crisp(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 48), "white")
    image.putpixel((3, 5), (255, 0, 0))
    image.save(tmp_path / "small.png")
    shown = opened(thumbnail(tmp_path / "small.png"))
    assert shown.size == (256, 192)
    assert {shown.getpixel((x, y)) for x in range(12, 16) for y in range(20, 24)} == {(255, 0, 0)}
    assert shown.getpixel((11, 20)) == shown.getpixel((16, 23)) == (255, 255, 255)


def test_photos_of_phones_are_upright_and_small(tmp_path: Path) -> None:
    image = Image.new("RGB", (1200, 800), "blue")
    image.paste("red", (0, 0, 600, 800))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to view: the left half comes to the top
    image.save(tmp_path / "phone.jpg", exif=exif)
    shown = opened(thumbnail(tmp_path / "phone.jpg"))
    assert shown.size == (171, 256)
    top, bottom = shown.getpixel((85, 40)), shown.getpixel((85, 215))
    assert top[0] > 200 > 60 > top[2]
    assert bottom[2] > 200 > 60 > bottom[0]


def test_the_page_says_where_the_adapter_is_and_what_was_left_out(run: Run, tmp_path: Path) -> None:
    run.adapter_path.write_bytes(b"x")
    facts = run.read_json("manifest.json") | {
        "refused": [{"what": "a.jpg", "reason": "is <b>empty"}]
    }
    run.write_json("manifest.json", facts | {"derived": ["adapter.rank = 16"]})
    html = write_report(run, [], [], [], path=tmp_path / "report.html", seconds=3725).read_text()
    assert f"<code>run/{run.adapter_path.name}</code>" in html
    assert "a.jpg: is &lt;b&gt;empty" in html
    assert "adapter.rank = 16" in html
    assert "1 photo, 100 steps in 1 h 2 min on b" in html


def test_a_page_that_cannot_be_written_is_one_line(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be written"):
        write_report(run, [], [], [], path=tmp_path / "gone" / "report.html")


@pytest.mark.parametrize(
    ("seconds", "text"), [(44.6, "45 s"), (725, "12 min 5 s"), (12000, "3 h 20 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_metrics_and_smoothing(run: Run) -> None:
    with run.metrics_path.open("a") as file:
        file.write('\n{"step": 101, "loss": NaN}\n{"step": 102}\n[]\n7\n')
    assert len(read_metrics(run.metrics_path)) == 100
    assert smooth([2.0] * 5) == pytest.approx([2.0] * 5)
    assert read_metrics(run.path / "none.jsonl") == []


def test_it_needs_no_torch() -> None:
    code = "import sys, kaiffin.experiments.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

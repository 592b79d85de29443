"""The demo on the real miniature, shortened: every file it promises is there and right."""

import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.miniature.world.vocabulary import SCENES
from kaiffin.stories.demo import SEEDS, TAUGHT, new_scenes


@pytest.mark.parametrize("subject", ["kaiffin", "plush"])
def test_demo(
    subject: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "demo"
    call = ["demo", "--out", str(out), "--subject", subject, "--steps", "3"]
    assert main(call) == 0, capsys.readouterr().err
    assert len(list((out / "photos").glob("*.png"))) == 6
    prompts = new_scenes(subject)
    assert len(prompts) == len(SCENES) - len(TAUGHT)
    for folder in ("base", "adapted"):
        made = [p for p in (out / folder).glob("*.png") if p.name != "sheet.png"]
        assert len(made) == len(prompts) * len(SEEDS)
    with Image.open(out / "sheet.png") as sheet:
        assert min(sheet.size) > 500
    html = (out / "report.html").read_text()
    assert "CLIP-I" in html
    assert "CLIP-T" in html
    assert html.count("data:image") == 6 + 2 * len(prompts) * len(SEEDS)
    assert len(html) < 5_000_000
    text = capsys.readouterr().out
    assert "report.html" in text
    the_card_works(out / "run", monkeypatch)
    assert main(call) == 2  # nothing is overwritten
    assert "holds a demo already" in capsys.readouterr().err


def the_card_works(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The diffusers code on the model card makes a picture, word for word."""
    card = (run / "README.md").read_text(encoding="utf-8")
    _, front, text = card.split("---\n", 2)
    title = text.split("\n")[1].removeprefix("# ").strip("`")
    assert yaml.safe_load(front)["instance_prompt"].endswith(title)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(run)
    names: dict = {}
    exec(code, names)
    assert names["image"].size == (64, 64)

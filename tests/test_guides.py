"""Every command of the pages: run here on a short run (slow), or in a test that is named."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import REPO
from elsewhere_trainings import kohyas_toml
from PIL import Image
from test_docs import TOLD, said

from kaiffin.cli.main import main
from kaiffin.miniature.world import world

# What stands for something of the reader's, and a base that is to be downloaded.
MEANT = {
    "RUN": "runs/kaiffin", "BASE": "miniature", "FOLDER": "made", "PHOTOS": "my-photos",
    "picture.png": "made/a.png", "PROMPT": "a photo of a penguin", "...": "a photo of a penguin",
    "runs/a": "runs/kaiffin", "runs/b": "runs/second", "sd15": "miniature", "sdxl": "miniature-xl",
    "config.yaml": "runs/kaiffin/config.yaml", "dog": "penguin", "TUNED": "tuned",
    **dict.fromkeys(("IN", "FILE", "A"), "runs/kaiffin/kaiffin.safetensors"),
    "A:0.8": "runs/kaiffin/kaiffin.safetensors:0.8", "B": "runs/second/kaiffin.safetensors",
    "B:0.5": "runs/second/kaiffin.safetensors:0.5",
    "FILE:WEIGHT": "runs/kaiffin/kaiffin.safetensors:0.5", "kohya|peft|diffusers": "peft",
}  # fmt: skip
SHORT = {
    "train": ["--steps", "2", "--data.prior.weight", "0"], "generate": ["--steps", "2"],
    "grid": ["--steps", "2", "-n", "1"], "choose": ["--sample.steps", "2", "--seeds", "1"],
    "compare": ["--sample.steps", "2", "--seeds", "1"],
}  # fmt: skip
# What wants a service, a download, another base or photos that are not here, and who runs it.
ELSEWHERE = {
    r"serve|keys": "test_readme.py, serve/test_docs.py",
    r"bases (get|add)": "stories/test_bases.py",
    r"examples/|flickr30k|--blend|runs/sks": "test_examples.py",
    r"sweep": "stories/test_sweep.py",
    r"publish .*hub:": "stories/test_publish.py",
    r"--judge openai": "stories/test_rank.py",
    r"miniature build": "miniature/build/test_build.py",
}


def calls() -> dict[str, str | None]:
    """Every command with an argument, and who else runs it."""
    found = [re.split(r"\s{2,}", call)[0] for page in TOLD for call in said(page)]
    whole = [c for c in found if c.count(" ") > 1 and not re.search(r" \.\.\.|COMMAND|SHELL", c)]
    fragment = re.compile(r"^kaiffin (\S+ --[a-z-]+|adapter [a-z-]+)$|--help(-all)?$")
    return {
        call: next((who for what, who in ELSEWHERE.items() if re.search(what, call)), None)
        for call in whole if not fragment.search(call)
    }  # fmt: skip


HERE = [call for call, elsewhere in calls().items() if not elsewhere]


def test_every_command_is_run_somewhere() -> None:
    assert len(HERE) > 40
    for what, who in ELSEWHERE.items():
        assert any(re.search(what, call) for call in calls()), f"no page says {what}"
        for name in who.split(", "):
            assert (REPO / "tests" / name).is_file()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, three short runs and a picture, where the commands run."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "my-photos").mkdir()
    for i, (image, _) in enumerate(world.subject_photos("kaiffin", 4)):
        image.save(folder / "my-photos" / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("kaiffin", "second"):
            call = ["train", "my-photos", "--class", "penguin", *SHORT["train"]]
            assert main([*call, "--out", f"runs/{name}"]) == 0
        call = ["train", "my-photos", "--subject", "tobbul", "--class", "bear", *SHORT["train"]]
        assert main([*call, "--out", "runs/plush"]) == 0
        assert main(["generate", "runs/kaiffin", "a", "--steps", "2", "--out", "made"]) == 0
        Image.effect_noise((64, 64), 60).convert("RGB").save(folder / "photo.jpg")
        Image.new("L", (64, 64), 255).save(folder / "mask.png")
        next((folder / "made").glob("a-*.png")).rename(folder / "made" / "a.png")
        kohyas_toml(folder, folder / "my-photos", "miniature")
        assert main(["import", "kohya.toml", "--subject", "kaiffin"]) == 0
        adapter = "runs/kaiffin/kaiffin.safetensors"
        assert main(["adapter", "merge", adapter, "--into", "miniature", "--out", "tuned"]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("call", HERE)
def test_a_command(call: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    words = [MEANT.get(word, word) for word in shlex.split(call)[1:]]
    out = f"out-{HERE.index(call)}"
    named = {"OUT": f"{out}.safetensors", "BOTH.safetensors": f"{out}.safetensors"}
    words = [named.get(word, word) for word in words]
    if words[0] == "train" and "--class" not in words:
        words += ["--class", "penguin"]
    if "--from" not in words and "--dry-run" not in words:
        words += SHORT.get(words[0], [])
    if words[0] in ("train", "compare", "import"):
        words += ["--out", f"runs/{out}"]
    is_unsaid = "--into" in words and "--out" not in words
    if is_unsaid or ("--x" in words and "runs/kaiffin" not in words):
        words += ["--out", out]
    for flag in ("--to", "--out"):  # folders that there are already
        if flag in words and words[words.index(flag) + 1] == "made":
            words[words.index(flag) + 1] = out
    assert main(words) == 0, words

"""Every command of the start pages, the ideas and the guides, once, on a short run (slow)."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import REPO
from PIL import Image
from test_docs import DOCS, said

from kaiffin.cli.main import main
from kaiffin.miniature.world import world

pytestmark = pytest.mark.slow

GUIDES = sorted([
    *(DOCS / "start").glob("*.md"), *(DOCS / "ideas").glob("*.md"),
    *(DOCS / "guides").glob("*.md"), DOCS / "reference" / "files.md",
])  # fmt: skip
# What stands for something of the reader's, and a base that is to be downloaded.
MEANT = {
    "RUN": "runs/kaiffin", "BASE": "miniature", "FOLDER": "made", "IN": "FILE",
    "FILE": "runs/kaiffin/kaiffin.safetensors", "picture.png": "made/a.png",
    "runs/a": "runs/kaiffin", "runs/b": "runs/second", "sd15": "miniature", "sdxl": "miniature-xl",
    "config.yaml": "runs/kaiffin/config.yaml", "sd15.yaml": "sd15.yaml", "dog": "penguin",
}  # fmt: skip
SHORT = {
    "train": ["--steps", "2", "--data.prior.weight", "0"], "generate": ["--steps", "2"],
    "grid": ["--steps", "2"], "choose": ["--sample.steps", "2", "--seeds", "1"],
    "compare": ["--sample.steps", "2", "--seeds", "1"],
}  # fmt: skip
# A service, a download, what wants another base or photos that are not here: tested elsewhere
# (test_examples.py has the recipes, test_readme.py the service, test_docs.py plans the wishes).
ELSEWHERE = re.compile(
    r"serve|keys|bases get|sweep|import|publish|examples/|flickr30k|--blend|runs/sks|-h|--help"
    r"|init_from|--like my-photos --judge|--base.dtype"
)


def calls() -> list[str]:
    found = dict.fromkeys(re.split(r"\s{2,}", c)[0] for page in GUIDES for c in said(page))
    whole = [call for call in found if call.count(" ") > 1 and not call.endswith("--from")]
    return [call for call in whole if not ELSEWHERE.search(call) and "COMMAND" not in call]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, two short runs and a picture, where the commands run."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "my-photos").mkdir()
    for i, (image, _) in enumerate(world.subject_photos("kaiffin", 4)):
        image.save(folder / "my-photos" / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("kaiffin", "second"):
            call = ["train", "my-photos", "--class", "penguin", *SHORT["train"]]
            assert main([*call, "--out", f"runs/{name}"]) == 0
        assert main(["generate", "runs/kaiffin", "a", "--steps", "2", "--out", "made"]) == 0
        Image.effect_noise((64, 64), 60).convert("RGB").save(folder / "photo.jpg")
        Image.new("L", (64, 64), 255).save(folder / "mask.png")
        next((folder / "made").glob("a-*.png")).rename(folder / "made" / "a.png")
    return folder


@pytest.mark.parametrize("call", calls())
def test_a_command(call: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    words = [MEANT.get(word, word) for word in shlex.split(call)[1:]]
    words = [MEANT.get(word, word) for word in words]  # IN is a FILE
    out = f"out-{calls().index(call)}"
    words = [f"{out}.safetensors" if word == "OUT" else word for word in words]
    if words[0] == "train" and "--class" not in words:
        words += ["--class", "penguin"]
    if "--from" not in words and "--dry-run" not in words:
        words += SHORT.get(words[0], [])
    if words[0] in ("train", "compare"):
        words += ["--out", f"runs/{out}"]
    if "--x" in words and "runs/kaiffin" not in words:
        words += ["--out", out]
    assert main(words) == 0, words


def test_there_is_something_to_run() -> None:
    assert len(calls()) > 20
    assert all(page.is_relative_to(REPO) for page in GUIDES)

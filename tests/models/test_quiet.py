"""Libraries say nothing to a person: their reports and advice stay behind the doors to them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaiffin.models.parts import quiet

WHOLE_WAY = """
from pathlib import Path
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.models.files.load import load_base
from kaiffin.models.files.pipeline import save
from kaiffin.pictures.request import Request
from kaiffin.pictures.sample import generate
from kaiffin.score.judge import Scorer

base = BaseConfig(name="miniature", device="cpu")
family = load_base(base, Runtime.from_config(base))
pictures = list(generate(family, [Request("a penguin", 1, 64, 64, steps=1)]))
assert Scorer("miniature", "cpu").embed_images(pictures).shape[0] == 1
save(family, Path("saved"))
"""


def test_a_picture_is_made_judged_and_its_base_saved_without_a_word(tmp_path: Path) -> None:
    """In a fresh process, where everything is imported for the first time."""
    done = subprocess.run(
        [sys.executable, "-c", WHOLE_WAY], cwd=tmp_path, env={**os.environ}, text=True,
        capture_output=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_afterwards_they_speak_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    from diffusers.utils import logging as of_diffusers

    logger = logging.getLogger("transformers")
    before = (logger.level, of_diffusers.is_progress_bar_enabled())
    with quiet():
        assert logger.level == logging.ERROR
        assert not of_diffusers.is_progress_bar_enabled()
    assert (logger.level, of_diffusers.is_progress_bar_enabled()) == before

"""What workers are forked with: the libraries, and nothing that a fork could not use."""

from pathlib import Path

import fresh
import pytest

from kaiffin.experiments.work import births

SEEN = """
import os, sys
import psutil, torch
from kaiffin.experiments.work import libraries
needed = {"diffusers.models.unets.unet_2d_condition", "transformers.models.clip.modeling_clip"}
print(needed <= set(sys.modules), torch.cuda.is_initialized(), libraries.__name__ in sys.modules)
print(psutil.Process(os.getppid()).num_threads())
"""


@pytest.mark.skipif(not births.CAN_FORK, reason="workers are not forked here")
def test_they_are_there_on_one_thread_and_without_a_gpu(tmp_path: Path) -> None:
    script = tmp_path / "seen.py"
    script.write_text(SEEN)
    assert fresh.run([script]).stdout.splitlines() == ["True False True", "1"]

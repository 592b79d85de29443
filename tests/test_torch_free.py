"""Rooms that say that they are torch-free are: all imported in a process, and torch is not there.

The modules are found by their docstrings, so that a new one is covered once it makes the claim.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import REPO
from safetensors.numpy import save_file

HEAVY = {"torch", "diffusers", "transformers", "accelerate", "peft", "scipy", "tensorboard", "ray"}
# What a page of help does without as well; `benchmarks/start.py` says what the pages take.
SPARED = HEAVY | {"numpy", "PIL", "psutil", "jinja2", "safetensors", "huggingface_hub"}
SOURCE = REPO / "src"


def claiming() -> list[str]:
    """Names of the modules whose docstring says torch-free."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if "torch-free" in said.lower():
            parts = path.relative_to(SOURCE).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


# In one process, where nothing but them is imported: what one of them loads is there from then on.
ONE_BY_ONE = """
import importlib, sys
heavy = set(sys.argv[1].split())
for name in sys.argv[2:]:
    importlib.import_module(name)
    loaded = heavy & set(sys.modules)
    assert not loaded, f"{name} loads {loaded}"
"""


def test_every_room_that_claims_it_is_torch_free() -> None:
    names = claiming()
    assert "kaiffin.foundation.config" in names
    assert "kaiffin.cli.main" in names
    call = [sys.executable, "-c", ONE_BY_ONE, " ".join(HEAVY), *names]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Commands one after the other, their words as JSON, in a process that nothing else was done in.
COMMANDS = """
import json, sys, kaiffin.cli
heavy = set(sys.argv[1].split())
for words in sys.argv[2:]:
    assert kaiffin.cli.main(json.loads(words)) == 0, words
    loaded = heavy & set(sys.modules)
    assert not loaded, f"{words} loads {loaded}"
"""


def said_without(heavy: set[str], cwd: Path, *commands: list[str]) -> str:
    """What commands print where none of them may load any of `heavy`."""
    call = [sys.executable, "-c", COMMANDS, " ".join(heavy), *map(json.dumps, commands)]
    done = subprocess.run(call, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pages_of_help_load_nothing_heavy(tmp_path: Path) -> None:
    pages = ("--help", "train --help", "generate --help-all", "adapter merge --help", "options")
    said = said_without(SPARED, tmp_path, *map(str.split, pages))
    assert said.count("Usage: kaiffin") == len(pages) - 1
    assert "| `train.steps`, `--steps` |" in said


def test_an_adapter_is_inspected_without_torch(tmp_path: Path) -> None:
    """Whatever its kind: norms, shapes and tokens by numpy."""
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    parts = {"lora_down.weight": np.ones((4, 1280)), "lora_up.weight": np.ones((1280, 4))}
    path = tmp_path / "a.safetensors"
    save_file({f"{name}.{part}": value.astype(np.float16) for part, value in parts.items()}, path)
    said = said_without(HEAVY, tmp_path, ["adapter", "inspect", str(path)])
    assert "Every key has its home." in said

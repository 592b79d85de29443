"""Rooms that say that they are torch-free are: each imported by itself in a process without torch.

The modules are found by their docstrings, so that a new one is covered once it makes the claim.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO

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


# One child process for each module, forked from one parent that has imported nothing of Kaiffin's,
# only what is light and everywhere: as fresh as a new interpreter, without its start.
ALONE = """
import importlib, os, sys
import fastapi, prometheus_client, sse_starlette, uvicorn
import click, jinja2, numpy, PIL.Image, psutil, pydantic, rich.progress, rich.table, yaml
heavy = set(sys.argv[1].split())
for name in sys.argv[2:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
            loaded = sorted(heavy & set(sys.modules))
            if loaded:
                print(name, "loads", *loaded, flush=True)
        except BaseException as error:
            print(name, "fails:", error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_every_room_that_claims_it_is_torch_free() -> None:
    names = claiming()
    assert "kaiffin.foundation.config" in names
    assert "kaiffin.cli.main" in names
    call = [sys.executable, "-c", ALONE, " ".join(HEAVY), *names]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert not done.stdout, done.stdout


@pytest.mark.parametrize(
    "words", ["--help", "train --help", "generate --help-all", "adapter merge --help", "options"]
)
def test_pages_of_help_load_nothing_heavy(words: str, tmp_path: Path) -> None:
    code = (
        "import sys, kaiffin.cli\n"
        "assert kaiffin.cli.main(sys.argv[2:]) == 0\n"
        "loaded = set(sys.argv[1].split()) & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    call = [sys.executable, "-c", code, " ".join(SPARED), *words.split()]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout

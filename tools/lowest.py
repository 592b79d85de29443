"""The lower ends of the dependency ranges: are they true?

    python tools/lowest.py FOLDER [TESTS...]

makes an environment in FOLDER with the lowest version of every dependency and extra that
pyproject.toml allows, and runs tests in it (by default those of the rooms that meet other packages
most). torch stays at the version of constraints.txt unless `--torch` is said, since of old versions
a package index may have CUDA builds alone, which are gigabytes. By hand or nightly: it takes
minutes and a package index.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

REPO = Path(__file__).parents[1]
TESTS = (
    "tests/foundation", "tests/cli", "tests/data", "tests/models", "tests/adapters",
    "tests/pictures", "tests/score", "tests/stories/test_generate.py",
)  # fmt: skip
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "httpx", "hatchling")  # of the tests: any version
LEFT_OUT = ("ray", "dev")  # extras that these tests do not touch


def lowest(torch: bool = False) -> Iterator[str]:
    """`name==version` for each dependency and extra."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    wanted = [one for extra, listed in extras if extra not in LEFT_OUT for one in listed]
    for line in [*project["dependencies"], *wanted]:
        name, version = re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\w.]+).*", line).groups()
        yield kept("torch") if name == "torch" and not torch else f"{name}=={version}"


def kept(name: str) -> str:
    """As constraints.txt has it."""
    lines = (REPO / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def main(arguments: Sequence[str]) -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("folder", type=Path)
    asked.add_argument("tests", nargs="*", default=TESTS)
    asked.add_argument("--torch", action="store_true", help="the lowest torch as well")
    given = asked.parse_args(arguments)
    venv.create(given.folder, with_pip=True)
    python = str(given.folder.absolute() / "bin" / "python")
    pins = list(lowest(given.torch))
    print("\n".join(pins), flush=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *pins, *TOOLS], check=True)
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--quiet", "-e", REPO], check=True)
    return subprocess.run([python, "-m", "pytest", *given.tests], cwd=REPO, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

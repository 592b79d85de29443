"""Shell commands of the pages that are not Kaiffin's own (those: test_guides.py). Each is run by a
test that is named, looked at here (its target, script, flags, extra or files are there), or
excused: it changes the machine or wants a network, and nothing here tries it."""

import re
import shlex
import tomllib

import pytest
import yaml
from conftest import REPO
from test_docs import TOLD, tokens

RUN = {r"(curl|sqlite3|rsync|mv) ": "serve/test_docs.py", r"eval ": "cli/test_completion.py"}
EXCUSED = {
    r"(useradd|sudo) ": "makes a user of the system",
    r"(export KAIFFIN_API_KEY=.*)?openssl ": "a program of the system",
    r"(hf auth|uvx|pipx) ": "wants a network and an index",
    r"jupyter lab": "a server for a browser",
    r"pip install (jupyterlab|pre-commit)$|pre-commit ": "a program of the reader's",
}
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMPOSE = yaml.safe_load((REPO / "compose.yaml").read_text(encoding="utf-8"))


def make(words: list[str]) -> None:
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words[1]


def python(words: list[str]) -> None:
    """A script of this repository, with flags that it or a benchmark that it imports knows; of a
    module what it is given."""
    named = [word for word in words if word.endswith(".py")]
    assert all((REPO / name).is_file() for name in named), words
    if words[1] in named:
        script = REPO / words[1]
        imported = re.findall(r"^(?:import|from) (\w+)", script.read_text(encoding="utf-8"), re.M)
        files = [script, *(REPO / "benchmarks" / f"{name}.py" for name in imported)]
        known = "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
        assert all(f'"{word}"' in known for word in words if word.startswith("--")), words


def pip(words: list[str]) -> None:
    (what,) = [word for word in words[2:] if not word.startswith("-")]
    extra = re.fullmatch(r"\.(?:\[(\w+)\])?", what)
    assert extra
    assert extra[1] is None or extra[1] in PROJECT["optional-dependencies"]


def docker(words: list[str]) -> None:
    """Without an engine: what is named is in the Dockerfile or a compose file."""
    steps = (REPO / "Dockerfile").read_text(encoding="utf-8")
    for word in words:
        if word.startswith("DEVICE="):
            assert "ARG DEVICE" in steps
        if word.endswith(":/data"):
            assert 'VOLUME ["/data"]' in steps or "VOLUME /data" in steps
    if words[1:3] == ["compose", "exec"]:
        assert words[3] in COMPOSE["services"]


def torchrun(words: list[str]) -> None:
    """It starts what the terminal starts; tests/train/test_crew.py runs it."""
    at = words.index("-m")
    assert words[1:at:2] == ["--nproc-per-node"]
    assert words[at + 1] == "kaiffin"


DRY = {"torchrun": torchrun, "make": make, "python": python, "pip": pip, "docker": docker}
PROGRAM = re.compile(
    r"(make|python|pip|docker|curl|sqlite3|rsync|mv|eval|useradd|sudo|openssl|hf|uvx|pipx|jupyter"
    r"|pre-commit|export|git|sh|bash|apt|conda) "
)


def lines() -> set[str]:
    """Whole lines of fences, and code in the text that begins with a program's name."""
    found = set()
    for page in TOLD:
        for token in tokens(page):
            if token.type == "fence" and token.info in ("", "sh"):
                found |= set(token.content.replace("\\\n", " ").splitlines())
            elif token.type == "code_inline" and PROGRAM.match(bare(token.content)):
                found.add(token.content)
    every = (re.split(r"\s{2,}#", line)[0].strip() for line in found)
    return {
        bare(line) for line in every if line and not re.search(r"^kaiffin | \.\.\.$", bare(line))
    }


def bare(line: str) -> str:
    """Without the folder of the environment, and without what is set before it."""
    return re.sub(r"^(?:[A-Z_]+=\S+ )*(?:\S*\.venv/bin/)?", "", line.strip())


def test_the_pages_say_many() -> None:
    assert len(lines()) > 25


@pytest.mark.parametrize("line", sorted(lines()))
def test_a_command_is_run_or_looked_at_or_excused(line: str) -> None:
    if who := next((who for what, who in RUN.items() if re.match(what, line)), None):
        assert (REPO / "tests" / who).is_file()
    elif not any(re.match(what, line) for what in EXCUSED):
        words = shlex.split(line)
        assert words[0] in DRY, "no test runs it, nothing looks at it"
        DRY[words[0]](words)


@pytest.mark.parametrize("what", [*RUN, *EXCUSED])
def test_no_row_is_idle(what: str) -> None:
    assert any(re.match(what, line) for line in lines()), what

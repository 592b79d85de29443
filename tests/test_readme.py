"""What is documented is executed: README commands, shipped configs, the option table. The pages
of docs/: test_docs.py."""

import re
import shlex
import signal
import time
from pathlib import Path

import fresh
import httpx
import pytest
from conftest import REPO

from kaiffin.experiments.sweep.trials import read
from kaiffin.foundation.presets import derive
from kaiffin.foundation.settings import load, option_table, read_yaml
from kaiffin.miniature.world import world

README = (REPO / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def service_commands() -> list[str]:
    page = (REPO / "docs" / "start" / "service.md").read_text(encoding="utf-8")
    return re.findall(r"^\.venv/bin/(kaiffin .*)$", page, re.MULTILINE)


def test_the_make_targets_exist() -> None:
    makefile = (REPO / "Makefile").read_text()
    named = [c.split()[1] for c in commands() if c.startswith("make ")]
    assert named == ["demo", "test"]
    for target in [*named, "check", "install", "docs", "figures"]:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make test" in (REPO / ".ci" / "run").read_text()


def test_the_three_commands_for_ones_own_photos(tmp_path: Path) -> None:
    """As written, but on the miniature, for a short training with few class pictures, and pictures
    of few steps."""
    photos = tmp_path / "my-photos"
    photos.mkdir()
    for i, (image, _) in enumerate(world.subject_photos("kaiffin", 4)):
        image.save(photos / f"{i}.png")
    every = [c for c in commands() if c.startswith(".venv/bin/kaiffin")]
    assert [shlex.split(c)[1] for c in every] == ["bases", "prepare", "train", "generate"]
    for command in every[1:]:
        words = shlex.split(command.replace(" --base sd15", ""))[1:]
        if words[0] == "train":
            words += ["--steps", "3", "--data.prior.num_images", "4", "--data.prior.steps", "4"]
        if words[0] == "generate":
            words += ["--steps", "4"]
        done = fresh.run(words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    made = list((tmp_path / "runs" / "kaiffin" / "images").glob("a-photo*.png"))
    assert len(made) == 8
    assert (tmp_path / "prepared" / "my-photos" / "contact_sheet.png").is_file()


def test_the_service(tmp_path: Path) -> None:
    """As written, but at any free port: the key of the first command opens the second's."""
    key, serve = (shlex.split(c)[1:] for c in service_commands())
    made = fresh.run(key, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    served = fresh.Process([*serve, "--port", "0"], cwd=tmp_path)
    try:
        while not (at := re.search(r"http://\S+", served.said)):
            assert served.poll() is None, served.said
            time.sleep(0.05)
        headers = {"authorization": f"Bearer {made.stdout.split()[-1]}"}
        assert (
            httpx.get(f"{at[0]}v1/models", headers=headers).json()["data"][0]["id"] == "miniature"
        )
    finally:
        served.send_signal(signal.SIGTERM)
    assert served.wait().returncode == 0


@pytest.mark.parametrize("path", sorted((REPO / "examples").rglob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configs_are_valid(path: Path) -> None:
    is_sweep = "trials" in read_yaml(path)
    found = [t.config for t in read(path)[1]] if is_sweep else [load(path)]
    for config in found:
        full, _ = derive(config, [10], 512)
        assert full.train.steps


def test_the_option_table_is_current() -> None:
    assert option_table() in (REPO / "docs" / "options.md").read_text(encoding="utf-8")


def test_the_constraints_pin_what_pyproject_asks_for() -> None:
    import tomllib

    pins = dict(
        line.lower().split("==")
        for line in (REPO / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras["docs"]) <= set(extras["dev"])
    wanted = project["dependencies"] + extras["dev"]
    for requirement in wanted:
        name = re.split(r"[<>=\[; ]", requirement)[0].lower()
        assert name in pins or name.replace("-", "_") in pins, name

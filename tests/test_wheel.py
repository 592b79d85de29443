"""The package as others get it: built, away from the clone, alone and with each extra absent."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from conftest import REPO
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

LARGEST = 60e6  # bytes of the wheel: the embedded bases are nearly all of it

# Runs the command line; the package that is named first is as if it were not installed.
WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
import kaiffin.cli
sys.exit(kaiffin.cli.main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPO, tmp_path_factory.mktemp("wheel"))


def build(source: Path, into: Path) -> Path:
    (made,) = WheelBuilder(str(source)).build(directory=str(into), versions=["standard"])
    return Path(made)


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def said(words: list[str], unpacked: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Of a Python that finds Kaiffin in `unpacked` and nowhere else."""
    env = {**os.environ, "PYTHONPATH": str(unpacked), "KAIFFIN_HOME": str(cwd / "home")}
    call = [sys.executable, *words]
    return subprocess.run(call, env=env, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_wheel_is_small_and_has_a_command(wheel: Path, unpacked: Path) -> None:
    assert wheel.stat().st_size < LARGEST
    (info,) = unpacked.glob("*.dist-info")
    (command,) = metadata.PathDistribution(info).entry_points.select(group="console_scripts")
    assert (command.name, command.value) == ("kaiffin", "kaiffin.cli:main")


def test_it_makes_a_picture_in_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    where = said(["-c", "import kaiffin; print(kaiffin.__file__)"], unpacked, tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(unpacked)
    call = ["-m", "kaiffin", "generate", "miniature", "a penguin", "--steps", "1"]
    done = said(call, unpacked, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("a-penguin*.png"))) == 1


def test_without_its_extra_the_service_says_what_it_needs(unpacked: Path, tmp_path: Path) -> None:
    done = said(["-c", WITHOUT, "uvicorn", "serve"], unpacked, tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "`kaiffin serve` needs the extra serve. Install it: " in done.stderr
    assert done.stderr.endswith("-m pip install 'kaiffin[serve]'\n")


@pytest.mark.slow
def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    (made,) = SdistBuilder(str(REPO)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(made) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert build(source, tmp_path).read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_installed_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """pip's own installation, over the packages that this Python has; from an empty folder."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv" / "lib").glob("*/site-packages"))
    (site / "others.pth").write_text(str(Path(pytest.__file__).parents[1]) + "\n")
    folder = tmp_path / "empty"
    folder.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def done(*words: object) -> str:
        call = [str(word) for word in words]
        return subprocess.run(
            call, cwd=folder, env=env, check=True, capture_output=True, text=True
        ).stdout

    done(python, "-m", "pip", "install", "--no-deps", "--quiet", wheel)
    where = done(python, "-c", "import kaiffin; print(kaiffin.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    assert "Usage: kaiffin" in done(python.with_name("kaiffin"), "--help")
    assert "Usage: kaiffin" in done(python, "-m", "kaiffin", "--help")
    assert "sheet.png" in done(python.with_name("kaiffin"), "demo", "--steps", "20")
    assert (folder / "demo" / "report.html").is_file()

"""The house itself: its rules find what they are for, nothing is left out of the wheel, and what
docs/architecture.md tells is so, the way to the loss included."""

import re
import sys
import tomllib
from pathlib import Path

import house
import pytest
from conftest import REPO
from diffusers import UNet2DConditionModel

from kaiffin.cli.main import main

SOURCE = REPO / "src" / "kaiffin"
PAGE = (REPO / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository of one module that keeps all the rules."""
    files = {
        "src/kaiffin/__init__.py": '"""A small house."""\n',
        "src/kaiffin/room/__init__.py": '"""A room."""\n',
        "src/kaiffin/room/part.py": '"""Its one job.\n\nMore."""\n\n\ndef f():\n    return 1\n',
        "tests/room/test_part.py": "def test_f():\n    # counts for nothing\n    assert True\n",
        "tests/unmirrored.txt": "# none\n",
        "docs/architecture.md": f"before\n{house.START}\n{house.END}\nafter\n",
    }
    for name, text in files.items():
        write(tmp_path / name, text)
    page = tmp_path / house.PAGE
    page.write_text(house.with_map(page.read_text(), house.file_map(tmp_path)))
    assert problems(tmp_path) == []
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def problems(repo: Path) -> list[str]:
    return [found for check in house.CHECKS for found in check(repo)]


def test_the_map_is_by_folder(small: Path) -> None:
    page = (small / house.PAGE).read_text()
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert (
        "**`room/`** A room.\n\n| file | its one job |\n|---|---|\n| `part.py` | Its one job. |"
        in page
    )


def test_a_function_may_have_sixty_lines(small: Path) -> None:
    body = "        pass\n" * 59
    path = small / "tests" / "test_more.py"
    write(
        path, f"def fits():\n{body}\n\nclass A:\n    async def not_so(self):\n{body}        pass\n"
    )
    assert problems(small) == ["tests/test_more.py:64: not_so has 61 lines, more than 60."]


def test_a_file_may_have_four_hundred_lines(small: Path) -> None:
    path = small / "src" / "kaiffin" / "room" / "page.js"
    write(path, "x\n" * 400)
    assert problems(small) == []
    write(path, "x\n" * 401)
    (found,) = problems(small)
    assert found.startswith("src/kaiffin/room/page.js: has 401 lines, more than 400.")


def test_four_lines_of_code_stand_in_one_module_only(small: Path) -> None:
    """Imports, signatures, docstrings, comments and brackets alone are no lines of code."""
    quiet = (
        '"""Tools."""\nimport a\nimport b\n\n\ndef f(\n    x,\n):\n    """Doc.\n\n    More."""\n'
    )
    three = "    x = 1  # one\n    # why\n    y = (\n        2\n    )\n"
    for name in ("first", "second"):
        write(small / "tools" / f"{name}.py", f"{quiet}{three}\n    return {name}\n")
    assert problems(small) == []
    for name in ("first", "second"):
        more = "    z = 3\n" * (name == "second")
        write(small / "tools" / f"{name}.py", f"{quiet}{more}{three}\n    a(x)\n    b(y)\n")
    assert problems(small) == [
        "tools/second.py:13: 4 lines are those of tools/first.py:12. Share them."
    ]
    write(small / "tools" / "second.py", f"{quiet}    z = 3\n")
    assert problems(small) == [], "within a module they may"


def test_a_module_without_a_test_is_named_until_a_reason_is_given(small: Path) -> None:
    (small / "tests" / "room" / "test_part.py").rename(small / "tests" / "test_other.py")
    (found,) = problems(small)
    assert found.startswith("src/kaiffin/room/part.py: has no tests/room/test_part.py.")
    reasons = small / house.UNMIRRORED
    write(reasons, "room/part.py: test_other.py\n")
    assert problems(small) == []
    write(reasons, "room/part.py: room/test_gone.py\nroom/gone.py: no reason\n")
    assert problems(small) == [
        "tests/unmirrored.txt: room/part.py: there is no tests/room/test_gone.py.",
        "tests/unmirrored.txt: there is no room/gone.py. Run `make docs`.",
    ]
    write(reasons, "# why\n\nroom/part.py: it is needless\n")
    house.renew(small)
    assert reasons.read_text() == "# why\n\nroom/part.py: it is needless\n"
    write(small / "tests" / "room" / "test_part.py", "assert 1\n" * 9)
    (found,) = problems(small)
    assert found.endswith("room/part.py has a test file now. Run `make docs`.")
    house.renew(small)
    assert problems(small) == []
    assert reasons.read_text() == "# why\n\n"


def test_lines_that_hold_code_are_counted(small: Path) -> None:
    text = '"""Doc."""\n\n# why\nx = """two\nlines"""  # code\n\n\n'
    text += 'def f():\n    """Doc."""\n    g(\n        1)\n'
    assert house.code_lines(text) == 5
    assert house.share_tested(small) == 1
    write(small / "src" / "kaiffin" / "room" / "part.py", '"""Its one job."""\n' + "x = 1\n" * 10)
    (found,) = problems(small)
    assert found.startswith("lines of tests for a line of code: 0.20 (room 0.20); at least ")


def test_a_new_docstring_makes_the_map_old(small: Path) -> None:
    part = small / "src" / "kaiffin" / "room" / "part.py"
    write(part, '"""Another job."""\nx = 1\n')
    assert problems(small) == [
        "docs/architecture.md: its map is not that of the tree. Run `make docs`."
    ]
    write(part, "x = 1\n")
    assert problems(small)[0].startswith("src/kaiffin/room/part.py: does not say what it is for.")
    write(part, '"""Another job."""\nx = 1\n')
    house.renew(small)
    assert problems(small) == []


def test_the_map_of_this_house_is_that_of_its_tree() -> None:
    assert list(house.map_is_old(REPO)) == []


def test_the_floors_that_are_told_are_those_of_the_contract() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    block = PAGE.partition("## The floors\n\n")[2].partition("\n\n")[0]
    assert [re.split(r"\s{2,}", line.strip())[0] for line in block.splitlines()] == layers


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_path_that_is_told_is_there(name: str) -> None:
    text = (REPO / name).read_text(encoding="utf-8").partition(house.START)[0]
    paths = re.findall(r"`([\w./]+(?:/|\.py|\.txt|\.md))`", text)
    assert len(paths) > 15
    gone = [path for path in paths if not any((root / path).exists() for root in (REPO, SOURCE))]
    assert gone == []


def test_nothing_is_left_out_of_the_wheel() -> None:
    from hatchling.builders.wheel import WheelBuilder

    builder = WheelBuilder(str(REPO))
    held = {file.distribution_path for file in builder.recurse_included_files()}
    files = [path.relative_to(SOURCE.parent) for path in SOURCE.rglob("*") if path.is_file()]
    wanted = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    assert held == wanted
    assert "kaiffin/py.typed" in held
    kinds = {Path(name).suffix for name in held}
    assert {".safetensors", ".yaml", ".json", ".txt", ".j2", ".js", ".css", ".md"} <= kinds
    assert builder.metadata.core.license_files == ["LICENSE"]
    assert "Version 2.0, January 2004" in (REPO / "LICENSE").read_text()


# --- from the command to the loss -----------------------------------------------------------------


def test_the_way_to_the_loss_is_the_one_that_is_told(
    sd_path: Path, photos6: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way: list[str] = []
    forward = UNet2DConditionModel.forward

    def watched(*given: object, **more: object) -> object:
        chain = callers(sys._getframe())
        if not way and any(name.endswith(".losses") for name in chain):  # the plan asks it, too
            way.extend(chain)
        return forward(*given, **more)

    monkeypatch.setattr(UNet2DConditionModel, "forward", watched)
    call = ["--base", str(sd_path), "--class", "thing", "--steps", "1", "--data.prior.weight", "0"]
    assert main(["train", str(photos6), *call, "--out", str(tmp_path / "run")]) == 0
    told, hops = " ".join(PAGE.split()), [name.endswith(".losses") for name in way].index(True)
    assert " -> ".join(way) in told, "docs/architecture.md tells another way"
    assert f"it is {hops} hops" in told


def callers(frame) -> list[str]:
    """Kaiffin's functions that have not returned, from the command on, which is what calls the
    story; methods by their class."""
    names = []
    while frame:
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname
        if module.startswith("kaiffin."):
            names.append(name if "." in name else f"{module.removeprefix('kaiffin.')}.{name}")
        frame = frame.f_back
    names.reverse()
    story = next(i for i, name in enumerate(names) if name.startswith("stories."))
    return names[story - 1 :]

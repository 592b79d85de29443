"""The notebooks: in step with their sources, short cells, right answers, and they run."""

import base64
import io
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from conftest import REPO
from full import full_base
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

import notebooks
from kaiffin.foundation.runtime import contained
from kaiffin.foundation.settings import changed
from kaiffin.foundation.tell import SILENT

SOURCES = notebooks.sources()
by_name = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem[:1])


def code(path: Path) -> list[str]:
    """The cells of code."""
    return [cell.source for cell in notebooks.bare(path).cells if cell.cell_type == "code"]


def test_there_are_four() -> None:
    assert [path.stem[:2] for path in SOURCES] == ["1-", "2-", "3-", "4-"]


@by_name
def test_it_is_in_step_with_its_source(path: Path) -> None:
    made = nbformat.read(notebooks.target(path), as_version=4)
    nbformat.validate(made)
    assert notebooks.same_sources(notebooks.bare(path), made), "run `make notebooks`"
    cells = [cell for cell in made.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image" in notebooks.kinds(cell) for cell in cells) >= 4
    assert list(notebooks.problems(path, made)) == []


@by_name
def test_cells_are_short_and_exercises_are_answered(path: Path) -> None:
    cells = notebooks.bare(path).cells
    longest = max(code(path), key=lambda source: source.count("\n"))
    assert longest.count("\n") < notebooks.LINES, longest
    assert sum(len(notebooks.answers(cell)) for cell in cells) == 3
    words = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert "## If something goes wrong" in words
    for name in re.findall(r"\]\(([\w-]+\.ipynb)\)", words):
        assert (path.parent / name).with_suffix(".py") in SOURCES


@by_name
def test_the_first_cell_installs_where_kaiffin_is_absent(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an extra that there is, at the constraints."""
    calls: list[list[str]] = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: calls.append(command))
    first = code(path)[0]
    assert first == code(SOURCES[0])[0]
    exec(first, {})
    place = notebooks.address(first).removeprefix("https://github.com/")
    (command,) = calls
    assert command[-1] == f"kaiffin[notebooks] @ git+https://github.com/{place}"
    assert command[-2] == f"https://raw.githubusercontent.com/{place}/main/constraints.txt"
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split("[>=<]", line)[0] for line in project["optional-dependencies"]["notebooks"]}
    pinned = {line.split("==")[0] for line in (REPO / "constraints.txt").read_text().splitlines()}
    assert wanted <= pinned


@pytest.mark.parametrize(
    "path",
    [pytest.param(one, marks=[pytest.mark.slow] * (one.stem[0] in "234")) for one in SOURCES],
    ids=lambda path: path.stem[:1],
)
def test_it_runs_with_few_steps(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From top to bottom and every answer, in this process: `make notebooks` runs it for real.

    The second goes as far as its three trainings, which cost as much as all the rest.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAIFFIN_QUICK", "1")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    space: dict[str, Any] = {}
    cells = notebooks.bare(path).cells
    trains = [i for i, cell in enumerate(cells) if "trained = train(" in cell.source]
    last = trains[0] if path.stem.startswith("2") else len(cells)
    with contained():
        for i, cell in enumerate(cells):
            if cell.cell_type == "code" and i < last:
                exec(cell.source, space)
            for source in notebooks.answers(cell):
                exec(source, space)
    if "plt" in space:
        space["plt"].close("all")


# --- the tool -----------------------------------------------------------------------------------


def with_output(*outputs: Any) -> nbformat.NotebookNode:
    return new_notebook(cells=[new_code_cell("x", outputs=list(outputs))])


def printed(text: str) -> nbformat.NotebookNode:
    return with_output(new_output("stream", text=text))


def png(image: Image.Image) -> nbformat.NotebookNode:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = {"image/png": base64.b64encode(buffer.getvalue()).decode(), "text/plain": "<Long>"}
    return new_output("display_data", data=data)


def test_outputs_are_compared_in_kind() -> None:
    picture = with_output(png(Image.new("RGB", (8, 8))))
    assert list(notebooks.differences(picture, picture)) == []
    assert "stream" in next(notebooks.differences(picture, printed("gone")))
    before = printed("likeness 0.80 [0.75, 0.85]")
    assert list(notebooks.differences(before, printed("likeness 0.76 [0.70, 0.80]"))) == []
    (found,) = notebooks.differences(before, printed("likeness 0.74 [0.70, 0.80]"))
    assert "0.74 is not in [0.75, 0.85]" in found
    (found,) = notebooks.differences(before, printed("likeness unknown"))
    assert "0 scores where there were 1" in found


def test_what_is_no_one_elses_business_is_found(tmp_path: Path) -> None:
    path = tmp_path / "new.py"
    (found,) = notebooks.problems(path, printed("saved in /home/me/run"))
    assert "names a place of this machine" in found
    (found,) = notebooks.problems(path, with_output(new_output("stream", name="stderr", text="hm")))
    assert "says on stderr" in found
    (found,) = notebooks.problems(path, printed("x" * notebooks.SIZE))
    assert "kB are more than" in found


def test_pictures_become_small() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    photo = notebooks.small(png(Image.fromarray(noise)))
    assert list(photo.data) == ["image/jpeg"]
    with Image.open(io.BytesIO(base64.b64decode(photo.data["image/jpeg"]))) as image:
        assert image.width == notebooks.WIDEST
    assert list(notebooks.small(png(Image.new("RGB", (9, 9)))).data) == ["image/png"]


def test_a_button_opens_it_where_it_is_published_and_none_leads_nowhere(tmp_path: Path) -> None:
    path = tmp_path / SOURCES[0].name
    path.write_text(SOURCES[0].read_text())
    assert "YOUR_ACCOUNT" in notebooks.address(path.read_text())
    assert notebooks.COLAB not in path.read_text()
    for place in ("us/ours", "them/theirs"):
        notebooks.move(path, f"https://github.com/{place}/")
        text = path.read_text()
        assert notebooks.address(text) == f"https://github.com/{place}"
        opened = f"{notebooks.COLAB}/github/{place}/blob/main/notebooks/{SOURCES[0].stem}.ipynb"
        assert text.count(opened) == 1
        assert "YOUR_ACCOUNT" not in text
        assert "Open in Colab" in notebooks.bare(path).cells[0].source


# --- in full ------------------------------------------------------------------------------------


@pytest.mark.slow
@by_name
def test_it_runs_from_top_to_bottom(path: Path) -> None:
    assert list(notebooks.problems(path, notebooks.run(path))) == []


@pytest.mark.slow
def test_sd15_fits_into_a_gpu_of_15_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each notebook that trains, by its own settings, on the real architecture; bf16 where there
    is no GPU takes what fp16 takes."""
    from kaiffin.stories.plan import plan

    base = full_base("sd1", tmp_path / "sd1")
    monkeypatch.chdir(tmp_path)
    for path in SOURCES[1:]:
        space: dict[str, Any] = {}
        for source in code(path):
            text = source.replace('BASE = "miniature"', f'BASE = "{base}"').replace("fp32", "bf16")
            text = text.replace("openai/clip-vit-large-patch14", "miniature")  # judges no training
            last = "\nconfig = changed" in f"\n{text}"
            exec(text.partition("\nfound = ")[0].partition("\ntrained = ")[0], space)
            if last:
                break
        config = changed(space["config"], **{"data.skip_bad": True})
        planned = plan(config, tell=SILENT)
        assert planned.memory is not None
        print(path.name, planned.memory)
        assert planned.memory.peak < 15e9

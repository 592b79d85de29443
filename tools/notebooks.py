"""The notebooks: `notebooks/*.py` are the source, jupytext's percent format; the `.ipynb` beside
them are made of it, with small outputs, so that they read well on the web.

`python tools/notebooks.py` (`make notebooks`) runs each from top to bottom, the exercises' answers
with it, compares what came out with what is committed, in kind, and writes it. `--only 2` takes
one; `--check` writes nothing; `--source URL` says in all of them where Kaiffin is published, and
gives them a button that opens them in Colab from there.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

REPO = Path(__file__).parents[1]
FOLDER = REPO / "notebooks"
METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python"},
    "accelerator": "GPU",
    "colab": {"gpuType": "T4"},
}
COLAB = "https://colab.research.google.com"
BUTTON = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({COLAB}/github/{{}}/blob/main/{{}})"
TITLE = re.compile(r"^# # .*\n#\n", re.MULTILINE)
LONGEST = 600  # seconds of a cell
WIDEST = 760  # pixels of a picture
COLOURS = 3000  # of a drawing, such as a curve, at most
LINES = 15  # of a code cell
SIZE = 900_000  # bytes of a notebook
ANSWER = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)
INTERVAL = re.compile(r"(-?\d+\.\d+) \[(-?\d+\.\d+), (-?\d+\.\d+)\]")
BUSY = re.compile(r"^warning: steps take .*\n", re.MULTILINE)  # others used the machine meanwhile
PRIVATE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users)/")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="beginning of a notebook's name")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--source", help="where Kaiffin is published, such as a GitHub address")
    given = parser.parse_args(arguments)
    bad = 0
    for path in sources(given.only):
        if given.source:
            move(path, given.source)
        started = time.monotonic()
        made = run(path)
        said = list(problems(path, made))
        if not given.check:
            target(path).write_text(text(made), encoding="utf-8")
        print(f"{path.name}: {time.monotonic() - started:.0f} s, {len(text(made)) // 1000} kB")
        print("".join(f"  {problem}\n" for problem in said), end="")
        bad += len(said)
    return 1 if bad else 0


def sources(only: str = "") -> list[Path]:
    return sorted(FOLDER.glob(f"{only}*.py"))


def target(path: Path) -> Path:
    return path.with_suffix(".ipynb")


def move(path: Path, source: str) -> None:
    """Writes another address into the first cell, and the Colab button that opens it there."""
    before = path.read_text(encoding="utf-8")
    place = address(before).removeprefix("https://github.com/")
    new = source.removesuffix("/").removeprefix("https://github.com/")
    text = before.replace(place, new)
    if COLAB not in text:
        button = BUTTON.format(new, f"notebooks/{target(path).name}")
        text = TITLE.sub(lambda title: f"{title[0]}# {button}\n#\n", text, count=1)
    path.write_text(text, encoding="utf-8")


def address(source: str) -> str:
    """What the first cell of a notebook installs Kaiffin from."""
    found = re.search(r'^SOURCE = "(.*)"', source, re.MULTILINE)
    return found[1] if found else ""


# --- making -------------------------------------------------------------------------------------


def bare(path: Path) -> NotebookNode:
    """The notebook that a source means, without outputs."""
    book = jupytext.read(path, fmt="py:percent")
    book.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(book.cells):
        cell.id, cell.metadata = f"cell-{number}", nbformat.from_dict({})
    book.nbformat, book.nbformat_minor = 4, 5
    return book


def answers(cell: NotebookNode) -> list[str]:
    """The code in the hidden answers of a cell of words."""
    return ANSWER.findall(cell.source) if cell.cell_type == "markdown" else []


def run(path: Path) -> NotebookNode:
    """Every cell, and every answer after the cell that hides it; in an empty folder."""
    book, longer = bare(path), bare(path)
    longer.cells = [
        one
        for cell in longer.cells
        for one in (cell, *map(nbformat.v4.new_code_cell, answers(cell)))
    ]
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        quiet = ["--log-level=ERROR"]
        client = NotebookClient(longer, timeout=LONGEST, resources=resources, extra_arguments=quiet)
        client.execute()
    done = {cell.id: cell for cell in longer.cells}
    for count, cell in enumerate((c for c in book.cells if c.cell_type == "code"), 1):
        outputs = [small(output) for output in done[cell.id].outputs]
        cell.outputs = [output for output in outputs if output.get("text") != ""]
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    return book


def small(output: NotebookNode) -> NotebookNode:
    """An output as it is committed: pictures made small, and no words about them."""
    output.pop("transient", None)
    if "text" in output:
        output.text = BUSY.sub("", output.text)
    data = output.get("data", {})
    if "image/png" in data:
        kind, encoded = shrunk(base64.b64decode(data.pop("image/png")))
        data.clear()
        data[kind] = encoded
        output.metadata = nbformat.from_dict({})
    return output


def shrunk(png: bytes) -> tuple[str, str]:
    """(MIME type, base64): a PNG of few colours where it is a drawing, else a JPEG."""
    with Image.open(io.BytesIO(png)) as image:
        picture = image.convert("RGB")
    picture.thumbnail((WIDEST, 10 * WIDEST))
    buffer = io.BytesIO()
    if picture.getcolors(COLOURS):
        kind = "png"
        picture.quantize(64).save(buffer, kind, optimize=True)
    else:
        kind = "jpeg"
        picture.save(buffer, kind, quality=76, optimize=True)
    return f"image/{kind}", base64.b64encode(buffer.getvalue()).decode()


def text(book: NotebookNode) -> str:
    return nbformat.writes(book) + "\n"


# --- comparing ----------------------------------------------------------------------------------


def problems(path: Path, made: NotebookNode) -> Iterator[str]:
    """What is wrong with a notebook that has been run, by itself and beside the committed one."""
    size = len(text(made))
    if size > SIZE:
        yield f"{size // 1000} kB are more than {SIZE // 1000}"
    for cell in made.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                yield f"says on stderr: {output.text[:200]}"
            if PRIVATE.search(str(output.get("text", "")) + str(output.get("data", {}).values())):
                yield f"names a place of this machine: {said(cell)[:200]}"
    if target(path).is_file():
        before = nbformat.read(target(path), as_version=4)
        if same_sources(before, made):
            yield from differences(before, made)


def same_sources(one: NotebookNode, other: NotebookNode) -> bool:
    cells = ([(cell.cell_type, cell.source) for cell in book.cells] for book in (one, other))
    return next(cells) == next(cells)


def differences(before: NotebookNode, after: NotebookNode) -> Iterator[str]:
    """Outputs of other kinds, and scores outside the intervals that are committed."""
    for old, new in zip(before.cells, after.cells, strict=True):
        if kinds(old) != kinds(new):
            yield f"{new.source[:60]!r}: {kinds(new)} where there was {kinds(old)}"
        was, now = INTERVAL.findall(said(old)), INTERVAL.findall(said(new))
        if len(was) != len(now):
            yield f"{new.source[:60]!r}: {len(now)} scores where there were {len(was)}"
        for (_, low, high), (mean, *_) in zip(was, now, strict=False):
            if not float(low) <= float(mean) <= float(high):
                yield f"{new.source[:60]!r}: {mean} is not in [{low}, {high}]"


def kinds(cell: NotebookNode) -> list[str]:
    """What comes out of a cell: `image`, `text/html`, `stream` and so on, each once."""
    found = []
    for output in cell.get("outputs", ()):
        names = output.get("data", {output.output_type: ""})
        found += ["image" if name.startswith("image/") else name for name in names]
    return sorted(set(found))


def said(cell: NotebookNode) -> str:
    """All words of a cell's outputs."""
    parts = []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        parts += [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
    return "\n".join(map(str, parts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

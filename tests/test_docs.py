"""The pages: links lead somewhere, commands exist, made parts are as the code is.

What the pages of one part of Kaiffin promise is tested beside it, as in serve/test_docs.py.
"""

import itertools
import json
import re
import shlex
from pathlib import Path

import click
import interactive
import pytest
import reference
from conftest import REPO
from markdown_it import MarkdownIt
from PIL import Image

from kaiffin.cli.main import app, main
from kaiffin.cli.settings import SchemaCommand
from kaiffin.foundation.settings import fields
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SIDE

DOCS = REPO / "docs"
PAGES = sorted([*REPO.glob("*.md"), *DOCS.rglob("*.md"), *(REPO / "examples").rglob("*.md")])
TOLD = [page for page in PAGES if page.name not in ("log.md", "CHANGELOG.md")]  # what was, too
SETTINGS = {f"--{name}" for name, _ in fields()}


def tokens(page: Path) -> list:
    """Of the whole page, in one list."""
    found = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return [part for token in found for part in (token, *(token.children or ()))]


def anchors(page: Path) -> set[str]:
    """The headings as GitHub names them."""
    found = set()
    for token, inside in itertools.pairwise(tokens(page)):
        if token.type == "heading_open":
            text = "".join(c.content for c in inside.children if c.type in ("text", "code_inline"))
            found.add(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
    return found


def test_links_lead_to_files_and_headings() -> None:
    checked = 0
    for page in PAGES:
        for token in tokens(page):
            link = token.attrGet("href") or token.attrGet("src")
            if not link or re.match(r"https?:|mailto:", str(link)):
                continue
            name, _, anchor = str(link).partition("#")
            target = page.parent / name if name else page
            assert target.exists(), f"{page.relative_to(REPO)}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.relative_to(REPO)}: {link}"
            checked += 1
    assert checked > 100


def test_every_figure_is_on_a_page() -> None:
    shown = {
        (page.parent / str(link)).resolve()
        for page in PAGES for token in tokens(page)
        if (link := token.attrGet("src") or token.attrGet("href"))
    }  # fmt: skip
    frames = {f"{file}.webp" for moving in interactive.MOVING.values() for file, _ in moving.strips}
    pictures = {path for path in (DOCS / "images").rglob("*.*") if path.name not in frames}
    assert pictures <= shown


def said(page: Path) -> list[str]:
    """Every call of `kaiffin` in a page: lines of code blocks, and code in the text."""
    found = []
    for token in tokens(page):
        if token.type in ("fence", "code_block"):
            found += token.content.splitlines()
        elif token.type == "code_inline":
            found.append(token.content)
    calls = [re.sub(r"^\S*?(?=kaiffin )", "", line.strip()) for line in found]
    return [call for call in calls if re.match(r"kaiffin [a-z]", call)]


def command_of(words: list[str]) -> click.Command:
    found: click.Command = app
    while isinstance(found, click.Group):
        if not words or words[0].startswith("-") or words[0] in ("COMMAND", "..."):
            return found
        assert words[0] in found.commands, words[0]
        found = found.commands[words.pop(0)]
    return found


def flags_of(command: click.Command) -> set[str]:
    known = {"--help"}
    if isinstance(command, SchemaCommand):
        known |= {opt for p in [*command.fields, *command.help_options] for opt in p.opts}
    return known | {opt for p in command.params for opt in p.opts}


@pytest.mark.parametrize("page", TOLD, ids=lambda page: page.relative_to(REPO).as_posix())
def test_every_command_is_one_and_has_its_flags(page: Path) -> None:
    for call in said(page):
        words = shlex.split(re.split(r"\s{2,}|\s[|#]\s", call)[0])[1:]
        known = flags_of(command_of(words))
        for flag in (word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)):
            assert flag in known, f"{call}: {flag}"


def test_every_setting_that_is_named_exists() -> None:
    named = {
        name
        for page in TOLD for token in tokens(page) if token.type in ("code_inline", "fence")
        for name in re.findall(r"--[a-z]+\.[a-z_.]*[a-z_]", token.content)
    }  # fmt: skip
    assert len(named) > 20
    assert named - {"--section.field"} <= SETTINGS


def test_the_made_parts_are_as_the_code_is() -> None:
    old = [p for p, text in reference.renewed() if p.read_text(encoding="utf-8") != text]
    assert old == [], "run `make docs`"


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # within MyST
def test_the_site_builds_and_each_page_is_on_it(tmp_path: Path) -> None:
    """With warnings as errors: a link, a page or a heading that is not there is one."""
    from sphinx.cmd.build import main as build

    site = tmp_path / "site"
    assert build(["-q", "-W", "-d", str(tmp_path / "trees"), str(DOCS), str(site)]) == 0
    built = {path.stem for path in site.rglob("*.html")}
    assert {page.stem for page in DOCS.rglob("*.md")} <= built
    home = (site / "index.html").read_text(encoding="utf-8")
    assert not re.search(
        r'(?:src|href)="https?://[^"]+\.(?:js|css|woff2?)', home
    )  # nothing foreign


def test_the_blocks_about_the_package_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """From top to bottom, as written but for a short training without class pictures."""
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    whole = "\n".join(blocks).replace(
        '"train.steps": 220', '"train.steps": 2, "data.prior.weight": 0, "train.tensorboard": False'
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(whole, "python.md", "exec"), {})
    said = capsys.readouterr().out
    assert f"{SIDE} prepared/my-photos/contact_sheet.png" in said
    assert "Did you mean" in said


def wishes() -> list[list[str]]:
    """What the page of wishes says about a training: its commands, and flags that stand alone."""
    page = DOCS / "guides" / "what-you-want.md"
    codes = [t.content for t in tokens(page) if t.type == "code_inline"]
    calls = [re.sub(r"^kaiffin train my-photos", "", c) for c in codes]
    mine = [c for c, code in zip(calls, codes, strict=True) if c != code or c.startswith("--")]
    mine = [c for c in mine if not re.match(r"--(judge|base|dry-run|adapter [a-z]|help)", c)]
    return [shlex.split(re.sub(r"--base \S+|--dry-run|--base.quantize \S+", "", c)) for c in mine]


@pytest.mark.slow  # a picture for each row
def test_every_wish_about_pictures_of_the_miniature_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = DOCS / "guides" / "what-you-want.md"
    codes = [t.content for t in tokens(page) if t.type == "code_inline"]
    calls = [code for code in codes if code.startswith("kaiffin generate miniature")]
    assert len(calls) >= 2
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((64, 64), 60).convert("RGB").save("photo.jpg")
    Image.new("L", (64, 64), 255).save("mask.png")
    for call in calls:
        assert main(shlex.split(call)[1:]) == 0, call


@pytest.mark.slow
def test_every_wish_about_a_training_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Each as `--dry-run` on the miniature: the base is opened, the step is counted."""
    for i, (image, _) in enumerate(world.subject_photos("kaiffin", 3)):
        (tmp_path / "my-photos").mkdir(exist_ok=True)
        image.save(tmp_path / "my-photos" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    every = {tuple(words) for words in wishes()}
    assert len(every) > 8
    for words in every:
        noun = [] if "--class" in words else ["--class", "puffin"]
        assert main(["train", "my-photos", *noun, *words, "--dry-run"]) == 0, words
    assert "memory" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diffusion", "latents", "text", "min-snr", "clip"])
def test_the_numbers_of_the_ideas_are_computed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that need no training, once more: on another machine nearly, here to the last digit."""
    monkeypatch.syspath_prepend(REPO / "tools" / "figures")
    import process
    import stage
    import words

    monkeypatch.setattr(stage, "NUMBERS", tmp_path / "figures.json")
    for module in (stage, process, words):
        monkeypatch.setattr(module, "IDEAS", tmp_path)
    room = process if hasattr(process, name.replace("-", "_")) else words
    getattr(room, name.replace("-", "_"))()
    number = r"-?\d+(?:\.\d+)?"
    new, old = (
        json.loads(path.read_text(encoding="utf-8"))[name]
        for path in (tmp_path / "figures.json", DOCS / "measured" / "figures.json")
    )
    assert re.sub(number, "N", new) == re.sub(number, "N", old)
    found, kept = ([float(n) for n in re.findall(number, text)] for text in (new, old))
    assert found == pytest.approx(kept, rel=0.02, abs=0.02)

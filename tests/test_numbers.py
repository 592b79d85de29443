"""Numbers in the pages: what was measured stands in made parts, and nowhere else.

Prose is README.md, CONTRIBUTING.md, docs/**/*.md and examples/**/*.md without made parts, code,
formulas and links; of a page that is made whole its template. Looked for are numbers with a unit of
measurement, intervals and ranges, powers of ten, decimals of two places, and "n of m". Each has to
be of a kind that is no measurement, a limit or default as the code has it, or excused by name.

What it cannot see: numbers in words ("a sixth of the time"), units that it does not know ("25
steps", "four rows"), decimals of one place without a unit, pictures, a sentence that draws the
wrong conclusion from a made table, and whether a kept figure is true of today's code: the line
below each table says of which day and commit it is. The log, which tells what was seen on a day, is
left out.
"""

import re
from collections.abc import Iterator

import claims
import measured
import pytest
import reference
from conftest import REPO
from markdown_it import MarkdownIt

from kaiffin.data import images
from kaiffin.experiments.report import page as report
from kaiffin.foundation import hashes
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.models.files.published import PUBLISHED
from kaiffin.pictures import batches
from kaiffin.score import selection
from kaiffin.serve import decoding, roster, security, supervisor

DOCS = REPO / "docs"
SEEN = ("log.md", "changelog.md")  # what was seen on a day
MADE = ("options.md", *measured.WHOLE)  # whole pages
PAGES = [
    REPO / "README.md", REPO / "CONTRIBUTING.md", measured.TEMPLATE,
    *(REPO / "examples").rglob("*.md"),
    *(page for page in sorted(DOCS.rglob("*.md")) if page.name not in (*SEEN, *MADE)),
]  # fmt: skip

NUMBER = r"(?<![\w.@/^-])[+-]?\d[\d,]*(?:\.\d+)?"
UNITS = r"%|ms|s|seconds?|minutes?|hours?|dB|[kMGT]i?B|megapixels|times|points"
MEASURED = re.compile(
    rf"{NUMBER}\s?(?:{UNITS})(?!\w)|{NUMBER}e-?\d+|(?<![\w.@/^-])\d+\.\d\d+(?![\w.])"
    rf"|(?<!\w)\d[\d,]* of (?:the )?\d[\d,]*|[\[(]{NUMBER}(?:,| -) {NUMBER}[\])]"
)
NAMES = "Python|Open WebUI|SillyTavern|diffusers|transformers|LyCORIS|License"
KINDS = {
    "a date": r"\d{4}-\d\d-\d\d",
    "a version": rf"(?:{NAMES})[ (]+\d+(?:\.\d+)+",
    "a paper": r"(?:arXiv )?\d{4}\.\d{5}",
    "how sure an interval is": r"95 %",
    "between which numbers a measure lies": r"\[-?[0-2], [0-2]\]",
    "a scale of published bases": r"0\.18215|0\.13025",
}


def limits() -> set[str]:
    """Limits and defaults that pages say in their words, as the code has them."""
    photo, adapter = (size // security.MB for size in [*security.UPLOADS.values()][:2])
    bases = [PUBLISHED[name] for name in ("sd15", "sdxl")]
    rates = {BuildConfig().plan(stage).lr for stage in ("clip", "vae", "unet")}
    return {
        f"{photo} MB", f"{adapter // 1024} GB", f"{security.JSON_BYTES // security.MB} MB",
        f"{decoding.SECONDS:.0f} s", f"{decoding.MEMORY // 2**30} GB",
        f"{images.MAX_PIXELS // 10**6} megapixels", f"{hashes.WORTH // 2**20} MiB",
        f"{supervisor.PATIENCE_S:.0f} seconds", f"{roster.OVERTAKEN} times",
        f"{100 * (batches.NEAR - 1):.0f} %", f"{selection.MARGIN:g}",
        f"{report.LIMIT // 10**6} MB", f"{report.LIMIT * report.MOST // 10**6} MB",
        *(f"{size / 1e9:.1f} GB" for base in bases for size in (base.full, base.half)),
        *(f"{1000 * rate:g}e-3" for rate in rates),
    }  # fmt: skip


EXCUSED = {
    "47.3 GB": "bases.md: a repository as the hub listed it on a day that is said",
    "76.9 GB": "the same",
    "1.5 MB": "bases.md: CLIP's vocabulary, a published file",
    "16 MB": "miniature.md: the size of shards that miniature/build/export.py asks for",
    "10 %": "miniature.md: captions that miniature/build/stages.py leaves out",
    "1.1 times": "prompts.md: what A1111's brackets mean",
    "1.3 times": "prompts.md: an example",
    "40 %": "prompts.md: an example",
    "15 GB": "recipes.md: the memory of a T4",
    "16 GB": "recipes.md: as others report it, which the page says",
    "2e-4": "recipes.md: the rate of a shipped recipe",
    "80 %": "ways-in.md: held by the test that the line links to",
    "128 of 4": "latents.md: cells of four channels",
}


def prose(text: str) -> Iterator[str]:
    """Paragraphs and cells without made parts, code and formulas."""
    text = re.sub(r"<!-- made: (.*?) -->.*?<!-- end: \1 -->", "", text, flags=re.DOTALL)
    text = re.sub(r"<!-- The map: .*?<!-- end of the map -->", "", text, flags=re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", "", text, flags=re.DOTALL)
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        parts = token.children or () if token.type == "inline" else ()
        yield "".join("" if one.type == "code_inline" else one.content or " " for one in parts)


def numbers(text: str) -> list[str]:
    """What looks measured and is of no other kind."""
    bare = (re.sub("|".join(KINDS.values()), "", said) for said in prose(text))
    return [number for said in bare for number in MEASURED.findall(said)]


def test_no_measured_number_is_typed() -> None:
    typed = {
        f"{page.relative_to(REPO)}: {number}"
        for page in PAGES
        for number in numbers(page.read_text(encoding="utf-8"))
        if number not in limits() | set(EXCUSED)
    }
    assert not typed, "keep it with a benchmark's --keep, or say it in docs/log.md"


def test_what_is_excused_is_said() -> None:
    said = {n for page in PAGES for n in numbers(page.read_text(encoding="utf-8"))}
    assert set(EXCUSED) | limits() <= said


@pytest.mark.parametrize(
    "text",
    ["it takes 12 ms more", "a fifth, 99.5% of them", "7 of 50 rows", "28.5 dB", "costs 1.13 of it",
     "81 % [65, 95]", "1.01 (0.92 - 1.11)", "to 2e-7", "| a | 3.1 s |\n|---|---|\n| b | 2 GB |",
     "seven times 1.75"],
)  # fmt: skip
def test_a_measured_number_is_found(text: str) -> None:
    assert numbers(text)
    assert not numbers(f"<!-- made: x -->\n\n{text}\n\n<!-- end: x -->")


def test_what_is_no_measurement_is_passed_over() -> None:
    assert not numbers("On 2026-11-30 with Python 3.11, `--lr 1e-4`, $x = 0.25$, arXiv 2206.00364")
    assert not numbers("a cosine in [-1, 1], intervals of 95 %, 25 steps at guidance 7.5 on SD 1.5")


def test_every_made_part_is_made() -> None:
    """So that no typed number hides behind the marks of one."""
    parts = {(DOCS / name).resolve(): made for name, made in reference.PARTS.items()}
    for page in sorted({*DOCS.rglob("*.md"), *(REPO / "examples").rglob("*.md")}):
        marks = re.findall(r"<!-- made: (.*?) -->", page.read_text(encoding="utf-8"))
        made = parts.get(page.resolve(), {})
        assert sorted(marks) == sorted(made), page.name


@pytest.mark.parametrize(
    ("got", "said"),
    [((0.3, 0.2, 0.33), "met"), ((0.3, 0.2, 0.5), "met on average, not beyond chance"),
     ((0.4, 0.3, 0.5), "**not met**, within chance"), ((0.6, 0.5, 0.7), "**not met**")],
)  # fmt: skip
def test_a_target_is_met_by_the_whole_interval(got: tuple[float, ...], said: str) -> None:
    assert measured.verdict(got, 1 / 3) == said


def test_a_claim_is_confirmed_or_contradicted_where_its_interval_leaves_0_out() -> None:
    assert claims.verdict((0.3, 0.1, 0.5), +1) == "**confirmed**"
    assert claims.verdict((0.3, 0.1, 0.5), -1) == "**contradicted**"
    assert claims.verdict((0.3, -0.1, 0.5), +1) == "no difference that can be shown"

"""The site: the Markdown of this folder as pages that open from the disk. `make docs` builds it.

Sphinx with MyST-Parser and furo: all three are kept well, need no network, and refuse a link or an
anchor that leads nowhere (`-W`). The same Markdown is to read well on GitHub, so what it cannot
say there is added here: the table of contents, charts, links that leave this folder.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).parent
REPO = HERE.parent
sys.path[:0] = [str(REPO / "src"), str(REPO / "tools")]

import interactive  # noqa: E402

import kaiffin  # noqa: E402

project = "Kaiffin"
author = "the authors of Kaiffin"
release = kaiffin.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["figures", "README.md"]
root_doc = "index"

highlight_language = "none"  # commands, most of all; where it is code the page says so
smartquotes = False  # `--` in a table is a flag, not a dash
myst_heading_anchors = 4  # as GitHub names them
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_fence_as_directive = ["mermaid"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
suppress_warnings = ["misc.highlighting_failure"]

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "Kaiffin"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sphinx = html_show_copyright = False
html_copy_source = False
html_extra_path = []

# The site's contents: heading -> pages. A page that is not here is an error.
CONTENTS = {
    "Start": ["start/photos", "start/from-elsewhere", "start/learn", "start/service"],
    "Ideas": [
        "ideas/diffusion", "ideas/latents", "ideas/text", "ideas/guidance", "ideas/samplers",
        "ideas/lora", "ideas/dreambooth", "ideas/min-snr", "ideas/clip", "ideas/memorising",
    ],
    "Guides": [
        "teaching", "guides/what-you-want", "photos", "guides/captions", "guides/methods",
        "guides/prompts", "guides/ways-in", "guides/together", "guides/several", "guides/recipes",
        "guides/devices",
        "guides/troubles",
        "choosing", "experiments", "adapters", "bases", "studio", "serving",
    ],
    "Reference": [
        "reference/commands", "options", "reference/python", "reference/files", "reference/http",
    ],
    "About": [
        "gallery", "miniature", "performance", "architecture", "log", "contributing", "changelog",
    ],
}  # fmt: skip
# What the page of the package shows besides its own text: functions with what they answer.
STORIES = (
    "prepare", "train", "generate", "rank", "choose", "grid", "compare", "sweep", "report",
    "adapter", "inspect", "bases", "demo",
)  # fmt: skip
# Pages that lie beside this folder, as people look for them there.
OUTSIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
# A line for readers of the Markdown, where a page that moves cannot stand.
ELSEWHERE = re.compile(r"^\*On the site a slider.*\*\n", re.MULTILINE)


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """A page's Markdown before it is parsed."""
    if name == root_doc:
        source[0] += "".join(
            f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
            for caption, pages in CONTENTS.items()
        )
    if name == "reference/python":
        source[0] += "".join(
            f"\n## kaiffin.stories.{story}\n\n```{{eval-rst}}\n"
            f".. automodule:: kaiffin.stories.{story}\n   :members:\n```\n"
            for story in STORIES
        )
    folder = (HERE / name).parent
    for outside, page in OUTSIDE.items():
        if page == f"{name}.md":
            folder, source[0] = REPO, (REPO / outside).read_text(encoding="utf-8")
    source[0] = ELSEWHERE.sub("", source[0])
    if name == "options":  # a long choice may break between its words
        source[0] = source[0].replace("\\|", "\\|&#8203;")
    source[0] = re.sub(
        r"(?<!!)\[([^\]]+)\]\(([^)#:]+)(#[^)]*)?\)",
        lambda link: linked(link[0], link[1], folder, link[2], link[3] or "", HERE / name),
        source[0],
    )


def linked(whole: str, text: str, folder: Path, to: str, anchor: str, page: Path) -> str:
    """A link as the site has it: to a page, to a file from outside, or a name without a link."""
    target = (folder / to).resolve()
    if not target.is_relative_to(REPO):
        return whole
    inside = HERE / OUTSIDE.get(target.relative_to(REPO).as_posix(), "")
    if inside == HERE and target.is_relative_to(HERE):
        inside = target
    if inside != HERE:
        return f"[{text}]({os.path.relpath(inside, page.parent)}{anchor})"
    if target.is_dir() or target.suffix == ".md":
        return text
    return f"[{text}]({os.path.relpath(target, page.parent)})"


def plain(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Docstrings are written for readers of the code: what is marked in them is code, the rest is
    text."""
    text = "\n".join(lines).replace("\\", "\\\\")
    text = re.sub(r"`+([^`]+)`+", lambda code: f"``{code[1]}``", text)
    text = re.sub(r"(?<!`)([*|])(?!`)", r"\\\1", text) if "``" not in text else text
    lines[:] = text.splitlines()


class Mermaid(SphinxDirective):
    """The one kind of chart that pages have, a line over an axis, as SVG; GitHub draws it too."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        values = [float(n) for n in re.search(r"line \[(.*)\]", text)[1].split(",")]
        title = re.search(r'title "(.*)"', text)[1]
        axis, low, high = re.search(r'x-axis "(.*)" (\S+) --> (\S+)', text).groups()
        top = max(values)
        points = " ".join(
            f"{40 + 540 * i / (len(values) - 1):.1f},{170 - 140 * value / top:.1f}"
            for i, value in enumerate(values)
        )
        words = ((40, 16, title), (40, 190, f"{low}"), (440, 190, f"{high} {axis}"), (0, 34, top))
        labels = "".join(f'<text x="{x}" y="{y}">{text}</text>' for x, y, text in words)
        svg = (
            f'<svg class="line" viewBox="0 0 620 200" role="img" aria-label="{title}">'
            f'<path d="M40 170H580"/>{labels}<polyline points="{points}"/></svg>'
        )
        return [nodes.raw("", svg, format="html")]


def inline(writer: nodes.NodeVisitor, node: nodes.math) -> None:
    """A formula as MathML, which browsers draw themselves."""
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def displayed(writer: nodes.NodeVisitor, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def finished(app: Sphinx, problem: Exception | None) -> None:
    """The pages that move are put together from their frames; each is one sealed file."""
    if not problem and app.builder.format == "html":
        interactive.write(Path(app.outdir) / "interactive")


def setup(app: Sphinx) -> None:
    app.add_directive("mermaid", Mermaid)
    app.add_html_math_renderer("mathml", (inline, None), (displayed, None))
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", plain)
    app.connect("build-finished", finished)

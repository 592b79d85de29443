"""`kaiffin report`: one run or many as one self-contained HTML page. Torch-free.

The page opens from disk, needs no network and forbids itself any; what comes from files (prompts,
names, recipes) reaches it as escaped text or as JSON only.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import jinja2
from markupsafe import Markup

from kaiffin import __version__
from kaiffin.experiments.report import scorecards, share
from kaiffin.experiments.report.album import Album
from kaiffin.experiments.report.evidence import Evidence
from kaiffin.experiments.report.overview import overview
from kaiffin.experiments.report.sections import Section, duration, section
from kaiffin.experiments.report.slider import script_data
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.sheets import png_bytes

PAGES = Path(__file__).parent / "pages"
LIMIT = 5_000_000  # bytes of the page of one run
MOST = 4  # times LIMIT: the page of many runs
TEXT = 250_000  # bytes kept for what is neither picture nor recipe, of each run
MARK = '<meta name="generator" content="Kaiffin'


def write(found: Sequence[Evidence], path: Path) -> Path:
    """Writes the page of what was found at `path`, whole or not at all."""
    if path.is_file() and MARK.encode() not in path.read_bytes()[:4096]:
        raise RunError(f"{path}: is there already and is no report of Kaiffin's.", "Choose --out.")
    album = Album(path.parent)
    runs = len({one.run.path.resolve() for one in found})
    together = overview(found, album) if runs > 1 else None
    sections = [section(number, one, album) for number, one in enumerate(found, 1)]
    recipes = sum(len(json.dumps(asdict(one))) for one in album.shown)
    room = LIMIT * min(len(found), MOST) - TEXT * len(found) - recipes
    album.encode(max(room, LIMIT // 2))
    picture = share.draw(found[0]) if runs == 1 else None
    if picture is not None:
        write_bytes(share_path(path), png_bytes(picture))
    image = share_path(path).name if picture is not None else ""
    write_bytes(path, _render(sections, together, album, image).encode())
    return path


def share_path(path: Path) -> Path:
    """Where the picture lies that a link to the page shows: `share.png` beside `report.html`."""
    return path.with_name("share.png" if path.name == "report.html" else f"{path.stem}-share.png")


def _render(sections: Sequence[Section], together: object, album: Album, image: str) -> str:
    style, script = (
        "".join((PAGES / name).read_text(encoding="utf-8") for name in names)
        for names in (("look.css", "report.css"), ("slider.js", "report.js"))
    )
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            album=album,
            image=image,
            duration=duration,
            scorecards=scorecards,
            sections=sections,
            together=together,
            version=__version__,
            style=style,
            script=script,
            style_hash=_csp_hash(style),
            script_hash=_csp_hash(script),
            data=lambda: (  # asked for last: what stands on the page already is not in it
                album.data()
                | {"runs": {s.id: script_data(s.slider, album) for s in sections if s.slider}}
            ),
        )
    )


@functools.cache
def _templates() -> jinja2.Environment:
    """Compiled once in a process."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters["sentence"] = sentence
    return made


def sentence(text: str) -> Markup:
    """With a capital and a full stop; what stands between backticks is code."""
    whole = text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
    parts = whole.split("`") if text else []
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts)
    )


def _csp_hash(text: str) -> str:
    """The source expression by which the page's policy allows exactly this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

"""The pages that move: frames that `make figures` computed, on a slider, each one sealed HTML file.

They are made of the report's parts (its look, its slider, its policy), open from the disk, and ask
the network for nothing. The site's build writes them; nothing of them is kept in the repository.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from kaiffin.experiments.report.page import PAGES, _csp_hash

IDEAS = Path(__file__).parents[1] / "docs" / "images" / "ideas"
LIMIT = 500_000  # bytes of a page
CHOSEN = 10  # strength 1


@dataclass(frozen=True)
class Moving:
    """strips: (file in docs/images/ideas, what it shows), frames of equal size side by side; stops:
    (short name, what is said of it); first: the stop that is shown at first."""

    title: str
    label: str
    strips: Sequence[tuple[str, str]]
    stops: Sequence[tuple[str, str]]
    first: int


STEPS = [("noise", "nothing is decided yet")] + [
    (f"step {i}", f"{25 - i} steps are left" if i < 25 else "the picture") for i in range(1, 26)
]
STRENGTHS = [
    (f"{i / 10:g}", "the base alone" if i == 0 else "as it was trained" if i == CHOSEN else "")
    for i in range(16)
]
MOVING = {
    "denoising": Moving(
        "One picture comes out of noise", "Denoising steps",
        (("diffusion-frames", "what the sampler holds"),
         ("diffusion-guesses", "what the model guesses")),
        STEPS, 8,
    ),
    "strength": Moving(
        "One adapter at several strengths", "Strength",
        (("lora-subject", "a photo of kaiffin penguin in the snow"),
         ("lora-class", "a photo of a penguin in the snow")),
        STRENGTHS, CHOSEN,
    ),
}  # fmt: skip
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="Kaiffin">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src '{{ style_hash }}'; script-src '{{ script_hash }}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ moving.title }} · Kaiffin</title>
<link rel="icon" href="data:,">
<style>{{ style|safe }}</style>
</head>
<body>
<main>
<h2>{{ moving.title }}</h2>
<div class="slider" hidden>
<label for="range">{{ moving.label }}</label>
<p class="said"><b></b> <span></span></p>
<input id="range" type="range" min="0" value="0">
<div class="stops" aria-hidden="true"></div>
</div>
<div class="pair">
{% for source, shows in pictures %}
<figure class="card"><div class="window"><img src="{{ source }}" alt="{{ shows }}"></div>
<figcaption>{{ shows }}</figcaption></figure>
{% endfor %}
</div>
</main>
<script type="application/json" id="data">{{ stops|tojson }}</script>
<script type="module">{{ script|safe }}</script>
</body>
</html>
"""
STYLE = """
main { max-width: 40rem; margin: 0 auto; padding: 1rem; }
.pair { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.window { overflow: hidden; border-radius: 8px; }
.window img { display: block; height: auto; max-width: none; }
.card figcaption { margin: .5rem 0 0; }
"""
SCRIPT = """
const stops = JSON.parse(document.getElementById("data").textContent);
const frames = [...document.querySelectorAll(".window img")];
for (const image of frames) image.style.width = `${100 * stops.length}%`;
const slider = stopsSlider(document.querySelector(".slider"), stops, (stop, number) => {
  const left = -100 * number / stops.length;
  for (const image of frames) image.style.transform = `translateX(${left}%)`;
});
slider.set(FIRST);
"""


def write(folder: Path) -> None:
    """Every page of `MOVING` as <name>.html in `folder`; ValueError where one is too large."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, moving in MOVING.items():
        page = rendered(moving)
        if len(page) > LIMIT:
            raise ValueError(f"{name}: has {len(page):,} bytes, more than {LIMIT:,}.")
        (folder / f"{name}.html").write_text(page, encoding="utf-8")


def rendered(moving: Moving) -> str:
    look, slider = ((PAGES / n).read_text(encoding="utf-8") for n in ("look.css", "slider.js"))
    style = look + STYLE
    script = slider.replace("export ", "") + SCRIPT.replace("FIRST", str(moving.first))
    stops = [
        {"label": name, "said": said, "step": name.removeprefix("step "), "chosen": False}
        for name, said in moving.stops
    ]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(PAGE).render(
        moving=moving, style=style, script=script, style_hash=_csp_hash(style),
        script_hash=_csp_hash(script), stops=stops,
        pictures=[(embedded(IDEAS / f"{file}.webp"), shows) for file, shows in moving.strips],
    )  # fmt: skip


def embedded(path: Path) -> str:
    return f"data:image/webp;base64,{base64.b64encode(path.read_bytes()).decode()}"

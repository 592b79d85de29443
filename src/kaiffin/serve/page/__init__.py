"""The page of the service: plain modules and style sheets, as they are. Torch-free.

What it shares with the report (look, slider) lies there.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

HERE = Path(str(resources.files("kaiffin.serve.page")))
SHARED = Path(str(resources.files("kaiffin.experiments.report"))) / "pages"
TYPES = {
    ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".html": "text/html; charset=utf-8",
}  # fmt: skip
INDEX = HERE / "index.html"
# By the names below page/; nothing else is served.
SENT = (".js", ".css", ".svg")
FILES = {path.name: path for path in sorted(HERE.iterdir()) if path.suffix in SENT}
FILES |= {name: SHARED / name for name in ("look.css", "slider.js")}

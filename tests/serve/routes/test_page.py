"""The page's files: small, without anything inline, sent once, and nothing beside them."""

import re

from served import World

from kaiffin.serve.page import FILES, INDEX


def test_scripts_are_small_and_nothing_is_inline() -> None:
    size = sum(path.stat().st_size for name, path in FILES.items() if name.endswith(".js"))
    assert size < 120 * 1024, size
    html = INDEX.read_text()
    assert "style=" not in html
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bon\w+=", html)
    links = re.findall(r'(?:src|href)="([^"#]+)"', html)
    assert {link.removeprefix("page/") for link in links} <= set(FILES)
    for name, path in FILES.items():
        text = path.read_text()
        assert not re.search(r"https?://(?!www\.w3\.org)", text), name
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
        for other in re.findall(r'(?:from|import\()\s*"([^"]+)"', text):
            assert other.removeprefix("./") in FILES, (name, other)


def test_files_are_sent_once_and_nothing_else_is(world: World) -> None:
    stranger = world.stranger()
    first = stranger.get("/page/app.js")
    assert first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "no-cache"
    again = stranger.get("/page/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert stranger.get("/").headers["content-type"].startswith("text/html")
    for name in ("__init__.py", "index.html", "../app.py", "report.css", ""):
        assert stranger.get(f"/page/{name}").status_code == 401, name

"""The page: its one document, and a route for each of its files. Torch-free."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from kaiffin.serve.page import FILES, INDEX, TYPES
from kaiffin.serve.routes.common import sends

router = APIRouter(tags=["page"])


def sent(path: Path, request: Request, status: int = 200) -> Response:
    """The file, or the word that the browser has it already."""
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"cache-control": "no-cache", "etag": tag}
    if status == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, status, headers, TYPES[path.suffix])


def index(request: Request, status: int = 200) -> Response:
    """The document."""
    return sent(INDEX, request, status)


def _route(path: Path) -> Callable[[Request], Response]:
    def file(request: Request) -> Response:
        """A part of the page."""
        return sent(path, request)

    return file


for _name, _path in FILES.items():
    router.add_api_route(
        f"/page/{_name}", _route(_path), methods=["GET"], response_class=Response,
        responses=sends(TYPES[_path.suffix].partition(";")[0]), name=_name,
        operation_id=f"page_{_name.replace('.', '_')}",
    )  # fmt: skip

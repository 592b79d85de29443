"""Coming in and going: /api/v1/session, and the address that `kaiffin serve` prints. Torch-free."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, Field
from starlette.datastructures import Headers

from kaiffin.serve.errors import Refused
from kaiffin.serve.keys import SESSION_S, Caller, Quotas, Scope
from kaiffin.serve.requests import Body
from kaiffin.serve.routes.common import FAILURES, sends
from kaiffin.serve.routes.page import index
from kaiffin.serve.security import is_https, prefix_of
from kaiffin.serve.service import Reader, Served, Service

router = APIRouter(tags=["session"])


class Me(BaseModel):
    """Who is calling, and what for."""

    user: str
    scopes: list[Scope]
    quotas: Quotas


class Login(Body):
    """A key, for a session in a browser."""

    key: str = Field(min_length=1, max_length=200)


def _me(caller: Caller) -> Me:
    return Me(user=caller.user, scopes=sorted(caller.scopes), quotas=caller.quotas)


PAGE = sends("text/html")
ASKS_FOR_A_KEY = FAILURES[401] | PAGE[200]  # the same page, where the token is none


@router.get("/", response_class=Response, responses={**PAGE, 401: ASKS_FOR_A_KEY})
def home(
    request: Request, service: Served,
    token: Annotated[str | None, Query(max_length=200, description="the one-time token")] = None,
) -> Response:  # fmt: skip
    """The page; with the one-time token of the start, a session."""
    if token is None:
        return index(request)
    secret = service.keys.session_of_token(token)
    if secret is None:
        return index(request, 401)  # which asks for a key
    return _opened(RedirectResponse("./", 303), request, service, secret)


@router.post("/api/v1/session")
def log_in(body: Login, request: Request, response: Response, service: Served) -> Me:
    """Begins a browser's session; it ends with its key."""
    secret = service.keys.session_of_key(body.key)
    caller = service.keys.caller_of_session(secret) if secret else None
    if secret is None or caller is None:
        raise Refused(401, "this key opens nothing.", "Look for a letter too few, or a new key.")
    _opened(response, request, service, secret)
    return _me(caller)


@router.get("/api/v1/session")
async def who_am_i(caller: Reader) -> Me:
    """Who is calling."""
    return _me(caller)


@router.delete("/api/v1/session", status_code=204)
def log_out(caller: Reader, request: Request, response: Response, service: Served) -> None:
    """Ends the browser's session."""
    service.keys.end_session(request.cookies.get(service.cookie, ""))
    response.delete_cookie(service.cookie, path=_path(request.headers))


def _opened(response: Response, request: Request, service: Service, secret: str) -> Response:
    response.set_cookie(
        service.cookie, secret, max_age=int(SESSION_S), path=_path(request.headers), httponly=True,
        samesite="strict", secure=is_https(request.headers),
    )  # fmt: skip
    return response


def _path(headers: Headers) -> str:
    return prefix_of(headers) or "/"

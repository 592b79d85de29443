"""What went wrong, in one shape: a problem, a way out, a code; below /v1 in OpenAI's. Torch-free.

    {"error": {"problem": "...", "way_out": "...", "code": "not_found", "field": "config.train.lr"}}

No traceback, no path and nothing secret is ever in it.
"""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from kaiffin.foundation.errors import RunError, SettingError, UserError
from kaiffin.foundation.settings import reason_of
from kaiffin.serve.doors import flagless
from kaiffin.serve.jobs import Conflict, NotFound

log = logging.getLogger("kaiffin.serve")

CODES = {
    400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found",
    405: "method_not_allowed", 409: "conflict", 411: "length_required", 413: "too_large",
    415: "unsupported_type", 421: "unknown_host", 429: "quota", 500: "internal",
    503: "busy", 507: "disk_full",
}  # fmt: skip
# What stands before the last part of an absolute path; a caller is told names only.
FOLDERS = re.compile(r"(?<![\w./:<-])(?:[A-Za-z]:)?[\\/](?:[^\s\\/:'\"]+[\\/])+")


class Refused(UserError):
    """A request that is not done. status: HTTP's; field: of the body, where one is to blame;
    headers: of the answer."""

    def __init__(
        self, status: int, problem: str, way_out: str = "", *, field: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(problem, way_out)
        self.status, self.field, self.headers = status, field, dict(headers or {})


def over_quota(problem: str, way_out: str, seconds: float | None = None) -> Refused:
    """429, which clients are told not to repeat, or when."""
    again = {"x-should-retry": "false"}
    if seconds is not None:
        again = {
            "retry-after": f"{max(1, round(seconds))}", "retry-after-ms": f"{seconds * 1000:.0f}"
        }  # fmt: skip
    return Refused(429, problem, way_out, headers=again)


class Fault(BaseModel):
    """What went wrong, and the way out."""

    problem: str
    way_out: str
    code: str
    field: str | None = None


class Failure(BaseModel):
    """Every answer that is no success."""

    error: Fault


class ForeignFault(BaseModel):
    """The same as OpenAI has it."""

    message: str
    type: str
    param: str | None
    code: str


class ForeignFailure(BaseModel):
    """Every answer below /v1 that is no success."""

    error: ForeignFault


def pathless(text: str) -> str:
    """`text` with the last part of each absolute path in place of the whole."""
    return FOLDERS.sub("", text)


def without_paths(data: Any) -> Any:
    """The same plain data, every text in it `pathless`."""
    if isinstance(data, str):
        return pathless(data)
    if isinstance(data, dict):
        return {name: without_paths(value) for name, value in data.items()}
    return [without_paths(value) for value in data] if isinstance(data, list | tuple) else data


def refused(error: Exception) -> Refused:
    """Any error as what a caller is told."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, RequestValidationError | ValidationError):
        return _invalid(error.errors())
    if isinstance(error, HTTPException):
        return _http(error)
    if isinstance(error, SettingError):
        return Refused(400, error.message, error.fix, field=f"config.{error.field}")
    if isinstance(error, UserError):
        return Refused(_status(error), error.message, error.fix)
    if isinstance(error, sqlite3.OperationalError | OSError):
        log.error("the data folder cannot be used: %s", error)
        way = "Ask whoever runs the service: its disk is full or not there."
        return Refused(507, "the service cannot write at the moment.", way)
    log.error("an answer failed", exc_info=error)
    return Refused(500, "something went wrong in the service.", "Its log says what.")


def _status(error: UserError) -> int:
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, Conflict):
        return 409
    return 507 if isinstance(error, RunError) and "disk" in error.fix else 400


def _invalid(errors: Any) -> Refused:
    """The first of pydantic's problems, in our words."""
    first = errors[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    field = ".".join(where)
    if first["type"] == "json_invalid":
        return Refused(400, "the body is no JSON.", "Send one JSON object.")
    reason = "is not known here" if first["type"] == "extra_forbidden" else reason_of(first)
    reason = reason[:200].rstrip(".")
    return Refused(400, f"{field}: {reason}." if field else f"{reason}.",
                   "GET api/v1/schema shows what is taken.", field=field)  # fmt: skip


def _http(error: HTTPException) -> Refused:
    words = {
        404: ("there is nothing here.", "GET api/v1/openapi.json lists what there is."),
        405: ("this method is not for that address.", "GET api/v1/openapi.json lists them."),
    }
    problem, way = words.get(error.status_code, (f"{error.detail}".rstrip(".") + ".", ""))
    return Refused(error.status_code, problem, way, headers=error.headers)


def answer(error: Exception, path: str) -> JSONResponse:
    """The response. path: of the request, which decides the shape."""
    said = refused(error)
    code = CODES.get(said.status, "error")
    problem, way = flagless(pathless(said.message)), flagless(pathless(said.fix))
    if path.startswith("/v1/"):
        kind = "invalid_request_error" if said.status < 500 else "server_error"
        foreign = ForeignFault(
            message=f"{problem} {way}".strip(), type=kind, param=said.field or None, code=code
        )
        headers = {"x-should-retry": "false"} if said.status == 409 else {}
        return JSONResponse(
            {"error": foreign.model_dump()}, said.status, {**headers, **said.headers}
        )
    fault = Fault(problem=problem, way_out=way, code=code, field=said.field or None)
    body = {"error": fault.model_dump(exclude_none=True)}
    if path.startswith("/sdapi/"):
        body["detail"] = problem  # where A1111's clients look
    return JSONResponse(body, said.status, said.headers)


def install(app: FastAPI) -> None:
    """Every error of the application's routes becomes such an answer."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return answer(error, request.url.path)

    ours = (RequestValidationError, ValidationError, HTTPException, UserError)
    for kind in (*ours, sqlite3.Error, OSError, Exception):
        app.add_exception_handler(kind, handle)

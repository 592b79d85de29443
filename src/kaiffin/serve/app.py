"""The application: routes behind the gate, one shape of errors, one description. Torch-free."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp

from kaiffin import __version__
from kaiffin.serve import a1111 as shim
from kaiffin.serve import errors, openai
from kaiffin.serve.routes import (
    about,
    adapters,
    datasets,
    events,
    images,
    jobs,
    keys,
    known,
    page,
    pieces,
    plans,
    recipes,
    reports,
    runs,
    session,
    uploads,
    votes,
)  # fmt: skip
from kaiffin.serve.routes.common import FAILURES
from kaiffin.serve.security import Gate, Rules
from kaiffin.serve.service import Service

ROUTERS = (
    session.router, keys.router, datasets.router, jobs.router, runs.router, adapters.router,
    images.router, events.router, plans.router, page.router, about.router, openai.router,
    known.router, pieces.router, recipes.router, reports.router, uploads.router,
    votes.router,
)  # fmt: skip


def application(service: Service, *, a1111: bool = False) -> FastAPI:
    """All routes; nothing keeps strangers out of it but the `gate` around it.

    a1111: with those of A1111's API, too.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.decoder.close()

    app = FastAPI(
        title="Kaiffin", version=__version__, docs_url=None, redoc_url=None, openapi_url=None,
        lifespan=lifespan, responses=FAILURES, redirect_slashes=False,
    )  # fmt: skip
    app.state.service = service
    for router in (*ROUTERS, shim.router) if a1111 else ROUTERS:
        app.include_router(router)
    errors.install(app)
    app.openapi = lambda: _described(app)
    return app


def gate(app: ASGIApp, rules: Rules, service: Service) -> Gate:
    """The application as strangers meet it."""
    return Gate(app, rules, service.keys)


def _described(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, but for two things: what cannot be taken is 400 here, and failures are
    JSON, whatever a success is."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for methods in found["paths"].values():
            for operation in methods.values():
                operation["responses"].pop("422", None)
                for status, response in operation["responses"].items():
                    if status >= "400":
                        response["content"] = {
                            "application/json" if "$ref" in content["schema"] else kind: content
                            for kind, content in response["content"].items()
                        }
        app.openapi_schema = found
    return app.openapi_schema

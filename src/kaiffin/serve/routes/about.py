"""What the service is: schema, bases, devices, health, metrics, its own description. Torch-free."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from pydantic import BaseModel

from kaiffin import __version__
from kaiffin.serve.requests import KINDS, Settings
from kaiffin.serve.routes.common import sends
from kaiffin.serve.service import Admin, Reader, Served

router = APIRouter(prefix="/api/v1", tags=["about"])


class Health(BaseModel):
    ok: bool
    version: str


class Base(BaseModel):
    name: str


@router.get("/health")
async def health() -> Health:
    """For whoever watches: it answers."""
    return Health(ok=True, version=__version__)


@router.get("/schema")
def schema(caller: Reader) -> dict[str, Any]:
    """JSON schemas: of a config, and of what each kind of job is asked."""
    kinds = {kind: asked.model_json_schema() for kind, asked in KINDS.items()}
    return {"config": Settings.model_json_schema(), "kinds": kinds}


@router.get("/openapi.json")
def openapi(caller: Reader, request: Request) -> dict[str, Any]:
    """Every address, what it takes and what it answers."""
    return request.app.openapi()


@router.get("/bases")
def bases(caller: Reader, service: Served) -> list[Base]:
    """Those that may be named."""
    return [Base(name=name) for name in service.bases]


@router.get("/devices")
def devices(caller: Reader, service: Served) -> list[dict[str, Any]]:
    """What computes, and what it does now."""
    return service.devices()


@router.get("/metrics", response_class=Response, responses=sends("text/plain"))
def metrics(caller: Admin, service: Served) -> Response:
    """For Prometheus: jobs by kind and state, pictures, time since the start."""
    registry, db = CollectorRegistry(), service.studio.db
    jobs = Gauge("kaiffin_jobs", "jobs in the table", ["kind", "state"], registry=registry)
    for row in db.rows("SELECT kind, state, COUNT(*) AS count FROM jobs GROUP BY kind, state"):
        jobs.labels(row["kind"], row["state"]).set(row["count"])
    pictures = Gauge("kaiffin_images", "pictures that are kept", registry=registry)
    pictures.set(db.rows("SELECT COUNT(*) AS count FROM images")[0]["count"])
    up = Gauge("kaiffin_up_seconds", "since the start of the service", registry=registry)
    up.set(time.time() - service.started)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

"""/api/v1/plans: what a training would cost, before it is asked for. Torch-free."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from kaiffin.serve.asking import check
from kaiffin.serve.errors import without_paths
from kaiffin.serve.planning import placed
from kaiffin.serve.requests import Train
from kaiffin.serve.service import Served, Trainer

router = APIRouter(prefix="/api/v1", tags=["plans"])


class Help(BaseModel):
    """Settings that need less memory (bytes, with those before it), and what they cost."""

    settings: str
    price: str
    memory: int


class Plan(BaseModel):
    """seconds: roughly, on this machine; memory, room: bytes at the peak, and what there is."""

    steps: int
    epochs: float
    trainable: int
    layers: int
    seconds: float
    memory: int
    room: int
    fits: bool
    derived: list[str]
    helps: list[Help]


@router.post("/plans")
async def plan(body: Train, caller: Trainer, service: Served, asked: Request) -> Plan:
    """The dry run of a training."""
    request = await run_in_threadpool(body.frozen)
    await run_in_threadpool(check, service, caller.owner, request)
    config = placed(service.studio, request)
    found = await service.planner.plan(config, asked.is_disconnected)
    return Plan.model_validate(without_paths(found))

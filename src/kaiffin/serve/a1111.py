"""/sdapi/v1, as much of A1111's API as Open WebUI and SillyTavern use; off unless it is asked for.

HTTP Basic, whose password is the key; options are kept for each key; what is stopped and how far
something is concern the caller's own jobs alone. Torch-free.
"""

from __future__ import annotations

import base64
import io
import json
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, UploadFile
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from kaiffin.foundation.imaging import SampleConfig
from kaiffin.foundation.samplers import SAMPLERS, SCHEDULES, elsewhere
from kaiffin.foundation.schema import SEEDS
from kaiffin.serve import asking, openai
from kaiffin.serve.decoding import Kind
from kaiffin.serve.errors import Refused
from kaiffin.serve.keys import Caller
from kaiffin.serve.named import known_names
from kaiffin.serve.requests import LONGEST, PICTURES, SIDE, Generate, Sampling
from kaiffin.serve.service import Painter, Reader, Served, Service

router = APIRouter(prefix="/sdapi/v1", tags=["a1111"])
MODEL = "sd_model_checkpoint"
# Options that clients set and read back; the rest of A1111's hundreds are not known here.
OPTIONS: dict[str, Any] = {
    MODEL: "", "sd_vae": "Automatic", "CLIP_stop_at_last_layers": 1, "samples_format": "png",
}  # fmt: skip
CLIP_SKIPS, SKIPPED = 12, 4  # where A1111's slider ends, of which 1 is none; where ours does


class Txt2Img(BaseModel):
    """What clients send; unknown names are A1111's own, and pass."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    prompt: Annotated[str, Field(min_length=1, max_length=LONGEST)]
    negative_prompt: Annotated[str, Field(max_length=LONGEST)] | None = ""
    steps: Annotated[int, Field(ge=1, le=150)] | None = None
    cfg_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    width: Annotated[int, Field(ge=8, le=SIDE)] | None = None
    height: Annotated[int, Field(ge=8, le=SIDE)] | None = None
    seed: Annotated[int, Field(ge=-1, lt=SEEDS - PICTURES)] | None = -1
    batch_size: Annotated[int, Field(ge=1, le=PICTURES)] | None = 1
    n_iter: Annotated[int, Field(ge=1, le=PICTURES)] | None = 1
    sampler_name: Annotated[str, Field(max_length=100)] | None = None
    scheduler: Annotated[str, Field(max_length=100)] | None = None
    clip_skip: Annotated[int, Field(ge=1, le=CLIP_SKIPS)] | None = None
    subseed: Annotated[int, Field(ge=-1, lt=SEEDS - PICTURES)] | None = -1
    subseed_strength: Annotated[float, Field(ge=0, le=1)] | None = 0
    enable_hr: bool | None = False
    hr_scale: Annotated[float, Field(ge=0, le=100)] | None = 2
    denoising_strength: Annotated[float, Field(ge=0, le=1)] | None = None
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    override_settings: dict[str, Any] | None = None


class Img2Img(Txt2Img):
    """The same over a picture, in base64; a mask is white where it is painted over."""

    init_images: Annotated[list[str], Field(min_length=1, max_length=1)]
    denoising_strength: Annotated[float, Field(ge=0, le=1)] | None = 0.75
    mask: str | None = None
    inpainting_mask_invert: bool | Literal[0, 1] | None = 0
    include_init_images: bool | None = False
    mask_blur: Annotated[int, Field(ge=0, le=1024)] | None = None


# --- what there is ------------------------------------------------------------------------------


@router.get("/sd-models")
def sd_models(caller: Reader, service: Served) -> list[dict[str, str]]:
    """Bases, runs and adapters."""
    found = openai.list_models(service, caller.owner)
    return [{"title": _title(one), "model_name": _title(one), "filename": one.id} for one in found]


def _title(model: openai.Model) -> str:
    return model.name if model.name == model.id else f"{model.name} [{model.id}]"


@router.get("/samplers")
def samplers(caller: Reader) -> list[dict[str, Any]]:
    """By A1111's names; the default comes first, where clients choose it."""
    found = sorted(SAMPLERS.items(), key=lambda one: one[0] != SampleConfig().sampler)
    return [{"name": one.a1111, "aliases": [name], "options": {}} for name, one in found]


@router.get("/schedulers")
def schedulers(caller: Reader) -> list[dict[str, Any]]:
    """By A1111's names."""
    return [{"name": name, "label": one.a1111, "aliases": []} for name, one in SCHEDULES.items()]


@router.get("/upscalers")
def upscalers(caller: Reader) -> list[dict[str, Any]]:
    """Pictures are not enlarged here."""
    return [{"name": "None", "model_name": None, "model_path": None, "scale": 4}]


@router.get("/latent-upscale-modes")
def latent_upscale_modes(caller: Reader) -> list[dict[str, str]]:
    """Nor are latents."""
    return []


@router.get("/sd-vae")
def sd_vae(caller: Reader) -> list[dict[str, str]]:
    """Each base has its own."""
    return []


@router.get("/loras")
def loras(caller: Reader, service: Served) -> list[dict[str, Any]]:
    """What prompts of the caller may name, as `<lora:NAME:0.8>`: by id where several are called so;
    a path is nobody's business."""
    ids: dict[str, list[str]] = {}
    for name, found in known_names(service, caller.owner).items():
        for id in found if len(found) == 1 else ():
            ids.setdefault(id, []).append(name)
    facts = {one.id: one.facts for one in service.adapters.names(caller.owner)}
    return [
        {"name": names[0], "alias": names[0], "path": f"{id}.safetensors",
         "metadata": facts.get(id, {})}
        for id, names in ids.items()
    ]  # fmt: skip


@router.post("/refresh-loras")
@router.post("/refresh-checkpoints")
def refresh(caller: Reader) -> None:
    """They are always fresh."""


# --- options ------------------------------------------------------------------------------------


@router.get("/options")
def options(caller: Reader, service: Served) -> dict[str, Any]:
    """Those that are known, as this key has set them."""
    query = "SELECT name, value FROM options WHERE key = ?"
    rows = service.studio.db.rows(query, (_whose(caller),))
    kept = {row["name"]: json.loads(row["value"]) for row in rows}
    return {**OPTIONS, MODEL: next(iter(service.bases)), **kept}


@router.post("/options")
def set_options(body: Annotated[dict[str, Any], Body()], caller: Painter, service: Served) -> None:
    """Clients send all that they have read back; what is not known here passes."""
    given = {name: value for name, value in body.items() if name in OPTIONS}
    for name, value in given.items():
        if not isinstance(value, str | int) or len(str(value)) > 200:
            raise Refused(400, f"{name}: is no word and no number.", field=name)
    if given.get(MODEL):
        openai.source_of(service, caller.owner, _id(str(given[MODEL])))
    with service.studio.db.transaction() as writer:
        for name, value in given.items():
            writer.execute(
                "INSERT INTO options (key, name, value) VALUES (?, ?, ?)"
                " ON CONFLICT (key, name) DO UPDATE SET value = excluded.value",
                (_whose(caller), name, json.dumps(value)),
            )


def _whose(caller: Caller) -> str:
    return caller.key or caller.owner


def _id(title: str) -> str:
    """`name [id]` as the id, a base as it is called."""
    return title.rpartition("[")[2].removesuffix("]") if title.endswith("]") else title


# --- pictures -----------------------------------------------------------------------------------


@router.post("/txt2img")
async def txt2img(body: Txt2Img, caller: Painter, service: Served) -> dict[str, Any]:
    """Pictures in base64, as PNG."""
    return await _painted(service, caller, body, _varied(body) | _larger(body))


@router.post("/img2img")
async def img2img(body: Img2Img, caller: Painter, service: Served) -> dict[str, Any]:
    """A picture painted over, or what is white in its mask."""
    kind: Kind = "inverted" if body.inpainting_mask_invert else "mask"
    start = _varied(body) | {
        "image": await _sent(service, caller, body.init_images[0]),
        "mask": body.mask and await _sent(service, caller, body.mask, kind),
        "strength": body.denoising_strength, "feather": body.mask_blur if body.mask else None,
    }  # fmt: skip
    answer = await _painted(service, caller, body, start)
    said = answer["parameters"] | {"init_images": None, "mask": None}
    return answer if body.include_init_images else answer | {"parameters": said}


def _varied(body: Txt2Img) -> dict[str, Any]:
    if not body.subseed_strength:
        return {}
    seed = secrets.randbelow(2**32) if body.subseed in (None, -1) else body.subseed
    return {"vary": body.subseed_strength, "vary_seed": seed}


def _larger(body: Txt2Img) -> dict[str, Any]:
    """Hires fix."""
    if not body.enable_hr:
        return {}
    return {"upscale": body.hr_scale or 2, "second": body.denoising_strength}


async def _sent(service: Service, caller: Caller, text: str, kind: Kind = "photo") -> str:
    """The id of a picture in base64, also as a data: address."""
    try:
        data = base64.b64decode(text.rpartition(",")[2], validate=True)
    except ValueError:
        raise Refused(400, "a picture is no base64.", field="init_images") from None
    file = UploadFile(io.BytesIO(data), size=len(data))
    return await openai.uploaded(service, caller, file, kind)


async def _painted(
    service: Service, caller: Caller, body: Txt2Img, start: Mapping[str, Any]
) -> dict[str, Any]:
    set_here = await run_in_threadpool(options, caller, service)
    asked = await run_in_threadpool(_translated, service, caller, body, set_here, start)
    job = await run_in_threadpool(asking.submit, service, caller, "generate", asked)
    done = await openai.finished(service, caller, job)
    rows = openai.pictures(service, done)
    images = [
        await run_in_threadpool(openai.encoded, service.studio.image(row["id"])) for row in rows
    ]
    seeds = [row["seed"] for row in rows]
    info = {
        "prompt": body.prompt, "negative_prompt": body.negative_prompt, "all_seeds": seeds,
        "seed": seeds[0] if seeds else -1, "job": done.id,
    }  # fmt: skip
    return {"images": images, "parameters": body.model_dump(), "info": json.dumps(info)}


def _translated(
    service: Service, caller: Caller, body: Txt2Img, set_here: Mapping[str, Any],
    start: Mapping[str, Any],
) -> Generate:  # fmt: skip
    model = (body.override_settings or {}).get(MODEL) or set_here[MODEL]
    sampler, schedule = elsewhere(body.sampler_name or "", body.scheduler or "")
    sample: dict[str, Any] = {
        "steps": body.steps, "guidance": body.cfg_scale, "negative": body.negative_prompt,
        "sampler": sampler, "schedule": schedule, "eta": body.eta,
        "clip_skip": None if body.clip_skip is None else min(body.clip_skip - 1, SKIPPED),
    }  # fmt: skip
    if body.width and body.height:
        sample["size"] = [_by_8(body.width), _by_8(body.height)]
    return Generate(
        prompts=(body.prompt,), count=(body.batch_size or 1) * (body.n_iter or 1),
        seed=-1 if body.seed is None else body.seed,
        sample=Sampling.model_validate({k: v for k, v in sample.items() if v is not None}),
        start=openai.way_in(start),
        **openai.source_of(service, caller.owner, _id(str(model))),
    )  # fmt: skip


def _by_8(side: int) -> int:
    return max(8, round(side / 8) * 8)


@router.get("/progress")
def progress(caller: Reader, service: Served, skip_current_image: bool = False) -> dict[str, Any]:
    """Of the caller's own pictures: 0 and no jobs once all are done."""
    live = [
        job for state in ("running", "queued")
        for job in service.studio.jobs.list(caller.owner, state=state, kind="generate")
    ]  # fmt: skip
    at: Mapping[str, Any] = live[0].progress if live else {"done": 0, "total": None}
    share = at["done"] / at["total"] if at["total"] else 0.01 if live else 0.0
    state = {
        "job_count": len(live), "job": live[0].id if live else "", "sampling_step": at["done"],
        "sampling_steps": at["total"] or 0, "interrupted": False, "skipped": False,
    }  # fmt: skip
    return {"progress": min(share, 0.99) if live else 0.0, "eta_relative": 0.0, "state": state,
            "current_image": None, "textinfo": None}  # fmt: skip


@router.post("/interrupt")
@router.post("/skip")
def interrupt(caller: Painter, service: Served) -> None:
    """Cancels the caller's own pictures."""
    jobs = service.studio.jobs
    for state in ("queued", "running"):
        for job in jobs.list(caller.owner, state=state, kind="generate", limit=1000):
            jobs.cancel(caller.owner, job.id)

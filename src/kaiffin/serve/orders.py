"""From the frozen request of pictures to the order that `kaiffin generate` understands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaiffin.foundation.prompts import TAG
from kaiffin.foundation.run import Run
from kaiffin.pictures.named import Library
from kaiffin.pictures.request import Request
from kaiffin.pictures.start import File, Start
from kaiffin.serve.studio import Studio, begun_from
from kaiffin.serve.work import Task, picture_id
from kaiffin.stories.generate import Order


def order_of(task: Task) -> tuple[Order, dict[str, Any]]:
    """What pictures a request asks for, and its changes of settings."""
    asked, studio = task.request, task.studio
    worn = [f"{studio.adapter(one['adapter'])}:{one['weights']}" for one in asked["adapters"]]
    checkpoint = asked.get("checkpoint")
    order = Order(
        source_of(task), asked["prompts"], count=asked["count"], seed=asked["seed"], adapters=worn,
        checkpoint=None if checkpoint is None else str(checkpoint), best=asked.get("best"),
        out=task.made / "pictures", strength=asked.get("strength", 1.0),
        embeddings=[studio.adapter(id) for id in asked.get("embeddings") or ()],
        library=Library(given={name: _file(studio, id) for name, id in _names(asked)}),
        regions=asked.get("regions") or (),
        start=start_of(task),
    )  # fmt: skip
    sample = asked.get("sample") or {}
    return order, {f"sample.{name}": plain(value) for name, value in sample.items()}


def _names(asked: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list((asked.get("names") or {}).items())


def _file(studio: Studio, id: str) -> Path:
    """Of an adapter, or of a run."""
    run = studio.run(id)
    return Run.open(run).adapter_path if Run.is_at(run) else studio.adapter(id)


def start_of(task: Task) -> Start | None:
    """Another way in than noise, with the pictures that were kept for it."""
    if not task.request.get("start"):
        return None
    files = {name: File.at(task.made / f"{name}.png") for name, _ in begun_from(task.request)}
    given = {name: value for name, value in task.request["start"].items() if value is not None}
    return Start.of("start.", **(given | files))


def source_of(task: Task) -> str:
    """The run or the base that pictures are made with."""
    run = task.request.get("run")
    return str(task.studio.run(run)) if run else task.house.base(task.request["base"])


def plain(value: Any) -> Any:
    """A value of JSON as settings have it."""
    return tuple(value) if isinstance(value, list) else value


def given_away(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A picture's recipe for its owner: files by their names, whatever folder they are in."""
    named: dict[str, Any] = {
        field: [{**one, "path": Path(one["path"]).name} for one in recipe[field]]
        for field in ("adapters", "embeddings")
        if field in recipe
    }
    start = {
        name: {**value, "path": value["name"]} if name in ("image", "mask") else value
        for name, value in recipe.get("request", {}).get("start", {}).items()
    }
    if start:
        named["request"] = {**recipe["request"], "start": start}
    return {**recipe, **named}


def picture_facts(task: Task, number: int, request: Request) -> dict[str, Any]:
    """What the service knows of a picture without opening it. Its prompt has the tags again that
    were read, so that it can be asked for once more."""
    typed = task.request["prompts"][number // task.request["count"]]
    tags = [one[0] for one in TAG.finditer(typed) if one[0] not in request.prompt]
    return {
        "id": picture_id(task.id, number), "number": number,
        "prompt": " ".join([request.prompt, *tags]), "seed": request.seed,
        "width": request.size[0], "height": request.size[1],
    }  # fmt: skip

"""What a caller's prompts call by name: the caller's own adapters, embeddings and runs. Torch-free.

A name is compared with the names and ids of what is the caller's, and never used as a path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kaiffin.foundation.errors import nearest
from kaiffin.foundation.imaging import SampleConfig
from kaiffin.foundation.prompts import Tag, in_tag, read_as, said_of
from kaiffin.foundation.text import composed
from kaiffin.serve.adapters import EMBEDDING
from kaiffin.serve.errors import Refused
from kaiffin.serve.service import Service

RUNS = 1000  # of one owner's, the newest


def names_of(service: Service, owner: str, request: Mapping[str, Any]) -> dict[str, str]:
    """Ids by the names that a frozen request's prompts say, those it gives itself among them.

    UserError for a prompt that cannot be meant, a name that is nobody's or more than one's, and an
    adapter that is named twice.
    """
    sample = _sample(service, owner, request)
    prompts = [read_as(composed(text), sample.prompt_syntax) for text in request["prompts"]]
    other = read_as(composed(sample.negative), sample.prompt_syntax)
    if other.tags:
        raise Refused(400, f"<lora:{other.tags[0].name}>: an adapter cannot be named in a negative"
                      " prompt.", "Name it in the prompt.", field="sample.negative")  # fmt: skip
    given = dict(request.get("names") or {})
    if sample.prompt_syntax == "plain":
        return given
    known = known_names(service, owner) if any(one.tags for one in prompts) else {}
    words = _words(service, owner)
    beside = [request.get("run"), *(one["adapter"] for one in request["adapters"])]
    found: dict[str, str] = {}
    for prompt in prompts:
        found |= _ids(prompt.tags, given, known, beside)
    said = said_of([*prompts, other], sample.steps, words.keys() - given.keys())
    return found | {name: _only(name, words) for name in said} | given


def _ids(
    tags: Sequence[Tag], given: Mapping[str, str], known: Mapping[str, Sequence[str]],
    beside: Sequence[str | None],
) -> dict[str, str]:  # fmt: skip
    """By the names of one prompt's tags. beside: what it wears already."""
    found: dict[str, str] = {}
    for tag in tags:
        name = _stem(tag.name)
        id = given.get(name) or _only(name, known)
        if id in (*beside, *found.values()):
            problem = f"<lora:{name}>: is given twice, and its strength would add up."
            raise Refused(400, problem, "Name it once, as strong as you want it.", field="prompts")
        found[name] = id
    return found


def _only(name: str, known: Mapping[str, Sequence[str]]) -> str:
    """The one id of a name."""
    ids = known.get(name, ())
    if len(ids) > 1:
        raise Refused(400, f"{name}: {len(ids)} of yours are called so.",
                      f"Write an id instead: {', '.join(ids[:4])}.", field="prompts")  # fmt: skip
    if not ids:
        way = "Import it first, or leave it out."
        raise Refused(400, f"<lora:{name}>: no adapter and no training of yours is called so.",
                      nearest(name, known, way), field="prompts")  # fmt: skip
    return ids[0]


def known_names(service: Service, owner: str) -> dict[str, list[str]]:
    """Ids of the owner's finished runs and adapters by what tags may call them; a run by its word
    where nothing else is called so."""
    runs = service.studio.jobs.list(owner, kind="train", state="done", limit=RUNS)
    files = [one for one in service.adapters.names(owner) if EMBEDDING not in one.facts]
    called = [(one.request["name"], one.id) for one in runs] + [(one.name, one.id) for one in files]
    named = _by_name([*called, *((id, id) for _, id in called)])
    words = _by_name([(one.request["config"]["subject"]["token"], one.id) for one in runs])
    return named | {word: ids for word, ids in words.items() if word not in named}


def _by_name(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, id in pairs:
        if called := in_tag(_stem(name)):
            found.setdefault(called, []).append(id)
    return found


def _words(service: Service, owner: str) -> dict[str, list[str]]:
    """Ids of the owner's embeddings by their words."""
    words: dict[str, list[str]] = {}
    for one in service.adapters.names(owner):
        if EMBEDDING in one.facts and (name := _stem(one.name)):
            words.setdefault(name, []).append(one.id)
    return words


def _stem(name: str) -> str:
    return name.removesuffix(".safetensors").strip()


def _sample(service: Service, owner: str, request: Mapping[str, Any]) -> SampleConfig:
    """As the pictures will be made: what is not asked for is as in the run."""
    before: Mapping[str, Any] = {}
    if run := request.get("run"):
        before = service.studio.jobs.get(owner, run).request["config"].get("sample") or {}
    return SampleConfig.model_validate({**before, **(request.get("sample") or {})})

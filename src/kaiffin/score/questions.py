"""The evaluation of adapters: which prompts, which seeds, and their pictures, kept by content.

Pictures lie in a run's evaluation/<adapter>/<request>.png: what exists is not made again, whatever
list of prompts or number of seeds asked for it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from kaiffin.foundation.config import Config, Strict
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.settings import read_yaml
from kaiffin.foundation.subject import fill, plain_prompt
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.pictures.request import Request, request, with_size
from kaiffin.score.catalogue import SUBJECT
from kaiffin.score.choice import Prompt

BUILT_IN = Path(__file__).parent / "prompts"


class PromptEntry(Strict):
    """A prompt, and what the judge is asked instead where that differs."""

    text: str = Field(min_length=1)
    plain: str | None = None


class PromptFile(Strict):
    """A list of prompts; {token} and {noun} are set."""

    scenes: tuple[PromptEntry | str, ...] = ()
    actions: tuple[PromptEntry | str, ...] = ()
    styles: tuple[PromptEntry | str, ...] = ()
    class_: tuple[PromptEntry | str, ...] = Field((), alias="class")
    unrelated: tuple[PromptEntry | str, ...] = ()


@dataclass(frozen=True)
class PromptSet:
    """Every prompt on every seed, prompts outside, seeds inside."""

    prompts: tuple[Prompt, ...]
    seeds: tuple[int, ...]
    requests: tuple[Request, ...]

    @property
    def of(self) -> list[int]:
        """The prompt's number for each picture."""
        return [i for i in range(len(self.prompts)) for _ in self.seeds]

    def with_seeds(self, count: int) -> PromptSet:
        """The same prompts on the first `count` seeds."""
        kept = self.seeds[:count]
        requests = tuple(r for r in self.requests if r.seed in kept)
        return PromptSet(self.prompts, kept, requests)

    def first(self, count: int) -> PromptSet:
        """The first `count` pictures, as a sample of what one costs."""
        return PromptSet(self.prompts, self.seeds, self.requests[:count])

    @property
    def sample(self) -> dict[str, Any]:
        """How the pictures are made: what is the same in all of them."""
        return {k: v for k, v in asdict(self.requests[0]).items() if k not in ("prompt", "seed")}


def ask(config: Config, family: ModelFamily, captions: Sequence[str], seeds: int) -> PromptSet:
    """The prompts of `score.prompts` or those built in, on `seeds` seeds.

    Of the built-in ones those are left out that name a place as the training's captions do: what is
    to be judged is what the photos did not show. Raises ConfigError for a list that is no list or
    has no picture of the subject.
    """
    own = config.score.prompts
    small = config.base.name in EMBEDDED
    path = own or BUILT_IN / f"{'miniature' if small else config.subject.kind}.yaml"
    prompts = _read(path, config)
    if own is None:
        prompts = [p for p in prompts if not _is_taught(p, config, captions)] or prompts
    if not any(p.section in SUBJECT for p in prompts):
        raise ConfigError(f"{path}: shows the subject nowhere.", "Give it scenes: with {token}.")
    sample = with_size(config.sample, family)
    numbers = tuple(range(1, seeds + 1))
    requests = [request(p.text, seed, sample) for p in prompts for seed in numbers]
    return PromptSet(tuple(prompts), numbers, tuple(requests))


def _read(path: Path, config: Config) -> list[Prompt]:
    try:
        file = PromptFile.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path}: {where}: {first['msg']}.",
            "It holds lists of prompts: scenes, actions, styles, class, unrelated.",
        ) from None
    found = []
    for section in (*SUBJECT, "class", "unrelated"):
        for entry in getattr(file, "class_" if section == "class" else section):
            given = PromptEntry(text=entry) if isinstance(entry, str) else entry
            is_of_class = "{noun}" in given.text and "{token}" not in given.text
            if is_of_class and not config.subject.noun:
                continue  # without a noun there is no class to ask for
            text = fill(given.text, config.subject)
            plain = given.plain or plain_prompt(text, config.subject)
            found.append(Prompt(text, plain, section))
    return found


def _is_taught(prompt: Prompt, config: Config, captions: Sequence[str]) -> bool:
    """Whether a caption goes on after the subject's name as the prompt does."""
    _, named, rest = prompt.text.partition(config.subject.phrase)
    return bool(named and rest.strip()) and any(rest.strip() in caption for caption in captions)

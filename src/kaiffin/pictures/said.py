"""A prompt, understood: its words, of whom it is, and the files that it names."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kaiffin.foundation.config import SampleConfig, SubjectConfig
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.prompts import read_as
from kaiffin.foundation.subject import fill, plain_prompt
from kaiffin.foundation.tell import Tell
from kaiffin.foundation.text import composed, word_pattern
from kaiffin.foundation.whereabouts import content_sha256
from kaiffin.pictures.make import Embedding, WeightedAdapter
from kaiffin.pictures.named import Library
from kaiffin.pictures.regions import Region
from kaiffin.pictures.source import subjects_known


@dataclass(frozen=True)
class Said:
    """text: without tags; subjects: whom it names of those that are known, or the first of these;
    adapters, embeddings: that it names; regions: its parts, if any."""

    text: str
    subjects: tuple[SubjectConfig, ...]
    embeddings: tuple[Embedding, ...] = ()
    adapters: tuple[WeightedAdapter, ...] = ()
    regions: tuple[Region, ...] = ()

    @property
    def plain(self) -> str:
        """As a judge understands it."""
        return functools.reduce(plain_prompt, self.subjects, self.text)

    @property
    def told(self) -> tuple[str, ...]:
        """What the base is told: the texts of its regions, or its own."""
        return tuple(one.prompt for one in self.regions) or (self.text,)


@dataclass(frozen=True)
class Reader:
    """How the prompts of one order are understood.

    library: what they may name, None for nothing; subjects: of the run, none where a base is drawn
    with; worn: the adapters of all of them.
    """

    sample: SampleConfig
    library: Library | None
    subjects: tuple[SubjectConfig, ...]
    worn: Sequence[Path]
    tell: Tell

    def read(self, prompt: str, embeddings: Sequence[Path] = ()) -> Said:
        """Tags name adapters first, since {token} may be of one of them; of several subjects it is
        the first. embeddings: that are there whether or not it names them."""
        syntax, steps = self.sample.prompt_syntax, self.sample.steps
        tags = read_as(composed(prompt), syntax).tags
        own = self.library.adapters(tags) if self.library else ()
        worn = [*self.worn, *(one.path for one in own)]
        known = self.subjects or subjects_known(prompt, worn, self.tell) or (SubjectConfig(),)
        for one in own:
            self.tell.note(f"note: the prompt's adapter {one.name} is {one.path}, at {one.weights}")
        if own:
            refuse_twice(worn)
        text = fill(prompt, known[0])
        named = tuple(one for one in known if word_pattern(one.token).search(text)) or known[:1]
        if self.library is None or syntax == "plain":
            return Said(text, named)
        both = read_as(text, syntax), read_as(self.sample.negative, syntax)
        given = {content_sha256(path) for path in embeddings}
        found = self.library.embeddings(both, steps)
        words = tuple(one for one in found if content_sha256(one.path) not in given)
        return Said(both[0].bare, named, words, own)


def refuse_twice(worn: Sequence[Path]) -> None:
    """AdapterError where two are the same, wherever they were named."""
    known: dict[str, Path] = {}
    for path in worn if len(worn) > 1 else ():
        content = content_sha256(path)
        if content and content in known:
            both = f"{known[content]} and {path} are the same adapter"
            twice = f"{path} is named twice" if path == known[content] else both
            raise AdapterError(
                f"{twice}: its strength would add up.",
                "Name it once, with the weight that you want.",
            )
        known[content] = path

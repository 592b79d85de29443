"""The configuration: one frozen, strict tree, validated here and nowhere else.

The same classes are the YAML file, the command line's flags and the documentation. `None` means
"derive it": `preset` fills such fields from the number of photos and the base, and says what it
derived. Torch-free.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from kaiffin.foundation.imaging import SampleConfig, ScoreConfig
from kaiffin.foundation.kinds import KINDS
from kaiffin.foundation.schema import Strict
from kaiffin.foundation.sections import (
    AdapterConfig,
    BaseConfig,
    DataConfig,
    EmbeddingConfig,
    LayerRule,
    PhaseConfig,
    SubjectConfig,
    TaughtSubject,
    TrainConfig,
)
from kaiffin.foundation.text import same, word_pattern

# Others import the sections from here: a config and its parts have one door.
__all__ = [
    "CONFIG_VERSION", "SMALL_BASE", "AdapterConfig", "BaseConfig", "Config", "DataConfig",
    "EmbeddingConfig", "LayerRule", "PhaseConfig", "SampleConfig", "ScoreConfig", "Strict",
    "SubjectConfig", "TaughtSubject", "TrainConfig",
]  # fmt: skip

CONFIG_VERSION = 1

# Pixels of the native square: below, the base is a miniature, which learns faster, needs all layers
# and gains little from a second thread.
SMALL_BASE = 256


class Config(Strict):
    """Everything that decides what a run learns; equal configs are equal runs."""

    version: int = Field(CONFIG_VERSION, description="version of this format")
    subject: SubjectConfig = Field(default_factory=SubjectConfig)
    subjects: tuple[TaughtSubject, ...] = Field(
        (), description="several in one adapter, instead of subject and data.photos"
    )
    base: BaseConfig = Field(default_factory=BaseConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    embedding: EmbeddingConfig = Field(default_factory=EmbeddingConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    phases: tuple[PhaseConfig, ...] = Field(
        (), description="trainings in a row, each with its photos, parts, steps and rates"
    )
    sample: SampleConfig = Field(default_factory=SampleConfig)
    score: ScoreConfig = Field(default_factory=ScoreConfig)

    @model_validator(mode="before")
    @classmethod
    def _version_is_ours(cls, data: Any) -> Any:
        found = data.get("version", CONFIG_VERSION) if isinstance(data, Mapping) else None
        if isinstance(data, Mapping) and found != CONFIG_VERSION:
            raise ValueError(
                f"version {found!r} is not the version {CONFIG_VERSION} that this Kaiffin reads"
            )
        return data

    @model_validator(mode="before")
    @classmethod
    def _first_is_meant(cls, data: Any) -> Any:
        """Where several are listed, `subject` and `data.photos` are of the first, unless said."""
        listed = data.get("subjects") if isinstance(data, Mapping) else None
        first = listed[0] if isinstance(listed, list | tuple) and listed else None
        if not isinstance(first, Mapping):
            return data
        word = {name: first[name] for name in SubjectConfig.model_fields if name in first}
        given = data.get("data") or {}
        photos = {"photos": first.get("photos")} if isinstance(given, Mapping) else {}
        return {**data, "subject": data.get("subject") or word, "data": {**photos, **given}}

    @property
    def everyone(self) -> tuple[SubjectConfig, ...]:
        """All who are learnt: `subjects`, or `subject` alone."""
        return tuple(one.itself for one in self.subjects) or (self.subject,)

    @model_validator(mode="after")
    def _possible_together(self) -> Config:
        if self.subjects:
            self._possible_subjects()
            self._possible_with_subjects()
        if self.data.prior.weight and not (self.has_nouns or self.data.prior.prompt):
            raise ValueError("data.prior.weight needs subject.noun: the prior shows the class")
        self._possible_variants()
        self._possible_adapter()
        self._possible_embedding()
        self._possible_phases()
        self._possible_training()
        return self

    @property
    def has_nouns(self) -> bool:
        """Whether each of them has a class."""
        return all(one.noun for one in self.everyone)

    def _possible_subjects(self) -> None:
        for one, other in itertools.combinations(self.subjects, 2):
            if same(one.token) == same(other.token):
                raise ValueError(f"two of subjects have the word {one.token!r}: each needs its own")
            if one.photos and one.photos == other.photos:
                raise ValueError(f"two of subjects have the photos in {one.photos}")
        for one, other in itertools.permutations(self.subjects, 2):
            if word_pattern(one.token).search(other.phrase):
                raise ValueError(f"the word {one.token!r} is a part of {other.phrase!r}")

    def _possible_with_subjects(self) -> None:
        listed = self.subjects
        if not any((one.itself, one.photos) == (self.subject, self.data.photos) for one in listed):
            raise ValueError(
                "subject and data.photos are none of subjects: leave them out, subjects says both"
            )
        if any(phase.photos for phase in self.phases):
            raise ValueError("phases have no photos of their own where subjects have theirs")
        if self.embedding.vectors:
            raise ValueError("embedding.vectors makes one new word: not with subjects")
        if self.data.prior.prompt and len({one.noun for one in listed}) > 1:
            raise ValueError("data.prior.prompt is of one class, and subjects are of several")

    def _possible_variants(self) -> None:
        data, usual = self.data, DataConfig.model_fields
        if data.masks == "auto" and not self.has_nouns:
            raise ValueError("data.masks auto needs subject.noun: it is looked for in the photos")
        tags, crops = data.shuffle_tags or data.tag_dropout, data.crops == "random" or data.rotate
        if not tags and data.keep_tags != usual["keep_tags"].default:
            raise ValueError("data.keep_tags has no effect without data.shuffle_tags: true")
        if not (tags or crops) and data.variants != usual["variants"].default:
            raise ValueError(
                "data.variants has no effect without data.crops: random, data.rotate,"
                " data.shuffle_tags or data.tag_dropout"
            )

    def _possible_adapter(self) -> None:
        if not self.adapter.text_encoder:
            given = {
                "adapter.text_rank": self.adapter.text_rank,
                "adapter.text_alpha": self.adapter.text_alpha,
                "adapter.text_targets": self.adapter.text_targets,
                "train.text_lr": self.train.text_lr,
            }
            for name in (name for name, value in given.items() if value):
                raise ValueError(f"{name} has no effect without adapter.text_encoder: true")
        kind = KINDS[self.adapter.kind]
        if self.train.lora_plus and not kind.up:
            raise ValueError(f"train.lora_plus needs up matrices, which {kind.name} does not have")
        if self.base.quantize != "none" and kind.needs_weights:
            raise ValueError(
                f"adapter.kind {kind.name} needs the base's weights themselves, which"
                f" base.quantize {self.base.quantize} rounds"
            )
        self._possible_ranks()
        if self.adapter.layouts and not kind.peft:
            raise ValueError(f"adapter.layouts cannot hold {kind.name}; the file in kohya's can")

    def _possible_ranks(self) -> None:
        adapter, usual = self.adapter, AdapterConfig.model_fields["rank_power"].default
        if adapter.min_rank is None:
            if adapter.rank_power != usual:
                raise ValueError("adapter.rank_power has no effect without adapter.min_rank")
            return
        if KINDS[adapter.kind].formula != "lora":
            raise ValueError(
                "adapter.min_rank needs ranks that can be left out one by one, which"
                f" {adapter.kind} does not have: use lora or rslora"
            )
        if adapter.rank and adapter.min_rank > adapter.rank:
            raise ValueError(
                f"adapter.min_rank {adapter.min_rank} is above adapter.rank {adapter.rank}"
            )
        if any(phase.own_adapter for phase in self.phases[1:]):
            raise ValueError(
                "adapters of their own become one file by adding up, which adapter.min_rank cannot:"
                " its ranks have an order"
            )

    def _possible_training(self) -> None:
        goal = self.train.objective
        for name in ("keep", "dco_beta"):
            if getattr(goal, name) and not self.has_nouns:
                raise ValueError(
                    f"train.objective.{name} needs subject.noun: it asks for the class"
                )
        if self.train.optimizer == "schedulefree":
            if self.train.schedule not in (None, "constant"):
                raise ValueError(f"train.schedule {self.train.schedule!r} undoes schedulefree")
            if self.train.ema:
                raise ValueError("train.ema has no place beside schedulefree, which averages")
        if self.train.validate_every and not self.data.hold_out:
            raise ValueError(
                "train.validate_every needs photos that nobody learns: data.hold_out 2"
            )
        if self.train.steps and self.train.warmup >= self.train.steps:
            raise ValueError(
                f"train.warmup {self.train.warmup} leaves nothing of train.steps {self.train.steps}"
            )

    def _possible_embedding(self) -> None:
        given, token = self.embedding, self.subject.token
        if not given.vectors:
            changed = [name for name in ("init", "steps", "lr") if getattr(given, name)]
            if changed or given.train != "together":
                name = changed[0] if changed else "train"
                raise ValueError(f"embedding.{name} has no effect without embedding.vectors")
            return
        if not (given.init or self.subject.noun):
            raise ValueError("embedding.init or subject.noun must say what the token starts from")
        if any(c.isspace() or c == "." for c in token):
            raise ValueError(f"subject.token {token!r}: a new token has no spaces and no dots")
        if given.steps and given.train != "first":
            raise ValueError('embedding.steps has no effect without embedding.train: "first"')

    def _possible_phases(self) -> None:
        names = [phase.name for phase in self.phases]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"two phases are called {twice[0]!r}")
        if self.phases and self.embedding.train in ("first", "alone"):
            raise ValueError(
                f"embedding.train {self.embedding.train!r} is a list of phases itself: say in each"
                " phase what it trains"
            )
        for phase in self.phases:
            if "text_encoder" in (phase.train or ()) and not self.adapter.text_encoder:
                raise ValueError(
                    f"phase {phase.name!r} trains what adapter.text_encoder leaves out"
                )
            if "embedding" in (phase.train or ()) and not self.embedding.vectors:
                raise ValueError(f"phase {phase.name!r} trains what embedding.vectors leaves out")
            if phase.own_adapter and set(phase.train or ()) == {"embedding"}:
                raise ValueError(f"phase {phase.name!r} has an adapter that it does not train")
        several = any(phase.own_adapter for phase in self.phases[1:])
        if several and not KINDS[self.adapter.kind].adds_up:
            raise ValueError(
                f"adapters of their own become one file by adding up, which {self.adapter.kind}"
                " cannot: use lora or rslora"
            )

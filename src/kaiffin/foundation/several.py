"""Several subjects in one config: each seen as if it were the only one. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kaiffin.foundation.config import Config


def focused(config: Config, number: int) -> Config:
    """`config` as it is of the `number`-th subject, from 0: its word and its photos."""
    one = config.subjects[number]
    data = config.data.model_copy(update={"photos": one.photos})
    return config.model_copy(update={"subject": one.itself, "data": data})


def by_subject(config: Config) -> list[Config]:
    """`config` as it is of each of its subjects; itself, where it has one."""
    return [focused(config, number) for number in range(len(config.subjects))] or [config]


def number_of(config: Config) -> int:
    """Which of its subjects `config` is of, from 0."""
    return config.everyone.index(config.subject)


def prior_weight(config: Config, word: str) -> float:
    """Of the subject with this word: its own, else that of all."""
    own = {one.token: one.prior_weight for one in config.subjects}.get(word)
    return own if own is not None else config.data.prior.weight or 0.0


def with_photos(
    subjects: Sequence[Mapping[str, Any]], folders: Sequence[Path]
) -> list[dict[str, Any]]:
    """`subjects` of a config as plain data, each with its folder of photos."""
    pairs = zip(subjects, folders[: len(subjects)], strict=True)
    return [{**one, "photos": str(folder)} for one, folder in pairs]

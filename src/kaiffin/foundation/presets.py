"""Few knobs, one dial: what a config leaves open is derived from the photos and the base.

Every derived value is also said in words, so that nobody trains on a number they cannot see.
"""

from __future__ import annotations

from collections.abc import Sequence

from kaiffin.foundation.config import SMALL_BASE, Config
from kaiffin.foundation.settings import changed


def derive(config: Config, photos: Sequence[int], native_size: int) -> tuple[Config, list[str]]:
    """Fills every `None` that training needs; returns the full config and what was derived.

    photos: how many are trained on of each subject; native_size: pixels of the base's own square.
    A value that the user gave is never touched.
    """
    small = native_size < SMALL_BASE
    rules = _small_base(photos) if small else _full_base(photos)
    rules |= {
        "data.resolution": native_size,
        "sample.size": (native_size, native_size),
        "train.lr": _rate(config, 1.5e-3 if small else 1e-4),
        "train.schedule": "constant" if config.train.optimizer == "schedulefree" else "cosine",
        "adapter.targets": "all-linear+conv" if small else "attention",
    }
    if not config.has_nouns and not config.data.prior.prompt:
        rules["data.prior.weight"] = 0.0
    if not config.has_nouns or config.data.prior.weight is not None:
        rules["train.objective.keep"] = 0.0  # whoever gives the prior has chosen
    chosen = {name: value for name, value in rules.items() if _get(config, name) is None}
    config = changed(config, **chosen)
    follow = _followers(config)
    config = changed(config, **follow)
    notes = [f"{name} = {_get(config, name)}" for name in (*chosen, *follow)]
    return config, notes


def _rate(config: Config, adamw: float) -> float:
    """AdamW's rate, as each optimizer wants it: Lion's steps have all the same length and want a
    fifth (Chen et al. 2023, arXiv 2302.06675, advise a third to a tenth); Prodigy finds its own and
    takes a factor on it (Mishchenko and Defazio 2023, arXiv 2306.06101)."""
    if config.train.optimizer == "prodigy":
        return 1.0
    return adamw / 5 if config.train.optimizer == "lion" else adamw


def _small_base(photos: Sequence[int]) -> dict[str, object]:
    """Measured on the miniature: within a minute on a CPU (docs/miniature.md); of several subjects
    each takes its own steps."""
    return {
        "adapter.rank": 16,
        "train.steps": 220 * len(photos),
        "train.batch_size": max(1, min(*photos, 4)),
        "data.prior.weight": 0.2,
        "train.objective.keep": 0.0,
    }


def _full_base(photos: Sequence[int]) -> dict[str, object]:
    """About 100 steps a photo within 400 to 2,000, as the DreamBooth examples of the field use, for
    each subject; more photos carry more detail and get a higher rank.

    The class is held to the base in a quarter of the steps: no pictures, a third more time. On the
    miniature less was no guard; on a real base no weight is proven (docs/guides/methods.md)."""
    return {
        "adapter.rank": 8 if sum(photos) <= 5 else 16 if sum(photos) <= 50 else 32,
        "train.steps": sum(max(400, min(100 * count, 2000)) for count in photos),
        "train.batch_size": 1,
        "data.prior.weight": 0.0,
        "train.objective.keep": 1.0,
    }


def _followers(config: Config) -> dict[str, object]:
    """Values that follow from others unless given."""
    follow: dict[str, object] = {}
    if config.adapter.alpha is None:
        follow["adapter.alpha"] = float(config.adapter.rank or 1)
    if config.adapter.text_encoder:
        if config.adapter.text_rank is None:
            follow["adapter.text_rank"] = config.adapter.rank
        if config.adapter.text_alpha is None:
            share = (config.adapter.text_rank or config.adapter.rank or 1) / (
                config.adapter.rank or 1
            )
            follow["adapter.text_alpha"] = (
                config.adapter.alpha or config.adapter.rank or 1
            ) * share
        if config.train.text_lr is None:
            share = 1 if config.train.optimizer == "prodigy" else 0.5
            follow["train.text_lr"] = (config.train.lr or 0.0) * share
    if config.embedding.vectors:
        if config.embedding.init is None:
            follow["embedding.init"] = config.subject.noun
        if config.embedding.lr is None and config.embedding.train != "frozen":
            follow["embedding.lr"] = 1.0 if config.train.optimizer == "prodigy" else 5e-3
        if config.embedding.train == "first" and config.embedding.steps is None:
            follow["embedding.steps"] = config.train.steps
    return follow


def _get(config: Config, name: str) -> object:
    value: object = config
    for part in name.split("."):
        value = getattr(value, part)
    return value

"""Trainings in a row: what a config's phases mean, each as a config of its own. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from kaiffin.foundation.config import Config
from kaiffin.foundation.settings import changed

UNET, TEXT, EMBEDDING = "unet", "text_encoder", "embedding"


@dataclass(frozen=True)
class Phase:
    """One training. first, last: steps done before and after it, counted through the run.

    trains: among unet, text_encoder and embedding; adapter: name of the one that it trains ("" in
    a run with one); attached: all adapters that take part, in order.
    """

    name: str
    first: int
    config: Config
    trains: frozenset[str]
    adapter: str
    attached: tuple[str, ...]

    @property
    def last(self) -> int:
        return self.first + (self.config.train.steps or 0)


def expand(config: Config) -> list[Phase]:
    """The phases of `config`, in which presets have left nothing open; one where it names none."""
    everything = _everything(config)
    if not config.phases:
        return _of_embedding(config, everything)
    own = any(phase.own_adapter for phase in config.phases[1:])
    made: list[Phase] = []
    adapter, attached = "", ()
    for given in config.phases:
        trains = frozenset(given.train) if given.train else everything
        if own and trains - {EMBEDDING} and (given.own_adapter or not attached):
            adapter, attached = given.name, (*attached, given.name)
        changes = {
            "data.photos": given.photos, "train.steps": given.steps, "train.lr": given.lr,
            "train.text_lr": given.text_lr, "embedding.lr": given.embedding_lr,
        }  # fmt: skip
        given_ones = {name: value for name, value in changes.items() if value is not None}
        alone = changed(config, phases=(), **given_ones)
        first = made[-1].last if made else 0
        made.append(Phase(given.name, first, alone, trains, adapter, attached or ("",)))
    return made


def _everything(config: Config) -> frozenset[str]:
    """What a config trains where no phase says otherwise."""
    token = config.embedding
    learns_token = token.vectors and token.train != "frozen"
    chosen = {UNET: True, TEXT: config.adapter.text_encoder, EMBEDDING: learns_token}
    return frozenset(part for part, wanted in chosen.items() if wanted)


def _of_embedding(config: Config, everything: frozenset[str]) -> list[Phase]:
    """Textual inversion alone, or before the adapter (pivotal tuning)."""
    token = frozenset({EMBEDDING})
    if config.embedding.train == "alone":
        return [Phase("embedding", 0, config, token, "", ())]
    if config.embedding.train == "first":
        steps = config.embedding.steps or config.train.steps
        before = changed(config, **{"train.steps": steps})
        one = Phase("embedding", 0, before, token, "", ())
        return [one, Phase("adapter", one.last, config, everything - token, "", ("",))]
    return [Phase("", 0, config, everything, "", ("",))]

"""A training before its first step: base, photos, phases and adapters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.ranks import ranks_of
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.adapters.targets import LoraSpec
from kaiffin.adapters.tokens import Token
from kaiffin.data import sources
from kaiffin.data.findings import look_at, refuse_problems, refuse_shared
from kaiffin.data.prepare import Example, Prepared
from kaiffin.data.sources import Listings
from kaiffin.foundation.config import AdapterConfig, Config
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.imaging import refuse_parts_of_cells
from kaiffin.foundation.phases import Phase, expand
from kaiffin.foundation.presets import derive
from kaiffin.foundation.run import MASKS, Run
from kaiffin.foundation.runtime import Runtime, derived_seed
from kaiffin.foundation.settings import changed
from kaiffin.foundation.tell import Tell
from kaiffin.foundation.whereabouts import by_folder, photo_folders
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base, refitted
from kaiffin.train.masks import Masker
from kaiffin.train.through import Through


@dataclass(frozen=True)
class Session:
    """A training's base and photos, and all that follows from its settings.

    given: the config as it was asked for; config: with nothing left open; photos: by folder, for
    the phases that use it; derived: what the preset chose, in words.
    """

    given: Config
    config: Config
    runtime: Runtime
    family: ModelFamily
    phases: list[Phase]
    photos: dict[Path | None, Prepared]
    stack: Stack
    derived: list[str]

    @property
    def prepared(self) -> Prepared:
        """The photos of the first phase, or of the first subject."""
        return self.photos[self.phases[0].config.data.photos]

    def examples(self, phase: Phase) -> list[Sequence[Example]]:
        """What a phase trains on, by subject."""
        return [self.photos[folder].examples for folder in photo_folders(phase.config)]

    def held_out(self, phase: Phase) -> list[Example]:
        """What was held out of it, of all subjects."""
        folders = photo_folders(phase.config)
        return [one for folder in folders for one in self.photos[folder].held_out]


def open_session(
    config: Config, run: Run | None, *, listings: Listings | None = None, tell: Tell
) -> Session:
    """Loads the base, looks at the photos, derives what the config leaves open.

    listings: what is in folders of photos that have been read already.
    """
    runtime = Runtime.from_config(config.base, config.train.precision)
    family = load_base(config.base, runtime, tell)
    start = _start(config, family)
    tokens = _tokens(config, family, start)
    for token in tokens:
        token.inject(family)  # so that captions are counted as they will be read
    photos = _look_at_photos(config, family, run, listings or {}, tell)
    for token in tokens:
        token.eject()
    return _derived(config, runtime, family, photos, start)


def joined_session(
    config: Config, photos: Mapping[Path | None, Prepared], *, tell: Tell
) -> Session:
    """The session of another process as it is in this one. config: with nothing left open."""
    runtime = Runtime.from_config(config.base, config.train.precision)
    family = load_base(config.base, runtime, tell)
    return _derived(config, runtime, family, dict(photos), _start(config, family))


def changed_session(session: Session, changes: Mapping[str, object], *, tell: Tell) -> Session:
    """The session with other settings of `base` and `train`, as if opened with them: the base is
    refitted in place and the photos are not looked at again. `session` is of no use afterwards."""
    given = changed(session.given, **changes)
    runtime = Runtime.from_config(given.base, given.train.precision)
    family = refitted(session.family, session.given.base, given.base, runtime, tell)
    return _derived(given, runtime, family, session.photos, _start(given, family))


def _derived(
    given: Config, runtime: Runtime, family: ModelFamily, photos: dict[Path | None, Prepared],
    start: Stack | None,
) -> Session:  # fmt: skip
    """What follows from the settings, the base and the number of photos: phases and adapters."""
    config = _as_in_file(given, start.adapters[""]) if start else given
    counts = [len(one.examples) for one in photos.values()]
    counts = counts[: len(config.everyone)]  # of phases, the first one's
    full, derived = derive(config, counts, family.native_size)
    phases = expand(full)
    stack = Stack(_adapters(full, phases, family, start), _tokens(full, family, start))
    return Session(given, full, runtime, family, phases, photos, stack, derived)


def _start(config: Config, family: ModelFamily) -> Stack | None:
    """The adapter that the training goes on from."""
    return load_adapter(config.adapter.init_from, family) if config.adapter.init_from else None


def _look_at_photos(
    config: Config, family: ModelFamily, run: Run | None, listings: Listings, tell: Tell
) -> dict[Path | None, Prepared]:
    """Every folder that a phase trains on, examined once."""
    resolution = config.data.resolution or family.native_size
    refuse_parts_of_cells(f"data.resolution = {resolution}", [resolution], family.downscale)
    found: dict[Path | None, Prepared] = {}
    for own in by_folder(config):
        data, subject, folder = own.data, own.subject, own.data.photos
        out = run.photos_folder(len(found) + 1) if run else None
        through = Through(family, config.base.name, run.cache, tell) if run else None
        read = listing = listings.get(folder) or sources.read(data, subject)
        if data.masks == "auto" and out:
            masker = Masker(family, subject.noun, resolution, data.background)
            listing = masker.masked(read, out / MASKS, tell)
        looked = look_at(
            data, subject, resolution,
            words=family, through=through, out=out, listing=listing, tell=tell,
        )  # fmt: skip
        # What the base made is nothing that a photo came with.
        found[folder] = replace(looked, listed=tuple(read.sources))
        refuse_problems(found[folder])
    if config.subjects:
        refuse_shared(list(found.values()))
    return found


def _as_in_file(config: Config, start: Lora) -> Config:
    """The config of a training that goes on from `start`: its layers, ranks and alphas stay."""
    ranks = Counter(layer.rank for layer in start.layers.values())
    alphas = Counter(layer.alpha for layer in start.layers.values())
    kinds = Counter(layer.kind for layer in start.layers.values())
    if not ranks:
        return config  # an embedding alone
    timed = start.ranks
    found = {
        "rank": max(1, ranks.most_common(1)[0][0]), "alpha": alphas.most_common(1)[0][0] or 1.0,
        "min_rank": timed.min_rank if timed else None, "rank_power": timed.power if timed else 1.0,
        "targets": "as in the file", "kind": kinds.most_common(1)[0][0],
        "text_encoder": any(name.startswith("text_encoder") for name in start.layers),
    }  # fmt: skip
    defaults = AdapterConfig()
    for name, value in found.items():
        given = getattr(config.adapter, name)
        if given not in (getattr(defaults, name), value):
            raise ConfigError(
                f"adapter.{name} = {given!r}: adapter.init_from goes on with the file's own, which"
                f" is {value!r}.",
                "Leave it out; `kaiffin adapter resize` makes a file of another rank.",
            )
    return changed(config, **{f"adapter.{name}": value for name, value in found.items()})


def _tokens(config: Config, family: ModelFamily, start: Stack | None) -> list[Token]:
    """Those of the file that is gone on from, and the subject's own where it has none there."""
    tokens = start.tokens if start else []
    word, given = config.subject.token, config.embedding
    if given.vectors and not any(token.word == word for token in tokens):
        init = given.init or config.subject.noun
        tokens = [*tokens, Token.create(word, given.vectors, init, family)]
    return tokens


def _adapters(
    config: Config, phases: Sequence[Phase], family: ModelFamily, start: Stack | None
) -> dict[str, Lora]:
    """An adapter for each name in the phases; the first goes on from `start`."""
    made: dict[str, Lora] = {}
    for name in phases[-1].attached:
        if start and start.adapters[""].layers and not made:
            made[name] = start.adapters[""]
        else:
            seed = derived_seed(config.train.seed, "phase", name) if name else config.train.seed
            made[name] = Lora.create(_specs(config, family), full_modules(family), seed)
            made[name].ranks = ranks_of(config.adapter)
    return made


def _specs(config: Config, family: ModelFamily) -> Mapping[str, LoraSpec]:
    a = config.adapter
    common = {"dropout": a.dropout, "kind": a.kind, "rules": a.rules}
    specs = {family.denoiser: LoraSpec(a.targets or "", a.rank or 1, a.alpha or 1.0, **common)}
    for tower in family.towers:
        if tower != family.denoiser and a.text_encoder:
            # Text encoders have no convolutions.
            targets = a.text_targets or (a.targets or "").removesuffix("+conv")
            specs[tower] = LoraSpec(targets, a.text_rank or 1, a.text_alpha or 1.0, **common)
    return specs

"""From a repository of the hub to files on this machine: what is here, what is missing, taken.

What is here and whole is used without a request. What is here in part is completed at the commit
that it is of. Torch-free.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kaiffin.foundation.errors import MissingWeightsError, nearest
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.tell import Tell, size_text
from kaiffin.models.files import hub, kept, wanted
from kaiffin.models.files.fetch import fetch, free_bytes
from kaiffin.models.files.header import PICKLES
from kaiffin.models.files.hub import NoRevisionError, Remote, UnreachableError
from kaiffin.models.files.kept import Kept, Listing
from kaiffin.models.files.published import Source
from kaiffin.models.files.wanted import INDEX, Plan

# From the names of a repository's files and those that are here to a plan. The third: None where
# the names are all that the hub lists; else what the index names, and the names are the disk's.
Parts = Collection[str] | None
Select = Callable[[Collection[str], Collection[str], Parts], Plan]


class NoBaseError(MissingWeightsError):
    """A repository of one model with its configuration: a judge or a VAE."""


@dataclass(frozen=True)
class Status:
    """What is here of a base.

    state: `half` is whole in half precision only; size: bytes of it on the disk; lacking: files or
    components that are missing or damaged; folder: where it lies.
    """

    state: Literal["here", "half", "part", "absent"]
    size: int = 0
    lacking: tuple[str, ...] = ()
    folder: Path | None = None


def base(
    source: Source, half: bool | None, *, tell: Tell,
    look: Callable[[Path], object] = lambda folder: None, check: bool = False,
) -> Path:  # fmt: skip
    """The folder of a pipeline, or its one checkpoint file.

    half: whether its weights are wanted in half precision; None: its configurations alone. look:
    called with the folder when its configurations are there, to refuse it before its weights are
    taken. check: whether what is here already is hashed.
    """
    return _obtain(source, base_plan(source, half), tell, look, check)


def model(source: Source, *, tell: Tell) -> Path:
    """The folder of one model with its configuration, such as a judge."""
    return _obtain(source, lambda names, here, parts: wanted.of_model(names), tell)


def vae(source: Source, *, tell: Tell) -> Path:
    """The folder of a VAE, alone in its repository or a pipeline's; or the file that is named."""

    def select(names: Collection[str], here: Collection[str], parts: Parts) -> Plan:
        if source.file:
            return _named_file(source, names)
        inside = "vae/config.json" in names
        return wanted.of_model(names, "vae" if inside else "")

    path = _obtain(source, select, tell)
    return path / "vae" if (path / "vae").is_dir() else path


def part(source: Source, folder: str, half: bool, *, tell: Tell) -> Path:
    """The folder of one component of a pipeline, such as its text encoder; half: as in `base`."""

    def select(names: Collection[str], here: Collection[str], parts: Parts) -> Plan:
        return wanted.of_model(names, folder, half, here)

    return _obtain(source, select, tell) / folder


def small(source: Source, names: Sequence[str], *, tell: Tell) -> Path:
    """The folder with these files, which lie at the top of a repository, such as a vocabulary."""
    return _obtain(source, lambda there, here, parts: Plan(tuple(names)), tell)


def status(source: Source) -> Status:
    """What is here of a base, without a request."""
    found = kept.find(source)
    if found is None or not found.sizes:
        return Status("absent")
    for half, state in ((False, "here"), (True, "half")):
        try:
            plan = _plan(found, base_plan(source, half))
        except MissingWeightsError:  # no base, or not decided which of its files
            return Status("part", sum(found.sizes.values()), (), found.folder)
        lacking = _lacking(found, plan)
        if not lacking:
            size = sum(found.sizes[name] for name in plan.files)
            return Status(state, size, (), found.folder)
        if half is False:
            first = lacking
    size = sum(found.sizes[name] for name in found.here)
    return Status("part", size, first, found.folder)


def base_plan(source: Source, half: bool | None) -> Select:
    """How a base is chosen from the files of a repository."""

    def select(names: Collection[str], here: Collection[str], parts: Parts) -> Plan:
        if source.file:
            return _named_file(source, names)
        if INDEX in names:
            return wanted.of_pipeline(names, half, here, parts or ())
        if "config.json" in names and wanted.best(names, "", half=False):
            raise NoBaseError(
                f"{source.repo} is one model, no base.",
                "A judge goes to --judge, a VAE to --base.vae.",
            )
        found = wanted.checkpoints(names)
        if len(found) == 1 and parts is None:
            return wanted.of_file(found[0])
        raise _no_base(source, names, found)

    return select


# --- the way ------------------------------------------------------------------------------------


def _obtain(
    source: Source, select: Select, tell: Tell,
    look: Callable[[Path], object] = lambda folder: None, check: bool = False,
) -> Path:  # fmt: skip
    found = kept.find(source)
    if found and check:
        _drop_altered(found, _maybe(found, select), tell)
        found = kept.find(source)
    plan = _maybe(found, select)
    if found and plan and not _lacking(found, plan):
        return found.folder / plan.file
    try:
        return _complete(source, found, select, look, tell)
    except UnreachableError as error:
        found = kept.find(source)  # with what came until then
        rest = _what_is_here(source, found, select, tell)
        if rest is None:
            raise _in_part(source, found, _maybe(found, select), error) from None
        return rest


def _complete(
    source: Source, found: Kept | None, select: Select, look: Callable[[Path], object], tell: Tell
) -> Path:
    """Takes from the hub what is missing."""
    remote, found = _asked(source, found)
    if remote.name != source.repo:
        tell.note(f"note: {source.repo} is called {remote.name} now")
    if remote.lora and INDEX not in remote.listing and not source.file:
        raise MissingWeightsError(
            f"{source.repo} is an adapter, no base.",
            f"Take it with `hf download {source.repo}` and give its file to --adapter; a checkpoint"
            f" in it is --base {source.repo}:FILE.",
        )
    into = Kept(kept.store_of(source.repo), remote.commit, remote.listing)
    plan = select(remote.listing, into.here, None)
    _refuse_lacking(source, plan, remote.listing)
    with hub.explained(source):
        _drop_damaged(into, plan, tell)
        if found is None:
            hub.write_ref(into.store, source, remote.commit)
    if not plan.weights:
        _announce(source, remote, plan.configs, "its small files", into, tell)
    _take(source, into, plan.configs, tell)
    if not plan.file:
        look(into.folder)
    if plan.weights:
        _announce(source, remote, plan.weights, _kind(plan.weights), into, tell)
        _take(source, into, plan.weights, tell)
    if not kept.tree_path(into.store, remote.commit).is_file():
        hub.take_small(source, remote.commit, ())  # the hub's list alone
    return into.folder / plan.file


def _take(source: Source, into: Kept, names: Collection[str], tell: Tell) -> None:
    """Brings what is missing of `names` into the cache: what lies in git by the client, the rest
    by ourselves."""
    listing, here = into.listing or {}, into.here
    large = {name: listing[name] for name in names if listing[name].sha256 and name not in here}
    small = tuple(name for name in names if not listing[name].sha256 and name not in here)
    if small:
        hub.take_small(source, into.commit, small)
    if large:
        fetch(source, into, large, tell=tell)


def _asked(source: Source, found: Kept | None) -> tuple[Remote, Kept | None]:
    """The commit that is here in part, so that it is completed; where that is gone from the hub,
    what is published now."""
    if found and not source.is_commit:
        with contextlib.suppress(NoRevisionError):
            return hub.ask(source, found.commit), found
    return hub.ask(source, source.revision), found if source.is_commit else None


def _announce(
    source: Source, remote: Remote, names: Collection[str], what: str, into: Kept, tell: Tell
) -> None:
    """What is going to be taken, before its first byte."""
    sizes, here = {name: remote.listing[name].size for name in names}, into.here
    size, missing = sum(sizes.values()), sum(sizes[name] for name in names if name not in here)
    if not missing:
        return
    part = f"{size_text(missing)} of {size_text(size)}" if missing < size else size_text(size)
    gated = "; gated: its terms have to be accepted" if remote.gated else ""
    free = size_text(free_bytes(into.store))
    tell.note(
        f"taking {source.repo} at {remote.commit[:10]} from {hub.endpoint()}: {part}, {what}"
        f" ({', '.join(names)}); licence {remote.licence or 'not said'}{gated};"
        f" {free} free in {into.store.parent}"
    )


def _kind(weights: Collection[str]) -> str:
    twins = sum(wanted.HALF in name for name in weights)
    return f"weights {'in half precision' if twins == len(weights) else 'as published'}"


def _plan(found: Kept, select: Select) -> Plan:
    return select(found.names, found.here, found.parts if found.listing is None else None)


def _maybe(found: Kept | None, select: Select) -> Plan | None:
    """The plan by what is here; None where that does not say which files there are."""
    try:
        return _plan(found, select) if found else None
    except NoBaseError:
        raise
    except MissingWeightsError:
        return None


def _lacking(found: Kept, plan: Plan) -> tuple[str, ...]:
    """What is missing or damaged of a plan."""
    return (*plan.lacking, *(name for name in plan.files if name not in found.here))


def _what_is_here(source: Source, found: Kept | None, select: Select, tell: Tell) -> Path | None:
    """Where nothing can be asked: weights of another precision, if they are whole."""
    if found is None:
        return None
    here = found.here
    try:
        plan = select(here, here, found.parts or None)
    except MissingWeightsError:
        return None
    if plan.lacking or not plan.weights:
        return None
    tell.warning(f"{source.repo}: only {', '.join(plan.weights)} are here; they are used")
    return found.folder / plan.file


# --- damaged files ------------------------------------------------------------------------------


def _drop_damaged(found: Kept, plan: Plan, tell: Tell) -> None:
    """Files of a wrong size are taken away, so that they are not served again."""
    for name, size in found.damaged.items():
        if name not in plan.files:
            continue
        tell.warning(
            f"{found.folder / name} is damaged ({found.sizes[name]:,} bytes of {size:,}): it is"
            " taken again"
        )
        kept.remove(found.folder / name)


def _drop_altered(found: Kept, plan: Plan | None, tell: Tell) -> None:
    """Files whose hash is not the one that the hub lists are taken away."""
    listing = found.listing or {}
    for name in plan.files if plan else ():
        entry = listing.get(name)
        path = found.folder / name
        known = entry and entry.sha256 and name in found.here
        if known and file_sha256(path) != entry.sha256:
            tell.warning(f"{path} is damaged (by its hash): it is taken again")
            kept.remove(path)


# --- refusals -----------------------------------------------------------------------------------


def _refuse_lacking(source: Source, plan: Plan, listing: Listing) -> None:
    if not plan.lacking:
        return
    folders = ", ".join(plan.lacking)
    pickled = [name for name in listing if name.endswith(PICKLES)]
    if pickled:
        raise MissingWeightsError(
            f"{source.repo} holds no whole .safetensors weights for {folders}, only pickles such as"
            f" {pickled[0]}, which can run code when opened.",
            "Choose a repository with .safetensors weights.",
        )
    raise MissingWeightsError(
        f"{source.repo} holds no whole .safetensors weights for {folders}.",
        "Choose a repository that is complete.",
    )


def _named_file(source: Source, names: Collection[str]) -> Plan:
    if source.file in names and source.file.endswith(".safetensors"):
        return wanted.of_file(source.file)
    files = [name for name in names if name.endswith(".safetensors")]
    raise MissingWeightsError(
        f"{source.repo} has no safetensors file {source.file!r}.", nearest(source.file, files)
    )


def _no_base(source: Source, names: Collection[str], found: Collection[str]) -> MissingWeightsError:
    """Which of several files, or none at all."""
    if found:
        return MissingWeightsError(
            f"{source.repo} holds {len(found)} checkpoint files: {', '.join(found)}.",
            f"Choose one: --base {source.repo}:{next(iter(found))}.",
        )
    pickled = [name for name in names if name.endswith(PICKLES)]
    only = f"only pickles such as {pickled[0]}, which can run code when opened" if pickled else ""
    return MissingWeightsError(
        f"{source.repo} holds no base that Kaiffin reads: no pipeline with component folders and no"
        f" .safetensors checkpoint{', ' + only if only else ''}.",
        "Choose a repository with a diffusers pipeline or a checkpoint file of SD 1.x or SDXL.",
    )


def _in_part(
    source: Source, found: Kept | None, plan: Plan | None, error: UnreachableError
) -> MissingWeightsError:
    """What is missing where the hub cannot be asked."""
    if found is None:
        return UnreachableError(f"{source.name!r} is not on this machine. {error.message}",
                                error.fix)  # fmt: skip
    named = [
        f"{name} ({found.sizes[name]:,} bytes of {found.damaged[name]:,})"
        if name in found.damaged
        else name
        for name in (_lacking(found, plan) if plan else ())
    ]
    rest = f": missing or damaged are {', '.join(named)}" if named else ""
    return UnreachableError(
        f"{source.name!r} is not whole on this machine ({found.folder}){rest}. {error.message}",
        error.fix,
    )

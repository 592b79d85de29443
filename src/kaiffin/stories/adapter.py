"""The adapter commands as story pages: change a file's layout, prove it, edit it; see inspect.py.

All but `verify` and `extract` need no base weights: what a file should hold is known from tables.
Nothing that is there already is overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from kaiffin.adapters import single
from kaiffin.adapters.elsewhere import comfy
from kaiffin.adapters.elsewhere.proof import Proof, prove
from kaiffin.adapters.elsewhere.readers import opened_by_others
from kaiffin.adapters.files import edit, reading, safe, writing
from kaiffin.adapters.files.edit import BlockCut, Cut, Difference
from kaiffin.adapters.files.open import Opened, open_file
from kaiffin.adapters.files.reading import AdapterFile, Layout
from kaiffin.adapters.files.spelling import skipped_of
from kaiffin.adapters.fit import faults
from kaiffin.adapters.kinds import rank_of
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.strength import PLAIN
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import AdapterError, UserError
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime, contained
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.text import composed, word_pattern
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files.load import load
from kaiffin.models.files.pipeline import save
from kaiffin.models.files.published import source_of

# --- convert and verify -----------------------------------------------------------------------


@dataclass(frozen=True)
class Converted:
    """An adapter in another layout. layers, tokens: how many; before, layout: of it."""

    out: Path
    layers: int
    tokens: int
    before: Layout
    layout: Layout


def convert(
    path: Path, out: Path, layout: Layout, base: str | None = None, *,
    plain: bool = False, skip_unknown: bool = False, tell: Tell = SILENT,
) -> Converted:  # fmt: skip
    """Writes the adapter in another layout, exact in weight and strength.

    plain: where its ranks depend on the timestep, which other programs do not know, one that is
    the same at all of them in its place. skip_unknown: without what Kaiffin does not apply, which
    the header then names. Raises AdapterError for what that layout cannot say.
    """
    _refuse_existing(out)
    opened = _opened(path, base, skip_unknown, tell)
    with safe.about(path):
        file = edit.with_all_ranks(opened.file) if plain else opened.file
    writing.write(file, out, layout, opened.table.layers_per_block)
    words = {name.partition(".")[0] for name in file.embeddings}
    return Converted(out, len(file.modules), len(words), file.layout, layout)


@contained()
def verify(
    path: Path, base: str, *, skip_unknown: bool = False, tell: Tell = SILENT
) -> Proof:  # fmt: skip
    """The export proof on base `base`; see `adapters.elsewhere.proof`.

    skip_unknown: of what Kaiffin applies, and the answer says what that left out.
    """
    config = BaseConfig(name=base)
    family = load(config, Runtime.from_config(config), tell)
    with tell.progress("proving by others' code, files", 1) as wait:
        proof = prove(path, family, opened_by_others, skip_unknown)
        wait.advance()
    return proof


# --- merge ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Merged:
    """Adapters added up. ranks: those of its layers, smallest first; cuts: what each block lost,
    empty where nothing was cut."""

    out: Path
    layers: int
    ranks: tuple[int, ...]
    cuts: Sequence[BlockCut]


def merge(
    specs: Sequence[tuple[Path, float]], out: Path, rank: int | None = None,
    base: str | None = None, *, skip_unknown: bool = False, tell: Tell = SILENT,
) -> Merged:  # fmt: skip
    """The weighted sum of adapters as one file; exact unless cut down to `rank`."""
    _refuse_existing(out)
    opened = [(_opened(path, base, skip_unknown, tell), weight) for path, weight in specs]
    made = edit.merge([(one.file, weight) for one, weight in opened])
    skipped = [one.file.metadata.get(reading.SKIPPED, "") for one, _ in opened]
    if any(skipped):
        made.metadata[reading.SKIPPED] = "; ".join(text for text in skipped if text)
    cuts: Mapping[str, Cut] = {}
    if rank:
        made, cuts = edit.resize(made, rank=rank, tell=tell)
    writing.write(made, out, "kohya", opened[0][0].table.layers_per_block)
    ranks = {rank_of(parts) for parts in made.modules.values()}
    return Merged(out, len(made.modules), tuple(sorted(ranks)), edit.by_block(cuts, made.family))


@dataclass(frozen=True)
class MergedBase:
    """A copy of `base` with so many adapters in its weights, as a diffusers folder, or as one file
    of `size` bytes. configs: beside the file, for a base of unusual shape."""

    out: Path
    base: str
    adapters: int
    size: int = 0
    configs: Path | None = None


def merge_into(
    base: str, specs: Sequence[tuple[Path, float]], out: Path, *, to: Literal["folder", "single"]
    = "folder", dtype: single.Half = "fp16", skip_unknown: bool = False, tell: Tell = SILENT,
) -> MergedBase:  # fmt: skip
    """A copy of `base` with the adapters in its weights.

    to: `folder` is diffusers' layout as the base is; `single` one checkpoint file of `dtype` in the
    layout of A1111 and ComfyUI, which is read back before it gets its name. Raises UserError for
    what is there already.
    """
    _refuse_existing(out)
    configs = out.with_suffix(".config")
    if to == "single":
        if out.suffix.lower() != ".safetensors":
            raise UserError(f"{out}: a checkpoint file ends in .safetensors.", "Name it so.")
        _refuse_existing(configs)
    family = _on_cpu(base, tell)
    for path, weight in specs:
        stack = load_adapter(path, family, PLAIN.times(weight), skip_unknown)
        if stack.skipped:
            tell.note(f"note: {path.name} without {skipped_of(stack.skipped)}")
        if stack.tokens:
            raise AdapterError(
                f"{path}: the token {stack.tokens[0].word!r} cannot be merged into a base.",
                "Use the adapter as it is.",
            )
        with safe.about(path):
            stack.inject(family)
            stack.adapters[""].merge()
            stack.eject()
    if to == "folder":
        save(family, out)
        return MergedBase(out, base, len(specs))
    with_configs = not single.is_published_shape(family)
    size = single.write(family, out, dtype, _single_header(family, specs, out), tell=tell)
    if with_configs:
        single.write_configs(family, configs)
    return MergedBase(out, base, len(specs), size, configs if with_configs else None)


def _single_header(
    family: ModelFamily, specs: Sequence[tuple[Path, float]], out: Path
) -> dict[str, str]:
    """What a checkpoint says of itself: its kind, and which adapters are in it."""
    prediction = "v" if family.schedule.prediction_type == "v_prediction" else "epsilon"
    merged = {path.name: f"{weight:g} {safe.model_hash(path)[:12]}" for path, weight in specs}
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": SPECS[family.name].architecture.removesuffix("/lora"),
        "modelspec.title": out.stem,
        "modelspec.prediction_type": prediction,
        "modelspec.resolution": f"{family.native_size}x{family.native_size}",
        "kaiffin.merged": json.dumps(merged, ensure_ascii=False),
        "kaiffin.base_revision": family.revision,
    }


# --- resize and extract -----------------------------------------------------------------------


@dataclass(frozen=True)
class Resized:
    """An adapter of fewer ranks. before, after: bytes; cuts: what each block lost."""

    out: Path
    before: int
    after: int
    cuts: Sequence[BlockCut]


def resize(
    path: Path, out: Path, rank: int | None = None, energy: float | None = None,
    base: str | None = None, *, skip_unknown: bool = False, tell: Tell = SILENT,
) -> Resized:  # fmt: skip
    """Fewer ranks by SVD: `rank` in every layer, or as many as keep `energy` of its squares."""
    _refuse_existing(out)
    _refuse_cut(rank, energy)
    opened = _opened(path, base, skip_unknown, tell)
    with safe.about(path):
        made, cuts = edit.resize(opened.file, rank, energy, tell=tell)
    writing.write(made, out, "kohya", opened.table.layers_per_block)
    return Resized(out, _size(path), _size(out), edit.by_block(cuts, made.family))


@dataclass(frozen=True)
class Extracted:
    """The difference of two checkpoints as an adapter. layers: that differ, of `total`; size: of
    the file, bytes; cuts: what each block lost."""

    out: Path
    layers: int
    total: int
    size: int
    cuts: Sequence[BlockCut]


def extract(
    tuned: str, base: str, out: Path, rank: int | None = None, energy: float | None = None, *,
    tell: Tell = SILENT,
) -> Extracted:  # fmt: skip
    """The difference of two checkpoints of one architecture, as an adapter."""
    _refuse_existing(out)
    _refuse_cut(rank, energy)
    ours, theirs = (_on_cpu(name, tell) for name in (tuned, base))
    if ours.name != theirs.name:
        raise UserError(f"{tuned} is {ours.name}, {base} is {theirs.name}.")
    before, after = full_modules(theirs), full_modules(ours)
    modules, cuts = {}, {}
    with tell.progress("layers") as progress:
        names = _layers_of_both(after, before)
        for i, name in enumerate(names):
            progress.update(i, len(names))
            found = _difference(after[name], before[name], rank, energy)
            if found is not None:
                modules[name], cuts[name] = found
        progress.update(len(names))
    if not modules:
        raise UserError(f"{tuned} and {base} have the same weights in every layer.")
    top = str(max(cut.rank for cut in cuts.values()))
    header = {
        "ss_base_model_version": SPECS[theirs.name].base_version, "ss_v2": "False",
        "ss_network_module": "networks.lora", "ss_network_dim": top, "ss_network_alpha": top,
        "ss_network_args": "{}", "ss_sd_model_name": Path(base).name,
    }  # fmt: skip
    made = AdapterFile("kohya", theirs.name, modules, header)
    writing.write(made, out, "kohya", theirs.layers_per_block)
    return Extracted(out, len(modules), len(after), _size(out), edit.by_block(cuts, theirs.name))


def _difference(
    tuned: Any, base: Any, rank: int | None, energy: float | None
) -> tuple[dict[str, Tensor], Cut] | None:
    """One layer's, None where both have the same weights."""
    delta = tuned.weight.detach().float() - base.weight.detach().float()
    if not delta.abs().max() > 0:
        return None
    u, s, vt = torch.linalg.svd(delta.flatten(1), full_matrices=False)
    return edit.cut(u, s, vt, rank, energy, (0, *delta.shape[1:]))


def _layers_of_both(a: Collection[str], b: Collection[str]) -> list[str]:
    if set(a) != set(b):
        odd = sorted(set(a) ^ set(b))[0]
        raise UserError(f"the checkpoints have different layers, such as {odd}.")
    return [name for name in a if not name.endswith("text_projection")]


# --- diff -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Differences:
    """How two adapters differ. tokens: as `edit.token_distances` has it; metadata: both values of
    each key that differs, None where absent; hashes, which always differ, are left out."""

    a: Path
    b: Path
    blocks: Sequence[Difference]
    tokens: Mapping[str, float | None]
    metadata: Mapping[str, tuple[str | None, str | None]]


def diff(a: Path, b: Path, base: str | None = None, *, tell: Tell = SILENT) -> Differences:
    """How two adapters differ, block by block."""
    one, two = (open_file(path, base, tell=tell).file for path in (a, b))
    keys = sorted(key for key in {*one.metadata, *two.metadata} if not key.startswith("sshs_"))
    pairs = {key: (one.metadata.get(key), two.metadata.get(key)) for key in keys}
    changed = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    tokens = edit.token_distances(one, two)
    return Differences(a, b, edit.difference(one, two), tokens, changed)


# --- ComfyUI ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workflow:
    """A ComfyUI workflow. needs: what belongs below ComfyUI's `models` folder, by its place there,
    and the file to copy; None where it is the user's own checkpoint."""

    out: Path
    needs: Mapping[str, Path | None]


def export_comfy(path: Path, prompt: str | None = None, *, tell: Tell = SILENT) -> Workflow:
    """A workflow beside the adapter of run `path`."""
    run = Run.open(path)
    if not run.finished:
        raise UserError(f"{path}: is not finished.", f"Run `kaiffin resume {path}` first.")
    config, (_, header) = run.config, safe.header(run.adapter_path)
    source = source_of(config.base.name)
    checkpoint = Path(source.file or source.repo if source else config.base.name).name
    if not checkpoint.endswith(".safetensors"):
        checkpoint += ".safetensors"
    sample, embedding = config.sample, run.part_path("embedding")
    text = prompt or f"a photo of {config.subject.phrase}"
    needs: dict[str, Path | None] = {f"loras/{run.adapter_path.name}": run.adapter_path}
    if embedding.is_file():  # ComfyUI takes tokens from files in its own folder, by their names
        word = word_pattern(config.subject.token)
        text = word.sub(lambda _: f"embedding:{embedding.stem}", composed(text))
        needs[f"embeddings/{embedding.name}"] = embedding
    made = comfy.workflow(
        text, sample, checkpoint=checkpoint, lora=run.adapter_path.name, size=(512, 512),
        v_prediction=header.get("modelspec.prediction_type") == "v",
    )  # fmt: skip
    run.write(run.workflow_path.name, json.dumps(made, indent=1).encode())
    return Workflow(run.workflow_path, {**needs, f"checkpoints/{checkpoint}": None})


# --- what they share --------------------------------------------------------------------------


def _opened(path: Path, base: str | None, skip_unknown: bool, tell: Tell) -> Opened:
    """The file, which must apply to its base: what is written must hold all of it."""
    opened = open_file(path, base, skip_unknown=skip_unknown, tell=tell)
    with safe.about(path):
        for fault in faults(opened.file, opened.table):
            raise fault
    if opened.file.skipped:
        tell.note(f"note: {path.name} without {skipped_of(opened.file.skipped)}")
    return opened


def _on_cpu(name: str, tell: Tell) -> ModelFamily:
    config = BaseConfig(name=name, device="cpu")
    return load(config, Runtime.from_config(config), tell)


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise UserError(f"{out}: is there already.", "Remove it or choose another name.")


def _refuse_cut(rank: int | None, energy: float | None) -> None:
    if (rank is None) == (energy is None):
        raise UserError("give either --rank or --energy.", "Such as --rank 8 or --energy 0.95.")
    if rank is not None and rank < 1:
        raise UserError(f"--rank {rank}: must be at least 1.")
    if energy is not None and not 0 < energy <= 1:
        raise UserError(f"--energy {energy:g}: must be above 0 and at most 1.")


def _size(path: Path) -> int:
    """Bytes of a file, or of all in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())

"""From trained weights to files that others open, and the proof that they do."""

from __future__ import annotations

import json
import platform
from importlib import metadata as package
from pathlib import Path
from typing import Any

from torch import Tensor

from kaiffin import __version__
from kaiffin.adapters.elsewhere import card
from kaiffin.adapters.elsewhere.proof import NoReader, Proof, prove
from kaiffin.adapters.elsewhere.readers import opened_by_others
from kaiffin.adapters.files import edit, reading, safe, writing
from kaiffin.adapters.files.reading import AdapterFile, Layout
from kaiffin.adapters.files.subject import EVERYONE
from kaiffin.adapters.ranks import ranks_of
from kaiffin.adapters.tokens import WORD
from kaiffin.foundation.folder import read_json, write_json
from kaiffin.foundation.kinds import KINDS
from kaiffin.foundation.phases import expand
from kaiffin.foundation.run import Run
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.models.base import ModelFamily
from kaiffin.train import beginning
from kaiffin.train.session import Session


def export_candidate(run: Run, session: Session, step: int) -> Path:
    """The adapter as it is after `step`, as a file like the final one."""
    whole = _whole(_parts(session), run, session, step)
    whole.embeddings = _bundled(session)
    path = run.candidate_path(step)
    _save(whole, path, session)
    return path


def export(run: Run, session: Session, step: int) -> None:
    """Every file of the run, trained for `step` steps; last the adapter: a run with an adapter
    file is a finished run."""
    parts, bundled = _parts(session), _bundled(session)
    if len(parts) > 1:
        for name, part in parts.items():
            part.embeddings, part.metadata = bundled, _header(run, session, name, step)
            _save(part, run.part_path(name), session)
            part.embeddings = {}
    for token in session.stack.tokens:
        safe.save(run.part_path("embedding"), token.alone(), {WORD: token.word})
    whole = _whole(parts, run, session, step)
    for layout in _layouts(session) if whole.modules else ():
        folder = run.folder(layout)
        path = folder if layout == "peft" else folder / "pytorch_lora_weights.safetensors"
        writing.write(whole, path, layout, session.family.layers_per_block)
    whole.embeddings = bundled
    write_card(run)
    _save(whole, run.adapter_path, session)


def _parts(session: Session) -> dict[str, AdapterFile]:
    """Each adapter of the session by its name."""
    return {
        name: edit.with_one_alpha(reading.from_state(adapter.state(), session.family.name))
        for name, adapter in session.stack.adapters.items()
    }


def _bundled(session: Session) -> dict[str, Tensor]:
    """The tokens as they are stored inside an adapter file."""
    return {k: v for token in session.stack.tokens for k, v in token.bundled().items()}


def _layouts(session: Session) -> list[Layout]:
    """Layouts beside kohya's: those asked for, and diffusers' own where it does not read kohya's:
    it drops DoRA's magnitudes without a word and refuses a file with a bundled token."""
    a = session.config.adapter
    wanted: list[Layout] = list(a.layouts)
    kind, has_token = KINDS[a.kind], bool(session.stack.tokens)
    if kind.peft and (has_token or not kind.plain) and "diffusers" not in wanted:
        wanted.append("diffusers")
    return wanted


def _whole(parts: dict[str, AdapterFile], run: Run, session: Session, step: int) -> AdapterFile:
    """All adapters as one: several are added up exactly, their ranks side by side."""
    family = session.family.name
    if not parts:
        whole = AdapterFile("kohya", family, {})
    elif len(parts) == 1:
        whole = next(iter(parts.values()))
    else:
        whole = edit.merge([(part, 1.0) for part in parts.values()])
    sums = {k: v for k, v in whole.metadata.items() if k.startswith("ss_network_")}
    whole.metadata = _header(run, session, "", step) | sums  # what merging made of ranks and alphas
    return whole


def _save(adapter: AdapterFile, path: Path, session: Session) -> None:
    tensors = writing.to_kohya(adapter, session.family.layers_per_block)
    safe.save(path, tensors, adapter.metadata)


def _header(run: Run, session: Session, part: str, step: int) -> dict[str, str]:
    config, family = session.config, session.family
    a, resolution = config.adapter, config.data.resolution or family.native_size
    title = f"{config.subject.token}-{part}" if part else config.subject.token
    base = writing.TrainedOn(
        family.name, Path(family.base).name, family.revision, family.schedule.prediction_type,
        resolution,
    )  # fmt: skip
    header = writing.metadata(
        base, kind=a.kind, rank=a.rank or 1, alpha=a.alpha or 1.0, title=title,
        trigger=", ".join(one.phrase for one in config.everyone),
        facts={
            "steps": step, "seed": config.train.seed,
            "optimizer": config.train.optimizer, "learning_rate": config.train.lr,
            "text_encoder_lr": config.train.text_lr,
            "num_train_images": sum(len(p.examples) for p in session.photos.values()),
            "batch_size_per_device": config.train.batch_size,
            "min_snr_gamma": config.train.objective.min_snr_gamma,
            "noise_offset": config.train.objective.noise_offset or None,
            "prior_loss_weight": config.data.prior.weight or None,
        },
    )  # fmt: skip
    if len(config.subjects) > 1:
        header[EVERYONE] = json.dumps([[one.token, one.noun] for one in config.subjects])
    # The files of one run may stand beside each other; two subjects of one name may not.
    timed = ranks_of(a)
    return header | beginning.header(run) | (timed.header() if timed else {})


def prove_files(
    run: Run, family: ModelFamily, *, tell: Tell = SILENT
) -> dict[str, Proof | NoReader]:
    """Others' code must read every adapter to what was trained; the result stays in the run.

    By name of the adapter, "" for the run's own file; empty for an embedding alone, which has no
    layers.
    """
    names = expand(run.config)[-1].attached
    if not names:
        return {}
    paths = {"": run.adapter_path}
    if len(names) > 1:
        paths |= {name: run.part_path(name) for name in names}
    found = {}
    with tell.progress("proving by others' code, files", len(paths)) as wait:
        for name, path in paths.items():
            found[name] = _proof(path, family)
            wait.advance()
    whole, *phases = ((name, _as_json(proof)) for name, proof in found.items())
    write_json(run.proof_path, whole[1] | ({"phases": dict(phases)} if phases else {}))
    return found


def _proof(path: Path, family: ModelFamily) -> Proof | NoReader:
    try:
        return prove(path, family, opened_by_others)
    except NoReader as error:
        return error


def _as_json(proof: Proof | NoReader) -> dict[str, Any]:
    if isinstance(proof, NoReader):
        return {"holds": None, "problems": [str(proof)]}
    return proof.as_json()


def unproven(run: Run) -> bool:
    """Whether a finished run was killed before its proof was written."""
    return not run.proof_path.is_file() and bool(expand(run.config)[-1].attached)


def write_card(run: Run) -> None:
    """README.md: what a stranger who finds the adapter needs to know."""
    run.write(card.NAME, card.text(run).encode())


def write_manifest(run: Run, session: Session) -> None:
    """What the run is made of: versions, base, photos, what was derived."""
    versions = {name: package.version(name) for name in ("torch", "diffusers", "transformers")}
    prepared = session.prepared
    phases = [
        {"name": p.name, "first": p.first, "last": p.last, "trains": sorted(p.trains)}
        for p in session.phases
    ]
    write_json(
        run.manifest_path,
        {
            "kaiffin": __version__,
            "versions": versions | {"python": platform.python_version()},
            "base": {
                "name": session.family.base,
                "family": session.family.name,
                "revision": session.family.revision,
            },
            "trainable": sum(p.numel() for p in session.stack.parameters()),
            "data": prepared.manifest["content"],
            "num_photos": sum(len(p.examples) for p in session.photos.values()),
            "refused": prepared.manifest["refused"],
            "phases": phases,
            # A run that goes on finds all derived already.
            "derived": session.derived or read_json(run.manifest_path).get("derived", []),
        },
    )

"""An adapter file onto a family: read, checked against the base, ready to inject."""

from __future__ import annotations

from pathlib import Path

from kaiffin.adapters import ranks
from kaiffin.adapters.files import reading, safe
from kaiffin.adapters.files.open import peek
from kaiffin.adapters.files.spelling import is_embedding
from kaiffin.adapters.files.tables import Table
from kaiffin.adapters.fit import refuse_another_family
from kaiffin.adapters.layers import weight_size
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.adapters.strength import PLAIN, Weights
from kaiffin.adapters.tokens import (
    WORD,
    Token,
    read_bundle,
    unpack_embedding,
)
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.text import same
from kaiffin.models.base import ModelFamily


def load_adapter(
    path: Path, family: ModelFamily, weights: Weights = PLAIN, skip_unknown: bool = False
) -> Stack:
    """The adapter in `path` with its tokens, not attached yet; `AdapterError` names a mismatch.

    skip_unknown: goes on without what is not applied, which `Stack.skipped` then names.
    """
    modules, table = full_modules(family), table_of(family)
    with safe.about(path):
        found = reading.read(path, table, skip_unknown=skip_unknown)
        refuse_another_family(found, table)
        reading.refuse_strays(found)
        adapter = Lora.from_state(found.state(), modules)
        adapter.ranks = ranks.read(found.metadata, found.modules)
        made = Stack({"": adapter}, read_bundle(found.embeddings, family))
    made.weights, made.skipped = weights, found.skipped
    made.weigh(0.0)
    return made


def load_embedding(path: Path, family: ModelFamily, name: str) -> Stack:
    """The textual inversion in `path` as tokens, not attached yet; `AdapterError` as above.

    Its words are `name`, in A1111 and ComfyUI the file's, and what the file itself calls it.
    """
    tensors, header = safe.read(path)
    with safe.about(path):
        if not is_embedding(tensors):
            raise AdapterError("is no textual inversion embedding.", "Is it an --adapter?")
        widths = {tower: e.weight.shape[1] for tower, e in family.words.embeddings.items()}
        word, vectors = unpack_embedding(tensors, widths)
    device = next(iter(family.words.embeddings.values())).weight.device
    placed = {tower: value.to(device) for tower, value in vectors.items()}
    words = {same(w): w for w in (name, word, header.get(WORD, "")) if w.strip()}
    return Stack({}, [Token(w, placed) for w in words.values()])


def table_of(family: ModelFamily) -> Table:
    """The layers of a loaded base."""
    layers = {name: weight_size(module) for name, module in full_modules(family).items()}
    return Table(family.name, layers, family.layers_per_block)


def was_trained_on(path: Path, family: ModelFamily) -> bool:
    """Whether the file names this very base; True where it does not say."""
    _, header = peek(path)
    return header.get("kaiffin.base_revision", family.revision) == family.revision

"""An adapter file onto a family: read, checked against the base, ready to inject."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from kaiffin.adapters.files import reading, safe
from kaiffin.adapters.files.open import peek
from kaiffin.adapters.files.reading import AdapterFile
from kaiffin.adapters.files.spelling import other_of_keys
from kaiffin.adapters.files.tables import Table
from kaiffin.adapters.layers import stand_in, weight_size
from kaiffin.adapters.lora import Lora, layer_of
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.adapters.strength import PLAIN, Weights
from kaiffin.adapters.tokens import (
    WORD,
    Token,
    is_embedding,
    read_bundle,
    unpack_bundle,
    unpack_embedding,
)
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.text import same
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import (
    OTHERS,
    SPECS,
    Other,
    Spec,
    of_version,
    other_of_version,
)


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
        made = Stack({"": adapter}, read_bundle(found.embeddings, family))
    made.weights, made.skipped = weights, found.skipped
    made.weigh(0.0)
    return made


def load_embedding(path: Path, family: ModelFamily) -> Stack:
    """The textual inversion in `path` as tokens, not attached yet; `AdapterError` as above.

    Its words are the file's name, as in A1111 and ComfyUI, and what the file itself calls it.
    """
    tensors, header = safe.read(path)
    with safe.about(path):
        if not is_embedding(tensors):
            raise AdapterError("is no textual inversion embedding.", "Is it an --adapter?")
        widths = {tower: e.weight.shape[1] for tower, e in family.words.embeddings.items()}
        word, vectors = unpack_embedding(tensors, widths)
    device = next(iter(family.words.embeddings.values())).weight.device
    placed = {tower: value.to(device) for tower, value in vectors.items()}
    words = {same(w): w for w in (path.stem, word, header.get(WORD, "")) if w.strip()}
    return Stack({}, [Token(w, placed) for w in words.values()])


def table_of(family: ModelFamily) -> Table:
    """The layers of a loaded base."""
    layers = {name: weight_size(module) for name, module in full_modules(family).items()}
    return Table(family.name, layers, family.layers_per_block)


def refuse_another_family(found: AdapterFile, table: Table) -> None:
    """`AdapterError` where the header, the names or the widths are of a base of another family."""
    version, spec = reading.base_of(found.metadata), SPECS[found.family]
    other: Spec | Other | None = of_version(version) or other_of_version(version)
    what = "" if other in (None, spec) else version
    if not what:
        other = other_of_keys({**found.strays, **found.skipped}) or _by_context(found, table)
        what = other.title if other else ""
    if what:
        raise AdapterError(
            f"was made for {what}, and this base is {spec.title}.",
            "Use the base it was trained on.",
        )


def _by_context(found: AdapterFile, table: Table) -> Spec | Other | None:
    """The published model whose text states are as wide as those that the file's layers hear."""
    for name, parts in found.modules.items():
        down = parts.get("lora_down.weight")
        if down is not None and name.endswith("attn2.to_k"):
            heard = down.shape[1]
            if heard != table.layers[name][1]:
                others = (*SPECS.values(), *OTHERS)
                return next((one for one in others if one.context == heard), None)
    return None


def faults(found: AdapterFile, table: Table) -> Iterator[AdapterError]:
    """Every reason for which `load_adapter` would refuse the file on a base with these layers.

    The same checks, on layers that have shapes and no weights. That it is for another base is the
    reason of all else.
    """
    try:
        refuse_another_family(found, table)
    except AdapterError as error:
        yield error
        return
    checks: list[Callable[[], object]] = [
        partial(reading.refuse_strays, found),
        partial(unpack_bundle, found.embeddings, table.text_widths),
        *(partial(layer_of, name, stand_in(table.layers[name]), parts)
          for name, parts in found.modules.items()),
    ]  # fmt: skip
    for check in checks:
        try:
            check()
        except AdapterError as error:
            yield error


def was_trained_on(path: Path, family: ModelFamily) -> bool:
    """Whether the file names this very base; True where it does not say."""
    _, header = peek(path)
    return header.get("kaiffin.base_revision", family.revision) == family.revision

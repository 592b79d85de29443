"""An adapter file onto a family: read, checked against the base, ready to inject."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from kaiffin.adapters.files import reading, safe
from kaiffin.adapters.files.reading import AdapterFile
from kaiffin.adapters.files.tables import Table
from kaiffin.adapters.layers import stand_in, weight_size
from kaiffin.adapters.lora import Lora, layer_of
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.adapters.strength import PLAIN, Weights
from kaiffin.adapters.tokens import read_bundle, unpack_bundle
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import OTHER_BASES, SPECS, of_version


def load_adapter(path: Path, family: ModelFamily, weights: Weights = PLAIN) -> Stack:
    """The adapter in `path` with its tokens, not attached yet; `AdapterError` names a mismatch."""
    modules = full_modules(family)
    found = reading.read(path, table_of(family))
    try:
        refuse_another_family(found)
        reading.refuse_strays(found)
        adapter = Lora.from_state(found.state(), modules)
        made = Stack({"": adapter}, read_bundle(found.embeddings, family))
    except AdapterError as error:
        raise AdapterError(f"{path}: {error.message}", error.fix) from None
    made.weights = weights
    made.weigh(0.0)
    return made


def table_of(family: ModelFamily) -> Table:
    """The layers of a loaded base."""
    layers = {name: weight_size(module) for name, module in full_modules(family).items()}
    return Table(family.name, layers, family.layers_per_block)


def refuse_another_family(found: AdapterFile) -> None:
    """`AdapterError` where the header names a base of another family."""
    version, spec = found.metadata.get("ss_base_model_version", ""), SPECS[found.family]
    known = of_version(version)
    if known not in (None, spec) or version.lower().startswith(OTHER_BASES):
        raise AdapterError(
            f"was made for {version}, and this base is {spec.title}.",
            "Use the base it was trained on.",
        )


def faults(found: AdapterFile, table: Table) -> Iterator[AdapterError]:
    """Every reason for which `load_adapter` would refuse the file on a base with these layers.

    The same checks, on layers that have shapes and no weights.
    """
    checks: list[Callable[[], object]] = [
        partial(refuse_another_family, found), partial(reading.refuse_strays, found),
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
    _, header = safe.header(path)
    return header.get("kaiffin.base_revision", family.revision) == family.revision

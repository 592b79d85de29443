"""Whether an adapter file fits a base: its family, its layers, its tokens. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from kaiffin.adapters import ranks
from kaiffin.adapters.files import reading
from kaiffin.adapters.files.reading import AdapterFile
from kaiffin.adapters.files.spelling import other_of_keys, places_of_bundle
from kaiffin.adapters.files.tables import Table
from kaiffin.adapters.kinds import Size, refuse_other_shapes, shapes_of
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.families.spec import (
    OTHERS,
    SPECS,
    Other,
    Spec,
    of_version,
    other_of_version,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def faults(found: AdapterFile, table: Table) -> Iterator[AdapterError]:
    """Every reason for which `load_adapter` would refuse the file on a base with these layers.

    The same checks, by shapes. That it is for another base is the reason of all else.
    """
    try:
        refuse_another_family(found, table)
    except AdapterError as error:
        yield error
        return
    checks: list[Callable[[], object]] = [
        partial(reading.refuse_strays, found),
        partial(ranks.read, found.metadata, found.modules),
        partial(places_of_bundle, found.embeddings, table.text_widths),
        *(partial(refuse_misfit, name, table.layers[name], parts)
          for name, parts in found.modules.items()),
    ]  # fmt: skip
    for check in checks:
        try:
            check()
        except AdapterError as error:
            yield error


def refuse_misfit(name: str, size: Size, parts: Mapping[str, Tensor]) -> None:
    """AdapterError that says why layer `name`, as a file has it, does not go beside a weight of
    `size`."""
    try:
        needed = shapes_of(size, parts)
    except AdapterError as error:
        raise AdapterError(f"{name} {error.message}", error.fix) from None
    refuse_other_shapes(name, needed, parts)


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

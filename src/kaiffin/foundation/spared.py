"""What diffusers and transformers bring along before one model is open, and what of it can wait.

To import a UNet they import their quantizers with bitsandbytes, torch's compiler, scipy and all
their other models: thrice what torch itself takes. All of it stays there to be asked for; see
`deferred`. What is imported already stays as it is. Torch-free.
"""

from __future__ import annotations

import functools
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

from kaiffin.foundation.deferred import defer

GATHERING = (
    "diffusers.models.transformers", "diffusers.models.unets", "diffusers.models.autoencoders",
    "diffusers.models.controlnets", "diffusers.hooks", "transformers.models",
)  # fmt: skip


def spare() -> None:
    """Lets it wait until it is asked for, which mostly is never."""
    defer("bitsandbytes")  # by diffusers' quantizers
    for part in ("stats", "integrate"):  # by diffusers' schedulers
        defer(f"scipy.{part}")
    # By transformers' losses of object detection; the function's own module needs nothing else.
    pairing = "scipy.optimize._lsap:linear_sum_assignment"
    found = {"linear_sum_assignment": functools.partial(pkgutil.resolve_name, pairing)}
    defer("scipy.optimize", given=found)
    _spare_compiler()
    for name in GATHERING:
        defer(name, gathers=True)


def _spare_compiler() -> None:
    """Functions are marked for it where they are defined: others' and torch's own."""
    of_masks = "_trace_wrapped_higher_order_op"  # of transformers' attention masks; small
    given: dict[str, Callable[[], object]] = {
        "allow_in_graph": lambda: _unmarked,
        "assume_constant_result": lambda: _unmarked,
        "disable": lambda: _disable,
        of_masks: lambda: pkgutil.resolve_name(f"torch._dynamo.{of_masks}"),
    }
    defer("torch._dynamo", given=given)


def _unmarked(thing: Any) -> Any:
    """Without this mark the compiler looks inside, as it does where diffusers finds none."""
    return thing


def _disable(function: Any = None, recursive: bool = True, **more: Any) -> Any:
    """As `torch._dynamo.disable`, which is asked once there is a compiler that could compile."""
    if function is None:
        return functools.partial(_disable, recursive=recursive, **more)
    kept: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*values: Any, **named: Any) -> Any:
        disable = sys.modules["torch._dynamo"].disable
        if disable is _disable:
            return function(*values, **named)
        if not kept:
            kept.append(disable(function, recursive, **more))
        return kept[0](*values, **named)

    return call

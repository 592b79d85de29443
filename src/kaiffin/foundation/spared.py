"""What diffusers and transformers bring along before one model is open, and what of it can wait.

To import a UNet they import their quantizers with bitsandbytes, torch's compiler, scipy and all
their other models: thrice what torch itself takes. All of it stays there to be asked for; see
`deferred`. What is imported already stays as it is. Torch-free.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from kaiffin.foundation.deferred import defer

GATHERING = (
    "diffusers.models.transformers", "diffusers.models.unets", "diffusers.models.autoencoders",
    "diffusers.models.controlnets", "diffusers.hooks", "transformers.models",
)  # fmt: skip


def spare() -> None:
    """Lets it wait until it is asked for, which mostly is never."""
    # By diffusers' quantizers; and PEFT looks for that class.
    defer("bitsandbytes", given={"nn": lambda: _module("bitsandbytes.nn", "Linear4bit")})
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
        "graph_break": lambda: _nothing,  # by optimizers
        of_masks: lambda: pkgutil.resolve_name(f"torch._dynamo.{of_masks}"),
        # By diffusers' pipelines.
        "eval_frame": lambda: _module("torch._dynamo.eval_frame", "OptimizedModule"),
        # By tensors without contents, of which nothing is compiled either.
        "config": lambda: importlib.import_module("torch._dynamo.config"),
        "source": lambda: _module(
            "torch._dynamo.source", "RandomValueSource", given={"ConstantSource": _constant}
        ),
    }
    defer("torch._dynamo", given=given)


def _module(
    name: str, *classes: str, given: Mapping[str, Callable[[], object]] | None = None
) -> ModuleType:
    """A module that waits as its package does."""
    defer(name, gathers=True, classes=classes, given=given)
    return sys.modules[name]


def _constant() -> type:
    """As `torch._dynamo.source.ConstantSource`: where a tensor is from that nobody compiles."""
    from torch._guards import GuardSource, Source

    @dataclass(frozen=True)
    class ConstantSource(Source):
        source_name: str
        guard_source = GuardSource.CONSTANT
        name = _name_template = property(lambda self: self.source_name)

    return ConstantSource


def _unmarked(thing: Any) -> Any:
    """Without this mark the compiler looks inside, as it does where diffusers finds none."""
    return thing


def _nothing(*_: Any, **__: Any) -> None:
    """What a call to the compiler does where nothing is compiled."""


def _disable(function: Any = None, recursive: bool = True, **more: Any) -> Any:
    """As `torch._dynamo.disable`, which is asked once there is a compiler that could compile."""
    if function is None:
        return functools.partial(_disable, recursive=recursive, **more)
    made = functools.cache(lambda disable: disable(function, recursive, **more))

    @functools.wraps(function)
    def call(*values: Any, **named: Any) -> Any:
        disable = sys.modules["torch._dynamo"].disable
        return (function if disable is _disable else made(disable))(*values, **named)

    return call

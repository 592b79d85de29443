"""The denoiser's repeated blocks compiled by torch: what `base.compile` asks for.

One block is compiled where it is first asked for something new, and serves all blocks like it (what
diffusers calls regional compilation). What the compiler made is kept in Kaiffin's cache folder.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.hashes import cache_folder
from kaiffin.foundation.tell import Tell

# Kinds of one block that are kept: each adapter, strength and size makes another.
KINDS = 64


def compile_blocks(net: nn.Module, device: torch.device, tell: Tell) -> None:
    """Compiles `net` block by block as it is used. ConfigError where nothing here can."""
    _refuse_without_compiler(device)
    folder = os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    settings: Any = torch._dynamo.config
    # Adapters are hooks that come and go: what was compiled without them is not to be used.
    settings.skip_nnmodule_hook_guards = False
    settings.recompile_limit = max(settings.recompile_limit, KINDS)
    wanted = getattr(net, "_repeated_blocks", None) or ()
    for module in (one for one in net.modules() if type(one).__name__ in wanted):
        module.compile()
    tell.note(
        "note: base.compile: the first step and the first picture of each size and with other"
        f" adapters wait for the compiler, on a CPU for minutes; its work is kept in {folder}"
    )


def _refuse_without_compiler(device: torch.device) -> None:
    if device.type not in ("cpu", "mps") and not find_spec("triton"):
        raise ConfigError(
            "base.compile: torch has no triton here to compile with.",
            "Install it (python -m pip install triton), or leave base.compile out.",
        )
    if device.type == "cpu":
        from torch._inductor import cpp_builder, exc

        try:
            cpp_builder.get_cpp_compiler()
        except (exc.InvalidCxxCompiler, OSError):  # none, or CXX names what cannot be run
            raise ConfigError(
                "base.compile: there is no C++ compiler here to compile with.",
                "Install g++ (Debian: apt install g++), or leave base.compile out.",
            ) from None

"""What is optional: the packages of each extra, and the way to one that is absent. Torch-free.

Versions stand in pyproject.toml alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from kaiffin.foundation.errors import UserError

# Each extra's packages, as they are imported.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "heif": ("pillow_heif",),
    "optimizers": ("pytorch_optimizer",),
    "8bit": ("bitsandbytes",),
    "lycoris": ("lycoris",),
    "ray": ("ray",),
    "serve": ("fastapi", "uvicorn", "sse_starlette", "python_multipart", "prometheus_client"),
}


@contextlib.contextmanager
def needs(extra: str, what: str, error: type[UserError] = UserError) -> Iterator[None]:
    """Around the import of an extra's packages. what: the setting, file or command that wants them.

    Raises `error` where one is absent. What goes wrong inside a package that is there is no answer
    to "is it there?" and keeps its own words.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in EXTRAS[extra]:
            raise
        raise error(f"{what} needs the extra {extra}.", f"Install it: {command(extra)}") from None


def absent(extra: str) -> list[str]:
    """Those of an extra's packages that are not installed."""
    return [name for name in EXTRAS[extra] if not _is_there(name)]


def _is_there(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    return importlib.util.find_spec(name) is not None


def command(extra: str) -> str:
    """What brings it, with the Python that runs Kaiffin; pip leaves Kaiffin itself as it is."""
    try:
        python = str(
            Path(sys.executable).relative_to(Path.cwd())
        )  # of a clone that is not activated
    except ValueError:
        python = "python"
    return f"{python} -m pip install 'kaiffin[{extra}]'"

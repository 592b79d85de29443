"""`kaiffin doctor`: what Kaiffin finds on this machine, and whether it works there.

One screen to paste into an issue: no path but below `~`, no name of a user, a machine, a subject
or a base of one's own. Torch-free until it tries torch, so that it can say that torch is broken.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from kaiffin import __version__
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.extras import EXTRAS, absent, command
from kaiffin.foundation.tell import SILENT, Tell, size_text
from kaiffin.foundation.text import counted

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "numpy")
# Variables that change what happens here: their names are said, never what they hold.
HEARD = re.compile(
    r"(KAIFFIN|HF|CUDA|PYTORCH|OMP|MKL|TRANSFORMERS|SSL|HTTPS?)_\w+|https?_proxy", re.I
)
ROOM = 2e9  # bytes free, on the disk and in memory: for the miniature and its pictures
REINSTALL = "Install Kaiffin again: python -m pip install --force-reinstall --no-deps kaiffin"


@dataclass(frozen=True)
class Fact:
    """One thing that was looked at. way_out: for what is not well."""

    found: str
    well: bool = True
    way_out: str = ""
    name: str = ""


@dataclass(frozen=True)
class Checkup:
    """All that was looked at, in the order of the page."""

    facts: tuple[Fact, ...]

    @property
    def healthy(self) -> bool:
        return all(fact.well for fact in self.facts)


def doctor(*, quick: bool = False, tell: Tell = SILENT) -> Checkup:
    """Looks, and unless it has to be quick makes a training step and a picture on the miniature in
    a folder that is gone afterwards. Raises nothing for what it finds; asks nobody."""
    checks: list[tuple[str, Callable[[], Fact]]] = [
        ("kaiffin", _kaiffin), ("libraries", _libraries), ("device", _device),
        ("memory", _memory), ("disk", _disk), ("caches", _caches), ("bases", _bases),
        ("extras", _extras), ("environment", _environment),
    ]  # fmt: skip
    tried = [] if quick else [("training step", _step), ("picture", _picture)]
    facts = []
    with (
        tempfile.TemporaryDirectory(prefix="kaiffin-doctor-") as folder,
        tell.progress("looking", len(checks) + len(tried)) as wait,
    ):
        for name, look in [*checks, *((name, _within(act, Path(folder))) for name, act in tried)]:
            facts.append(_fact(name, look))
            wait.advance()
    return Checkup(tuple(facts))


def _fact(name: str, look: Callable[[], Fact]) -> Fact:
    """A look that breaks is a finding, too."""
    try:
        fact = look()
    except UserError as error:
        fact = Fact(error.message, False, error.fix)
    except Exception as error:  # whatever a broken library raises
        fact = Fact(f"{type(error).__name__}: {error}", False, REINSTALL)
    way = "" if fact.well else private(fact.way_out)
    return Fact(private(fact.found), fact.well, way, name)


def private(text: str) -> str:
    """Without what says who and where: folders above `~`, the names of user and machine."""
    text = text.replace(str(Path.home()), "~")
    text = re.sub(r"(?<![\w.~/:])/(?:[^\s/:'\"]+/)+", "…/", text)
    names = {platform.node(), *_user()} - {"", "root", "localhost"}
    for name in names:
        text = re.sub(rf"\b{re.escape(name)}\b", "…", text)
    return " ".join(text.split())


def _user() -> Iterator[str]:
    try:
        yield getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return


# --- what is here -------------------------------------------------------------------------------


def _kaiffin() -> Fact:
    where = f"{platform.system()} {platform.release()} {platform.machine()}"
    python = platform.python_version()
    fine = sys.version_info >= (3, 11)
    return Fact(f"{__version__}, Python {python}, {where}", fine, "Use Python 3.11 or newer.")


def _libraries() -> Fact:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    lost = [name for name, version in found.items() if version == "absent"]
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    return Fact(text, not lost, f"Install it: python -m pip install {' '.join(lost)}")


def _device() -> Fact:
    import torch

    from kaiffin.foundation.config import BaseConfig
    from kaiffin.foundation.runtime import Runtime, cards

    device = Runtime.from_config(BaseConfig()).device
    if there := cards(device):
        named = "; ".join(f"{name}, {size_text(size)}" for name, size in there)
        return Fact(f"{named} (torch {torch.__version__})")
    torch.ones(2, device=device).sum().item()
    return Fact(f"{device.type}, {counted(os.cpu_count() or 1, 'core')}")


def _memory() -> Fact:
    import psutil

    found = psutil.virtual_memory()
    text = f"{size_text(found.available)} of {size_text(found.total)} free"
    return Fact(text, found.available > ROOM, "Close other programs: 2 GB are needed.")


def _disk() -> Fact:
    free = {name: shutil.disk_usage(_there(path)).free for name, path in _folders().items()}
    text = ", ".join(f"{name} {size_text(size)} free" for name, size in free.items())
    return Fact(text, min(free.values()) > ROOM, "Free some space: 2 GB are needed.")


def _folders() -> dict[str, Path]:
    from kaiffin.models.files import kept, shelf

    return {"here": Path.cwd(), "the hub's cache": kept.cache(), "names": shelf.file().parent}


def _there(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next((one for one in (path, *path.parents) if one.exists()), Path.cwd())


def _caches() -> Fact:
    found, closed = [], []
    for name, path in _folders().items():
        at = "" if name == "here" else f" {private(str(path))}"
        state = "" if path.exists() else ", not there yet"
        found.append(f"{name}{at}{state}")
        if not os.access(_there(path), os.W_OK):
            closed.append(name)
    way = "Give yourself the right to write, or set HF_HOME and KAIFFIN_HOME to folders of yours."
    shut = f"; no right to write: {', '.join(closed)}" if closed else ""
    return Fact(", ".join(found) + shut, not closed, way)


def _bases() -> Fact:
    from kaiffin.models.files.embedded import EMBEDDED
    from kaiffin.models.files.published import PUBLISHED
    from kaiffin.stories.bases import bases, cached

    known = bases()
    words = {"here": "", "half": " in half precision", "part": " in part"}
    named = [
        f"{base.name}{words[base.status.state]}"
        for base in known
        if base.name in {*EMBEDDED, *PUBLISHED} and base.status.state != "absent"
    ]
    others = len(known) - len(EMBEDDED) - len(PUBLISHED) + len(cached())
    more = [f"{others} without a name of Kaiffin's"] if others else []
    whole = all(one.status.state == "here" for one in known if one.name in EMBEDDED)
    return Fact(", ".join([*named, *more]), whole, REINSTALL)


def _extras() -> Fact:
    lost = [extra for extra in EXTRAS if absent(extra)]
    text = ", ".join(extra for extra in EXTRAS if extra not in lost) or "none"
    if lost:
        text += f"; absent: {', '.join(lost)} (such as: {command(lost[0])})"
    return Fact(text)


def _environment() -> Fact:
    return Fact(", ".join(sorted(filter(HEARD.fullmatch, os.environ))) or "nothing is set")


# --- whether it works ---------------------------------------------------------------------------


def _within(act: Callable[[Path], str], folder: Path) -> Callable[[], Fact]:
    def timed() -> Fact:
        started = time.perf_counter()
        made = act(folder)
        return Fact(f"{made} in {time.perf_counter() - started:.1f} s, with loading")

    return timed


def _step(folder: Path) -> str:
    from kaiffin.foundation.settings import changed
    from kaiffin.stories import demo, train

    demo.render_photos(folder / "photos", "kaiffin", 0)
    config = demo.demo_config(folder / "photos", "kaiffin", 0, steps=1)
    config = changed(config, **{"train.tensorboard": False, "score.candidates": 1})
    made = train.train(config, folder / "run")
    return f"works: adapter of {size_text(made.adapter.stat().st_size)}"


def _picture(folder: Path) -> str:
    from kaiffin.stories.generate import Order, generate

    run = folder / "run"
    source = str(run) if (run / "manifest.json").is_file() else "miniature"
    order = Order(source, ["a photo of a puffin"], out=folder / "images")
    made = generate(order, changes={"sample.steps": 2})
    return f"works: {made.paths[0].stat().st_size} bytes"

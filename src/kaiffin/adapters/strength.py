"""How strong an adapter is: one number, or one for each part, or one that changes on the way.

0.8                       everything
unet=0.9,text=0.4         parts: unet, text, or glob patterns over layer names
0.8,unet.mid_block.*=0.2  a number for all the rest
1..0.3                    from 1 at the first denoising step to 0.3 at the last
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.prompts import STRONGEST
from kaiffin.models.families.spec import TEXT

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")  # what adapters are kept in
WAYS = "Write 0.8, unet=0.8,text=0.4 or 1..0.3."


@dataclass(frozen=True)
class Ramp:
    """A weight at the first denoising step and at the last."""

    first: float
    last: float

    def at(self, progress: float) -> float:
        return self.first + (self.last - self.first) * progress


@dataclass(frozen=True)
class Weights:
    """rest: for all that no part names; parts: (pattern, ramp), the first that fits counts."""

    rest: Ramp
    parts: tuple[tuple[str, Ramp], ...] = ()

    def at(self, layer: str, progress: float) -> float:
        """Weight of a layer. Text encoders speak once, before the steps: a ramp's mean."""
        fits = (ramp for pattern, ramp in self.parts if fnmatch.fnmatchcase(layer, pattern))
        ramp = next(fits, self.rest)
        return ramp.at(0.5 if layer.startswith(TEXT) else progress)

    def times(self, factor: float) -> Weights:
        """The same in proportion, as blending needs it."""
        parts = tuple((p, Ramp(r.first * factor, r.last * factor)) for p, r in self.parts)
        return Weights(Ramp(self.rest.first * factor, self.rest.last * factor), parts)

    @property
    def number(self) -> float | None:
        """The one number that it is, or None where parts or steps differ."""
        return None if self.parts or self.changes else self.rest.first

    @property
    def changes(self) -> bool:
        """Whether it depends on the denoising step."""
        return any(r.first != r.last for r in (self.rest, *(ramp for _, ramp in self.parts)))

    def __str__(self) -> str:
        shown = [_text(self.rest)] + [f"{pattern}={_text(ramp)}" for pattern, ramp in self.parts]
        return ",".join(shown)


PLAIN = Weights(Ramp(1.0, 1.0))


def split(text: str) -> tuple[Path, Weights]:
    """FILE or FILE:WEIGHTS. A colon that is part of the path, as in C:\\a.safetensors, stays there.

    Raises ConfigError where what follows the file's colon is no weight.
    """
    name, colon, given = text.rpartition(":")
    if not colon or _is_there(text) or (len(name) == 1 and given[:1] in ("\\", "/")):
        return Path(text), PLAIN
    is_file = name.strip().lower().endswith(FILES) or (name and _is_there(name))
    if is_file or _is_weights(given.strip()):
        try:
            return Path(name), parse(given)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error.message}", error.fix) from None
    return Path(text), PLAIN


def is_file(text: str) -> bool:
    """Whether `text` reads as FILE or FILE:WEIGHTS, whether or not it is there."""
    return any(one.lower().endswith(FILES) for one in (text, text.rpartition(":")[0]))


def _is_there(name: str) -> bool:
    """Whether a file or folder has that name; one too long for any has not."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def _is_weights(text: str) -> bool:
    """Whether `text` may be meant as weights: what stands after the colon of FILE:WEIGHTS."""
    return bool(re.fullmatch(rf"{NUMBER}(\.\..*|,.*)?|[\w.*?\[\]-]+=.*", text))


def parse(text: str) -> Weights:
    """Reads weights as above; ConfigError says what is wrong."""
    if meant := re.search(r"(=\s*\d+),(\d+)(?=,|$)", text):
        way = f"Write {text.strip().replace(meant[0], f'{meant[1]}.{meant[2]}')}."
        raise ConfigError(f"the weights {text.strip()!r} have a comma in a number.", way)
    rest, parts = None, {}
    for entry in text.split(","):
        pattern, equals, value = entry.rpartition("=")
        ramp = _ramp(value)
        if ramp is None or (equals and not pattern.strip()):
            raise ConfigError(
                f"the weight {entry.strip()!r} of {text.strip()!r} cannot be read.", _way(text)
            )
        name = _pattern(pattern.strip()) if equals else None
        if name in parts or (name is None and rest is not None):
            what = pattern.strip() if equals else "everything"
            raise ConfigError(f"the weights {text.strip()!r} give {what} two values.", _way(text))
        if name is None:
            rest = ramp
        else:
            parts[name] = ramp
    return Weights(rest or Ramp(1.0, 1.0), tuple(parts.items()))


def _ramp(text: str) -> Ramp | None:
    """`0.8` or `1..0.3`; None for what is no number. ConfigError for one beyond all measure."""
    match = re.fullmatch(rf"\s*({NUMBER})(?:\.\.({NUMBER}))?\s*", text)
    if match is None:
        return None
    ramp = Ramp(float(match[1]), float(match[2] or match[1]))
    if max(abs(ramp.first), abs(ramp.last)) > STRONGEST:
        raise ConfigError(
            f"a weight of {text.strip()} leaves nothing of a picture.",
            "Weights are about 0.5 to 1.5.",
        )
    return ramp


def _way(text: str) -> str:
    """What was probably meant, or all that can be written."""
    if percent := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text):
        return f"Write {float(percent[1]) / 100:g}."
    comma = re.fullmatch(r"\s*([-+]?\d+),(\d+)\s*", text)
    return f"Write {comma[1]}.{comma[2]}." if comma else WAYS


def _pattern(name: str) -> str:
    """`unet` and `text` mean all their layers; a block's name means all below it."""
    if name == "text":
        return f"{TEXT}*"
    return name if "*" in name else f"{name}.*"


def _text(ramp: Ramp) -> str:
    return f"{ramp.first:g}" if ramp.first == ramp.last else f"{ramp.first:g}..{ramp.last:g}"

"""Where a picture begins other than in the noise of its seed, and what is painted over it
afterwards. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.schema import LONGEST_SIDE, SEEDS, Strict
from kaiffin.foundation.settings import reason_of
from kaiffin.foundation.whereabouts import content_sha256

Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=0, le=LONGEST_SIDE)]
MOST_LARGER = 4.0  # times; beyond it there is nothing left of the picture in a tile


class File(Strict):
    """A picture that a recipe names: by path and name, and known by its content."""

    path: str
    name: str
    sha256: str

    @classmethod
    def at(cls, path: Path) -> File:
        """Raises ConfigError where there is none."""
        if not path.is_file():
            raise ConfigError(f"{path}: is no picture.", "Name a file, such as photo.jpg.")
        return cls(path=str(path), name=path.name, sha256=content_sha256(path))


class Ways(Strict):
    """The ways into a picture besides its prompt; what is left out has no effect.

    image: what is painted over, from the noise level on that `strength` of the steps have before
    them (all of them: from noise alone); mask: white where it is painted over, with a soft edge
    of `feather` pixels around (None: a 32nd of the shorter side); vary: how far the first noise
    goes from the seed's to that of `vary_seed`; upscale: times the size, in a second pass;
    detail: the words of the subject whose part of the picture gets a second pass, unless `box`
    (left, top, width, height) says which part it is; second: the strength of second passes.
    """

    image: Any = None
    strength: Share = 0.6
    mask: Any = None
    feather: Annotated[int, Field(ge=0, le=1024)] | None = None
    vary: Share = 0.0
    vary_seed: Annotated[int, Field(ge=0, lt=SEEDS)] = 0
    upscale: Annotated[float, Field(ge=1, le=MOST_LARGER)] = 1.0
    detail: Annotated[str, Field(max_length=2000)] = ""
    box: tuple[Side, Side, Side, Side] | None = None
    second: Share = 0.4

    @property
    def is_larger(self) -> bool:
        return self.upscale > 1

    @property
    def is_closer(self) -> bool:
        return bool(self.detail or self.box)

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.mask and not self.image:
            raise ValueError("a mask says which part of a picture is painted over: name that, too")
        if self.mask and (self.is_larger or self.is_closer):
            raise ValueError(
                "a mask keeps the rest as it is, and a second pass (upscale, detail) paints over"
                " it: do one after the other"
            )
        if self.box and 0 in self.box[2:]:
            raise ValueError("a box has a width and a height")
        return self

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Of the picture that begins with this size."""
        if not self.is_larger:
            return width, height
        larger = (round(side * self.upscale / 8) * 8 for side in (width, height))
        return next(larger), next(larger)


class Start(Ways):
    """The same with the files themselves, as a request and its recipe have it."""

    image: File | None = None
    mask: File | None = None

    @classmethod
    def of(cls, source: str, **given: Any) -> Start:
        """Raises ConfigError that names `source` and what cannot be."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])).replace("_", "-")
            where = f"{source}{name}: " if name else ""
            raise ConfigError(f"{where}{reason_of(first)}.") from None

    def as_json(self) -> dict[str, Any]:
        """All that has a value: what a default is later does not count."""
        return self.model_dump(mode="json", exclude_none=True)

    def parameters(self) -> dict[str, Any]:
        """As A1111's web UI writes it beside a picture."""
        facts: dict[str, Any] = {}
        if self.image or self.is_larger:
            facts["Denoising strength"] = f"{self.strength if self.image else self.second:g}"
        if self.mask and self.feather is not None:
            facts["Mask blur"] = self.feather
        if self.vary:
            facts |= {"Variation seed": self.vary_seed, "Variation seed strength": f"{self.vary:g}"}
        if self.is_larger:
            facts |= {"Hires upscale": f"{self.upscale:g}", "Hires upscaler": "Lanczos"}
        return facts

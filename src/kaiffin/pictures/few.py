"""What `fast` makes of pictures: their settings, the few-step adapter beside theirs, and how strong
these are. The same for every story that makes pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kaiffin.foundation.config import Config
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.schema import Strict
from kaiffin.foundation.settings import changed
from kaiffin.foundation.tell import Tell
from kaiffin.pictures import fast
from kaiffin.pictures.make import WeightedAdapter


@dataclass(frozen=True)
class Few:
    """worn: the few-step adapter, or nothing; sample: the settings it wants, by name; lift: what a
    run's own adapter is multiplied by; said: all that in a line for people."""

    worn: tuple[WeightedAdapter, ...] = ()
    sample: Mapping[str, Any] = field(default_factory=dict)
    lift: float = 1.0
    said: str = ""

    def beside(self, own: Iterable[WeightedAdapter]) -> tuple[WeightedAdapter, ...]:
        """A run's adapters as strong as they are to be, and the few-step adapter."""
        lifted = (replace(one, weights=one.weights.times(self.lift)) for one in own)
        return (*lifted, *self.worn)

    @property
    def facts(self) -> dict[str, Any]:
        """What tells pictures made with it from others; nothing where there is none."""
        if not self.worn:
            return {}
        files = {file_sha256(one.path): str(one.weights) for one in self.worn}
        return {"fast": {"weights": files, "lift": self.lift}}


NONE = Few()


def few(
    name: str | None, base: str, given: Collection[str] = (), *, skip_unknown: bool = False
) -> Few:
    """Of the adapter that `name` means for a base; nothing for None.

    given: settings of `sample` that stay as they are. Raises ConfigError as `fast.find` does.
    """
    if name is None:
        return NONE
    found = fast.find(name, base)
    worn = WeightedAdapter(found.path, found.weights, skip_unknown)
    wanted, said = fast.settings(found, given), fast.said(found, given)
    return Few((worn,), wanted, found.kind.lift, said)


def few_steps(
    config: Config, changes: Mapping[str, Any] | None = None, *, skip_unknown: bool = False,
    tell: Tell,
) -> tuple[Config, Few]:  # fmt: skip
    """`config` as the adapter that `sample.fast` names wants it, and that adapter, which is told.

    changes: what was given for these pictures. Where `sample.fast` is among them, the others stay
    as they are given; where it is the run's own, so does all that is not as by default.
    """
    given = {name.removeprefix("sample.") for name in changes or {}}
    if "fast" not in given:
        given |= unusual(config.sample)
    found = few(config.sample.fast, config.base.name, given, skip_unknown=skip_unknown)
    if found.said:
        tell.note(found.said)
    return changed(config, **{f"sample.{n}": value for n, value in found.sample.items()}), found


def unusual(section: Strict) -> set[str]:
    """The settings that are not as by default."""
    return {name for name, value in section if value != getattr(type(section)(), name)}

"""What prompts call by name: adapters, as in `<lora:NAME:0.8>`, and textual inversions, whose names
are words among others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kaiffin.adapters import strength
from kaiffin.adapters.files import safe
from kaiffin.adapters.files.spelling import is_embedding
from kaiffin.foundation.errors import AdapterError, nearest
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.prompts import Prompt, Tag, in_tag, said_of
from kaiffin.foundation.run import Run
from kaiffin.foundation.text import same
from kaiffin.pictures.make import Embedding, WeightedAdapter

RUNS = Path("runs")
KEPT = (".safetensors", ".pt", ".bin")  # pickles are found, so that they are refused by name


@dataclass(frozen=True)
class Library:
    """Files by the names that prompts may call them, which are compared and never used as paths.

    folders: their files count anywhere below them, by name without ending, and beside them the
    finished runs in the working folder's runs/, by the folder's name, and by the adapter's where
    nothing else is called so; given: names and files, instead of all these.
    """

    folders: Sequence[Path] = ()
    given: Mapping[str, Path] | None = None

    def adapters(self, tags: Iterable[Tag]) -> tuple[WeightedAdapter, ...]:
        """Those that `tags` mean. AdapterError for a name that nothing has, or two different
        files."""
        return tuple(
            WeightedAdapter(self._adapter(tag.name), weights_of(tag), name=tag.name) for tag in tags
        )

    def embeddings(self, prompts: Iterable[Prompt], steps: int) -> tuple[Embedding, ...]:
        """The textual inversions whose names, in any case, are among the words of `prompts` at any
        of `steps`. AdapterError where a file of such a name cannot be read, or two differ."""
        words: dict[str, list[Path]] = {}
        for name, paths in self._files.items():
            words.setdefault(same(name), []).extend(paths)
        said = said_of(prompts, steps, self._files)
        found = ((name, [p for p in words[same(name)] if _is_embedding(p)]) for name in said)
        return tuple(Embedding(_only(paths, name), name) for name, paths in found if paths)

    def _adapter(self, name: str) -> Path:
        wanted = name.removesuffix(".safetensors")
        named: dict[str, list[Path]] = {}
        for key, paths in (*self._runs(by_folder=True).items(), *self._files.items()):
            named.setdefault(in_tag(key), []).extend(paths)
        named = self._runs(by_folder=False) | named
        if wanted not in named:
            raise AdapterError(
                f"<lora:{name}>: no adapter is called so.",
                nearest(wanted, named, "Name the folder of your adapters with --adapters."),
            )
        return _only(named[wanted], name)

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        if self.given is not None:
            return {name: [path] for name, path in self.given.items()}
        found: dict[str, list[Path]] = {}
        for folder in self.folders:
            if not folder.is_dir():
                raise AdapterError(f"{folder}: is no folder of adapters.", "See --adapters.")
            for path in sorted(folder.rglob("*")):
                if path.suffix in KEPT:
                    found.setdefault(path.stem, []).append(path)
        return found

    @cached_property
    def _finished(self) -> list[Run]:
        there = sorted(RUNS.glob("*")) if self.given is None else ()
        return [run for run in map(Run.open, filter(Run.is_at, there)) if run.finished]

    def _runs(self, *, by_folder: bool) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for run in self._finished:
            name = run.path.name if by_folder else run.adapter_path.stem
            found.setdefault(name, []).append(run.adapter_path)
        return found


def _only(paths: Sequence[Path], name: str) -> Path:
    if len(paths) > 1 and len({file_sha256(path) for path in paths}) > 1:
        there = ", ".join(map(str, paths))
        raise AdapterError(f"{name}: several are called so: {there}.", "Rename all but one.")
    return paths[0]


def _is_embedding(path: Path) -> bool:
    return is_embedding(safe.header(path)[0])


def weights_of(tag: Tag) -> strength.Weights:
    """The tag's weights as those of `--adapter FILE:WEIGHTS`."""
    if tag.text == tag.unet:
        return strength.Weights(strength.Ramp(tag.unet, tag.unet))
    return strength.parse(f"unet={tag.unet!r},text={tag.text!r}")

"""The weights of one model: which files hold them, and each put in its place once.

The libraries' own way fills a model with noise first, copies and casts afterwards. Here it is built
without memory (torch's meta device), and each weight goes to its place in the wanted dtype and on
the device. On a CPU what needs no cast stays where the file is mapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn

from kaiffin.models.families.text import canonical
from kaiffin.models.files import header
from kaiffin.models.files.wanted import indices

STEMS = ("diffusion_pytorch_model", "model")  # of diffusers and transformers
AT_ONCE = 64  # weights for which a file is mapped: what is cast does not need the map any longer


def of_variant(folder: Path, variant: str | None) -> list[Path]:
    """The files that the libraries would open; [] where there are none. Raises MissingWeightsError
    for an index that is broken, or whose shards are not there."""
    mark = f".{variant}" if variant else ""
    for stem in STEMS:
        whole = folder / f"{stem}{mark}.safetensors"
        if whole.is_file():
            return [whole]
        for index in (folder / name for name in indices(stem, half=bool(variant))):
            if index.is_file():
                return header.shards(index)
    return []


def built(cls: Any, folder: Path) -> Any:
    """The model of `folder`'s configuration, without memory. Raises what the libraries raise at a
    configuration that is broken or of another kind."""
    from transformers import PreTrainedModel
    from transformers.initialization import no_init_weights

    with no_init_weights(), torch.device("meta"):
        if issubclass(cls, PreTrainedModel):
            config = cls.config_class.from_pretrained(str(folder), local_files_only=True)
            return cls(config)
        return cls.from_config(cls.load_config(str(folder), local_files_only=True))


def fill(model: nn.Module, files: Sequence[Path], dtype: torch.dtype, device: torch.device) -> bool:
    """Puts the weights of `files` into a model without memory; what it has no place for is left.

    False, and no more than that, where names are missing: the libraries know what older versions
    called them. Raises what torch and safetensors raise at broken files and shapes that do not fit.
    """
    places = _places(model)
    found = {
        name: tensor for path in files for name, tensor in _tensors(path, places, dtype, device)
    }
    if len(found) < len(places):
        return False
    for name, tensor in found.items():
        places[name].take(tensor)
    for name, buffer in model.named_buffers():
        if name.endswith("position_ids"):  # in the files of older versions only
            owner = model.get_submodule(name.rpartition(".")[0])
            numbers = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
            owner.position_ids = numbers.clone()
        elif buffer.is_meta:
            return False
    return True


class _Place(NamedTuple):
    """Where a weight belongs: the name of a parameter or buffer, and the module that holds it."""

    owner: nn.Module
    leaf: str
    name: str

    def take(self, tensor: Tensor) -> None:
        """As `load_state_dict(assign=True)` does, which takes as long as reading a mapped file."""
        before = getattr(self.owner, self.leaf)
        if before.shape != tensor.shape:
            raise ValueError(
                f"size mismatch for {self.name}: {tuple(tensor.shape)} where the model has"
                f" {tuple(before.shape)}"
            )
        if isinstance(before, nn.Parameter):
            self.owner._parameters[self.leaf] = nn.Parameter(tensor, False)
        else:
            self.owner._buffers[self.leaf] = tensor


def _places(model: nn.Module) -> dict[str, _Place]:
    """Of the model's weights, by what every version would call them."""
    modules = dict(model.named_modules())
    found = {}
    for name in model.state_dict():
        owner, _, leaf = name.rpartition(".")
        found[canonical(name)] = _Place(modules[owner], leaf, name)
    return found


def _tensors(
    path: Path, places: Mapping[str, _Place], dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """The weights that have a place, by its canonical name."""
    with safe_open(path, framework="pt") as file:
        names = [(n, canonical(n)) for n in file.offset_keys() if canonical(n) in places]
        stays = device.type == "cpu" and bool(names) and file.get_tensor(names[0][0]).dtype == dtype
    at_once = len(names) if stays else AT_ONCE
    for start in range(0, len(names), at_once):
        with safe_open(path, framework="pt", device=str(device)) as file:
            for name, place in names[start : start + at_once]:
                tensor = file.get_tensor(name)
                yield place, tensor.to(dtype) if tensor.is_floating_point() else tensor

"""The weights of one model: which files hold them, and each put in its place once.

The libraries' own way fills a model with noise first, copies and casts afterwards. Here it is built
without memory (torch's meta device), and each weight goes to its place in the wanted dtype and on
the device. On a CPU what needs no cast stays where the file is mapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils._device import DeviceContext

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

    with _Blueprint("meta"):
        if issubclass(cls, PreTrainedModel):
            config = cls.config_class.from_pretrained(str(folder), local_files_only=True)
            return cls(config)
        return cls.from_config(cls.load_config(str(folder), local_files_only=True))


class _Blueprint(DeviceContext):
    """torch's context of a device, without what torch.nn.init does to new layers."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return super().__torch_function__(func, types, args, kwargs)


def fill(model: nn.Module, files: Sequence[Path], dtype: torch.dtype, device: torch.device) -> bool:
    """Puts the weights of `files` into a model without memory; what it has no place for is left.

    False, and no more than that, where names are missing: the libraries know what older versions
    called them. Raises what torch and safetensors raise at broken files and shapes that do not fit.
    """
    places = _places(model)
    found = {
        places[canonical(name)]: tensor
        for path in files
        for name, tensor in _tensors(path, places, dtype, device)
    }
    for name, buffer in model.named_buffers():
        if name.endswith("position_ids"):  # in the files of older versions only
            owner = model.get_submodule(name.rpartition(".")[0])
            numbers = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
            owner.position_ids = numbers.clone()
    if len(found) < len(places):
        return False
    _assign(model, found)
    return not any(t.is_meta for t in (*model.parameters(), *model.buffers()))


def _assign(model: nn.Module, found: Mapping[str, Tensor]) -> None:
    """As `load_state_dict(found, assign=True)`, which takes as long as reading a mapped file."""
    modules = dict(model.named_modules())
    for name, tensor in found.items():
        owner, _, leaf = name.rpartition(".")
        before = getattr(modules[owner], leaf)
        if before.shape != tensor.shape:
            raise ValueError(
                f"size mismatch for {name}: {tuple(tensor.shape)} where the model has"
                f" {tuple(before.shape)}"
            )
        is_trained = isinstance(before, nn.Parameter)
        setattr(modules[owner], leaf, nn.Parameter(tensor, False) if is_trained else tensor)


def _places(model: nn.Module) -> dict[str, str]:
    """The names of the model's weights, by what every version would call them."""
    return {canonical(name): name for name in model.state_dict()}


def _tensors(
    path: Path, places: Mapping[str, str], dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.offset_keys() if canonical(name) in places]
    for start in range(0, len(names), AT_ONCE):
        with safe_open(path, framework="pt", device=str(device)) as file:
            for name in names[start : start + AT_ONCE]:
                tensor = file.get_tensor(name)
                yield name, tensor.to(dtype) if tensor.is_floating_point() else tensor

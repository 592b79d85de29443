"""From located files to a frozen `ModelFamily`, by the row of its family in `SPECS`."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.runtime import Runtime, choose_threads, make_deterministic
from kaiffin.foundation.tell import Progress, Tell
from kaiffin.models import parts
from kaiffin.models.base import ModelFamily
from kaiffin.models.diffusion.schedule import Schedule
from kaiffin.models.families.shared import LatentDiffusion, Loaded
from kaiffin.models.families.spec import SPECS, tokenizer_of
from kaiffin.models.files import autoencoder, checkpoint, resolve
from kaiffin.models.files.compiling import compile_blocks
from kaiffin.models.files.facts import as_long, family_class
from kaiffin.models.files.faults import BROKEN, refuse_missing
from kaiffin.models.files.quantize import quantize
from kaiffin.models.files.vocabulary import tokenizer_folder
from kaiffin.models.files.weights import built, fill, of_variant


def load(base: BaseConfig, runtime: Runtime, tell: Tell) -> ModelFamily:
    """Loads the base that `base.name` means, with `base.vae` in place of its VAE if given; what
    the hub has and this machine has not is taken first.

    Raises MissingWeightsError where files are absent, broken or of another kind of model.
    """
    dtype = runtime.base_dtype
    located = resolve.locate(base.name, half=dtype.itemsize == 2, tell=tell)
    spec = SPECS[located.family]
    family, title = family_class(located.family), Path(base.name).name
    with parts.quiet(), tell.progress(f"loading {title}, parts", len(family.models())) as wait:
        device = runtime.device
        found, files = _components(
            located, family, dtype, device, wait, vae=not base.vae, tell=tell
        )
        if base.vae:
            found["vae"], vae_files = _external_vae(base.vae, located, tell)
            files = [*files, *vae_files]
        models: dict[str, Any] = {
            name: parts.frozen(model, runtime.device, _dtype_of(name, model, dtype))
            for name, model in found.items()
            if isinstance(model, nn.Module)
        }
    _fit(models, spec.denoiser, base, runtime)
    if base.compile:
        compile_blocks(models[spec.denoiser], runtime.device, tell)
    loaded = Loaded(
        base=resolve.pinned(base.name),
        revision=parts.revision(files, checkpoint.schedule_mark(located), tell=tell),
        schedule=found["schedule"],
        models=models,
        tokenizers={
            tower: as_long(found[tokenizer_of(tower)], vars(found[tower].config))
            for tower in spec.text_towers
        },
        device=runtime.device,
        dtype=dtype,
        quantize=base.quantize,
        remarks=(*located.remarks, *_upcast(models["vae"], dtype)),
    )
    return family(loaded)


def _dtype_of(name: str, model: nn.Module, dtype: torch.dtype) -> torch.dtype:
    """SDXL's VAE overflows in fp16 and says so by `force_upcast`; it then stays in fp32."""
    forced = name == "vae" and getattr(model.config, "force_upcast", False)
    return torch.float32 if forced and dtype == torch.float16 else dtype


def _upcast(vae: nn.Module, dtype: torch.dtype) -> list[str]:
    if next(vae.parameters()).dtype == dtype:
        return []
    return ["its VAE stays in fp32, since in fp16 it may overflow (its `force_upcast`)"]


def _components(
    located: resolve.Located, family: type[LatentDiffusion], dtype: torch.dtype,
    device: torch.device, wait: Progress, *, vae: bool, tell: Tell,
) -> tuple[dict[str, Any], list[Path]]:  # fmt: skip
    """Every component and the `schedule`, and the files that hold weights.

    wait: for the models, one by one; vae: whether a file's own VAE is wanted.
    """
    if located.kind == "file":
        return _from_file(located, family, dtype, device, wait, vae=vae, tell=tell)
    return _from_folder(located, family, dtype, device, wait)


def _from_folder(
    located: resolve.Located,
    family: type[LatentDiffusion],
    dtype: torch.dtype,
    device: torch.device,
    wait: Progress,
) -> tuple[dict[str, Any], list[Path]]:
    folder = located.path
    found: dict[str, Any] = {}
    files: list[Path] = []
    for name, cls in family.readers().items():
        found[name] = _pretrained(cls, folder / name)
    for name, cls in family.models().items():
        found[name] = _model(name, cls, folder / name, dtype, device)
        files += _weights(folder / name, dtype)[1]
        wait.advance()
    found["schedule"] = _schedule(located, family)
    return found, files


def _model(name: str, cls: Any, folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """One model, filled from its files; by its library where these bear older versions' names."""
    options, files = _weights(folder, dtype)
    with _named(folder):
        model = built(cls, folder)
        if fill(model, files, _dtype_of(name, model, dtype), device):
            return model
    return _pretrained(cls, folder, dtype=dtype, **options)


@contextlib.contextmanager
def _named(folder: Path) -> Iterator[None]:
    """What the libraries raise at the files in `folder`, as an error that names it."""
    try:
        yield
    except Exception as error:
        # Tokenizers raise a bare Exception, whatever is wrong with their files.
        if not isinstance(error, BROKEN) and type(error) is not Exception:
            raise
        raise MissingWeightsError(f"{folder}: cannot be loaded: {error}.") from None


def _weights(folder: Path, dtype: torch.dtype) -> tuple[dict[str, Any], list[Path]]:
    """The safetensors of one component, one file or all its shards; the fp16 variant where it is
    enough or all there is. What lies beside them (training's own copy, other layouts) is no weight.
    """
    half, full = (of_variant(folder, variant) for variant in ("fp16", None))
    if half and (not full or dtype != torch.float32):
        return {"variant": "fp16"}, half
    if full:
        return {}, full
    raise MissingWeightsError(
        f"{folder}: holds no .safetensors weights.",
        "Pickled .bin weights are not opened; get the safetensors version of this base.",
    )


def _pretrained(cls: Any, folder: Path, dtype: torch.dtype | None = None, **options: Any) -> Any:
    """One component; with `dtype`, a model, of which every weight must be in the files."""
    if dtype is not None:
        from diffusers import ModelMixin

        of_diffusers = issubclass(cls, ModelMixin)
        options |= {"use_safetensors": True, "output_loading_info": True}
        options |= {"torch_dtype" if of_diffusers else "dtype": dtype}
    with _named(folder):
        loaded = cls.from_pretrained(str(folder), local_files_only=True, **options)
    if dtype is None:
        return loaded
    model, info = loaded
    refuse_missing(info["missing_keys"], folder)
    return model


def _schedule(located: resolve.Located, family: type[LatentDiffusion]) -> Schedule:
    try:
        return family.read_schedule(checkpoint.schedule_config(located))
    except ValueError as error:
        raise MissingWeightsError(
            f"{located.path}: its scheduler_config.json cannot be used: {error}."
        ) from None


def _from_file(
    located: resolve.Located, family: type[LatentDiffusion], dtype: torch.dtype,
    device: torch.device, wait: Progress, *, vae: bool, tell: Tell,
) -> tuple[dict[str, Any], list[Path]]:  # fmt: skip
    """A checkpoint in the original (LDM) layout, and what stands in for the parts it lacks."""
    wanted = [name for name in family.models() if vae or name != "vae"]
    found, files = _models_of_file(located, wanted, dtype, device, wait, tell)
    for name, cls in family.readers().items():
        with tokenizer_folder(located.configs / name, located.path, tell) as folder:
            found[name] = _pretrained(cls, folder)
    return found | {"schedule": _schedule(located, family)}, files


def _models_of_file(
    located: resolve.Located, wanted: Collection[str], dtype: torch.dtype, device: torch.device,
    wait: Progress, tell: Tell,
) -> tuple[dict[str, Any], list[Path]]:  # fmt: skip
    """Some of a file's models, or what stands in for them, and the files that hold them."""
    family = family_class(located.family)
    opened = checkpoint.open_models(located, family, dtype, wanted=wanted, wait=wait)
    found, files = dict(opened.models), [located.path]
    for name in opened.missing:
        folder = resolve.stand_in(located, name, dtype.itemsize == 2, tell)
        found[name] = _model(name, family.models()[name], folder, dtype, device)
        files += _weights(folder, dtype)[1]
    return found, files


@dataclass(frozen=True)
class Autoencoder:
    """The VAE of a base, alone; its two ways are those of `models.base.ModelFamily`."""

    vae: nn.Module
    revision: str  # hash of the files that it was opened from
    device: torch.device

    def encode_images(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return parts.encode_images(self.vae, pixels)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return parts.decode(self.vae, latents)


def load_autoencoder(base: BaseConfig, runtime: Runtime, tell: Tell) -> Autoencoder:
    """The VAE that `base` means, and nothing else of it; raises as `load` does."""
    make_deterministic()
    dtype, device = runtime.base_dtype, runtime.device
    located = resolve.locate(base.name, half=dtype.itemsize == 2, tell=tell)
    family = family_class(located.family)
    with parts.quiet():
        if base.vae:
            vae, files = _external_vae(base.vae, located, tell)
        elif located.kind == "file":
            found, files = _models_of_file(located, ["vae"], dtype, device, Progress(), tell)
            vae = found["vae"]
        else:
            folder = located.path / "vae"
            vae = _model("vae", family.models()["vae"], folder, dtype, device)
            files = _weights(folder, dtype)[1]
        vae = parts.frozen(vae, device, _dtype_of("vae", vae, dtype))
    if base.vae_tiling:
        parts.decode_in_tiles(vae)
    return Autoencoder(vae, parts.revision(files, tell=tell), device)


def _external_vae(name: str, base: resolve.Located, tell: Tell) -> tuple[Any, list[Path]]:
    """`base.vae`: a diffusers VAE folder (or a pipeline's), a checkpoint file, or a hub id."""
    from diffusers import AutoencoderKL

    path = resolve.locate_vae(name, tell=tell)
    if path.is_file():
        return autoencoder.from_file(path, base, tell), [path]
    folder = path / "vae" if (path / "vae").is_dir() else path
    autoencoder.refuse_other(folder, base.configs / "vae")
    options, files = _weights(folder, torch.float32)
    return _pretrained(AutoencoderKL, folder, dtype=torch.float32, **options), files


def load_base(base: BaseConfig, runtime: Runtime, tell: Tell) -> ModelFamily:
    """The base, and the process set up so that the same call gives the same bytes."""
    make_deterministic()
    family = load(base, runtime, tell)
    for remark in family.remarks:
        tell.note(f"note: {remark}")
    choose_threads(family.native_size, family.device)
    return family


def _fit(models: Mapping[str, Any], denoiser: str, base: BaseConfig, runtime: Runtime) -> None:
    """Text encoders where they are to compute, a VAE in tiles, `denoiser` in few bits, as asked."""
    if base.text_device == "cpu":
        for name in (name for name in models if name.startswith("text_encoder")):
            models[name].to("cpu")
    if base.vae_tiling:
        parts.decode_in_tiles(models["vae"])
    if base.quantize != "none":
        quantize(models[denoiser], base.quantize, runtime.device, runtime.base_dtype)


def refitted(
    family: ModelFamily, before: BaseConfig, after: BaseConfig, runtime: Runtime, tell: Tell
) -> ModelFamily:
    """`family`, which was loaded as `before` says, as `after` would load it.

    For settings that save memory: in place, and no weights are read again, unless another dtype has
    other files (the fp16 variant of a base); then the old ones are let go first.
    """
    if not _of_one_file(before, family.dtype, runtime.base_dtype, tell):
        for module in (*family.towers.values(), family.vae):
            module.to("meta")
        return load(after, runtime, tell)
    dtype = runtime.base_dtype
    models: dict[str, Any] = {**family.towers, "vae": family.vae}
    with parts.quiet():
        for name, model in models.items() if dtype != family.dtype else ():
            device = next(model.parameters()).device
            parts.frozen(model, device, _dtype_of(name, model, dtype))
    changes = {
        name: getattr(after, name) if getattr(after, name) != getattr(before, name) else default
        for name, default in (("text_device", "auto"), ("vae_tiling", False), ("quantize", "none"))
    }
    _fit(models, family.denoiser, after.model_copy(update=changes), runtime)
    family.dtype, family.quantize = dtype, after.quantize
    return family


def _of_one_file(base: BaseConfig, one: torch.dtype, other: torch.dtype, tell: Tell) -> bool:
    """Whether both dtypes are loaded from the same files."""
    located = resolve.locate(base.name, tell=tell)
    if one == other or located.kind == "file":
        return True
    folders = [located.path / part for part in (*SPECS[located.family].towers, "vae")]
    return all(_weights(path, one) == _weights(path, other) for path in folders)

"""From located files to a frozen `ModelFamily`, by the row of its family in `SPECS`."""

from __future__ import annotations

import contextlib
import json
import pkgutil
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.paths import expanded
from kaiffin.foundation.runtime import Runtime, choose_threads, make_deterministic
from kaiffin.models import parts
from kaiffin.models.base import ModelFamily
from kaiffin.models.diffusion.schedule import Schedule
from kaiffin.models.families.shared import LatentDiffusion, Loaded
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files import resolve
from kaiffin.models.files.pipeline import pipeline_of
from kaiffin.models.files.quantize import quantize
from kaiffin.models.files.weights import built, fill, of_variant
from kaiffin.models.words import plain_pieces

# What the libraries raise at files that are damaged or of another kind.
BROKEN = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)


def load(base: BaseConfig, runtime: Runtime) -> ModelFamily:
    """Loads the base that `base.name` means, with `base.vae` in place of its VAE if given.

    Raises MissingWeightsError where files are absent, broken or of another kind of model.
    """
    located = resolve.locate(base.name)
    spec, dtype = SPECS[located.family], runtime.base_dtype
    with parts.quiet():
        family = family_class(located.family)
        found, files = _components(located, family, dtype, runtime.device)
        if base.vae:
            found["vae"], vae_files = _external_vae(base.vae, found["vae"])
            files = [*files, *vae_files]
        models: dict[str, Any] = {
            name: parts.frozen(model, runtime.device, _dtype_of(name, model, dtype))
            for name, model in found.items()
            if isinstance(model, nn.Module)
        }
    _fit(models, spec.denoiser, base, runtime)
    loaded = Loaded(
        base=base.name,
        revision=parts.revision(files),
        schedule=found["schedule"],
        models=models,
        tokenizers={
            tower: _as_long(found[tokenizer_of(tower)], vars(found[tower].config))
            for tower in spec.text_towers
        },
        device=runtime.device,
        dtype=dtype,
        quantize=base.quantize,
    )
    return family(loaded)


def family_class(name: str) -> type[LatentDiffusion]:
    """The class of family `name`; importing it may take seconds."""
    return pkgutil.resolve_name(SPECS[name].code)


def tokenizer_of(tower: str) -> str:
    """`text_encoder_2` -> `tokenizer_2`, as diffusers' folders have them."""
    return tower.replace("text_encoder", "tokenizer")


@dataclass(frozen=True)
class TextFacts:
    """What preparing photos needs to know of a base: its tokenizer and its native square."""

    tokenizer: Any
    native_size: int

    @property
    def max_tokens(self) -> int:
        return self.tokenizer.model_max_length

    def token_pieces(self, text_: str) -> list[str]:
        return plain_pieces(self.tokenizer, text_)


def read_text_facts(name: str) -> TextFacts:
    """Tokenizer and native size of base `name`, without opening its weights.

    Raises MissingWeightsError where they are absent.
    """
    located = resolve.locate(name)
    configs = located.configs
    if located.kind == "folder" or (configs / "tokenizer" / "vocab.json").is_file():
        tokenizer = configs / "tokenizer"
    else:
        tokenizer = resolve.tokenizer_folder(located.path)
    try:
        net, vae = (
            json.loads((configs / part / "config.json").read_text(encoding="utf-8"))
            for part in (SPECS[located.family].denoiser, "vae")
        )
        tower = SPECS[located.family].text_towers[0]
        words = json.loads((configs / tower / "config.json").read_text(encoding="utf-8"))
        native = net["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingWeightsError(f"{configs}: its configuration is broken: {error}.") from None
    with parts.quiet():
        kind = family_class(located.family).readers()["tokenizer"]
        return TextFacts(_as_long(_pretrained(kind, tokenizer), words), native)


def _as_long(tokenizer: Any, encoder: Mapping[str, Any]) -> Any:
    """The tokenizer with blocks no longer than the encoder has positions: some copies, such as
    ComfyUI's, say 8192. encoder: its configuration."""
    positions = encoder.get("max_position_embeddings", tokenizer.model_max_length)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer


def _dtype_of(name: str, model: nn.Module, dtype: torch.dtype) -> torch.dtype:
    """SDXL's VAE overflows in fp16 and says so by `force_upcast`; it then stays in fp32."""
    forced = name == "vae" and getattr(model.config, "force_upcast", False)
    return torch.float32 if forced and dtype == torch.float16 else dtype


def _components(
    located: resolve.Located, family: type[LatentDiffusion], dtype: torch.dtype,
    device: torch.device,
) -> tuple[dict[str, Any], list[Path]]:  # fmt: skip
    """Every component and the `schedule`, and the files that hold weights."""
    if located.kind == "file":
        return _from_file(located, family, dtype), [located.path]
    return _from_folder(located.path, family, dtype, device)


def _from_folder(
    folder: Path, family: type[LatentDiffusion], dtype: torch.dtype, device: torch.device
) -> tuple[dict[str, Any], list[Path]]:
    found: dict[str, Any] = {}
    files: list[Path] = []
    for name, cls in family.readers().items():
        found[name] = _pretrained(cls, folder / name)
    for name, cls in family.models().items():
        found[name] = _model(name, cls, folder / name, dtype, device)
        files += _weights(folder / name, dtype)[1]
    found["schedule"] = _schedule(folder / "scheduler" / "scheduler_config.json", family)
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
    _refuse_missing(info["missing_keys"], folder)
    return model


def _refuse_missing(names: Iterable[str], path: Path) -> None:
    """The libraries would go on with noise in the place of weights that the files lack."""
    missing = sorted(name for name in names if not name.endswith("position_ids"))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise MissingWeightsError(
            f"{path}: the weight {missing[0]}{more} is missing.", "Copy or download it again."
        )


def _unloadable(path: Path, error: Exception) -> MissingWeightsError:
    # What a checkpoint file lacks stays on torch's meta device, and diffusers then trips over it.
    reason = "weights are missing in it" if "meta tensor" in str(error) else str(error)
    return MissingWeightsError(f"{path}: cannot be loaded: {reason}.", "Copy or download it again.")


def _schedule(path: Path, family: type[LatentDiffusion]) -> Schedule:
    try:
        return family.read_schedule(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise MissingWeightsError(f"{path}: cannot be used: {error}.") from None


def _from_file(
    located: resolve.Located, family: type[LatentDiffusion], dtype: torch.dtype
) -> dict[str, Any]:
    """A checkpoint in the original (LDM) layout."""
    wanted = [*family.models(), *family.readers()]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(located.configs, folder, dirs_exist_ok=True)
        for name in family.readers():
            if not (folder / name / "vocab.json").is_file():
                _copy_tokenizer(resolve.tokenizer_folder(located.path), folder / name)
        pipeline, absent = pipeline_of(located.family, wanted)
        try:
            pipe = pipeline.from_single_file(
                str(located.path), config=str(folder), torch_dtype=dtype, local_files_only=True,
                **absent,
            )  # fmt: skip
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise _unloadable(located.path, error) from None
        config = dict(json.loads((folder / "scheduler" / "scheduler_config.json").read_text()))
    markers = resolve.header(located.path)
    if "v_pred" in markers:
        config["prediction_type"] = "v_prediction"
    if "ztsnr" in markers:
        config["rescale_betas_zero_snr"] = True
    found = {name: getattr(pipe, name) for name in wanted}
    for part in found.values():
        if isinstance(part, nn.Module):
            _refuse_missing([n for n, p in part.named_parameters() if p.is_meta], located.path)
    return found | {"schedule": family.read_schedule(config)}


def _copy_tokenizer(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(source / name, target / name)


def _external_vae(name: str, present: Any) -> tuple[Any, list[Path]]:
    """`base.vae`: a diffusers VAE folder (or a pipeline's), a checkpoint file, or a hub id."""
    from diffusers import AutoencoderKL

    path = expanded(name)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise MissingWeightsError(f"base.vae = {name!r}: only .safetensors files are opened.")
        config = _vae_config(present)
        try:
            vae = AutoencoderKL.from_single_file(str(path), config=config, local_files_only=True)
        except BROKEN as error:
            raise _unloadable(path, error) from None
        return vae, [path]
    folder = path if path.is_dir() else resolve.snapshot(name, name)
    folder = folder / "vae" if (folder / "vae").is_dir() else folder
    options, files = _weights(folder, torch.float32)
    return _pretrained(AutoencoderKL, folder, dtype=torch.float32, **options), files


def _vae_config(present: Any) -> str:
    """A folder with the present VAE's configuration, for a single-file VAE of the same shape."""
    folder = tempfile.mkdtemp(prefix="kaiffin-vae-")
    present.save_config(folder)
    return folder


def load_base(base: BaseConfig, runtime: Runtime) -> ModelFamily:
    """The base, and the process set up so that the same call gives the same bytes."""
    make_deterministic()
    family = load(base, runtime)
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
    family: ModelFamily, before: BaseConfig, after: BaseConfig, runtime: Runtime
) -> ModelFamily:
    """`family`, which was loaded as `before` says, as `after` would load it.

    For settings that save memory: in place, and no weights are read again, unless another dtype has
    other files (the fp16 variant of a base); then the old ones are let go first.
    """
    if not _of_one_file(before, family.dtype, runtime.base_dtype):
        for module in (*family.towers.values(), family.vae):
            module.to("meta")
        return load(after, runtime)
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


def _of_one_file(base: BaseConfig, one: torch.dtype, other: torch.dtype) -> bool:
    """Whether both dtypes are loaded from the same files."""
    located = resolve.locate(base.name)
    if one == other or located.kind == "file":
        return True
    folders = [located.path / part for part in (*SPECS[located.family].towers, "vae")]
    return all(_weights(path, one) == _weights(path, other) for path in folders)

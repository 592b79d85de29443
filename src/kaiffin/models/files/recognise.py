"""What a folder or a file is: which family's base, or what else. Torch-free.

By the shapes of the weights and by configurations, not by the name of a class: pipelines for
inpainting, SD 2.x and refiners bear the same names as ours. How each kind is known: kinds.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.families.spec import SPECS, UNET, Spec
from kaiffin.models.files import header, kinds
from kaiffin.models.files.header import AGAIN, Header
from kaiffin.models.files.kinds import Kind

EMA = "model_ema."
VAE = ("first_stage_model.", "vae.")
FIRST, LAST = "input_blocks.0.0.weight", "out.2.weight"
CONTEXT = "attn2.to_k.weight"
EMBEDDED_GUIDANCE = "time_embed.cond_proj.weight"
CONTEXTS = {768: "sd1", 2048: "sdxl"}  # width of the text states: the family
OTHER_CONTEXTS = {1024: kinds.SD2, 1280: kinds.REFINER}
# A layer of the published UNet that the smaller ones lack.
DEEPEST = {
    "sd1": "output_blocks.11.0.skip_connection.weight",
    "sdxl": "input_blocks.8.1.transformer_blocks.9.attn2.to_k.weight",
}
FLOATS = {"F64", "F32", "F16", "BF16"}
FP8 = {"F8_E4M3", "F8_E5M2"}


@dataclass(frozen=True)
class Found:
    """A base. schedule: what its marks change of the scheduler's configuration; remarks: what a
    person should hear of it, once."""

    family: str
    schedule: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


# --- files ------------------------------------------------------------------------------------


def of_file(path: Path, called: str = "") -> Found:
    """What a checkpoint file holds, by its header. called: another name of it, such as the hub's.

    Raises MissingWeightsError, by name, for everything that is no base of ours.
    """
    if path.suffix in header.PICKLES:
        raise MissingWeightsError(
            f"{path}: {path.suffix} files are pickles, which can run code when opened.",
            "Use the .safetensors version of this checkpoint.",
        )
    found = header.read(path)
    names = [name.removeprefix(UNET) for name in found.shapes]
    if kind := kinds.of_names(names, (*kinds.BESIDE, *kinds.ARCHITECTURES, kinds.EDM, kinds.COSXL)):
        raise _is(path, kind)
    if UNET + FIRST not in found.shapes:
        raise _no_unet(path, found)
    _refuse_quantized(path, found)
    family = _family_of_unet(path, found, _config(path.with_suffix(".config") / "unet"))
    schedule, names = _marked(found), (path.stem, called, found.metadata.get("modelspec.title", ""))
    remarks = [*_of_weights(found), *_of_parts(found, family), *_of_schedule(schedule, names)]
    few = kinds.distilled(*names)
    return Found(family, schedule, (*remarks, *([few.remark] if few else [])))


def _is(path: Path, kind: Kind) -> MissingWeightsError:
    fix = kind.fix.replace("{config}", str(path.with_suffix(".config")))
    return MissingWeightsError(f"{path}: is {kind.title}.", fix)


def _no_unet(path: Path, found: Header) -> MissingWeightsError:
    """A part of a base, a UNet without the prefix of its names, or nothing that is known."""
    if FIRST in found.shapes or found.has("down_blocks.0.", "time_embedding.linear_1."):
        whose = CONTEXTS.get(heard_width(found.shapes))
        of = f" of {SPECS[whose].title}" if whose else ""
        return MissingWeightsError(
            f"{path}: is {kinds.UNET_ALONE.title}{of}, without text encoder and VAE.",
            kinds.UNET_ALONE.fix,
        )
    if kind := kinds.of_names(found.shapes, kinds.PARTS):
        return _is(path, kind)
    return MissingWeightsError(
        f"{path}: holds no Stable Diffusion checkpoint (no {UNET}… weights).",
        f"A base is a full checkpoint or a diffusers folder. {kinds.OTHER_MODEL}",
    )


def _family_of_unet(path: Path, found: Header, own: Mapping[str, Any]) -> str:
    """own: the UNet's configuration where one lies beside the file; its shapes may then be any."""
    shapes = {
        n.removeprefix(UNET): shape for n, shape in found.shapes.items() if n.startswith(UNET)
    }
    more = shapes[FIRST][1] - shapes.get(LAST, (4,))[0]
    if kind := kinds.EXTRA_CHANNELS.get(more):
        raise _is(path, kind)
    if EMBEDDED_GUIDANCE in shapes or "time_embedding.cond_proj.weight" in shapes:
        raise _is(path, kinds.LCM)
    context = heard_width(shapes)
    if kind := OTHER_CONTEXTS.get(context):
        raise _is(path, kind)
    if own:
        return _family_of_config(own)
    family = CONTEXTS.get(context)
    if family and DEEPEST[family] not in shapes:
        raise _is(path, kinds.PRUNED)
    family = family or next((name for name, s in SPECS.items() if _texts(s, found)), None)
    if family is None:
        raise MissingWeightsError(
            f"{path}: its text encoder is of another kind.", kinds.OTHER_MODEL
        )
    return family


def heard_width(shapes: Mapping[str, Sequence[int]]) -> int:
    """Width of the text states that the UNet hears; 0 where it hears none."""
    return next((shape[-1] for name, shape in shapes.items() if name.endswith(CONTEXT)), 0)


def _texts(spec: Spec, found: Header) -> bool:
    """Whether the file has all text encoders of a family."""
    starts = [spec.towers[tower].original for tower in spec.text_towers]
    return all(start and found.has(start) for start in starts)


def _refuse_quantized(path: Path, found: Header) -> None:
    for name, dtype in found.dtypes.items():
        weight = name.startswith(UNET) and name.endswith(".weight")
        if weight and dtype not in FLOATS | FP8:
            raise MissingWeightsError(
                f"{path}: holds {kinds.QUANTIZED.title} ({name} is {dtype}).", kinds.QUANTIZED.fix
            )


def _of_weights(found: Header) -> list[str]:
    """fp8 and EMA twins."""
    remarks = []
    if FP8 & set(found.dtypes.values()):
        remarks.append(
            "its weights are fp8, cast when they are loaded: a version in fp16 is more exact"
        )
    if found.has(EMA):
        remarks.append(f"its EMA weights ({EMA}…) are left out; the plain ones are used")
    return remarks


def starts_of(family: str) -> dict[str, tuple[str, ...]]:
    """How the names of each component's weights may begin in a checkpoint file."""
    return {name: (tower.original,) for name, tower in SPECS[family].towers.items()} | {"vae": VAE}


def lacking(found: Header, family: str) -> list[str]:
    """The components that a checkpoint file should have and has not."""
    return [name for name, starts in starts_of(family).items() if not found.has(*starts)]


def _of_parts(found: Header, family: str) -> list[str]:
    """Parts that are not in the file."""
    remarks, missing = [], lacking(found, family)
    if "vae" in missing:
        remarks.append("it holds no VAE: that of --base.vae, or the published one, stands in")
    if set(missing) - {"vae"}:
        remarks.append("it holds not all of its text encoders: the published one stands in")
    return remarks


def _marked(found: Header) -> dict[str, Any]:
    """What the file says of its schedule, in the words of a scheduler's configuration."""
    written = found.metadata.get("modelspec.prediction_type", "")
    if "v_pred" not in found.shapes and not written.startswith("v"):
        return {}
    if "ztsnr" not in found.shapes:
        return {"prediction_type": "v_prediction"}
    # Lin et al. 2023: with zero terminal SNR, sampling has to begin at the last timestep.
    return {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }


def _of_schedule(schedule: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    if schedule:
        zero = " with zero terminal SNR" if "rescale_betas_zero_snr" in schedule else ""
        return [f"it says that it is v-prediction{zero}, and is read so"]
    if "vpred" in re.sub(r"[-_ ]", "", "\n".join(names).lower()):
        return [
            "its name says v-prediction, but nothing in the file does, so it is read as epsilon:"
            " if pictures are noise, add an empty tensor `v_pred` to the file"
        ]
    return []


# --- folders ----------------------------------------------------------------------------------


def of_folder(path: Path, called: str = "", *, whole: bool = True) -> Found:
    """What a diffusers folder holds, by its configurations; see `of_file`.

    whole: whether its weights must be there, too.
    """
    title, spec = _pipeline(path)
    if spec.denoiser != "unet":
        return Found(spec.name)
    unet, scheduler = _config(path / "unet"), _config(path / "scheduler", "scheduler_config.json")
    few = str(scheduler.get("_class_name", ""))
    kind = kinds.of_class(few, (kinds.EDM, kinds.FLOW)) or _of_config(unet)
    if kind:
        raise MissingWeightsError(f"{path}: is {kind.title} (a {title}).", kind.fix)
    family = _family_of_config(unet) if unet else spec.name
    if whole:
        _refuse_broken(path, SPECS[family])
    # A folder that knows the cache's layout is called by its hash.
    names = (called or path.name, str(unet.get("_name_or_path", "")))
    distilled = kinds.distilled(*names, scheduler=few)
    return Found(family, remarks=(distilled.remark,) if distilled else ())


def _pipeline(path: Path) -> tuple[str, Spec]:
    """The class in model_index.json and the family that it is closest to; without the index, what
    the component folders would be."""
    index = path / "model_index.json"
    try:
        name = str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except FileNotFoundError:
        missing = [part for part in ("unet", "vae", "text_encoder") if not (path / part).is_dir()]
        if not missing:
            return "folder without model_index.json", SPECS["sd1"]
        raise _no_pipeline(path, missing) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise MissingWeightsError(
            f"{path}: holds no diffusers pipeline (no readable model_index.json).", AGAIN
        ) from None
    if kind := kinds.of_class(name, kinds.ARCHITECTURES):
        raise MissingWeightsError(f"{path}: is a {name}, of {kind.title}.", kind.fix)
    fitting = [s for s in SPECS.values() if kinds.is_of(name, s.pipeline.removesuffix("Pipeline"))]
    if not fitting:
        raise MissingWeightsError(f"{path}: is a {name}.", kinds.OTHER_MODEL)
    return name, max(fitting, key=lambda spec: len(spec.pipeline))


def _no_pipeline(path: Path, missing: Sequence[str]) -> MissingWeightsError:
    """The folder may be one level off, or hold a checkpoint file instead."""
    what = f"{path}: holds no diffusers pipeline (no readable model_index.json)"
    files = sorted(file.name for file in path.glob("*.safetensors"))
    if (path.parent / "model_index.json").is_file():
        return MissingWeightsError(f"{what}; it is a part of one.", f"Pass {path.parent}.")
    if len(missing) < 3:
        return MissingWeightsError(f"{what}, nor {', '.join(f'{m}/' for m in missing)}.", AGAIN)
    if files:
        return MissingWeightsError(f"{what}.", f"Pass a file in it, such as {path / files[0]}.")
    return MissingWeightsError(
        f"{what}.", "Pass the folder that holds model_index.json, unet/, vae/ and so on."
    )


def _config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A component's configuration; empty where there is none."""
    try:
        config = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise MissingWeightsError(f"{folder / name}: is broken ({error}).", AGAIN) from None
    if not isinstance(config, dict):
        raise MissingWeightsError(f"{folder / name}: is broken (no table of settings).", AGAIN)
    return config


def _of_config(unet: Mapping[str, Any]) -> Kind | None:
    """What a UNet's configuration says that it is, where it is none of ours."""
    ins, outs = unet.get("in_channels", 4), unet.get("out_channels", 4)
    if "quantization_config" in unet:
        return kinds.QUANTIZED
    if unet.get("time_cond_proj_dim"):
        return kinds.LCM
    if str(unet.get("encoder_hid_dim_type") or "").startswith(("image", "text_image")):
        return kinds.of_class("Kandinsky", kinds.ARCHITECTURES)
    return kinds.EXTRA_CHANNELS.get(ins - outs) or OTHER_CONTEXTS.get(
        unet.get("cross_attention_dim")
    )


def _family_of_config(unet: Mapping[str, Any]) -> str:
    """Only SDXL's UNet is told the sizes of a picture."""
    return "sdxl" if unet.get("addition_embed_type") == "text_time" else "sd1"


def _refuse_broken(path: Path, spec: Spec) -> None:
    """Every file of weights that would be read must be whole, and every shard must be there."""
    for part in (*spec.towers, "vae"):
        for index in sorted((path / part).glob("*.safetensors.index*.json")):
            header.shards(index)
        for file in sorted((path / part).glob("*.safetensors")):
            if file.name.startswith(("model", "diffusion_pytorch_model", "pytorch_model")):
                header.read(file)

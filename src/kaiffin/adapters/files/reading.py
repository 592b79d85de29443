"""What adapter files hold, in every layout that people share, as one thing: `AdapterFile`.

| layout | keys | alpha |
|---|---|---|
| kohya | `lora_unet_<path>.lora_down.weight`, LyCORIS' and DoRA's parts as well | tensor |
| diffusers | `unet.<path>.lora_A.weight`, and all other names with dots | header, tensor or rank |
| peft | folder of `base_model.model.<path>.lora_A.weight` and a config | config |

Alphas are tensors `alpha`. See names.py and spelling.py. Torch-free: tensors may be numpy's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kaiffin.adapters.files import names, safe, spelling
from kaiffin.adapters.files.arrays import number
from kaiffin.adapters.files.spelling import OF_PEFT
from kaiffin.adapters.files.tables import Shape, Table
from kaiffin.adapters.kinds import by_module, kind_of, rank_of
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.kinds import KINDS
from kaiffin.foundation.text import counted, first_few
from kaiffin.models.families.spec import SPECS, TEXT
from kaiffin.models.files.header import PICKLES

if TYPE_CHECKING:
    from torch import Tensor

# Tensors and metadata of a file: `safe.read`, or `arrays.read` where there is to be no torch.
Reader = Callable[[Path], tuple[Mapping[str, "Tensor"], dict[str, str]]]
Layout = Literal["kohya", "diffusers", "peft"]
EMBEDDING = "bundle_emb."
PEFT_CONFIG, PEFT_FILE = "adapter_config.json", "adapter_model.safetensors"
SKIPPED = "kaiffin.skipped"  # in a header: what a file was made without
DIFFUSERS_HEADER = "lora_adapter_metadata"


@dataclass
class AdapterFile:
    """One adapter. modules: canonical name -> part -> tensor; strays: keys without a home, with
    what they are (see spelling.py); skipped: those that it was gone on without; misspelled: keys
    that were read but that ComfyUI and A1111 ignore; embeddings: custom tokens.
    """

    layout: Layout
    family: str
    modules: dict[str, dict[str, Tensor]]
    metadata: dict[str, str] = field(default_factory=dict)
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    strays: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    misspelled: list[str] = field(default_factory=list)

    def kinds(self) -> dict[str, int]:
        """Number of modules of each kind: lora, dora, tucker, loha, lokr, oft."""
        found: dict[str, int] = {}
        for parts in self.modules.values():
            kind = kind_of(parts)
            found[kind] = found.get(kind, 0) + 1
        return found

    def state(self) -> dict[str, Tensor]:
        """Flat: `<module>.<part>` -> tensor, as `Lora.state` gives it."""
        return {f"{n}.{part}": t for n, parts in self.modules.items() for part, t in parts.items()}


def from_state(
    state: Mapping[str, Tensor], family: str, metadata: Mapping[str, str] | None = None
) -> AdapterFile:
    """An adapter's `state()` as a file to be written."""
    return AdapterFile("kohya", family, by_module(state), dict(metadata or {}))


# --- reading ----------------------------------------------------------------------------------


def read(
    path: Path, table: Table, *, skip_unknown: bool = False, reader: Reader = safe.read
) -> AdapterFile:
    """Reads a file or PEFT folder against the layers of a base.

    What has no home in the table is listed in `strays`, or in `skipped` where it is to be gone on
    without; what is broken is an `AdapterError`.
    """
    if path.is_dir():
        found = _read_folder(path, table, reader)
    else:
        tensors, metadata = reader(path)
        refuse_embedding(tensors)
        if any(key.startswith(OF_PEFT) for key in tensors):
            found = AdapterFile("peft", table.family, {}, metadata)
            shapes = {key: tuple(value.shape) for key, value in tensors.items()}
            _read_peft(found, tensors, path.parent, table, _tower_of(path, shapes, table))
        else:
            found = _read_plain(tensors, metadata, table)
    if skip_unknown:
        _skip(found)
    _complete(found)
    return found


def base_of(metadata: Mapping[str, str]) -> str:
    """What a header says that the file is for, as trainers write it; "" where it does not."""
    keys = ("ss_base_model_version", "modelspec.architecture")
    return next((metadata[key] for key in keys if metadata.get(key)), "")


def refuse_embedding(shapes: Mapping[str, Any]) -> None:
    """`AdapterError` where a file's keys are those of a textual inversion."""
    if spelling.is_embedding(shapes):
        raise AdapterError(
            "is a textual inversion embedding, not an adapter.",
            "Use it with `kaiffin generate ... --embedding FILE`.",
        )


def refuse_strays(found: AdapterFile) -> None:
    """`AdapterError` naming what has no home in the base, each by what it is; or an empty file."""
    rest = found.modules or found.embeddings
    fix = "Go on without them by --skip-unknown." if rest else "There is no way to use it here."
    if not (found.strays or rest):
        left = "left without what is not applied" if found.skipped else "in it"
        raise AdapterError(f"nothing is {left}.", fix)
    title, said = SPECS[found.family].title, []
    for what, keys in spelling.grouped(found.strays).items():
        verbs = ("key is", "keys are") if what else ("key has", "keys have")
        is_what = f"{what}, which Kaiffin does not apply" if what else f"no home in {title}"
        said.append(f"{counted(len(keys), *verbs)} {is_what}: {first_few(keys, 2)}")
    if spelling.HOMELESS in found.strays.values():
        fix = f"The adapter was made for another base or another kind of adapter. {fix}"
    if said:
        raise AdapterError(f"{'; '.join(said)}.", fix)


def _skip(found: AdapterFile) -> None:
    """Goes on without the strays, and writes down what they were."""
    found.skipped, found.strays = found.strays, {}
    if found.skipped:
        parts = spelling.grouped(found.skipped).items()
        found.metadata[SKIPPED] = "; ".join(
            f"{what or 'unknown keys'}: {', '.join(keys)}" for what, keys in parts
        )


def _read_plain(
    tensors: Mapping[str, Tensor], metadata: dict[str, str], table: Table
) -> AdapterFile:
    """A file that says by itself all there is to know, under whosever names."""
    kohya = any(names.is_kohya(key) or key.startswith(EMBEDDING) for key in tensors)
    found = AdapterFile("kohya" if kohya else "diffusers", table.family, {}, metadata)
    given = {key: value for key, value in tensors.items() if not key.startswith(EMBEDDING)}
    found.embeddings = {k.removeprefix(EMBEDDING): tensors[k] for k in tensors if k not in given}
    _take(found, {key: (key, value) for key, value in given.items()}, table)
    configs = _json(metadata.get(DIFFUSERS_HEADER, "{}"), DIFFUSERS_HEADER)
    for tower in SPECS[table.family].towers:
        config = {
            key.removeprefix(f"{tower}."): value
            for key, value in configs.items()
            if key.startswith(f"{tower}.")
        }
        _set_alphas(found, tower, config)
    return found


def _take(found: AdapterFile, given: Mapping[str, tuple[str, Tensor]], table: Table) -> None:
    """Every tensor to its layer, or among the strays. given: key -> (key to be read, tensor)."""
    homes = names.homes(table.layers, table.family, table.layers_per_block)
    homes |= names.dotted(table.layers, table.family, table.layers_per_block)
    of_layer: dict[str, list[str]] = {}
    for key, (spelled, value) in given.items():
        name, part = spelling.split(spelled)
        home = homes.get(name)
        if home is None or not part:
            found.strays[key] = spelling.kind_of_stray(spelled)
            of_layer.setdefault(spelling.home_of(spelled, homes), []).append(key)
            continue
        if part in found.modules.get(home, {}):
            raise AdapterError(f"{home}: {part} is there twice, under two spellings.")
        if spelling.is_magnitude_of_peft(spelled):
            value = value.flatten()
        parts = found.modules.setdefault(home, {})
        parts[part] = as_layer(part, value, table.layers[home])
        of_layer.setdefault(home, []).append(key)
        if names.is_misspelled(name):
            found.misspelled.append(key)
    _without_unapplied(found, of_layer)


def _without_unapplied(found: AdapterFile, of_layer: Mapping[str, list[str]]) -> None:
    """Layers of which nothing can be applied are strays as a whole, with all of their keys."""
    for home, parts in list(found.modules.items()):
        what = next((found.strays[k] for k in of_layer.get(home, ()) if k in found.strays), None)
        blocks = parts.get("oft_blocks")
        if blocks is not None and blocks.ndim == 4:
            what = spelling.BOFT
        elif blocks is not None and "alpha" in parts and parts["alpha"].any():
            what = spelling.CONSTRAINED
        elif set(parts) != {"alpha"} or what is None:
            continue
        del found.modules[home]
        found.strays |= {key: found.strays.get(key, what) for key in of_layer[home]}


def as_layer(part: str, value: Tensor, size: Sequence[int]) -> Tensor:
    """A part in the form that the base's layer has: some programs store a linear layer as a 1x1
    convolution, or the other way round. A flat magnitude is PEFT's: one number for each output."""
    if part == "dora_scale" and value.shape == tuple(size[:1]):
        return value.reshape(-1, *[1] * (len(size) - 1))
    if part not in ("lora_down.weight", "lora_up.weight", "dora_scale", "lokr_w2"):
        return value
    if len(size) == 2 and value.ndim == 4 and value.shape[2:] == (1, 1):
        return value.reshape(value.shape[:2])
    if part == "lora_down.weight" and value.ndim == 2 and value.shape[1] == math.prod(size[1:]):
        return value.reshape(len(value), *size[1:])
    ones = size[2:] == (1, 1) if part == "lora_down.weight" else part != "lokr_w2"
    return value[..., None, None] if len(size) == 4 and value.ndim == 2 and ones else value


def _read_folder(folder: Path, table: Table, reader: Reader) -> AdapterFile:
    """A PEFT folder, or a folder of them named after the towers."""
    found = AdapterFile("peft", table.family, {})
    for tower, file in files_of_peft(folder, table).items():
        tensors, metadata = reader(file)
        found.metadata |= metadata
        _read_peft(found, tensors, file.parent, table, tower)
    return found


def files_of_peft(path: Path, table: Table) -> dict[str, Path]:
    """The file of each tower: of a folder of them, of a folder for one, or of that one's file."""
    towers = SPECS[table.family].towers
    inner = {tower: path / tower / PEFT_FILE for tower in towers}
    several = {tower: file for tower, file in inner.items() if file.is_file()}
    file = path / PEFT_FILE if path.is_dir() else path
    if not several and not file.is_file():
        raise no_peft(path)
    return several or {_tower_of(file, safe.header(file)[0], table): file}


def no_peft(folder: Path) -> AdapterError:
    """Why a folder is no adapter."""
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    if pickles:
        return AdapterError(
            f"{folder}: holds only {pickles[0]}, a pickle, which can run code when opened.",
            "Get the .safetensors version.",
        )
    below = sorted(file.parent.name for file in folder.glob(f"*/{PEFT_FILE}"))
    way = f"Name the folder in it: {' or '.join(below)}." if below else "Name a PEFT folder."
    return AdapterError(f"{folder}: holds no {PEFT_FILE}.", way)


def _read_peft(
    found: AdapterFile, tensors: Mapping[str, Tensor], folder: Path, table: Table, tower: str
) -> None:
    """Tensors of one model, with PEFT's configuration that lies in `folder`."""
    path = folder / PEFT_CONFIG
    try:
        config = _json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError):
        raise AdapterError(
            f"has PEFT's names, and {folder} holds no readable {PEFT_CONFIG}.",
            "It says the alpha: put it beside the file.",
        ) from None
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{path}: is a {config.get('peft_type')!r}, not a LoRA.")
    bare = {key: key.removeprefix(OF_PEFT) for key in tensors}
    named = tuple(f"{name}." for name in SPECS[table.family].towers)  # of a whole pipeline
    given = {
        key: (name if name.startswith(named) else f"{tower}.{name}", tensors[key])
        for key, name in bare.items()
    }
    _take(found, given, table)
    _set_alphas(found, tower, config)


def _tower_of(file: Path, shapes: Mapping[str, Shape], table: Table) -> str:
    """A PEFT folder says by its name alone which model it is of. Else text encoders have
    `encoder.layers`, and are told apart by their widths."""
    spec = SPECS[table.family]
    if file.parent.name in spec.towers:
        return file.parent.name
    if not any(".encoder.layers." in f".{key}" for key in shapes):
        return spec.denoiser
    widths = {shape[-1] for key, shape in shapes.items() if shape and "k_proj.lora_A" in key}
    return next((t for t in spec.text_towers if table.text_widths[t] in widths), TEXT)


def _set_alphas(found: AdapterFile, tower: str, config: Mapping[str, Any]) -> None:
    """`alpha` tensors from a LoraConfig: patterns override, rsLoRA scales by sqrt(rank)."""
    if "lora_alpha" not in config:
        return
    patterns = _alpha_patterns(config)
    dtype = str(found.metadata.get("kaiffin.alpha_dtype", ""))
    for name, parts in found.modules.items():
        if not name.startswith(f"{tower}.") or "lora_down.weight" not in parts:
            continue
        path = name.removeprefix(f"{tower}.")
        given = (value for pattern, value in patterns if pattern.fullmatch(path))
        alpha = next(given, _number(config["lora_alpha"], "lora_alpha"))
        if config.get("use_rslora"):
            alpha *= rank_of(parts) ** 0.5
        parts["alpha"] = number(alpha, parts["lora_down.weight"], dtype)


def _alpha_patterns(config: Mapping[str, Any]) -> list[tuple[re.Pattern[str], float]]:
    """PEFT reads each key as the end of a module's name. Other expressions are not run: a
    stranger's could take for ever."""
    given = config.get("alpha_pattern") or {}
    if not isinstance(given, Mapping):
        raise AdapterError(f"alpha_pattern = {given!r} is no table of layers and alphas.")
    strange = [key for key in given if not re.fullmatch(r"\^?[\w.]+\$?", key)]
    if strange:
        raise AdapterError(f"alpha_pattern holds {strange[0][:60]!r}, which is no layer's name.")
    return [
        (re.compile(rf"(.*\.)?{key.strip('^$')}"), _number(value, f"alpha_pattern of {key}"))
        for key, value in given.items()
    ]


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise AdapterError(f"{what} = {value!r} is no number.", "The configuration is broken.")
    return float(value)


def _complete(found: AdapterFile) -> None:
    """Factors come in pairs that fit, ranks are positive, and every module has its alpha."""
    for name, parts in found.modules.items():
        if not _fits_together(parts):
            shapes = ", ".join(f"{part} {tuple(t.shape)}" for part, t in sorted(parts.items()))
            raise AdapterError(
                f"{name}: its parts do not fit together: {shapes}.", "The file is incomplete."
            )
        down, up = parts.get("lora_down.weight"), parts.get("lora_up.weight")
        if down is None and up is None:
            rank = rank_of(parts)
            if kind_of(parts) == "oft":
                rank = 0  # its alpha is a constraint, which is off
            if KINDS[kind_of(parts)].up:
                raise AdapterError(f"{name}: has no weights.", "The file is incomplete.")
        elif down is None or up is None:
            half = "lora_up" if up is None else "lora_down"
            raise AdapterError(f"{name}: {half} is missing.", "The file is incomplete.")
        elif down.ndim < 2 or up.ndim < 2 or not down.shape[0] or up.shape[1] != down.shape[0]:
            raise AdapterError(
                f"{name}: lora_down {tuple(down.shape)} and lora_up {tuple(up.shape)} do not match."
            )
        else:
            rank = down.shape[0]
        parts.setdefault("alpha", number(rank, next(iter(parts.values())), "float32"))


def _fits_together(parts: Mapping[str, Tensor]) -> bool:
    """Whether LyCORIS' parts are all there and multiply; plain LoRA is looked at by `_complete`."""
    kind = kind_of(parts)
    if "alpha" in parts and math.prod(parts["alpha"].shape) != 1:
        return False
    weights = [value for part, value in parts.items() if part not in ("alpha", "dora_scale")]
    if kind != "lora" and any(value.ndim < 2 or 0 in value.shape for value in weights):
        return False
    if kind == "oft":
        shape = parts["oft_blocks"].shape
        return len(shape) == 3 and shape[1] == shape[2] and math.prod(shape) > 0
    if kind == "loha":
        tucker = "hada_t1" in parts
        return tucker or all(_multiply(parts, f"hada_w{i}_a", f"hada_w{i}_b") for i in (1, 2))
    if kind == "lokr":
        return all(
            _multiply(parts, f"lokr_w{i}_a", f"lokr_w{i}_b")
            if f"lokr_w{i}" not in parts
            else parts[f"lokr_w{i}"].ndim in (2, 2 * i) and 0 not in parts[f"lokr_w{i}"].shape
            for i in ((1,) if "lokr_t2" in parts else (1, 2))
        )
    return True


def _multiply(parts: Mapping[str, Tensor], left: str, right: str) -> bool:
    """Whether both are there, are matrices, and can be multiplied."""
    a, b = parts.get(left), parts.get(right)
    if a is None or b is None or a.ndim != 2 or b.ndim != 2:
        return False
    return a.shape[1] == b.shape[0] and 0 not in (*a.shape, *b.shape)


def _json(text: str, source: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise AdapterError(f"{source}: is not valid JSON ({error}).") from None
    if not isinstance(value, dict):
        raise AdapterError(f"{source}: holds no settings.")
    return value

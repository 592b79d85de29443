"""What ComfyUI, sd-scripts and A1111's web UI accept, asked of the programs themselves.

    python tools/programs.py comfyui CHECKOUT
    python tools/programs.py sd-scripts CHECKOUT
    python tools/programs.py a1111 CHECKOUT

Writes src/kaiffin/adapters/elsewhere/known/<program>.json. Run by hand, where the program's own
requirements are installed (for sd-scripts a transformers below 5.6, which still says `text_model`;
for A1111 the two `repositories` that its launcher clones, and open_clip). The program's code runs
on models without weights; nothing of it is kept but names. Of A1111 the folder
`extensions-builtin/Lora` runs; the rest of the web UI is not started.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch

from kaiffin.adapters.elsewhere.programs import KNOWN, expanded
from kaiffin.adapters.files.names import homes
from kaiffin.adapters.files.tables import published
from kaiffin.models.files.resolve import CONFIGS

FAMILIES = ("sd1", "sdxl")
# What a workflow of Kaiffin's is made of, with the module of ComfyUI that has the node.
NODES = {
    "CheckpointLoaderSimple": "nodes", "LoraLoader": "nodes", "CLIPTextEncode": "nodes",
    "EmptyLatentImage": "nodes", "KSampler": "nodes", "VAEDecode": "nodes", "SaveImage": "nodes",
    "ModelSamplingDiscrete": "comfy_extras.nodes_model_advanced",
}  # fmt: skip
SETTINGS = {"INT", "FLOAT", "STRING", "BOOLEAN"}  # types of inputs that are no links


def main(arguments: list[str]) -> int:
    name, checkout = arguments[0], Path(arguments[1]).resolve()
    sys.path.insert(0, str(checkout))
    said = PROGRAMS[name](checkout) | _version_of(checkout)
    for family, names in said["names"].items():
        patterns = folded(names)
        assert sorted(expanded(patterns)) == sorted(set(names))
        said["names"][family] = patterns
    text = json.dumps(dict(sorted(said.items())), indent=0, sort_keys=False) + "\n"
    (KNOWN / f"{name}.json").write_text(text, encoding="utf-8")
    print(f"{name}: {len(text)} bytes")
    return 0


def _version_of(checkout: Path) -> dict[str, str]:
    git = ["git", "-C", str(checkout), "log", "-1", "--format=%H %cs"]
    commit, date = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split()
    return {"commit": commit, "date": date}


# --- names as patterns --------------------------------------------------------------------------


def folded(names: Iterable[str]) -> list[str]:
    """Few patterns that stand for exactly these names: those that differ in one word are one."""
    rows = {tuple((word,) for word in re.split(r"([._])", name)) for name in names}
    for place in reversed(range(max(map(len, rows), default=0))):
        rows = {row for row in rows if place >= len(row)} | _united(rows, place)
    return sorted("".join(map(_braced, row)) for row in rows)


Row = tuple[tuple[str, ...], ...]  # at each place of a name the words that may stand there


def _united(rows: Iterable[Row], place: int) -> set[Row]:
    """Those that are alike but for one place as one."""
    alike: dict[tuple[Row, Row], set[str]] = {}
    for row in rows:
        if place < len(row):
            alike.setdefault((row[:place], row[place + 1 :]), set()).update(row[place])
    return {
        (*before, tuple(sorted(words, key=_by_number)), *after)
        for (before, after), words in alike.items()
    }


def _by_number(word: str) -> tuple[int, str]:
    return (int(word) if word.isdigit() else -1, word)


def _braced(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else "{" + ",".join(words) + "}"


# --- ComfyUI ------------------------------------------------------------------------------------


def comfyui(checkout: Path) -> dict[str, Any]:
    import_module("comfy.options").enable_args_parsing()
    sys.argv = [sys.argv[0], "--cpu"]
    return {
        "title": "ComfyUI",
        "version": import_module("comfyui_version").__version__,
        "names": {family: sorted(_of_comfyui(family)) for family in FAMILIES},
        "parts": _parts_of_comfyui(),
        "nodes": {kind: _node(kind, module) for kind, module in NODES.items()},
    }


def _of_comfyui(family: str) -> Iterator[str]:
    """Names of layers that have a weight; of a model that its own code makes for these shapes."""
    lora, detection = import_module("comfy.lora"), import_module("comfy.model_detection")
    layers = published(family).layers.items()
    unet = {
        f"{name.removeprefix('unet.')}.weight": torch.empty(shape, device="meta")
        for name, shape in layers
        if name.startswith("unet.")
    }
    config = detection.model_config_from_diffusers_unet(unet)
    model = config.get_model({}, device="meta")
    clip = config.clip_target().clip(device="meta", dtype=torch.float32)
    for ask, asked in ((lora.model_lora_keys_unet, model), (lora.model_lora_keys_clip, clip)):
        state = asked.state_dict()
        for name, key in ask(asked, {}).items():
            weight = state.get(key)
            if key.endswith(".weight") and weight is not None and weight.dim() in (2, 4):
                yield name


class _Asked(dict):
    """A file that is said to hold some parts of a layer `x`, and remembers which it was asked
    for."""

    def __init__(self, held: Iterable[str]) -> None:
        super().__init__({part: _weight(part) for part in held})
        self.asked: set[str] = set()

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().get(key, _weight(key))

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def keys(self) -> Any:
        return self


def _weight(part: str) -> torch.Tensor:
    """With as many dimensions as are wanted of that part."""
    dimensions = {"alpha": 0, "scale": 0, "on_input": 0, "oft_blocks": 3}.get(
        part.rpartition(".")[2], 2
    )
    return torch.ones([2] * dimensions)


def _parts_of_comfyui() -> list[str]:
    """What its loader asks a file for, until it asks for nothing new."""
    load, found, tried = import_module("comfy.lora").load_lora, {""}, set()
    while rest := sorted(found - tried):
        tried |= set(rest)
        for held in (*({part} for part in rest), found):  # one alone, and all together
            file = _Asked(held - {""})
            load(file, {"x": "x.weight"}, log_missing=False)
            found |= file.asked
    return sorted(part.removeprefix("x") for part in found if part)


def _node(kind: str, module: str) -> dict[str, Any]:
    node = import_module(module).NODE_CLASS_MAPPINGS[kind]
    inputs, widgets = {}, {}
    for name, (of_type, *options) in node.INPUT_TYPES().get("required", {}).items():
        if isinstance(of_type, list):
            widgets[name] = of_type
        elif of_type not in SETTINGS:
            inputs[name] = of_type
            continue
        else:
            widgets[name] = []
        if options and options[0].get("control_after_generate"):
            widgets["control_after_generate"] = []
    return {"inputs": inputs, "widgets": widgets, "outputs": list(node.RETURN_TYPES)}


# --- sd-scripts ---------------------------------------------------------------------------------


def sd_scripts(checkout: Path) -> dict[str, Any]:
    parts: set[str] = set()
    names = {family: sorted(_of_sd_scripts(family, parts)) for family in FAMILIES}
    describe = ["git", "-C", str(checkout), "describe", "--tags", "--always"]
    version = subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    return {
        "title": "sd-scripts", "version": version, "names": names, "parts": sorted(parts),
        "nodes": {},
    }  # fmt: skip


def _of_sd_scripts(family: str, parts: set[str]) -> set[str]:
    """Names of the layers that its network makes, and those that its loader turns into them."""
    lora = import_module("networks.lora")
    with torch.device("meta"):
        unet, texts = _models_of_sd_scripts(family)
        network = lora.create_network(
            1.0, 1, 1.0, None, texts if len(texts) > 1 else texts[0], unet, conv_dim=1
        )
    layers = [*network.text_encoder_loras, *network.unet_loras]
    for layer in layers:
        layer.apply_to()
        parts |= {f".{part}" for part in layer.state_dict()}
    names = {layer.lora_name for layer in layers}
    return names | set(_renamed(names, lora)) if family == "sdxl" else names


def _models_of_sd_scripts(family: str) -> tuple[Any, list[Any]]:
    transformers = import_module("transformers")
    texts = []
    for tower in ("text_encoder", "text_encoder_2")[: 2 if family == "sdxl" else 1]:
        config = json.loads((CONFIGS / family / tower / "config.json").read_text(encoding="utf-8"))
        made = transformers.CLIPTextModelWithProjection if tower[-1] == "2" else (
            transformers.CLIPTextModel
        )  # fmt: skip
        texts.append(made(transformers.CLIPTextConfig(**config)))
    if family == "sdxl":
        return import_module("library.sdxl_original_unet").SdxlUNet2DConditionModel(), texts
    util = import_module("library.model_util")
    config = util.create_unet_diffusers_config(v2=False)
    return import_module("library.original_unet").UNet2DConditionModel(**config), texts


def _renamed(names: Iterable[str], lora: Any) -> Iterator[str]:
    """SDXL's layers by diffusers' names, as its loader turns them into its own."""
    table: Mapping[str, str] = {
        hf.replace(".", "_"): own.replace(".", "_")
        for own, hf in import_module("library.sdxl_model_util").make_unet_conversion_map()
    }
    for name in names:
        for theirs, own in table.items():
            if f"{name}_".startswith(f"lora_unet_{own}"):
                spelled = f"{name}_".replace(f"lora_unet_{own}", f"lora_unet_{theirs}", 1)[:-1]
                file = {f"{spelled}.alpha": 0, "lora_unet_down_blocks_": 0}
                lora.convert_diffusers_to_sai_if_needed(file)
                if f"{name}.alpha" in file:
                    yield spelled


# --- A1111 --------------------------------------------------------------------------------------

EXTENSION = "extensions-builtin/Lora"  # what of the web UI reads adapters, and is run
# What it imports of the rest, and whether a name is taken does not turn on.
AROUND = (
    "gradio", "modules.cache", "modules.devices", "modules.errors", "modules.hashes",
    "modules.patches", "modules.scripts", "modules.sd_hijack", "modules.sd_models",
    "modules.shared", "modules.textual_inversion",
    "modules.textual_inversion.textual_inversion",
)  # fmt: skip
REPOSITORIES = {  # that its launcher clones: folder, package, configuration of the base
    "sd1": ("stable-diffusion-stability-ai", "ldm", "../../configs/v1-inference.yaml"),
    "sdxl": ("generative-models", "sgm", "configs/inference/sd_xl_base.yaml"),
}


def a1111(checkout: Path) -> dict[str, Any]:
    sys.path.insert(0, str(checkout / EXTENSION))
    sys.modules |= {name: MagicMock() for name in AROUND}
    import_module("modules.shared").cmd_opts.lora_dir = tempfile.mkdtemp()
    devices = import_module("modules.devices")
    devices.cpu, devices.dtype = torch.device("cpu"), torch.float32
    networks = import_module("networks")
    changes = (checkout / "CHANGELOG.md").read_text(encoding="utf-8")
    return {
        "title": "A1111",
        "version": changes.split()[1],  # "## 1.10.1" is its first line
        "ran": EXTENSION,
        "names": {family: sorted(_of_a1111(family, checkout, networks)) for family in FAMILIES},
        "parts": _parts_of_a1111(networks),
        "nodes": {},
    }


def _of_a1111(family: str, checkout: Path, networks: Any) -> Iterator[str]:
    """Those names for which its loader finds a layer: of the spellings that Kaiffin reads, and of
    its own names for its layers behind `lora_unet`."""
    model = _model_of_a1111(family, checkout)
    import_module("modules.shared").sd_model = model
    networks.assign_network_names_to_compvis_modules(model)
    own = {
        name.replace("diffusion_model_", "lora_unet_", 1)
        for name, module in model.network_layer_mapping.items()
        if name.startswith("diffusion_model_")
        and isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    }
    for name in own | set(homes(published(family).layers, family)):
        file = {f"{name}.lora_{end}.weight": torch.ones(1, 1) for end in ("up", "down")}
        import_module("modules.sd_models").read_state_dict.return_value = file
        if networks.load_network(name, SimpleNamespace(filename=__file__)).modules:
            yield name


def _model_of_a1111(family: str, checkout: Path) -> Any:
    """As the web UI holds a base, so far as names go: its repositories' UNet, and text encoders
    behind its own class, which calls them `wrapped`."""
    repository, package, config = REPOSITORIES[family]
    home = checkout / "repositories" / repository
    sys.path.insert(0, str(home))
    transformers, holding = import_module("transformers"), torch.nn.ModuleDict
    params = import_module("omegaconf").OmegaConf.load(home / config).model.params
    text = json.loads((CONFIGS / family / "text_encoder" / "config.json").read_text("utf-8"))
    with torch.device("meta"):
        asked = params.get("unet_config", params.get("network_config"))
        unet = import_module(f"{package}.util").instantiate_from_config(asked)
        encoder = transformers.CLIPTextModel(transformers.CLIPTextConfig(**text))
        towers = [SimpleNamespace(wrapped=holding({"transformer": encoder}))]
        if family == "sdxl":
            arch = params.conditioner_config.params.emb_models[1].params.arch
            second = import_module("open_clip").create_model(arch, device="meta")
            towers.append(SimpleNamespace(wrapped=holding({"model": second})))
    return SimpleNamespace(
        is_sdxl=family == "sdxl", cond_stage_model=towers[0],
        conditioner=SimpleNamespace(embedders=towers), model=holding({"diffusion_model": unet}),
    )  # fmt: skip


def _parts_of_a1111(networks: Any) -> list[str]:
    """What its kinds of layers ask a file for, until they ask for nothing new."""
    network, layer = import_module("network"), torch.nn.Linear(2, 2)
    found, tried = {""}, set()
    while rest := sorted(found - tried):
        tried |= set(rest)
        for held in (*({part} for part in rest), found):  # one alone, and all together
            file = _Asked(held - {""})
            for kind in networks.module_types:
                kind.create_module(MagicMock(), network.NetworkWeights("x", "x", file, layer))
            found |= file.asked
    return sorted(f".{part}" for part in found if part)


PROGRAMS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "a1111": a1111, "comfyui": comfyui, "sd-scripts": sd_scripts,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

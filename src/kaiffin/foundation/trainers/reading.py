"""A training of another program, from a file or a command line, as it was written. Torch-free."""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from kaiffin.foundation.errors import ConfigError, UserError

Program = Literal["sd-scripts", "kohya_ss", "diffusers", "OneTrainer", "ai-toolkit"]
LARGEST = 5_000_000  # bytes of a config
SD_SCRIPTS = ("train_network.py", "sdxl_train_network.py")
DIFFUSERS = (
    "train_dreambooth_lora.py", "train_dreambooth_lora_sdxl.py",
    "train_dreambooth_lora_sdxl_advanced.py", "train_dreambooth_lora_sd15_advanced.py",
    "train_text_to_image_lora.py", "train_text_to_image_lora_sdxl.py",
)  # fmt: skip
VARIABLE = re.compile(r"""(?:export |set |\$env:)?(\w+)\s*=\s*["']?([^"']*)["']?""")
ONE_PATH = ("_dir", "_path", "_file", "_config")  # how flags end that one path follows
OF_ACCELERATE = ("mixed_precision",)  # its flags that are the training's, too
WAY = (
    "Read are sd-scripts' TOML files and command lines, kohya_ss' JSON, diffusers' LoRA command"
    " lines, OneTrainer's JSON and ai-toolkit's YAML."
)


@dataclass(frozen=True)
class Found:
    """What was read. raw: as its program has it; script: of a command line; launcher: settings of
    accelerate, which say nothing here; files: everything that was read, in order."""

    program: Program
    raw: Mapping[str, Any]
    script: str = ""
    launcher: tuple[str, ...] = ()
    files: tuple[Path, ...] = field(default_factory=tuple)


def read(source: str) -> Found:
    """The file of this name, or the command line itself. Raises ConfigError for what is neither."""
    if os.path.isfile(source):  # Path.is_file raises for a long command line
        return _file(Path(source))
    if ".py" in source and len(source.split()) > 1:
        return _command(source, Path())
    raise UserError(f"{source[:100]}: is no file and no command line.", WAY)


def _file(path: Path) -> Found:
    if path.stat().st_size > LARGEST:
        raise ConfigError(f"{path}: is too large for a configuration.", WAY)
    suffix = path.suffix.lower()
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    try:
        if suffix == ".toml":
            return _toml(path, tomllib.loads(text))
        if suffix in (".json", ".yaml", ".yml"):
            data = json.loads(text) if suffix == ".json" else yaml.safe_load(text)
            return Found(_program(path, data), data, files=(path,))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read ({str(error)[:200]}).", WAY) from None
    found = _command(text, path.parent)
    return Found(found.program, found.raw, found.script, found.launcher, (path, *found.files))


def _program(path: Path, data: Any) -> Program:
    """Whose a JSON or YAML file is, by what it holds."""
    if isinstance(data, Mapping):
        if "LoRA_type" in data:
            return "kohya_ss"
        if isinstance(data.get("config"), Mapping) and "process" in data["config"]:
            return "ai-toolkit"
        if {"training_method", "model_type", "base_model_name"} & data.keys():
            return "OneTrainer"
        if {"subject", "adapter"} & data.keys():
            raise ConfigError(f"{path}: is a config of Kaiffin.", f"Run `kaiffin train {path}`.")
    raise ConfigError(f"{path}: is none of the configurations that are known.", WAY)


def _toml(path: Path, data: Mapping[str, Any]) -> Found:
    """sd-scripts' config or its data set's config, with the other one where it names it."""
    if "datasets" in data:
        return Found("sd-scripts", data, files=(path,))
    raw: dict[str, Any] = {}
    for name, value in data.items():
        raw |= value if isinstance(value, Mapping) else {name: value}
    data_set, more = _data_set(raw, path.parent)
    return Found("sd-scripts", {**raw, **data_set}, files=(path, *more))


def _data_set(raw: dict[str, Any], beside: Path) -> tuple[Mapping[str, Any], tuple[Path, ...]]:
    """The config of the data set that a config names; what is not here stays named in `raw`."""
    name = raw.get("dataset_config")
    if not name:
        raw.pop("dataset_config", None)
        return {}, ()
    path = next(
        (p for p in (Path(name), beside / name, beside / Path(name).name) if p.is_file()), None
    )
    if path is None:
        raise ConfigError(
            f"{name}: the config of the data set is not here.",
            "Put it there, or beside the config, since the photos are named in it.",
        )
    del raw["dataset_config"]
    return tomllib.loads(path.read_text(encoding="utf-8-sig")), (path,)


# --- command lines ----------------------------------------------------------------------------


def _words(text: str) -> list[str]:
    """The words of a command over several lines, in sh, cmd or PowerShell."""
    joined = re.sub(r"[\\^`][ \t]*\r?\n", " ", text)
    lines = [
        line for line in joined.splitlines() if not line.lstrip().startswith(("#", "::", "rem "))
    ]
    found = (VARIABLE.fullmatch(line.strip()) for line in lines)
    variables = {match[1]: match[2] for match in found if match}
    command = next((line for line in lines if re.search(r"\.py\b", line)), "")
    filled = re.sub(
        r"\$\{?(?:env:)?(\w+)\}?|%(\w+)%",
        lambda found: variables.get(found[1] or found[2], found[0]), command,
    )  # fmt: skip
    try:
        return shlex.split(filled, comments=False)
    except ValueError as error:
        raise ConfigError(f"the command line cannot be read ({error}).", WAY) from None


def _command(text: str, beside: Path) -> Found:
    words = _words(text)
    place = next((i for i, word in enumerate(words) if word.endswith(".py")), None)
    if place is None:
        raise ConfigError("the command line names no script (.py).", WAY)
    script = Path(words[place].replace("\\", "/")).name
    before, given = _flags(words[:place]), _flags(words[place + 1 :])
    given = {k: v for k, v in before.items() if k in OF_ACCELERATE} | given
    launcher = tuple(name for name in before if name not in OF_ACCELERATE)
    if script in DIFFUSERS:
        return Found("diffusers", given, script, launcher)
    if script not in SD_SCRIPTS:
        raise ConfigError(
            f"{script}: that script trains no LoRA of SD 1.x or SDXL that is known here.",
            f"Known are {', '.join(SD_SCRIPTS + DIFFUSERS)}.",
        )
    files: tuple[Path, ...] = ()
    if config := given.pop("config_file", None):
        path = Path(config if str(config).endswith(".toml") else f"{config}.toml")
        path = path if path.is_file() else beside / path.name
        if not path.is_file():
            raise ConfigError(f"{config}: the config of that command is not here.", "Put it there.")
        whole = _toml(path, tomllib.loads(path.read_text(encoding="utf-8-sig")))
        given, files = {**whole.raw, **given}, whole.files
    data_set, more = _data_set(given, beside)
    return Found("sd-scripts", {**given, **data_set}, script, launcher, (*files, *more))


def _flags(words: Sequence[str]) -> dict[str, Any]:
    """`--name value`, `--name=value`, `--switch`, `--list a b`."""
    found: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            found[name] = value if equals else True
        elif name:
            before = found[name]
            found[name] = word if before is True else [*_as_list(before), word]
    for name, value in found.items():
        if isinstance(value, list) and name.endswith(ONE_PATH):
            path = " ".join(value)
            raise ConfigError(
                f"--{name} {path}: is one path, and {len(value)} words are given.",
                f'Put it into quotes: --{name} "{path}".',
            )
    return found


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]

"""Keys of adapter files: the name of a layer as a program spells it, and the part of the layer.

    lora_unet_mid_block_..._to_q . lora_down.weight     unet.mid_block...to_q . lora_A.weight

What is no part that Kaiffin applies has a name here too, so that a person learns what it is.
Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.kinds import PARTS
from kaiffin.foundation.text import counted
from kaiffin.models.families.spec import OTHERS, Other

# Other spellings of the two factors and of DoRA's magnitude -> kohya's.
ENDINGS: Mapping[str, str] = {
    ".lora_A.weight": "lora_down.weight", ".lora_B.weight": "lora_up.weight",
    ".lora_A": "lora_down.weight", ".lora_B": "lora_up.weight",
    ".lora.down.weight": "lora_down.weight", ".lora.up.weight": "lora_up.weight",
    "_lora.down.weight": "lora_down.weight", "_lora.up.weight": "lora_up.weight",
    ".lora_linear_layer.down.weight": "lora_down.weight",
    ".lora_linear_layer.up.weight": "lora_up.weight",
    ".lora_magnitude_vector": "dora_scale",
    **{f".{part}": part for part in PARTS},
}  # fmt: skip
OF_PEFT = "base_model.model."  # in front of its keys, or behind the tower's name
MAGNITUDE = ".lora_magnitude_vector"  # PEFT's: it lies along the outputs, whatever its shape

# What is known and not applied -> how its keys end.
UNAPPLIED: Mapping[str, tuple[str, ...]] = {
    "norm layers": (".w_norm", ".b_norm"),
    "full differences of weights": (".diff",),
    "differences of biases": (".diff_b",),
    "scalars": (".scalar",),
    "biases of LoRA layers": (
        ".lora_A.bias", ".lora_B.bias", ".lora_down.bias", ".lora_up.bias", ".lora.down.bias",
        ".lora.up.bias", "_lora.down.bias", "_lora.up.bias",
    ),
    "GLoRA": (".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight", ".bm.weight"),
    "IA3": (".on_input",),
    "rescaled OFT": (".rescale",),
    "OFT of PEFT": (".oft_r", ".oft_R.weight"),
    "VeRA": (".vera_lambda_b", ".vera_lambda_d"),
    "sparse biases": (".bias_indices", ".bias_values", ".bias_size"),
    "whole weights": (".set_weight", ".reshape_weight"),
    "LoRA of embeddings": (".lora_embedding_A", ".lora_embedding_B"),
}  # fmt: skip
# Or how they begin.
FOREIGN: Mapping[str, tuple[str, ...]] = {
    "OFT of sd-scripts": ("oft_unet_", "oft_te"),
    "ControlNet-LLLite": ("lllite_",),
    "an IP-Adapter": ("ip_adapter.", "image_proj."),
    "weights of a whole model": ("first_stage_model.", "cond_stage_model.", "conditioner."),
}
# tower -> key of its vectors where the base has one text encoder, and where it has two.
ALONE = {"text_encoder": "emb_params"}
BUNDLED = {"text_encoder": "string_to_param.*"}
PAIR = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
OLD_PAIR = {"text_encoder": "text_encoders_0", "text_encoder_2": "text_encoders_1"}
FIXED = {key for keys in (ALONE, BUNDLED, PAIR, OLD_PAIR) for key in keys.values()}

BOFT = "BOFT"
CONSTRAINED = "OFT with a constraint"
PROJECTION = "the text encoder's projection"
HOMELESS = ""  # of another base, or of nobody's


def split(key: str) -> tuple[str, str]:
    """Name as spelled and kohya's name of the part; part "" where it is none that is applied."""
    key = _without_adapter(key).replace(OF_PEFT, "")
    for ending, part in ENDINGS.items():
        if not key.endswith(ending):
            continue
        name = key.removesuffix(ending)
        if ending.startswith("_lora"):  # the oldest: attn1.processor.to_q_lora.down.weight
            name = re.sub(r"\.to_out$", ".to_out.0", name.replace(".processor.", "."))
        return name, part
    return key, ""


def _without_adapter(key: str) -> str:
    """PEFT's keys in memory name the adapter: `lora_A.default_0.weight`."""
    key = re.sub(r"\.(lora_[AB])\.[^.]+\.(weight|bias)$", r".\1.\2", key)
    return re.sub(rf"{re.escape(MAGNITUDE)}(\.[^.]+)*$", MAGNITUDE, key)


def is_magnitude_of_peft(key: str) -> bool:
    return _without_adapter(key).endswith(MAGNITUDE)


def home_of(key: str, homes: Mapping[str, str]) -> str:
    """The layer that a key is of, whatever its part; "" where it is none of the base's."""
    while key:
        if key in homes:
            return homes[key]
        key = key.rpartition(".")[0]
    return ""


def kind_of_stray(key: str) -> str:
    """What a key without a home is, in words; HOMELESS where there is no word for it."""
    key = _without_adapter(key)
    known = [what for what, endings in UNAPPLIED.items() if key.endswith(endings)]
    known += [what for what, starts in FOREIGN.items() if key.startswith(starts)]
    return next(iter(known), PROJECTION if "text_projection" in key else HOMELESS)


def other_of_keys(keys: Iterable[str]) -> Other | None:
    """The model of nobody's here that these keys are of."""
    named = list(keys)
    marked = (o for o in OTHERS if any(mark in key for mark in o.marks for key in named))
    return next(marked, None)


def grouped(strays: Mapping[str, str]) -> dict[str, list[str]]:
    """Keys by what they are, those without a name last."""
    found: dict[str, list[str]] = {}
    for key, what in sorted(strays.items(), key=lambda item: item[1] == HOMELESS):
        found.setdefault(what, []).append(key)
    return found


def skipped_of(skipped: Mapping[str, str]) -> str:
    """What was gone on without, counted by what it is: `2 keys (norm layers), 1 key (unknown)`."""
    groups = grouped(skipped).items()
    return ", ".join(f"{counted(len(keys), 'key')} ({what or 'unknown'})" for what, keys in groups)


# --- tokens -----------------------------------------------------------------------------------


def is_embedding(shapes: Mapping[str, Any]) -> bool:
    """Whether a file's keys are those of a textual inversion. shapes: or tensors, by key.

    A1111 and ComfyUI have fixed names, diffusers one key, which is the word: `<cat-toy>`.
    """
    if set(shapes) <= FIXED:
        return bool(shapes)
    (key, *others), (value, *_) = shapes, shapes.values()
    shape = tuple(getattr(value, "shape", value))
    vectors = len(shape) in (1, 2) and shape[-1] >= 16
    return not others and vectors and ("." not in key or key.startswith("<"))


def places_of_bundle(
    bundled: Mapping[str, Any], widths: Mapping[str, int]
) -> dict[str, dict[str, str]]:
    """The keys of an adapter's tokens, without `bundle_emb.`, by word and text tower.

    bundled: tensors by key; widths: what the base's towers have. Raises AdapterError for what is no
    token of such a base.
    """
    spelled = [ALONE, BUNDLED] if len(widths) == 1 else [PAIR]
    towers = {key: tower for table in spelled for tower, key in table.items()}
    found: dict[str, dict[str, str]] = {}
    for name, value in bundled.items():
        word, _, key = name.partition(".")
        tower, shape = towers.get(key), tuple(value.shape)
        if tower is None or len(shape) != 2 or not shape[0] or shape[1] != widths[tower]:
            raise AdapterError(
                f"bundle_emb.{name}: {shape} is no token of this base.",
                "It was made for another base.",
            )
        found.setdefault(word, {})[tower] = name
    for word, names in found.items():
        if set(names) != set(widths) or len({len(bundled[n]) for n in names.values()}) != 1:
            raise AdapterError(f"bundle_emb.{word}: lacks vectors for one of the text encoders.")
    return found

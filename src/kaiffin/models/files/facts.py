"""What is known of a base without its weights: the class of its family, its tokenizer, its size."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import Tell
from kaiffin.models import parts
from kaiffin.models.families.shared import LatentDiffusion
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files import resolve
from kaiffin.models.files.vocabulary import tokenizer_folder
from kaiffin.models.words import plain_pieces


@dataclass(frozen=True)
class TextFacts:
    """What preparing photos needs to know of a base: its tokenizer and its native square.

    remarks: what a person should hear of the base.
    """

    tokenizer: Any
    native_size: int
    remarks: tuple[str, ...] = ()

    @property
    def max_tokens(self) -> int:
        return self.tokenizer.model_max_length

    def token_pieces(self, text_: str) -> list[str]:
        return plain_pieces(self.tokenizer, text_)


def read_text_facts(name: str, tell: Tell) -> TextFacts:
    """Tokenizer and native size of base `name`, without opening its weights or taking them.

    Raises MissingWeightsError where they are absent.
    """
    located = resolve.locate(name, tell=tell)
    configs, spec = located.configs, SPECS[located.family]
    try:
        net, vae, words = (
            json.loads((configs / part / "config.json").read_text(encoding="utf-8"))
            for part in (spec.denoiser, "vae", spec.text_towers[0])
        )
        native = net["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingWeightsError(f"{configs}: its configuration is broken: {error}.") from None
    with parts.quiet(), tokenizer_folder(configs / "tokenizer", located.path, tell) as folder:
        tokenizer = _tokenizer(family_class(located.family).readers()["tokenizer"], folder)
        return TextFacts(as_long(tokenizer, words), native, located.remarks)


def _tokenizer(cls: Any, folder: Any) -> Any:
    try:
        return cls.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # a bare one, whatever is wrong with their files
        raise MissingWeightsError(f"{folder}: cannot be loaded: {error}.") from None


def family_class(name: str) -> type[LatentDiffusion]:
    """The class of family `name`; importing it may take seconds."""
    return pkgutil.resolve_name(SPECS[name].code)


def as_long(tokenizer: Any, encoder: Mapping[str, Any]) -> Any:
    """The tokenizer with blocks no longer than the encoder has positions: some copies, such as
    ComfyUI's, say 8192. encoder: its configuration."""
    positions = encoder.get("max_position_embeddings", tokenizer.model_max_length)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer

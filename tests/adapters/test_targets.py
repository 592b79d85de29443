"""Which layers a preset, a pattern and a rule mean, on tiny and on real bases."""

import pytest
from made_adapters import of_kind

from kaiffin.adapters.files.tables import published
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.targets import select
from kaiffin.foundation.config import LayerRule
from kaiffin.foundation.errors import ConfigError
from kaiffin.models.base import ModelFamily


def test_targets(sd: ModelFamily) -> None:
    modules = full_modules(sd)
    attention = select("attention", modules, "unet")
    assert all(n.rsplit(".", 2)[-2].startswith("attn") or ".to_out.0" in n for n in attention)
    assert set(attention) < set(select("attention+ff", modules, "unet"))
    linear = select("all-linear", modules, "unet")
    assert any(name.endswith("proj_in") for name in linear)
    assert not any(".conv1" in name for name in linear)
    everything = select("all-linear+conv", modules, "unet")
    rest = {n for n in modules if n.startswith("unet.")} - set(everything)
    assert rest == {f"unet.{n}" for n in ("conv_in", "conv_out", "time_embedding.linear_1",
                                          "time_embedding.linear_2")}  # fmt: skip
    assert select("*.attn2.to_k", modules, "unet") == [n for n in modules if "attn2.to_k" in n]
    with pytest.raises(ConfigError, match="matches no module"):
        select("nonsense", modules, "unet")


def test_rules_give_ranks_alphas_and_leave_out(sd: ModelFamily) -> None:
    rules = (
        LayerRule(layers="unet.mid_block.*", rank=2),
        LayerRule(layers="*.to_out.0", skip=True),
        LayerRule(layers="text_encoder.*", rank=8, alpha=1.0),
    )
    layers = of_kind(sd, "lora", rules=rules).layers
    for name, layer in layers.items():
        expected = (4, 6.0)
        if "mid_block" in name:
            expected = (2, 3.0)
        elif name.startswith("text_encoder."):
            expected = (8, 1.0)
        assert (layer.rank, layer.alpha) == expected, name
    assert not any(name.endswith("to_out.0") for name in layers if "mid_block" not in name)


def test_trainable_counts_of_the_real_sd1_unet() -> None:
    """797,184 weights at rank 4 and 25,509,888 at rank 128 on attention: published numbers."""
    table = published("sd1").layers
    found = select("attention", table, "unet")
    assert len(found) == 128
    weights = sum(sum(table[n]) for n in found)
    assert 4 * weights == 797_184
    assert 128 * weights == 25_509_888

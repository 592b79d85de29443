"""The rows of families hold together, and say what other programs expect."""

import diffusers
import pytest

from kaiffin.models.families.spec import SPECS, of_version


@pytest.mark.parametrize("name", SPECS)
def test_a_row_holds_together(name: str) -> None:
    spec = SPECS[name]
    assert spec.name == name
    assert next(iter(spec.towers)) == spec.denoiser
    assert spec.text_towers == tuple(tower for tower in spec.towers if tower != spec.denoiser)
    assert of_version(spec.base_version) is spec
    assert hasattr(diffusers, spec.pipeline)
    prefixes = [p for tower in spec.towers.values() for p in (tower.kohya, *tower.others)]
    assert len(set(prefixes)) == len(prefixes)


@pytest.mark.parametrize(
    ("version", "family"),
    [
        ("sd_v1", "sd1"), ("sd_1.5", "sd1"), ("SD_v1.5", "sd1"), ("sdxl_base_v1-0", "sdxl"),
        ("sdxl_1.0", "sdxl"), ("sd_v2_v", None), ("flux1", None), ("", None),
    ],
)  # fmt: skip
def test_what_headers_call_it(version: str, family: str | None) -> None:
    assert of_version(version) is (SPECS[family] if family else None)


@pytest.mark.parametrize(
    ("layer", "block"),
    [
        ("unet.down_blocks.1.attentions.0.proj_in", "unet.down_blocks.1"),
        ("unet.mid_block.resnets.0.conv1", "unet.mid_block"),
        ("unet.up_blocks.10.resnets.0.conv1", "unet.up_blocks.10"),
        ("unet.conv_in", "unet"),
        ("text_encoder_2.text_model.encoder.layers.0.mlp.fc1", "text_encoder_2"),
    ],
)
def test_blocks(layer: str, block: str) -> None:
    assert SPECS["sdxl"].block_of(layer) == block

"""What the real programs said that they accept holds all that Kaiffin writes, and no more is
claimed of them. The stored answers are the oracle: the programs' own code has made them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import folded

from kaiffin.adapters.elsewhere.programs import (
    KNOWN,
    all_known,
    expanded,
    program,
)
from kaiffin.adapters.elsewhere.proof import accepted_names
from kaiffin.adapters.files import names
from kaiffin.adapters.files.spelling import split
from kaiffin.adapters.files.tables import published
from kaiffin.foundation.kinds import KINDS
from kaiffin.foundation.samplers import SAMPLERS, SCHEDULES
from kaiffin.models.families.spec import SPECS

WORDS = st.sampled_from(["a", "b1", "blocks", "0", "1", "10"])
NAMES = st.lists(WORDS, min_size=1, max_size=5).map("_".join) | st.just("unet.a.0")


@given(st.lists(NAMES, max_size=12))
def test_folded_names_are_the_names(given: list[str]) -> None:
    assert sorted(expanded(folded(given))) == sorted(set(given))


def test_folding_finds_what_is_regular() -> None:
    regular = [f"down_{i}_{kind}" for i in range(12) for kind in ("q", "k")]
    assert folded(regular) == ["down_{0,1,2,3,4,5,6,7,8,9,10,11}_{k,q}"]


@pytest.mark.parametrize("one", all_known(), ids=lambda one: one.title)
def test_every_answer_says_who_gave_it_and_is_small(one) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", one.commit)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", one.date)
    assert one.version
    assert set(one.names) == set(SPECS)
    assert all(path.stat().st_size < 60_000 for path in KNOWN.iterdir())


@pytest.mark.parametrize(("family", "unmade"), [("sd1", 4), ("sdxl", 6)])
def test_who_takes_the_names_that_kaiffin_writes(family: str, unmade: int) -> None:
    """sd-scripts makes no layer of both ends of the denoiser, nor of the times and sizes."""
    layers = published(family).layers
    written = {names.kohya_name(layer, family): layer for layer in layers}
    assert set(written) <= program("comfyui").names[family]
    assert set(written) <= program("a1111").names[family]
    left = {written[name] for name in set(written) - program("sd-scripts").names[family]}
    assert left == {layer for layer in layers if layer.removeprefix("unet.") in names.TOP}
    assert len(left) == unmade


@pytest.mark.parametrize("family", SPECS)
def test_names_without_numbers_say_the_same_of_published_bases(family: str) -> None:
    """So they can be asked of a base of any size, as the proof does; but where A1111 reckons an
    upsampler's place as SD 1.x has it, published names are answered by themselves."""
    layers = published(family).layers
    found, homes = accepted_names(layers, family), names.homes(layers, family)
    for one in all_known():
        assert found[one.title] == set(homes) & one.names[family]
        like = {name for name in homes if one.knows(name, family)} - one.names[family]
        odd = one.title == "A1111" and family == "sdxl"
        assert like == ({"lora_unet_up_blocks_0_upsamplers_0_conv"} if odd else set())


@pytest.mark.parametrize("family", SPECS)
def test_kaiffin_reads_each_spelling_that_comfyui_takes(family: str) -> None:
    """But for projections and tables of words, which Kaiffin does not apply, and a second name of
    the embedding of sizes."""
    layers = published(family).layers
    homes = {**names.homes(layers, family), **names.dotted(layers, family)}
    named = program("comfyui").names[family]
    strange = {split(f"{name}_lora.down.weight")[0] for name in named} - set(homes)
    known = r"text_projection$|\.(token|position)_embedding$|class_embedding"
    assert not [name for name in strange if not re.search(known, name)]


@pytest.mark.parametrize("family", SPECS)
def test_kaiffin_reads_each_spelling_that_a1111_takes(family: str) -> None:
    homes = names.homes(published(family).layers, family)
    assert program("a1111").names[family] <= set(homes)


def test_parts() -> None:
    comfyui, a1111, scripts = (program(name) for name in ("comfyui", "a1111", "sd-scripts"))
    for kind in KINDS.values():
        parts = {f".{part}" for part in ("alpha", *kind.parts, *kind.marks)}
        assert parts <= set(comfyui.parts)
        assert parts <= set(a1111.parts)
        assert (parts <= set(scripts.parts)) == kind.plain


def test_every_sampler_is_one_of_comfyui() -> None:
    widgets = program("comfyui").nodes["KSampler"].widgets
    for sampler in SAMPLERS.values():
        assert sampler.comfyui in widgets["sampler_name"]
    for schedule in SCHEDULES.values():
        assert schedule.comfyui in (*widgets["scheduler"], "")
    assert "v_prediction" in program("comfyui").nodes["ModelSamplingDiscrete"].widgets["sampling"]


def test_what_comfyui_drops_of_diffusers_layout() -> None:
    """Attention, whose names it wants with `processor` in them, as the oldest files have."""
    comfyui, end = program("comfyui"), ".lora_A.weight"
    for layer in published("sd1").layers:
        attention = re.search(r"\.to_(q|k|v|out\.0)$", layer) is not None
        assert comfyui.takes(layer + end, "sd1") == (not attention), layer

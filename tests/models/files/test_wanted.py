"""Which files of a repository are taken, on the published file lists and their sizes."""

import pytest
from hub import PUBLISHED
from hypothesis import given
from hypothesis import strategies as st

from kaiffin.models.files import wanted
from kaiffin.models.files.published import PUBLISHED as TABLE

SD15, SDXL = "stable-diffusion-v1-5/stable-diffusion-v1-5", TABLE["sdxl"].repo
PIPELINES = [repo for repo, listed in PUBLISHED.items() if "model_index.json" in listed]


def size(repo: str, plan: wanted.Plan) -> float:
    return sum(PUBLISHED[repo][name] for name in plan.weights) / 1e9


# What bases.md, which was read from the hub, says that is needed of each; never a file more.
NEEDED = [
    (SD15, False, 4.27), (SD15, True, 2.13), (SDXL, False, 13.88), (SDXL, True, 6.94),
    ("SG161222/RealVisXL_V5.0", False, 13.88), ("SG161222/RealVisXL_V5.0", True, 6.94),
    ("RunDiffusion/Juggernaut-XL-v9", False, 6.94), ("RunDiffusion/Juggernaut-XL-v9", True, 6.94),
    ("cagliostrolab/animagine-xl-4.0", False, 6.94), ("cagliostrolab/animagine-xl-4.0", True, 6.94),
]  # fmt: skip


@pytest.mark.parametrize(("repo", "half", "gigabytes"), NEEDED)
def test_what_is_needed_of_the_published_bases(repo: str, half: bool, gigabytes: float) -> None:
    plan = wanted.of_pipeline(PUBLISHED[repo], half)
    assert size(repo, plan) == pytest.approx(gigabytes, abs=0.02)
    assert not plan.lacking
    assert {name.partition("/")[0] for name in plan.weights} <= {
        "unet", "vae", "text_encoder", "text_encoder_2"
    }  # fmt: skip
    assert not any(word in name for name in plan.files for word in ("non_ema", ".bin", "vae_1_0"))
    assert {"model_index.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json",
            "unet/config.json"} <= set(plan.configs)  # fmt: skip


def test_the_table_of_short_names_says_what_the_lists_say() -> None:
    for one in TABLE.values():
        if one.repo in PIPELINES:
            sizes = [size(one.repo, wanted.of_pipeline(PUBLISHED[one.repo], h)) for h in (0, 1)]
            if one.full:
                assert sizes[0] == pytest.approx(one.full / 1e9, abs=0.02)
            if one.half:
                assert sizes[1] == pytest.approx(one.half / 1e9, abs=0.02)


def test_only_configurations_are_taken_where_no_weights_are_wanted() -> None:
    plan = wanted.of_pipeline(PUBLISHED[SD15], None)
    assert not plan.weights
    assert sum(PUBLISHED[SD15][name] for name in plan.configs) < 1e5


STEM = "diffusion_pytorch_model"
SHARDS = {
    "plain": ([f"{STEM}-0000{n}-of-00002.safetensors" for n in (1, 2)],
              f"{STEM}.safetensors.index.json"),
    "fp16": ([f"{STEM}.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)],
             f"{STEM}.safetensors.index.fp16.json"),
    "fp16 as it was spelled": ([f"{STEM}-0000{n}-of-00002.fp16.safetensors" for n in (1, 2)],
                               f"{STEM}.safetensors.fp16.index.json"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SHARDS)
def test_shards_are_whole_with_all_of_them_and_their_index(kind: str) -> None:
    shards, index = SHARDS[kind]
    names = [f"unet/{name}" for name in (*shards, index)]
    half = kind != "plain"
    assert wanted.weight_sets(names, "unet") == {half: tuple(names)}
    for missing in names:
        assert not wanted.weight_sets([n for n in names if n != missing], "unet")
    one_file = f"unet/{STEM}{'.fp16' * half}.safetensors"
    assert wanted.weight_sets([*names, one_file], "unet") == {half: (one_file,)}


def test_what_is_here_is_not_taken_again_as_its_twin() -> None:
    plain, twin = (f"unet/{STEM}{mark}.safetensors" for mark in ("", ".fp16"))
    names = [plain, twin]
    assert wanted.best(names, "unet", half=True) == (twin,)
    assert wanted.best(names, "unet", half=True, here=[plain]) == (plain,)
    assert wanted.best(names, "unet", half=False, here=[twin]) == (plain,)


def test_a_model_alone_is_taken_without_its_other_formats() -> None:
    clip = ["config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "vocab.json",
            "merges.txt", "README.md", "preprocessor_config.json"]  # fmt: skip
    plan = wanted.of_model(clip)
    assert plan.weights == ("model.safetensors",)
    assert set(plan.configs) == {"config.json", "vocab.json", "merges.txt",
                                 "preprocessor_config.json"}  # fmt: skip
    fix = ["config.json", f"{STEM}.safetensors", f"{STEM}.bin", "sdxl_vae.safetensors"]
    assert wanted.of_model(fix).weights == (f"{STEM}.safetensors",)
    vae = wanted.of_model(PUBLISHED[SD15], "vae")
    assert vae.files == ("vae/config.json", f"vae/{STEM}.safetensors")


@given(st.sets(st.sampled_from(sorted(PUBLISHED[SDXL]))), st.booleans())
def test_a_plan_is_of_what_is_listed_and_lacks_what_is_not(names: set[str], half: bool) -> None:
    plan = wanted.of_pipeline(names, half)
    assert set(plan.files) <= names
    folders = {name.partition("/")[0] for name in plan.weights} | set(plan.lacking)
    assert {n.partition("/")[0] for n in names if n.startswith(("unet/", "vae/"))} <= folders
    assert len(set(plan.files)) == len(plan.files)

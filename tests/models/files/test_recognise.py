"""What a file or a folder is, by shapes and configurations; everything else is refused by name."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import tiny
from checkpoints import SD1, SDXL, names_alone, whole

from kaiffin.adapters.files import tables
from kaiffin.adapters.files.names import sgm_path
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.files.recognise import of_file, of_folder

Shapes = Mapping[str, tuple[int, ...]]
FIRST, OUT = "input_blocks.0.0.weight", "out.2.weight"
CLIP = {"cond_stage_model.transformer.text_model.x": (8,)}
VAE = {"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}


def of(width: int) -> Shapes:
    """SD 1.x but for the width of the text states."""
    return SD1 | {"input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, width)}


def taking(channels: int, layers: Shapes = SD1) -> Shapes:
    return layers | {FIRST: (320, channels, 3, 3)}


PRUNED = {name: shape for name, shape in SDXL.items() if "transformer_blocks.9" not in name}


@pytest.mark.parametrize(
    ("shapes", "family"),
    [
        (whole(SD1) | CLIP | VAE, "sd1"),
        (whole(SD1), "sd1"),
        (whole(SDXL) | {"conditioner.embedders.1.model.ln_final.weight": (1280,)}, "sdxl"),
        (whole(SDXL), "sdxl"),
        (whole({FIRST: (8, 16, 3, 3), OUT: (16, 8, 3, 3)}) | CLIP, "sd1"),  # of no published size
    ],
)
def test_the_family_of_a_file_follows_from_its_shapes(
    tmp_path: Path, shapes: Shapes, family: str
) -> None:
    found = of_file(names_alone(tmp_path / "a.safetensors", shapes))
    assert (found.family, found.schedule) == (family, {})


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_every_layer_of_a_published_unet_under_its_original_name(
    tmp_path: Path, family: str
) -> None:
    """The few layers by which a base is told are there, and none is taken for another model's."""
    layers = tables.published(family).layers.items()
    unet = {name.removeprefix("unet."): s for name, s in layers if name.startswith("unet.")}
    shapes = {f"{sgm_path(name)}.weight": shape for name, shape in unet.items()}
    assert shapes.items() >= (SD1 if family == "sd1" else SDXL).items()
    for made in (whole(shapes), whole(shapes) | CLIP | VAE):
        assert of_file(names_alone(tmp_path / "a.safetensors", made)).family == family
    with pytest.raises(MissingWeightsError, match="UNet alone"):
        of_file(names_alone(tmp_path / "a.safetensors", shapes))
    diffusers = {f"{name}.weight": shape for name, shape in unet.items()}
    with pytest.raises(MissingWeightsError, match="UNet alone of SD"):
        of_file(names_alone(tmp_path / "a.safetensors", diffusers))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (whole(of(1024)), r"is SD 2\.x"),
        (whole(of(1280)), "is the SDXL refiner"),
        (whole(taking(9)), "inpainting"),
        (whole(taking(9, SDXL)), "inpainting"),
        (whole(taking(8)), "InstructPix2Pix"),
        (whole(taking(5)), "depth"),
        (whole(taking(7)), "upscaler"),
        (whole(PRUNED), r"SSD-1B.*a\.config"),
        (whole(SD1 | {"time_embed.cond_proj.weight": (320, 256)}), "latent consistency.*LCM LoRA"),
        (whole(SDXL) | {"edm_mean": (1,), "edm_std": (1,)}, "Playground"),
        (whole(SDXL) | {"edm_vpred.sigma_max": (1,)}, "CosXL"),
        (whole({FIRST: (320, 4, 3, 3)}), "text encoder is of another kind"),
        (SDXL, "a UNet alone of SDXL.*diffusers folder"),
        (SD1, r"a UNet alone of SD 1\.x"),
        (
            {
                "down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3),
                "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 768),
            },
            r"a UNet alone of SD 1\.x",
        ),
        ({"decoder.conv_in.weight": (512, 4, 3, 3)}, "VAE alone.*--base.vae"),
        (VAE, "VAE alone"),
        ({"text_model.encoder.layers.0.mlp.fc1.weight": (8, 8)}, "text encoder alone"),
        ({"encoder.block.0.layer.0.SelfAttention.q.weight": (8, 8)}, "text encoder alone"),
        ({"lora_unet_down_blocks_0.alpha": ()}, "LoRA.*--adapter"),
        ({"unet.down_blocks.0.attn1.to_q.lora_A.weight": (4, 8)}, "LoRA.*--adapter"),
        ({"diffusion_model.x.lokr_w1": (4, 4)}, "LoRA.*--adapter"),
        ({"control_model.input_hint_block.0.weight": (8, 8)}, "ControlNet"),
        (
            {"down_blocks.0.x": (8,), "controlnet_cond_embedding.conv_in.weight": (8, 3)},
            "ControlNet",
        ),
        ({"image_proj.proj.weight": (8, 8)}, "IP-Adapter"),
        ({"down_blocks.0.motion_modules.0.x": (8,)}, "AnimateDiff"),
        ({"clip_g": (2, 1280), "clip_l": (2, 768)}, "textual inversion.*--embedding"),
        ({"emb_params": (2, 768)}, "textual inversion"),
        ({"layer.weight": (8, 8)}, "holds no Stable Diffusion checkpoint"),
        ({}, "holds no Stable Diffusion checkpoint"),
    ],
)
def test_a_file_that_is_no_base_is_called_by_its_name(
    tmp_path: Path, shapes: Shapes, words: str
) -> None:
    with pytest.raises(MissingWeightsError, match=words) as caught:
        of_file(names_alone(tmp_path / "a.safetensors", shapes))
    assert caught.value.fix


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("joint_blocks.0.context_block.attn.qkv.weight", "SD 3"),
        ("double_blocks.0.img_attn.norm.key_norm.scale", "Flux"),
        ("single_transformer_blocks.0.attn.to_q.weight", "Flux"),
        ("single_stream_modulation.lin.weight", "Flux 2"),
        ("distilled_guidance_layer.in_proj.bias", "Chroma"),
        ("txt_norm.weight", "Qwen-Image"),
        ("cap_embedder.1.weight", "Z-Image or Lumina"),
        ("clip_txt_mapper.weight", "Stable Cascade"),
        ("t_block.1.weight", "PixArt"),
        ("mlp_t5.0.weight", "HunyuanDiT"),
        ("txt_in.individual_token_refiner.blocks.0.norm1.weight", "HunyuanVideo"),
        ("double_layers.0.attn.w1q.weight", "AuraFlow"),
        ("encoder_hid_proj.image_embeds.weight", "Kandinsky"),
        ("head.modulation", "Wan"),
        ("patchify_proj.weight", "LTX-Video"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_other_architectures_are_known_by_their_layers(
    tmp_path: Path, prefix: str, name: str, title: str
) -> None:
    with pytest.raises(MissingWeightsError, match=f"is {title}. Kaiffin reads"):
        of_file(names_alone(tmp_path / "a.safetensors", {prefix + name: (8, 8)}))


@pytest.mark.parametrize(
    ("stem", "shapes", "metadata", "remarks"),
    [
        ("a", {}, {}, ""),
        ("a", {"v_pred": (0,)}, {}, "is v-prediction, and"),
        ("a", {"v_pred": (0,), "ztsnr": (0,)}, {}, "v-prediction with zero terminal SNR"),
        ("a", {}, {"modelspec.prediction_type": "v"}, "is v-prediction, and"),
        ("noobaiXL_vPred10", {}, {}, "its name says v-prediction, but nothing"),
        ("a", {}, {"modelspec.title": "Mine (v-pred)"}, "its name says v-prediction, but nothing"),
        ("a", {"model_ema.diffusion_modelout2weight": (4,)}, {}, "EMA weights"),
        ("juggernautXL_v9Rdphoto2Lightning", {}, {}, r"\(Lightning\).*2 to 8"),
        ("dreamshaper_8LCM", {}, {}, r"\(LCM\): it wants 4 to 8 steps and guidance 1 to 2"),
        ("a", {}, {"modelspec.title": "SDXL-Turbo"}, r"\(Turbo\)"),
        ("hyper-sd15", {}, {}, r"\(Hyper\).*guidance 1"),
        ("hyperrealism_v3", {}, {}, ""),
        ("dmd2_sdxl_4step", {}, {}, r"\(DMD2\)"),
    ],
)
def test_what_is_worth_knowing_of_a_base_is_remarked_once(
    tmp_path: Path, stem: str, shapes: Shapes, metadata: dict[str, str], remarks: str
) -> None:
    made = names_alone(
        tmp_path / f"{stem}.safetensors", whole(SD1) | CLIP | VAE | shapes, metadata=metadata
    )
    found = " | ".join(of_file(made).remarks)
    assert bool(found) == bool(remarks)
    assert re.search(remarks, found)


def test_parts_that_a_file_lacks_are_remarked(tmp_path: Path) -> None:
    found = of_file(names_alone(tmp_path / "a.safetensors", whole(SDXL)))
    assert all(word in remark for word, remark in zip(("VAE", "text"), found.remarks, strict=True))
    half = {"conditioner.embedders.1.model.x": (8,), "vae.decoder.x": (8,)}
    found = of_file(names_alone(tmp_path / "a.safetensors", whole(SDXL) | half))
    assert "not all of its text encoders" in " ".join(found.remarks)
    assert "VAE" not in " ".join(found.remarks)


def test_the_marks_of_a_schedule_are_in_the_words_of_diffusers(tmp_path: Path) -> None:
    marks = {"v_pred": (0,), "ztsnr": (0,)}
    found = of_file(names_alone(tmp_path / "a.safetensors", whole(SDXL) | marks))
    assert found.schedule == {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }


def test_fp8_is_read_and_integers_are_not(tmp_path: Path) -> None:
    file = names_alone(tmp_path / "a.safetensors", whole(SD1), "F8_E4M3")
    assert "fp8" in " ".join(of_file(file).remarks)
    with pytest.raises(MissingWeightsError, match=r"quantised.*\(.*is I8\)"):
        of_file(names_alone(file, whole(SD1), "I8"))


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_pickled_checkpoints_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(MissingWeightsError, match="pickles"):
        of_file(tmp_path / f"model{suffix}")


# --- folders ----------------------------------------------------------------------------------


@pytest.fixture
def folder(sd_path: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sd_path, tmp_path / "base")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("StableDiffusionPipeline", "sd1"),
        ("StableDiffusionImg2ImgPipeline", "sd1"),
        ("StableDiffusionXLPipeline", "sdxl"),
        ("StableDiffusionXLImg2ImgPipeline", "sdxl"),
    ],
)
def test_without_a_configuration_the_family_is_the_pipelines(
    tmp_path: Path, kind: str, family: str
) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    assert of_folder(tmp_path).family == family


def test_shapes_count_for_more_than_a_class(sd_path: Path, sdxl_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(sdxl_path, tmp_path / "xl")
    edit(copy / "model_index.json", _class_name="StableDiffusionPipeline")
    assert of_folder(copy).family == "sdxl"
    (copy / "model_index.json").unlink()
    assert of_folder(copy).family == "sdxl"
    assert of_folder(sd_path).family == "sd1"


@pytest.mark.parametrize(
    "kind", ["FluxPipeline", "StableDiffusion3Pipeline", "DiffusionPipeline", "ZImagePipeline"]
)
def test_another_pipeline_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(MissingWeightsError, match=rf"is a {kind}.*SD 1\.x and SDXL"):
        of_folder(tmp_path)


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("unet/config.json", {"cross_attention_dim": 1024}, r"SD 2\.x"),
        ("unet/config.json", {"cross_attention_dim": 1280}, "refiner"),
        ("unet/config.json", {"in_channels": 9}, "inpainting"),
        ("unet/config.json", {"in_channels": 8}, "InstructPix2Pix"),
        ("unet/config.json", {"in_channels": 5}, "depth"),
        ("unet/config.json", {"in_channels": 7}, "upscaler"),
        ("unet/config.json", {"time_cond_proj_dim": 256}, "latent consistency"),
        ("unet/config.json", {"quantization_config": {}}, "quantised"),
        ("unet/config.json", {"encoder_hid_dim_type": "image_proj"}, "Kandinsky"),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "EDMDPMSolverMultistepScheduler"},
            "Playground",
        ),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "learns a flow",
        ),
    ],
)
def test_a_folder_of_our_pipeline_that_is_something_else(
    folder: Path, file: str, changes: dict[str, object], words: str
) -> None:
    edit(folder / file, **changes)
    with pytest.raises(MissingWeightsError, match=words) as caught:
        of_folder(folder)
    assert caught.value.fix


def test_a_distilled_folder_is_known_by_scheduler_origin_or_name(folder: Path) -> None:
    assert of_folder(folder).remarks == ()
    assert "Turbo" in of_folder(folder, "stabilityai/sdxl-turbo").remarks[0]
    edit(folder / "unet" / "config.json", _name_or_path="ByteDance/SDXL-Lightning")
    assert "Lightning" in of_folder(folder).remarks[0]
    edit(folder / "unet" / "config.json", _name_or_path="")
    edit(folder / "scheduler" / "scheduler_config.json", _class_name="LCMScheduler")
    assert "LCM" in of_folder(folder).remarks[0]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_folders_without_a_readable_index(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(MissingWeightsError, match=r"no readable model_index\.json"):
        of_folder(tmp_path)


def test_the_way_from_a_folder_that_is_no_pipeline(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"part of one\. Pass .*base\."):
        of_folder(folder / "unet")
    shutil.rmtree(folder / "vae")
    (folder / "model_index.json").unlink()
    with pytest.raises(MissingWeightsError, match="nor vae/"):
        of_folder(folder)
    (tmp_path / "files").mkdir()
    with pytest.raises(MissingWeightsError, match=r"Pass the folder that holds"):
        of_folder(tmp_path / "files")
    (tmp_path / "files" / "pony.safetensors").touch()
    with pytest.raises(MissingWeightsError, match=r"such as .*pony\.safetensors"):
        of_folder(tmp_path / "files")


WEIGHTS = f"unet/{tiny.WEIGHTS}"


@pytest.mark.parametrize(
    ("file", "data", "words"),
    [
        (WEIGHTS, b"", "unet.*is empty"),
        (WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n", "LFS pointer"),
        (WEIGHTS, b"<html>", "web page"),
        (WEIGHTS, None, "ends early"),
        ("unet/config.json", b"{", r"unet/config\.json: is broken"),
        ("unet/config.json", b"[]", r"unet/config\.json: is broken"),
        (f"{WEIGHTS}.index.json", b"{", "index.json: is broken"),
        (f"{WEIGHTS}.index.json", b"{}", "no weight_map can be read"),
        (
            f"{WEIGHTS}.index.json",
            b'{"weight_map": {"x": "part-1-of-2.safetensors"}}',
            r"part-1-of-2\.safetensors is missing",
        ),
    ],
)
def test_a_broken_file_in_a_folder_is_named(
    folder: Path, file: str, data: bytes | None, words: str
) -> None:
    path = folder / file
    path.write_bytes(path.read_bytes()[:-100] if data is None else data)
    with pytest.raises(MissingWeightsError, match=words) as caught:
        of_folder(folder)
    assert caught.value.fix


def test_a_link_to_nothing_in_a_folder_is_named(folder: Path) -> None:
    path = folder / WEIGHTS
    path.unlink()
    path.symlink_to("../../blobs/0123")
    with pytest.raises(MissingWeightsError, match=r"link to .*0123, which is not there"):
        of_folder(folder)

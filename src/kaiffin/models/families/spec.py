"""What adapter files and other programs call the families and their towers. Torch-free."""

from __future__ import annotations

FAMILY_NAMES = {"sd1": "SD 1.x", "sdxl": "SDXL"}


TOWERS = {
    "sd1": {"unet": "lora_unet", "text_encoder": "lora_te"},
    "sdxl": {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
}


TEXT_TOWERS = {"sd1": ("text_encoder",), "sdxl": ("text_encoder", "text_encoder_2")}


BASE_VERSIONS = {"sd1": "sd_v1", "sdxl": "sdxl_base_v1-0"}


ARCHITECTURES = {
    "sd1": "stable-diffusion-v1/lora",
    "sdxl": "stable-diffusion-xl-v1-base/lora",
}

"""Where the bases inside Kaiffin lie. Torch-free."""

from __future__ import annotations

from pathlib import Path

_MINIATURE = Path(__file__).parents[2] / "miniature"
WEIGHTS: Path = _MINIATURE / "weights"
WEIGHTS_XL: Path = _MINIATURE / "weights_xl"  # its SDXL-shaped twin
EMBEDDED: dict[str, Path] = {"miniature": WEIGHTS, "miniature-xl": WEIGHTS_XL}
FAST = "fast.safetensors"  # the few-step adapter in such a folder

"""The embedded base: a tiny Stable Diffusion of our own world, shipped with the package.

`world` draws it and needs no torch; `build` trains it; `WEIGHTS` is the folder that
`StableDiffusionPipeline.from_pretrained` loads. `WEIGHTS / "clip"` is the CLIP that judges.
"""

from pathlib import Path

WEIGHTS: Path = Path(__file__).parent / "weights"
WEIGHTS_XL: Path = Path(__file__).parent / "weights_xl"  # its SDXL-shaped twin
EMBEDDED: dict[str, Path] = {"miniature": WEIGHTS, "miniature-xl": WEIGHTS_XL}

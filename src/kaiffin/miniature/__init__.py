"""The embedded base: a tiny Stable Diffusion of our own world, shipped with the package.

`world` draws it and needs no torch; `build` trains it, `judges` say how good it is; `WEIGHTS` is
the folder that `StableDiffusionPipeline.from_pretrained` loads, `WEIGHTS / "clip"` the CLIP that
judges.
"""

from kaiffin.models.files.embedded import EMBEDDED, WEIGHTS, WEIGHTS_XL

__all__ = ["EMBEDDED", "WEIGHTS", "WEIGHTS_XL"]

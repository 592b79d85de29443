"""The figures of docs/ideas and of a guide, on the miniature: `make figures`, fifteen minutes.

    python tools/figures [NAME...]

Writes docs/images/ and docs/measured/figures.json. Trainings are kept in build/figures.
"""

from __future__ import annotations

import sys

import learning
import process
import scores
import teaching
import ways
import words

FIGURES = {
    "diffusion": process.diffusion,
    "latents": process.latents,
    "text": words.text,
    "guidance": process.guidance,
    "samplers": process.samplers,
    "lora": learning.lora,
    "dreambooth": learning.dreambooth,
    "min-snr": process.min_snr,
    "clip": words.clip,
    "memorising": learning.memorising,
    "captions": learning.captions,
    "copies": scores.copies,
    "grid": scores.axes,
    "ways": ways.ways,
    "teaching": teaching.teaching,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or FIGURES:
        print(name, flush=True)
        FIGURES[name]()

"""The model card of a run: what a stranger who finds the adapter needs to know. Torch-free."""

from __future__ import annotations

from pathlib import Path

import yaml

from kaiffin.models.resolve import ALIASES
from kaiffin.run import Run

NAME = "README.md"


def text(run: Run) -> str:
    """Markdown with Hugging Face front matter. The licence is the user's to choose."""
    config, manifest = run.config, run.read_json("manifest.json")
    family = manifest.get("base", {}).get("family", "sd1")
    # A folder or file on this machine tells strangers nothing and may tell too much.
    name = config.base.name
    base = ALIASES.get(name, name if not Path(name).exists() else Path(name).name)
    prompt = f"a photo of {config.subject.phrase}"
    kind = "stable-diffusion-xl" if family == "sdxl" else "stable-diffusion"
    front = {
        "base_model": base,
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "instance_prompt": prompt,
        "tags": ["text-to-image", "diffusers", "lora", "template:sd-lora", kind, "kaiffin"],
        "widget": [{"text": prompt}],
    }
    train, adapter = config.train, config.adapter
    rows = {
        "photos": manifest.get("num_photos"),
        "steps": train.steps,
        "batch size": train.batch_size,
        "optimizer": train.optimizer,
        "learning rate": train.lr,
        "rank / alpha": f"{adapter.rank} / {adapter.alpha:g}" if adapter.alpha else adapter.rank,
        "trained layers": adapter.targets,
        "trainable weights": f"{manifest.get('trainable', 0):,}",
        "prior weight": config.data.prior.weight,
        "seed": train.seed,
        "base weights (SHA-256)": manifest.get("base", {}).get("revision", "")[:16],
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    file = run.adapter_path.name
    pipeline = "StableDiffusionXLPipeline" if family == "sdxl" else "StableDiffusionPipeline"
    imported, source = f"from diffusers import {pipeline}", f'"{base}"'
    if name == "miniature":
        imported, source = f"{imported}\nfrom kaiffin.miniature import WEIGHTS", "WEIGHTS"
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip()}
---

# {config.subject.phrase}

A LoRA adapter that teaches `{base}` the subject **{config.subject.phrase}**. Put
`{config.subject.phrase}` into the prompt.

## Use

With Kaiffin, from the folder above this one:

```
kaiffin generate {run.path.name} "{prompt} on an icy cliff" -n 4
```

In ComfyUI or A1111: copy `{file}` into their folder of LoRA models. With diffusers:

```python
{imported}

pipe = {pipeline}.from_pretrained({source})
pipe.load_lora_weights(".", weight_name="{file}")
image = pipe("{prompt} on an icy cliff", guidance_scale=5.0).images[0]
```

## Training

| | |
|---|---|
{table}

## Limits

It learnt from few photos: poses and places far from them come out less faithful. Choose a licence
for this file yourself, and have the consent of people who are shown. Made with Kaiffin
{manifest.get("kaiffin", "")}.
"""

"""The model card of a run: what a stranger who finds the adapter needs to know. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from kaiffin.foundation.config import Config
from kaiffin.foundation.folder import read_json
from kaiffin.foundation.kinds import KINDS
from kaiffin.foundation.run import Run
from kaiffin.models.families.spec import SPECS, Spec
from kaiffin.models.files.embedded import EMBEDDED, WEIGHTS_XL
from kaiffin.models.files.published import plain_name

NAME = "README.md"


@dataclass(frozen=True)
class Shown:
    """What a card says when its folder is published.

    pictures: (prompt, file in the folder), shown as widgets; scores: (measure, value with its
    interval, what it says); licence: as the hub calls it, "" where it is not known; person: what
    was said of a real person in the photos; sample: how the pictures were made.
    """

    pictures: Sequence[tuple[str, str]] = ()
    scores: Sequence[tuple[str, str, str]] = ()
    licence: str = ""
    person: str = ""
    sample: Mapping[str, Any] = field(default_factory=dict)


def text(run: Run, shown: Shown | None = None) -> str:
    """Markdown with Hugging Face front matter. The licence is the user's to choose.

    shown: more of it, for a folder that is published.
    """
    shown = shown or Shown()
    config, manifest = run.config, read_json(run.manifest_path)
    spec = SPECS[manifest.get("base", {}).get("family", "sd1")]
    # A folder or file on this machine tells strangers nothing and may tell too much.
    name = config.base.name
    base = Path(name).name if Path(name).exists() else plain_name(name)
    prompt = f"a photo of {config.subject.phrase}"
    front = ModelCardData(
        base_model=base, library_name="diffusers", pipeline_tag="text-to-image",
        tags=["text-to-image", "diffusers", "lora", "template:sd-lora", spec.tag, "kaiffin"],
        instance_prompt=prompt, widget=_widgets(prompt, shown), **_facts(shown),
    )  # fmt: skip
    phrases = [one.phrase for one in config.everyone]
    # Markdown takes <word> for a tag and shows nothing.
    title = " and ".join(f"`{one}`" if "<" in one else one for one in phrases)
    whom = f"the subjects {title}" if len(phrases) > 1 else f"the subject {title}"
    return f"""---
{front.to_yaml()}
---

# {title}

{KINDS[config.adapter.kind].title} adapter that teaches `{base}` {whom}. Put
{" or ".join(f"`{one}`" for one in phrases)} into the prompt.

{_gallery(shown)}## Use

With Kaiffin, from the folder above this one:

```
kaiffin generate {run.path.name} "{prompt} on an icy cliff" -n 4
```

{_elsewhere(run, base, spec, prompt)}

## Training

| | |
|---|---|
{_training(config, manifest)}

{_scores(shown)}## Limits

It learnt from few photos: poses and places far from them come out less faithful. {_terms(shown)}
Made with Kaiffin {manifest.get("kaiffin", "")}.
"""


def _widgets(prompt: str, shown: Shown) -> list[dict[str, Any]]:
    """Pictures with their prompts, as the hub's page shows them; else the prompt alone."""
    found = [{"text": text, "output": {"url": file}} for text, file in shown.pictures]
    return found or [{"text": prompt}]


def _facts(shown: Shown) -> dict[str, Any]:
    """Licence, and the settings that a page should make pictures with."""
    facts: dict[str, Any] = {"license": shown.licence} if shown.licence else {}
    names = {"guidance": "guidance_scale", "steps": "num_inference_steps",
             "negative": "negative_prompt"}  # fmt: skip
    known = {names[k]: v for k, v in shown.sample.items() if k in names and v != ""}
    return facts | ({"inference": {"parameters": known}} if known else {})


def _gallery(shown: Shown) -> str:
    return "<Gallery />\n\n" if shown.pictures else ""


def _scores(shown: Shown) -> str:
    """Means with their 95 % intervals, over pictures of prompts that nobody trained on."""
    if not shown.scores:
        return ""
    rows = "\n".join(f"| {name} | {value} | {says} |" for name, value, says in shown.scores)
    return (
        "## Scores\n\nMeans with 95 % intervals over pictures that were made to be judged.\n\n"
        f"| measure | value | |\n|---|---|---|\n{rows}\n\n"
    )


def _terms(shown: Shown) -> str:
    """What is said of the licence and of people."""
    chosen = (
        f"It is derived from its base, and is under the licence `{shown.licence}`."
        if shown.licence
        else "Choose a licence for this file yourself, as its base's allows."
    )
    return f"{chosen} {shown.person or 'Have the consent of people who are shown.'}"


def _training(config: Config, manifest: Mapping[str, Any]) -> str:
    """The rows of its table."""
    train, adapter, kind = config.train, config.adapter, KINDS[config.adapter.kind]
    sizes = f"{adapter.rank} / {adapter.alpha:g}" if adapter.alpha else adapter.rank
    rows = {
        "photos": manifest.get("num_photos"),
        "steps": manifest.get("phases", [{"last": train.steps}])[-1]["last"],
        "batch size": train.batch_size,
        "optimizer": train.optimizer,
        "learning rate": train.lr,
        f"{kind.rank} / alpha": sizes,
        **({"ranks at the most noise": adapter.min_rank} if adapter.min_rank else {}),
        "trained layers": adapter.targets,
        "trainable weights": f"{manifest.get('trainable', 0):,}",
        "prior weight": config.data.prior.weight,
        "seed": train.seed,
        "base weights (SHA-256)": manifest.get("base", {}).get("revision", "")[:16],
    }
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _elsewhere(run: Run, base: str, spec: Spec, prompt: str) -> str:
    """How ComfyUI, A1111 and diffusers use the files of this run."""
    file, token = run.adapter_path.name, run.config.subject.token
    embedding = run.part_path("embedding")
    lines = [f"In ComfyUI or A1111: copy `{file}` into their folder of LoRA models."]
    if run.config.adapter.min_rank:
        lines.append(
            "Its ranks depend on the timestep, which others do not read there: they let all act at"
            f" every one. For them: `kaiffin adapter convert {file} plain.safetensors --to kohya"
            " --plain`."
        )
    if embedding.is_file():
        lines.append(
            f"`{token}` is a token of its own. A1111 finds it in `{file}`; for ComfyUI copy"
            f" `{embedding.name}` into `models/embeddings` and write `embedding:{embedding.stem}`"
            f" in place of `{token}`."
        )
    if not KINDS[run.config.adapter.kind].peft:
        return "\n".join([*lines, "diffusers does not read this kind."])
    return "\n".join([*lines, f"With diffusers:\n\n{_with_diffusers(run, base, spec, prompt)}"])


def _with_diffusers(run: Run, base: str, spec: Spec, prompt: str) -> str:
    imported, source = f"from diffusers import {spec.pipeline}", f'"{base}"'
    if run.config.base.name in EMBEDDED:
        source = "WEIGHTS_XL" if EMBEDDED[run.config.base.name] == WEIGHTS_XL else "WEIGHTS"
        imported += f"\nfrom kaiffin.miniature import {source}"
    own = run.layout_path("diffusers").is_dir()
    weights = '"diffusers"' if own else f'".", weight_name="{run.adapter_path.name}"'
    load = [f"pipe.load_lora_weights({weights})"] * (run.config.embedding.train != "alone")
    token = _loading_of_token(run, spec)
    imported += "\nfrom safetensors.torch import load_file" * bool(token)
    return "\n".join([
        "```python", imported, "", f"pipe = {spec.pipeline}.from_pretrained({source})",
        *load, *token,
        f'image = pipe("{prompt} on an icy cliff", guidance_scale=5.0).images[0]', "```",
    ])  # fmt: skip


def _loading_of_token(run: Run, spec: Spec) -> list[str]:
    """The calls that bring a custom token to diffusers, where the run has one."""
    embedding, token = run.part_path("embedding"), run.config.subject.token
    if not embedding.is_file():
        return []
    vectors = f'vectors = load_file("{embedding.name}")'
    if len(spec.text_towers) == 1:
        return [vectors, f'pipe.load_textual_inversion(vectors, token="{token}")']
    return [
        vectors,
        *(
            f'pipe.load_textual_inversion({{"v": vectors["{key}"]}}, token="{token}",'
            f" text_encoder=pipe.text_encoder{n}, tokenizer=pipe.tokenizer{n})"
            for key, n in (("clip_l", ""), ("clip_g", "_2"))
        ),
    ]

# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 4 · From your photos to a file you share
#
# The whole journey, with no detours: your photos in, a tested adapter file out, with pictures that show what it
# does, scores, and a workflow for ComfyUI. The *why* is in notebooks [1](1-text-to-image.ipynb),
# [2](2-teach-it-something.ipynb) and [3](3-which-picture-is-right.ipynb).
#
# As it stands it runs on the miniature with drawn photos, in under four minutes on two CPU cores, so that you can
# walk the way once before it counts. **For your own subject** set three things below: `BASE = "sd15"` or `"sdxl"`
# (both want a GPU; step 2 says whether yours is large enough), `PHOTOS`, and what it is called.

# %%
SOURCE = "https://github.com/YOUR_ACCOUNT/kaiffin"  # where yours is published
import importlib.util, subprocess, sys

if importlib.util.find_spec("kaiffin") is None:  # on Colab: a few minutes
    raw = SOURCE.replace("github.com", "raw.githubusercontent.com")
    pip = [sys.executable, "-m", "pip", "install", "-q", "-c", f"{raw}/main/constraints.txt"]
    subprocess.run([*pip, f"kaiffin[notebooks] @ git+{SOURCE}"], check=True)

import torch

GPU = torch.cuda.is_available()
print("GPU:", torch.cuda.get_device_name() if GPU else "none, and the miniature needs none")

# %%
import os, shutil
from pathlib import Path

from PIL import Image

from kaiffin.foundation.notebook import Notebook
from kaiffin.foundation.sheets import sheet

# %%
BASE = "miniature"  # or "sd15", "sdxl": 2 or 7 GB are taken from the hub once
PHOTOS = None  # or the folder with yours, such as Path("my-photos"); None draws some
TOKEN, NOUN, KIND = "kaiffin", "penguin", "character"  # its word, what it is; or pet, product, style
JUDGE = "miniature" if BASE == "miniature" else "openai/clip-vit-large-patch14"
DTYPE = "fp16" if GPU and BASE != "miniature" else "fp32"  # a T4 has no bf16
QUICK = {"train.steps": 3, "data.prior.weight": 0, "adapter.targets": "attention", "score.candidates": 2}
QUICK = QUICK if os.environ.get("KAIFFIN_QUICK") else {}  # tests have less time than you
WORK = next(p for n in range(1, 1000) if not (p := Path(f"lesson-4-{n}")).exists())

# %% [markdown]
# ## 1 · Photos
#
# Eight to twenty. Different days, places and sides; the subject large and sharp; nothing in all of them that should not
# become part of it. HEIC of phones is read with the extra `heif`. Show only what you may show: your own things,
# people who agreed.
#
# On Colab: open the folder on the left, make `my-photos`, drop them there. Captions are optional: a `.txt` beside a photo,
# `a photo of kaiffin penguin on the beach`, with the place named and the subject's own features not.

# %%
from kaiffin.miniature.world.world import subject_photos

if PHOTOS is None:
    PHOTOS = WORK / "photos"
    PHOTOS.mkdir(parents=True)
    drawn = subject_photos("kaiffin", 10, size=128 if BASE == "miniature" else 1024)
    for i, (image, caption) in enumerate(drawn):
        image.save(PHOTOS / f"{i}.png"), (PHOTOS / f"{i}.txt").write_text(caption)
print(len([path for path in PHOTOS.iterdir() if path.suffix != ".txt"]), "photos in", PHOTOS)

# %% [markdown]
# ## 2 · Will it fit?
#
# Before an hour is spent: what the training will hold at its peak, counted on tensors without
# contents, and roughly how long it takes. Two photos are held out, so that likeness is judged by what nobody trained on.
# `fit_memory` lets Kaiffin give up speed for room, from the cheapest price up, and it says what.

# %%
from kaiffin.foundation.config import Config
from kaiffin.foundation.settings import changed

given = {
    "base.name": BASE, "base.dtype": DTYPE, "data.photos": PHOTOS, "data.hold_out": 2,
    "subject.token": TOKEN, "subject.noun": NOUN, "subject.kind": KIND,
    "train.fit_memory": True, "train.gradient_checkpointing": BASE == "sdxl",
    "sample.sampler": "dpm++2m", "score.judge": JUDGE, "score.candidates": 4,
}
if BASE == "miniature":  # so that the lesson is short
    given |= {"train.steps": 160, "train.lr": 3e-3}
config = changed(Config(), **given | QUICK)

# %%
from kaiffin.stories import plan

planned = plan.plan(config, tell=Notebook())
plan.say(planned, Notebook())
peak = planned.rungs[-1].peak if planned.rungs else planned.memory.peak
print(f"peak: {peak / 1e9:.1f} GB")
assert peak < 15e9, "more than a GPU of 15 GB has: see the ladder above"

# %% [markdown]
# ## 3 · The photos, as the training will see them

# %%
from kaiffin.stories.prepare import prepare

found = prepare(config, WORK / "prepared", tell=Notebook())
assert not found.prepared.problems, found.prepared.problems
found

# %% [markdown]
# ## 4 · Train
#
# Interrupt it whenever you like: `resume(WORK / "run")` from `kaiffin.stories.train` goes on, to the same bytes.

# %%
from kaiffin.stories.train import train

trained = train(config, WORK / "run", tell=Notebook())
run = trained.run.path
print(f"{trained.steps} steps in {trained.seconds:.0f} s, {trained.candidates} adapters kept")

# %% [markdown]
# ## 5 · Choose
#
# Four adapters were kept on the way. Each makes the same pictures, a judge scores likeness and prompt, and the
# earliest that is as good as the best is taken. *"No difference"* is an answer, too.

# %%
from kaiffin.stories.choose import choose

settings = {"base.dtype": DTYPE, "sample.steps": 2 if QUICK else 20}
advice = choose(run, changes=settings | {"score.seeds": 1}, tell=Notebook())
print(advice.choice.verdict)
for finding in advice.choice.findings:
    print(finding)
page = Image.open(advice.sheet)
page.crop((0, 0, page.width, min(page.height, 3 * page.width // 4)))

# %% [markdown]
# ## 6 · Prove
#
# *It loads* is not *it works*: loaders drop names that they do not know without a word. So the chosen file is opened by
# diffusers, its layers are counted, one output is compared with that of the adapter as it was trained, and
# every key is looked up in what A1111, ComfyUI and sd-scripts know.

# %%
from kaiffin.stories.adapter import verify

best = advice.adapter
proof = verify(best, BASE, tell=Notebook())
for sentence in proof.sentences:
    print(sentence)
assert proof.holds

# %% [markdown]
# ## 7 · Look
#
# Numbers done, eyes open. New places, four pictures of each; then your own prompts.

# %%
from kaiffin.stories.generate import Order, generate

places = ("in the snow", "in the forest", "in the city")
prompts = [f"a photo of {TOKEN} {NOUN} {place}" for place in places]
order = Order(str(run), prompts, count=4, seed=11, checkpoint="best", out=WORK / "shown")
pictures = generate(order, changes=settings, tell=Notebook())
pictures

# %% [markdown]
# Too strong or too weak? An adapter has a knob, its strength. Left: the base; at 1: as trained.

# %%
weights = (0, 0.4, 0.7, 1, 1.3)
rows = []
for weight in weights:
    order = Order(
        str(run), prompts[:1], seed=11, checkpoint="best", strength=weight, out=WORK / "strength"
    )
    rows.append(Image.open(generate(order, changes=settings).paths[0]))
sheet(rows, [f"strength {weight}" for weight in weights], columns=5)

# %% [markdown]
# ## 8 · A page, and a workflow for ComfyUI
#
# The report is one HTML file with the pictures, the scores and the recipe: open it in a browser, send it.
# The workflow has the adapter in it already.

# %%
from kaiffin.stories.adapter import export_comfy
from kaiffin.stories.report import report

page = report([run])
flow = export_comfy(run)
print("page:", page.path.name, f"{page.path.stat().st_size // 1000} kB")
print("workflow:", flow.out.name)
for place, file in flow.needs.items():
    print(f"  ComfyUI/models/{place}: {file.name if file else 'your checkpoint'}")

# %% [markdown]
# ## 9 · Share
#
# One folder: the file under the subject's name, two pictures (their recipes are inside), the page, the workflow. Check four
# things first: **licence** of the base (its page says what you may do), **consent** of who is shown, the **word** that calls it,
# and the **base** that it belongs to. Most "it does nothing" comes from the last two.

# %%
share = WORK / f"{TOKEN}-{NOUN}"
share.mkdir()
shutil.copy(best, share / f"{TOKEN}.safetensors")
for path in (*pictures.paths[:2], page.path, flow.out, run / "README.md"):
    shutil.copy(path, share)
for path in sorted(share.iterdir()):
    print(f"{path.stat().st_size / 1000:9.0f} kB  {path.name}")
shutil.make_archive(str(share), "zip", share);

# %% [markdown]
# What strangers can read in the file: the header. The word, the base, the settings; no folders of yours.

# %%
from kaiffin.stories.inspect import inspect

looked = inspect(share / f"{TOKEN}.safetensors")
wanted = ("ss_base_model_version", "modelspec.title", "modelspec.trigger_phrase")
for name, value in looked.metadata.items():
    if name in wanted:
        print(f"{name}: {value}")
assert str(PHOTOS.resolve()) not in str(looked.metadata)

# %% [markdown]
# ## Exercises
#
# **1.** Read the header of the adapter without any library. (The format: eight bytes of length, then JSON.)
#
# <details><summary>Answer</summary>
#
# ```python
# import json
# data = (share / f"{TOKEN}.safetensors").read_bytes()
# header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
# keys = [name for name in header if name != "__metadata__"]
# assert keys[0].startswith("lora_unet_")
# ```
#
# </details>
#
# **2.** How large must the file be? Compute it from the number of trained weights.
#
# <details><summary>Answer</summary>
#
# Bytes a weight times weights, an alpha for each layer, and the header.
#
# ```python
# made = trained.planned.plan
# size = {"F16": 2, "BF16": 2, "F32": 4}[header[keys[-1]]["dtype"]]
# assert 0 < len(data) - size * made.trainable < 0.2 * len(data)
# ```
#
# </details>
#
# **3.** Somebody sends you a picture that you like, as a PNG. Make it again.
#
# <details><summary>Answer</summary>
#
# The recipe is inside: base, adapter by its hash, prompt, seed, all settings. Alone or in a batch of four is a
# grey level, no more.
#
# ```python
# from kaiffin.stories.generate import remake
#
# again = remake(pictures.paths[0], WORK / "again")
# one, other = (list(Image.open(path).tobytes()) for path in (again.path, pictures.paths[0]))
# assert max(abs(a - b) for a, b in zip(one, other)) <= 2
# ```
#
# </details>
#
# ## If something goes wrong
#
# | you see | it is | do |
# |---|---|---|
# | `no judge is named` | a real base and the miniature's judge | `JUDGE` as above |
# | out of memory though the plan fits | something else is on the GPU | restart the session; `nvidia-smi` |
# | the plan does not fit | SDXL on a small GPU | `"base.quantize": "nf4"` (extra `8bit`), or `"data.resolution": 768` |
# | a base cannot be taken | no network, or terms to accept | the error says which; `kaiffin bases get` elsewhere |
# | it would take hours | a real base wants a GPU | Runtime, Change runtime type, T4 |
# | it does nothing in ComfyUI | another base than it was trained on, or no word in the prompt | `kaiffin adapter inspect FILE` |
# | Colab ended the session | free sessions end | keep `WORK` on your Drive; `resume` goes on |

# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 2 · Teach it something
#
# A base model has seen millions of pictures and never your subject. In this notebook it learns one
# from a dozen photos: Kaiffin, a puffin with a Viking's helmet. You look at the photos as a trainer should,
# take **LoRA** apart down to its matrices, train for a minute with the loss in sight, compare before and
# after on the same seeds, break it on purpose, and open the file in another program.
#
# Under four minutes on two CPU cores; with `BASE = "sd15"`, the same cells on a GPU of 15 GB.

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

import matplotlib.pyplot as plt
from PIL import Image

from kaiffin.foundation.notebook import Notebook
from kaiffin.foundation.sheets import sheet

# %%
BASE = "miniature"  # or "sd15": 2 GB are taken from the hub once, and it wants a GPU
DTYPE = "fp16" if GPU and BASE != "miniature" else "fp32"  # a T4 has no bf16
QUICK = {"train.steps": 3, "data.prior.weight": 0, "adapter.targets": "attention", "score.candidates": 2}
QUICK = QUICK if os.environ.get("KAIFFIN_QUICK") else {}  # tests have less time than you
SIDE = 128 if BASE == "miniature" else 512
WORK = Path("lesson-2")  # made anew each time
shutil.rmtree(WORK, ignore_errors=True)

# %% [markdown]
# ## Photos
#
# Twelve photos of the subject, drawn here so that nothing is downloaded; each with a caption in a text
# file of its name. The captions say *who* it is with a word that means nothing yet, `kaiffin`, then
# *what kind* of thing, `penguin`, then what else is to be seen. What a caption names is not learnt as part of the
# subject, so name the place, and do not name the helmet.
#
# Two more photos have crept in, as they do: one was sent twice, one is tiny.

# %%
from kaiffin.miniature.world.world import subject_photos

PHOTOS, SCENES = WORK / "photos", ("meadow", "beach", "kitchen", "city")
PHOTOS.mkdir(parents=True)
for i, (image, caption) in enumerate(subject_photos("kaiffin", 12, SCENES, SIDE)):
    image.save(PHOTOS / f"{i:02}.png")
    (PHOTOS / f"{i:02}.txt").write_text(caption)
image.resize((SIDE, SIDE)).save(PHOTOS / "sent-twice.jpg", quality=70)
image.resize((SIDE // 2, SIDE // 2)).save(PHOTOS / "tiny.png")
print(caption)

# %%
from kaiffin.foundation.config import Config
from kaiffin.foundation.settings import changed
from kaiffin.stories.prepare import prepare

given = {
    "base.name": BASE, "base.dtype": DTYPE, "data.photos": PHOTOS,
    "subject.token": "kaiffin", "subject.noun": "penguin",
    "train.steps": 120 if SIDE == 128 else 600, "train.lr": 3e-3 if SIDE == 128 else 1e-4,
} | QUICK
config = changed(Config(), **given)
found = prepare(config, WORK / "prepared")
found

# %% [markdown]
# This is the **contact sheet**: every photo as the training would cut it. Read it slowly, it is the cheapest
# look you will ever take:
#
# - Is it the same subject everywhere, large enough, sharp?
# - Does the frame cut something off?
# - What do *all* photos share besides the subject? It will be learnt as part of it.
# - Is one photo there twice? It counts twice.

# %%
for finding in found.prepared.findings:
    print(f"{finding.level}: {finding}\n")

# %%
for name in ("sent-twice.jpg", "tiny.png", "10.png", "10.txt"):  # 10: nearly another one
    (PHOTOS / name).unlink()
found = prepare(config, WORK / "prepared-again")
print(len(found.prepared.examples), "photos,", len(found.prepared.problems), "problems")

# %% [markdown]
# ## Before
#
# What does the base make of the word now? Six pictures, on seeds that we shall use again. It has
# heard *penguin* and *snow*, and takes `kaiffin` for noise, or for some unusual build of its own choice.

# %%
from kaiffin.stories.generate import Order, generate

PROMPTS = ["a photo of kaiffin penguin in the snow", "a photo of kaiffin penguin in the forest"]
settings = {"base.dtype": DTYPE, "sample.steps": 2 if QUICK else 20}

def pictures(source, count=3, prompts=PROMPTS, **more):
    order = Order(str(source), prompts, count=count, seed=1, out=WORK / "pictures", **more)
    return [Image.open(path) for path in generate(order, changes=settings).paths]

before = pictures(BASE)
sheet(before, [f"base, seed {1 + i % 3}" for i in range(6)], columns=6)

# %% [markdown]
# ## LoRA: two thin matrices beside a thick one
#
# To teach all of the base would change every weight: slow, forgetful, and a file of gigabytes. LoRA
# (Hu et al. 2021, [arXiv 2106.09685](https://arxiv.org/abs/2106.09685)) leaves the weight $W$ frozen and puts
# a product of two thin matrices beside it:
#
# $$y = W x + \frac{\alpha}{r}\, B A\, x \qquad A: r \times n_{in},\quad B: n_{out} \times r$$
#
# $r$ is the **rank**: how many directions the change may have. $A$ begins at random, $B$ **at zero**, so that
# the adapted model begins as exactly the base. Here is one layer of the UNet, one of those that
# read the prompt:

# %%
from kaiffin.adapters.stack import full_modules
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.models.files.load import load_base

base = BaseConfig(name=BASE, dtype=DTYPE)
family = load_base(base, Runtime.from_config(base), Notebook())
modules = full_modules(family)
name = next(name for name in modules if name.endswith("attn2.to_v"))
W, r = modules[name].weight.float().cpu(), 4
A, B = torch.randn(r, W.shape[1]) / W.shape[1] ** 0.5, torch.zeros(W.shape[0], r)
print(name)
print(f"W {tuple(W.shape)}: {W.numel():,} numbers;  B A: {A.numel() + B.numel():,}")

# %%
def show(title, matrix, place, span=0.2):
    place.imshow(matrix, "RdBu", vmin=-span, vmax=span, aspect="auto", interpolation="nearest")
    place.set_title(f"{title} {tuple(matrix.shape)}", fontsize=9)
    place.set_xticks([]), place.set_yticks([])

_, places = plt.subplots(1, 4, figsize=(9, 2.2), width_ratios=(3, 1, 3, 3))
for title, matrix, place in zip(("W", "B", "A", "B A"), (W, B, A, B @ A), places):
    show(title, matrix, place)

# %% [markdown]
# ## Which layers
#
# A UNet has convolutions, which know textures, and attention, in which places look at each other (`attn1`)
# and at the prompt (`attn2`). The usual choice is attention alone: *the word* has to be tied to something, and that is
# where words come in. A small base, or a subject of unusual shape, gains from the convolutions, too. What
# each preset costs at rank 16:

# %%
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.targets import LoraSpec

total = sum(p.numel() for p in family.net.parameters())
for preset in ("attention", "attention+ff", "all-linear", "all-linear+conv"):
    lora = Lora.create({"unet": LoraSpec(preset, rank=16, alpha=16)}, modules, seed=0)
    count = sum(p.numel() for p in lora.parameters())
    print(f"{preset:16}{len(lora.layers):4} layers{count:12,} weights, {count / total:6.1%} of the UNet")

# %% [markdown]
# ## What is minimised
#
# A photo's latents $x_0$, a random moment $t$, random noise $\epsilon$; the UNet, told the caption $c$, has to say what
# is noise ([notebook 1](1-text-to-image.ipynb)):
#
# $$L = \mathbb{E}_{x_0, \epsilon, t}\; w(t)\, \lVert f_\theta(x_t, t, c) - \text{target} \rVert^2$$
#
# with the weight of min-SNR (Hang et al. 2023, [arXiv 2303.09556](https://arxiv.org/abs/2303.09556)), so that easy
# moments do not shout the others down. And as DreamBooth has it (Ruiz et al. 2022,
# [arXiv 2208.12242](https://arxiv.org/abs/2208.12242)), some pictures of plain penguins that the base itself makes go in
# beside the photos, so that *penguin* keeps its meaning: **prior preservation**.
#
# Settings that you leave open are derived from photos and base, and said. First the plan: what it will hold
# and how long it will take.

# %%
from kaiffin.stories import plan

planned = plan.plan(config)
plan.say(planned, Notebook())
assert planned.memory.peak < 15e9  # a T4 has no more

# %% [markdown]
# And now it learns. Watch the curve.

# %%
from kaiffin.stories.train import train

trained = train(config, WORK / "run", tell=Notebook())

# %% [markdown]
# ## What the loss says
#
# Little. Each dot is one step: most of the jumping is the draw of $t$, not the model getting better or worse.
# The mean falls, mainly at the beginning. Nothing in this curve tells where learning ends and
# learning by heart begins: pictures do.

# %%
from kaiffin.score.statistics import smooth

loss = [entry["loss"] for entry in trained.run.metrics()]
plt.figure(figsize=(7, 2.4))
plt.plot(loss, ".", ms=3, alpha=0.4, label="each step")
plt.plot(smooth(loss), label="mean")
plt.xlabel("step"), plt.ylabel("loss"), plt.legend();

# %% [markdown]
# ## Before and after
#
# Same prompts, same seeds, same noise: what differs is the adapter. No photo shows snow or a forest.

# %%
run = trained.run.path
after = pictures(run)
names = [f"{what}, seed {1 + i % 3}" for what in ("base", "taught") for i in range(6)]
sheet(before + after, names, columns=6)

# %% [markdown]
# And the class? A plain penguin, without the word, with the adapter on. It should still be a plain one:

# %%
plain = ["a photo of a penguin in the snow"]
rows = pictures(BASE, 5, plain) + pictures(run, 5, plain)
sheet(rows, [f"{what}: a penguin" for what in ("base", "taught") for _ in range(5)], columns=5)

# %% [markdown]
# ## What has been learnt, in matrices
#
# Now $B$ is no longer zero. Left: $\Delta W = \frac{\alpha}{r} B A$ of the same layer, in colours ten times as strong as
# those above: the change is small, and it has stripes, since it has only a few directions. Right: how much each
# kind of layer was changed, $\lVert \Delta W \rVert / \lVert W \rVert$. Attention moves more than the
# rest, and of it most what reads the prompt, `attn2`: it is a *word* that is learnt.

# %%
from kaiffin.adapters.load import load_adapter

learnt = load_adapter(trained.adapter, family).adapters[""].layers
change = {n: layer.weight_update(modules[n]).detach().float().cpu() for n, layer in learnt.items()}
share = {n: (d.norm() / modules[n].weight.float().cpu().norm()).item() for n, d in change.items()}
kinds = ("attn1", "attn2", "ff.", "proj_", "conv")
known = [kind for kind in kinds if any(kind in n for n in share)]
means = [torch.tensor([s for n, s in share.items() if kind in n]).mean() for kind in known]
_, places = plt.subplots(1, 2, figsize=(9, 2.2))
show("change of W", change[name].flatten(1), places[0], span=0.02)
places[1].bar(known, means), places[1].set_title("relative change", fontsize=9);

# %% [markdown]
# ## How much rank does it take?
#
# Two measurements. **First**, cut what was learnt: the singular values of each $\Delta W$ say how much of it
# lies in its first $k$ directions (Eckart & Young 1936), and `resize` writes a file with just these.

# %%
def energy(delta, k):
    squares = torch.linalg.svdvals(delta.flatten(1)).square()
    return (squares[:k].sum() / squares.sum()).item()

ranks = [1, 2, 4, 8, 16]
held = [sum(energy(d, k) for d in change.values()) / len(change) for k in ranks]
print("  ".join(f"rank {k}: {h:.0%}" for k, h in zip(ranks, held)))

# %%
from kaiffin.stories.adapter import resize

small, rows = ranks[:1] if QUICK else ranks[:4], []
for k in small:
    cut = resize(trained.adapter, WORK / f"rank-{k}.safetensors", rank=k)
    rows += pictures(BASE, 6, PROMPTS[:1], adapters=(str(cut.out),))
names = [f"cut to rank {k}" for k in small for _ in range(6)]
sheet(rows, names, columns=6)

# %% [markdown]
# **Second**, train with little rank from the start. Same photos, same draws of noise and time at
# every step, so the two losses are compared in pairs, and the jumping cancels out.

# %%
thin = train(changed(config, **{"adapter.rank": 1}), WORK / "run-thin", tell=Notebook())

# %%
other = [entry["loss"] for entry in thin.run.metrics()]
gain = torch.tensor(other) - torch.tensor(loss)
print(f"{thin.planned.plan.trainable:,} weights instead of {trained.planned.plan.trainable:,}")
print(f"mean loss, last third: rank 16 lower by {gain[len(gain) * 2 // 3:].mean():.4f}")
rows = pictures(thin.run.path, 6, PROMPTS[:1]) + pictures(run, 6, PROMPTS[:1])
names = [f"trained with rank {k}" for k in (1, 16) for _ in range(6)]
sheet(rows, names, columns=6)

# %% [markdown]
# Compare the two: what rank 16 has learnt is mostly still there when it is **cut** to rank 1, but a training that has
# **only** rank 1 does not get there in the same time. The room is needed on the way more than at the end. So
# train with some to spare, and shrink the file afterwards if it matters.
#
# ## Too much: overfitting, on purpose
#
# Three photos, a higher rate, no decay, no prior, and the captions thrown away, so that nothing tells
# the subject from the place. First the subject is learnt, then the photos. Four adapters are kept on the way:

# %%
few = WORK / "three-photos"
few.mkdir()
for path in sorted(PHOTOS.glob("0[0-2].*")):
    shutil.copy(path, few)
too_much = {
    "data.photos": few, "train.lr": 5e-3 if SIDE == 128 else 5e-4, "train.schedule": "constant",
    "data.prior.weight": 0, "data.ignore_captions": True, "score.candidates": 4,
} | QUICK
burnt = train(changed(config, **too_much), WORK / "run-burnt", tell=Notebook())

# %%
steps = [step for step, _ in burnt.run.candidates()]
stages = [pictures(burnt.run.path, 6, PROMPTS[:1], checkpoint=str(step)) for step in steps]
images = [Image.open(path) for path in sorted(few.glob("*.png"))]
rows = images + images + [image for stage in stages for image in stage]
names = ["a training photo"] * 6 + [f"snow, step {s}" for s in steps for _ in range(6)]
sheet(rows, names, columns=6)

# %% [markdown]
# The prompt says *snow* in every row, and sooner or later the photos' places answer. That is the sure sign:
# **it no longer listens**, and in the end one of the three photos comes out, whatever the seed. How to recognise it without looking:
# the colours lie where they lie in a photo (nearest photo, a cosine), the place that was asked for is gone
# (snow, CLIP's cosine; [notebook 3](3-which-picture-is-right.ipynb)), and the seeds agree (variety).

# %%
from kaiffin.score import measures
from kaiffin.score.judge import Scorer

judge = Scorer(tell=Notebook())  # the miniature's own CLIP
layouts = torch.stack([measures.layout(image) for image in images])
print("step  nearest photo  snow  variety")
for step, row in zip([0, *steps], [pictures(BASE, 6, PROMPTS[:1]), *stages]):
    own = torch.stack([measures.layout(image) for image in row])
    near = (own @ layouts.T).amax(1).mean()
    snow = judge.text_image(row, ["a photo of a penguin in the snow"] * 6).mean()
    variety = measures.diversity(judge.embed_images(row), [0] * 6)[0]
    print(f"{step:4}  {near:13.2f}  {snow:.2f}  {variety:.3f}")

# %% [markdown]
# Cures, in this order: an earlier checkpoint (`kaiffin choose` finds it), a lower rate, fewer steps, more and more
# different photos, captions that name the place, less rank. And at the time of making pictures: a strength below 1.
#
# ## The same file in diffusers
#
# A LoRA is worth something where others open it. This is diffusers' own pipeline with diffusers' own
# loader; Kaiffin has no hand in it but the file. (That it loads says little, since loaders are
# generous: each training also proves that the outputs agree.)

# %%
print(*trained.proofs[""].sentences)

# %%
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from diffusers.utils import logging

logging.set_verbosity_error()  # it warns that the text encoder has no part in the file
pipe = StableDiffusionPipeline(
    vae=family.vae, unet=family.net, text_encoder=family.encoders["text_encoder"],
    tokenizer=family.tokenizers["text_encoder"], safety_checker=None, feature_extractor=None,
    scheduler=DPMSolverMultistepScheduler.from_config(dict(family.schedule.config)),
    requires_safety_checker=False,
)
pipe.set_progress_bar_config(disable=True)
pipe.load_lora_weights(str(run), weight_name=trained.adapter.name)

# %%
seeds = [torch.Generator().manual_seed(seed) for seed in range(5)]
made = pipe(
    PROMPTS[0], SIDE, SIDE, num_inference_steps=settings["sample.steps"], guidance_scale=5,
    generator=seeds, num_images_per_prompt=5,
)
sheet(made.images, ["made by diffusers"] * 5, columns=5)

# %% [markdown]
# ## Exercises
#
# **1.** A layer maps 320 channels to 320. From which rank on is LoRA no saving?
#
# <details><summary>Answer</summary>
#
# $r\,(n_{in} + n_{out}) < n_{in} n_{out}$, so below $r = 160$, half of the width.
#
# ```python
# saves = [r for r in range(1, 320) if r * (320 + 320) < 320 * 320]
# assert max(saves) == 159
# ```
#
# </details>
#
# **2.** $A$ and $B$ could both begin at zero: the model would still begin as the base. Why is it not done?
#
# <details><summary>Answer</summary>
#
# The gradient of each is a product with the other. With both at zero both gradients are zero, and nothing
# is ever learnt.
#
# ```python
# a, b = (torch.zeros(2, 2, requires_grad=True) for _ in range(2))
# ((b @ a @ torch.ones(2)) - 1).square().sum().backward()
# assert not a.grad.any() and not b.grad.any()
# a = torch.ones(2, 2, requires_grad=True)
# ((b @ a @ torch.ones(2)) - 1).square().sum().backward()
# assert b.grad.any()
# ```
#
# </details>
#
# **3.** Fold the adapter into the base: is $W + \frac{\alpha}{r} BA$ the same as $W$ with the adapter beside it?
#
# <details><summary>Answer</summary>
#
# For LoRA it is, since both are linear: that is why merged checkpoints exist, and why a LoRA costs
# nothing after merging.
#
# ```python
# layer, x = torch.nn.Linear(W.shape[1], W.shape[0]), torch.randn(1, W.shape[1])
# A, B = torch.randn(4, W.shape[1]), torch.randn(W.shape[0], 4)
# beside = layer(x) + x @ A.T @ B.T
# layer.weight.data += B @ A
# assert torch.allclose(layer(x), beside, atol=1e-3)
# ```
#
# </details>
#
# ## If something goes wrong
#
# | you see | it is | do |
# |---|---|---|
# | after looks like before | too few steps or too low a rate; or the word is missing in the prompt | twice the steps; the word as in the captions |
# | a photo comes out, whatever is asked | overfitting | an earlier checkpoint, fewer steps, a lower rate |
# | always the same pose or place | all photos share it | other photos; name the place in the captions |
# | every penguin has become Kaiffin | the class was not held | `data.prior.weight` at 0.2 to 1 |
# | burnt colours | rate too high, or two adapters at full strength | a lower rate; strength 0.7 |
# | `loss` is nan | fp16 on a base that overflows | `train.precision` bf16 or fp32 |
# | out of memory | 512 pixels with a batch above 1 | `train.fit_memory`, it says what it takes |
# | nothing happens in ComfyUI | the file is of another base | `kaiffin adapter inspect FILE` |
#
# Next: [3 · Which picture is right](3-which-picture-is-right.ipynb).

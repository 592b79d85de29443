# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 1 · From a text to a picture
#
# You know what a network and a gradient are, and have never looked inside Stable Diffusion. In
# this notebook you take it apart: three networks, one loop of fifteen lines, and the handful of
# numbers that people turn.
#
# It runs from top to bottom in under four minutes on two CPU cores. The model is **the miniature**: a
# complete Stable Diffusion for pictures of 128 pixels that knows a toy world of plush animals. Its parts
# are the real ones, so all that you see here holds for the real one; only the pictures are simpler.
# With `BASE = "sd15"` below and a GPU of 15 GB, the same cells run on Stable Diffusion 1.5.

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
import itertools, os, shutil
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from kaiffin.foundation.sheets import sheet

# %%
BASE = "miniature"  # or "sd15": 2 GB are taken from the hub once, and it wants a GPU
DTYPE = "fp16" if GPU and BASE != "miniature" else "fp32"  # a T4 has no bf16
STEPS = 3 if os.environ.get("KAIFFIN_QUICK") else 20  # denoising steps; tests take few
WORK = Path("lesson-1")  # made anew each time
shutil.rmtree(WORK, ignore_errors=True)

# %% [markdown]
# ## The four parts
#
# A Stable Diffusion is three networks and a table of numbers (Rombach et al. 2022,
# [arXiv 2112.10752](https://arxiv.org/abs/2112.10752)):
#
# - the **text encoder** turns a prompt into one vector for each token,
# - the **VAE** turns a picture into a small tensor, its *latents*, and back,
# - the **UNet** looks at noisy latents and the prompt's vectors and says what is noise in them,
# - the **schedule** says how much noise there is at each moment.

# %%
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.notebook import Notebook
from kaiffin.foundation.runtime import Runtime
from kaiffin.models.files.load import load_base

config = BaseConfig(name=BASE, dtype=DTYPE)
family = load_base(config, Runtime.from_config(config), Notebook())
for name, part in {**family.towers, "vae": family.vae}.items():
    print(f"{name:13}{sum(p.numel() for p in part.parameters()) / 1e6:8.1f} million weights")
print("pictures of", family.native_size, "pixels;", family.latent_channels, "latent channels")

# %% [markdown]
# ## Latents: a picture made small
#
# Diffusion on pixels is slow, so it happens on latents: the VAE's encoder divides each side by
# eight, its decoder brings the pixels back. Below: a picture that was drawn just now, some of its
# latent channels in grey, and what the decoder makes of them. What the decoder cannot draw, no
# prompt and no training will ever show: its error is the ceiling of everything that follows.

# %%
import numpy as np
from kaiffin.miniature.world.world import subject_render

def picture(latents):
    """(1, C, h, w) latents -> a picture."""
    pixels = ((family.decode(latents)[0] + 1) * 127.5).byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())

drawn = subject_render("kaiffin", "beach", size=family.native_size)
pixels = torch.from_numpy(np.array(drawn)).permute(2, 0, 1)[None] / 127.5 - 1
latents, spread = family.encode_images(pixels)
print(f"{pixels.numel():,} numbers become {latents.numel():,}")

# %%
def grey(channel, side=160):
    """One latent channel, dark to bright, each cell as a square."""
    span = (channel - channel.min()) / (channel.max() - channel.min())
    return Image.fromarray((span * 255).byte().cpu().numpy()).resize((side, side), 0)

channels = [grey(channel) for channel in latents[0, :4]]
names = ["drawn", *(f"latent channel {i}" for i in range(4)), "decoded again"]
sheet([drawn, *channels, picture(latents)], names, columns=6)

# %% [markdown]
# ## Noise
#
# The forward process mixes the latents $x_0$ with normal noise $\epsilon$ (Ho et al. 2020,
# [arXiv 2006.11239](https://arxiv.org/abs/2006.11239), eq. 4):
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1-\bar\alpha_t}\, \epsilon$$
#
# At $t = 0$ there is nearly no noise, at $t = 999$ nearly nothing else. In training, a picture and a
# $t$ are drawn at random, and the UNet learns to tell the noise from the picture. That is all.

# %%
from kaiffin.foundation.runtime import randn

times = [0, 200, 400, 600, 800, 999]
eps = randn(latents.shape, 1, "a lesson").to(family.device)  # a function of its seed
noisy = [family.schedule.add_noise(latents, eps, torch.tensor([t])) for t in times]
signal = [family.schedule.alphas_cumprod[t].sqrt().item() for t in times]
names = [f"t = {t}: {100 * s:.0f} % of the picture" for t, s in zip(times, signal)]
sheet([picture(x) for x in noisy], names, columns=6)

# %% [markdown]
# ## What the text encoder sees
#
# A prompt is cut into tokens. Words that the tokenizer has met are one token, others are spelled
# in pieces: that is why a made-up word can mean something new after a training, and why it is
# no good to choose one that falls into ten pieces. (`</w>` marks where a word ends.)

# %%
from kaiffin.models.base import SizeFacts

for prompt in ("a photo of a red penguin on the beach", "a photo of kaiffin penguin"):
    print(family.token_pieces(prompt))
size = SizeFacts.whole(family.native_size, family.native_size)  # SDXL wants to know
context = family.encode_text([prompt], [size])["context"]
print("what the UNet reads of any prompt:", tuple(context.shape), "(batch, tokens, channels)")

# %% [markdown]
# Which of those vectors does one word change? Below, *red* becomes *blue*, and each bar is
# how far the vector at that token moved. **Nothing before the word moves**: CLIP's text encoder is
# causal, each token sees only those to its left (Radford et al. 2021,
# [arXiv 2103.00020](https://arxiv.org/abs/2103.00020)). All after it moves, the padding, too. So the
# UNet hears of *red* many times, and what stands first in a prompt colours all the rest.

# %%
words = "a photo of a {} penguin on the beach"
red, blue = (family.encode_text([words.format(c)], [size])["context"] for c in ("red", "blue"))
moved = (red - blue).norm(dim=-1)[0, :14].float().cpu()
pieces = ["begin", *family.token_pieces(words.format("red")), "end", "pad", "pad", "pad"]
plt.figure(figsize=(8, 2.2))
plt.bar(range(len(moved)), moved)
plt.xticks(range(len(moved)), pieces[: len(moved)], rotation=45)
plt.ylabel("moved by");

# %% [markdown]
# ## Denoising by hand
#
# Now the loop. It begins with pure noise and walks down a ladder of noise levels
# $\sigma_0 > \sigma_1 > \dots > 0$. In the coordinates of Karras et al. 2022
# ([arXiv 2206.00364](https://arxiv.org/abs/2206.00364)), $x = x_0 + \sigma\epsilon$, each step is:
#
# 1. the UNet looks at $x$, once with the prompt ($c$) and once with an empty one ($\varnothing$);
# 2. **guidance** exaggerates the difference between the two (Ho & Salimans 2022,
#    [arXiv 2207.12598](https://arxiv.org/abs/2207.12598)):
#    $\hat\epsilon = \epsilon_\varnothing + s\,(\epsilon_c - \epsilon_\varnothing)$;
# 3. what it said is turned into a guess of the clean latents, $\hat x_0$;
# 4. $x$ goes a little of the way from where it is to that guess, in a straight line (Euler's method):
#    $x \leftarrow x + \frac{x - \hat x_0}{\sigma}(\sigma_{next} - \sigma)$.

# %%
from kaiffin.models.diffusion.samplers import guided

@torch.no_grad()
def denoise_by_hand(prompt, x, steps, guidance=5.0, negative=""):
    cond, uncond = (family.encode_text([text], [size]) for text in (prompt, negative))
    sigmas, seen = family.schedule.sigmas(steps), []
    x = family.schedule.first_noise(x, sigmas[0])
    for sigma, after in itertools.pairwise(sigmas):
        x_t, t = family.schedule.model_input(x, sigma)
        t = torch.tensor([round(t)], device=x.device)
        said = [family.predict(x_t, t, told) for told in (cond, uncond)]
        x0 = family.schedule.to_x0(guided(*said, guidance), x, sigma)
        seen.append((sigma, x_t, x0))
        x = x + (x - x0) / sigma * (after - sigma)
    return x, seen

# %%
side = family.native_size // family.downscale
noise = randn((1, family.latent_channels, side, side), 1, "picture", "start").to(family.device)
PROMPT = "a photo of a red penguin on the beach"
made, seen = denoise_by_hand(PROMPT, noise, STEPS)
picture(made).resize((256, 256))

# %% [markdown]
# ## The same, step by step
#
# Three views of the same walk. **Top**: $x$ itself through the decoder, noise and all. **Middle**: its
# latents, one channel. **Bottom**: $\hat x_0$, what the UNet would paint if it had to stop now. Read the
# bottom row from left to right: the first guess is a blur of all that the prompt may mean; two steps
# later the place, the pose and the colours are settled; what is left of the walk draws edges and
# eyes. Large things are decided early, where the noise hides all else; details come last.

# %%
shown = [seen[round(i)] for i in np.linspace(0, len(seen) - 1, min(8, STEPS))]
rows = [
    [picture(x_t) for _, x_t, _ in shown],
    [grey(x_t[0, 0]) for _, x_t, _ in shown],
    [picture(x0) for _, _, x0 in shown],
]
names = [f"{what}, sigma {sigma:.2g}" for what in ("x", "latents", "guess of x0") for sigma, *_ in shown]
sheet(list(itertools.chain(*rows)), names, columns=len(shown))

# %% [markdown]
# That is really all. `kaiffin generate` does the same, with the sampler as a choice, pictures in
# batches, and the whole recipe written into each PNG. Our loop and Kaiffin's Euler, from the same
# noise, end in the same picture:

# %%
from kaiffin.stories.generate import Order, generate

order = Order(BASE, [PROMPT], seed=1, out=WORK / "same")
settings = {"sample.sampler": "euler", "sample.steps": STEPS, "base.dtype": DTYPE}
theirs = Image.open(generate(order, changes=settings, tell=Notebook()).paths[0])
far = np.abs(np.array(theirs, dtype=int) - np.array(picture(made), dtype=int))
print("grey levels between the two pictures, at most:", far.max())
assert DTYPE == "fp16" or far.max() <= 2

# %% [markdown]
# ## Guidance and steps
#
# $s$ = 1 is the model as it was trained; it knows the prompt and does not insist. Higher values buy
# obedience with variety and calm colours. More steps make the walk finer; from some number on nothing
# changes any more. The two hang together: look at the upper right corner, where long strides in an
# exaggerated direction leave the road. One seed, every picture begins with the same noise:

# %%
from kaiffin.stories.grid import GridOrder, grid

scales, steps = ("1,5", "2,3") if STEPS < 20 else ("1,2.5,5,10,20", "2,4,8,16,32")
axes = {"x": f"guidance={scales}", "y": f"steps={steps}"}
order = GridOrder(BASE, PROMPT, axes, seed=3, out=WORK / "guidance")
grid(order, changes={"base.dtype": DTYPE})

# %% [markdown]
# ## Samplers
#
# A sampler is a way to walk down the ladder. All of them ask the UNet the same question; they
# differ in what they do with the answer. **Euler** and **DDIM** (Song et al. 2021,
# [arXiv 2010.02502](https://arxiv.org/abs/2010.02502)) go straight, and in these coordinates are one
# and the same. **Heun** looks twice in each step, which costs twice the time. **DPM++ 2M** (Lu et al. 2022,
# [arXiv 2211.01095](https://arxiv.org/abs/2211.01095)) remembers the last answer and takes a curve, and
# **UniPC** (Zhao et al. 2023, [arXiv 2302.04867](https://arxiv.org/abs/2302.04867)) corrects it by the next
# one. The last three throw in fresh noise at each step: with other numbers of steps they come to other
# pictures, and they want more of them.

# %%
from kaiffin.models.diffusion.samplers import SAMPLERS, denoiser

cond, uncond = (family.encode_text([text], [size]) for text in (PROMPT, ""))

@torch.no_grad()
def predict(x_t, t):
    t = torch.tensor([round(t)], device=x_t.device)
    return guided(family.predict(x_t, t, cond), family.predict(x_t, t, uncond), 5.0)

def walk(name, steps):
    sigmas = family.schedule.sigmas(steps)
    start = family.schedule.first_noise(noise, sigmas[0])
    fresh = lambda i: randn(noise.shape, 1, "fresh", i).to(noise.device)
    return SAMPLERS[name](denoiser(predict, family.schedule), start, sigmas, fresh)

# %%
print("all:", *SAMPLERS)
budgets = [2, 3] if STEPS < 20 else [4, 8, 16]
ways = ("euler", "ddim", "heun", "dpm++2m", "unipc", "euler-a", "ddpm", "dpm++2m-sde")
walks = {(name, n): walk(name, n) for n in budgets for name in ways}
names = [f"{name}, {n} steps" for name, n in walks]
sheet([picture(x) for x in walks.values()], names, columns=len(ways))

# %% [markdown]
# How good is a cheap walk? Take a fine one, five times as many steps, as the truth, and measure
# how far each ends from it. Those that throw noise have no one truth to come to, so they are no lines here.
# With eight steps and more DPM++ 2M is nearer than Euler for the same work, which is why it is the
# default; with four its curve is a guess from too little, and straight is better.

# %%
truth = walk("euler", 5 * budgets[-1])
plt.figure(figsize=(5, 2.6))
for name in ("euler", "dpm++2m"):
    far = [(walks[name, n] - truth).square().mean().sqrt().item() for n in budgets]
    plt.plot(budgets, far, marker="o", label=name)
plt.xlabel("steps"), plt.ylabel("distance of latents"), plt.legend();

# %% [markdown]
# ## Negative prompts
#
# Look at the formula of guidance again: the empty prompt is where the walk is pushed *away from*. Put
# words there, and it is pushed away from them. A bear has any colour until we say "brown" there. The
# last row is the usual mistake: a whole sentence says *bear*, too, and pushes the bear away.

# %%
negatives = ["", "brown", "a photo of a brown bear in the forest"]
rows = []
for negative in negatives:
    order = Order(BASE, ["a photo of a bear in the forest"], count=5, seed=1, out=WORK / "bears")
    changes = {"sample.negative": negative, "sample.steps": STEPS, "base.dtype": DTYPE}
    rows += [Image.open(path) for path in generate(order, changes=changes).paths]
names = [f"negative: {text or 'none'}" for text in negatives for _ in range(5)]
sheet(rows, names, columns=5)

# %% [markdown]
# ## Exercises
#
# **1.** With guidance 1 each step costs half. Why? Show it without a model.
#
# <details><summary>Answer</summary>
#
# $\epsilon_\varnothing + 1\cdot(\epsilon_c - \epsilon_\varnothing) = \epsilon_c$: what was said of the
# empty prompt cancels, so nobody needs to ask.
#
# ```python
# c, u = torch.randn(4), torch.randn(4)
# assert torch.allclose(guided(c, u, 1.0), c, atol=1e-6)
# ```
#
# </details>
#
# **2.** How much does the VAE lose? Measure the PSNR of a picture that only went through it.
#
# <details><summary>Answer</summary>
#
# $10 \log_{10}(1 / \text{MSE})$ with pixels between 0 and 1. Around 25 dB on the miniature; 25 to 30 dB are
# usual for SD 1.5 on photos, and it is small text and far faces that pay.
#
# ```python
# again = family.decode(latents).cpu()
# psnr = 10 * torch.log10(4 / (again - pixels).square().mean()).item()
# print(f"{psnr:.1f} dB")
# assert 15 < psnr < 40
# ```
#
# </details>
#
# **3.** Our loop is Euler's. Make it DDPM's: after each step, take back some certainty with fresh noise.
#
# <details><summary>Answer</summary>
#
# Go further down than $\sigma_{next}$, to $\sigma_{down}$, and add noise of $\sigma_{up}$, so that
# $\sigma_{down}^2 + \sigma_{up}^2 = \sigma_{next}^2$.
#
# ```python
# def ancestral(x, x0, sigma, after, fresh):
#     up = after * (1 - (after / sigma) ** 2) ** 0.5
#     down = (after**2 - up**2) ** 0.5
#     return x0 + (x - x0) * (down / sigma) + up * fresh
#
# sigmas = family.schedule.sigmas(2)
# x = family.schedule.first_noise(noise, sigmas[0])
# ask = denoiser(predict, family.schedule)
# for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
#     x = ancestral(x, ask(x, sigma), sigma, after, randn(noise.shape, 1, "fresh", i).to(x.device))
# assert torch.allclose(x, walk("ddpm", 2), atol=1e-3)
# ```
#
# </details>
#
# ## If something goes wrong
#
# | you see | it is | do |
# |---|---|---|
# | pictures of noise or mush on SD 1.5 | too few steps, or guidance far too high | 20 to 30 steps, guidance 5 to 8 |
# | black pictures | fp16 overflowed in the VAE | `DTYPE = "fp32"`, or a VAE made for fp16: `base.vae` |
# | burnt, oversaturated pictures | guidance too high | go down to 4 to 7 |
# | the prompt's second half is ignored | token 78 and later are another block | shorter prompts, the important words first |
# | two people, two heads | SD 1.5 above its 512 pixels | `sample.size` at the base's own size |
# | out of memory | the base in fp32, or another program on the GPU | `DTYPE = "fp16"`, restart the session |
# | the miniature does not know a word | its world has eight animals, eight colours, eight places | `docs/miniature.md` lists them |
#
# Next: [2 · Teach it something](2-teach-it-something.ipynb), where the same UNet learns a word that it has
# never heard.

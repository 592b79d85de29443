# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 3 · Which picture is right
#
# A model makes as many pictures as you like. Which of them are good, and which of two models is better? You
# can look, and should; but eyes get tired, and want to see what they hope for. Here you meet the usual
# judge, **CLIP**, find out what it cannot see, build a better order around it, and learn when the only honest
# answer is *"no difference"*.
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
BASE = "miniature"  # or "sd15": 2 GB, and 2 GB for its judge, are taken from the hub once
JUDGE = "miniature" if BASE == "miniature" else "openai/clip-vit-large-patch14"
DTYPE = "fp16" if GPU and BASE != "miniature" else "fp32"  # a T4 has no bf16
QUICK = {"train.steps": 3, "data.prior.weight": 0, "adapter.targets": "attention", "score.candidates": 2}
QUICK = QUICK if os.environ.get("KAIFFIN_QUICK") else {}  # tests have less time than you
SIDE = 128 if BASE == "miniature" else 512
WORK = Path("lesson-3")  # made anew each time
shutil.rmtree(WORK, ignore_errors=True)

# %% [markdown]
# ## One space for texts and pictures
#
# CLIP (Radford et al. 2021, [arXiv 2103.00020](https://arxiv.org/abs/2103.00020)) is two encoders, one for
# pictures and one for texts, trained together on pairs: the vectors of a picture and of its caption are
# pulled together, all others in the batch pushed apart. What comes out is a vector of length 1 either way, and
# *how well does this text fit this picture* is the cosine of the two.
#
# Eight animals, drawn just now, and a sentence for each:

# %%
from kaiffin.miniature.world.vocabulary import SPECIES, Spec
from kaiffin.miniature.world.world import render
from kaiffin.score.judge import Scorer

judge = Scorer(JUDGE, tell=Notebook())
drawn = [render(Spec(species, "red", "beach"), SIDE) for species in SPECIES]
texts = [f"a photo of a red {species} on the beach" for species in SPECIES]
P, T = judge.embed_images(drawn), judge.embed_texts(texts)
print(f"pictures {tuple(P.shape)}, texts {tuple(T.shape)}, length {P[0].norm():.3f}")
sheet(drawn, texts, columns=8)

# %% [markdown]
# ## Drawn
#
# Those vectors have many dimensions; the two main ones (principal components) fit on paper. Left, the eight
# animals: each text lies by its picture. Right, one animal in eight places: the order is
# the same, but the texts have kept to one side and the pictures to the other. One space holds both, and has found
# out by itself what animals and places are.

# %%
from kaiffin.miniature.world.vocabulary import SCENES

def flat(pictures, texts):
    """Both groups in the two main directions of all of them."""
    both = torch.cat([pictures, texts])
    _, _, main = torch.linalg.svd(both - both.mean(0), full_matrices=False)
    return [(group - both.mean(0)) @ main[:2].T for group in (pictures, texts)]

scenes = [render(Spec("penguin", "red", scene), SIDE) for scene in SCENES]
told = [f"a photo of a red penguin {words[0]}" for words in SCENES.values()]
P2, T2 = judge.embed_images(scenes), judge.embed_texts(told)

# %%
_, places = plt.subplots(1, 2, figsize=(9, 3.6))
for place, (p, t), names in zip(places, (flat(P, T), flat(P2, T2)), (SPECIES, SCENES)):
    for one, other, name in zip(p, t, names):
        place.plot(*zip(one, other), color="0.8", zorder=0), place.text(*other, name, fontsize=8)
    place.scatter(*p.T, label="pictures"), place.scatter(*t.T, marker="x", label="texts")
places[0].legend()
print(f"between the middles of pictures and texts: {(P.mean(0) - T.mean(0)).norm():.2f}")

# %% [markdown]
# The last number is the **modality gap** (Liang et al. 2022, [arXiv 2203.02053](https://arxiv.org/abs/2203.02053)).
# The miniature's CLIP has a small one, plain to see on the right. In published CLIPs all pictures lie in one cloud and all texts in
# another, about 0.8 apart: training only asks for the right *order* of cosines, so nothing closes it.

# %% [markdown]
# ## The cosine by hand
#
# $$\cos(p, t) = \frac{p \cdot t}{\lVert p \rVert\, \lVert t \rVert}$$
#
# With unit vectors it is just the dot product: all 64 in one matrix product. A row is a picture, a
# column a text; the right pairs are on the diagonal. The diagonal wins in its row, and yet no cosine is 1, and
# wrong pairs reach 0.7. In published CLIPs right pairs have about 0.3. **The number alone says nothing; only a
# comparison does**, by the same judge.

# %%
cosines = P @ T.T
by_hand = sum(a * b for a, b in zip(P[0].tolist(), T[0].tolist()))
print(f"by hand {by_hand:.4f}, as a matrix {cosines[0, 0]:.4f}")
plt.figure(figsize=(4.2, 3.6))
plt.imshow(cosines), plt.colorbar()
plt.xticks(range(8), SPECIES, rotation=60), plt.yticks(range(8), SPECIES)
right = (cosines.argmax(1) == torch.arange(8)).sum()
plt.title(f"{right} of 8 pictures find their text");

# %% [markdown]
# ## Sixteen pictures
#
# Now pictures of a subject. A short training, as in [notebook 2](2-teach-it-something.ipynb); three of the
# photos are **held out**: nobody trains on them, so they can judge.
#
# Then sixteen pictures of Kaiffin in the snow. Half of them lost the subject, and for once we know which,
# since they are made without its word. Any model has such failures; it does not mark them.

# %%
from kaiffin.foundation.config import Config
from kaiffin.foundation.settings import changed
from kaiffin.miniature.world.world import subject_photos
from kaiffin.stories.train import train

PHOTOS, HELD_OUT = WORK / "photos", WORK / "held-out"
PHOTOS.mkdir(parents=True), HELD_OUT.mkdir()
for i, (image, caption) in enumerate(subject_photos("kaiffin", 9, size=SIDE)):
    folder = PHOTOS if i < 6 else HELD_OUT
    image.save(folder / f"{i}.png"), (folder / f"{i}.txt").write_text(caption)

# %%
config = changed(Config(), **{
    "base.name": BASE, "base.dtype": DTYPE, "data.photos": PHOTOS, "score.like": HELD_OUT,
    "subject.token": "kaiffin", "subject.noun": "penguin", "score.judge": JUDGE,
    "train.steps": 120 if SIDE == 128 else 600, "score.candidates": 3,
    "train.lr": 3e-3 if SIDE == 128 else 1e-4,
} | QUICK)
trained = train(config, WORK / "run", tell=Notebook())

# %%
from kaiffin.stories.generate import Order, generate

settings = {"base.dtype": DTYPE, "sample.steps": 2 if QUICK else 10 if SIDE == 128 else 20}
prompts = ["a photo of kaiffin penguin in the snow", "a photo of a penguin in the snow"]
order = Order(str(trained.run.path), prompts, count=8, seed=1, out=WORK / "sixteen")
paths = generate(order, changes=settings).paths
made = [path for pair in zip(paths[:8], paths[8:]) for path in pair]
images = [Image.open(path) for path in made]
is_subject = torch.tensor([True, False] * 8)
sheet(images, ["Kaiffin", "lost"] * 8, columns=8)

# %% [markdown]
# ## CLIP alone prefers the wrong ones
#
# CLIP has never heard of Kaiffin, so it is asked about the plain description, *a photo of a penguin in the snow*.
# And a plain penguin fits that best! The more a picture becomes *your* subject, with its helmet and its
# striped beak, the less it is like the class that the words name. Whoever picks pictures by CLIP's
# score alone throws the subject away.

# %%
prompt = "a photo of a penguin in the snow"
shown = judge.embed_images(images) @ judge.embed_texts([prompt])[0]
order = shown.argsort(descending=True)
print("of CLIP's first four,", is_subject[order[:4]].sum().item(), "show the subject")
print(f"mean cosine: subject {shown[is_subject].mean():.3f}, lost {shown[~is_subject].mean():.3f}")
sheet([images[i] for i in order], [f"{shown[i]:.3f}" for i in order], columns=8)

# %% [markdown]
# ## The identity gate
#
# Another question to the same judge: how near is a picture to *photos of the subject*? The mean
# cosine to photos is CLIP-I (Ruiz et al. 2022, [arXiv 2208.12242](https://arxiv.org/abs/2208.12242)). It has its own
# blindness, since it likes copies of the photos best, place and all. So neither score decides alone: likeness is a **gate**, the
# better half passes; among those the prompt decides.

# %%
photos = [Image.open(path) for path in sorted(HELD_OUT.glob("*.png"))]
alike = (judge.embed_images(images) @ judge.embed_images(photos).T).mean(1)
passed = alike.argsort(descending=True)[:8]  # the gate: the better half
best = passed[shown[passed].argsort(descending=True)][:4]  # then the prompt
print("of the gate's four,", is_subject[best].sum().item(), "show the subject")
print(f"mean likeness: subject {alike[is_subject].mean():.3f}, lost {alike[~is_subject].mean():.3f}")
sheet([images[i] for i in best], [f"prompt {shown[i]:.3f}, like {alike[i]:.3f}" for i in best], columns=4)

# %% [markdown]
# Both scores at once: the prompt from left to right, likeness upwards. The gate is a horizontal
# line; CLIP alone would cut with a vertical one.

# %%
plt.figure(figsize=(5, 3.2))
for mask, name in ((is_subject, "Kaiffin"), (~is_subject, "lost")):
    plt.scatter(shown[mask], alike[mask], label=name)
plt.axhline(alike.median(), color="0.6", lw=1), plt.text(shown.min(), alike.median(), " gate")
plt.xlabel("prompt (CLIP-T)"), plt.ylabel("likeness (CLIP-I)"), plt.legend();

# %% [markdown]
# `kaiffin rank` does exactly that for a folder of pictures, `kaiffin generate -n 16 --best 4` at once:

# %%
from kaiffin.stories.rank import rank

ranking = rank(made, prompt, like=HELD_OUT, judge=JUDGE, best=4, out=WORK / "ranked.png")
assert {one.path for one in ranking.chosen} == {made[i] for i in best}
for gain in ranking.gains:
    print(f"{gain.name}: the first four {gain.first:.3f}, the chosen four {gain.chosen:.3f}")

# %% [markdown]
# ## Which of two models: intervals
#
# The training kept three adapters on its way. Is the last better than the one before? Make the same
# pictures with both, score, compare the means... and make others tomorrow, and the means are others.
# So a mean comes with an interval. The bootstrap (Efron 1979) needs no theory: draw from your own
# pictures, with replacement, a thousand times, and see how far the mean wanders.

# %%
places = ("in the snow", "in the forest", "in the city", "in the desert")
prompts = [f"a photo of kaiffin penguin {place}" for place in places]

def scores(step, count):
    """Likeness of `count` pictures of each prompt, (prompts, count); step 0 is the base."""
    source, checkpoint = (str(trained.run.path), str(step)) if step else (BASE, None)
    order = Order(source, prompts, count, 1, checkpoint=checkpoint, out=WORK / "compared")
    paths = generate(order, changes=settings).paths
    rows = judge.embed_images([Image.open(path) for path in paths])
    return (rows @ judge.embed_images(photos).T).mean(1).reshape(len(prompts), count)

steps = [step for step, _ in trained.run.candidates()]
print("adapters after steps", steps)
found = {step: scores(step, 2 if QUICK else 6) for step in steps}
found[0] = scores(0, 2 if QUICK else 6)

# %%
def bootstrap(values, draws=1000):
    """Mean of values (n,) with its 95 % interval."""
    torch.manual_seed(0)
    drawn = values[torch.randint(len(values), (draws, len(values)))]
    low, high = drawn.mean(1).quantile(torch.tensor([0.025, 0.975]))
    return values.mean().item(), low.item(), high.item()

for step, values in sorted(found.items()):
    mean, low, high = bootstrap(values.flatten())
    print(f"step {step:3}: likeness {mean:.3f} [{low:.3f}, {high:.3f}]")

# %% [markdown]
# ## In pairs
#
# Look at the first adapter and the last: their intervals overlap. That says less than it seems: most of their width is that some prompts
# and seeds are easier than others, *for all models*. Same prompt, same seed, so take the **difference in each
# pair** first; what both share cancels. And pictures of one prompt hang together, so prompts are
# drawn, then pictures in them (`clustered`; Davison & Hinkley 1997, section 3.8): the interval then speaks of
# other prompts, not of more pictures of these.
#
# ## When to say "no difference"
#
# - The interval of the difference lies on one side of 0: **one is better**, by about that much.
# - It holds 0 and is wide: **you do not know**. Not "equal": make more pictures, with more prompts.
# - It holds 0 and is narrow, all of it within what you would care about: **no difference** that matters. Take
#   the cheaper one: the earlier step, the smaller file.
#
# What you would care about has to be said *before* you look. Here: 0.02.

# %%
from kaiffin.score.statistics import clustered

CARE = 0.02

def verdict(gap):
    if gap.low > 0 or gap.high < 0:
        return "one is better"
    return "no difference that matters" if max(-gap.low, gap.high) < CARE else "you do not know"

for one, other in ((steps[0], 0), (steps[-1], steps[0]), (steps[-1], steps[-2])):
    pairs = found[one] - found[other]
    groups = [prompt for prompt, row in enumerate(pairs) for _ in row]
    gap = clustered(pairs.flatten().tolist(), groups)
    print(f"step {one:3} against {other:3}: {gap}: {verdict(gap)}")

# %% [markdown]
# How narrow? Half of the interval's width, of many sets of $n$ pairs: it shrinks as $1/\sqrt{n}$. For half the
# width, four times the work.

# %%
pairs = (found[steps[-1]] - found[steps[0]]).flatten()
sizes = [4, 8, 16, 32, 64]
torch.manual_seed(1)
sets = {n: [bootstrap(pairs[torch.randint(len(pairs), (n,))]) for _ in range(40)] for n in sizes}
widths = [sum(high - low for _, low, high in sets[n]) / 80 for n in sizes]
plt.figure(figsize=(5, 2.6))
plt.plot(sizes, widths, "o", label="measured")
plt.plot(sizes, [1.96 * pairs.std() / n**0.5 for n in sizes], label="1.96 s / √n")
plt.xlabel("pairs of pictures"), plt.ylabel("± of the interval"), plt.legend();

# %% [markdown]
# ## All of it at once
#
# `kaiffin choose` makes the pictures with every adapter that was kept, scores likeness *and* prompt, compares in
# pairs, and recommends the **earliest that is shown to be as good as the best**. Or says that it cannot tell.

# %%
from kaiffin.stories.choose import choose

small = {"score.seeds": 1, "sample.steps": settings["sample.steps"], "base.dtype": DTYPE}
advice = choose(trained.run.path, changes=small, tell=Notebook())
print(advice.choice.verdict)
for stop in advice.choice.stops:
    print(f"step {stop.step:3}: likeness {stop.means['likeness']}; prompt {stop.means['prompt_share']}")

# %% [markdown]
# The top of the page that it writes; the reader has the last word:

# %%
page = Image.open(advice.sheet)
page.crop((0, 0, page.width, min(page.height, 3 * page.width // 4)))

# %% [markdown]
# ## Exercises
#
# **1.** A judge gives `[0.30, 0.31]` to two pictures. Which is better?
#
# <details><summary>Answer</summary>
#
# Nobody knows yet. Ask how far such cosines wander for pictures of *equal* quality: here, over the seeds
# of one prompt.
#
# ```python
# wander = found[steps[-1]].std(1).mean()
# print(f"over seeds the likeness wanders by {wander:.3f}")
# assert wander > 0.001
# ```
#
# </details>
#
# **2.** Eight equally good models are judged on a few pictures each. By how much does the winner seem
# better than it is?
#
# <details><summary>Answer</summary>
#
# By 1.42 standard errors of its mean: the highest of eight draws is luck. So the winner's score is too
# good, and has to be measured again on fresh seeds.
#
# ```python
# luck = torch.randn(20000, 8, generator=torch.Generator().manual_seed(0)).amax(1).mean().item()
# assert abs(luck - 1.42) < 0.03
# ```
#
# </details>
#
# **3.** The differences of pairs have a standard deviation of 0.08. How many pairs for an interval of ± 0.02?
#
# <details><summary>Answer</summary>
#
# $1.96 \cdot 0.08 / \sqrt{n} = 0.02$, so $n \approx 62$.
#
# ```python
# import math
# assert math.ceil((1.96 * 0.08 / 0.02) ** 2) == 62
# ```
#
# </details>
#
# ## If something goes wrong
#
# | you see | it is | do |
# |---|---|---|
# | all pictures have nearly the same cosine | the judge does not know this world | another judge: `--judge openai/clip-vit-large-patch14` |
# | the best pictures are copies of photos | likeness to photos that were trained on | hold photos out: `data.hold_out`, `--like` |
# | the winner changes with each attempt | too few pictures | more seeds, more prompts; or it is "no difference" |
# | CLIP likes the scene and not the subject | CLIP cannot know your subject | the gate; a DINOv2 for likeness: `score.identity_judge` |
# | counts, hands, writing are wrong and score well | CLIP sees none of them | look |
# | numbers of two reports differ | two judges | compare within one judge only |
#
# Next: [4 · From your photos to a file you share](4-from-photos-to-a-file.ipynb).

"""How a picture comes about: noise, latents, guidance, samplers, min-SNR."""

from __future__ import annotations

import chart
import numpy as np
import stage
import torch
from PIL import Image, ImageChops
from stage import IDEAS, family, note, pictures, save

from kaiffin.foundation.runtime import generator
from kaiffin.miniature.world import world
from kaiffin.models.diffusion.loss import min_snr_weight
from kaiffin.models.diffusion.samplers import SAMPLERS

PROMPT = "a photo of a red penguin on the beach"
EIGHT = [
    f"a photo of a {colour} {animal} {place}"
    for colour, animal, place in (
        ("red", "penguin", "on the beach"), ("blue", "owl", "in the snow"),
        ("green", "bear", "in the forest"), ("yellow", "cat", "in the city"),
        ("pink", "frog", "in the desert"), ("brown", "rabbit", "in the kitchen"),
        ("black", "lion", "in space"), ("purple", "elephant", "in a meadow"),
    )
]  # fmt: skip


def psnr(a: Image.Image, b: Image.Image) -> float:
    gap = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return float(10 * np.log10(255**2 / max((gap**2).mean(), 1e-9)))


def diffusion() -> None:
    """A picture drowned in noise, and one made out of noise."""
    photo = world.render(world.random_spec(0, 3))
    latents = stage.encoded(photo)
    eps = torch.randn(latents.shape, generator=generator(0, "figure"))
    times = (0, 100, 250, 500, 750, 999)
    at = [torch.tensor([t]) for t in times]
    noisy = [stage.drawn(family().schedule.add_noise(latents, eps, t)) for t in at]
    snr = [float(family().schedule.snr(t)) for t in at]
    labels = [f"t = {t}, signal to noise {s:.2g}" for t, s in zip(times, snr, strict=True)]
    save("diffusion-noise", noisy, labels, columns=6)
    seen, guesses, _, made = stage.trajectory(PROMPT, 1)
    frames = [stage.drawn(x) for x in seen] + [stage.drawn(made)]
    thought = [stage.drawn(x) for x in guesses] + [stage.drawn(made)]
    stage.strip("diffusion-frames", frames)
    stage.strip("diffusion-guesses", thought)
    picks = (0, 3, 7, 11, 15, 19, 24)
    labels = [f"after {i} steps" for i in picks] + [f"step {i + 1}: the guess" for i in picks]
    save(
        "diffusion-steps", [frames[i] for i in picks] + [thought[i] for i in picks], labels,
        columns=len(picks),
    )  # fmt: skip
    rows = [
        f"{i + 1} | {psnr(frames[i], frames[-1]):.1f} | {psnr(thought[i], frames[-1]):.1f}"
        for i in (0, 4, 9, 14, 19, 23)
    ]
    note(
        "diffusion",
        "How near the last picture (PSNR in dB, one picture, 25 steps of DPM++ 2M, guidance 5):\n\n"
        + stage.table("step | what the sampler holds | what the model guesses", rows),
    )


def latents() -> None:
    """A render, its 16 channels, what comes back, and what is lost."""
    photo = world.subject_render("kaiffin", "snow")
    code = stage.encoded(photo)
    low, high = code.min(), code.max()
    grey = ((code[0] - low) / (high - low) * 255).byte().numpy()
    channels = [Image.fromarray(c).resize((64, 64), Image.Resampling.NEAREST) for c in grey]
    back = stage.drawn(code)
    lost = ImageChops.difference(photo, back).point(lambda v: min(255, 4 * v))
    images = [photo, back, lost, *(c.convert("RGB") for c in channels)]
    labels = ["a render", "encoded and decoded", "difference, times 4"]
    save("latents", images, labels + [f"channel {i}" for i in range(len(channels))], columns=7)
    plain = [world.render(world.random_spec(5, i, reserved=True)) for i in range(48)]
    unseen = [
        world.subject_render(subject, scene, detail=d)
        for subject in world.SUBJECTS for scene in stage.SCENES for d in range(3)
    ]  # fmt: skip
    rows = []
    for name, group in (("animals of the world", plain), ("the two unseen characters", unseen)):
        values = [psnr(image, stage.drawn(stage.encoded(image))) for image in group]
        rows.append(f"{name} | {len(group)} | {stage.told_as(stage.mean(values, 1), 1)}")
    size = family().native_size
    numbers = (3 * size * size, code.numel())
    note(
        "latents",
        f"{numbers[0]:,} numbers of pixels become {numbers[1]:,} of latents:"
        f" {numbers[0] // numbers[1]} to 1. What comes back, PSNR in dB:\n\n"
        + stage.table("pictures | n | mean [95 %]", rows),
    )


def guidance() -> None:
    """One prompt at several scales, and how well prompts are followed."""
    scales = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
    shown = [p for seed in (1, 2) for g in scales for p in pictures([PROMPT], [seed], guidance=g)]
    save("guidance", shown, [f"guidance {g:g}" for g in scales] * 2, columns=len(scales))
    rows, texts = [], [p for p in EIGHT for _ in range(4)]
    for g in scales:
        made = pictures(EIGHT, range(4), guidance=g)
        fit = stage.scorer().text_image(made, texts).tolist()
        pixels = [np.asarray(image.convert("HSV"))[..., 1] > 242 for image in made]
        saturated = stage.mean([float(p.mean()) for p in pixels], 4)
        rows.append(f"{g:g} | {stage.told_as(stage.mean(fit, 4))} | {stage.told_as(saturated)}")
    note(
        "guidance",
        f"{len(EIGHT)} prompts on 4 seeds, judged by the miniature's CLIP; intervals draw"
        " prompts:\n\n" + stage.table("guidance | prompt (CLIP-T) | saturated pixels", rows),
    )


CURVES = ("ddpm", "euler", "heun", "dpm++2m", "dpm++2m-sde", "unipc")  # as many as have a colour


def samplers() -> None:
    """The same noise through every sampler, with few steps and with many."""
    counts = (2, 4, 8, 16, 32)
    ways = {name: [] for name in SAMPLERS if name != "lcm"}  # which wants an adapter of its own
    images, labels = [], []
    ends = {
        i: stage.trajectory(prompt, 1, steps=200, sampler="euler")[3]
        for i, prompt in enumerate(EIGHT[:4])
    }
    for name in ways:
        for steps in counts:
            gaps = []
            for i, prompt in enumerate(EIGHT[:4]):
                made = stage.trajectory(prompt, 1, steps=steps, sampler=name)[3]
                gaps.append(float((made - ends[i]).square().mean().sqrt()))
                if i == 0:
                    images.append(stage.drawn(made))
                    labels.append(f"{name}, {steps} steps")
            ways[name].append((float(steps), sum(gaps) / len(gaps)))
    save("samplers", images, labels, columns=len(counts))
    drawn = {name: ways[name] for name in CURVES}
    chart.lines(
        IDEAS / "samplers-error.svg", drawn, "steps", "distance to Euler with 200 steps (latents)"
    )
    rows = [
        f"{name} | " + " | ".join(f"{gap:.2f}" for _, gap in values)
        for name, values in ways.items()
    ]
    head = "sampler | " + " | ".join(f"{n} steps" for n in counts)
    note(
        "samplers",
        "Distance of the latents to those of Euler's method with 200 steps, from the same noise"
        " (root mean square, mean of four prompts):\n\n" + stage.table(head, rows),
    )


def min_snr() -> None:
    """The weights, and what the miniature's own loss is at each time."""
    schedule = family().schedule
    times = torch.arange(0, 1000, 10)
    snr = schedule.snr(times)
    both = {
        "signal / noise": snr,
        "v, gamma 5": min_snr_weight(snr, 5.0, "v_prediction"),
        "v, gamma 1": min_snr_weight(snr, 1.0, "v_prediction"),
        "eps, gamma 5": min_snr_weight(snr, 5.0, "epsilon"),
    }
    series = {
        name: [(float(t), max(float(w), 1e-4)) for t, w in zip(times, weights, strict=True)]
        for name, weights in both.items()
    }
    chart.lines(IDEAS / "min-snr.svg", series, "time t", "weight (logarithmic)", logarithmic=True)
    specs = [world.random_spec(9, i) for i in range(32)]
    latents = torch.cat([stage.encoded(world.render(spec)) for spec in specs])
    cond = stage.told([world.full_caption(spec) for spec in specs])
    rows = []
    for t in (50, 200, 400, 600, 800, 950):
        at = torch.full((len(specs),), t)
        eps = torch.randn(latents.shape, generator=generator(t, "min-snr"))
        with torch.no_grad():
            said = family().predict(schedule.add_noise(latents, eps, at), at, cond)
        loss = (said - schedule.target(latents, eps, at)).square().flatten(1).mean(1)
        weight = float(min_snr_weight(schedule.snr(at[:1]), 5.0, "v_prediction"))
        rows.append(
            f"{t} | {float(schedule.snr(at[:1])):.3g} |"
            f" {stage.told_as(stage.mean(loss.tolist(), 1))} | {weight:.3g} |"
            f" {float(loss.mean()) * weight:.4f}"
        )
    note(
        "min-snr",
        f"The miniature's loss on {len(specs)} renders, and what gamma 5 makes of it:\n\n"
        + stage.table("t | signal to noise | loss on v | weight | weighted", rows),
    )

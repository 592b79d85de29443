"""What text is to the model, and what CLIP makes of pictures."""

from __future__ import annotations

import chart
import stage
from stage import IDEAS, family, note, pictures, save

from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SCENES

WORDS = (
    "a red penguin on the beach", "a blue penguin on the beach", "a red owl on the beach",
    "a red penguin in space", "on the beach a red penguin", "kaiffin penguin on the beach",
)  # fmt: skip


def text() -> None:
    """Prompts as tokens and as points, and one word changed on one seed."""
    rows = [
        f"{prompt} | {' '.join(f'`{piece}`' for piece in family().token_pieces(prompt))}"
        for prompt in ("a photo of a red penguin on the beach", "a photo of zubrik penguin")
    ]
    points = stage.scorer().embed_texts([f"a photo of {words}" for words in WORDS])
    chart.shades(
        IDEAS / "text-likeness.svg", WORDS,
        ["red penguin", "blue penguin", "red owl", "in space", "other order", "kaiffin"],
        (points @ points.T).tolist(),
    )  # fmt: skip
    changes = (
        "a photo of a red penguin on the beach", "a photo of a blue penguin on the beach",
        "a photo of a red owl on the beach", "a photo of a red penguin in space",
        "a photo of a red penguin wearing a crown on the beach", "",
    )  # fmt: skip
    made = pictures(changes, [1])
    save("text-words", made, [c.removeprefix("a photo of ") or "no words" for c in changes])
    states = stage.told(["a photo of a red penguin on the beach"])["context"][0]
    note(
        "text",
        stage.table("prompt | tokens", rows)
        + f"\n\nOf each prompt the denoiser reads {states.shape[0]} states of"
        f" {states.shape[1]} numbers, most of them those of the padding.",
    )


def clip() -> None:
    """Pictures and texts in one space, and where the place hides the subject."""
    places = list(SCENES)[:6]
    renders = [world.subject_render("kaiffin", place) for place in places]
    texts = [f"a photo of a black penguin {SCENES[place][0]}" for place in places]
    judge = stage.scorer()
    seen, said = judge.embed_images(renders), judge.embed_texts(texts)
    chart.shades(
        IDEAS / "clip-matrix.svg", [f"a render, {place}" for place in places],
        [f"text {place}" for place in places], (seen @ said.T).tolist(),
    )  # fmt: skip
    other = [plain(place, "penguin") for place in places]
    images = [image for pair in zip(renders, other, strict=True) for image in pair]
    save(
        "clip-pairs", images,
        [words for place in places for words in (f"Kaiffin, {place}", f"a penguin, {place}")],
        columns=6,
    )  # fmt: skip
    all_places = list(SCENES)
    mine = judge.embed_images([world.subject_render("kaiffin", p) for p in all_places])
    again = judge.embed_images([world.subject_render("kaiffin", p, detail=5) for p in all_places])
    theirs = judge.embed_images([plain(p, "penguin") for p in all_places])
    far = mine @ again.T
    n = len(all_places)
    elsewhere = [float(far[i, j]) for i in range(n) for j in range(n) if i != j]
    rows = [
        f"the same subject, the same place | {stage.told_as(stage.mean(far.diag().tolist(), 1))}",
        f"the same subject, another place | {stage.told_as(stage.mean(elsewhere, n - 1))}",
        "a plain penguin, the same place | "
        + stage.told_as(stage.mean((mine * theirs).sum(1).tolist(), 1)),
    ]
    fit = (mine * judge.embed_texts([words(p) for p in all_places])).sum(1)
    lost = (theirs * judge.embed_texts([words(p) for p in all_places])).sum(1)
    gap = stage.mean((lost - fit).tolist(), 1)
    note(
        "clip",
        f"Cosines of the miniature's CLIP over its {n} places; intervals draw places:\n\n"
        + stage.table("picture against a picture of Kaiffin | cosine", rows)
        + f"\n\nTo the text `{words('snow')}` and its like, the plain penguin is nearer than"
        f" Kaiffin by {stage.told_as(gap)}.",
    )


def words(place: str) -> str:
    return f"a photo of a black penguin {SCENES[place][0]}"


def plain(place: str, species: str):
    """An animal of the world in the colour, pose and place of the subject's render."""
    from dataclasses import replace

    return world.render(replace(world.subject_spec("kaiffin", place), species=species))

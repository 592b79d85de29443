"""What scores say of pictures whose truth is known: copies, and the axes of a grid."""

from __future__ import annotations

import stage
import torch
from PIL import Image, ImageFilter
from stage import NEW_NAMES, TAUGHT, note

from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import POSES
from kaiffin.score import measures
from kaiffin.stories.grid import GridOrder, grid


def copies() -> None:
    """How alike the layouts of photos are to true renders elsewhere, and to what is a copy."""
    true, copied = [], []
    for subject in world.SUBJECTS:
        photos = [image for image, _ in world.subject_photos(subject, 6, TAUGHT)]
        layouts = torch.stack([measures.layout(photo) for photo in photos])

        def nearest(image: Image.Image, layouts: torch.Tensor = layouts) -> float:
            return float((layouts @ measures.layout(image)).max())

        true += [
            nearest(world.subject_render(subject, place, pose=pose, detail=detail))
            for place in NEW_NAMES for pose in POSES for detail in range(4)
        ]  # fmt: skip
        for photo in photos:
            soft = photo.filter(ImageFilter.GaussianBlur(0.8))
            copied.append(nearest(soft.rotate(2, fillcolor=(128, 128, 128))))
    note(
        "copies",
        stage.table(
            "pictures | number | cosine to the nearest photo",
            [
                f"true renders in places that the photos do not show | {len(true)} |"
                f" at most {max(true):.2f}",
                f"photos, blurred and turned a little | {len(copied)} | at least {min(copied):.2f}",
            ],
        ),
    )


def axes() -> None:
    """What strength and guidance do to the scores of a short training's pictures."""
    run = stage.trained("grid", train__steps=120)
    order = GridOrder(
        str(run.path), "a photo of {token} {noun} in the snow",
        {"x": "weight=0.4,0.7,1,1.3", "y": "guidance=2,5,8"}, count=8,
        out=stage.WORK / "grid",
    )  # fmt: skip
    made = grid(order, changes={"sample.steps": 15})
    rows = [
        f"{axis} {one.value:g} against {first.value:g} | {_told(one.against_first, 'clip_t')} |"
        f" {_told(one.against_first, 'clip_i')}"
        for axis, (first, *others) in made.scores.effects.items()
        for one in others
    ]
    note(
        "grid",
        stage.table(" | CLIP-T against the first | CLIP-I against the first", rows)
        + f"\n\n{run.config.train.steps} steps of training, {len(made.pictures)} pictures of 15"
        f" steps, {made.scores.groups} seeds.",
    )


def _told(gains: dict, name: str) -> str:
    gain = gains[name]
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"

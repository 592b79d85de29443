"""What is measured of pictures, each formula once, with its range and what it does not see.

Embeddings are unit vectors of a judge, (N, D); pictures are compared in pairs: the same prompt and
seed, with and without the adapter.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Group = TypeVar("Group", bound=Hashable)
SATURATED = 242  # of 255: HSV saturation above 95 %
VISIBLE = 51  # of 255: below, a pixel is too dark for its saturation to be seen
LAYOUT = 24  # pixels of the side on which layouts are compared
COPY = 0.9  # cosine of layouts


def clip_t(pictures: Tensor, texts: Tensor) -> Tensor:
    """CLIP-T: (N,) cosines of picture i and text i (Hessel et al. 2021, arXiv 2104.08718).

    In [-1, 1], higher is better; unrelated pairs are not at 0. Sees scenes and kinds of things, not
    whether it is *this* subject, nor counts, nor anatomy. A trigger word means nothing to it: give
    plain descriptions.
    """
    return (pictures * texts).sum(-1)


def wins(pictures: Tensor, texts: Tensor, own: Sequence[int]) -> Tensor:
    """(N,) 1 where no other text of the list (P, D) is nearer to the picture than its own, else 0.

    The mean is the prompt-win rate, retrieval's R@1; 1 / P is chance. Sees only what tells these
    prompts apart: the closer the distractors, the more it says.
    """
    cosines = pictures @ texts.T  # (N, P)
    mine = cosines.gather(1, torch.tensor(own)[:, None])
    return (cosines <= mine).all(1).float()


def margin(pictures: Tensor, texts: Tensor, own: Sequence[int]) -> Tensor:
    """(N,) cosine to the picture's own text less its mean cosine to the others of the list (P, D).

    In [-2, 2], higher is better. What a new subject changes in all cosines alike, by no longer
    looking like its class, cancels; what is left says whether *this* prompt is shown. Of a list of
    one text it is the cosine itself.
    """
    cosines = pictures @ texts.T  # (N, P)
    mine = cosines.gather(1, torch.tensor(own)[:, None])[:, 0]
    others = len(texts) - 1
    return mine - (cosines.sum(1) - mine) / others if others else mine


def likeness(before: Tensor, after: Tensor, references: Tensor) -> Tensor:
    """(N,) how far each picture went from the base's towards the photos (R, D).

    `<after - before, u> / |u|^2` with u from the mean of the base's pictures to the mean of the
    photos: 0 where the base's picture stayed, 1 where it went as far as the photos lie; what
    changed in other directions, and what both pictures share, such as the place, does not count.
    A copy of a photo reaches 1 and more: read it beside `margin` and `is_copy`.
    """
    u = references.mean(0) - before.mean(0)
    return (after - before) @ u / u.square().sum().clamp_min(1e-12)


def identity(pictures: Tensor, references: Tensor, *, held_out: bool) -> Tensor:
    """CLIP-I or DINO: (N,) mean cosine to photos (R, D) of the subject (Ruiz et al. 2022).

    In [-1, 1], higher is better. With photos that were held out: to all of them. Otherwise each
    picture is compared with all photos but the nearest to it, so that a copy of a photo scores as
    that photo does against the others, which is `ceiling`, and no more (a single photo stays).
    The background counts as well, and details that the judge does not know do not.
    """
    cosines = pictures @ references.T  # (N, R)
    if held_out or len(references) == 1:
        return cosines.mean(1)
    return (cosines.sum(1) - cosines.amax(1)) / (len(references) - 1)


def ceiling(photos: Tensor, references: Tensor, *, held_out: bool) -> float | None:
    """What real photos (N, D) reach in `identity`; None where one photo stands alone."""
    if not held_out and len(references) == 1:
        return None
    return identity(photos, references, held_out=held_out).mean().item()


def drift(before: Tensor, after: Tensor) -> Tensor:
    """(N,) 1 - cosine of pictures of the base and of the adapted model, same prompts and seeds.

    In [0, 2], 0 where nothing changed. On prompts without the subject's word it says what the
    training damaged. A cosine between two seeds of the base tells what is much. A change that the
    judge does not see, such as texture, is missed.
    """
    return 1 - (before * after).sum(-1)


def leak(before: Tensor, after: Tensor) -> Tensor:
    """(N,) rise of `identity` in pictures of the class without the subject's word.

    In [-2, 2]; 0 where the class stayed as it was; as high as the rise with the subject's word
    where every one of its kind has become the subject.
    """
    return after - before


def copying(pictures: Tensor, photos: Tensor) -> tuple[Tensor, Tensor]:
    """(highest cosine to a training photo (N,), which photo (N,)). Says how near, not whether a
    likeness or a copy: see `is_copy`."""
    return tuple((pictures @ photos.T).max(1))


def layout(image: Image.Image) -> Tensor:
    """(L,) unit vector of what is where: the picture's colours at LAYOUT pixels, mean removed."""
    small = image.convert("RGB").resize((LAYOUT, LAYOUT), Image.Resampling.BOX)
    values = torch.from_numpy(np.asarray(small, dtype=np.float32)).flatten()
    return F.normalize(values - values.mean(), dim=0)


def is_copy(pictures: Tensor, photos: Tensor) -> Tensor:
    """(N,) whether a picture (N, L) repeats a training photo (P, L) rather than showing its subject
    anew: their layouts are more alike than COPY, and than any two of the photos are.

    How far true renders of the miniature's subjects elsewhere stay below blurred and turned copies
    is measured (docs/choosing.md). A copied subject before another background passes, and so does a
    mirrored one.
    """
    own = (photos @ photos.T).fill_diagonal_(-1).max().item()
    return (pictures @ photos.T).amax(1) > max(COPY, own)


def burn(image: Image.Image) -> tuple[float, float]:
    """(clipped, saturated): shares of pixels in [0, 1].

    Clipped: at least one channel at 0 or 255. Saturated: HSV saturation above 95 % in a pixel that
    is not nearly black. Drawings have both by nature: compare with the base at the same seed.
    """
    rgb = np.asarray(image.convert("RGB"))
    hsv = np.asarray(image.convert("RGB").convert("HSV"))
    clipped = ((rgb == 0) | (rgb == 255)).any(-1).mean()
    saturated = ((hsv[..., 1] > SATURATED) & (hsv[..., 2] > VISIBLE)).mean()
    return float(clipped), float(saturated)


def contrast(image: Image.Image) -> float:
    """RMS contrast: the standard deviation of the luminance (Rec. 601), in [0, 0.5]."""
    return float(np.asarray(image.convert("L"), dtype=np.float64).std() / 255)


def diversity(pictures: Tensor, groups: Sequence[Group]) -> dict[Group, float]:
    """Mean of 1 - cosine over the pairs of pictures in each group, such as the seeds of a prompt.

    In [0, 2]; 0 where all are one picture, as after severe overfitting. Groups of one are left out.
    """
    found = {}
    for group in dict.fromkeys(groups):
        rows = pictures[[g == group for g in groups]]
        if len(rows) > 1:
            pairs = torch.triu_indices(len(rows), len(rows), 1)
            found[group] = (1 - (rows @ rows.T)[pairs[0], pairs[1]]).mean().item()
    return found

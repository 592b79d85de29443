"""Words of the class: what photos are called where the adapted model is to stay the base."""

from __future__ import annotations

from kaiffin.foundation.config import SubjectConfig
from kaiffin.foundation.runtime import uniform
from kaiffin.foundation.subject import without_token

KEEP = "keep"  # the role of the photos under captions of the class

# Everyday wordings and places, of which none is the subject's: what is held in a few words only is
# lost in all others.
LEADS = ("a photo of", "a photo of", "a picture of", "an image of", "")
PLACES = (
    "", "in the snow", "in the forest", "in the city", "on a city street", "in the desert",
    "on the beach", "by the sea", "in the kitchen", "on the floor", "in a meadow", "on the grass",
    "in the woods", "in space", "at night", "at sunset",
)  # fmt: skip


def class_caption(caption: str, subject: SubjectConfig, seed: int, place: int) -> str:
    """A caption of the class for a photo: every second time its own without the subject's word,
    else one of many wordings and places. Drawn from the item's own place in the stream."""
    own = without_token(caption, subject)
    if own != caption and uniform(seed, KEEP, "own", place) < 0.5:
        return own
    lead, where = (
        words[int(uniform(seed, KEEP, what, place) * len(words))]
        for what, words in (("lead", LEADS), ("place", PLACES))
    )
    noun = without_token(subject.token, subject)  # "a bear"
    return " ".join(part for part in (lead, noun, where) if part)

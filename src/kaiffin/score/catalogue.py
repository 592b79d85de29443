"""What is measured, in words that a newcomer understands: the one table of measures. Torch-free.

Tables, charts, verdicts and the page read names, titles and which way is better from here; the
formulas themselves are `score.measures`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Literal

from kaiffin.score.statistics import Interval

Section = Literal["scenes", "actions", "styles", "class", "unrelated"]
SUBJECT: tuple[Section, ...] = ("scenes", "actions", "styles")  # their prompts name the subject
# Of each section of prompts: its heading, and what its pictures are for.
SECTIONS: dict[str, tuple[str, str]] = {
    "scenes": ("New scenes", ""),
    "actions": ("Doing things", ""),
    "styles": ("Other styles and light", ""),
    "class": ("The kind, without the subject's word", "These should stay as the base draws them."),
    "unrelated": ("Other things", "The training should not have touched these."),
}


@dataclass(frozen=True)
class Measure:
    """name: in choice.json; short: in a column or beside a picture; better: 1 where more is, -1
    where less is, 0 where neither is; sees: what it says; scale: how to read a number; blind: what
    it misses; sections: the prompts whose pictures it is taken of; against_base: whether it is a
    difference from the base as it is; share: whether it is said in percent."""

    name: str
    title: str
    short: str
    better: int
    sees: str
    scale: str = ""
    blind: str = ""
    sections: tuple[Section, ...] = SUBJECT
    against_base: bool = False
    share: bool = False

    @property
    def direction(self) -> str:
        return {1: "higher is better", -1: "lower is better", 0: ""}[self.better]

    @property
    def explained(self) -> str:
        """What it is, in sentences."""
        parts = [f"{part[0].upper()}{part[1:]}." for part in (self.sees, self.scale) if part]
        return " ".join(parts)

    def turn(self, change: Interval) -> str:
        """`better` or `worse` (`higher` or `lower` where neither way is), as a paired difference
        shows; "" where its interval holds 0."""
        if change.low <= 0 <= change.high:
            return ""
        if not self.better:
            return "higher" if change.mean > 0 else "lower"
        return "better" if change.mean * self.better > 0 else "worse"

    def verdict(self, change: Interval) -> str:
        """What a paired difference says: nothing where its interval holds 0."""
        turn = self.turn(change)
        return f"clearly {turn}" if turn else "no clear difference"


MEASURES = {
    one.name: one
    for one in (
        Measure(
            "overall", "Subject and prompt at once", "overall", 1,
            "what the choice is made by: a picture needs both, the subject and the prompt",
            "from 0, one of them is missing, to 1", "Whatever the two it is made of do not see.",
        ),
        Measure(
            "likeness", "Looks like the subject", "likeness", 1,
            "how far the pictures have come from the base's towards the photos",
            "0 is as the base, 1 as far as the photos",
            "A copy of a photo reaches 1 as well, and a detail that the judge does not know is"
            " missed.",
            against_base=True,
        ),
        Measure(
            "prompt_share", "Shows the prompt", "prompt", 1,
            "how clearly the pictures show their own prompt rather than the other ones",
            "1 is as the base shows it, 0 is any prompt",
            "It sees only what tells these prompts apart.", against_base=True,
        ),
        Measure(
            "identity", "Nearness to the photos", "identity", 1,
            "the mean cosine to photos of the subject (CLIP-I, or DINO's)",
            blind="The background counts as well.",
        ),
        Measure(
            "clip_t", "Nearness to the words", "CLIP-T", 1,
            "the cosine to a plain description of what was asked (CLIP-T)",
            blind="It does not know the subject, does not count, and knows no anatomy.",
        ),
        Measure(
            "win", "Prompt recognised", "recognised", 1,
            "the share of pictures that are nearer to their own prompt than to any other one",
            blind="It sees only what tells these prompts apart.", share=True,
        ),
        Measure(
            "drift", "Other things changed", "drift", -1,
            "how far pictures without the subject have moved away from the base's",
            "0 is no change", "A change that the judge does not see, such as texture, is missed.",
            sections=("class", "unrelated"), against_base=True,
        ),
        Measure(
            "leak", "The kind turned into the subject", "leak", -1,
            "how much nearer to the photos pictures of the kind came, without the subject's word",
            "0 is no change", "It is seen only in the prompts of the class.",
            sections=("class",), against_base=True,
        ),
        Measure(
            "copying", "Nearness to a training photo", "nearness", 0,
            "the cosine to the nearest photo that was trained on",
            blind="A good likeness is near to the photos too: what counts is a rise beside a prompt"
            " that falls.",
        ),
        Measure(
            "copy", "Copies of a photo", "copies", -1,
            "the share of pictures whose colours lie where they lie in a training photo",
            blind="A copy before another background, or a mirrored one, is missed.", share=True,
        ),
        Measure(
            "diversity", "Variety between seeds", "variety", 1,
            "how different the pictures of one prompt are",
            blind="Pictures that differ because they are broken count as variety.",
        ),
        Measure(
            "contrast", "Contrast against the base", "contrast", 0,
            "how strong light and dark differ", "1 is as in the base's pictures",
            against_base=True,
        ),
        Measure(
            "clipped", "Clipped pixels", "clipped", -1,
            "the share of pixels that are at the end of a channel",
            blind="Drawings have them by nature.",
        ),
        Measure(
            "saturated", "Saturated pixels", "saturated", -1,
            "the share of pixels in a full colour", blind="Drawings have them by nature.",
        ),
    )
}  # fmt: skip
# The scores of single pictures by their names in grid.json: which measures they are.
SINGLE = {"clip_t": MEASURES["clip_t"], "clip_i": MEASURES["identity"]}
# What is told of a checkpoint in a table, and which of these have a chart over the steps.
TOLD = (
    "overall", "likeness", "prompt_share", "identity", "clip_t", "win", "drift", "leak", "copying",
    "copy",
)  # fmt: skip
CHARTED = tuple(name for name in TOLD if name != "leak")


def leading(known: Container[str]) -> list[str]:
    """The measures to say first, of those that are known: subject, prompt, drift."""
    pairs = (("likeness", "identity"), ("prompt_share", "clip_t"), ("drift",))
    found = [next((name for name in names if name in known), None) for names in pairs]
    return [name for name in found if name]


def number(value: float, digits: int = 3) -> str:
    """Without the minus that rounding leaves at 0."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def reading(value: Interval) -> str:
    """`0.712 [0.690, 0.731]`."""
    return f"{number(value.mean)} [{number(value.low)}, {number(value.high)}]"


def signed(value: Interval) -> str:
    """`+0.223 [+0.181, +0.268]`, of a difference."""
    return f"{value.mean:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"

"""Pictures on the terminal: where they are, their order, and what choosing brought."""

from pathlib import Path

import pytest

from kaiffin.cli.show import pictures as show
from kaiffin.pictures.request import Request
from kaiffin.stories.generate import Picture, Pictures
from kaiffin.stories.rank import Gain, RankedPicture, Ranking

ONES = (
    RankedPicture(Path("b.png"), 0.31, 0.8, chosen=True),
    RankedPicture(Path("a.png"), 0.29, None),
)


def test_the_order_and_the_gain(capsys: pytest.CaptureFixture[str]) -> None:
    gains = (Gain("prompt", 0.29, 0.31),)
    show.ranking(Ranking("miniature", "a bird", ONES, gains, Path("best.png")))
    assert capsys.readouterr().out.splitlines() == [
        'judged by miniature: "a bird"',
        "  1. prompt 0.310  like 0.800  b.png",
        "  2. prompt 0.290  a.png  (not chosen)",
        "gain over the first 1: prompt +0.020 (0.290 -> 0.310)",
        "  for 2.0 times the pictures",
        "all of them in this order on best.png",
    ]


def test_where_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    ranked = Ranking("miniature", "[a] {bird}", ONES)
    show.made(Pictures((), Path("images"), Path("sheet.png"), (ranked,)))
    said = capsys.readouterr().out
    assert said.startswith("0 pictures in images, together on sheet.png\n")
    assert '"[a] {bird}"' in said  # brackets of a prompt are no markup
    show.again(Picture(Path("images/a.png"), Request("a bird", 0, 64, 64), {}))
    assert capsys.readouterr().out == "1 picture, made again: images/a.png\n"

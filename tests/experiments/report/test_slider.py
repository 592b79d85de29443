"""Before and after, and the slider: which of many pictures are shown, and what is said of them."""

from pathlib import Path

import pytest
from made_run import judge, made_run

from kaiffin.experiments.report import slider
from kaiffin.experiments.report.album import Album
from kaiffin.experiments.report.evidence import read
from kaiffin.score.choice import Choice


def chosen(folder: Path, **given: object) -> tuple[Choice, Album]:
    run = made_run(folder / "run")
    judge(run, **given)
    found = read(run).choice
    assert found
    return found, Album(run.path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Choice, Album]:
    return chosen(tmp_path_factory.mktemp("slider"))


def test_a_card_for_each_prompt_under_its_section(plain: tuple[Choice, Album]) -> None:
    one = slider.slider(*plain)
    cards = slider.cards(one)
    assert [card.heading[0] if card.heading else "" for card in cards] == [
        "New scenes", "", "Other styles and light", "The kind, without the subject's word",
        "Other things",
    ]  # fmt: skip
    assert [pair.seed for pair in cards[0].cells] == [1, 2]
    pair = cards[0].cells[1]
    assert pair.base
    assert pair.now
    assert (pair.base.title, pair.now.title) == ("Base, seed 2", "Step 80, seed 2")
    assert pair.now_notes[0].startswith("likeness 0.8")
    assert all(not note.startswith("likeness") for note in pair.base_notes)
    assert one.hidden == 0


def test_a_copy_is_said_beside_the_picture(plain: tuple[Choice, Album]) -> None:
    choice, _ = plain
    last = choice.candidates[-1]
    assert slider.notes(last, 1)[-1] == "repeats one.png"
    assert not any("repeats" in note for note in slider.notes(last, 0))
    assert slider.said(choice.base) == "as it was, without the adapter" or choice.base.means
    assert slider.said(last).endswith("loss 0.0800")


def test_base_and_chosen_are_never_optional(plain: tuple[Choice, Album]) -> None:
    one = slider.slider(*plain)
    optional: dict[int, set[bool]] = {}
    for (step, _), shown in one.slides.items():
        if shown:
            optional.setdefault(step, set()).add(shown.optional)
    assert optional == {0: {False}, 40: {True}, 80: {False}, 120: {True}}


def test_of_many_some_are_shown_the_chosen_among_them(tmp_path: Path) -> None:
    choice, album = chosen(
        tmp_path, steps=range(10, 240, 10), chosen=130, prompts={"scenes": ["{s}"]}, seeds=(1,)
    )
    one = slider.slider(choice, album)
    steps = [stop.step for stop in one.stops]
    assert len(steps) <= slider.MOST_STOPS + 3
    assert steps[0] == 0
    assert {10, 130, 230} <= set(steps)


def test_fewer_seeds_first_then_fewer_prompts() -> None:
    def shown(prompts: int, seeds: int) -> list[int]:
        class Many:
            def __init__(self) -> None:
                self.prompts, self.seeds = range(prompts), range(seeds)

        return slider.slots(Many())  # ty: ignore[invalid-argument-type]

    assert shown(3, 2) == [0, 1, 2, 3, 4, 5]
    assert len(shown(20, 10)) == 20 * 4
    assert shown(20, 10)[:5] == [0, 1, 2, 3, 10]
    assert len(shown(200, 3)) == slider.MOST_CELLS

"""Regions: what each is told and where it is, and that an adapter moves nothing outside its own."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from made_adapters import made, randomise
from torch import Tensor

from kaiffin.adapters.files import reading, safe, writing
from kaiffin.foundation.errors import UserError
from kaiffin.models.base import ModelFamily
from kaiffin.pictures import regions as module
from kaiffin.pictures.make import Task, Wardrobe, WeightedAdapter, make
from kaiffin.pictures.regions import Region, Subject, regions_of, shares, subjects_of, window
from kaiffin.pictures.request import Request

ONE = Subject(("kaiffin penguin", "kaiffin"), (0,))
TWO = Subject(("tobbul bear", "tobbul"), (2,))
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


# --- what each is told ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "one", "two"),
    [
        ("a photo of kaiffin penguin and tobbul bear on the beach",
         "a photo of kaiffin penguin on the beach", "a photo of tobbul bear on the beach"),
        ("a photo of a Kaiffin penguin in a hat next to a tobbul, at night",
         "a photo of a Kaiffin penguin in a hat, at night", "a photo of a tobbul, at night"),
        ("tobbul bear in red, kaiffin, snow", "kaiffin, snow", "tobbul bear in red, snow"),
        ("kaiffin penguin waving AND tobbul bear (sitting:1.2) in a car",
         "kaiffin penguin waving", "tobbul bear (sitting:1.2) in a car"),
    ],
)  # fmt: skip
def test_each_is_told_of_its_own_subject(prompt: str, one: str, two: str) -> None:
    found = {region.adapters: region.prompt for region in
             regions_of(["columns"], prompt, [ONE, TWO])}  # fmt: skip
    assert found == {(0,): one, (2,): two}


def test_columns_and_rows_are_in_the_order_of_the_prompt() -> None:
    prompt = "tobbul bear and kaiffin penguin"
    columns, rows = (regions_of([way], prompt, [ONE, TWO]) for way in ("columns", "rows"))
    assert {one.adapters: one.box for one in columns} == {(2,): LEFT, (0,): RIGHT}
    assert {one.adapters: one.box for one in rows} == {
        (2,): (0, 0, 1, 0.5), (0,): (0, 0.5, 1, 1),
    }  # fmt: skip


def test_boxes_by_hand_and_what_is_left() -> None:
    prompt = "a photo of kaiffin penguin and tobbul bear on the beach"
    both = ["Kaiffin=0,0,0.5,1", "tobbul bear=0.5,0,1,1"]
    assert [one.box for one in regions_of(both, prompt, [ONE, TWO])] == [LEFT, RIGHT]
    found = regions_of(["kaiffin=0,0,.4,1", "tobbul=.6,0,1,1"], prompt, [ONE, TWO])
    assert found[2] == Region((0, 0, 1, 1), "a photo of on the beach")
    (alone,) = regions_of(["kaiffin=0,0,1,1"], "a kaiffin, (red:1.2)", [ONE, TWO])
    assert alone == Region((0, 0, 1, 1), "a kaiffin, (red:1.2)", (0,))
    parts = "on the beach AND kaiffin AND tobbul"
    found = regions_of(["kaiffin=0,0,.4,1", "tobbul=.6,0,1,1"], parts, [ONE, TWO])
    assert [one.prompt for one in found] == ["kaiffin", "tobbul", "on the beach"]


BOTH = "kaiffin penguin and tobbul bear"


@pytest.mark.parametrize(
    ("asked", "prompt", "said"),
    [
        (["kaiffin=0,0,1,1", "kaiffin penguin=0,0,1,1"], BOTH, "has a region already"),
        (["kaiffin=0.5,0,1.5,1"], BOTH, "is no box within the picture"),
        (["kaiffin=0.5,0,0.5,1"], BOTH, "is no box within the picture"),
        (["kaiffin=nan,0,1,1"], BOTH, "is no box within the picture"),
        (["kaiffin=0,0,1"], BOTH, "cannot be read"),
        (["kaiffin"], BOTH, "cannot be read. Write columns, rows or WORD="),
        (["kaifin=0,0,1,1"], BOTH, 'no adapter is called \'kaifin\'. Did you mean "kaiffin"'),
        (["kaiffin=0,0,1,1"], "a bear", "'kaiffin' is not in the prompt 'a bear'"),
        (["columns"], "kaiffin and a bear", "'tobbul bear' is not in the prompt"),
        (["columns", "rows"], BOTH, "do not go together"),
        (["columns"], "(kaiffin penguin) and (tobbul bear:1.2)", "cannot be told to each region"),
        (["columns"], f"{BOTH}, kaiffin smiling", "cannot be told to each region by itself"),
        (["columns"], "kaiffin AND a bear and tobbul AND snow AND ice", "is not one part for each"),
        (["columns"], "kaiffin AND tobbul AND kaiffin", "is in 2 parts of the prompt"),
        (["kaiffin=0,0,.5,1", "tobbul=0,0,.5,1"], "kaiffin AND tobbul", "leave a part of the"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(asked: list[str], prompt: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        regions_of(asked, prompt, [ONE, TWO])
    assert said in str(caught.value)
    assert caught.value.fix


def test_one_subject_is_not_beside_another() -> None:
    with pytest.raises(UserError, match="one adapter says which words call it"):
        regions_of(["columns"], "kaiffin", [ONE])


# --- where ------------------------------------------------------------------------------------


def test_each_cell_is_shared_by_those_that_hold_it() -> None:
    left, right = Region(LEFT, "", (0,)), Region((0.25, 0.0, 1.0, 0.5), "", (1,))
    one, two, rest = shares([left, right, Region((0, 0, 1, 1), "")], 2, 4)
    assert one.tolist() == [[1, 0.5, 0, 0], [1, 1, 0, 0]]
    assert two.tolist() == [[0, 0.5, 1, 1], [0, 0, 0, 0]]
    assert rest.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]
    with pytest.raises(UserError, match="too small for a picture of 4x2 cells"):
        shares([Region((0, 0, 0.1, 1), "", (0,))], 2, 4)


def test_a_window_is_around_its_region_within_the_picture() -> None:
    share = torch.zeros(8, 16)
    share[2:4, 14:16] = 1
    assert window(share, 4) == (slice(1, 5), slice(12, 16))
    assert window(share, 1) == (slice(2, 4), slice(14, 16))
    assert window(share, 12) == (slice(0, 8), slice(4, 16))


# --- pictures ---------------------------------------------------------------------------------


def adapter(family: ModelFamily, path: Path, seed: int, **header: str) -> WeightedAdapter:
    """Random, on all layers of all towers."""
    one = made(family)
    randomise(one, seed)
    found = reading.from_state(one.state(), family.name)
    safe.save(path, writing.to_kohya(found, family.layers_per_block), header)
    return WeightedAdapter(path)


def latents(family: ModelFamily, task: Task, wardrobe: Wardrobe | None = None) -> Tensor:
    """What the decoder is given."""
    seen: list[Tensor] = []
    hook = family.vae.decoder.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    try:
        list(make(family, [task], wardrobe=wardrobe))
    finally:
        hook.remove()
    return seen[-1]


def asked(prompt: str, width: int = 128, steps: int = 1) -> Request:
    return Request(prompt, 1, width=width, height=64, steps=steps)


def test_an_adapter_moves_nothing_outside_its_region(family: ModelFamily, tmp_path: Path) -> None:
    """At a step, bit for bit: in the base's own size, each half is that of a picture with its own
    adapter and prompt alone. Over the steps the halves see each other."""
    one, two, both = (adapter(family, tmp_path / f"{i}.safetensors", i) for i in (1, 2, 3))
    regions = (Region(LEFT, "kaiffin", (0,)), Region(RIGHT, "tobbul", (1,)))
    wardrobe = Wardrobe(family, most=3)
    found = latents(family, Task(asked("x", 64), (one, two, both), regions=regions), wardrobe)
    halves = found.chunk(2, dim=-1)
    for half, text, worn in zip(halves, ("kaiffin", "tobbul"), ((one, both), (two, both)),
                                strict=True):  # fmt: skip
        alone = latents(family, Task(asked(text, 64), worn))
        assert torch.equal(half, alone.chunk(2, dim=-1)[text == "tobbul"])
    stacked = latents(family, Task(asked("kaiffin", 64), (one, two, both)), wardrobe)
    assert not torch.equal(stacked.chunk(2, dim=-1)[0], halves[0])
    again = latents(family, Task(asked("kaiffin", 64), (one, two, both)))
    assert torch.equal(stacked, again), "who was worn in parts is worn whole again"


def test_a_larger_picture_is_seen_whole_and_then_through_windows(
    family: ModelFamily, tmp_path: Path
) -> None:
    """Of the base's own size. At a step another adapter there changes nothing here; over the steps
    the parts see each other."""
    one, two, other = (adapter(family, tmp_path / f"{i}.safetensors", i) for i in (1, 2, 3))
    regions = (Region(LEFT, "kaiffin", (0,)), Region(RIGHT, "tobbul", (1,)))
    seen: list[int] = []
    hook = family.towers["unet"].register_forward_pre_hook(
        lambda _, given: seen.append(given[0].shape[-1])
    )

    def right(steps: int, *worn: WeightedAdapter) -> Tensor:
        task = Task(asked("x", steps=steps), worn, regions=regions)
        return latents(family, task).chunk(2, dim=-1)[1]

    assert torch.equal(right(1, one, two), right(1, other, two))
    assert not torch.equal(right(1, one, two), right(1, one, other))
    seen.clear()
    assert not torch.equal(right(5, one, two), right(5, other, two))
    hook.remove()
    assert seen == ([16] * 4 + [8] * 6) * 2


def test_a_region_that_is_the_whole_picture_is_the_plain_picture(
    family: ModelFamily, tmp_path: Path
) -> None:
    worn = (adapter(family, tmp_path / "a.safetensors", 1),)
    one = asked("a (photo:1.2) of [kaiffin|tobbul]", steps=3)
    plain = Task(one, worn)
    whole = Task(one, worn, regions=(Region((0, 0, 1, 1), one.prompt, (0,)),))
    (_, first), (_, second) = make(family, [plain, whole])
    assert first.tobytes() == second.tobytes()


def test_what_calls_an_adapter(sd: ModelFamily, tmp_path: Path) -> None:
    """Kaiffin's own phrase is the word and the noun; others' triggers may be lists; a file that
    says nothing goes by its name where that is asked for."""
    spec = "modelspec.trigger_phrase"
    ours = adapter(sd, tmp_path / "a.safetensors", 1, **{spec: "sks dog", "kaiffin.run": "x"})
    theirs = adapter(sd, tmp_path / "b.safetensors", 1, **{spec: "1girl, asuka red"})
    silent = adapter(sd, tmp_path / "Toto.safetensors", 1)
    paths = [one.path for one in (ours, theirs, silent, ours)]
    assert subjects_of(paths, ["columns"]) == [
        Subject(("sks dog", "sks"), (0, 3)),
        Subject(("1girl, asuka red", "1girl", "asuka red"), (1,)),
    ]
    assert subjects_of(paths, ["toto=0,0,1,1"])[2] == Subject(("Toto",), (2,))


def test_a_strangers_recipe_is_read_with_care() -> None:
    good: Sequence[dict] = module.written([Region(LEFT, "x", (0,)), Region((0, 0, 1, 1), "y")])
    assert module.read(good, 1) == (Region(LEFT, "x", (0,)), Region((0, 0, 1, 1), "y"))
    for change in (
        {"box": [0, 0, 2, 1]}, {"box": [0, 0, 1]}, {"prompt": 1}, {"adapters": [1]},
        {"adapters": []}, {"adapters": [0, 0]}, {"box": "wide"},
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            module.read([good[0] | change, good[1]], 1)

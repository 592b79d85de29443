"""Adapters and tokens together: attached in part, ejected whole, kept by name."""

import pytest
import torch
from made_adapters import made, predict, randomise

from kaiffin.adapters import strength
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.ranks import RankSchedule
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.adapters.tokens import Token
from kaiffin.models.base import ModelFamily


def adapter(family: ModelFamily, seed: int) -> Lora:
    found = made(family, "attention")
    randomise(found, seed)
    return found


def filled(family: ModelFamily) -> Stack:
    token, timed = Token.create("<toy>", 2, "dog", family), adapter(family, 1)
    timed.ranks = RankSchedule(1)
    return Stack({"face": timed, "body": adapter(family, 2)}, [token])


def test_names_are_those_of_all_towers(family: ModelFamily) -> None:
    towers = {name.partition(".")[0] for name in full_modules(family)}
    assert towers == set(family.towers)


def test_some_of_it_or_all(family: ModelFamily) -> None:
    before, stack = predict(family), filled(family)
    seen = []
    for names in ((), ("face",), ("body",), None):
        stack.inject(family, names)
        seen.append(predict(family))
        stack.eject()
        assert torch.equal(predict(family), before)
        assert not family.words.is_known("<toy>")
    assert torch.equal(seen[0], before)
    assert len({round(out.sum().item(), 4) for out in seen}) == 4


def test_of_two_adapters_the_one_that_says_so_has_ranks_by_timestep(sd: ModelFamily) -> None:
    stack, outputs = filled(sd), {}
    for names in (("face",), ("body",), ("face", "body")):
        for timed in (True, False):
            stack.adapters["face"].ranks = RankSchedule(1) if timed else None
            stack.inject(sd, names)
            outputs[names, timed] = predict(sd)
            stack.eject()
    assert torch.equal(outputs[("body",), True], outputs[("body",), False])
    for names in (("face",), ("face", "body")):
        assert not torch.allclose(outputs[names, True], outputs[names, False], atol=1e-3)


def test_its_state_comes_back_by_name(sd: ModelFamily) -> None:
    stack, other = filled(sd), filled(sd)
    state = stack.state()
    prefixes = {key.partition("/")[0] for key in state}
    assert prefixes == {"face", "body", "embedding"}
    assert "embedding/<toy>/text_encoder" in state
    for part in (*other.adapters.values(), *other.tokens):
        with torch.no_grad():
            for parameter in part.parameters():
                parameter.zero_()
    other.load(state)
    assert all(torch.equal(value, other.state()[key]) for key, value in state.items())


def test_a_single_adapter_has_no_prefix(sd: ModelFamily) -> None:
    stack = Stack({"": adapter(sd, 1)}, [Token.create("<toy>", 1, "dog", sd)])
    keys = [key for key in stack.state() if not key.startswith("embedding/")]
    assert keys == list(stack.adapters[""].state())
    stack.load(stack.state())


def test_weights_of_layers_are_set_again_only_where_they_change(sd: ModelFamily) -> None:
    stack = Stack({"": adapter(sd, 1)})
    name = next(stack.layers())
    stack.weights = strength.parse("1..0")
    for progress in (0.0, 0.5, 1.0):
        stack.weigh(progress)
        assert stack.adapters[""].scales[name] == pytest.approx(1 - progress)
    stack.weights = strength.parse("0.7")
    stack.weigh(0.0)
    stack.adapters[""].scales[name] = 9.0  # left alone: nothing depends on the step
    stack.weigh(0.5)
    assert stack.adapters[""].scales[name] == 9.0

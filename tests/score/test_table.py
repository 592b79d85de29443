"""A row a picture: which measures it has, and that they are the formulas' own."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kaiffin.score import measures, table
from kaiffin.score.catalogue import MEASURES, SUBJECT
from kaiffin.score.table import Embeddings, References

SECTIONS = ("scenes", "styles", "class", "unrelated")
OF = [0, 0, 1, 1, 2, 2, 3, 3]
SEEDS = [1, 2] * 4


def unit(rows: int, seed: int) -> Tensor:
    drawn = torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


def pictures(seed: int) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)) for _ in OF]


BASE = Embeddings(pictures(1), unit(8, 1), unit(8, 2))
OWN = Embeddings(pictures(2), unit(8, 3), unit(8, 4))
TEXTS = unit(4, 5)


def references(held_out: bool = True, count: int = 3) -> References:
    photos = unit(count, 6)
    layouts = torch.stack([measures.layout(image) for image in pictures(3)[:count]])
    names = [f"{i}.png" for i in range(count)]
    return References(names, photos, layouts, names, unit(2, 7) if held_out else photos, held_out)


def rows(own: Embeddings = OWN) -> list[table.Row]:
    return table.rows(SECTIONS, OF, SEEDS, TEXTS, BASE, own, references())


def test_a_measure_stands_in_the_rows_of_its_sections_alone() -> None:
    for row in rows():
        has = {name for name in MEASURES if row.get(name) is not None}
        own = {name for name, one in MEASURES.items() if row["section"] in one.sections}
        assert has == own - {"overall", "diversity"}  # these are of several pictures
        assert (row["nearest"] is not None) == (row["section"] in SUBJECT)
    assert [(row["prompt"], row["seed"]) for row in rows()] == list(zip(OF, SEEDS, strict=True))


def test_the_numbers_are_the_formulas_own() -> None:
    found, photos = rows(), references()
    assert found[2]["clip_t"] == pytest.approx(torch.dot(OWN.prompt[2], TEXTS[1]).item())
    assert found[2]["identity"] == pytest.approx((OWN.identity[2] @ photos.to.T).mean().item())
    assert found[6]["drift"] == pytest.approx(
        1 - torch.dot(BASE.identity[6], OWN.identity[6]).item()
    )
    gain = (OWN.identity[4] - BASE.identity[4]) @ photos.to.T
    assert found[4]["leak"] == pytest.approx(gain.mean().item(), abs=1e-6)
    nearest = int((OWN.identity[0] @ photos.trained.T).argmax())
    assert found[0]["nearest"] == f"{nearest}.png"
    contrasts = [measures.contrast(one.images[0]) for one in (OWN, BASE)]
    assert found[0]["contrast"] == pytest.approx(contrasts[0] / contrasts[1])


def test_the_base_has_not_moved_from_itself() -> None:
    for row in rows(BASE):
        assert row["drift"] in (None, pytest.approx(0, abs=1e-6))
        assert row["leak"] in (None, 0)
        assert row["likeness"] in (None, pytest.approx(0, abs=1e-6))
        assert row["contrast"] in (None, 1)
    shares = [row["prompt_share"] for row in rows(BASE) if row["section"] in SUBJECT]
    assert len(shares) == 4


def test_variety_is_among_the_seeds_of_a_prompt_of_the_subject() -> None:
    found = table.diversity(rows(), OWN)
    assert list(found) == [0, 1]
    assert found[0] == pytest.approx(1 - torch.dot(OWN.identity[0], OWN.identity[1]).item())
    means = table.means(rows(), OWN)
    assert means["diversity"].mean == pytest.approx((found[0] + found[1]) / 2)
    assert set(means) == set(MEASURES) - {"overall"}
    single = table.rows(SECTIONS, range(4), [1] * 4, TEXTS, *(_first_of(o) for o in (BASE, OWN)),
                        references())  # fmt: skip
    assert "diversity" not in table.means(single, _first_of(OWN))


def _first_of(own: Embeddings) -> Embeddings:
    """One picture of each prompt."""
    return Embeddings(own.images[::2], own.prompt[::2], own.identity[::2])


def test_references_say_what_they_are() -> None:
    assert references().kind == "held-out"
    assert references().words == "compared with 3 photos that were not trained on"
    assert references(held_out=False).kind == "leave-one-out"
    assert "never with the one that is nearest" in references(held_out=False).words
    one = references(held_out=False, count=1)
    assert (one.kind, one.ceiling) == ("one photo", None)
    assert "nothing could be held out" in one.words
    assert list(references().as_json()) == ["kind", "photos", "ceiling", "words"]

"""The table of kinds: from it files are recognised and the page is made."""

from pathlib import Path

import pytest

from kaiffin.models.files import kinds


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Flux2Pipeline", "Flux 2"),
        ("FluxImg2ImgPipeline", "Flux"),
        ("StableDiffusion3Pipeline", "SD 3"),
        ("StableDiffusionPipeline", None),
        ("Kandinsky3Pipeline", "Kandinsky"),
        ("KolorsPipeline", "Kolors"),
    ],
)
def test_a_class_is_of_one_kind(name: str, title: str | None) -> None:
    found = kinds.of_class(name, kinds.ARCHITECTURES)
    assert (found.title if found else None) == title


def test_every_kind_stands_in_the_table_once_with_how_it_is_known() -> None:
    rows = kinds.table()
    titles = [row[0] for row in rows]
    assert len(titles) == len(set(titles))
    assert {k.title for k in (*kinds.ARCHITECTURES, *kinds.BESIDE, *kinds.PARTS)} <= set(titles)
    assert {d.title for d in kinds.DISTILLED} <= set(titles)
    assert all(cell.strip() and "\n" not in cell for row in rows for cell in row)


def test_the_page_about_bases_holds_the_table() -> None:
    page = Path(__file__).parents[3] / "docs" / "bases.md"
    assert kinds.markdown() in page.read_text(encoding="utf-8"), (
        "python -c 'from kaiffin.models.files import kinds; ...'"
    )

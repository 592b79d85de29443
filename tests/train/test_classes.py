"""Words of the class: without the subject's, in many wordings and places, drawn purely."""

from kaiffin.foundation.config import SubjectConfig
from kaiffin.train.classes import LEADS, PLACES, class_caption

SUBJECT = SubjectConfig(token="sks", noun="owl")
OWN = "a photo of sks owl on a table"


def test_captions_are_of_the_class_in_many_wordings_and_places() -> None:
    drawn = [class_caption(OWN, SUBJECT, 0, place) for place in range(2000)]
    assert not any("sks" in caption for caption in drawn)
    assert all("owl" in caption for caption in drawn)
    own = drawn.count("a photo of an owl on a table")
    assert 900 < own < 1100, "every second is the photo's own"
    assert len(set(drawn)) == len(set(LEADS)) * len(PLACES) + 1
    assert drawn[5:9] == [class_caption(OWN, SUBJECT, 0, place) for place in range(5, 9)]
    assert drawn[:20] != [class_caption(OWN, SUBJECT, 1, place) for place in range(20)]


def test_a_caption_without_the_word_is_no_caption_of_the_class() -> None:
    drawn = {class_caption("something in a box", SUBJECT, 0, place) for place in range(200)}
    assert not any("box" in caption for caption in drawn)

"""Libraries say nothing to a person: their reports and advice stay behind the doors to them."""

import pytest

from kaiffin.models.parts import quiet


def test_afterwards_they_speak_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    from diffusers.utils import logging as of_diffusers

    logger = logging.getLogger("transformers")
    before = (logger.level, of_diffusers.is_progress_bar_enabled())
    with quiet():
        assert logger.level == logging.CRITICAL
        assert not of_diffusers.is_progress_bar_enabled()
    assert (logger.level, of_diffusers.is_progress_bar_enabled()) == before

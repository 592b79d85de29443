"""What callers are told speaks of settings, never of flags."""

from kaiffin.serve.doors import flagless


def test_flags_become_settings() -> None:
    said = "Use --data.upscale true, or leave them out with `--skip-bad`; a--b -- stays."
    assert (
        flagless(said) == "Use data.upscale true, or leave them out with `skip-bad`; a--b -- stays."
    )

"""A machine looked at: well, broken, and nothing private in what is said of it."""

import getpass
import platform
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from kaiffin.cli.main import main
from kaiffin.foundation.errors import UserError
from kaiffin.stories import doctor

LOOKED_AT = {
    "kaiffin", "libraries", "device", "memory", "disk", "caches", "bases", "extras", "environment"
}  # fmt: skip


def test_a_machine_that_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--quick"]) == 0
    said = capsys.readouterr().out
    assert {line.split()[0] for line in said.splitlines()[:-1]} == LOOKED_AT
    assert "miniature" in said
    assert said.endswith("all is well\n")


def test_what_is_broken_is_said_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    assert main(["doctor", "--quick"]) == 1
    said = capsys.readouterr().out
    assert "! device" in said
    assert "! disk" in said
    assert "Free some space" in said
    assert said.endswith("not well: device, disk\n")


def test_nothing_private_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "adas-laptop")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    text = f"{Path.home()}/models, /mnt/ada/secret/x.safetensors: on adas-laptop, ada/3 canada"
    assert doctor.private(text) == "~/models, …/x.safetensors: on …, …/3 canada"

    def broken() -> doctor.Fact:
        raise UserError(f"{Path.home()}/a: no", "Ask ada.")

    assert doctor._fact("x", broken) == doctor.Fact("~/a: no", False, "Ask ….", "x")


def test_a_secret_of_the_environment_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("KAIFFIN_API_KEY", "secret")
    monkeypatch.setenv("ADAS_DIARY", "secret")
    text = repr(doctor.doctor(quick=True))
    assert "HF_TOKEN" in text
    assert "KAIFFIN_API_KEY" in text
    assert "secret" not in text
    assert "ADAS" not in text


@pytest.mark.slow
def test_a_step_and_a_picture_on_the_miniature(tmp_path: Path) -> None:
    found = {fact.name: fact for fact in doctor.doctor().facts}
    assert found["training step"].found.startswith("works: ")
    assert found["picture"].found.startswith("works: ")
    assert not list(tmp_path.iterdir())

"""Packages that wait: they run when asked, once, and are then what they would have been."""

import importlib
import itertools
import sys
from pathlib import Path

import pytest

from kaiffin.foundation.deferred import defer

# A module that takes nothing from outside, as torch's of settings.
PART = """
import sys, types

class Settings(types.ModuleType):
    def __setattr__(self, name, value):
        raise AttributeError(name)

sys.said = [*sys.said, 'part']
VALUE = object()
sys.modules[__name__].__class__ = Settings
"""
numbers = itertools.count()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of which each file says when it runs."""
    name = f"waits_{next(numbers)}"
    monkeypatch.syspath_prepend(tmp_path)
    for file, text in {
        "__init__": "ran = ['init']\nfrom .part import VALUE\n__all__ = ['VALUE']\n",
        "part": PART,
        "other": "VALUE = 2\n",
    }.items():
        path = tmp_path / name / f"{file}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(sys, "said", [], raising=False)
    return name


def has_run(name: str) -> bool:
    return "ran" in vars(sys.modules[name])


def test_it_runs_when_a_name_is_asked_for(package: str) -> None:
    defer(package)
    module = importlib.import_module(package)
    assert not hasattr(module, "__wrapped__")  # what Python's own tools look for is no question
    assert not has_run(package)
    value = module.VALUE
    assert has_run(package)
    assert value is importlib.import_module(f"{package}.part").VALUE
    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing


@pytest.mark.parametrize("part", ["part", "other"])
def test_its_modules_come_after_it_and_run_once(package: str, part: str) -> None:
    defer(package)
    module = importlib.import_module(f"{package}.{part}")
    assert has_run(package)
    assert sys.said == ["part"]  # ty: ignore[unresolved-attribute]
    assert sys.modules[f"{package}.{part}"] is module
    assert module.__spec__ is not None
    assert module.__spec__.origin == module.__file__


def test_modules_of_one_that_only_gathers_come_alone(package: str) -> None:
    defer(package, gathers=True)
    assert importlib.import_module(f"{package}.other").VALUE == 2
    assert not has_run(package)
    exec(f"from {package} import *", space := {})
    assert set(space) >= {"VALUE"}


def test_given_names_are_answered_without_running(package: str) -> None:
    given = {"VALUE": lambda: importlib.import_module(f"{package}.other").VALUE}
    defer(package, given=given)
    module = importlib.import_module(package)
    assert module.VALUE == 2
    assert not has_run(package)
    assert module.ran == ["init"]
    assert module.VALUE != 2  # its own, once it has run


def test_a_class_has_no_instances_until_it_is_made(package: str, tmp_path: Path) -> None:
    text = "class Kind:\n    word = 'kind'\nmade = Kind()\n"
    for name in ("asked", "called", "looked"):
        (tmp_path / package / f"{name}.py").write_text(text)
        defer(f"{package}.{name}", classes=["Kind"])
    asked, called, looked = (
        importlib.import_module(f"{package}.{name}") for name in ("asked", "called", "looked")
    )
    kind = asked.Kind
    assert not isinstance(object(), kind)
    assert "made" not in vars(asked)
    assert isinstance(asked.made, kind), "the one that was taken before holds afterwards, too"
    assert not isinstance(object(), kind)
    assert type(called.Kind()) is called.Kind
    assert looked.Kind.word == "kind"


def test_its_package_runs_before_a_module_that_waits_with_it(package: str) -> None:
    def both() -> object:
        defer(f"{package}.other", gathers=True, given={"FIRST": lambda: 1})
        return sys.modules[f"{package}.other"]

    defer(package, given={"other": both})
    module = importlib.import_module(f"{package}.other")
    assert module.FIRST == 1
    assert not has_run(package)
    assert module.VALUE == 2
    assert has_run(package)


def test_one_that_fails_fails_when_asked_and_again(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "__init__.py").write_text("raise ValueError('broken')\n")
    defer(package)
    module = importlib.import_module(package)
    with pytest.raises(ValueError, match="broken"):
        _ = module.VALUE
    with pytest.raises(ValueError, match="broken"):
        importlib.import_module(package)


def test_one_that_puts_another_in_its_place(package: str, tmp_path: Path) -> None:
    text = "import sys, types\nother = types.ModuleType(__name__)\nother.VALUE = 3\n"
    (tmp_path / package / "__init__.py").write_text(text + "sys.modules[__name__] = other\n")
    defer(package)
    module = importlib.import_module(package)
    assert module.VALUE == 3
    sys.modules[package].LATER = 4  # ty: ignore[unresolved-attribute]
    assert module.LATER == 4


def test_what_is_imported_or_absent_is_left_alone(package: str) -> None:
    module = importlib.import_module(package)
    defer(package)
    assert sys.modules[package] is module
    defer("no_such_package_at_all")
    assert "no_such_package_at_all" not in sys.modules

"""Packages that are imported at once and run when something of them is asked for. Torch-free.

Who imports one class runs the `__init__` of every package on the way to it, and with them whatever
these gather: quantizers, compilers, sixty models. `defer` puts such a package in its place without
running it (a module's own `__getattr__`, PEP 562); it runs, once and whole, when it is asked for a
name that it does not have yet, or for one of its modules. So nothing is missing for anyone, it is
only later, or never.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ASKED = {"__all__", "__version__"}  # of the names that Python itself looks for; these do count
_waiting: dict[str, _Waiting] = {}


def defer(
    name: str, *, gathers: bool = False, given: Mapping[str, Callable[[], object]] | None = None,
    classes: Sequence[str] = (),
) -> None:  # fmt: skip
    """`import name` costs nothing from now on, until something of it is asked for.

    gathers: it does no more than gather names, so its modules may be imported without it.
    given: names that it answers without running, with what finds each; called now, and may import
    modules of the package.
    classes: of it, of which it answers without running that nothing is an instance.
    Nothing happens where it is imported already, or not installed.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    _into_parent(name, package)
    for known, find in (given or {}).items():
        vars(package)[known] = find()
    waiting = _Waiting(package, spec.loader)
    for known in classes:
        vars(package)[known] = _StandIn(known, (), {"_waiting": waiting})
    vars(package)["__getattr__"] = waiting.ask
    if not gathers:
        _waiting[name] = waiting
        if not isinstance(sys.meta_path[0], _Submodules):
            sys.meta_path.insert(0, _Submodules())


class _Waiting:
    """A package that has not run yet."""

    def __init__(self, package: ModuleType, loader: Loader) -> None:
        self.package, self.name, self.loader = package, package.__name__, loader
        self.lock = threading.RLock()
        self.has_begun = False

    def ask(self, attribute: str) -> Any:
        """The package's `__getattr__`: what it has once it has run."""
        if attribute.startswith("__") and attribute not in ASKED:
            raise AttributeError(f"module {self.name!r} has no attribute {attribute!r}")
        self.run()
        return getattr(sys.modules[self.name], attribute)

    def run(self) -> None:
        """Runs the package, the first time; from within it, it is as far as it has come."""
        around = _waiting.get(self.name.rpartition(".")[0])
        if around:
            around.run()
        with self.lock:
            if self.has_begun:
                return
            self.has_begun = True
            _waiting.pop(self.name, None)
            del vars(self.package)["__getattr__"]
            try:
                self.loader.exec_module(self.package)
            except BaseException:
                sys.modules.pop(self.name, None)
                raise
            made = sys.modules[self.name]
            if made is not self.package:  # some put another module in their own place
                vars(self.package)["__getattr__"] = functools.partial(getattr, made)
                _into_parent(self.name, made)


class _StandIn(type):
    """A class that its package has not made yet: it has no instances; all else runs the package."""

    _waiting: _Waiting

    def __instancecheck__(cls, thing: Any) -> bool:
        made = vars(sys.modules[cls._waiting.name]).get(cls.__name__, cls)
        return made is not cls and isinstance(thing, made)

    def __call__(cls, *values: Any, **named: Any) -> Any:
        return cls._made()(*values, **named)

    def __getattr__(cls, attribute: str) -> Any:
        return getattr(cls._made(), attribute)

    def _made(cls) -> Any:
        cls._waiting.run()
        return getattr(sys.modules[cls._waiting.name], cls.__name__)


def _into_parent(name: str, package: ModuleType) -> None:
    parent, _, leaf = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], leaf, package)


class _Submodules(MetaPathFinder):
    """Whoever imports a module of a package that waits runs that package first."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        waiting = _waiting.get(fullname.rpartition(".")[0])
        if waiting is None:
            return None
        waiting.run()
        present = sys.modules.get(fullname)
        if present is None:
            return None
        # The import goes on with the spec of the module that it finds there now. It is put into the
        # dictionary, as some modules refuse to be set.
        spec = importlib.util.spec_from_loader(fullname, _Present(present))
        vars(present)["__spec__"] = spec
        return spec


class _Present(Loader):
    """A module that its package has brought in meanwhile: not run a second time."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, vars(module)["__spec__"]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__spec__"] = self.spec

"""Named things, each declared in a module of its own: those of one of our packages, and those of plugins.

A module registers what it declares when it is imported. Ours are found by their place, `PACKAGE/NAME.py`, and imported when
they are asked for; names with an underscore are helpers. A plugin is any module that a configuration names under `plugins:`
(or SPIRE_PLUGINS, with commas between), which is how workers of Ray, who inherit the environment, know them, too.
"""

import ast
import difflib
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

T = TypeVar("T")

PLUGINS = "SPIRE_PLUGINS"


class Registry(Generic[T]):
    """The things of one kind, by name."""

    def __init__(self, kind: str, package: str = "") -> None:
        """`kind` is what a message calls one of them, `package` where ours are; empty: where the registry itself is."""
        self.kind = kind
        self._package = package
        self._things: dict[str, T] = {}

    def register(self, name: str, thing: T) -> T:
        """Add a thing. Raises ValueError for a name that another module has taken."""
        taken = self._things.setdefault(name, thing)
        if taken is not thing and type(taken).__module__ != "__main__" and taken != thing:
            raise ValueError(f"{self.kind} {name}: declared twice; a plugin needs a name of its own")
        return thing

    def __getitem__(self, name: str) -> T:
        """Raises ValueError, with the nearest name, for one that nobody has declared."""
        load_plugins()
        if name not in self._things and name in modules(self._package):
            importlib.import_module(f"{self._package}.{name}")
        if name not in self._things:
            self._load()
        if name not in self._things:
            raise ValueError(f"{self.kind}={name!r}{nearest(str(name), self)}")
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        try:
            return bool(self[str(name)])
        except ValueError:
            return False

    def __iter__(self) -> Iterator[str]:
        """Every name, in order."""
        self._load()
        return iter(sorted(self._things))

    def summaries(self) -> dict[str, str]:
        """Every name and the first line of what its module says of itself; ours are not imported for it."""
        load_plugins()
        return modules(self._package) | {name: "of a plugin" for name in self._things if name not in modules(self._package)}

    def _load(self) -> None:
        load_plugins()
        for name in modules(self._package):
            importlib.import_module(f"{self._package}.{name}")


def modules(package: str) -> dict[str, str]:
    """The public modules of a package and the first line of what each says of itself, without importing them."""
    spec = importlib.util.find_spec(package) if package else None
    found = {}
    for module in pkgutil.iter_modules(spec.submodule_search_locations if spec else []):
        if not module.name.startswith("_"):
            source = Path(str(getattr(module.module_finder, "path", ""))) / f"{module.name}.py"
            text = ast.get_docstring(ast.parse(source.read_text())) if source.is_file() else ""
            found[module.name] = (text or "").splitlines()[0].rstrip(".") if text else ""
    return found


def load_plugins(named: Iterable[str] = ()) -> None:
    """Import the plugins that the environment names, and these, which are added to it.

    Raises ValueError for one that cannot be imported.
    """
    known = [name for name in os.environ.get(PLUGINS, "").split(",") if name]
    wanted = list(dict.fromkeys([*known, *named]))
    os.environ[PLUGINS] = ",".join(wanted)
    for name in wanted:
        module(name, "plugins")


def module(name: str, field: str) -> ModuleType:
    """A user's module; those of the working directory count, as for `python -m`.

    Raises ValueError, with the field that names it, for one that cannot be imported.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{field}: {name} cannot be imported: {error}; install it, or put it beside the call") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """How a message about an unknown name ends: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else f": known are {', '.join(known)}"

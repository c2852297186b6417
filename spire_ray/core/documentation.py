"""What can be set, in words: every field of a settings class with its type, its default and its meaning.

The meaning is the text below the field in the class, which Python throws away and the source keeps.
"""

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from spire_ray.settings import StageSettings
from spire_ray.settings.types import Bound, Operation, Reference

_SIGNS = {"ge": "≥", "gt": ">", "le": "≤"}


@dataclass(frozen=True)
class Setting:
    """One line of the documentation."""

    key: str
    """Dotted; `sources.N.task` for items of a list."""
    kind: str
    default: str
    """Empty: it has to be given."""
    meaning: str
    operational: bool


def settings(kind: Any, prefix: str = "", operational: bool = False) -> Iterator[Setting]:
    """Every setting of a class, groups opened."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if field.name == "stage":
            continue
        key, hint = f"{prefix}{field.name}", hints[field.name]
        inner, marks = _unwrapped(hint)
        how = operational or any(isinstance(mark, Operation) for mark in marks)
        meaning = _meanings(kind).get(field.name, "")
        if dataclasses.is_dataclass(inner):
            yield from settings(inner, f"{key}.", how)
        elif typing.get_origin(inner) is tuple and dataclasses.is_dataclass(item := typing.get_args(inner)[0]):
            yield Setting(key, "list", _default(field), meaning or _first_line(item), how)
            yield from settings(item, f"{key}.N.", how)
        else:
            yield Setting(key, _type(hint), _default(field), meaning, how)


def own(kind: Any) -> list[Setting]:
    """The settings of a stage that not every stage has."""
    common = {setting.key for setting in settings(StageSettings)}
    return [setting for setting in settings(kind) if kind is StageSettings or setting.key not in common]


def text(kind: Any) -> str:
    """The settings of a stage for a terminal, those of every stage last."""
    lines = []
    for setting in [*own(kind), *settings(StageSettings)]:
        default = f" = {setting.default}" if setting.default else ""
        lines.append(f"  {setting.key}: {setting.kind}{default}")
        lines += textwrap.wrap(setting.meaning, 100, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def markdown(name: str, kind: Any) -> str:
    """The settings of a class as a section of a page."""
    rows = [
        f"| `{s.key}`{' ○' if s.operational else ''} | {s.kind.replace('|', '&#124;')} | {f'`{s.default}`' if s.default else ''} "
        f"| {s.meaning.replace('|', '&#124;')} |"
        for s in own(kind)
    ]
    return "\n".join([f"## {name}", "", _first_line(kind), "", "| setting | type | default | |", "|---|---|---|---|", *rows])


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if typing.get_origin(hint) is Annotated:
        inner, *marks = typing.get_args(hint)
        return inner, tuple(marks)
    return hint, ()


def _type(hint: Any) -> str:
    inner, marks = _unwrapped(hint)
    for mark in marks:
        if isinstance(mark, Reference):
            return mark.kind
    bounds = "".join(f" {_SIGNS[mark.kind]} {mark.value:g}" for mark in marks if isinstance(mark, Bound))
    arguments = typing.get_args(inner)
    if typing.get_origin(inner) is Literal:
        return " | ".join(str(value) for value in arguments)
    if typing.get_origin(inner) is tuple:
        return f"list of {_type(arguments[0])}" if Ellipsis in arguments else f"[{', '.join(map(_type, arguments))}]"
    if typing.get_origin(inner) is dict:
        return f"mapping of {_type(arguments[0])} to {_type(arguments[1])}"
    if isinstance(inner, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
    name = str(inner.__name__)
    return {"str": "text", "bool": "true | false"}.get(name, name) + bounds


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return _value(field.default)
    return _value(field.default_factory()) if field.default_factory is not dataclasses.MISSING else ""


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return '""' if value == "" else str(value)


def _first_line(kind: Any) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


@cache
def _meanings(kind: Any) -> dict[str, str]:
    """Field → the text below it, of the class and of those it is derived from."""
    found: dict[str, str] = {}
    for base in reversed([base for base in kind.__mro__ if dataclasses.is_dataclass(base)]):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(typing.cast(type, base)))).body
        assert isinstance(body, ast.ClassDef)
        for node, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[ast.unparse(node.target)] = " ".join(str(after.value.value).split())
    return found

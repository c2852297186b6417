"""The fields of nested settings with the marks of their types (`spire_ray.settings.types`)."""

import dataclasses
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from spire_ray.settings.types import Constancy, Growth, Operation, Reference


@dataclass(frozen=True)
class Field:
    """A value among the settings, however deep it lies."""

    key: str
    """Dotted; items of a list by their number."""
    value: Any
    operational: bool
    """Whether it, or a group that it lies in, is no part of an output's identity."""
    reference: Reference | None
    """What it refers to, if it does."""
    growing: bool
    """Whether the stage goes on with what is new there."""
    constant: bool
    """Whether what lies there must stay as it is."""


def fields(settings: Any) -> Iterator[Field]:
    """Every field of a settings object that is no group of others."""
    yield from _walk(type(settings), settings, "", False)


def _walk(kind: Any, value: Any, key: str, operational: bool) -> Iterator[Field]:
    marks: tuple[Any, ...] = ()
    if typing.get_origin(kind) is Annotated:
        kind, *rest = typing.get_args(kind)
        marks = tuple(rest)
    operational = operational or any(isinstance(mark, Operation) for mark in marks)
    if dataclasses.is_dataclass(value):
        hints = typing.get_type_hints(type(value), include_extras=True)
        for field in dataclasses.fields(value):
            yield from _walk(hints[field.name], getattr(value, field.name), f"{key}.{field.name}".lstrip("."), operational)
    elif isinstance(value, tuple) and value and (dataclasses.is_dataclass(value[0]) or _of_references(kind)):
        for number, item in enumerate(value):
            yield from _walk(typing.get_args(kind)[0], item, f"{key}.{number}", operational)
    else:
        reference = next((mark for mark in marks if isinstance(mark, Reference)), None)
        growing, constant = (any(isinstance(mark, kind) for mark in marks) for kind in (Growth, Constancy))
        yield Field(key, value, operational, reference, growing, constant)


def _of_references(kind: Any) -> bool:
    arguments = typing.get_args(kind)
    return bool(arguments) and typing.get_origin(arguments[0]) is Annotated and not isinstance(kind, types.UnionType)

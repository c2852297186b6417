"""YAML and dotted overrides → the settings of a stage.

A configuration file starts with `stage:` and holds the fields of that stage's class in `spire_ray.settings`. `{root}` in any
string stands for the value of `root`, and `~` before a path for the home folder. Unknown keys and wrong values are errors that
name the field and the fix.
"""

import contextlib
import copy
import dataclasses
import hashlib
import json
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from spire_ray.core import mlflow_store, storage
from spire_ray.core.fields import fields
from spire_ray.core.registry import load_plugins, nearest
from spire_ray.core.stage import STAGES
from spire_ray.settings import RecipeSettings, StageSettings

RECIPE = "run"
"""What a recipe has for a stage."""

_LENGTHS = {"training.steps", "training.epochs"}
"""How much of a work is done, in a folder that goes on where it ended."""


def load(path: str, overrides: Sequence[str] | Mapping[str, Any] = (), stage: str | None = None) -> StageSettings:
    """Read a YAML file, apply overrides (`training.lr=1e-4`) and validate.

    Raises ValueError for a missing file, a file of another stage, an unknown key or a wrong value.
    """
    return validate(read(path, overrides), stage, "the configuration" if path.lstrip().startswith("{") else path)


def read(path: str, overrides: Sequence[str] | Mapping[str, Any] = ()) -> dict[str, Any]:
    """The YAML of a configuration, a file or the text itself in braces, with overrides applied, not yet validated."""
    inline = path.lstrip().startswith("{")
    if not inline and not storage.exists(path):
        raise ValueError(f"config={path}: no such file")
    try:
        data = yaml.safe_load(path if inline else storage.read_bytes(path))
    except yaml.YAMLError as error:
        raise ValueError(f"config={path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or "stage" not in data:
        raise ValueError(f"config={path}: must be a mapping that starts with `stage:`")
    return overridden(data, overrides)


def overridden(data: Mapping[str, Any], overrides: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with dotted keys set otherwise."""
    changed = copy.deepcopy(dict(data))
    for key, value in _pairs(overrides, str(data["stage"])):
        _set(changed, key.split("."), value, key)
    return changed


def validate(data: dict[str, Any], stage: str | None = None, path: str = "the configuration") -> StageSettings:
    """Settings from a mapping; `stage` is the one the caller can run."""
    name = data["stage"]
    load_plugins(data.get("plugins") or ())
    if not isinstance(name, str) or (name != RECIPE and name not in STAGES):
        raise ValueError(f"{path}: stage={name!r}{nearest(str(name), [*STAGES, RECIPE])}")
    if stage is not None and name != stage:
        raise ValueError(f"{path}: is a configuration of the stage {name}, not of {stage}")
    kind: type[StageSettings] = RecipeSettings if name == RECIPE else STAGES[name].settings
    data = _from_registry(data)
    data = substituted(data, {"root": str(data.get("root", StageSettings.root))})
    _check_keys(data, kind, "", path)
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        found = "" if first["type"].startswith("missing") else f"={first['input']!r}"
        raise ValueError(f"{path}: {field}{found}: {first['msg']}{more}") from None


def _from_registry(value: Any) -> Any:
    """A configuration with the folders in the place of versions of MLflow's model registry."""
    if isinstance(value, Mapping):
        return {key: _from_registry(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_registry(item) for item in value]
    return mlflow_store.registered(value) if isinstance(value, str) else value


def identity(configuration: StageSettings) -> dict[str, Any]:
    """The fields that decide what a stage makes, dotted, for comparing an output folder with a configuration."""
    return {field.key: json.loads(json.dumps(field.value)) for field in fields(configuration) if not field.operational}


def extends(made: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether an identity is that of a finished work but for more of it: more steps or epochs of the same training."""
    changed = {key for key in {*made, *now} if made.get(key) != now.get(key)}
    return bool(changed) and changed <= _LENGTHS and all((now.get(key) or 0) > (made.get(key) or math.inf) for key in changed)


def digest(value: Any) -> str:
    """Short hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def to_dict(configuration: StageSettings) -> dict[str, Any]:
    """The resolved configuration as JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(configuration)))
    return plain


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings → dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Dotted keys in which two configurations differ, with both values."""
    first, second = flatten(one), flatten(other)
    keys = [key for key in sorted({*first, *second}) if first.get(key) != second.get(key)]
    return "; ".join(f"{key}: {first.get(key)!r} → {second.get(key)!r}" for key in keys)


def _pairs(overrides: Sequence[str] | Mapping[str, Any], stage: str) -> list[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        return list(overrides.items())
    pairs = []
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"override {text!r}: expected key=value, such as training.steps=100")
        pairs.append((key, value if _is_text(stage, key.split(".")) and value[:1] not in "\"'" else _scalar(value)))
    return pairs


def _is_text(stage: str, keys: Sequence[str]) -> bool:
    """Whether a setting is a text, which is taken as it is written: a path with `#`, a name of digits, the language `no`."""
    found: Any = RecipeSettings if stage == RECIPE else STAGES[stage].settings if stage in STAGES else None
    for key in keys:
        if isinstance(found, types.UnionType):
            found = next((a for a in typing.get_args(found) if dataclasses.is_dataclass(a)), None)
        if typing.get_origin(found) is dict:
            found = typing.get_args(found)[1]
        else:
            found = typing.get_type_hints(found).get(key) if dataclasses.is_dataclass(found) else None
    return found is str


def _scalar(text: str) -> Any:
    if "{root}" in text:  # which YAML would read as a mapping
        return text
    if "e" in text.lower():  # 1e-4, which YAML reads as text
        with contextlib.suppress(ValueError):
            return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _set(data: dict[str, Any], keys: list[str], value: Any, whole: str) -> None:
    for key in keys[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ValueError(f"override {whole}: {key} is not a group of settings")
    data[keys[-1]] = value


def substituted(value: Any, names: Mapping[str, str]) -> Any:
    """Nested values with `{name}` in every string replaced by what the name stands for."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace(f"{{{name}}}", str(text))
        return os.path.expanduser(value)
    if isinstance(value, dict):
        return {key: substituted(item, names) for key, item in value.items()}
    return [substituted(item, names) for item in value] if isinstance(value, list) else value


def _check_keys(data: Any, expected: Any, prefix: str, path: str) -> None:
    """Walk the data beside the types and refuse a key that no class has."""
    arguments = typing.get_args(expected)
    if typing.get_origin(expected) is tuple and isinstance(data, list):
        for index, item in enumerate(data):
            _check_keys(item, arguments[0], f"{prefix}{index}.", path)
    if isinstance(expected, types.UnionType):
        expected = next((a for a in arguments if dataclasses.is_dataclass(a)), expected)
    if not dataclasses.is_dataclass(expected) or not isinstance(data, dict):
        return
    known = typing.get_type_hints(expected)
    for key, value in data.items():
        if key not in known:
            raise ValueError(f"{path}: unknown key {prefix}{key}{nearest(str(key), known)}")
        _check_keys(value, known[key], f"{prefix}{key}.", path)

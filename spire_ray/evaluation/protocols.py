"""Protocols: what moves figures, fixed in one file each (`configs/protocols/NAME.yaml`), and test sets by their names.

A protocol has `fixed`, settings that may not be set otherwise, and `usual`, others than the defaults. Results carry its name, and
no table mixes two.
"""

from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from spire_ray.core import carried, storage
from spire_ray.core.registry import nearest
from spire_ray.corpora import catalogue
from spire_ray.evaluation.systems import SYSTEMS
from spire_ray.evaluation.tasks import TASKS, in_order
from spire_ray.settings import GenerationSettings
from spire_ray.text.languages import language

FOLDER = "configs/protocols"
"""Where a user's own are looked for, before those that travel with the package."""


@cache
def load(name: str) -> dict[str, Any]:
    """A protocol. Raises ValueError for an unknown one, and for a file that is not as described."""
    files = {path.stem: path for place in (carried.FOLDER / "protocols", Path(FOLDER)) for path in sorted(place.glob("*.yaml"))}
    if name not in files:
        raise ValueError(f"protocol={name}{nearest(name, files)}")
    data = yaml.safe_load(files[name].read_text())
    if not isinstance(data, dict) or not set(data) <= {"fixed", "usual"}:
        raise ValueError(f"{files[name]}: a protocol has `fixed` and `usual`, each with settings")
    return data


def applied(settings: Any, name: str) -> Any:
    """Settings under a protocol, as far as they have them. Raises ValueError for one that is set otherwise."""
    if not name:
        return settings
    given = load(name)
    usual = {key: value for key, value in given.get("usual", {}).items() if not getattr(settings, key, True)}
    return _set(_set(settings, usual, ""), given.get("fixed", {}), name)


def _set(settings: Any, values: dict[str, Any], name: str, above: str = "") -> Any:
    """`name` is the protocol whose values must not be contradicted; empty: whatever is set gives way."""
    there = {field.name: field for field in fields(settings)}
    changed: dict[str, Any] = {}
    for key, value in values.items():
        if key not in there:
            continue
        now = getattr(settings, key)
        if is_dataclass(now):
            changed[key] = _set(now, value, name, f"{above}{key}.")
            continue
        wanted = tuple(value) if isinstance(value, list) else value
        default = there[key].default
        if name and now not in (wanted, () if default is MISSING else default):
            raise ValueError(f"{above}{key}={now}: the protocol {name} has {value}; leave it out, or leave the protocol")
        changed[key] = wanted
    return replace(settings, **changed)


def resolved(settings: Any) -> Any:
    """The settings of `generate` or `evaluate` with what protocol and test set say. Raises ValueError for no test set."""
    if not (settings.data or settings.test_set):
        raise ValueError("data: name a test set, as `data: FOLDER` or `test_set: NAME` of the catalogue")
    settings = applied(settings, settings.protocol)
    return settings if settings.data else _of_the_catalogue(settings)


def require(settings: GenerationSettings) -> None:
    """Raise ValueError where the rows of a test set of the catalogue are not there."""
    for place in filter(None, (settings.data, settings.audio)):
        if settings.test_set and not storage.exists(place):
            data = place == storage.join(settings.root, "data", settings.test_set)
            made = "spire data fetch" if data else "spire label"
            raise ValueError(f"test_set={settings.test_set}: {place} not found; `{made}` makes it")


def _of_the_catalogue(settings: GenerationSettings) -> GenerationSettings:
    """Where the rows of a corpus of the catalogue are."""
    corpus = catalogue.corpus(settings.test_set)
    tasks = {task for model in settings.models for task in in_order(model.tasks)}
    translated = any(TASKS[task].reference == "translation" or "translation" in TASKS[task].needs for task in tasks)
    if translated and corpus.targets and language(settings.target_language).code not in corpus.targets:
        raise ValueError(
            f"target_language={settings.target_language}: {corpus.title} is translated into {', '.join(corpus.targets)}"
        )
    rows, units = (storage.join(settings.root, kind, corpus.name) for kind in ("data", "units"))
    hears = {
        SYSTEMS[model.system].hears
        for model in settings.models
        for task in in_order(model.tasks)
        if {"speech", "another"} & set(TASKS[task].needs)
    }
    data, audio = (units if "units" in hears else rows), (rows if "audio" in hears else "")
    return replace(settings, data=data, audio=audio, source_language=settings.source_language or corpus.language)

"""A machine as the plan counts with it: coefficients, each with its unit, how it was found, its source and its date."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from spire_ray.core import carried, storage
from spire_ray.core.registry import nearest
from spire_ray.recipes import room, shapes

KINDS = ("measured", "derived", "data sheet")
FOLDER = "hardware"
WITH_GPUS, WITHOUT_GPUS = "h100x8", "cpu2"


@dataclass(frozen=True)
class Coefficient:
    """One number, and where it is from."""

    value: float
    unit: str
    how: str
    source: str
    date: str
    scale: str = ""
    """The probe of `spire plan --measure` that says how another machine of the kind compares."""

    def __str__(self) -> str:
        return f"{self.value:,.4g} {self.unit} ({self.how}: {self.source}, {self.date})"


@dataclass(frozen=True)
class Hardware:
    """One machine; a cluster is several of them."""

    title: str
    cores: int
    gpus: int
    memory_gb: float
    coefficients: Mapping[str, Coefficient]
    probes: Mapping[str, float]

    def __getitem__(self, name: str) -> Coefficient:
        """`start.STAGE` falls back to `start.step`."""
        found = self.coefficients.get(name) or self.coefficients.get(f"{name.partition('.')[0]}.step")
        if found is None:
            raise ValueError(f"hardware={self.title}: has no coefficient {name}")
        return found

    def measured(self, probes: Mapping[str, float], cores: int, machine: str, date: str) -> "Hardware":
        """The same kind of machine at the speed of another, whose probes were measured."""
        source = f"spire plan --measure on {machine}"
        changed = {}
        for name, each in self.coefficients.items():
            probe = "start" if name.startswith("start.") else each.scale
            ratio = probes[probe] / self.probes[probe] if probe else 1.0
            changed[name] = (
                replace(each, value=each.value * ratio, source=f"{source}; {each.source}", date=date) if probe else each
            )
        return replace(self, title=machine, cores=cores, coefficients=changed, probes=dict(probes))


def load(name: str) -> Hardware:
    """A machine of `configs/hardware`, or of a file. Raises ValueError for an unknown one and for what no coefficient says."""
    known = {path.stem: str(path) for path in sorted((carried.FOLDER / FOLDER).glob("*.yaml"))}
    path = known.get(name, name)
    if not storage.exists(path):
        raise ValueError(f"hardware={name}{nearest(name, known)}")
    data: Any = yaml.safe_load(storage.read_bytes(path))
    try:
        found = {
            key: Coefficient(
                float(each["value"]), each["unit"], each["how"], each["source"], str(each["date"]), each.get("scale", "")
            )
            for key, each in data["coefficients"].items()
        }
        machine = Hardware(data["title"], data["cores"], data["gpus"], data["memory_gb"], found, data.get("probes", {}))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"hardware={path}: {error!r}; see configs/{FOLDER}/cpu2.yaml") from None
    for key, coefficient in found.items():
        if coefficient.how not in KINDS:
            raise ValueError(f"hardware={path}: {key}.how={coefficient.how}: expected {', '.join(KINDS)}")
    return machine


def kept() -> Path:
    """Where the probes of this machine are kept, below SPIRE_CACHE."""
    return Path(os.environ.get("SPIRE_CACHE", Path.home() / ".cache" / "spire")) / "measured.json"


def of(name: str, planned: shapes.Planned) -> Hardware:
    """The named machine; else one with GPUs for a recipe that asks for them, and for others this one, as it was measured last."""
    if name or any(room.count(settings) for settings in planned.values()):
        return load(name or WITH_GPUS)
    base = load(WITHOUT_GPUS)
    if not kept().exists():
        return base
    data = json.loads(kept().read_text())
    return base.measured(data["probes"], data["cores"], data["machine"], data["date"])

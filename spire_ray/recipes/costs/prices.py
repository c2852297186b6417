"""Prices, which a file gives and nobody else: YAML with `currency` and any of the others."""

from dataclasses import dataclass, fields
from typing import Any

import yaml

from spire_ray.core import storage
from spire_ray.core.registry import nearest
from spire_ray.recipes.costs.work import Cost


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What things cost; 0 where no price is given."""

    currency: str
    gpu_hour: float = 0.0
    core_hour: float = 0.0
    """Of steps without GPUs."""
    gb_month: float = 0.0
    """Of what lies on disks, for one month."""
    gb_network: float = 0.0
    """Of what is fetched."""

    def of(self, cost: Cost) -> float:
        """Money for a step."""
        cores = 0.0 if cost.gpus else cost.cores * cost.seconds / 3600
        machine = self.gpu_hour * cost.gpu_hours + self.core_hour * cores
        return machine + (self.gb_month * cost.disk + self.gb_network * cost.network) / 1e9


def load(path: str) -> Prices:
    """Read a file. Raises ValueError for an unknown key or a price that is no number."""
    if not storage.exists(path):
        raise ValueError(f"prices={path}: not found")
    data: Any = yaml.safe_load(storage.read_bytes(path))
    known = [each.name for each in fields(Prices)]
    if not isinstance(data, dict) or "currency" not in data:
        raise ValueError(f"prices={path}: must be a mapping with currency and any of {', '.join(known[1:])}")
    for key, value in data.items():
        if key not in known:
            raise ValueError(f"prices={path}: unknown key {key}{nearest(str(key), known)}")
        if key != "currency" and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise ValueError(f"prices={path}: {key}={value!r}: must be a number of at least 0")
    return Prices(**data)

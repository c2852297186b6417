"""Shares of languages: what is rare is repeated and what is plentiful thinned out, by one temperature in place of many weights.

A language with n of N tokens gets a share in proportion to (n / N) ^ temperature, as multilingual models are trained (Conneau et
al. 2020, arXiv 1911.02116, with 0.3). A source with a budget is balanced within it; all sources of one task without budgets
among themselves, so that the task brings what it would bring.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from spire_ray.packs import mixture
from spire_ray.settings import BalanceSettings, PackSettings, SourceSettings

Sums = Mapping[str, float]
"""Language, direction or source → how much there is of it, in the measure of its budget or in tokens."""


@dataclass(frozen=True)
class Target:
    """How much there is of a label in a source, and how much the source is to bring of it."""

    there: float
    wanted: float


def check(settings: PackSettings) -> None:
    """Raise ValueError for a setting of the balance, or of a source, that would decide nothing."""
    given, without = settings.balance, BalanceSettings()
    for field in fields(given):
        if not given.by and (value := getattr(given, field.name)) != getattr(without, field.name):
            raise ValueError(f"balance.{field.name}={value:g}: nothing is balanced; set balance.by")
    for source in settings.sources:
        if source.max_epochs != SourceSettings.max_epochs:
            said = f"sources.{mixture.name(source)}.max_epochs={source.max_epochs:g}"
            if given.by:
                raise ValueError(f"{said}: beside balance.by it is balance.max_epochs that says how often a row may be used")
            if not (source.tokens or source.units):
                raise ValueError(f"{said}: a source without a budget is repeated by weight")
    if given.by == "source" and all(len(pool) == 1 for pool in _pools(settings.sources)):
        raise ValueError("balance.by=source: no two sources are of one task and without budgets; leave it out")


def weight(settings: PackSettings, source: SourceSettings) -> float:
    """How often each row is used before any balance; 1 of a source with a budget."""
    return 1.0 if source.tokens or source.units else settings.scale * source.weight


def measure(source: SourceSettings) -> str:
    """What the share of a source is counted in."""
    return "units" if source.units else "tokens"


def label(settings: PackSettings, number: int, language: str, direction: str) -> str:
    """What a document is balanced as; empty for a conversation, which names no language and is used as its source says."""
    match settings.balance.by:
        case "language":
            return language
        case "direction":
            return direction or language
        case "source":
            return mixture.name(settings.sources[number])
    return ""


def most(settings: PackSettings, source: SourceSettings) -> float:
    """How often a row of a source may be used."""
    return max(settings.balance.max_epochs, weight(settings, source))


def targets(settings: PackSettings, there: Sequence[Sums]) -> list[dict[str, Target]]:
    """How much each source is to bring of each label, from how much there is."""
    made: list[dict[str, Target]] = [{} for _ in there]
    for pool in _pools(settings.sources):
        weights = [weight(settings, settings.sources[number]) for number in pool]
        sizes, limits = defaultdict[str, float](float), defaultdict[str, float](float)
        for number, used in zip(pool, weights, strict=True):
            for name, amount in there[number].items():
                if name:
                    sizes[name] += used * amount
                    limits[name] += most(settings, settings.sources[number]) * amount
        source = settings.sources[pool[0]]
        budget = settings.scale * (source.tokens or source.units)
        rest = sum(used * there[number].get("", 0.0) for number, used in zip(pool, weights, strict=True))
        total = max(0.0, budget - rest) if budget else sum(sizes.values())
        wanted = shares(sizes, limits, total, settings.balance.temperature)
        for number, used in zip(pool, weights, strict=True):
            for name, amount in there[number].items():
                rate = wanted[name] / sizes[name] if name and sizes[name] else 1.0
                made[number][name] = Target(amount, used * amount * rate)
    return made


def shares(sizes: Sums, most: Sums, total: float, temperature: float) -> dict[str, float]:
    """Sizes → parts of a total, in proportion to size ^ temperature and at most as set; what one lacks goes to the others."""
    made: dict[str, float] = {name: 0.0 for name, size in sizes.items() if not size}
    while free := {name: size**temperature for name, size in sizes.items() if name not in made}:
        left = max(0.0, total - sum(made.values()))
        parts = {name: left * part / sum(free.values()) for name, part in free.items()}
        full = {name: most[name] for name, part in parts.items() if part > most[name]}
        made |= full or parts
    return made


def _pools(sources: Sequence[SourceSettings]) -> list[list[int]]:
    """Sources that are balanced together."""
    found: dict[object, list[int]] = defaultdict(list)
    for number, source in enumerate(sources):
        found[number if source.tokens or source.units else source.task].append(number)
    return list(found.values())

"""The plan as text: a line for each step, the whole road, what is left of it, and what it really took."""

from collections.abc import Iterator, Mapping, Sequence

from spire_ray.core import storage
from spire_ray.core.provenance import RUN_FILE
from spire_ray.packs.card import short
from spire_ray.recipes import runner, shapes
from spire_ray.recipes.costs import schedule
from spire_ray.recipes.costs.hardware import Hardware
from spire_ray.recipes.costs.prices import Prices
from spire_ray.recipes.costs.work import Cost

_HEAD = f"{'step':<22}{'rows':>9}{'hours':>9}{'tokens':>9}{'GPU-h':>11}{'time':>12}{'disk':>9}"


def lines(planned: shapes.Planned, costs: Mapping[str, Cost], hardware: Hardware, prices: Prices | None) -> Iterator[str]:
    """The whole plan."""
    everything = list(planned)
    left = [name for name in planned if name not in runner.finished_of(planned)]
    cores = hardware.cores if not any(cost.gpus for cost in costs.values()) else hardware.cores * len(planned)
    total, beside = schedule.wall(planned, costs, cores, everything)
    yield f"{hardware.title}; time of each step beside the one that runs with it"
    yield _HEAD + (f"{prices.currency:>13}" if prices else "") + "  figures"
    for name in everything:
        yield _line(name, costs[name], beside[name], prices)
    begin = hardware["start.recipe"].value
    yield _sum("the whole road", everything, costs, total + begin, prices)
    if left and len(left) < len(everything):
        rest, _ = schedule.wall(planned, costs, cores, left)
        yield _sum("what is left", left, costs, rest + begin, prices)
    elif not left:
        yield "nothing is left to do"
    for name in everything:
        if costs[name].unknown:
            yield f"not known, {name}: {costs[name].unknown}"


def _line(name: str, cost: Cost, seconds: float, prices: Prices | None) -> str:
    made = cost.made
    hours = "?" if made.seconds is None else f"{made.seconds / 3600:,.1f}" if made.seconds else ""
    told = f"{name:<22}{'?' if made.rows is None else short(made.rows) if made.rows else '':>9}{hours:>9}"
    told += f"{short(made.tokens) if made.tokens else '':>9}{_unless(cost, f'{cost.gpu_hours:,.1f}') if cost.gpus else '':>11}"
    told += f"{_unless(cost, clock(seconds)):>12}{size(cost.disk) if cost.disk else '':>9}"
    return told + (f"{_unless(cost, f'{prices.of(cost):,.2f}'):>13}" if prices else "") + f"  {cost.how}"


def _unless(cost: Cost, told: str) -> str:
    """A figure of a step, unless its time is not known."""
    return "?" if cost.unknown else told


def _sum(title: str, names: Sequence[str], costs: Mapping[str, Cost], seconds: float, prices: Prices | None) -> str:
    some = [costs[name] for name in names]
    at_least = "≥ " if any(cost.unknown for cost in some) else ""
    gpu_hours = sum(cost.gpu_hours for cost in some)
    told = f"{title:<49}{at_least + f'{gpu_hours:,.1f}' if gpu_hours else '':>11}{at_least + clock(seconds):>12}"
    told += f"{size(sum(cost.disk for cost in some)):>9}"
    told += f"{at_least + f'{sum(map(prices.of, some)):,.2f}':>13}" if prices else ""
    network, objects = sum(cost.network for cost in some), sum(cost.objects for cost in some)
    return told + (f"  {size(network)} fetched" if network else "") + (f"  {objects:,} objects" if objects else "")


def compared(planned: shapes.Planned, costs: Mapping[str, Cost], hardware: Hardware, root: str) -> Iterator[str]:
    """What each finished step was planned to take, and took."""
    total, beside = schedule.wall(planned, costs, hardware.cores, list(planned))
    yield f"{'step':<22}{'planned':>10}{'took':>10}{'':>10}"
    took = {}
    for name, settings in planned.items():
        path = storage.join(settings.output, RUN_FILE)
        seconds = storage.read_json(path).get("seconds") if storage.exists(path) else None
        if seconds is not None:
            took[name] = float(seconds)
            yield _compared(name, None if costs[name].unknown else beside[name], took[name])
    path = storage.join(root, runner.RECORD_FILE)
    if len(took) == len(planned) and storage.exists(path) and (whole := storage.read_json(path)["total"]):
        known = not any(cost.unknown for cost in costs.values())
        yield _compared("the whole road", total + hardware["start.recipe"].value if known else None, float(whole))
    elif len(took) < len(planned):
        yield f"{len(planned) - len(took)} of {len(planned)} steps have not ended"


def _compared(name: str, planned: float | None, took: float) -> str:
    if planned is None:
        return f"{name:<22}{'?':>10}{clock(took):>10}"
    return f"{name:<22}{clock(planned):>10}{clock(took):>10}{100 * (planned - took) / max(took, 1e-9):>+9.0f} %"


def clock(seconds: float) -> str:
    """A time in the unit that a reader takes."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """A number of bytes."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.0f} kB"
